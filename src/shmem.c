/*
 * shmem.c
 *	  Shared memory: which processes exist, what they count, who must leave.
 *
 * One lock covers the tables of databases, workers and partitions; it is held
 * for moments only.  Counters are atomics that their worker alone writes.
 * Who waits for a sink to move waits on a condition variable that all its
 * workers broadcast, whether any of them runs or not.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "compat.h"
#include "guc.h"
#include "shmem_int.h"

KsShared   *ks_shared = NULL;
KsWorkerSlot *ks_worker_slots = NULL;
KsPartitionSlot *ks_partition_slots = NULL;

static shmem_startup_hook_type prev_startup_hook = NULL;
#if PG15_GE
static shmem_request_hook_type prev_request_hook = NULL;
#endif

static int	my_slot = -1;
static bool change_noted = false;

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(KsShared));

	size = add_size(size, mul_size(ks_guc_max_workers, sizeof(KsWorkerSlot)));
	size = add_size(MAXALIGN(size), mul_size(ks_guc_max_partitions, sizeof(KsPartitionSlot)));
	return size;
}

static void
request(void)
{
#if PG15_GE
	if (prev_request_hook)
		prev_request_hook();
#endif
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("kafka_sink", 1);
}

static void
startup(void)
{
	bool		found;
	char	   *p;

	if (prev_startup_hook)
		prev_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	p = ShmemInitStruct("kafka_sink", shared_size(), &found);
	ks_shared = (KsShared *) p;
	ks_worker_slots = (KsWorkerSlot *) (p + MAXALIGN(sizeof(KsShared)));
	ks_partition_slots = (KsPartitionSlot *)
		(p + MAXALIGN(MAXALIGN(sizeof(KsShared)) + ks_guc_max_workers * sizeof(KsWorkerSlot)));
	if (!found)
	{
		memset(p, 0, shared_size());
		ks_shared->lock = &(GetNamedLWLockTranche("kafka_sink"))->lock;
		ks_shared->nworkers = ks_guc_max_workers;
		ks_shared->npartitions = ks_guc_max_partitions;
		ConditionVariableInit(&ks_shared->left);
		for (int i = 0; i < KS_MOVED_CVS; i++)
			ConditionVariableInit(&ks_shared->moved[i]);
		for (int i = 0; i < ks_guc_max_workers; i++)
		{
			KsWorkerSlot *slot = &ks_worker_slots[i];
			pg_atomic_uint64 *counter = (pg_atomic_uint64 *) &slot->counters;

			for (int j = 0; j < (int) (sizeof(KsWorkerCounters) / sizeof(pg_atomic_uint64)); j++)
				pg_atomic_init_u64(&counter[j], 0);
		}
		for (int i = 0; i < ks_guc_max_partitions; i++)
		{
			KsPartitionSlot *slot = &ks_partition_slots[i];

			pg_atomic_init_u64(&slot->low, 0);
			pg_atomic_init_u64(&slot->high, 0);
			pg_atomic_init_u64(&slot->lso, 0);
			pg_atomic_init_u64(&slot->as_of, 0);
			pg_atomic_init_u64(&slot->redelivered, 0);
			pg_atomic_init_u32(&slot->tail, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
ks_shmem_init(void)
{
#if PG15_GE
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request;
#else
	request();
#endif
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

bool
ks_shmem_available(void)
{
	return ks_shared != NULL;
}

void
ks_shmem_wake(pid_t pid)
{
	/* sets the latch of the process; one that is gone meanwhile needs none */
	if (pid != 0)
		kill(pid, SIGUSR1);
}

/* --- databases --- */

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

void
ks_shmem_mark_changed(Oid dbid)
{
	KsDatabase *db;
	pid_t		pid = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, true);
	if (db)
	{
		db->changed = true;
		db->next_start = 0;
		pid = db->supervisor;
	}
	else
		ks_shared->rescan = true;
	if (pid == 0)
		pid = ks_shared->launcher;
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(pid);
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

/* --- workers --- */

static ConditionVariable *
moved_cv(Oid dbid, const char *sink)
{
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) sink, strlen(sink)),
									hash_bytes_uint32(dbid));

	return &ks_shared->moved[hash % KS_MOVED_CVS];
}

int
ks_shmem_alloc_worker(Oid dbid, const char *sink, int worker, Oid owner)
{
	int			found = -1;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];
		pg_atomic_uint64 *counter = (pg_atomic_uint64 *) &slot->counters;

		if (slot->in_use)
			continue;
		slot->in_use = true;
		slot->generation++;
		slot->dbid = dbid;
		strlcpy(slot->sink, sink, NAMEDATALEN);
		slot->worker = worker;
		slot->owner = owner;
		slot->pid = 0;
		slot->started_at = GetCurrentTimestamp();
		slot->stop = false;
		slot->respawn = false;
		for (int j = 0; j < (int) (sizeof(KsWorkerCounters) / sizeof(pg_atomic_uint64)); j++)
			pg_atomic_write_u64(&counter[j], 0);
		found = i;
		break;
	}
	LWLockRelease(ks_shared->lock);
	return found;
}

static void
clear_partitions(int slot)
{
	for (int i = 0; i < ks_shared->npartitions; i++)
		if (ks_partition_slots[i].in_use && ks_partition_slots[i].owner_slot == slot)
			ks_partition_slots[i].in_use = false;
}

void
ks_shmem_stop_worker(int slot_no, uint32 generation, bool now)
{
	KsWorkerSlot *slot = &ks_worker_slots[slot_no];

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (slot->in_use && slot->generation == generation)
	{
		slot->stop = true;
		if (slot->pid != 0)
			kill(slot->pid, now ? SIGTERM : SIGUSR1);
	}
	LWLockRelease(ks_shared->lock);
}

void
ks_shmem_free_worker(int slot, uint32 generation)
{
	ConditionVariable *cv = NULL;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (ks_worker_slots[slot].in_use && ks_worker_slots[slot].generation == generation)
	{
		cv = moved_cv(ks_worker_slots[slot].dbid, ks_worker_slots[slot].sink);
		clear_partitions(slot);
		ks_worker_slots[slot].in_use = false;
		ks_worker_slots[slot].pid = 0;
	}
	LWLockRelease(ks_shared->lock);
	if (cv)
		ConditionVariableBroadcast(cv);
	ConditionVariableBroadcast(&ks_shared->left);
}

static void
detach_worker(int code, Datum arg)
{
	KsWorkerSlot *slot = &ks_worker_slots[my_slot];
	KsDatabase *db;
	pid_t		supervisor = 0;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	db = ks_shmem_database(slot->dbid, false);
	if (db)
		supervisor = db->supervisor;
	LWLockRelease(ks_shared->lock);
	ks_shmem_free_worker(my_slot, slot->generation);
	ks_shmem_wake(supervisor);
}

KsWorkerSlot *
ks_shmem_attach_worker(int slot_no, uint32 generation)
{
	KsWorkerSlot *slot = &ks_worker_slots[slot_no];
	KsDatabase *db;
	bool		ok;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(slot->dbid, false);
	ok = slot->in_use && slot->generation == generation && slot->pid == 0;
	if (ok)
	{
		slot->pid = MyProcPid;
		my_slot = slot_no;
	}
	LWLockRelease(ks_shared->lock);
	if (!ok)
		proc_exit(0);
	before_shmem_exit(detach_worker, (Datum) 0);
	/* a command needs the database without us, or nobody wants us any more */
	if (slot->stop || (db && db->blockers > 0))
		proc_exit(0);
	return slot;
}

KsPartitionSlot *
ks_shmem_add_partition(const char *topic, int32 part)
{
	KsPartitionSlot *found = NULL;
	static int	hint = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ks_shared->npartitions; i++)
	{
		KsPartitionSlot *slot = &ks_partition_slots[(hint + i) % ks_shared->npartitions];

		if (slot->in_use)
			continue;
		slot->in_use = true;
		slot->owner_slot = my_slot;
		slot->dbid = ks_worker_slots[my_slot].dbid;
		strlcpy(slot->sink, ks_worker_slots[my_slot].sink, NAMEDATALEN);
		strlcpy(slot->topic, topic, sizeof(slot->topic));
		slot->part = part;
		pg_atomic_write_u64(&slot->low, (uint64) -1);
		pg_atomic_write_u64(&slot->high, (uint64) -1);
		pg_atomic_write_u64(&slot->lso, (uint64) -1);
		pg_atomic_write_u64(&slot->as_of, 0);
		pg_atomic_write_u64(&slot->redelivered, 0);
		pg_atomic_write_u32(&slot->tail, KS_TAIL_NONE);
		found = slot;
		hint = (hint + i + 1) % ks_shared->npartitions;
		break;
	}
	LWLockRelease(ks_shared->lock);
	return found;
}

void
ks_shmem_clear_partitions(void)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	clear_partitions(my_slot);
	LWLockRelease(ks_shared->lock);
}

/* --- anybody --- */

ConditionVariable *
ks_shmem_sink_cv(const char *sink)
{
	return ks_shmem_available() ? moved_cv(MyDatabaseId, sink) : NULL;
}

pid_t
ks_shmem_worker_pid(const char *sink)
{
	pid_t		pid = 0;

	if (!ks_shmem_available())
		return 0;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers && pid == 0; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (slot->in_use && slot->dbid == MyDatabaseId && strcmp(slot->sink, sink) == 0)
			pid = slot->pid;
	}
	LWLockRelease(ks_shared->lock);
	return pid;
}
