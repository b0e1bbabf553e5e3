/*
 * supervisor_watch.c
 *	  The watcher of those that are parked.
 *
 * It runs while anything is parked.  A watcher that does not stay would leave them
 * alone: then nothing is parked for a while, and workers run.  Nor may it take the
 * last process from a worker that has something to do: it gives way, and comes back
 * before any other worker when there is room again, for some time at least.  If
 * there is none for long, those that are parked wait for processes of their own;
 * workers that have nothing to do go on to leave, so that each has its turn.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "process/supervisor_int.h"

#define WATCHER_FIRST_MS	100
#define LIVED_MS			60000	/* a watcher that old was not a failure */
#define TRIES				5		/* and then workers run instead */
#define GIVE_WAY_MS		3000	/* for a worker to take its place, and before it does again */
#define NO_ROOM_MS		10000	/* without a process, until the parked are left to themselves */
#define NO_ROOM_RETRY_MS	1000	/* whoever leaves says so; this is for others */

static BackgroundWorkerHandle *handle = NULL;	/* of one that was started by us */
static TimestampTz started_at = 0;
static TimestampTz next_start = 0;
static int	failures = 0;		/* to stay, or to be started, in a row */
static TimestampTz no_parking_until = 0;
static TimestampTz gives_way_until = 0;
static bool gave_way = false;	/* the one that ends now */
static TimestampTz no_room_since = 0;	/* 0: it is not wanted, or has room */

/* Workers that would leave ask for it, too. */
static void
publish_unwatched(bool unwatched)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	ks_supervisor_database->unwatched = unwatched;
	LWLockRelease(ks_shared->lock);
}

bool
ks_supervisor_may_park(void)
{
	if (no_parking_until > GetCurrentTimestamp())
		return false;
	if (((volatile KsDatabase *) ks_supervisor_database)->unwatched)
		publish_unwatched(false);
	return true;
}

static pid_t
watcher_pid(void)
{
	return ((volatile KsDatabase *) ks_supervisor_database)->watcher;
}

static bool
start_watcher(void)
{
	BackgroundWorker worker = {0};
	MemoryContext old;
	bool		ok;

	snprintf(worker.bgw_name, BGW_MAXLEN, "kafka_sink watcher for database %u", MyDatabaseId);
	snprintf(worker.bgw_type, BGW_MAXLEN, "kafka_sink watcher");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "kafka_sink");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "ks_watcher_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	old = MemoryContextSwitchTo(ks_supervisor_cxt);
	ok = RegisterDynamicBackgroundWorker(&worker, &handle);
	MemoryContextSwitchTo(old);
	started_at = GetCurrentTimestamp();
	if (!ok)
		handle = NULL;
	return ok;
}

static bool
has_left_by_itself(void)
{
	bool		result;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	result = ks_supervisor_database->watcher_begins_anew;
	ks_supervisor_database->watcher_begins_anew = false;
	LWLockRelease(ks_shared->lock);
	return result;
}

/* The one that we have started has ended, or never came. */
static void
note_end(void)
{
	TimestampTz now = GetCurrentTimestamp();

	pfree(handle);
	handle = NULL;
	if (gave_way)
	{
		gave_way = false;
		return;
	}
	if (has_left_by_itself() || TimestampDifferenceExceeds(started_at, now, LIVED_MS))
		failures = 0;
	next_start = ks_backoff_until(now, failures, WATCHER_FIRST_MS, KS_RETRY_MAX_MS);
	failures++;
}

static void
warn(void)
{
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("there is no watcher of idle sinks"),
			 errdetail("Their workers are started instead."),
			 errhint("The server log may tell why; you might need to increase max_worker_processes.")));
}

/* No watcher for a while. */
static void
give_up(void)
{
	no_parking_until = ks_backoff_until(GetCurrentTimestamp(), 0, KS_RETRY_MAX_MS, KS_RETRY_MAX_MS);
	failures = 0;
	publish_unwatched(true);
	warn();
}

/* False if there is no process for it, or not quite yet. */
static bool
take_room(TimestampTz now)
{
	if (ks_shmem_has_room() && start_watcher())
	{
		no_room_since = 0;
		return true;
	}
	if (no_room_since == 0)
		no_room_since = now;
	return false;
}

/* One that has had no room is the first to have some. */
void
ks_supervisor_watch_first(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (no_room_since != 0 && handle == NULL && watcher_pid() == 0 && gives_way_until <= now)
		(void) take_room(now);
}

/*
 * Starts the watcher if it is needed.  Returns when to look again, 0: when
 * woken; *failed: there will be none.
 */
TimestampTz
ks_supervisor_watch(bool any_parked, bool *failed)
{
	TimestampTz now = GetCurrentTimestamp();
	pid_t		pid;

	*failed = false;
	/* a supervisor that is woken by nothing ends it, too */
	if (no_parking_until != 0 && ks_supervisor_may_park())
		no_parking_until = 0;
	if (handle && GetBackgroundWorkerPid(handle, &pid) == BGWH_STOPPED)
		note_end();
	if (!any_parked || handle != NULL || watcher_pid() != 0)
	{
		no_room_since = 0;
		return no_parking_until;
	}
	if (gives_way_until > now)
		return gives_way_until;
	if (failures >= TRIES)
	{
		give_up();
		*failed = true;
		return 0;
	}
	if (next_start > now)
		return next_start;
	if (take_room(now))
		return 0;
	if (TimestampDifferenceExceeds(no_room_since, now, NO_ROOM_MS))
	{
		no_room_since = 0;
		warn();
		*failed = true;
		return 0;
	}
	/* the process of a worker that has just left is free in a moment */
	return TimestampTzPlusMilliseconds(now, NO_ROOM_RETRY_MS);
}

/* There is no process left for a worker: true if the watcher makes room for it. */
bool
ks_supervisor_give_way(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (watcher_pid() == 0 || gives_way_until > now ||
		!TimestampDifferenceExceeds(started_at, now, GIVE_WAY_MS))
		return false;
	gives_way_until = TimestampTzPlusMilliseconds(now, GIVE_WAY_MS);
	gave_way = handle != NULL;
	ks_supervisor_end_watch();
	return true;
}

/* (not reached by tests: the clock is) */
void
ks_supervisor_watch_set_back(TimestampTz now)
{
	started_at = Min(started_at, now);
	next_start = Min(next_start, now);
	no_parking_until = Min(no_parking_until, now);
	gives_way_until = Min(gives_way_until, now);
	no_room_since = Min(no_room_since, now);
}

/* Nothing is supervised any more. */
void
ks_supervisor_end_watch(void)
{
	pid_t		pid = watcher_pid();

	if (pid != 0)
		kill(pid, SIGTERM);
}
