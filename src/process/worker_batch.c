/*
 * worker_batch.c
 *	  One attempt to apply a worker's batch, and what follows from an error.
 *
 * What may pass (deadlock, lock timeout, disk full, ...) leaves the batch where
 * it is, to be applied again after a back-off.  A guard that fails makes the
 * consumer read its offsets again.  What will not pass halts the sink.
 */
#include "postgres.h"

#include "access/xact.h"
#include "portability/instr_time.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/memory.h"
#include "process/lock_watch.h"
#include "process/transaction.h"
#include "process/worker_int.h"

/*
 * Has the server no room for more locks?  It says so in the words of memory; but it is all
 * sessions' together, and what a worker may have is no matter.
 */
static bool
is_of_shared_memory(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_OUT_OF_MEMORY && edata->message_id &&
		strstr(edata->message_id, "shared memory") != NULL;
}

/* Is there more memory to be had by another worker, with less at a time? */
static void
leave_for_memory(const ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_OUT_OF_MEMORY && !is_of_shared_memory(edata) && ks_memory_is_to_be_had())
		ks_worker_leave_for_memory(ks_memory_refused() ? NULL : edata);
}

/*
 * The batch failed for a reason outside of its records: it is tried again after
 * a while, or the sink halts.
 */
static void
handle_error(const ErrorData *edata)
{
	KsConsumer *c = ks_worker.consumer;
	KsStateError error;
	bool		lock = edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	bool		shared = is_of_shared_memory(edata);

	leave_for_memory(edata);
	ks_worker_state_error(edata, &error);
	if (!ks_error_passes(edata))
		ks_worker_halt(&error, 1);
	MemoryContextReset(ks_worker.error_cxt);
	if (lock)
		ks_worker_describe_lock(edata, &error);
	ereport(c->attempts == 0 || !lock ? LOG : DEBUG1,
			(errcode(edata->sqlerrcode),
			 errmsg("sink \"%s\" tries again: %s", ks_worker.sink->name, error.message),
			 error.detail ? errdetail_internal("%s", error.detail) : 0));
	/* one that has waited for a lock has waited long enough to say so */
	if (lock || c->attempts > 0)
		ks_worker_write_state(error.waits_for ? "waiting" : "backoff", &error);
	/* a smaller one is another one, and may pass at once */
	ks_consumer_retry(c, lock || (shared && ks_consumer_take_fewer(c)));
}

static void
count_batch(int nrecs, Size bytes, int64 decode_us, int64 apply_us, int64 index_us,
			int64 commit_us)
{
	KsWorkerCounters *n = &ks_worker.slot->counters;
	int64		redelivered = 0;

	for (int i = 0; i < ks_worker.consumer->nparts; i++)
		redelivered += ks_source_redelivered(ks_worker.consumer->source, i);
	pg_atomic_fetch_add_u64(&n->batches, 1);
	pg_atomic_fetch_add_u64(&n->records, nrecs);
	pg_atomic_fetch_add_u64(&n->bytes, bytes);
	pg_atomic_fetch_add_u64(&n->decode_us, decode_us);
	pg_atomic_fetch_add_u64(&n->apply_us, apply_us - index_us);
	pg_atomic_fetch_add_u64(&n->index_us, index_us);
	pg_atomic_fetch_add_u64(&n->fast_batches, nrecs > 0 && ks_worker.consumer->apply->fast);
	pg_atomic_fetch_add_u64(&n->commit_us, commit_us);
	pg_atomic_write_u64(&n->last_commit, (uint64) GetCurrentTimestamp());
	pg_atomic_write_u64(&n->fetch_us, ks_worker.consumer->fetch_us);
	pg_atomic_write_u64(&n->redelivered, redelivered);
}

/*
 * What a registry says, or that it says nothing, is mended there, or in the server's options.
 * What keeps its schemas from being stored may be a lock, or a full disk.
 */
static void
handle_registry_error(const ErrorData *edata)
{
	KsStateError error;

	leave_for_memory(edata);
	ks_worker_state_error(edata, &error);
	MemoryContextReset(ks_worker.error_cxt);
	if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE)
		ks_worker_describe_lock(edata, &error);
	else if (edata->sqlerrcode != ERRCODE_DISK_FULL)
		error.waits_for = "registry";
	ks_consumer_leave_registry(ks_worker.consumer, &error);
}

/* The schemas that the batch's records are by; it is applied when they are there. */
static void
fetch_schemas(void (*idle) (void))
{
	KsConsumer *c = ks_worker.consumer;
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		ks_consumer_fetch_schemas(c, idle);
	}
	PG_CATCH();
	{
		/* of what was done meanwhile: no registry has a part in it */
		if (c->fetcher.serving)
			PG_RE_THROW();
		edata = ks_transaction_catch(cxt);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	if (edata == NULL)
		return;
	handle_registry_error(edata);
	FreeErrorData(edata);
}

void
ks_worker_apply_batch(void (*idle) (void))
{
	KsConsumer *c = ks_worker.consumer;
	KsApply    *ap = c->apply;
	MemoryContext cxt = CurrentMemoryContext;
	volatile KsApplyResult result = KS_APPLY_DONE;
	bool		suspects;
	KsSchemaId	suspect;
	KsRecordError err;
	ErrorData  *volatile edata = NULL;
	Size		bytes = c->bytes;
	int64		decode_us = ap->decode_us;
	int64		apply_us = ap->apply_us;
	int64		index_us = ap->index_us;
	instr_time	t0,
				t1;

	INSTR_TIME_SET_ZERO(t0);
	ks_lock_watch_begin(ap);
	PG_TRY();
	{
		int			nestlevel;

		ks_transaction_begin();
		nestlevel = NewGUCNestLevel();
		result = ks_consumer_apply(c, &err);
		if (result == KS_APPLY_MISMATCH || result == KS_APPLY_CHANGED)
		{
			PopActiveSnapshot();
			AbortCurrentTransaction();
		}
		else
		{
			INSTR_TIME_SET_CURRENT(t0);
			/* what the owner's code has SET is not for the batches behind this one */
			AtEOXact_GUC(false, nestlevel);
			ks_transaction_commit();
		}
	}
	PG_CATCH();
	{
		edata = ks_transaction_catch(cxt);
	}
	PG_END_TRY();
	ks_lock_watch_end();
	MemoryContextSwitchTo(cxt);

	if (edata)
	{
		pg_atomic_fetch_add_u64(&ks_worker.slot->counters.retries, 1);
		handle_error(edata);
		FreeErrorData(edata);
		return;
	}
	if (result == KS_APPLY_SCHEMAS)
	{
		if (!ks_consumer_registry_rests(c))
			fetch_schemas(idle);
		return;
	}
	if (result == KS_APPLY_CHANGED)
	{
		c->stale = true;
		ks_consumer_rewind(c);
		return;
	}
	if (result == KS_APPLY_EVOLVE)
		return;
	if (result == KS_APPLY_MISMATCH)
	{
		pg_atomic_fetch_add_u64(&ks_worker.slot->counters.guard_mismatches, 1);
		ereport(LOG,
				(errmsg("sink \"%s\": offsets were moved by another session, reading them again",
						ks_worker.sink->name)));
		c->reported &= c->attempts == 0;
		ks_consumer_rewind(c);
		return;
	}
	INSTR_TIME_SET_CURRENT(t1);
	INSTR_TIME_SUBTRACT(t1, t0);
	suspects = ks_worker_suspects_schema(result == KS_APPLY_STOPPED ? &err : NULL, &suspect);
	if (result == KS_APPLY_STOPPED)
	{
		KsStateError error;

		ks_consumer_describe(c, &err, &error);
		if (suspects)
			ks_worker_check_schema(&suspect, &error, idle);
		ks_worker_halt(&error, 1);
	}
	count_batch(c->nrecs, bytes, ap->decode_us - decode_us, ap->apply_us - apply_us,
				ap->index_us - index_us, INSTR_TIME_GET_MICROSEC(t1));
	/* what the attempts before have said is over */
	if (c->attempts > 0)
		c->reported = false;
	ks_consumer_committed(c);
	ConditionVariableBroadcast(ks_worker.progress);
	if (suspects)
		ks_worker_check_schema(&suspect, NULL, idle);
}
