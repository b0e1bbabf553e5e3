/*
 * shmem_database.c
 *	  The table of databases that have, or may have, sinks.
 *
 * An entry's state moves in ks_shmem_move_database() alone.  "changed" is what
 * a commit tells a supervisor that is there; where none is, the state tells the
 * launcher.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "common/hashfn.h"
#include "miscadmin.h"

#include "process/shmem_int.h"

#define LAUNCHER_MS		10000

static bool change_noted = false;

#define TO(state) (1 << KS_DATABASE_##state)

/* What may follow each state. */
static const int database_moves[] PG_USED_FOR_ASSERTS_ONLY = {
	[KS_DATABASE_NONE] = TO(DUE) | TO(BLOCKED),
	[KS_DATABASE_DUE] = TO(NONE) | TO(STARTING) | TO(BLOCKED),
	[KS_DATABASE_STARTING] = TO(DUE) | TO(VISITING) | TO(BLOCKED),
	[KS_DATABASE_VISITING] = TO(NONE) | TO(DUE) | TO(SETTLED) | TO(LEAVING),
	[KS_DATABASE_SETTLED] = TO(NONE) | TO(DUE) | TO(LEAVING),
	[KS_DATABASE_LEAVING] = TO(DUE) | TO(BLOCKED),
	[KS_DATABASE_BLOCKED] = TO(DUE),
};

#undef TO

void
ks_shmem_move_database(KsDatabase *db, KsDatabaseState to)
{
	Assert(LWLockHeldByMeInMode(ks_shared->lock, LW_EXCLUSIVE));
	Assert(OidIsValid(db->dbid));
	Assert(database_moves[db->state] & (1 << to));
	db->state = to;
	db->since = GetCurrentTimestamp();
	if (to == KS_DATABASE_NONE)
		db->dbid = InvalidOid;
	if (to != KS_DATABASE_VISITING && to != KS_DATABASE_SETTLED && to != KS_DATABASE_LEAVING)
		db->supervisor = 0;
}

/* A new entry's state is NONE: the caller moves it on. */
KsDatabase *
ks_shmem_database(Oid dbid, bool create)
{
	KsDatabase *unused = NULL;

	Assert(LWLockHeldByMe(ks_shared->lock));
	for (int i = 0; i < KS_MAX_DATABASES; i++)
	{
		KsDatabase *db = &ks_shared->databases[i];

		if (db->dbid == dbid)
			return db;
		if (unused == NULL && !OidIsValid(db->dbid))
			unused = db;
	}
	if (!create || unused == NULL)
		return NULL;
	memset(unused, 0, sizeof(KsDatabase));
	unused->dbid = dbid;
	return unused;
}

/* Somebody must look at its sinks; returns whom to wake. */
static pid_t
note_changed(KsDatabase *db)
{
	switch (db->state)
	{
		case KS_DATABASE_NONE:
			ks_shmem_move_database(db, KS_DATABASE_DUE);
			return ks_shared->launcher;
		case KS_DATABASE_DUE:
			db->next_start = 0;
			return ks_shared->launcher;
		case KS_DATABASE_VISITING:
		case KS_DATABASE_SETTLED:
			db->changed = true;
			return db->supervisor;
		case KS_DATABASE_STARTING:
		case KS_DATABASE_LEAVING:
		case KS_DATABASE_BLOCKED:
			break;				/* who comes next looks anyway */
	}
	return 0;
}

void
ks_shmem_mark_changed(Oid dbid)
{
	KsDatabase *db;
	pid_t		pid;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, true);
	if (db)
		pid = note_changed(db);
	else
	{
		ks_shared->rescan = true;
		pid = ks_shared->launcher;
	}
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(pid);
}

void
ks_shmem_mark_roles_changed(void)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < KS_MAX_DATABASES; i++)
	{
		KsDatabase *db = &ks_shared->databases[i];

		if (db->supervisor == 0 || db->roles_changed)
			continue;
		db->roles_changed = true;
		ks_shmem_wake(db->supervisor);
	}
	LWLockRelease(ks_shared->lock);
}

/* Where there is a supervisor; one that comes later knows of no failures. */
void
ks_shmem_mark_connections_changed(Oid dbid)
{
	KsDatabase *db;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, false);
	if (db && db->supervisor != 0 && !db->connections_changed)
	{
		db->connections_changed = true;
		ks_shmem_wake(db->supervisor);
	}
	LWLockRelease(ks_shared->lock);
}

/* One that has ended is back in a moment; what never came is missed a little longer. */
static TimestampTz
launcher_missing_since(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz since;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (ks_shared->launcher == 0 && (ks_shared->no_launcher_since == 0 || ks_shared->no_launcher_since > now))
		ks_shared->no_launcher_since = now;
	since = ks_shared->no_launcher_since;
	LWLockRelease(ks_shared->lock);
	return since != 0 && TimestampDifferenceExceeds(since, now, LAUNCHER_MS) ? since : 0;
}

TimestampTz
ks_shmem_unsupervised_since(void)
{
	const KsDatabase *db;
	TimestampTz since;
	bool		supervised;
	bool		launched;

	/* on a standby nobody is to look after anything */
	if (!ks_shmem_available() || RecoveryInProgress())
		return 0;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	db = ks_shmem_database(MyDatabaseId, false);
	supervised = db && db->supervisor != 0;
	since = db ? db->no_process_since : 0;
	launched = ks_shared->launcher != 0;
	LWLockRelease(ks_shared->lock);
	if (supervised)
		return 0;
	return launched ? since : launcher_missing_since();
}

int
ks_shmem_target_bit(Oid relid)
{
	return hash_bytes_uint32(relid) % KS_TARGET_BITS;
}

static void
note_change_callback(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (change_noted)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has changed kafka_sink's sinks"),
						 errdetail("Workers would not learn of the change at COMMIT PREPARED."),
						 errhint("Change sinks in a transaction of its own.")));
			break;
		case XACT_EVENT_COMMIT:
			if (change_noted)
				ks_shmem_mark_changed(MyDatabaseId);
			change_noted = false;
			break;
		case XACT_EVENT_ABORT:
			change_noted = false;
			break;
		default:
			break;
	}
}

void
ks_shmem_note_change(void)
{
	static bool registered = false;

	if (!ks_shmem_available())
		return;
	if (!registered)
	{
		RegisterXactCallback(note_change_callback, NULL);
		registered = true;
	}
	change_noted = true;
}
