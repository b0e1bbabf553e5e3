/*
 * apply_index.c
 *	  Index entries of a batch, index by index, in its order.
 *
 * In the order of the index neighbouring entries go to the same leaf page,
 * which is in the cache, and appended ones take the access method's short cut
 * to the rightmost page; row by row every index would be descended from its
 * root for every row, to a page that was touched long ago.  Of a btree, those that
 * go to the same page are put there together (apply_leaf.c).
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "write/apply_fast.h"

/* Entries between looks at interrupts. */
#define CHUNK		1024

static void
insert_entry(KsWrite *w, Relation index, IndexInfo *info, const KsFastIndex *fi, int row)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];

	ks_fast_entry_values(w, fi, row, values, isnull);

	/*
	 * A new version of a row with the same key is checked as well, as the
	 * server does: the check holds the key's first page, and without it a rival
	 * who looks through several pages of old versions could pass this entry's
	 * place before it is there and come to the old one when it is dead.
	 */
	index_insert(index, values, isnull, &w->tids[row], w->rel,
				 fi->unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO,
				 ks_fast_replaces(w, fi, row) != NULL, info);
}

static void
insert_into(KsWrite *w, Relation index, IndexInfo *info, const KsFastIndex *fi,
			const KsSortItem *items, int n)
{
	KsLeaf	   *leaf = ks_leaf_begin(w, index, fi);
	MemoryContext old = MemoryContextSwitchTo(w->scratch);
	int			looked = 0;

	for (int i = 0; i < n;)
	{
		int			done = leaf ? ks_leaf_insert(leaf, items, i, n) : 0;

		if (done == 0)
		{
			insert_entry(w, index, info, fi, items[i].row);
			done = 1;
		}
		i += done;
		if (i - looked >= CHUNK)
		{
			CHECK_FOR_INTERRUPTS();
			MemoryContextReset(w->scratch);
			looked = i;
		}
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(w->scratch);
	ks_leaf_end(leaf);
}

const KsFastIndex *
ks_fast_index(const KsWrite *w, Relation index)
{
	for (int i = 0; i < w->fast->nindexes; i++)
		if (w->fast->indexes[i].oid == RelationGetRelid(index))
			return &w->fast->indexes[i];
	elog(ERROR, "index \"%s\" is new to the target", RelationGetRelationName(index));
}

void
ks_fast_make_replaced(KsWrite *w)
{
	ItemPointerData *replaced = MemoryContextAllocExtended(w->cxt, (Size) Max(w->hi - w->lo, 1) * sizeof(ItemPointerData),
														   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

	w->replaced = KS_NUMBER_FROM(replaced, w->lo);
}

void
ks_fast_insert_entries(KsWrite *w)
{
	for (int i = 0; i < w->rri->ri_NumIndices; i++)
	{
		Relation	index = w->rri->ri_IndexRelationDescs[i];
		IndexInfo  *info = w->rri->ri_IndexRelationInfo[i];
		const KsFastIndex *fi;
		KsSortItem *items;

		if (index == NULL || !info->ii_ReadyForInserts)
			continue;
		fi = ks_fast_index(w, index);
		items = ks_sort_rows(&fi->key, &w->rows, w->entries, w->nentries);
		insert_into(w, index, info, fi, items, w->nentries);
		pfree(items);
	}
}
