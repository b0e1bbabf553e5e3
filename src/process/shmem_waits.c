/*
 * shmem_waits.c
 *	  Workers that wait for a lock, or for a standby, right now, as SQL sees them.
 *
 * A worker that waits cannot say so itself before it has given up.  What it
 * waits for is asked of the lock manager, which is not cheap, so only if there is one
 * whose process says that it waits for a lock at all.  A synchronous standby it waits for
 * without end, and cannot say so at all.  Who sees what is as in shmem_stats.c.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "process/lock_words.h"
#include "process/shmem_int.h"

/* Both are waited for all the time, for moments: those are not told. */
#define REPORTED_AFTER_MS	100

/* The view kafka_sink.worker_states knows it by this. */
#define STANDBY_MESSAGE		"waits for a synchronous standby"

PG_FUNCTION_INFO_V1(kafka_sink_lock_waits);

typedef struct Waiter
{
	char		sink[NAMEDATALEN];
	int			worker;
	Oid			owner;
	pid_t		pid;
	KsWorkerSlot *slot;
} Waiter;

/* Since when it has waited for a lock, 0: it does not, or not for long. */
static TimestampTz
waits_since(pid_t pid)
{
	PGPROC	   *proc = BackendPidGetProc(pid);
	TimestampTz since;

	if (proc == NULL || (proc->wait_event_info & 0xFF000000) != PG_WAIT_LOCK)
		return 0;
	since = (TimestampTz) pg_atomic_read_u64(&proc->waitStart);
	return since != 0 && TimestampDifferenceExceeds(since, GetCurrentTimestamp(), REPORTED_AFTER_MS) ? since : 0;
}

/* Since when it has waited for a standby that is to confirm its commit, 0: it does not, or not for long. */
static TimestampTz
waits_for_standby_since(const Waiter *waiter)
{
	PGPROC	   *proc = BackendPidGetProc(waiter->pid);
	TimestampTz since = (TimestampTz) pg_atomic_read_u64(&waiter->slot->commits_since);

	if (proc == NULL || proc->wait_event_info != WAIT_EVENT_SYNC_REP || since == 0)
		return 0;
	return TimestampDifferenceExceeds(since, GetCurrentTimestamp(), REPORTED_AFTER_MS) ? since : 0;
}

/* This database's workers, in 'waiters'; returns how many. */
static int
list_workers(Waiter *waiters)
{
	int			n = 0;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (!ks_slot_is_alive(slot) || slot->dbid != MyDatabaseId || slot->pid == 0)
			continue;
		strlcpy(waiters[n].sink, slot->sink, NAMEDATALEN);
		waiters[n].worker = slot->worker;
		waiters[n].owner = slot->owner;
		waiters[n].slot = slot;
		waiters[n++].pid = slot->pid;
	}
	LWLockRelease(ks_shared->lock);
	return n;
}

static void
put_wait(ReturnSetInfo *rsinfo, const Waiter *waiter, TimestampTz since, const char *message, const char *detail)
{
	Datum		values[5];
	bool		nulls[5] = {0};

	values[0] = CStringGetTextDatum(waiter->sink);
	values[1] = Int32GetDatum(waiter->worker);
	values[2] = TimestampTzGetDatum(since);
	values[3] = CStringGetTextDatum(message);
	nulls[4] = detail == NULL;
	if (detail)
		values[4] = CStringGetTextDatum(detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

Datum
kafka_sink_lock_waits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LockData   *all = NULL;
	Waiter	   *waiters;
	int			n;

	ks_init_materialized_srf(fcinfo);
	if (!ks_shmem_available())
		return (Datum) 0;
	waiters = palloc(ks_shared->nworkers * sizeof(Waiter));
	n = list_workers(waiters);
	for (int i = 0; i < n; i++)
	{
		const Waiter *waiter = &waiters[i];
		KsLockWait	wait;
		TimestampTz since = waits_since(waiter->pid);
		TimestampTz standby_since = since == 0 ? waits_for_standby_since(waiter) : 0;

		if ((since == 0 && standby_since == 0) || !ks_shmem_may_see(waiter->owner))
			continue;
		if (standby_since != 0)
		{
			put_wait(rsinfo, waiter, standby_since, STANDBY_MESSAGE, NULL);
			continue;
		}
		/* once for all of them, however many wait */
		if (all == NULL)
			all = GetLockStatusData();
		if (!ks_lock_find_wait(all, waiter->pid, &wait))
			continue;
		wait.written = pg_atomic_read_u32(&waiter->slot->writes_to);
		put_wait(rsinfo, waiter, since, ks_lock_message(&wait), ks_lock_obstacles(all, &wait, false));
	}
	return (Datum) 0;
}
