/*
 * apply_fast.c
 *	  Rows to the target by the table access method: the fast path of plain
 *	  tables.
 *
 * Taken where it does provably the same as the statement of apply_sql.c: an
 * ordinary table, not a partition, without triggers of any kind (so without
 * foreign keys), row security, rules, generated columns, deferrable or
 * exclusion constraints, every column filled from records.  Upserts need more:
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

	if (sink->update_if || ks_accumulate_by_sql(target) ||
		(sink->insert_mode != KS_UPSERT && sink->insert_mode != KS_ACCUMULATE && (sink->insert_mode != KS_INSERT || sink->delete_enabled)) ||
		rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition ||
		rel->trigdesc != NULL || rel->rd_rel->relrowsecurity ||
		rel->rd_rules != NULL)
		return NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attgenerated != '\0' || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			return NULL;
		live += !att->attisdropped;
	}
	/* a column that no record fills may have a default, or a value to be kept */
	if (live != target->ncols || target->given)
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
	fast->other_unique = sink->insert_mode != KS_INSERT && ks_unique_has_others(fast);
	return fast;
}

/* --- rows --- */

void
ks_fast_begin(KsWrite *w, KsApply *ap, KsCounts *counts)
{
	memset(w, 0, sizeof(KsWrite));
	w->ap = ap;
	w->counts = counts;
	w->target = ap->target;
	w->fast = ap->target->fast;
	w->rows.values = ap->values;
	w->rows.isnull = ap->isnull;
	w->rows.ncols = ap->target->ncols;
	/* the lock is held since ks_target_valid() or the build */
	w->rel = table_open(ap->target->relid, NoLock);
	w->estate = CreateExecutorState();
	ks_init_range_table(w->estate, w->rel, ap->target->written_cols, NULL);
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
	table_close(w->rel, NoLock);
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
static void
insert_rows(KsWrite *w, const int *idx, int n)
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

/* Somebody else was faster: the general path waits for him, and sees why. */
static void
check_result(TM_Result result)
{
	if (result != TM_Ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg_internal("row was changed by another transaction")));
}

/* What change_row() needs beside the write itself. */
typedef struct Changes
{
	KsWrite    *w;
	Snapshot	snapshot;
	TupleTableSlot *slot;
	TupleTableSlot *old;		/* the row that is there, where its values matter */
	bool		unique_changed; /* by an update, and not of the key */
	int			n;
} Changes;

/* Makes a folded row the sum of it and the row that is there. */
static void
add_old_row(Changes *ch, int row, ItemPointer tid)
{
	KsWrite    *w = ch->w;
	Size		at = (Size) row * w->target->ncols;
	MemoryContext cxt;

	if (!table_tuple_fetch_row_version(w->rel, tid, ch->snapshot, ch->old))
		check_result(TM_Deleted);
	slot_getallattrs(ch->old);
	cxt = MemoryContextSwitchTo(w->ap->attempt_cxt);
	ks_accumulate_merge(w->target, w->ap->values + at, w->ap->isnull + at,
						ch->old->tts_values, ch->old->tts_isnull);
	MemoryContextSwitchTo(cxt);
}

/*
 * Does an update leave a unique value to others?
 * (not reached by tests: somebody deletes the row in that moment)
 */
static void
note_unique_change(Changes *ch, int row, ItemPointer tid)
{
	KsWrite    *w = ch->w;

	if (!w->fast->other_unique || ch->unique_changed)
		return;
	if (!table_tuple_fetch_row_version(w->rel, tid, ch->snapshot, ch->old))
		check_result(TM_Deleted);
	ch->unique_changed = ks_unique_changes(w, row, ch->old);
	ExecClearTuple(ch->old);
}

/* Updates or deletes the row that was found. */
static void
change_row(void *arg, int row, ItemPointer tid)
{
	Changes    *ch = arg;
	KsWrite    *w = ch->w;
	bool		delete = w->ap->ops[row] == KS_ROW_DELETE;
	TM_FailureData tmfd;
	LockTupleMode lockmode;
	KsUpdateIndexes update_indexes;
	MemoryContext old;

	w->counts[w->ap->recs[row].pidx].applied += !delete;
	w->counts[w->ap->recs[row].pidx].deleted += delete;

	old = MemoryContextSwitchTo(w->scratch);
	if (delete)
		check_result(table_tuple_delete(w->rel, tid, w->cid, ch->snapshot, InvalidSnapshot,
										true, &tmfd, false));
	else
	{
		if (w->target->accumulate)
		{
			/* ON CONFLICT checks what would be inserted, too */
			ks_fast_fill_slot(w, ch->slot, row);
			add_old_row(ch, row, tid);
		}
		ks_fast_fill_slot(w, ch->slot, row);
		ks_place_offer(w);
		check_result(table_tuple_update(w->rel, tid, ch->slot, w->cid, ch->snapshot,
										InvalidSnapshot, true, &tmfd, &lockmode,
										&update_indexes));
		w->tids[row] = ch->slot->tts_tid;
		if (KS_UPDATE_ALL_INDEXES(update_indexes))
		{
			w->entries[w->nentries++] = row;
			note_unique_change(ch, row, tid);
			ks_place_moved(w, ItemPointerGetBlockNumber(tid),
						   ItemPointerGetBlockNumber(&ch->slot->tts_tid),
						   ExecFetchSlotHeapTuple(ch->slot, false, NULL)->t_len);
		}
	}
	MemoryContextSwitchTo(old);
	if (++ch->n % 256 == 0)
	{
		ResetPerTupleExprContext(w->estate);
		MemoryContextReset(w->scratch);
	}
}

/* As statements do, whether a row is there to be changed or not. */
static void
check_replica_identity(KsWrite *w, const KsSortItem *items, int n)
{
	bool		checked[2] = {false, false};

	for (int i = 0; i < n && !(checked[0] && checked[1]); i++)
	{
		bool		delete = w->ap->ops[items[i].row] == KS_ROW_DELETE;

		if (!checked[delete])
			CheckCmdReplicaIdentity(w->rel, delete ? CMD_DELETE : CMD_UPDATE);
		checked[delete] = true;
	}
}

/* --- batches --- */

static void
insert_entries(KsWrite *w)
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

void
ks_fast_insert(KsApply *ap, const int *idx, int n, KsCounts *counts)
{
	KsWrite		w;

	if (n == 0)
		return;
	PreventCommandIfReadOnly("INSERT");
	ks_fast_begin(&w, ap, counts);
	insert_rows(&w, idx, n);
	insert_entries(&w);
	ks_fast_end(&w);
}

void
ks_fast_upsert(KsApply *ap, KsSortItem *items, int n, KsCounts *counts)
{
	KsWrite		w;
	Changes		changes = {.w = &w};
	int		   *idx;
	int			missing;
	int			new = 0;

	if (n == 0)
		return;
	PreventCommandIfReadOnly("INSERT");
	ks_fast_begin(&w, ap, counts);
	check_replica_identity(&w, items, n);
	PushActiveSnapshot(GetTransactionSnapshot());
	changes.snapshot = GetActiveSnapshot();
	changes.slot = ks_fast_make_slot(&w);
	changes.old = ks_fast_make_slot(&w);
	ks_place_begin(&w);
	missing = ks_fast_probe(&w, items, n, change_row, &changes);
	ExecDropSingleTupleTableSlot(changes.slot);
	ExecDropSingleTupleTableSlot(changes.old);
	ResetPerTupleExprContext(w.estate);
	MemoryContextReset(w.scratch);
	w.nupdated = w.nentries;

	idx = palloc_extended((Size) (missing + 1) * sizeof(int), MCXT_ALLOC_HUGE);
	for (int i = 0; i < missing; i++)
	{
		int			row = items[i].row;

		if (ap->ops[row] == KS_ROW_WRITE)
			idx[new++] = row;
		else
			counts[ap->recs[row].pidx].unmatched++;
	}
	if (changes.unique_changed)
		ks_unique_check(&w, idx, new);
	PopActiveSnapshot();
	insert_rows(&w, idx, new);
	insert_entries(&w);
	ks_fast_end(&w);
	pfree(idx);
}
