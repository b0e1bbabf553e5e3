/*
 * supervisor.c
 *	  Which sinks of one database should run.
 *
 * Reads the catalog whenever a commit changed it, a worker has ended, or the
 * configuration was reloaded, and compares what should run with what does:
 *
 *		wanted, not alive, due, and no worker of the sink is of an older
 *		generation of its definition
 *									-> start it for this generation
 *		alive, unwanted or of an older generation
 *									-> ask it to stop at its batch's end,
 *									   SIGTERM if it takes too long
 *		ended on its own wish, or because it was asked
 *									-> due at once
 *		ended otherwise				-> due after a back-off
 *
 * All workers of a sink run by the same generation, which says how many they
 * are and so whose partition is whose: no partition is read by two.  If one of
 * them halts the sink, none of them is wanted until resume().
 *
 * No transaction is held while it waits.  Workers that a former supervisor
 * left behind are asked to stop and then started anew.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "backoff.h"
#include "catalog.h"
#include "compat.h"
#include "guc.h"
#include "session.h"
#include "shmem_int.h"
#include "supervisor.h"
#include "worker.h"

#define BACKOFF_FIRST_MS	1000
#define BACKOFF_MAX_MS		60000
#define LIVED_MS			60000	/* a worker that old was not a failure */
#define STOP_TIMEOUT_MS		10000	/* from the request to SIGTERM */

/* A worker of a sink as this process knows it. */
typedef struct Managed
{
	char		sink[NAMEDATALEN];
	int			worker;			/* 0 .. workers - 1 */
	bool		defined;		/* the sink exists, and has so many workers */
	bool		wanted;
	bool		held;			/* wanted, but older workers come first */
	int64		generation;		/* of the definition that should run */

	int			slot;			/* -1: no worker */
	uint32		slot_generation;
	int64		running;		/* generation it was started for */
	BackgroundWorkerHandle *handle; /* NULL: started by another supervisor */
	TimestampTz started_at;
	TimestampTz stop_asked;		/* 0: not */
	bool		ended_badly;	/* and its state does not say so yet */
	bool		no_slot;		/* none was free for it: said already */

	int			failures;
	TimestampTz next_start;
} Managed;

static List *managed = NIL;
static MemoryContext cxt;
static KsDatabase *my_database;
static bool done = false;		/* there is nothing to supervise */

static void
detach(int code, Datum arg)
{
	pid_t		launcher;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	my_database->supervisor = 0;
	my_database->settled = false;
	if (!done)
	{
		TimestampTz now = GetCurrentTimestamp();

		if (TimestampDifferenceExceeds(my_database->started_at, now, LIVED_MS))
			my_database->failures = 0;
		my_database->changed = true;
		my_database->next_start = my_database->blockers > 0 ? 0 :
			ks_backoff_until(now, my_database->failures, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
		my_database->failures++;
	}
	else
		my_database->failures = 0;
	launcher = ks_shared->launcher;
	LWLockRelease(ks_shared->lock);
	ConditionVariableBroadcast(&ks_shared->left);
	ks_shmem_wake(launcher);
}

/* Takes the database's entry, or ends: another is there, or nobody may be. */
static void
attach(Oid dbid)
{
	bool		ok;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	my_database = ks_shmem_database(dbid, false);
	ok = my_database && my_database->supervisor == 0;
	if (ok)
	{
		my_database->supervisor = MyProcPid;
		my_database->starting = false;
	}
	LWLockRelease(ks_shared->lock);
	if (!ok)
		proc_exit(0);
	before_shmem_exit(detach, (Datum) 0);
	if (my_database->blockers > 0)
		proc_exit(0);
}

/* --- workers --- */

static Managed *
find_managed(const char *sink, int worker)
{
	ListCell   *lc;
	Managed    *m;
	MemoryContext old;

	foreach(lc, managed)
	{
		m = lfirst(lc);
		if (m->worker == worker && strcmp(m->sink, sink) == 0)
			return m;
	}
	old = MemoryContextSwitchTo(cxt);
	m = palloc0(sizeof(Managed));
	strlcpy(m->sink, sink, NAMEDATALEN);
	m->worker = worker;
	m->slot = -1;
	managed = lappend(managed, m);
	MemoryContextSwitchTo(old);
	return m;
}

/* Workers of this database that are alive already. */
static void
adopt(void)
{
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (slot->in_use && slot->dbid == MyDatabaseId)
		{
			Managed    *m = find_managed(slot->sink, slot->worker);

			m->slot = i;
			m->slot_generation = slot->generation;
			m->running = -1;
			m->started_at = slot->started_at;
		}
	}
	LWLockRelease(ks_shared->lock);
}

static void
ask_to_stop(Managed *m)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		again = m->stop_asked != 0;

	if (again && !TimestampDifferenceExceeds(m->stop_asked, now, STOP_TIMEOUT_MS))
		return;
	m->stop_asked = now;
	ks_shmem_stop_worker(m->slot, m->slot_generation, again);
}

/* Has the worker ended?  Then decides when the next one is due. */
static void
notice_end(Managed *m)
{
	KsWorkerSlot *slot;
	bool		alive;
	bool		respawn;
	pid_t		pid;
	TimestampTz now;

	if (m->slot < 0)
		return;
	slot = &ks_worker_slots[m->slot];
	if (m->handle && GetBackgroundWorkerPid(m->handle, &pid) == BGWH_STOPPED)
		ks_shmem_free_worker(m->slot, m->slot_generation);	/* if it never attached */
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	alive = slot->in_use && slot->generation == m->slot_generation;
	respawn = slot->generation == m->slot_generation && slot->respawn;
	LWLockRelease(ks_shared->lock);
	if (alive)
		return;

	now = GetCurrentTimestamp();
	if (respawn || m->stop_asked != 0)
	{
		m->failures = 0;
		m->next_start = 0;
	}
	else
	{
		if (TimestampDifferenceExceeds(m->started_at, now, LIVED_MS))
			m->failures = 0;
		m->next_start = ks_backoff_until(now, m->failures, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
		m->failures++;
		m->ended_badly = true;
	}
	if (m->handle)
		pfree(m->handle);
	m->handle = NULL;
	m->slot = -1;
	m->stop_asked = 0;
}

/* Starts a worker in a slot of its own; false if there is none. */
static bool
launch(Managed *m, Oid owner, const char **setting)
{
	BackgroundWorker worker = {0};
	KsWorkerArgs args = {MyDatabaseId, owner, 0, m->generation};
	int			slot = ks_shmem_alloc_worker(MyDatabaseId, m->sink, m->worker, owner);
	MemoryContext old;
	bool		ok;

	*setting = "kafka_sink.max_workers";
	if (slot < 0)
		return false;
	args.slot_generation = ks_worker_slots[slot].generation;
	snprintf(worker.bgw_name, BGW_MAXLEN, "kafka_sink worker %d: %s", m->worker, m->sink);
	snprintf(worker.bgw_type, BGW_MAXLEN, "kafka_sink worker");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "kafka_sink");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "ks_worker_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = Int32GetDatum(slot);
	memcpy(worker.bgw_extra, &args, sizeof(args));
	old = MemoryContextSwitchTo(cxt);
	ok = RegisterDynamicBackgroundWorker(&worker, &m->handle);
	MemoryContextSwitchTo(old);
	if (!ok)
	{
		m->handle = NULL;
		ks_shmem_free_worker(slot, args.slot_generation);
		*setting = "max_worker_processes";
		return false;
	}
	m->slot = slot;
	m->slot_generation = args.slot_generation;
	m->running = m->generation;
	m->started_at = GetCurrentTimestamp();
	m->stop_asked = 0;
	m->no_slot = false;
	return true;
}

/* The others of the sink go on, this one's partitions do not. */
static void
write_no_slot(KsSink *sink, int worker, const char *setting)
{
	KsStateError error = {
		.sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
		.message = psprintf("no background worker slot is free for worker %d of %d of sink \"%s\"",
							worker, sink->workers, sink->name),
		.detail = "Its partitions are not consumed until there is one.",
		.hint = psprintf("You might need to increase %s.", setting),
		.off = -1
	};

	ereport(WARNING,
			(errcode(error.sqlstate), errmsg("%s", error.message),
			 errdetail("%s", error.detail), errhint("%s", error.hint)));
	ks_catalog_set_state(sink->name, worker, "backoff", &error);
}

static void
start_worker(Managed *m, KsSink *sink)
{
	const char *setting;

	if (launch(m, sink->owner, &setting))
		return;
	if (!m->no_slot)
		write_no_slot(sink, m->worker, setting);
	m->no_slot = true;
	m->next_start = ks_backoff_until(GetCurrentTimestamp(), m->failures, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
	m->failures++;
}

/* --- states that no worker can write --- */

static void
write_suspended(KsSink *sink)
{
	KsStateError error = {
		.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		.message = "the sink's offsets were written in another database or server",
		.detail = "This is a copy: a restored dump, a database made from a template, or an upgraded server.",
		.hint = psprintf("To go on from them here: SELECT kafka_sink.resume(%s); otherwise kafka_sink.drop_sink(%s).",
						 quote_literal_cstr(sink->name), quote_literal_cstr(sink->name)),
		.off = -1
	};
	const char *state = ks_sink_worker_state(sink, 0);

	if (state == NULL || strcmp(state, "suspended") != 0)
		ks_catalog_set_state(sink->name, 0, "suspended", &error);
}

static void
write_unexpected_end(KsSink *sink, int worker)
{
	const char *state = ks_sink_worker_state(sink, worker);
	KsStateError error = {
		.sqlstate = ERRCODE_INTERNAL_ERROR,
		.message = "the worker ended unexpectedly",
		.hint = "The server log tells why; it is started again after a while.",
		.off = -1
	};
	HeapTuple	tup = SearchSysCache1(AUTHOID, ObjectIdGetDatum(sink->owner));

	if (!HeapTupleIsValid(tup))
	{
		error.sqlstate = ERRCODE_UNDEFINED_OBJECT;
		error.message = "the sink's owner does not exist any more";
		error.hint = "Drop the sink and create it again as another role.";
	}
	else
	{
		if (!PG17_GE && !((Form_pg_authid) GETSTRUCT(tup))->rolcanlogin)
		{
			error.sqlstate = ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION;
			error.message = psprintf("role \"%s\" cannot log in, so its sinks cannot run",
									 NameStr(((Form_pg_authid) GETSTRUCT(tup))->rolname));
			error.hint = psprintf("ALTER ROLE %s LOGIN.",
								  quote_identifier(NameStr(((Form_pg_authid) GETSTRUCT(tup))->rolname)));
		}
		ReleaseSysCache(tup);
	}
	/* what the worker itself has said is better */
	if (state == NULL || strcmp(state, "starting") == 0 || strcmp(state, "running") == 0)
		ks_catalog_set_state(sink->name, worker, "backoff", &error);
}

/* --- the comparison --- */

static bool
should_run(KsSink *sink)
{
	return ks_guc_enabled && sink->server != NULL && ks_sink_writes(sink) && sink->enabled && !sink->suspended &&
		!sink->halted && ks_catalog_topics(sink->name) != NIL;
}

/* One sink: what its workers should do, what they are said to do. */
static void
look_at_sink(KsSink *sink)
{
	bool		run = should_run(sink);
	bool		alive = false;	/* any of its workers */
	bool		old = false;	/* one of an older generation */
	ListCell   *lc;

	if (sink->suspended && sink->enabled)
		write_suspended(sink);
	for (int i = 0; i < sink->workers; i++)
		find_managed(sink->name, i)->defined = true;
	foreach(lc, managed)
	{
		Managed    *m = lfirst(lc);

		if (strcmp(m->sink, sink->name) != 0)
			continue;
		m->wanted = run && m->defined;
		if (m->generation != sink->generation)
		{
			/* somebody mended something, perhaps */
			m->next_start = 0;
			m->no_slot = false;
		}
		else if (m->ended_badly && m->wanted)
			write_unexpected_end(sink, m->worker);
		m->generation = sink->generation;
		m->ended_badly = false;
		alive |= m->slot >= 0;
		old |= m->slot >= 0 && m->running != m->generation;
	}
	if (!old)
		ks_catalog_clear_states(sink, run || alive ? sink->workers : 0);
	foreach(lc, managed)
	{
		Managed    *m = lfirst(lc);

		if (strcmp(m->sink, sink->name) != 0)
			continue;
		m->held = old;
		if (m->wanted && !old && m->slot < 0 && m->next_start <= GetCurrentTimestamp())
			start_worker(m, sink);
	}
}

/* Reads the catalog; false if there is nothing to supervise. */
static bool
read_catalog(void)
{
	List	   *sinks = NIL;
	ListCell   *lc;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
	foreach(lc, managed)
	{
		Managed    *m = lfirst(lc);

		m->defined = m->wanted = m->held = false;
	}
	if (ks_catalog_exists())
		sinks = ks_catalog_sinks();
	foreach(lc, sinks)
		look_at_sink(lfirst(lc));
	PopActiveSnapshot();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
	return sinks != NIL;
}

/* The next moment at which something is due; 0: none. */
static TimestampTz
stop_unwanted(void)
{
	TimestampTz next = 0;
	ListCell   *lc;

	foreach(lc, managed)
	{
		Managed    *m = lfirst(lc);
		TimestampTz due = 0;

		if (m->slot >= 0 && (!m->wanted || m->running != m->generation))
		{
			ask_to_stop(m);
			due = TimestampTzPlusMilliseconds(m->stop_asked, STOP_TIMEOUT_MS);
		}
		else if (m->slot < 0 && m->wanted && !m->held)
			due = m->next_start;
		if (due != 0 && (next == 0 || due < next))
			next = due;
		if (m->slot < 0 && !m->wanted && (m->failures == 0 || !m->defined))
		{
			managed = foreach_delete_current(managed, lc);
			pfree(m);
		}
	}
	return next;
}

static bool
any_alive(void)
{
	ListCell   *lc;

	foreach(lc, managed)
		if (((Managed *) lfirst(lc))->slot >= 0)
			return true;
	return false;
}

/*
 * Ends the process for good, unless a commit has changed something since the
 * catalog was read.
 */
static void
leave_if_unchanged(void)
{
	bool		changed;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	changed = my_database->changed;
	LWLockRelease(ks_shared->lock);
	if (changed)
		return;
	/* a change from here on stays marked, and detach() wakes the launcher */
	done = true;
	proc_exit(0);
}

static void
settle(void)
{
	pid_t		launcher;

	if (my_database->settled)
		return;
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	my_database->settled = true;
	launcher = ks_shared->launcher;
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(launcher);	/* on to the next database */
}

static void
main_loop(void)
{
	for (;;)
	{
		TimestampTz next;
		TimestampTz now;
		long		timeout = -1;
		bool		any;
		ListCell   *lc;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
		my_database->changed = false;
		LWLockRelease(ks_shared->lock);
		if (my_database->blockers > 0)
			proc_exit(0);

		foreach(lc, managed)
			notice_end(lfirst(lc));
		any = read_catalog() && ks_guc_enabled;
		if (any)
			settle();
		next = stop_unwanted();
		if (!any && !any_alive())
			leave_if_unchanged();

		now = GetCurrentTimestamp();
		if (next != 0)
			timeout = Max(1, TimestampDifferenceMilliseconds(now, next));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
ks_supervisor_main(Datum arg)
{
	Oid			dbid = DatumGetObjectId(arg);

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	attach(dbid);
	BackgroundWorkerInitializeConnectionByOid(dbid, InvalidOid, 0);
	ks_session_fix();
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", "kafka_sink supervisor", PGC_USERSET, PGC_S_SESSION);
	cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink supervisor", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);
	adopt();
	/* an error ends the process; the launcher starts another after a while */
	main_loop();
}
