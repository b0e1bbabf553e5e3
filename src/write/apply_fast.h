/*
 * apply_fast.h
 *	  What the files of the fast path share; nobody else includes it.
 *
 *	apply_fast_writer.c	the writer
 *	apply_fast_plan.c	whether it may be taken
 *	apply_partitioned.c	rows of a partitioned table to its partitions
 *	apply_fast.c	rows into the table
 *	apply_upsert.c	upserts and deletes by key
 *	apply_fill.c	columns that no record fills, and those that updates leave alone
 *	apply_probe.c	which keys of a batch are there already
 *	apply_foreign.c	foreign keys, checked for all rows at once
 *	apply_place.c	where updates put rows that move
 *	apply_unique.c	unique values that one row of a batch leaves to another
 *	apply_index.c	index entries, in the order of the index
 *	apply_leaf.c	those that go to the same page of a btree
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
	bool		fixed;			/* no update changes what it holds */
	KsSortKey	key;
} KsFastIndex;

/*
 * A column that no record fills.  It has a place in a row behind those of the
 * record.
 */
typedef struct KsFastColumn
{
	Expr	   *default_expr;	/* planned; NULL: it is NULL, or generated */
	bool		generated;
} KsFastColumn;

/* A foreign key of the target. */
typedef struct KsForeignKey
{
	Oid			relid;			/* the table that it refers to */
	KsFastIndex index;			/* of that table, over the target's rows */
} KsForeignKey;

typedef struct KsBlocks
{
	BlockNumber *blocks;		/* NULL at first */
	int			n;
	int			room;
} KsBlocks;

/* Pages that updates left, and those that they may use. */
typedef struct KsPlace
{
	bool		active;			/* the table's storage has pages */
	KsBlocks	vacated;		/* by the batch at hand */
	KsBlocks	offered;		/* by the batch before */
	int			next;			/* of offered */
	BlockNumber nblocks;		/* of the table, when the batch began */
	BlockNumber block;			/* on offer, or invalid */
	Size		used;			/* bytes of it */
} KsPlace;

/* What is known of a target that the fast path takes, or of a partition; lives with the target. */
typedef struct KsFast
{
	AttrNumber *attnums;		/* by place in a row: the column there */
	bool		partitioned;	/* the rest is of the columns; partitions have their own */
	struct HTAB *leaves;		/* of partitions that had rows: KsFastLeaf */
	bool		updates;		/* rows of partitions */
	bool		declined;		/* one of them cannot be written: the target is left to SQL */
	bool		plain;			/* all indexes are as above */
	bool		holds;			/* some of the others hold pages from row to row */
	int			nindexes;
	KsFastIndex *indexes;
	int			conflict;		/* upsert: the index of the key, else -1 */
	bool		evaluates;		/* checks, defaults or expressions of indexes */
	bool		other_unique;	/* and there are others that must be unique */
	int			nextra;
	KsFastColumn *extra;
	bool		generates;		/* some of them are generated */
	bool	   *kept;			/* by column that records fill: no update changes it */
	bool		keeps;			/* an update leaves some column as it is */
	bool	   *needed;			/* by place: its value after rows are written, too */
	bool		widens;			/* some such value is not the record's */
	int			nforeign;
	KsForeignKey *foreign;
	bool		referenced;		/* by other tables, or this one: deletes are checked */
	KsPlace		place;
} KsFast;

/* What is known of a partition. */
typedef struct KsFastLeaf
{
	Oid			relid;
	KsFast	   *fast;
} KsFastLeaf;

typedef struct KsRowList
{
	int		   *rows;			/* NULL at first */
	int			n;
} KsRowList;

/* One batch being written. */
typedef struct KsWrite
{
	KsApply    *ap;
	KsCounts   *counts;
	KsTarget   *target;
	KsFast	   *fast;
	int			lo,				/* records of the route */
				hi;
	KsRows		source;			/* as decoded */
	KsRows		rows;			/* as written, which may be the same */
	bool		wide;			/* or not: then with room for extra columns */
	bool		routed;			/* into a partition: rows have what is not generated */
	int			maxrows;		/* that it may have */
	MemoryContext cxt;			/* what is needed until the end */
	ExprState **defaults;		/* by extra column */
	ExprState **generated;		/* likewise, of this relation; NULL at first */
	Relation	rel;			/* the route's, or a partition of it */
	EState	   *estate;
	ResultRelInfo *rri;
	CommandId	cid;
	MemoryContext scratch;		/* reset every now and then */

	ItemPointerData *tids;		/* by row: where it was put */

	/* rows that need index entries; the first of them replace others */
	int		   *entries;
	int			nentries;
	int			nupdated;
	ItemPointerData *replaced;	/* by row: what one of these replaces, else invalid; NULL at first */

	KsRowList  *referring;		/* by foreign key: rows that have a new one */
} KsWrite;

/*
 * Opens the target's indexes, and closes them: of one resource owner.  With patches,
 * rows have values that are not the record's.
 */
extern void ks_fast_begin(KsWrite *w, KsApply *ap, const KsRoute *r, const KsRows *rows,
						  bool patches, KsCounts *counts);
extern void ks_fast_end(KsWrite *w);

extern TupleTableSlot *ks_fast_make_slot(KsWrite *w);

/* --- apply_fast_plan.c --- */

/*
 * Of a partition, which is open and locked; NULL: it cannot be written.  'rel' is the
 * target, and written as it is.  Kept, as long as the target is.
 */
extern KsFast *ks_fast_plan_leaf(KsTarget *target, Relation rel, Relation leaf);

/* --- apply_partitioned.c --- */

/*
 * Rows to their partitions, and 'write' there: rows idx[0..n), and items[0..n) if they
 * are sorted; false if SQL is to do it.  Then foreign keys of all partitions.
 */
typedef bool (*KsLeafWrite) (KsWrite *w, KsSortItem *items, const int *idx, int n);

extern KsWritten ks_partitioned_write(KsWrite *w, KsSortItem *items, const int *idx, int n,
									  KsLeafWrite write);

/* --- apply_fill.c --- */

/* What the table has beside the columns that records fill; false: too much. */
extern bool ks_fill_plan(Relation rel, KsTarget *target, KsFast *fast);

/* The same of a partition; false if it does not treat columns as the table does. */
extern bool ks_fill_plan_leaf(Relation rel, Relation leaf, const KsTarget *target, KsFast *fast);

/* The place of a column in a row; all of the table have one. */
extern int	ks_fill_place(const KsTarget *target, const KsFast *fast, AttrNumber attnum);

/* Updates leave the key as it is, where its index takes different values for equal. */
extern void ks_fill_keep_key(const KsTarget *target, Relation index, KsFast *fast);

/* With indexes and foreign keys: what is needed of rows; false: it is not to be had. */
extern bool ks_fill_settle(const KsTarget *target, bool updates, KsFast *fast);

extern void ks_fill_begin(KsWrite *w, bool patches);
extern void ks_fill_end(KsWrite *w);

/* A row to w->rows; those that are filled come there by that. */
extern void ks_fill_widen(KsWrite *w, int row);

/*
 * A row as a tuple that the table's constraints accept: as an INSERT makes it, or as
 * an update of an old one does.
 */
extern void ks_fill_insert(KsWrite *w, TupleTableSlot *slot, int row);
extern void ks_fill_update(KsWrite *w, TupleTableSlot *slot, int row, TupleTableSlot *old);

/* A row as a tuple of a partitioned table, before its partition is known. */
extern void ks_fill_route(KsWrite *w, TupleTableSlot *slot, int row);

/* --- apply_foreign.c --- */

/* Has the table no triggers but those of foreign keys that can be checked here? */
extern bool ks_foreign_plan(Relation rel, bool updates, KsTarget *target, KsFast *fast);

/* May a batch be written, with deletes or without? */
extern bool ks_foreign_may(const KsFast *fast, bool deletes);

/* A row, as it is filled, is new, or replaces an old one. */
extern void ks_foreign_note(KsWrite *w, int row, TupleTableSlot *old);

/*
 * Locks the rows that the noted ones refer to, as the server's triggers do.  False if
 * there is one that is missing, or that somebody has changed: the triggers tell.
 */
extern bool ks_foreign_check(KsWrite *w);

/* --- the others --- */

/* Inserts rows; their places to w->tids, and what needs entries to w->entries. */
extern void ks_fast_insert_rows(KsWrite *w, const int *idx, int n);

/* Entries for w->entries in all indexes, unique ones checked, with the time. */
extern void ks_fast_insert_all_entries(KsWrite *w);

/* Writes, patches and deletes, one for a key, sorted by it; changes the order of items. */
extern KsWritten ks_fast_upsert(KsApply *ap, const KsRoute *r, const KsRows *rows,
								KsSortItem *items, int n, bool patches, KsCounts *counts);

/* What ks_fast_probe() calls for a row that is there, in its place.  False ends it. */
typedef bool (*KsFound) (void *arg, int row, TupleTableSlot *there);

/* Can rows be found by an index? */
extern bool ks_probe_finds(Relation index);

/*
 * For each of n keys in the ascending order of an index of rel: is a row there that
 * the active snapshot sees?  Those that are not are moved to the front of items, in
 * order; returns how many, or -1 if found() has ended it.  found() may change the
 * row at once, which is when its page is at hand, but not the index.
 */
extern int	ks_fast_probe(Relation rel, const KsFastIndex *fi, const KsRows *rows,
						  KsSortItem *items, int n, KsFound found, void *arg);

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

/* What an index has of a row. */
static inline void
ks_fast_entry_values(const KsWrite *w, const KsFastIndex *fi, int row, Datum *values, bool *isnull)
{
	Size		first = (Size) row * w->rows.ncols;

	for (int c = 0; c < fi->ncols; c++)
	{
		values[c] = w->rows.values[first + fi->cols[c]];
		isnull[c] = w->rows.isnull[first + fi->cols[c]];
	}
}

/* The version with the same key that a row replaces, NULL: it is new, or has another one. */
static inline const ItemPointerData *
ks_fast_replaces(const KsWrite *w, const KsFastIndex *fi, int row)
{
	return fi->fixed && w->nupdated > 0 && ItemPointerIsValid(&w->replaced[row]) ? &w->replaced[row] : NULL;
}

/* apply_leaf.c: entries of items, which are all of a batch in the order of the index; NULL: not in this one. */
typedef struct KsLeaf KsLeaf;

extern KsLeaf *ks_leaf_begin(KsWrite *w, Relation index, const KsFastIndex *fi);

/* Of items[i..n) the first ones: how many; 0: the first is left to the access method. */
extern int	ks_leaf_insert(KsLeaf *leaf, const KsSortItem *items, int i, int n);
extern void ks_leaf_end(KsLeaf *leaf);

/* Makes w->replaced. */
extern void ks_fast_make_replaced(KsWrite *w);

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
