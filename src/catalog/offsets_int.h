/*
 * offsets_int.h
 *	  What the files of the guard share; nobody else includes it.
 *
 *	offsets.c		the statements that lock and move rows: the guarantee
 *	offsets_place.c	where rows stand, and how they are found
 *	offsets_move.c	the move of rows where they stand, without a statement
 *	offsets_rows.c	rows read, made, audited, named; what is said when the guard refuses
 */
#ifndef KS_OFFSETS_INT_H
#define KS_OFFSETS_INT_H

#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

#include "catalog/offsets.h"

/* Columns of txn_offsets. */
enum
{
	KS_OFFSETS_SINK = 1,
	KS_OFFSETS_TOPIC,
	KS_OFFSETS_PART,
	KS_OFFSETS_OFF,
	KS_OFFSETS_START_OFF,
	KS_OFFSETS_LAST_OFF,
	KS_OFFSETS_LAST_HASH,
	KS_OFFSETS_TOPIC_ID,
	KS_OFFSETS_CONSUMED,		/* and on, as in KsCounts */
	KS_OFFSETS_GAPS = KS_OFFSETS_CONSUMED + 8,
	KS_OFFSETS_UPDATED_AT,
	KS_OFFSETS_NCOLUMNS = KS_OFFSETS_UPDATED_AT
};

StaticAssertDecl(sizeof(KsCounts) == (KS_OFFSETS_GAPS - KS_OFFSETS_CONSUMED + 1) * sizeof(int64),
				 "KsCounts and txn_offsets must agree");

/* The table, locked. */
extern Relation ks_offsets_open(LOCKMODE mode);

/*
 * Its unique index over (sink, topic, part) that holds at once, with the lock;
 * NULL if the table is not as the extension has made it.
 */
extern Relation ks_offsets_open_key(Relation rel, LOCKMODE mode);

/* Where this process has seen the row last; NULL if it has not. */
extern ItemPointer ks_offsets_place(const char *sink, const KsPartition *p);
extern void ks_offsets_placed(const char *sink, const KsPartition *p, ItemPointer tid);

/* Not between a lock and a move. */
extern void ks_offsets_forget_places(void);

/* Is this the row of the partition, or a version of it? */
extern bool ks_offsets_is_row(TupleTableSlot *slot, const char *sink, const KsPartition *p);

/*
 * Finds the version of the row that is visible now, and takes down its place.
 * False if there is none, or if it cannot be found this way.  'row' may be
 * NULL, or gets off, last_off and last_hash.
 */
extern bool ks_offsets_find(const char *sink, const KsPartition *p, KsPartition *row);

/*
 * The same of all rows of a sink, or of one topic of it, in order of (topic,
 * part); NULL if they cannot be found this way.
 */
extern KsPartition *ks_offsets_find_all(const char *sink, const char *topic, int *n);

/* Waits until nobody is in the middle of looking whether the row's key is free. */
extern void ks_offsets_pass_checks(Relation rel, Relation key, TupleTableSlot *row);

/*
 * Moves rows where they stand, in the transaction that has locked them, and
 * says which: false if the statement has to do it.  The caller is the owner of
 * the table.
 */
extern bool ks_offsets_move_in_place(const char *sink, KsPartition *const *parts, int n, bool *hit);

#endif
