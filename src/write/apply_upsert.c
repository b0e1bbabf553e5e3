/*
 * apply_upsert.c
 *	  Upserts by the fast path: rows that are there are changed where the walk along
 *	  the index finds them, the others are inserted.
 *
 * Whatever the statement would have to wait for, or to look at again, ends it: then
 * the statement is to do it (KS_USE_SQL).
 */
#include "postgres.h"

#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/accumulate.h"
#include "write/apply_fast.h"

/* What change_row() needs beside the write itself. */
typedef struct Changes
{
	KsWrite    *w;
	Snapshot	snapshot;
	TupleTableSlot *slot;
	bool		unique_changed; /* by an update, and not of the key */
	int			n;
} Changes;

/* Makes a folded row the sum of it and the row that is there. */
static void
add_old_row(KsWrite *w, int row, TupleTableSlot *old)
{
	Size		at = (Size) row * w->source.ncols;
	MemoryContext cxt;

	slot_getallattrs(old);
	cxt = MemoryContextSwitchTo(w->ap->attempt_cxt);
	ks_accumulate_merge(w->target, w->source.values + at, w->source.isnull + at,
						old->tts_values, old->tts_isnull);
	MemoryContextSwitchTo(cxt);
}

static bool
delete_row(Changes *ch, ItemPointer tid)
{
	KsWrite    *w = ch->w;
	TM_FailureData tmfd;

	return table_tuple_delete(w->rel, tid, w->cid, ch->snapshot, InvalidSnapshot, true,
							  &tmfd, false) == TM_Ok;
}

static bool
update_row(Changes *ch, int row, TupleTableSlot *old)
{
	KsWrite    *w = ch->w;
	TM_FailureData tmfd;
	LockTupleMode lockmode;
	KsUpdateIndexes update_indexes;

	/* ON CONFLICT checks what would be inserted, too */
	if (w->target->accumulate || (w->fast->keeps && w->ap->ops[row] != KS_ROW_PATCH))
		ks_fill_insert(w, ch->slot, row);
	if (w->target->accumulate)
		add_old_row(w, row, old);
	ks_fill_update(w, ch->slot, row, old);
	ks_place_offer(w);
	if (table_tuple_update(w->rel, &old->tts_tid, ch->slot, w->cid, ch->snapshot, InvalidSnapshot,
						   true, &tmfd, &lockmode, &update_indexes) != TM_Ok)
		return false;
	w->tids[row] = ch->slot->tts_tid;
	if (w->fast->nforeign > 0)
		ks_foreign_note(w, row, old);
	if (KS_UPDATE_ALL_INDEXES(update_indexes))
	{
		w->entries[w->nentries++] = row;
		w->replaced[row] = old->tts_tid;
		/* what it had is still at hand */
		if (w->fast->other_unique && !ch->unique_changed)
			ch->unique_changed = ks_unique_changes(w, row, old);
		ks_place_vacate(w, ItemPointerGetBlockNumber(&old->tts_tid),
					   ItemPointerGetBlockNumber(&ch->slot->tts_tid),
					   ExecFetchSlotHeapTuple(ch->slot, false, NULL)->t_len);
	}
	return true;
}

/* Checks of old rows take what these hold, which no batch bounds. */
static bool
has_grown(MemoryContext cxt)
{
	return MemoryContextMemAllocated(cxt, false) > 1024 * 1024;
}

/*
 * Updates or deletes the row that was found.  False if somebody else has changed it:
 * the general path waits for him, and sees why.
 */
static bool
change_row(void *arg, int row, TupleTableSlot *there)
{
	Changes    *ch = arg;
	KsWrite    *w = ch->w;
	bool		delete = w->ap->ops[row] == KS_ROW_DELETE;
	MemoryContext old;
	bool		changed;

	w->counts[w->ap->recs[row].pidx].applied += !delete;
	w->counts[w->ap->recs[row].pidx].deleted += delete;

	old = MemoryContextSwitchTo(w->scratch);
	changed = delete ? delete_row(ch, &there->tts_tid) : update_row(ch, row, there);
	MemoryContextSwitchTo(old);
	if (++ch->n % 256 == 0 || has_grown(w->scratch) || has_grown(GetPerTupleMemoryContext(w->estate)))
	{
		ResetPerTupleExprContext(w->estate);
		MemoryContextReset(w->scratch);
	}
	return changed;
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

/* What no row was found for, to idx; how many, or -1: there is nothing to be patched. */
static int
list_new(KsWrite *w, const KsSortItem *items, int missing, int *idx)
{
	int			n = 0;

	for (int i = 0; i < missing; i++)
	{
		int			row = items[i].row;

		if (w->ap->ops[row] == KS_ROW_PATCH)
			return -1;
		if (w->ap->ops[row] == KS_ROW_WRITE)
			idx[n++] = row;
		else
			w->counts[w->ap->recs[row].pidx].unmatched++;
	}
	return n;
}

/* Into a table, or a partition; with a snapshot. */
static bool
upsert_into(KsWrite *w, KsSortItem *items, const int *rows, int n)
{
	Changes		changes = {.w = w, .snapshot = GetActiveSnapshot()};
	int		   *idx;
	int			missing;
	int			new;
	bool		written;

	check_replica_identity(w, items, n);
	if (w->replaced == NULL)
		ks_fast_make_replaced(w);
	changes.slot = ks_fast_make_slot(w);
	ks_place_begin(w);
	missing = ks_fast_probe(w->rel, &w->fast->indexes[w->fast->conflict], &w->rows, items, n,
							change_row, &changes);
	ExecDropSingleTupleTableSlot(changes.slot);
	ResetPerTupleExprContext(w->estate);
	MemoryContextReset(w->scratch);
	w->nupdated = w->nentries;

	idx = palloc_extended((Size) (Max(missing, 0) + 1) * sizeof(int), MCXT_ALLOC_HUGE);
	new = list_new(w, items, missing, idx);
	written = missing >= 0 && new >= 0 &&
		(!changes.unique_changed || ks_unique_check(w, idx, new));
	if (written)
	{
		ks_fast_insert_rows(w, idx, new);
		ks_fast_insert_all_entries(w);
	}
	pfree(idx);
	return written;
}

static KsWritten
upsert_partitioned(KsWrite *w, KsSortItem *items, int n)
{
	int		   *idx = palloc_extended((Size) n * sizeof(int), MCXT_ALLOC_HUGE);
	KsWritten	result;

	for (int i = 0; i < n; i++)
		idx[i] = items[i].row;
	result = ks_partitioned_write(w, items, idx, n, upsert_into);
	pfree(idx);
	return result;
}

KsWritten
ks_fast_upsert(KsApply *ap, const KsRoute *r, const KsRows *rows, KsSortItem *items, int n,
			   bool patches, KsCounts *counts)
{
	KsWrite		w;
	bool		written;

	if (n == 0)
		return KS_WRITTEN;
	PreventCommandIfReadOnly("INSERT");
	ks_fast_begin(&w, ap, r, rows, patches, counts);
	if (w.fast->partitioned)
		written = upsert_partitioned(&w, items, n) == KS_WRITTEN;
	else
	{
		for (int i = 0; i < n && w.wide; i++)
			ks_fill_widen(&w, items[i].row);
		PushActiveSnapshot(GetTransactionSnapshot());
		written = upsert_into(&w, items, NULL, n);
		PopActiveSnapshot();
		written = written && ks_foreign_check(&w);
	}
	ks_fast_end(&w);
	return written ? KS_WRITTEN : KS_USE_SQL;
}
