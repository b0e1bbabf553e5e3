/*
 * lock_watch.c
 *	  Which lock is waited for, and who is in the way.
 *
 * The timer's handler only copies what this process waits for: its lock cannot go
 * away while it does, but whoever grants it takes the pointer to it away.  Who is in
 * the way is looked up afterwards, when the transaction is gone: who has kept the
 * lock for the length of a timeout most likely still has it.
 *
 * In whose row a wait for a transaction's id has its reason, the lock does not say;
 * the table that is being written to is close to it, and the first line of the
 * error's context tells which row it was.  For those who look at the wait from
 * outside, the handler leaves that table in the worker's slot.
 *
 * The timer is short enough for any lock_timeout that there is.  If it has met
 * nothing all the same, a lock is looked for that stands in the way of writing to the
 * targets.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"
#include "utils/timeout.h"

#include "process/lock_watch.h"
#include "process/lock_words.h"
#include "process/shmem_int.h"

#define SAMPLE_MS	50

static TimeoutId timer;
static bool registered = false;
static volatile sig_atomic_t watching = false;
static int	sample_ms;
static const KsApply *applied;	/* by the statements that are watched, or NULL */
static bool met;				/* a wait: */
static KsLockWait waited_for;

/*
 * The table that is being written to.  To be asked while a lock is waited for: nothing
 * of a route changes in that time.
 */
static Oid
written_table(void)
{
	const KsRoute *route = applied ? applied->written : NULL;

	return route && route->target ? route->target->relid : InvalidOid;
}

/* In a signal handler. */
static void
sample_lock_wait(void)
{
	LOCK	   *lock;

	/* a process that is leaving has given up its entry */
	if (!watching || MyProc == NULL)
		return;
	lock = *(LOCK *volatile *) &MyProc->waitLock;
	if (lock != NULL)
	{
		waited_for.tag = lock->tag;
		waited_for.mode = MyProc->waitLockMode;
		waited_for.since = (TimestampTz) pg_atomic_read_u64(&MyProc->waitStart);
		waited_for.written = written_table();
		met = true;
		if (ks_my_slot >= 0)
			pg_atomic_write_u32(&ks_worker_slots[ks_my_slot].writes_to, waited_for.written);
	}
	enable_timeout_after(timer, sample_ms);
}

void
ks_lock_watch_begin(const KsApply *ap)
{
	if (!registered)
		timer = RegisterTimeout(USER_TIMEOUT, sample_lock_wait);
	registered = true;
	met = false;
	applied = ap;
	/* a wait that lasts as long as it may is met */
	sample_ms = LockTimeout > 0 ? Max(1, Min(SAMPLE_MS, LockTimeout / 2)) : SAMPLE_MS;
	watching = true;
	enable_timeout_after(timer, sample_ms);
}

void
ks_lock_watch_end(void)
{
	watching = false;
	if (registered)
		disable_timeout(timer, false);
}

/*
 * What may have been waited for, where no wait was met.
 * (not reached by tests: the timer is short enough)
 */
static bool
guess_wait(const LockData *all)
{
	Oid		   *relids;
	int			n = 0;

	if (applied == NULL)
		return false;
	relids = palloc(Max(applied->nroutes, 1) * sizeof(Oid));
	for (int i = 0; i < applied->nroutes; i++)
		if (OidIsValid(applied->routes[i].sink->target))
			relids[n++] = applied->routes[i].sink->target;
	return ks_lock_find_obstacle(all, relids, n, RowExclusiveLock, &waited_for);
}

/* The line of an error's context that tells of a row, or NULL. */
static char *
row_place(const char *context)
{
	int			len = context ? strcspn(context, "\n") : 0;

	/* who waits for a transaction says why, before anything that is around it */
	if (len == 0 || waited_for.tag.locktag_type != LOCKTAG_TRANSACTION)
		return NULL;
	return pnstrdup(context, len);
}

void
ks_lock_watch_describe(const ErrorData *edata, KsStateError *error)
{
	LockData   *all = GetLockStatusData();
	bool		by_timeout = edata->message_id && strstr(edata->message_id, "lock timeout") != NULL;
	char	   *obstacles;
	char	   *place;

	error->waits_for = "lock";
	error->since = met ? waited_for.since : 0;
	if (error->since == 0)
		error->since = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), by_timeout ? -LockTimeout : 0);
	error->hint = "The batch is rolled back and tried again until it gets the lock; see pg_locks and pg_stat_activity.";
	/* NOWAIT says itself what it was refused */
	if (!by_timeout)
		return;
	if (!met && !guess_wait(all))
	{
		error->message = "waits for a lock that another transaction holds";
		return;
	}
	waited_for.group = MyProcPid;
	error->message = ks_lock_message(&waited_for);
	obstacles = ks_lock_obstacles(all, &waited_for, true);
	place = row_place(edata->context);
	error->detail = !place ? obstacles :
		psprintf("%s%sThe row was met %s.", obstacles ? obstacles : "", obstacles ? "  " : "", place);
}
