/*
 * shmem_parked.c
 *	  Workers that have nothing to do, and so no process.
 *
 * The supervisor parks them and takes them back; the watcher of the database
 * looks after their partitions, and wakes them.  Each tells the other by the
 * slot and a signal.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "process/shmem_int.h"

#define TO(state) (1 << KS_PARKED_##state)

/* What may follow each state. */
static const int parked_moves[] PG_USED_FOR_ASSERTS_ONLY = {
	[KS_PARKED_FREE] = TO(WATCHED),
	[KS_PARKED_WATCHED] = TO(WOKEN) | TO(FREE),
	[KS_PARKED_WOKEN] = TO(FREE),
};

#undef TO

/* The only way from one state to another; the lock is held exclusively. */
static KsDatabase *
move_parked(KsParkedSlot *slot, KsParkedState to)
{
	KsDatabase *db = ks_shmem_database(slot->dbid, false);

	Assert(LWLockHeldByMeInMode(ks_shared->lock, LW_EXCLUSIVE));
	Assert(parked_moves[slot->state] & (1 << to));
	slot->state = to;
	if (db)
		db->parked_changes++;
	return db;
}

/*
 * A free slot, -1: none.  A role has half of them at most, so that none can keep
 * all others' workers awake.  The lock is held.
 */
static int
find_free(Oid owner)
{
	int			found = -1;
	int			owned = 0;

	for (int i = 0; i < KS_MAX_PARKED; i++)
	{
		const KsParkedSlot *slot = &ks_shared->parked[i];

		if (slot->state != KS_PARKED_FREE)
			owned += slot->owner == owner;
		else if (found < 0)
			found = i;
	}
	return owned < KS_MAX_PARKED / 2 ? found : -1;
}

bool
ks_shmem_can_park(Oid owner)
{
	bool		room;
	KsDatabase *db;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	db = ks_shmem_database(MyDatabaseId, false);
	room = db && !db->unwatched && find_free(owner) >= 0;
	LWLockRelease(ks_shared->lock);
	return room;
}

int
ks_shmem_park(Oid dbid, const char *sink, int worker, Oid owner, bool superuser, int64 definition,
			  uint32 *serial)
{
	int			found;
	pid_t		watcher = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	found = find_free(owner);
	if (found >= 0)
	{
		KsParkedSlot *slot = &ks_shared->parked[found];
		KsDatabase *db;

		*serial = ++slot->serial;
		slot->dbid = dbid;
		strlcpy(slot->sink, sink, NAMEDATALEN);
		slot->worker = worker;
		slot->owner = owner;
		slot->superuser = superuser;
		slot->definition = definition;
		db = move_parked(slot, KS_PARKED_WATCHED);
		if (db)
			watcher = db->watcher;
	}
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(watcher);
	return found;
}

void
ks_shmem_unpark(int slot_no, uint32 serial)
{
	KsParkedSlot *slot = &ks_shared->parked[slot_no];
	pid_t		watcher = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (slot->state != KS_PARKED_FREE && slot->serial == serial)
	{
		KsDatabase *db = move_parked(slot, KS_PARKED_FREE);

		if (db)
			watcher = db->watcher;
	}
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(watcher);
}

bool
ks_shmem_is_watched(int slot_no, uint32 serial)
{
	KsParkedSlot *slot = &ks_shared->parked[slot_no];
	bool		watched;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	watched = slot->state == KS_PARKED_WATCHED && slot->serial == serial;
	LWLockRelease(ks_shared->lock);
	return watched;
}

void
ks_shmem_unpark_all(Oid dbid)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < KS_MAX_PARKED; i++)
		if (ks_shared->parked[i].state != KS_PARKED_FREE && ks_shared->parked[i].dbid == dbid)
			(void) move_parked(&ks_shared->parked[i], KS_PARKED_FREE);
	LWLockRelease(ks_shared->lock);
}

void
ks_shmem_wake_parked(int slot_no, uint32 serial)
{
	KsParkedSlot *slot = &ks_shared->parked[slot_no];
	KsDatabase *db;
	pid_t		supervisor = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (slot->state == KS_PARKED_WATCHED && slot->serial == serial)
	{
		db = move_parked(slot, KS_PARKED_WOKEN);
		if (db)
			supervisor = db->supervisor;
	}
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(supervisor);
}
