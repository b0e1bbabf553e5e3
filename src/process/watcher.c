/*
 * watcher.c
 *	  Looks after the partitions of workers that have nothing to do.
 *
 * One process for all parked workers of a database, started by the supervisor
 * while there are any.  It has one client of librdkafka for each connection
 * (server, owner, isolation), which fetches next to nothing, and reads from the
 * stored offsets on; whatever it hears wakes the workers concerned
 * (watcher_parts.c).  It never runs code of a sink, and touches no target.
 *
 * While no broker can be reached, the workers' rows of sink_state say waiting,
 * and idle again when it is over.  A change of a server or a user mapping ends
 * the process, which is started again at once; so do many more partitions of one
 * connection.  It leaves by _exit(), as a
 * worker does, and watches its own memory.
 */
#include "postgres.h"

#include <unistd.h>

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "base/memory.h"
#include "base/session.h"
#include "process/watcher.h"
#include "process/watcher_int.h"

#define LOCK_TIMEOUT		"200ms"
#define LINGER_MS			10000	/* without anything to watch, and then it leaves */
#define WOKEN_LOOK_MS		100		/* between looks at whom the supervisor has to take back */

static KsDatabase *database;
static MemoryContext pass_cxt;	/* of one pass of the loop */
static volatile bool connection_changed = false;

static void
detach(int code, Datum arg)
{
	pid_t		supervisor;

	/* before another may come */
	ks_shmem_unwatch_partitions(MyDatabaseId);
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (database->watcher == MyProcPid)
		database->watcher = 0;
	supervisor = database->supervisor;
	LWLockRelease(ks_shared->lock);
	ConditionVariableBroadcast(&ks_shared->process_exited);
	ks_shmem_wake(supervisor);
}

/* Takes its place, or ends: another is there, or nobody may be. */
static void
attach(Oid dbid)
{
	bool		ok;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	database = ks_shmem_database(dbid, false);
	ok = database && database->watcher == 0 &&
		(database->state == KS_DATABASE_VISITING || database->state == KS_DATABASE_SETTLED);
	if (ok)
		database->watcher = MyProcPid;
	LWLockRelease(ks_shared->lock);
	if (!ok)
		proc_exit(0);
	before_shmem_exit(detach, (Datum) 0);
}

static void
connection_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	connection_changed = true;
}

static void
sooner(TimestampTz *next, TimestampTz moment)
{
	if (moment != 0 && (*next == 0 || moment < *next))
		*next = moment;
}

/* --- states --- */

static void
write_state(void *arg)
{
	KsWatched  *w = arg;

	if (w->client->trouble > 0)
		ks_catalog_set_state(w->parked.sink, w->parked.worker, "waiting", &w->client->error);
	else
		ks_catalog_set_state(w->parked.sink, w->parked.worker, "idle", NULL);
}

/*
 * Tells the trouble of clients, and its end, for some time.  Who holds a row is
 * not waited for again for another of the same client.  Returns when to go on.
 */
static TimestampTz
report_trouble(void)
{
	TimestampTz begun = GetCurrentTimestamp();
	TimestampTz next = 0;
	const KsWatchClient *held = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &ks_watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);
		TimestampTz now;

		if (w->client == NULL || w->woken || w->reported_trouble == w->client->trouble)
			continue;
		/* what was said before us holds until something is heard */
		if (w->reported_trouble == KS_TROUBLE_BEFORE && w->client->trouble == 0 && !w->client->heard && w->nusers > 0)
			continue;
		now = GetCurrentTimestamp();
		if (w->next_try > now)
			sooner(&next, w->next_try);
		else if (w->client == held || TimestampDifferenceExceeds(begun, now, KS_WATCH_STEP_MS))
			sooner(&next, TimestampTzPlusMilliseconds(now, w->client == held ? KS_WATCH_STEP_MS : 1));
		else if (ks_watched_try(w, write_state))
		{
			w->reported_trouble = w->client->trouble;
			ConditionVariableBroadcast(ks_shmem_progress_cv(w->parked.sink));
		}
		else
		{
			held = w->client;
			sooner(&next, w->next_try);
		}
		CHECK_FOR_INTERRUPTS();
	}
	return next;
}

/* --- the loop --- */

static void
check_memory(void)
{
	if (!ks_memory_exceeded())
		return;
	ereport(LOG,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("the watcher exceeded kafka_sink.worker_memory_limit")));
	proc_exit(1);
}

/* Ends the process, which is no failure: another is started at once. */
static void
begin_anew(void)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	database->watcher_begins_anew = true;
	LWLockRelease(ks_shared->lock);
	proc_exit(0);
}

static void
serve_requests(void)
{
	HOLD_CANCEL_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	RESUME_CANCEL_INTERRUPTS();
	QueryCancelPending = false;
	AcceptInvalidationMessages();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	if (connection_changed)
	{
		connection_changed = false;
		if (!ks_watch_check_connections(&ks_watched))
			begin_anew();
	}
}

/* Is anybody woken whom the supervisor has not yet taken back? */
static bool
any_woken(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &ks_watched)
		if (dlist_container(KsWatched, node, iter.cur)->woken)
			return true;
	return false;
}

/* If the clock was set back, what was to come by it is due. */
static void
check_clock(void)
{
	static TimestampTz last = 0;
	dlist_iter	iter;

	if (!ks_backoff_is_set_back(&last))
		return;
	dlist_foreach(iter, &ks_watched)
		dlist_container(KsWatched, node, iter.cur)->next_try = 0;
	dlist_foreach(iter, &ks_watch_clients)
		ks_watch_hurry(dlist_container(KsWatchClient, node, iter.cur));
}

static void
main_loop(void)
{
	TimestampTz lonely_since = 0;

	for (;;)
	{
		TimestampTz next = 0;
		bool		busy = false;
		dlist_iter	iter;
		TimestampTz now;

		serve_requests();
		MemoryContextReset(pass_cxt);
		check_memory();
		check_clock();
		ks_watched_take_over(database);
		sooner(&next, ks_watched_load());
		if (ks_watch_outgrown())
			begin_anew();
		dlist_foreach(iter, &ks_watch_clients)
		{
			KsWatchClient *client = dlist_container(KsWatchClient, node, iter.cur);

			sooner(&next, ks_watch_start_parts(client));
			ks_watch_poll(client, &ks_watched);
			busy |= client->busy;
		}
		sooner(&next, report_trouble());

		now = GetCurrentTimestamp();
		if (!dlist_is_empty(&ks_watched))
			lonely_since = 0;
		else if (lonely_since == 0 || lonely_since > now)
			lonely_since = now;
		else if (TimestampDifferenceExceeds(lonely_since, now, LINGER_MS))
			proc_exit(0);
		if (lonely_since != 0)
			sooner(&next, TimestampTzPlusMilliseconds(lonely_since, LINGER_MS + 1));
		if (busy)
			sooner(&next, now);
		/* a supervisor takes back whom we have woken, and tells us, if it is there */
		if (any_woken())
			sooner(&next, TimestampTzPlusMilliseconds(now, WOKEN_LOOK_MS));
		/* what waited for a lock has reset the latch */
		if (ks_watched_is_changed(database) || connection_changed || ConfigReloadPending)
			continue;
		ks_watch_wait(next == 0 ? -1 : TimestampDifferenceMilliseconds(now, next));
	}
}

void
ks_watcher_main(Datum arg)
{
	Oid			dbid = DatumGetObjectId(arg);

	ks_session_end_by_exit();
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	attach(dbid);
	BackgroundWorkerInitializeConnectionByOid(dbid, InvalidOid, 0);
	ks_session_fix();
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	/* no standby is waited for: whoever is parked would not be heard meanwhile */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", "kafka_sink watcher", PGC_USERSET, PGC_S_SESSION);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, connection_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, connection_callback, (Datum) 0);
	ks_watcher_cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink watcher", ALLOCSET_DEFAULT_SIZES);
	pass_cxt = AllocSetContextCreate(ks_watcher_cxt, "kafka_sink watcher pass", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pass_cxt);
	main_loop();
}
