/*
 * supervisor_watch.c
 *	  The watcher of those that are parked.
 *
 * It runs while anything is parked.  A watcher that cannot be started, or does
 * not stay, would leave them alone: then nothing is parked for a while, and
 * workers run.  Nor may it take the last process from a worker that has
 * something to do: it gives way, and comes back when there is room again.
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
#define GIVE_WAY_MS			3000	/* for a worker to take its place */

static BackgroundWorkerHandle *handle = NULL;	/* of one that was started by us */
static TimestampTz started_at = 0;
static TimestampTz next_start = 0;
static int	failures = 0;		/* to stay, or to be started, in a row */
static TimestampTz no_parking_until = 0;
static TimestampTz gives_way_until = 0;

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
	if (has_left_by_itself() || TimestampDifferenceExceeds(started_at, now, LIVED_MS))
		failures = 0;
	next_start = ks_backoff_until(now, failures, WATCHER_FIRST_MS, KS_RETRY_MAX_MS);
	failures++;
}

/* No watcher for a while. */
static void
give_up(const char *message)
{
	no_parking_until = ks_backoff_until(GetCurrentTimestamp(), 0, KS_RETRY_MAX_MS, KS_RETRY_MAX_MS);
	failures = 0;
	publish_unwatched(true);
	ereport(WARNING,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 errmsg("%s", message),
			 errdetail("Their workers are started instead."),
			 errhint("The server log may tell why; you might need to increase max_worker_processes.")));
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
		return no_parking_until;
	if (gives_way_until > now)
		return gives_way_until;
	if (failures >= TRIES)
	{
		give_up("there is no watcher of idle sinks");
		*failed = true;
		return 0;
	}
	if (next_start > now)
		return next_start;
	/* the slot of a worker that has just left is free in a moment */
	if (!ks_shmem_has_room() || !start_watcher())
	{
		next_start = ks_backoff_until(now, failures, WATCHER_FIRST_MS, KS_RETRY_MAX_MS);
		failures++;
		return next_start;
	}
	return 0;
}

/* There is no process left for a worker: true if the watcher makes room for it. */
bool
ks_supervisor_give_way(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (watcher_pid() == 0 || gives_way_until > now)
		return false;
	gives_way_until = TimestampTzPlusMilliseconds(now, GIVE_WAY_MS);
	ks_supervisor_end_watch();
	return true;
}

/* Nothing is supervised any more. */
void
ks_supervisor_end_watch(void)
{
	pid_t		pid = watcher_pid();

	if (pid != 0)
		kill(pid, SIGTERM);
}
