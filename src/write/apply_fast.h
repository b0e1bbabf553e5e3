/*
 * apply_fast.h
 *	  What the files of the fast path share; nobody else includes it.
 *
 *	apply_fast_writer.c	the writer
 *	apply_fast_plan.c	whether it may be taken
 *	apply_fast.c	rows into the table
 *	apply_upsert.c	upserts and deletes by key
 *	apply_probe.c	which keys of a batch are there already
 *	apply_place.c	where updates put rows that move
 *	apply_unique.c	unique values that one row of a batch leaves to another
 *	apply_index.c	index entries, in the order of the index
 *	apply_rows.c	one by one, where records are refused
 */
#ifndef KS_APPLY_FAST_H
#define KS_APPLY_FAST_H

#include "access/genam.h"
#include "nodes/execnodes.h"
#include "storage/block.h"
#include "storage/itemptr.h"

#include "base/sort.h"
#include "write/writer.h"

/* A btree index whose columns are plain columns of the target. */
typedef struct KsFastIndex
{
	Oid			oid;
	int			ncols;			/* with those of INCLUDE */
	int			cols[INDEX_MAX_KEYS];	/* where their values stand in a row */
	bool		unique;
	bool		of_key;			/* no update changes what it holds */
	KsSortKey	key;
} KsFastIndex;

/* Pages that updates left, and those that they may use. */
typedef struct KsPlace
{
	bool		active;			/* the table's storage has pages */
	BlockNumber *vacated;		/* by the batch at hand, NULL at first */
	int			nvacated;
	BlockNumber *offered;		/* by the batch before */
	int			noffered;
	int			next;			/* of offered */
	BlockNumber nblocks;		/* of the table, when the batch began */
	BlockNumber block;			/* on offer, or invalid */
	Size		used;			/* bytes of it */
} KsPlace;

/* What is known of a target that the fast path takes; lives with the target. */
typedef struct KsFast
{
	bool		plain;			/* all indexes are as above */
	int			nindexes;
	KsFastIndex *indexes;
	int			conflict;		/* upsert: the index of the key, else -1 */
	bool		evaluates;		/* checks or expressions of indexes */
	bool		other_unique;	/* and there are others that must be unique */
	KsPlace		place;
} KsFast;

/* One batch being written. */
typedef struct KsWrite
{
	KsApply    *ap;
	KsCounts   *counts;
	KsTarget   *target;
	KsFast	   *fast;
	KsRows		rows;
	Relation	rel;			/* the route's */
	EState	   *estate;
	ResultRelInfo *rri;
	CommandId	cid;
	MemoryContext scratch;		/* reset every now and then */

	ItemPointerData *tids;		/* by row: where it was put */

	/* rows that need index entries; the first of them replace others */
	int		   *entries;
	int			nentries;
	int			nupdated;
} KsWrite;

/* Opens the target's indexes, and closes them: of one resource owner. */
extern void ks_fast_begin(KsWrite *w, KsApply *ap, const KsRoute *r, const KsRows *rows,
						  KsCounts *counts);
extern void ks_fast_end(KsWrite *w);

/* A row as a tuple that the table's constraints accept. */
extern TupleTableSlot *ks_fast_make_slot(KsWrite *w);
extern void ks_fast_fill_slot(KsWrite *w, TupleTableSlot *slot, int row);

/* Inserts rows; their places to w->tids, and what needs entries to w->entries. */
extern void ks_fast_insert_rows(KsWrite *w, const int *idx, int n);

/* Entries for w->entries in all indexes, unique ones checked, with the time. */
extern void ks_fast_insert_all_entries(KsWrite *w);

/* Writes and deletes, one for a key, sorted by it; changes the order of items. */
extern KsWritten ks_fast_upsert(KsApply *ap, const KsRoute *r, const KsRows *rows,
								KsSortItem *items, int n, KsCounts *counts);

/* What ks_fast_probe() calls for a row that is there: tid is where.  False ends it. */
typedef bool (*KsFound) (void *arg, int row, ItemPointer tid);

/*
 * For each of n keys in ascending order: is a row there that the active snapshot
 * sees?  Those that are not are moved to the front of items, in order; returns
 * how many, or -1 if found() has ended it.  found() may change the row at once,
 * which is when its page is at hand, but not the index.
 */
extern int	ks_fast_probe(KsWrite *w, KsSortItem *items, int n, KsFound found, void *arg);

extern void ks_place_begin(KsWrite *w);
extern void ks_place_offer(KsWrite *w);
extern void ks_place_vacate(KsWrite *w, BlockNumber from, BlockNumber to, Size len);

/* Has the key any index beside it whose values must be unique, and can change? */
extern bool ks_unique_has_others(const KsFast *fast);

/* Has a row another value in one of them than its former version has? */
extern bool ks_unique_changes(KsWrite *w, int row, TupleTableSlot *old);

/*
 * False if a row of w->entries or inserted[0..n) has a value there that the active
 * snapshot sees in a row with a greater key.  Before their entries are made.
 */
extern bool ks_unique_check(KsWrite *w, const int *inserted, int n);

/* What is known of an index that is open. */
extern const KsFastIndex *ks_fast_index(const KsWrite *w, Relation index);

/* Entries for w->entries in all indexes, unique ones checked. */
extern void ks_fast_insert_entries(KsWrite *w);

/*
 * apply_rows.c: inserts one by one.  It outlives the subtransactions in which rows
 * are inserted and may fail, whether it was begun in one or outside; told of each
 * that has.
 */
typedef struct KsRowWriter KsRowWriter;

extern KsRowWriter *ks_rows_begin(KsApply *ap, const KsRoute *r);
extern void ks_rows_insert(KsRowWriter *rw, int row, KsCounts *counts);
extern void ks_rows_failed(KsRowWriter *rw, const ErrorData *edata);
extern void ks_rows_end(KsRowWriter *rw);

#endif
