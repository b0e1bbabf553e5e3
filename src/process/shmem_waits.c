/*
 * shmem_waits.c
 *	  Workers that wait for a lock right now, as SQL sees them.
 *
 * A worker that waits cannot say so itself before it has given up.  What it
 * waits for is asked of the lock manager, which is not cheap, so only of those
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
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "base/compat.h"
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
		waiters[n++].pid = slot->pid;
	}
	LWLockRelease(ks_shared->lock);
	return n;
}

/* The lock that a process waits for, NULL if it does not any more. */
static const LockInstanceData *
awaited_lock(pid_t pid)
{
	const BlockedProcsData *data = GetBlockerStatusData(pid);

	for (int i = 0; i < data->nlocks; i++)
		if (data->locks[i].pid == pid && data->locks[i].waitLockMode != NoLock)
			return &data->locks[i];
	return NULL;
}

/* In the words of lock_watch.c. */
static char *
describe_lock(const LockInstanceData *lock)
{
	char	   *table = NULL;

	switch ((LockTagType) lock->locktag.locktag_type)
	{
		case LOCKTAG_RELATION:
		case LOCKTAG_RELATION_EXTEND:
		case LOCKTAG_PAGE:
			table = get_rel_name(lock->locktag.locktag_field2);
			break;
		case LOCKTAG_TUPLE:
		case LOCKTAG_TRANSACTION:
			return pstrdup("waits for a row that another transaction has locked");
		default:
			break;
	}
	return table ? psprintf("waits for a lock on table \"%s\"", table) :
		pstrdup("waits for a lock that another transaction holds");
}

/* The processes in its way; NULL: none any more. */
static char *
describe_blockers(pid_t pid, const LockInstanceData *lock)
{
	ArrayType  *pids = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids, Int32GetDatum((int32) pid)));
	StringInfoData buf;
	Datum	   *elems;
	int			n;

	deconstruct_array(pids, INT4OID, sizeof(int32), true, TYPALIGN_INT, &elems, NULL, &n);
	if (n == 0)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, "%sprocess %d", i ? ", " : "It is held by ", DatumGetInt32(elems[i]));
	appendStringInfo(&buf, "; %s is wanted.",
					 GetLockmodeName(lock->locktag.locktag_lockmethodid, lock->waitLockMode));
	return buf.data;
}

Datum
kafka_sink_lock_waits(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Waiter	   *waiters;
	int			n;

	ks_init_materialized_srf(fcinfo);
	if (!ks_shmem_available())
		return (Datum) 0;
	waiters = palloc(ks_shared->nworkers * sizeof(Waiter));
	n = list_workers(waiters);
	for (int i = 0; i < n; i++)
	{
		const LockInstanceData *lock;
		TimestampTz since;
		Datum		values[5];
		bool		nulls[5] = {0};
		char	   *blockers;

		since = waits_since(waiters[i].pid);
		if (since == 0 || !ks_shmem_may_see(waiters[i].owner))
			continue;
		lock = awaited_lock(waiters[i].pid);
		if (lock == NULL)
			continue;
		blockers = describe_blockers(waiters[i].pid, lock);
		values[0] = CStringGetTextDatum(waiters[i].sink);
		values[1] = Int32GetDatum(waiters[i].worker);
		values[2] = TimestampTzGetDatum(since);
		values[3] = CStringGetTextDatum(describe_lock(lock));
		if (blockers)
			values[4] = CStringGetTextDatum(blockers);
		else
			nulls[4] = true;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
