/*
 * supervisor_database.c
 *	  The entry of the supervisor's database in shared memory: taking it, what
 *	  commits have marked there, and giving it back.
 *
 * src/README.md lists its states and what moves them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "base/backoff.h"
#include "base/guc.h"
#include "process/supervisor_int.h"

#define LIVED_MS			60000	/* a supervisor that old was not a failure */
#define ROLES_MS			1000	/* between looks because of roles */

KsDatabase *ks_supervisor_database;

static bool done = false;		/* there is nothing to supervise */
static TimestampTz next_roles = 0;	/* not before, because of roles */
static TimestampTz next_connections = 0;
static bool roles_put_off = false;	/* marks that have been seen */
static bool connections_put_off = false;

static void
free_ended_workers(void)
{
	for (int i = 0; i < ks_shared->nworkers; i++)
		if (ks_worker_slots[i].state == KS_SLOT_ENDED && ks_worker_slots[i].dbid == MyDatabaseId)
			ks_shmem_free_worker(i, ks_worker_slots[i].generation);
}

static void
detach(int code, Datum arg)
{
	KsDatabase *db = ks_supervisor_database;
	TimestampTz now = GetCurrentTimestamp();
	pid_t		launcher;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db->next_start = 0;
	if (db->state == KS_DATABASE_LEAVING)
		ks_shmem_move_database(db, db->blockers > 0 ? KS_DATABASE_BLOCKED : KS_DATABASE_DUE);
	else if (done)
	{
		/* who leaves because it is disabled may be the last to hear that it is enabled again */
		db->failures = 0;
		ks_shmem_move_database(db, db->changed || !ks_guc_enabled ? KS_DATABASE_DUE : KS_DATABASE_NONE);
	}
	else
	{
		if (db->state == KS_DATABASE_SETTLED && TimestampDifferenceExceeds(db->since, now, LIVED_MS))
			db->failures = 0;
		db->next_start = ks_backoff_until(now, db->failures, KS_RETRY_FIRST_MS, KS_RETRY_MAX_MS);
		db->failures++;
		ks_shmem_move_database(db, KS_DATABASE_DUE);
	}
	launcher = ks_shared->launcher;
	LWLockRelease(ks_shared->lock);
	if (done)
		ks_shmem_unpark_all(MyDatabaseId);
	free_ended_workers();
	ConditionVariableBroadcast(&ks_shared->process_exited);
	ks_shmem_wake(launcher);
}

void
ks_supervisor_attach(Oid dbid)
{
	KsDatabase *db;
	bool		ok;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, false);
	ok = db && db->state == KS_DATABASE_STARTING;
	if (ok)
	{
		ks_shmem_move_database(db, KS_DATABASE_VISITING);
		db->supervisor = MyProcPid;
		db->no_process_since = 0;
		db->changed = db->roles_changed = db->connections_changed = db->unwatched = false;
	}
	LWLockRelease(ks_shared->lock);
	if (!ok)
		proc_exit(0);
	ks_supervisor_database = db;
	before_shmem_exit(detach, (Datum) 0);
}

void
ks_supervisor_settle(void)
{
	pid_t		launcher = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (ks_supervisor_database->state == KS_DATABASE_VISITING)
	{
		ks_shmem_move_database(ks_supervisor_database, KS_DATABASE_SETTLED);
		launcher = ks_shared->launcher;
	}
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(launcher);
}

bool
ks_supervisor_take_changed(TimestampTz *later)
{
	KsDatabase *db = ks_supervisor_database;
	TimestampTz now = GetCurrentTimestamp();
	bool		changed;
	bool		leave;

	/* a clock that was set back must not put them off */
	next_roles = Min(next_roles, TimestampTzPlusMilliseconds(now, ROLES_MS));
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	changed = db->changed || (db->roles_changed && next_roles <= now);
	db->changed = false;
	if (changed)
		db->roles_changed = false;
	roles_put_off = db->roles_changed;
	*later = roles_put_off ? next_roles : 0;
	leave = db->state == KS_DATABASE_LEAVING;
	LWLockRelease(ks_shared->lock);
	if (leave)
		proc_exit(0);
	if (changed)
		next_roles = TimestampTzPlusMilliseconds(now, ROLES_MS);
	return changed;
}

/*
 * Has a server or a user mapping changed?  Not more often than each ROLES_MS, so
 * that who changes them in a loop starts nobody's workers in one.
 */
bool
ks_supervisor_take_connections(TimestampTz *later)
{
	KsDatabase *db = ks_supervisor_database;
	TimestampTz now = GetCurrentTimestamp();
	bool		changed;

	next_connections = Min(next_connections, TimestampTzPlusMilliseconds(now, ROLES_MS));
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	changed = db->connections_changed && next_connections <= now;
	if (changed)
		db->connections_changed = false;
	connections_put_off = db->connections_changed;
	*later = connections_put_off ? next_connections : 0;
	LWLockRelease(ks_shared->lock);
	if (changed)
		next_connections = TimestampTzPlusMilliseconds(now, ROLES_MS);
	return changed;
}

bool
ks_supervisor_is_changed(void)
{
	return ((volatile KsDatabase *) ks_supervisor_database)->changed;
}

bool
ks_supervisor_is_marked(void)
{
	volatile KsDatabase *db = ks_supervisor_database;

	return db->changed || (db->roles_changed && !roles_put_off) ||
		(db->connections_changed && !connections_put_off) || db->state == KS_DATABASE_LEAVING;
}

void
ks_supervisor_end(void)
{
	done = true;
	proc_exit(0);
}
