/*
 * apply_partitioned.c
 *	  Rows of a partitioned table to its partitions, by the fast path.
 *
 * First each row is filled as one of the table, with its defaults, in the order of
 * the log, and the server's own routing finds its partition, as for INSERT and COPY:
 * which partitions there are, sub-partitions, a default one, keys that are
 * expressions, locks, and what is said of a row that has none are all its.  Then
 * each partition has its rows as a table of its own (apply_fast.c, apply_upsert.c),
 * all of them at once; what it generates and checks is the partition's.  Foreign
 * keys come last, when all is written.
 *
 * A key tells the partition, so upserts and deletes are the partition's, too: no
 * update moves a row, and none finds one elsewhere.
 *
 * Who may write is asked of the table alone, as the server does.
 *
 * A partition is known since its first rows (ks_fast_plan_leaf()), as long as the
 * target is valid.  The lock that it gets here tells of what has changed before, and
 * keeps it as it is.  So it is asked once more whether the target is valid when all
 * of them are locked; if not, or if there is one that cannot be written, SQL takes
 * the batch before anything is written.
 */
#include "postgres.h"

#include "executor/execPartition.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/apply_fast.h"

/* Rows between looks at interrupts. */
#define CHUNK		256

/* A partition that has rows of the batch. */
typedef struct Leaf
{
	KsWrite		w;				/* as of a table of its own */
	int			nth;
	int			n;				/* its rows */
	int			first;			/* where they stand when all are in the order of partitions */
} Leaf;

typedef struct Routing
{
	KsWrite    *w;				/* of the table */
	ModifyTableState *mtstate;
	struct PartitionTupleRouting *proute;
	Leaf	  **leaves;			/* in the order in which they were met */
	int			nleaves;
	int			maxleaves;
	bool		deletes;		/* there are some */
} Routing;

static void
begin_routing(Routing *ro, KsWrite *w)
{
	MemoryContext old = MemoryContextSwitchTo(w->estate->es_query_cxt);

	memset(ro, 0, sizeof(Routing));
	ro->w = w;
	/* as much of it as COPY has */
	ro->mtstate = makeNode(ModifyTableState);
	ro->mtstate->ps.state = w->estate;
	ro->mtstate->operation = CMD_INSERT;
	ro->mtstate->mt_nrels = 1;
	ro->mtstate->resultRelInfo = w->rri;
	ro->mtstate->rootResultRelInfo = w->rri;
	ro->proute = ExecSetupPartitionTupleRouting(w->estate, w->rel);
	MemoryContextSwitchTo(old);
}

/* NULL: it must not be written here. */
static Leaf *
add_leaf(Routing *ro, ResultRelInfo *rri)
{
	KsWrite    *w = ro->w;
	KsFast	   *fast = ks_fast_plan_leaf(w->target, w->rel, rri->ri_RelationDesc);
	Leaf	   *leaf;

	if (fast == NULL || !ks_foreign_may(fast, ro->deletes))
		return NULL;
	Assert(w->wide || !fast->widens);
	leaf = palloc(sizeof(Leaf));
	leaf->w = *w;
	leaf->w.fast = fast;
	leaf->w.rel = rri->ri_RelationDesc;
	leaf->w.rri = rri;
	leaf->w.routed = true;
	leaf->w.referring = palloc0((fast->nforeign + 1) * sizeof(KsRowList));
	leaf->nth = ro->nleaves;
	leaf->n = 0;
	if (ro->nleaves == ro->maxleaves)
	{
		ro->maxleaves = Max(16, ro->maxleaves * 2);
		ro->leaves = ro->leaves ? repalloc(ro->leaves, ro->maxleaves * sizeof(Leaf *)) :
			palloc(ro->maxleaves * sizeof(Leaf *));
	}
	ro->leaves[ro->nleaves++] = leaf;
	return leaf;
}

/*
 * What was made of a partition hangs where COPY has what it makes of it: nobody else
 * looks there.
 */
static inline Leaf *
leaf_of(Routing *ro, ResultRelInfo *rri)
{
	Leaf	   *leaf = (Leaf *) rri->ri_CopyMultiInsertBuffer;

	if (unlikely(leaf == NULL))
	{
		leaf = add_leaf(ro, rri);
		rri->ri_CopyMultiInsertBuffer = (struct CopyMultiInsertBuffer *) leaf;
	}
	return leaf;
}

/* Finds the partition of each row, to 'where'; false if some must not be written here. */
static bool
route_rows(Routing *ro, const int *idx, int n, int *where)
{
	KsWrite    *w = ro->w;
	TupleTableSlot *slot = ks_fast_make_slot(w);
	bool		all = true;

	for (int i = 0; i < n && all; i++)
	{
		Leaf	   *leaf;

		ks_fill_route(w, slot, idx[i]);
		leaf = leaf_of(ro, ExecFindPartition(ro->mtstate, w->rri, ro->proute, slot, w->estate));
		if (likely(leaf != NULL))
		{
			where[i] = leaf->nth;
			leaf->n++;
		}
		all = leaf != NULL;
		if (i % CHUNK == CHUNK - 1)
		{
			CHECK_FOR_INTERRUPTS();
			ResetPerTupleExprContext(w->estate);
		}
	}
	ExecDropSingleTupleTableSlot(slot);
	ResetPerTupleExprContext(w->estate);
	return all;
}

/* The rows of each partition together, in their order; so the items, if there are any. */
static int *
collect_rows(Routing *ro, KsSortItem *items, const int *idx, int n, const int *where)
{
	int		   *rows = palloc_extended((Size) n * sizeof(int), MCXT_ALLOC_HUGE);
	KsSortItem *copy = items ? palloc_extended((Size) n * sizeof(KsSortItem), MCXT_ALLOC_HUGE) : NULL;
	int			at = 0;

	for (int i = 0; i < ro->nleaves; i++)
	{
		ro->leaves[i]->first = at;
		at += ro->leaves[i]->n;
		ro->leaves[i]->w.maxrows = ro->leaves[i]->n;
		ro->leaves[i]->n = 0;
	}
	for (int i = 0; i < n; i++)
	{
		Leaf	   *leaf = ro->leaves[where[i]];

		if (items)
			copy[leaf->first + leaf->n] = items[i];
		rows[leaf->first + leaf->n++] = idx[i];
	}
	if (items)
	{
		memcpy(items, copy, (Size) n * sizeof(KsSortItem));
		pfree(copy);
	}
	return rows;
}

static bool
write_routed(Routing *ro, KsSortItem *items, const int *idx, int n, KsLeafWrite write)
{
	int		   *where = palloc_extended((Size) n * sizeof(int), MCXT_ALLOC_HUGE);
	int		   *rows;
	bool		written = true;

	/* all of them are locked when they are known */
	if (!route_rows(ro, idx, n, where) || !ro->w->target->valid)
		return false;
	rows = collect_rows(ro, items, idx, n, where);
	for (int i = 0; i < ro->nleaves && written; i++)
	{
		Leaf	   *leaf = ro->leaves[i];

		CHECK_FOR_INTERRUPTS();
		written = write(&leaf->w, items ? items + leaf->first : NULL, rows + leaf->first, leaf->n);
	}
	pfree(rows);
	pfree(where);
	return written;
}

KsWritten
ks_partitioned_write(KsWrite *w, KsSortItem *items, const int *idx, int n, KsLeafWrite write)
{
	Routing		ro;
	bool		written;

	/* which partitions there are, and what checks see, is told by a snapshot */
	PushActiveSnapshot(GetTransactionSnapshot());
	begin_routing(&ro, w);
	for (int i = 0; i < n && !ro.deletes; i++)
		ro.deletes = w->ap->ops[idx[i]] == KS_ROW_DELETE;
	if (items)					/* one for all partitions */
		ks_fast_make_replaced(w);
	written = write_routed(&ro, items, idx, n, write);
	PopActiveSnapshot();
	for (int i = 0; i < ro.nleaves && written; i++)
		written = ks_foreign_check(&ro.leaves[i]->w);
	ExecCleanupTupleRouting(ro.mtstate, ro.proute);
	return written ? KS_WRITTEN : KS_USE_SQL;
}
