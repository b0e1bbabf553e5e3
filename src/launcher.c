/*
 * launcher.c
 *	  Which databases have sinks.
 *
 * The launcher is a static background worker without a database of its own.
 * When it starts it has a supervisor visit each database that accepts
 * connections, one after the other; a supervisor that finds no sinks ends by
 * itself, one that finds some stays ("settled").  From then on a commit that
 * changes sinks marks its database in shared memory and wakes the supervisor,
 * or, if there is none, the launcher.
 *
 *		none --changed--> starting --attached--> visiting --sinks--> settled
 *		  ^                   |                      |                  |
 *		  +---- failed, back-off <-------------------+------------------+
 *		  +---- no sinks, or blocked by a command ---+------------------+
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

#include "backoff.h"
#include "compat.h"
#include "guc.h"
#include "launcher.h"
#include "shmem_int.h"

#define BACKOFF_FIRST_MS	1000
#define BACKOFF_MAX_MS		60000
#define LIVED_MS			60000	/* a supervisor that old was not a failure */
#define START_TIMEOUT_MS	10000	/* for a registered supervisor to attach */

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

/* Databases that accept connections; template0 and its like do not. */
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

		if (form->datallowconn)
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

/* Dropped meanwhile? */
static bool
database_exists(Oid dbid, MemoryContext cxt)
{
	bool		exists;

	StartTransactionCommand();
	exists = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(dbid));
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	return exists;
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

/*
 * Looks at every entry once: starts what is due, one visit at a time.  Returns
 * how long to wait for the next, in milliseconds, -1: until woken.
 */
static long
look(List **visits)
{
	TimestampTz now = GetCurrentTimestamp();
	Oid			start = InvalidOid;
	bool		visiting = false;
	TimestampTz next = 0;
	static bool warned = false;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < KS_MAX_DATABASES; i++)
	{
		KsDatabase *db = &ks_shared->databases[i];

		if (!OidIsValid(db->dbid))
			continue;
		if (db->starting && db->supervisor == 0 &&
			TimestampDifferenceExceeds(db->started_at, now, START_TIMEOUT_MS))
		{
			/* it never came: the postmaster could not start it */
			db->starting = false;
			db->changed = true;
			db->next_start = ks_backoff_until(now, db->failures, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
			db->failures++;
		}
		if (db->supervisor != 0 || db->starting)
		{
			if (!db->settled)
			{
				TimestampTz limit = TimestampTzPlusMilliseconds(db->started_at, START_TIMEOUT_MS);

				visiting = true;
				if (db->starting && (next == 0 || limit < next))
					next = limit;
			}
			continue;
		}
		if (!db->changed && db->blockers == 0)
		{
			db->dbid = InvalidOid;	/* nothing to remember */
			continue;
		}
		if (!db->changed || db->blockers > 0)
			continue;
		if (db->next_start > now)
		{
			if (next == 0 || db->next_start < next)
				next = db->next_start;
		}
		else if (!OidIsValid(start))
			start = db->dbid;
	}
	if (!visiting && !OidIsValid(start) && *visits != NIL)
	{
		start = linitial_oid(*visits);
		*visits = list_delete_first(*visits);
		if (ks_shmem_database(start, true) == NULL)
		{
			*visits = lappend_oid(*visits, start);	/* no room: later */
			start = InvalidOid;
			next = TimestampTzPlusMilliseconds(now, BACKOFF_MAX_MS);
		}
	}
	if (!visiting && OidIsValid(start))
	{
		KsDatabase *db = ks_shmem_database(start, false);

		db->starting = true;
		db->settled = false;
		db->changed = false;
		db->started_at = now;
	}
	else
		start = InvalidOid;
	LWLockRelease(ks_shared->lock);

	if (OidIsValid(start))
	{
		if (!database_exists(start, CurrentMemoryContext))
		{
			LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
			ks_shmem_database(start, false)->dbid = InvalidOid;
			LWLockRelease(ks_shared->lock);
			return 1;			/* on to the next one */
		}
		if (start_supervisor(start))
		{
			warned = false;
			return START_TIMEOUT_MS;
		}
		LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
		{
			KsDatabase *db = ks_shmem_database(start, false);

			db->starting = false;
			db->changed = true;
			db->next_start = ks_backoff_until(now, db->failures, BACKOFF_FIRST_MS, BACKOFF_MAX_MS);
			db->failures++;
			next = db->next_start;
		}
		LWLockRelease(ks_shared->lock);
		if (!warned)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("no background worker slot is free for a supervisor of kafka_sink"),
					 errhint("You might need to increase max_worker_processes.")));
		warned = true;
	}
	return next == 0 ? -1 : Max(1, TimestampDifferenceMilliseconds(now, next));
}

void
ks_launcher_main(Datum arg)
{
	MemoryContext cxt;
	List	   *visits = NIL;
	bool		listed = false;

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	before_shmem_exit(detach, (Datum) 0);
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	ks_shared->launcher = MyProcPid;
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
			listed = false;
			list_free(visits);
			visits = NIL;
		}
		else
		{
			if (!listed || rescan)
			{
				list_free(visits);
				visits = list_databases(cxt);
				listed = true;
			}
			timeout = look(&visits);
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}
