/*
 * apply_rows.c
 *	  Inserts one by one, in subtransactions that may fail: the fast path where
 *	  records are refused.
 *
 * A batch that is all bad is as many failed subtransactions.  What each of them
 * needs of the executor is made once, before the first, and outlives those that
 * fail; a refused record costs little more than the error itself.
 *
 * A key that is there already is looked for before the row is written: a
 * subtransaction that has written nothing costs half, and leaves nothing behind.
 *
 * Only inserts are taken, into tables as the fast path takes them: an INSERT of
 * one row makes the same checks in the same order, and in the same words.  An
 * upsert that finds a row changed by others must wait for them, by SQL.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/apply_fast.h"

/* No row or index entry of so many bytes is too large, which would come first. */
#define SMALL_ROW	2000

struct KsRowWriter
{
	MemoryContext cxt;
	KsApply    *ap;
	const KsRoute *route;
	KsWrite		w;
	TupleTableSlot *slot;
	TupleTableSlot *found;		/* a row with the same key */
	bool		evaluating;		/* expressions, or was when it failed */
};

static void
open_writer(KsRowWriter *rw)
{
	MemoryContext old = MemoryContextSwitchTo(rw->cxt);
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = rw->ap->owner;
	ks_fast_begin(&rw->w, rw->ap, rw->route, &rw->route->rows, false, NULL);
	rw->slot = ks_fast_make_slot(&rw->w);
	rw->found = ks_fast_make_slot(&rw->w);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
}

static void
close_writer(KsRowWriter *rw)
{
	ResourceOwner owner = CurrentResourceOwner;

	CurrentResourceOwner = rw->ap->owner;
	ExecDropSingleTupleTableSlot(rw->slot);
	ExecDropSingleTupleTableSlot(rw->found);
	ks_fast_end(&rw->w);
	CurrentResourceOwner = owner;
}

KsRowWriter *
ks_rows_begin(KsApply *ap, const KsRoute *r)
{
	MemoryContext cxt = AllocSetContextCreate(ap->batch_cxt, "kafka_sink rows one by one",
											  ALLOCSET_DEFAULT_SIZES);
	KsRowWriter *rw = MemoryContextAllocZero(cxt, sizeof(KsRowWriter));

	rw->cxt = cxt;
	rw->ap = ap;
	rw->route = r;
	open_writer(rw);
	return rw;
}

typedef enum Presence
{
	ABSENT,
	PRESENT,					/* whatever others do: the row cannot be inserted */
	UNSETTLED					/* others have it in hand, or it is not known */
} Presence;

static Presence
find_key(KsRowWriter *rw, Relation index, const KsFastIndex *fi, int row)
{
	KsWrite    *w = &rw->w;
	Size		first = (Size) row * w->rows.ncols;
	int			nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	ScanKeyData keys[INDEX_MAX_KEYS];
	SnapshotData snapshot;
	IndexScanDesc scan;
	Presence	result = ABSENT;

	for (int i = 0; i < nkeys; i++)
	{
		Oid			type = index->rd_opcintype[i];

		if (w->rows.isnull[first + fi->cols[i]])
			return UNSETTLED;
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   index->rd_indcollation[i],
							   get_opcode(get_opfamily_member(index->rd_opfamily[i], type, type,
															  BTEqualStrategyNumber)),
							   w->rows.values[first + fi->cols[i]]);
	}
	InitDirtySnapshot(snapshot);
	scan = ks_index_beginscan(w->rel, index, &snapshot, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, rw->found))
		result = TransactionIdIsValid(snapshot.xmin) || TransactionIdIsValid(snapshot.xmax) ?
			UNSETTLED : PRESENT;
	ExecClearTuple(rw->found);
	index_endscan(scan);
	return result;
}

/* Refuses a row whose key is there, as the index would, in the server's words. */
static void
check_keys(KsRowWriter *rw, int row)
{
	KsWrite    *w = &rw->w;

	for (int i = 0; i < w->rri->ri_NumIndices; i++)
	{
		Relation	index = w->rri->ri_IndexRelationDescs[i];
		Presence	presence;

		if (index == NULL || !index->rd_index->indisunique ||
			!w->rri->ri_IndexRelationInfo[i]->ii_ReadyForInserts)
			continue;
		presence = find_key(rw, index, ks_fast_index(w, index), row);
		if (presence == PRESENT)
			ereport_domain(ERROR, PG_TEXTDOMAIN("postgres"),
						   (errcode(ERRCODE_UNIQUE_VIOLATION),
							errmsg("duplicate key value violates unique constraint \"%s\"",
								   RelationGetRelationName(index)),
							errtableconstraint(w->rel, RelationGetRelationName(index))));
		if (presence == UNSETTLED)
			return;
	}
}

static void
insert_entries(KsRowWriter *rw, int row)
{
	KsWrite    *w = &rw->w;
	Size		first = (Size) row * w->rows.ncols;

	if (!w->fast->plain)
	{
		if (w->rri->ri_NumIndices > 0)
			list_free(ks_exec_insert_index_tuples(w->rri, rw->slot, w->estate));
		return;
	}
	for (int i = 0; i < w->rri->ri_NumIndices; i++)
	{
		IndexInfo  *info = w->rri->ri_IndexRelationInfo[i];
		const KsFastIndex *fi;
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		if (w->rri->ri_IndexRelationDescs[i] == NULL || !info->ii_ReadyForInserts)
			continue;
		fi = ks_fast_index(w, w->rri->ri_IndexRelationDescs[i]);
		for (int c = 0; c < fi->ncols; c++)
		{
			values[c] = w->rows.values[first + fi->cols[c]];
			isnull[c] = w->rows.isnull[first + fi->cols[c]];
		}
		index_insert(w->rri->ri_IndexRelationDescs[i], values, isnull, &rw->slot->tts_tid, w->rel,
					 fi->unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info);
	}
}

void
ks_rows_insert(KsRowWriter *rw, int row, KsCounts *counts)
{
	KsWrite    *w = &rw->w;
	ErrorContextCallback *context = error_context_stack;

	/* whoever called is not told; what is left is of an expression */
	error_context_stack = NULL;
	w->cid = GetCurrentCommandId(true);
	w->estate->es_output_cid = w->cid;
	if (w->fast->evaluates)
		PushActiveSnapshot(GetTransactionSnapshot());
	rw->evaluating = true;
	ks_fill_insert(w, rw->slot, row);
	slot_getallattrs(rw->slot);
	rw->evaluating = false;
	if (w->fast->plain && heap_compute_data_size(RelationGetDescr(w->rel), rw->slot->tts_values,
												 rw->slot->tts_isnull) <= SMALL_ROW)
		check_keys(rw, row);
	table_tuple_insert(w->rel, rw->slot, w->cid, 0, NULL);
	rw->evaluating = !w->fast->plain;
	insert_entries(rw, row);
	rw->evaluating = false;
	if (w->fast->evaluates)
		PopActiveSnapshot();
	counts[w->ap->recs[row].pidx].applied++;
	ResetPerTupleExprContext(w->estate);
	CommandCounterIncrement();
	error_context_stack = context;
}

/*
 * An expression that has thrown an error may not be evaluated again, as it was
 * left in its middle.  One that is merely false has not thrown any.
 */
void
ks_rows_failed(KsRowWriter *rw, const ErrorData *edata)
{
	bool		of_server = edata->context == NULL && edata->funcname != NULL &&
		strcmp(edata->funcname, "ExecConstraints") == 0;

	ResetPerTupleExprContext(rw->w.estate);
	if (rw->evaluating && !of_server)
	{
		close_writer(rw);
		open_writer(rw);
	}
}

void
ks_rows_end(KsRowWriter *rw)
{
	close_writer(rw);
	MemoryContextDelete(rw->cxt);
}
