/*
 * launcher.c
 *	  Which databases have sinks.
 *
 * The launcher is a static background worker without a database of its own.
 * When it starts it has a supervisor visit each database that accepts
 * connections and has no entry in shared memory; a supervisor that finds no
 * sinks ends by itself, one that finds some stays.  From then on a commit that
 * changes sinks tells the database's supervisor, or, if there is none, makes
 * its entry due and wakes the launcher.  src/README.md lists the states of an
 * entry and what moves it.
 *
 * One visit at a time, so that a server with many databases is not flooded;
 * but a visit that takes long keeps nobody waiting for more than VISIT_MS.
 * What the launcher waits for is always ahead: the end of a visit's time, the
 * end of a back-off.  Supervisors outlive it, and a launcher that comes later
 * finds them in their entries.
 *
 * It starts after recovery, so on a primary only.
 */
#include "postgres.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "base/guc.h"
#include "process/launcher.h"
#include "process/shmem_int.h"

#define BACKOFF_FIRST_MS	1000
#define BACKOFF_MAX_MS		60000
#define NO_SLOT_MAX_MS		5000	/* the same where nobody tells when there is a slot */
#define START_TIMEOUT_MS	10000	/* for a registered supervisor to attach */
#define VISIT_MS			1000	/* a longer one does not keep others from theirs */
#define LONGEST_WAIT_MS		60000

/* datconnlimit of a database that an interrupted DROP has left; older minor releases do not name it. */
#define INVALID_DATABASE	(-2)

void
ks_launcher_register(void)
{
	BackgroundWorker worker = {0};

	snprintf(worker.bgw_name, BGW_MAXLEN, "kafka_sink launcher");
	snprintf(worker.bgw_type, BGW_MAXLEN, "kafka_sink launcher");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "kafka_sink");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "ks_launcher_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = 1;
	RegisterBackgroundWorker(&worker);
}

static void
detach(int code, Datum arg)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	ks_shared->launcher = 0;
	LWLockRelease(ks_shared->lock);
}

/* What is left of a database that was dropped by half can only be dropped again. */
static bool
may_connect(Form_pg_database form)
{
	return form->datallowconn && form->datconnlimit != INVALID_DATABASE;
}

/* Databases that accept connections; template0 and its like do not, nor what is left of one. */
static List *
list_databases(MemoryContext cxt)
{
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tup;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tup = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tup);

		if (may_connect(form))
		{
			MemoryContext old = MemoryContextSwitchTo(cxt);

			result = lappend_oid(result, form->oid);
			MemoryContextSwitchTo(old);
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return result;
}

/* Or was it dropped meanwhile, or closed?  Whoever opens it tells (utility_hook.c). */
static bool
database_is_open(Oid dbid, MemoryContext cxt)
{
	HeapTuple	tup;
	bool		is_open;

	StartTransactionCommand();
	tup = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dbid));
	is_open = HeapTupleIsValid(tup) && may_connect((Form_pg_database) GETSTRUCT(tup));
	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return is_open;
}

static bool
start_supervisor(Oid dbid)
{
	BackgroundWorker worker = {0};

	snprintf(worker.bgw_name, BGW_MAXLEN, "kafka_sink supervisor for database %u", dbid);
	snprintf(worker.bgw_type, BGW_MAXLEN, "kafka_sink supervisor");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "kafka_sink");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, "ks_supervisor_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = ObjectIdGetDatum(dbid);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static bool has_no_slot = false;	/* said already */

/* It did not start: another time. */
static void
start_failed(KsDatabase *db, int max_ms)
{
	db->next_start = ks_backoff_until(GetCurrentTimestamp(), db->failures, BACKOFF_FIRST_MS, max_ms);
	db->failures++;
	ks_shmem_move_database(db, KS_DATABASE_DUE);
}

/* What there is to do, and to wait for. */
typedef struct VisitPlan
{
	TimestampTz now;
	TimestampTz next;			/* the next thing to wait for; 0: none */
	TimestampTz visit_until;	/* a visit keeps others waiting until then; 0: none */
	Oid			due;			/* to be visited, the one that waits longest */
	TimestampTz due_since;
} VisitPlan;

static void
wait_for_moment(VisitPlan *plan, TimestampTz moment)
{
	Assert(moment > plan->now);
	if (plan->next == 0 || moment < plan->next)
		plan->next = moment;
}

/* The lock is held exclusively. */
static void
plan_entry(VisitPlan *plan, KsDatabase *db)
{
	TimestampTz until;

	/* it never came: the postmaster could not start it */
	if (db->state == KS_DATABASE_STARTING &&
		TimestampTzPlusMilliseconds(db->since, START_TIMEOUT_MS) <= plan->now)
		start_failed(db, BACKOFF_MAX_MS);
	switch (db->state)
	{
		case KS_DATABASE_STARTING:
		case KS_DATABASE_VISITING:
			if (db->state == KS_DATABASE_STARTING)
				wait_for_moment(plan, TimestampTzPlusMilliseconds(db->since, START_TIMEOUT_MS));
			until = TimestampTzPlusMilliseconds(db->since, VISIT_MS);
			if (until > plan->now)
				plan->visit_until = Max(plan->visit_until, until);
			break;
		case KS_DATABASE_DUE:
			if (db->next_start > plan->now)
				wait_for_moment(plan, db->next_start);
			else if (!OidIsValid(plan->due) || db->next_start < plan->due_since)
			{
				plan->due = db->dbid;
				plan->due_since = db->next_start;
			}
			break;
		case KS_DATABASE_NONE:
		case KS_DATABASE_SETTLED:
		case KS_DATABASE_LEAVING:
		case KS_DATABASE_BLOCKED:
			break;				/* whoever moves it on wakes us */
	}
}

/* The next of those that were listed and have no entry; the lock is held. */
static Oid
next_listed(List **listed)
{
	while (*listed != NIL)
	{
		Oid			dbid = linitial_oid(*listed);
		KsDatabase *db = ks_shmem_database(dbid, false);

		if (db == NULL)
		{
			db = ks_shmem_database(dbid, true);
			if (db == NULL)
				return InvalidOid;	/* no room: later */
			ks_shmem_move_database(db, KS_DATABASE_DUE);
			*listed = list_delete_first(*listed);
			return dbid;
		}
		/* it is looked after */
		*listed = list_delete_first(*listed);
	}
	return InvalidOid;
}

/*
 * The clock was set back: what was to come by it is due; the lock is held.
 * (not reached by tests: that it is)
 */
static void
forget_moments(KsDatabase *db, TimestampTz now)
{
	db->next_start = 0;
	db->since = Min(db->since, now);
}

/* Looks at every entry once. */
static VisitPlan
make_plan(List **listed)
{
	static TimestampTz last = 0;
	VisitPlan		plan = {.now = GetCurrentTimestamp()};
	bool		set_back = ks_backoff_is_set_back(&last);

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < KS_MAX_DATABASES; i++)
	{
		KsDatabase *db = &ks_shared->databases[i];

		if (!OidIsValid(db->dbid))
			continue;
		if (set_back)
			forget_moments(db, plan.now);
		plan_entry(&plan, db);
	}
	if (plan.visit_until == 0 && !OidIsValid(plan.due))
	{
		plan.due = next_listed(listed);
		if (!OidIsValid(plan.due) && *listed != NIL)
			wait_for_moment(&plan, TimestampTzPlusMilliseconds(plan.now, LONGEST_WAIT_MS));
	}
	LWLockRelease(ks_shared->lock);
	if (plan.visit_until != 0 && (OidIsValid(plan.due) || *listed != NIL))
		wait_for_moment(&plan, plan.visit_until);
	return plan;
}

/* Moves a database that is due, unless a command has taken it meanwhile. */
static bool
move_due(Oid dbid, KsDatabaseState to)
{
	KsDatabase *db;
	bool		ok;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, false);
	ok = db && db->state == KS_DATABASE_DUE;
	if (ok)
		ks_shmem_move_database(db, to);
	LWLockRelease(ks_shared->lock);
	return ok;
}

static void
begin_visit(Oid dbid)
{
	KsDatabase *db;

	if (!database_is_open(dbid, CurrentMemoryContext))
	{
		(void) move_due(dbid, KS_DATABASE_NONE);
		return;
	}
	if (!move_due(dbid, KS_DATABASE_STARTING))
		return;
	if (start_supervisor(dbid))
	{
		has_no_slot = false;
		return;
	}
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, false);
	if (db && db->state == KS_DATABASE_STARTING)
	{
		start_failed(db, NO_SLOT_MAX_MS);
		if (db->no_process_since == 0)
			db->no_process_since = GetCurrentTimestamp();
	}
	LWLockRelease(ks_shared->lock);
	if (!has_no_slot)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no background worker slot is free for a supervisor of kafka_sink"),
				 errhint("You might need to increase max_worker_processes.")));
	has_no_slot = true;
}

/*
 * Begins what is due.  Returns how long to wait for the next, in milliseconds,
 * -1: until woken.
 */
static long
start_due_visits(List **listed)
{
	VisitPlan		plan = make_plan(listed);

	/* one more look after each visit that begins: it ends, or bounds the wait */
	while (plan.visit_until == 0 && OidIsValid(plan.due))
	{
		CHECK_FOR_INTERRUPTS();
		begin_visit(plan.due);
		plan = make_plan(listed);
	}
	if (plan.next == 0)
		return -1;
	return Min(LONGEST_WAIT_MS, Max(1, TimestampDifferenceMilliseconds(plan.now, plan.next)));
}

void
ks_launcher_main(Datum arg)
{
	MemoryContext cxt;
	List	   *listed = NIL;
	bool		has_listed = false;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(detach, (Datum) 0);
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	ks_shared->launcher = MyProcPid;
	ks_shared->no_launcher_since = 0;
	LWLockRelease(ks_shared->lock);
	cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink launcher", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);

	for (;;)
	{
		long		timeout = -1;
		bool		rescan;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
		rescan = ks_shared->rescan;
		ks_shared->rescan = false;
		LWLockRelease(ks_shared->lock);
		if (!ks_guc_enabled)
		{
			/* supervisors see it by themselves; all is looked at anew later */
			has_listed = false;
			list_free(listed);
			listed = NIL;
		}
		else
		{
			if (!has_listed || rescan)
			{
				list_free(listed);
				listed = list_databases(cxt);
				has_listed = true;
			}
			timeout = start_due_visits(&listed);
		}
		/* a lock that was waited for has reset the latch: entries were looked at since */
		if (ConfigReloadPending || ((volatile KsShared *) ks_shared)->rescan)
			continue;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
