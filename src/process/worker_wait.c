/*
 * worker_wait.c
 *	  What others want of a worker, and locks that it needs beside its batch.
 *
 * A worker needs more than its batch's locks: it reads its sink, settles where new
 * partitions begin, reads its offsets again.  Whoever holds what it needs for that (who is
 * about to change the sink, or has locked a table of the extension) does not end it: the
 * transaction is made again until it gets its locks, with rests in which nothing is held,
 * and the state says what is waited for.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "base/error.h"
#include "base/memory.h"
#include "process/lock_watch.h"
#include "process/transaction.h"
#include "process/worker_int.h"

#define REST_FIRST_MS		100
#define REST_MAX_MS			1000

void
ks_worker_check_stop(void)
{
	CHECK_FOR_INTERRUPTS();
	/* an idle worker begins no transaction that would do it */
	AcceptInvalidationMessages();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (ks_shmem_stop_requested())
	{
		ks_worker_store_partition_ends(false);
		proc_exit(0);
	}
}

void
ks_worker_describe_lock(const ErrorData *edata, KsStateError *error)
{
	MemoryContext cxt = CurrentMemoryContext;

	PG_TRY();
	{
		ks_transaction_begin();
		MemoryContextSwitchTo(ks_worker.error_cxt);
		ks_lock_watch_describe(edata, error);
		ks_transaction_commit();
	}
	PG_CATCH();
	{
		/* what the server said is enough */
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
}

/* Says what is waited for: at first, and now and then, since who is in the way may change. */
static void
tell_wait(const ErrorData *edata, int attempts)
{
	KsStateError error;

	if ((attempts & (attempts - 1)) != 0)
		return;
	ks_worker_state_error(edata, &error);
	if (ks_worker.sink)
	{
		MemoryContextReset(ks_worker.error_cxt);
		ks_worker_describe_lock(edata, &error);
		error.hint = "The worker tries again until it gets the lock; see pg_locks and pg_stat_activity.";
	}
	ereport(attempts == 0 ? LOG : DEBUG1,
			(errcode(edata->sqlerrcode),
			 errmsg("worker of sink \"%s\" tries again: %s", ks_worker.slot->sink, error.message),
			 error.detail ? errdetail_internal("%s", error.detail) : 0));
	/* before it is read, nobody knows whether it is to run */
	if (ks_worker.sink)
		ks_worker_write_state("waiting", &error);
}

/* Without any lock; librdkafka is served meanwhile. */
static void
rest(long ms)
{
	const KsConsumer *c = ks_worker.consumer;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);

	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();

		ks_worker_check_stop();
		if (c && c->source)
			ks_source_serve(c->source);
		if (c && c->source && ks_memory_exceeded())
			ks_worker_leave_for_memory(NULL);
		/* (a clock that was set back ends it, too) */
		if (now >= until || until > TimestampTzPlusMilliseconds(now, ms))
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Max(1, TimestampDifferenceMilliseconds(now, until)), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
ks_worker_transact(void (*step) (void *arg), void *arg)
{
	for (int attempts = 0;; attempts++)
	{
		ErrorData  *edata;

		ks_lock_watch_begin(NULL);
		edata = ks_transaction_try(step, arg);
		ks_lock_watch_end();
		if (edata == NULL)
		{
			/* that it is over is to be said */
			if (attempts > 0 && ks_worker.consumer)
				ks_worker.consumer->reported = false;
			return;
		}
		if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			ks_error_rethrow(edata);
		tell_wait(edata, attempts);
		FreeErrorData(edata);
		rest(ks_backoff_ms(attempts, REST_FIRST_MS, REST_MAX_MS));
	}
}
