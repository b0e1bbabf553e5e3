/*
 * sort.h
 *	  The rows of a batch in the order of a btree index.
 *
 * A row is its number in the batch; its values stand in one array for all
 * rows, or those of one target, which have numbers without gaps.  The first
 * column of the key is boiled down to a 64-bit integer that compares like it,
 * exactly where the type allows it, so that most comparisons touch nothing but
 * the array that is sorted.  The sort is stable: among equal keys the order of
 * the log stays.
 */
#ifndef KS_SORT_H
#define KS_SORT_H

#include "postgres.h"

#include "utils/rel.h"
#include "utils/sortsupport.h"

/* How the first column's value becomes an integer. */
typedef enum KsAbbrev
{
	KS_ABBREV_NONE,
	KS_ABBREV_INT2,
	KS_ABBREV_INT4,				/* and date */
	KS_ABBREV_INT8,				/* and timestamps */
	KS_ABBREV_UUID,				/* a prefix, as the following */
	KS_ABBREV_TEXT				/* in the order of bytes */
} KsAbbrev;

/* The key of a btree index whose columns are filled from records. */
typedef struct KsSortKey
{
	int			ncols;
	int			cols[INDEX_MAX_KEYS];	/* where the values stand in a row */
	SortSupportData ssup[INDEX_MAX_KEYS];
	KsAbbrev	abbrev;
	bool		exact;			/* the integer is all there is to compare */
	bool		descending;		/* the first column's order */
} KsSortKey;

/* The rows of a batch. */
typedef struct KsRows
{
	Datum	   *values;
	bool	   *isnull;
	int			ncols;			/* of one row */
} KsRows;

/* An array whose first element has the number lo, as a pointer that takes numbers. */
#define KS_NUMBER_FROM(array, lo) \
	((void *) ((uintptr_t) (array) - (uintptr_t) (lo) * sizeof(*(array))))

typedef struct KsSortItem
{
	int64		abbrev;
	int			row;
} KsSortItem;

/* cols: for each key column of the index its place in a row; allocates in cxt. */
extern void ks_sort_init(KsSortKey *key, Relation index, const int *cols,
						 MemoryContext cxt);

extern int64 ks_sort_abbreviate(const KsSortKey *key, Datum value, bool isnull);

/* Compares rows that have the same integer. */
extern int	ks_sort_compare_full(const KsSortKey *key, const Datum *va, const bool *na,
								 const Datum *vb, const bool *nb);

/* Makes room for rows [lo, hi), which keep their numbers, in the current context. */
extern void ks_sort_make_rows(KsRows *rows, int lo, int hi, int ncols);
extern void ks_sort_free_rows(KsRows *rows, int lo);

/*
 * Sorts rows idx[0..n) into a new array in the current context.
 */
extern KsSortItem *ks_sort_rows(const KsSortKey *key, const KsRows *rows,
								const int *idx, int n);

static inline int
ks_sort_compare(const KsSortKey *key, const KsRows *rows, const KsSortItem *a,
				const KsSortItem *b)
{
	Size		ra,
				rb;

	if (a->abbrev != b->abbrev)
		return a->abbrev < b->abbrev ? -1 : 1;
	if (key->exact)
		return 0;
	ra = (Size) a->row * rows->ncols;
	rb = (Size) b->row * rows->ncols;
	return ks_sort_compare_full(key, rows->values + ra, rows->isnull + ra,
								rows->values + rb, rows->isnull + rb);
}

#endif
