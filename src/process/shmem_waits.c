/*
 * shmem_waits.c
 *	  Workers that wait for a lock right now, as SQL sees them.
 *
 * A worker that waits cannot say so itself before it has given up.  What it
 * waits for is asked of the lock manager, which is not cheap, so only if there is one
 * whose process says that it waits for a lock at all.  Who sees what is as in
 * shmem_stats.c.
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

/* Locks are waited for all the time, for moments: those are not told. */
#define REPORTED_AFTER_MS	100

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
		KsLockWait	wait;
		TimestampTz since;
		Datum		values[5];
		bool		nulls[5] = {0};
		char	   *obstacles;

		since = waits_since(waiters[i].pid);
		if (since == 0 || !ks_shmem_may_see(waiters[i].owner))
			continue;
		/* once for all of them, however many wait */
		if (all == NULL)
			all = GetLockStatusData();
		if (!ks_lock_find_wait(all, waiters[i].pid, &wait))
			continue;
		wait.written = pg_atomic_read_u32(&waiters[i].slot->writes_to);
		obstacles = ks_lock_obstacles(all, &wait, false);
		values[0] = CStringGetTextDatum(waiters[i].sink);
		values[1] = Int32GetDatum(waiters[i].worker);
		values[2] = TimestampTzGetDatum(since);
		values[3] = CStringGetTextDatum(ks_lock_message(&wait));
		if (obstacles)
			values[4] = CStringGetTextDatum(obstacles);
		else
			nulls[4] = true;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
