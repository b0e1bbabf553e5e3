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
 * Who is parked is in shared memory (shmem_parked.c).  What is needed of a
 * parked worker (offsets, topics, connection) is read when it is parked: a
 * worker that leaves has committed its offsets before, so a record that comes
 * meanwhile is at or behind them, and is seen here.  A commit that changes the
 * sink makes the supervisor take the worker back.
 *
 * While no broker can be reached, the workers' rows of sink_state say waiting,
 * and idle again when it is over.  A change of a server or a user mapping ends
 * the process, which is started again at once.  It leaves by _exit(), as a
 * worker does, and watches its own memory.
 */
#include "postgres.h"

#ifdef KS_COVERAGE
#include <gcov.h>
#endif
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/memory.h"
#include "base/session.h"
#include "catalog/offsets.h"
#include "process/watcher.h"
#include "process/watcher_int.h"

#define LOCK_TIMEOUT		"200ms"
#define RETRY_FIRST_MS		1000
#define RETRY_MAX_MS		60000
#define STATISTICS_MS		10000
#define LINGER_MS			10000	/* without anything to watch, and then it leaves */

static KsDatabase *database;
static MemoryContext watcher_cxt;
static MemoryContext pass_cxt;	/* of one pass of the loop */
static dlist_head watched = DLIST_STATIC_INIT(watched);
static dlist_head clients = DLIST_STATIC_INIT(clients);
static WaitEventSet *events = NULL;
static bool events_stale = true;
static bool any_woken = false;
static volatile bool connection_changed = false;

/* The last callback to run: no destructor of a library meets librdkafka's threads. */
static void
leave(int code, Datum arg)
{
#ifdef KS_COVERAGE
	__gcov_dump();
#endif
	_exit(code);
}

static void
detach(int code, Datum arg)
{
	pid_t		supervisor;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (database->watcher == MyProcPid)
		database->watcher = 0;
	supervisor = database->supervisor;
	for (int i = 0; i < ks_shared->npartitions; i++)
		if (ks_partition_slots[i].in_use && ks_partition_slots[i].owner_slot < 0 &&
			ks_partition_slots[i].dbid == MyDatabaseId)
			ks_partition_slots[i].in_use = false;
	LWLockRelease(ks_shared->lock);
	ConditionVariableBroadcast(&ks_shared->left);
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

void
ks_watcher_wake(KsWatched *w, const char *why)
{
	if (w->woken)
		return;
	w->woken = any_woken = true;
	ereport(DEBUG1,
			(errmsg_internal("kafka_sink watcher wakes worker %d of sink \"%s\": %s",
							 w->parked.worker, w->parked.sink, why)));
	ks_shmem_wake_parked(w->slot, w->parked.serial);
}

/* --- transactions --- */

static bool
try_step(void (*step) (KsWatched *), KsWatched *w)
{
	volatile bool ok = false;

	if (w && w->next_try > GetCurrentTimestamp())
		return false;
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		PushActiveSnapshot(GetTransactionSnapshot());
		pgstat_report_activity(STATE_RUNNING, NULL);
		step(w);
		PopActiveSnapshot();
		CommitTransactionCommand();
		ok = true;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(pass_cxt);
		edata = CopyErrorData();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
		ereport(w && w->failures == 0 ? LOG : DEBUG1,
				(errcode(edata->sqlerrcode),
				 errmsg("kafka_sink watcher%s%s%s: %s", w ? " tries sink \"" : "", w ? w->parked.sink : "",
						w ? "\" again" : "", edata->message)));
	}
	PG_END_TRY();
	MemoryContextSwitchTo(pass_cxt);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	if (w && ok)
		w->failures = 0;
	else if (w)
	{
		w->next_try = ks_backoff_until(GetCurrentTimestamp(), w->failures, RETRY_FIRST_MS, RETRY_MAX_MS);
		w->failures++;
	}
	return ok;
}

/* --- connections --- */

/* The client of a sink's connection, made when first needed. */
static KsWatchClient *
find_client(const KsSink *sink)
{
	KsSourceOptions opts = {
		.client_id = "kafka_sink/watcher",
		.read_uncommitted = sink->read_uncommitted,
		.in_worker = true,
		.watch = true,
		.statistics_ms = STATISTICS_MS
	};
	HASHCTL		ctl = {.keysize = sizeof(KsWatchKey), .entrysize = sizeof(KsWatchPart)};
	dlist_iter	iter;
	MemoryContext cxt;
	MemoryContext old;
	KsConf	   *conf;
	KsWatchClient *client;

	dlist_foreach(iter, &clients)
	{
		client = dlist_container(KsWatchClient, node, iter.cur);
		if (client->owner == sink->owner && client->read_uncommitted == sink->read_uncommitted &&
			strcmp(client->server, sink->server) == 0)
			return client;
	}

	conf = ks_options_load(sink->server, sink->owner);
	cxt = AllocSetContextCreate(watcher_cxt, "kafka_sink watch client", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	client = palloc0(sizeof(KsWatchClient));
	client->cxt = cxt;
	client->server = pstrdup(sink->server);
	client->owner = sink->owner;
	client->read_uncommitted = sink->read_uncommitted;
	client->fingerprint = ks_options_fingerprint(conf);
	client->error_cxt = AllocSetContextCreate(cxt, "kafka_sink watch error", ALLOCSET_SMALL_SIZES);
	ctl.hcxt = cxt;
	client->parts = hash_create("kafka_sink watched partitions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	client->source = ks_source_open(conf, &opts, cxt);
	MemoryContextSwitchTo(old);
	dlist_push_tail(&clients, &client->node);
	events_stale = true;
	return client;
}

/* A connection's properties have changed: all are opened anew by another process. */
static void
check_connections(KsWatched *unused)
{
	dlist_iter	iter;

	dlist_foreach(iter, &clients)
	{
		KsWatchClient *client = dlist_container(KsWatchClient, node, iter.cur);

		if (ks_options_fingerprint(ks_options_load(client->server, client->owner)) != client->fingerprint)
			elog(ERROR, "a connection has changed");
	}
}

/* --- who is parked --- */

static void
forget(KsWatched *w)
{
	for (int i = 0; i < w->nusers; i++)
		ks_watch_remove_user(&w->users[i]);
	dlist_delete(&w->node);
	MemoryContextDelete(w->cxt);
}

/* Rows of txn_offsets of the worker's partitions of a topic, into w->users. */
static void
load_rows(KsWatched *w, const KsSink *sink, KsWatchTopic *t)
{
	int			n;
	KsPartition *rows = ks_offsets_list(sink->name, t->topic->topic, &n);

	w->users = w->users ?
		repalloc(w->users, (w->nusers + n + 1) * sizeof(KsWatchUser)) :
		MemoryContextAlloc(w->cxt, (n + 1) * sizeof(KsWatchUser));
	for (int i = 0; i < n; i++)
	{
		KsWatchUser *user = &w->users[w->nusers];

		memset(user, 0, sizeof(KsWatchUser));
		user->watched = w;
		user->row = rows[i];
		user->row.topic = t->topic->topic;
		t->known = Max(t->known, user->row.part + 1);
		if (user->row.part % sink->workers == w->parked.worker &&
			ks_topic_has_partition(t->topic, user->row.part))
			w->nusers++;
		pfree(unconstify(char *, rows[i].topic));
	}
	pfree(rows);
}

/*
 * Reads what is to be known of a parked worker.  One that would not find
 * everything as it has left it is woken.
 */
static void
load(KsWatched *w)
{
	MemoryContext old = MemoryContextSwitchTo(w->cxt);
	KsSink	   *sink = ks_catalog_sink(w->parked.sink, true);
	bool		complete = sink != NULL && sink->generation == w->parked.definition && sink->server != NULL;
	List	   *topics = complete ? ks_catalog_topics(sink->name) : NIL;
	ListCell   *lc;

	w->nusers = w->ntopics = 0;
	w->users = NULL;
	w->topics = palloc0((list_length(topics) + 1) * sizeof(KsWatchTopic));
	foreach(lc, topics)
	{
		KsWatchTopic *t = &w->topics[w->ntopics];

		t->topic = lfirst(lc);
		if (t->topic->halted)
			continue;
		w->ntopics++;
		load_rows(w, sink, t);
		/* registered since: nobody has settled where it begins */
		complete &= t->known > 0;
	}
	MemoryContextSwitchTo(old);
	if (!complete)
	{
		w->nusers = 0;
		ks_watcher_wake(w, "it was changed");
		return;
	}
	w->client = find_client(sink);
}

/* What was read is in place: from here on it is watched. */
static void
begin_watching(KsWatched *w)
{
	for (int i = 0; i < w->nusers; i++)
	{
		KsWatchUser *user = &w->users[i];

		user->slot = ks_shmem_watch_partition(&w->parked, user->row.topic, user->row.part);
		ks_watch_add_user(ks_watch_part(w->client, user->row.topic, user->row.part), user);
	}
}

static void
add_watched(int slot)
{
	MemoryContext cxt = AllocSetContextCreate(watcher_cxt, "kafka_sink watched", ALLOCSET_SMALL_SIZES);
	KsWatched  *w = MemoryContextAllocZero(cxt, sizeof(KsWatched));

	w->cxt = cxt;
	w->slot = slot;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	w->parked = ks_shared->parked[slot];
	LWLockRelease(ks_shared->lock);
	dlist_push_tail(&watched, &w->node);
}

/* Takes over who is parked, if that has changed. */
static void
take_parked(void)
{
	static uint32 seen = 0;
	static bool known[KS_MAX_PARKED];
	static bool fresh[KS_MAX_PARKED];
	bool		changed;
	dlist_mutable_iter iter;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	changed = database->parked_changes != seen;
	seen = database->parked_changes;
	for (int i = 0; i < KS_MAX_PARKED && changed; i++)
		fresh[i] = ks_shared->parked[i].state == KS_PARKED_WATCHED && ks_shared->parked[i].dbid == MyDatabaseId;
	LWLockRelease(ks_shared->lock);
	if (!changed)
		return;
	any_woken = false;
	memset(known, 0, sizeof(known));
	dlist_foreach_modify(iter, &watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		/* a slot that was freed and taken again has another serial */
		if (fresh[w->slot] && ks_shared->parked[w->slot].serial == w->parked.serial)
			known[w->slot] = true;
		else
			forget(w);
	}
	for (int i = 0; i < KS_MAX_PARKED; i++)
		if (fresh[i] && !known[i])
			add_watched(i);
}

/* Reads what is not yet known of them; returns when what failed is tried again. */
static TimestampTz
load_parked(void)
{
	TimestampTz next = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		if (w->client != NULL || w->woken)
			continue;
		if (try_step(load, w))
		{
			if (w->client)
				begin_watching(w);
		}
		else if (w->failures > 3)
			ks_watcher_wake(w, "it cannot be read");	/* who starts tells why */
		else if (next == 0 || w->next_try < next)
			next = w->next_try;
	}
	return next;
}

/* --- states --- */

static void
write_state(KsWatched *w)
{
	if (w->client->trouble)
		ks_catalog_set_state(w->parked.sink, w->parked.worker, "waiting", &w->client->error);
	else
		ks_catalog_set_state(w->parked.sink, w->parked.worker, "idle", NULL);
}

/* Tells the trouble of clients, and its end.  Returns when to go on. */
static TimestampTz
tell_trouble(void)
{
	TimestampTz next = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		if (w->client == NULL || w->woken || w->told_trouble == w->client->trouble)
			continue;
		if (try_step(write_state, w))
		{
			w->told_trouble = w->client->trouble;
			ConditionVariableBroadcast(ks_shmem_sink_cv(w->parked.sink));
		}
		else if (next == 0 || w->next_try < next)
			next = w->next_try;
	}
	return next;
}

/* --- the loop --- */

static void
check_memory(void)
{
	if (!ks_memory_due() || ks_memory_private() <= (int64) ks_guc_worker_memory_limit * 1024 * 1024)
		return;
	ereport(LOG,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("the watcher exceeded kafka_sink.worker_memory_limit")));
	proc_exit(1);
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
		if (!try_step(check_connections, NULL))
			proc_exit(0);
	}
}

static void
wait_event(long timeout)
{
	WaitEvent	event;

	if (events_stale)
	{
		dlist_iter	iter;
		int			n = 2;

		dlist_foreach(iter, &clients)
			n++;
		if (events)
			FreeWaitEventSet(events);
		events = ks_create_wait_event_set(n);
		AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		dlist_foreach(iter, &clients)
			AddWaitEventToSet(events, WL_SOCKET_READABLE,
							  ks_source_fd(dlist_container(KsWatchClient, node, iter.cur)->source), NULL, NULL);
		events_stale = false;
	}
	if (WaitEventSetWait(events, timeout, &event, 1, PG_WAIT_EXTENSION) > 0 && event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
}

static void
sooner(TimestampTz *next, TimestampTz moment)
{
	if (moment != 0 && (*next == 0 || moment < *next))
		*next = moment;
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
		take_parked();
		sooner(&next, load_parked());
		dlist_foreach(iter, &clients)
		{
			KsWatchClient *client = dlist_container(KsWatchClient, node, iter.cur);

			sooner(&next, ks_watch_start_parts(client));
			ks_watch_poll(client, &watched);
			busy |= client->busy;
		}
		sooner(&next, tell_trouble());

		now = GetCurrentTimestamp();
		if (!dlist_is_empty(&watched))
			lonely_since = 0;
		else if (lonely_since == 0)
			lonely_since = now;
		else if (TimestampDifferenceExceeds(lonely_since, now, LINGER_MS))
			proc_exit(0);
		if (lonely_since != 0)
			sooner(&next, TimestampTzPlusMilliseconds(lonely_since, LINGER_MS + 1));
		/* a supervisor takes back whom we have woken, and tells us */
		if (busy || any_woken)
			sooner(&next, now);
		wait_event(next == 0 ? -1 : TimestampDifferenceMilliseconds(now, next));
	}
}

void
ks_watcher_main(Datum arg)
{
	Oid			dbid = DatumGetObjectId(arg);

	on_proc_exit(leave, (Datum) 0);
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	attach(dbid);
	BackgroundWorkerInitializeConnectionByOid(dbid, InvalidOid, 0);
	ks_session_fix();
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", "kafka_sink watcher", PGC_USERSET, PGC_S_SESSION);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, connection_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, connection_callback, (Datum) 0);
	watcher_cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink watcher", ALLOCSET_DEFAULT_SIZES);
	pass_cxt = AllocSetContextCreate(watcher_cxt, "kafka_sink watcher pass", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pass_cxt);
	main_loop();
}
