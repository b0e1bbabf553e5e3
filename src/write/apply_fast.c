/*
 * apply_fast.c
 *	  Rows into a plain table, or a partition, by the table access method.
 *
 * Inserts go in by thousands, as COPY's do: fewer page locks, one WAL record a
 * page.  Their index entries follow index by index, in its order, so that
 * neighbours go to the same page while it is at hand.
 *
 * The rows of the batch are slots that borrow the decoded values, so nothing
 * is copied before the access method does.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "write/apply_fast.h"

#define ROWS_PER_INSERT		256

void
ks_fast_begin(KsWrite *w, KsApply *ap, const KsRoute *r, const KsRows *rows, bool patches,
			  KsCounts *counts)
{
	ItemPointerData *tids;

	memset(w, 0, sizeof(KsWrite));
	w->ap = ap;
	w->counts = counts;
	w->target = r->target;
	w->fast = r->target->fast;
	w->source = *rows;
	w->rel = r->rel;
	w->estate = CreateExecutorState();
	ks_init_range_table(w->estate, w->rel, r->target->written_cols, NULL);
	w->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(w->rri, w->rel, 1, NULL, 0);
	w->cid = GetCurrentCommandId(true);
	w->estate->es_output_cid = w->cid;
	if (!w->fast->partitioned)
		ExecOpenIndices(w->rri, false);
	w->lo = r->lo;
	w->hi = r->hi;
	w->maxrows = r->hi - r->lo;
	tids = palloc_extended((Size) w->maxrows * sizeof(ItemPointerData), MCXT_ALLOC_HUGE);
	w->tids = KS_NUMBER_FROM(tids, w->lo);
	w->entries = palloc_extended((Size) w->maxrows * sizeof(int), MCXT_ALLOC_HUGE);
	w->referring = palloc0((w->fast->nforeign + 1) * sizeof(KsRowList));
	w->scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink write",
									   ALLOCSET_DEFAULT_SIZES);
	ks_fill_begin(w, patches);
}

void
ks_fast_end(KsWrite *w)
{
	ExecCloseIndices(w->rri);
	ExecResetTupleTable(w->estate->es_tupleTable, false);
	FreeExecutorState(w->estate);
	MemoryContextDelete(w->scratch);
	ks_fill_end(w);
	for (int i = 0; i < w->fast->nforeign; i++)
		if (w->referring[i].rows)
			pfree(w->referring[i].rows);
	pfree(w->referring);
	pfree(w->tids + w->lo);
	pfree(w->entries);
	if (w->replaced)
		pfree(w->replaced + w->lo);
	CommandCounterIncrement();
}

TupleTableSlot *
ks_fast_make_slot(KsWrite *w)
{
	return MakeSingleTupleTableSlot(RelationGetDescr(w->rel), table_slot_callbacks(w->rel));
}

/*
 * Inserts rows; their places to w->tids.  Where not all indexes are plain, the
 * executor makes the entries at once.
 */
void
ks_fast_insert_rows(KsWrite *w, const int *idx, int n)
{
	int			nslots = Min(n, ROWS_PER_INSERT);
	TupleTableSlot **slots;
	BulkInsertState bistate;

	if (n == 0)
		return;
	slots = palloc(nslots * sizeof(TupleTableSlot *));
	bistate = GetBulkInsertState();
	for (int i = 0; i < nslots; i++)
		slots[i] = ks_fast_make_slot(w);
	for (int done = 0; done < n;)
	{
		int			m = Min(n - done, nslots);
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < m; i++)
			ks_fill_insert(w, slots[i], idx[done + i]);
		old = MemoryContextSwitchTo(w->scratch);
		table_multi_insert(w->rel, slots, m, w->cid, 0, bistate);
		MemoryContextSwitchTo(old);
		if (w->fast->plain)
			for (int i = 0; i < m; i++)
			{
				w->tids[idx[done + i]] = slots[i]->tts_tid;
				w->entries[w->nentries++] = idx[done + i];
			}
		else if (w->rri->ri_NumIndices > 0)
			for (int i = 0; i < m; i++)
				list_free(ks_exec_insert_index_tuples(w->rri, slots[i], w->estate));
		for (int i = 0; i < m; i++)
		{
			w->counts[w->ap->recs[idx[done + i]].pidx].applied++;
			if (w->fast->nforeign > 0)
				ks_foreign_note(w, idx[done + i], NULL);
		}
		ResetPerTupleExprContext(w->estate);
		MemoryContextReset(w->scratch);
		done += m;
	}
	FreeBulkInsertState(bistate);
	table_finish_bulk_insert(w->rel, 0);
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	pfree(slots);
}

/* Of a batch, with the time that it takes. */
void
ks_fast_insert_all_entries(KsWrite *w)
{
	instr_time	start,
				end;

	if (w->nentries == 0 || w->fast->nindexes == 0)
		return;
	INSTR_TIME_SET_CURRENT(start);
	ks_fast_insert_entries(w);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	w->ap->index_us += INSTR_TIME_GET_MICROSEC(end);
}
