/*
 * apply_unique.c
 *	  Unique values that go from one row to another within a batch.
 *
 * The statement of an upsert writes row by row, in the order of the key, and
 * asks all unique indexes for each: a value that another row of the batch gives
 * up is free behind that row, and taken before it.  The fast path makes index
 * entries when all rows have changed, and would find it free either way: it would
 * take batches that the statement refuses.
 *
 * So where an update changes what a unique index other than the key's holds, the
 * new entries of the batch are looked for first as the index was before the
 * batch.  If one belonged to a row with a greater key the general path has to
 * say what is to be done.  (A row that is deleted makes room for all others; then
 * it says that all is well.)
 */
#include "postgres.h"

#include "access/skey.h"
#include "access/stratnum.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/apply_fast.h"

/* Entries between looks at interrupts. */
#define CHUNK		1024

/* Can an update change what the index holds, and is that unique? */
static bool
is_other_unique(const KsFast *fast, int i)
{
	return i != fast->conflict && fast->indexes[i].unique && !fast->indexes[i].fixed;
}

bool
ks_unique_has_others(const KsFast *fast)
{
	for (int i = 0; i < fast->nindexes; i++)
		if (is_other_unique(fast, i))
			return true;
	return false;
}

bool
ks_unique_changes(KsWrite *w, int row, TupleTableSlot *old)
{
	TupleDesc	desc = RelationGetDescr(w->rel);
	Size		first = (Size) row * w->rows.ncols;

	for (int i = 0; i < w->fast->nindexes; i++)
	{
		const KsFastIndex *fi = &w->fast->indexes[i];

		if (!is_other_unique(w->fast, i))
			continue;
		for (int k = 0; k < fi->key.ncols; k++)
		{
			int			c = fi->key.cols[k];
			AttrNumber	attnum = w->fast->attnums[c];
			Form_pg_attribute att = TupleDescAttr(desc, attnum - 1);
			bool		isnull;
			Datum		value = slot_getattr(old, attnum, &isnull);

			if (isnull != w->rows.isnull[first + c] ||
				(!isnull && !datum_image_eq(value, w->rows.values[first + c],
											att->attbyval, att->attlen)))
				return true;
		}
	}
	return false;
}

/* --- looking up --- */

typedef struct Lookup
{
	KsWrite    *w;
	const KsFastIndex *fi;
	bool		nulls_equal;
	IndexScanDesc scan;
	ScanKeyData equal[INDEX_MAX_KEYS];
	TupleTableSlot *slot;		/* the row found */
	/* its key, laid out as a row of the batch */
	Datum	   *values;
	bool	   *isnull;
} Lookup;

static void
init_equal(Lookup *l, Relation index)
{
	for (int i = 0; i < l->fi->key.ncols; i++)
	{
		Oid			type = index->rd_opcintype[i];
		Oid			eq = get_opfamily_member(index->rd_opfamily[i], type, type,
											 BTEqualStrategyNumber);

		ScanKeyEntryInitialize(&l->equal[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i], get_opcode(eq), (Datum) 0);
	}
}

/* The entry that a row will have; false if NULL makes it unlike all others. */
static bool
seek_entry(Lookup *l, int row)
{
	const KsSortKey *key = &l->fi->key;
	Size		first = (Size) row * l->w->rows.ncols;
	ScanKeyData keys[INDEX_MAX_KEYS];

	for (int i = 0; i < key->ncols; i++)
	{
		if (!l->w->rows.isnull[first + key->cols[i]])
		{
			keys[i] = l->equal[i];
			keys[i].sk_argument = l->w->rows.values[first + key->cols[i]];
		}
		else if (l->nulls_equal)
			ScanKeyEntryInitialize(&keys[i], SK_ISNULL | SK_SEARCHNULL, i + 1, InvalidStrategy,
								   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
		else
			return false;
	}
	index_rescan(l->scan, keys, key->ncols, NULL, 0);
	return true;
}

/* Does the statement come to the row that was found after this one? */
static bool
comes_later(Lookup *l, int row)
{
	KsWrite    *w = l->w;
	const KsSortKey *key = &w->target->sortkey;
	Size		first = (Size) row * w->rows.ncols;
	MemoryContext old = MemoryContextSwitchTo(w->scratch);
	int			order;

	for (int i = 0; i < key->ncols; i++)
	{
		int			c = key->cols[i];

		l->values[c] = slot_getattr(l->slot, w->fast->attnums[c], &l->isnull[c]);
	}
	order = ks_sort_compare_full(key, l->values, l->isnull, w->rows.values + first,
								 w->rows.isnull + first);
	MemoryContextSwitchTo(old);
	return order > 0;
}

static bool
check_index(KsWrite *w, Relation index, const KsFastIndex *fi, const int *rows, int n)
{
	Lookup		l = {.w = w, .fi = fi, .nulls_equal = KS_NULLS_NOT_DISTINCT(index)};
	KsSortItem *items = ks_sort_rows(&fi->key, &w->rows, rows, n);
	bool		free = true;

	init_equal(&l, index);
	l.scan = ks_index_beginscan(w->rel, index, GetActiveSnapshot(), fi->key.ncols);
	l.slot = ks_fast_make_slot(w);
	l.values = palloc0(w->rows.ncols * sizeof(Datum));
	l.isnull = palloc0(w->rows.ncols * sizeof(bool));

	/* Not in the scratch context: a scan may keep what it allocates while it runs. */
	for (int i = 0; i < n && free; i++)
	{
		if (seek_entry(&l, items[i].row))
			while (free && index_getnext_slot(l.scan, ForwardScanDirection, l.slot))
				free = !comes_later(&l, items[i].row);
		if (i % CHUNK == CHUNK - 1)
		{
			CHECK_FOR_INTERRUPTS();
			ExecClearTuple(l.slot);
			MemoryContextReset(w->scratch);
		}
	}
	index_endscan(l.scan);
	ExecDropSingleTupleTableSlot(l.slot);
	MemoryContextReset(w->scratch);
	pfree(l.values);
	pfree(l.isnull);
	pfree(items);
	return free;
}

bool
ks_unique_check(KsWrite *w, const int *inserted, int n)
{
	bool		free = true;
	int		   *rows = palloc_extended((Size) (w->nentries + n + 1) * sizeof(int), MCXT_ALLOC_HUGE);

	memcpy(rows, w->entries, w->nentries * sizeof(int));
	memcpy(rows + w->nentries, inserted, n * sizeof(int));
	for (int i = 0; i < w->rri->ri_NumIndices && free; i++)
	{
		Relation	index = w->rri->ri_IndexRelationDescs[i];
		const KsFastIndex *fi;

		if (index == NULL || !w->rri->ri_IndexRelationInfo[i]->ii_ReadyForInserts)
			continue;
		fi = ks_fast_index(w, index);
		if (is_other_unique(w->fast, fi - w->fast->indexes))
			free = check_index(w, index, fi, rows, w->nentries + n);
	}
	pfree(rows);
	return free;
}
