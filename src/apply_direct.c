/*
 * apply_direct.c
 *	  Rows to the target by the table access method's multi-insert: the fast
 *	  path of plain inserts.
 *
 * Taken where it does provably the same as the INSERT of apply_sql.c: an
 * ordinary table, not a partition, without triggers of any kind (so without
 * foreign keys), row security, generated columns, deferrable or exclusion
 * constraints, or columns that only the server fills (ks_direct_possible()).
 * Not-null and check constraints are checked as the executor checks them,
 * unique ones by the insertion into their index.
 *
 * Rows go in by thousands, as COPY's do: fewer page locks, one WAL record a
 * page.  The rows of the batch are slots that borrow the decoded values, so
 * nothing is copied before the access method does.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_attribute.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "apply.h"
#include "compat.h"

#define ROWS_PER_INSERT		1000

/*
 * Decided when the target is built; whatever it depends on invalidates the
 * relation's cache entry, and so the target.
 */
bool
ks_direct_possible(const KsSink *sink, Relation rel, int ncols)
{
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *indexes;
	ListCell   *lc;
	int			live = 0;

	if (sink->insert_mode != KS_INSERT || sink->delete_enabled ||
		rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition ||
		rel->trigdesc != NULL || rel->rd_rel->relrowsecurity ||
		rel->rd_rules != NULL)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attgenerated != '\0' || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			return false;
		live += !att->attisdropped;
	}
	/* a column that no record fills may have a default */
	if (live != ncols)
		return false;
	indexes = RelationGetIndexList(rel);
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		plain = index->rd_index->indimmediate && !index->rd_index->indisexclusion;

		index_close(index, NoLock);
		if (!plain)
			return false;
	}
	return true;
}

static void
insert_rows(KsApply *ap, const int *idx, int n)
{
	KsTarget   *target = ap->target;
	/* the lock is held since ks_target_valid() or the build */
	Relation	rel = table_open(target->relid, NoLock);
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	BulkInsertState bistate = GetBulkInsertState();
	CommandId	cid = GetCurrentCommandId(true);
	int			nslots = Min(n, ROWS_PER_INSERT);
	TupleTableSlot **slots = palloc(nslots * sizeof(TupleTableSlot *));
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink insert",
												  ALLOCSET_DEFAULT_SIZES);
	bool		constraints = RelationGetDescr(rel)->constr != NULL;
	int			natts = RelationGetDescr(rel)->natts;

	if (XactReadOnly)
		PreventCommandIfReadOnly("INSERT");
	ks_init_range_table(estate, rel, target->written_cols);
	InitResultRelInfo(rri, rel, 1, NULL, 0);
	estate->es_output_cid = cid;
	ExecOpenIndices(rri, false);
	for (int i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));

	for (int done = 0; done < n;)
	{
		int			m = Min(n - done, nslots);
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < m; i++)
		{
			Size		row = (Size) idx[done + i] * target->ncols;
			TupleTableSlot *slot = slots[i];

			ExecClearTuple(slot);
			memset(slot->tts_isnull, true, natts);	/* dropped columns */
			for (int c = 0; c < target->ncols; c++)
			{
				int			a = target->cols[c].attnum - 1;

				slot->tts_values[a] = ap->values[row + c];
				slot->tts_isnull[a] = ap->isnull[row + c];
			}
			ExecStoreVirtualTuple(slot);
			slot->tts_tableOid = RelationGetRelid(rel);
			if (constraints)
				ExecConstraints(rri, slot, estate);
		}
		old = MemoryContextSwitchTo(scratch);
		table_multi_insert(rel, slots, m, cid, 0, bistate);
		MemoryContextSwitchTo(old);
		if (rri->ri_NumIndices > 0)
			for (int i = 0; i < m; i++)
				list_free(ks_exec_insert_index_tuples(rri, slots[i], estate));
		ResetPerTupleExprContext(estate);
		MemoryContextReset(scratch);
		done += m;
	}

	FreeBulkInsertState(bistate);
	table_finish_bulk_insert(rel, 0);
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	ExecCloseIndices(rri);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	MemoryContextDelete(scratch);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

void
ks_apply_direct(KsApply *ap, int *idx, int n, KsCounts *counts)
{
	if (n == 0)
		return;
	insert_rows(ap, idx, n);
	for (int i = 0; i < n; i++)
		counts[ap->recs[idx[i]].pidx].applied++;
}
