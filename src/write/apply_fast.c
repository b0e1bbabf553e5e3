/*
 * apply_fast.c
 *	  Rows to the target by the table access method: the fast path of plain
 *	  tables.
 *
 * Taken where it does provably the same as the statement of apply_sql.c: the
 * server plans that as a change of this table alone (target_plan.c), which is an
 * ordinary one, not a partition, without triggers of any kind (so without
 * foreign keys), row security, generated columns, deferrable or exclusion
 * constraints, every column filled from records.  Upserts need more:
 * nothing but btree indexes over plain columns, and a key whose type has one
 * spelling for each value, because ON CONFLICT DO UPDATE keeps the old one.
 *
 * Inserts go in by thousands, as COPY's do: fewer page locks, one WAL record a
 * page.  Their index entries follow index by index, in its order, so that
 * neighbours go to the same page while it is at hand.
 *
 * Upserts come sorted by key.  A walk along the index finds the rows that are
 * there, which are updated on the way; the others are inserted as above.  The
 * unique index has the last word: a key that somebody else inserted meanwhile
 * fails there, and a row that somebody else changed is not updated.  Nor may a
 * row take a unique value too early (apply_unique.c).  Either way
 * the attempt ends in an error, and the general path takes the batch, waits
 * where it must and says what is to be said.
 *
 * The rows of the batch are slots that borrow the decoded values, so nothing
 * is copied before the access method does.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/nbtree.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "tcop/utility.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/accumulate.h"
#include "write/apply_fast.h"

#define ROWS_PER_INSERT		256

/* --- whether --- */

static bool
describe_index(KsTarget *target, Relation index, KsFastIndex *fi)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return false;
	fi->oid = RelationGetRelid(index);
	fi->unique = form->indisunique;
	fi->ncols = form->indnatts;
	fi->of_key = true;
	for (int i = 0; i < fi->ncols; i++)
	{
		fi->cols[i] = ks_target_find_column(target, form->indkey.values[i]);
		if (fi->cols[i] < 0)
			return false;
		if (target->cols[fi->cols[i]].keyno < 0)
			fi->of_key = false;
	}
	ks_sort_init(&fi->key, index, fi->cols, target->cxt);
	return true;
}

/* Can an upsert find rows by it, and leave the key as it is? */
static bool
index_finds_rows(Relation index)
{
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (index->rd_indoption[i] & INDOPTION_DESC)
			return false;
	return _bt_allequalimage(index, false);
}

/*
 * Decided when the target is built; whatever it depends on invalidates the
 * relation's cache entry, and so the target.  In the target's context.
 */
KsFast *
ks_fast_plan(const KsSink *sink, Relation rel, KsTarget *target)
{
	TupleDesc	desc = RelationGetDescr(rel);
	KsFast	   *fast;
	List	   *indexes;
	ListCell   *lc;
	int			live = 0;

	if (!target->bare || sink->update_if || ks_accumulate_by_sql(target) ||
		(sink->insert_mode != KS_UPSERT && sink->insert_mode != KS_ACCUMULATE && (sink->insert_mode != KS_INSERT || sink->delete_enabled)) ||
		rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition ||
		rel->trigdesc != NULL || rel->rd_rel->relrowsecurity)
		return NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attgenerated != '\0')
			return NULL;
		live += !att->attisdropped;
	}
	/* a column that no record fills may have a default, or a value to be kept */
	if (live != target->ncols || target->given)
		return NULL;
	if (sink->insert_mode == KS_UPSERT)
		for (int i = 0; i < target->ncols; i++)
			if (target->cols[i].insert_only)
				return NULL;

	indexes = RelationGetIndexList(rel);
	fast = palloc0(sizeof(KsFast));
	fast->plain = true;
	fast->conflict = -1;
	fast->indexes = palloc0((list_length(indexes) + 1) * sizeof(KsFastIndex));
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		ok = index->rd_index->indimmediate && !index->rd_index->indisexclusion;

		if (ok && describe_index(target, index, &fast->indexes[fast->nindexes]))
		{
			if (RelationGetRelid(index) == target->key_index && index_finds_rows(index))
				fast->conflict = fast->nindexes;
			fast->nindexes++;
		}
		else
			fast->plain = false;
		index_close(index, NoLock);
		if (!ok)
			return NULL;
	}
	/* without a column to update it would be DO NOTHING */
	if (sink->insert_mode != KS_INSERT &&
		(!fast->plain || fast->conflict < 0 || target->nkeys == target->ncols))
		return NULL;
	fast->evaluates = !fast->plain || (desc->constr && desc->constr->num_check > 0);
	fast->other_unique = sink->insert_mode != KS_INSERT && ks_unique_has_others(fast);
	return fast;
}

/* --- rows --- */

void
ks_fast_begin(KsWrite *w, KsApply *ap, const KsRoute *r, const KsRows *rows, KsCounts *counts)
{
	memset(w, 0, sizeof(KsWrite));
	w->ap = ap;
	w->counts = counts;
	w->target = r->target;
	w->fast = r->target->fast;
	w->rows = *rows;
	w->rel = r->rel;
	w->estate = CreateExecutorState();
	ks_init_range_table(w->estate, w->rel, r->target->written_cols, NULL);
	w->rri = makeNode(ResultRelInfo);
	InitResultRelInfo(w->rri, w->rel, 1, NULL, 0);
	w->cid = GetCurrentCommandId(true);
	w->estate->es_output_cid = w->cid;
	ExecOpenIndices(w->rri, false);
	w->tids = palloc_extended((Size) ap->nrecs * sizeof(ItemPointerData), MCXT_ALLOC_HUGE);
	w->entries = palloc_extended((Size) ap->nrecs * sizeof(int), MCXT_ALLOC_HUGE);
	w->scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink write",
									   ALLOCSET_DEFAULT_SIZES);
}

void
ks_fast_end(KsWrite *w)
{
	ExecCloseIndices(w->rri);
	ExecResetTupleTable(w->estate->es_tupleTable, false);
	FreeExecutorState(w->estate);
	MemoryContextDelete(w->scratch);
	pfree(w->tids);
	pfree(w->entries);
	CommandCounterIncrement();
}

TupleTableSlot *
ks_fast_make_slot(KsWrite *w)
{
	return MakeSingleTupleTableSlot(RelationGetDescr(w->rel), table_slot_callbacks(w->rel));
}

/* A row as a tuple that the table's constraints accept. */
void
ks_fast_fill_slot(KsWrite *w, TupleTableSlot *slot, int row)
{
	KsTarget   *target = w->target;
	const Datum *values = w->rows.values + (Size) row * target->ncols;
	const bool *isnull = w->rows.isnull + (Size) row * target->ncols;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, RelationGetDescr(w->rel)->natts);	/* dropped columns */
	for (int c = 0; c < target->ncols; c++)
	{
		int			a = target->cols[c].attnum - 1;

		slot->tts_values[a] = values[c];
		slot->tts_isnull[a] = isnull[c];
	}
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(w->rel);
	if (RelationGetDescr(w->rel)->constr != NULL)
		ExecConstraints(w->rri, slot, w->estate);
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
			ks_fast_fill_slot(w, slots[i], idx[done + i]);
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
			w->counts[w->ap->recs[idx[done + i]].pidx].applied++;
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

static void
insert_run(KsApply *ap, const KsRoute *r, const int *idx, int n, KsCounts *counts)
{
	KsWrite		w;

	PreventCommandIfReadOnly("INSERT");
	ks_fast_begin(&w, ap, r, &r->rows, counts);
	/* checks see what was written before, as in a statement */
	PushActiveSnapshot(GetTransactionSnapshot());
	ks_fast_insert_rows(&w, idx, n);
	ks_fast_insert_all_entries(&w);
	PopActiveSnapshot();
	ks_fast_end(&w);
}

/* --- the writer --- */

static KsWritten
fast_write(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	KsSortItem *items;

	/* all at once, where the statements would be two */
	if (run->step == KS_STEP_DELETES)
		return KS_WRITTEN;
	if (r->sink->insert_mode == KS_UPSERT)
	{
		items = ks_order_last(ap, r, run, counts);
		return ks_fast_upsert(ap, r, &r->rows, items, run->n, counts);
	}
	if (run->n == 1 && (ap->one_by_one || r->when == KS_WITH_ROW))
	{
		if (r->one_by_one == NULL)
			r->one_by_one = ks_rows_begin(ap, r);
		ks_rows_insert(r->one_by_one, run->idx[0], counts);
	}
	else
		insert_run(ap, r, run->idx, run->n, counts);
	return KS_WRITTEN;
}

static KsWritten
fast_store(KsApply *ap, KsRoute *r, const KsRows *rows, KsSortItem *items, int n, KsRowOp op,
		   KsCounts *counts)
{
	return ks_fast_upsert(ap, r, rows, items, n, counts);
}

static void
fast_failed(KsRoute *r, const ErrorData *edata)
{
	if (r->one_by_one)
		ks_rows_failed(r->one_by_one, edata);
}

static void
fast_end(KsRoute *r)
{
	if (r->one_by_one)
		ks_rows_end(r->one_by_one);
	r->one_by_one = NULL;
}

const KsWriter ks_fast_writer = {
	.name = "fast path",
	.write = fast_write,
	.store = fast_store,
	.failed = fast_failed,
	.end = fast_end
};
