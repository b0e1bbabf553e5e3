/*
 * shmem_slot.c
 *	  Slots of workers.
 *
 * Counters are atomics that their worker alone writes.  Who waits for a sink to
 * move waits on a condition variable that all its workers broadcast, whether any
 * of them runs or not.
 */
#include "postgres.h"

#include <signal.h>

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/ipc.h"

#include "process/shmem_int.h"

static emit_log_hook_type prev_log_hook = NULL;

/* --- workers --- */

static ConditionVariable *
progress_cv(Oid dbid, const char *sink)
{
	uint32		hash = hash_combine(hash_bytes((const unsigned char *) sink, strlen(sink)),
									hash_bytes_uint32(dbid));

	return &ks_shared->sink_progress[hash % KS_PROGRESS_CVS];
}

#define TO(state) (1 << KS_SLOT_##state)

/* What may follow each state. */
static const int slot_moves[] PG_USED_FOR_ASSERTS_ONLY = {
	[KS_SLOT_FREE] = TO(REGISTERED),
	[KS_SLOT_REGISTERED] = TO(OPENING) | TO(STOPPING) | TO(FREE),
	[KS_SLOT_OPENING] = TO(RUNNING) | TO(STOPPING) | TO(ENDED) | TO(FREE),
	[KS_SLOT_RUNNING] = TO(STOPPING) | TO(ENDED) | TO(FREE),
	[KS_SLOT_STOPPING] = TO(ENDED) | TO(FREE),
	[KS_SLOT_ENDED] = TO(FREE),
};

#undef TO

/* The only way from one state to another; the lock is held exclusively. */
static void
move_slot(KsWorkerSlot *slot, KsSlotState to)
{
	Assert(LWLockHeldByMeInMode(ks_shared->lock, LW_EXCLUSIVE));
	Assert(slot_moves[slot->state] & (1 << to));
	slot->state = to;
	if (ks_slot_is_alive(slot))
		return;
	slot->pid = 0;
	ks_shared->worker_ends++;
}

static void
take_slot(KsWorkerSlot *slot, Oid dbid, const char *sink, int worker, Oid owner, bool superuser, int64 definition)
{
	pg_atomic_uint64 *counter = (pg_atomic_uint64 *) &slot->counters;

	move_slot(slot, KS_SLOT_REGISTERED);
	slot->generation++;
	slot->dbid = dbid;
	strlcpy(slot->sink, sink, NAMEDATALEN);
	slot->worker = worker;
	slot->owner = owner;
	slot->superuser = superuser;
	slot->definition = definition;
	slot->started_at = GetCurrentTimestamp();
	slot->farewell = KS_FAREWELL_NONE;
	slot->last_words.sqlstate = 0;
	slot->ends_stored = false;
	pg_atomic_write_u32(&slot->writes_to, InvalidOid);
	pg_atomic_write_u64(&slot->commits_since, 0);
	for (int j = 0; j < (int) (sizeof(KsWorkerCounters) / sizeof(pg_atomic_uint64)); j++)
		pg_atomic_write_u64(&counter[j], 0);
	counter = (pg_atomic_uint64 *) &slot->feed;
	for (int j = 0; j < (int) (sizeof(KsFeedCounters) / sizeof(pg_atomic_uint64)); j++)
		pg_atomic_write_u64(&counter[j], 0);
	pg_atomic_write_u32(&slot->asleep, 0);
}

int
ks_shmem_alloc_worker(Oid dbid, const char *sink, int worker, Oid owner, bool superuser, int limit,
					  int64 definition)
{
	int			found = KS_SLOT_NONE;
	int			owned = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ks_shared->nworkers && (found < 0 || limit > 0); i++)
	{
		const KsWorkerSlot *slot = &ks_worker_slots[i];

		if (found < 0 && slot->state == KS_SLOT_FREE)
			found = i;
		owned += ks_slot_is_alive(slot) && slot->owner == owner;
	}
	if (limit > 0 && owned >= limit)
		found = KS_SLOT_OVER_LIMIT;
	if (found >= 0)
		take_slot(&ks_worker_slots[found], dbid, sink, worker, owner, superuser, definition);
	LWLockRelease(ks_shared->lock);
	return found;
}

uint32
ks_shmem_count_ends(void)
{
	return ((volatile KsShared *) ks_shared)->worker_ends;
}

int
ks_shmem_count_starting(int ms)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		n += (slot->state == KS_SLOT_REGISTERED || slot->state == KS_SLOT_OPENING) &&
			!TimestampDifferenceExceeds(slot->started_at, now, ms);
	}
	LWLockRelease(ks_shared->lock);
	return n;
}

void
ks_shmem_stop_worker(int slot_no, uint32 generation, bool now)
{
	KsWorkerSlot *slot = &ks_worker_slots[slot_no];

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (ks_slot_is_alive(slot) && slot->generation == generation)
	{
		if (slot->state != KS_SLOT_STOPPING)
			move_slot(slot, KS_SLOT_STOPPING);
		if (slot->pid != 0)
			kill(slot->pid, now ? SIGTERM : SIGUSR1);
	}
	LWLockRelease(ks_shared->lock);
}

void
ks_shmem_free_worker(int slot_no, uint32 generation)
{
	KsWorkerSlot *slot = &ks_worker_slots[slot_no];
	bool		freed = false;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (slot->state != KS_SLOT_FREE && slot->generation == generation)
	{
		ks_shmem_free_partitions(slot_no);
		move_slot(slot, KS_SLOT_FREE);
		freed = true;
	}
	LWLockRelease(ks_shared->lock);
	if (freed)
		ConditionVariableBroadcast(&ks_shared->process_exited);
}

/* The worker is about to be gone; its supervisor, if there is one, frees the slot. */
static void
detach_worker(int code, Datum arg)
{
	KsWorkerSlot *slot = &ks_worker_slots[ks_my_slot];
	KsDatabase *db;
	pid_t		supervisor = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	(void) ks_slot_end_sleep(slot);
	db = ks_shmem_database(slot->dbid, false);
	if (db)
		supervisor = db->supervisor;
	/* what its partitions' slots have is for the supervisor, as is the slot */
	if (supervisor == 0)
		ks_shmem_free_partitions(ks_my_slot);
	move_slot(slot, supervisor != 0 ? KS_SLOT_ENDED : KS_SLOT_FREE);
	LWLockRelease(ks_shared->lock);
	ConditionVariableBroadcast(progress_cv(slot->dbid, slot->sink));
	ConditionVariableBroadcast(&ks_shared->process_exited);
	ks_shmem_wake(supervisor);
}

KsWorkerSlot *
ks_shmem_attach_worker(int slot_no, uint32 generation)
{
	KsWorkerSlot *slot = &ks_worker_slots[slot_no];
	KsDatabase *db;
	pid_t		supervisor = 0;
	bool		ok;
	bool		wanted;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(slot->dbid, false);
	ok = ks_slot_is_alive(slot) && slot->generation == generation && slot->pid == 0;
	/* a command needs the database without us, or nobody wants us any more */
	wanted = ok && slot->state == KS_SLOT_REGISTERED && (db == NULL || db->blockers == 0);
	if (wanted)
	{
		slot->pid = MyProcPid;
		ks_my_slot = slot_no;
		move_slot(slot, KS_SLOT_OPENING);
	}
	else if (ok)
	{
		supervisor = db ? db->supervisor : 0;
		move_slot(slot, KS_SLOT_FREE);
	}
	LWLockRelease(ks_shared->lock);
	if (!wanted)
	{
		ConditionVariableBroadcast(&ks_shared->process_exited);
		ks_shmem_wake(supervisor);
		proc_exit(0);
	}
	before_shmem_exit(detach_worker, (Datum) 0);
	return slot;
}

void
ks_shmem_worker_runs(void)
{
	KsWorkerSlot *slot = &ks_worker_slots[ks_my_slot];
	KsDatabase *db;
	pid_t		supervisor = 0;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (slot->state == KS_SLOT_OPENING)
	{
		move_slot(slot, KS_SLOT_RUNNING);
		db = ks_shmem_database(slot->dbid, false);
		if (db)
			supervisor = db->supervisor;
	}
	LWLockRelease(ks_shared->lock);
	ks_shmem_wake(supervisor);
}

bool
ks_shmem_stop_requested(void)
{
	return ((volatile KsWorkerSlot *) &ks_worker_slots[ks_my_slot])->state == KS_SLOT_STOPPING;
}

void
ks_shmem_say_farewell(KsFarewell farewell)
{
	ks_worker_slots[ks_my_slot].farewell = farewell;
}

void
ks_shmem_note_commit(bool begins)
{
	if (ks_my_slot >= 0)
		pg_atomic_write_u64(&ks_worker_slots[ks_my_slot].commits_since, begins ? (uint64) GetCurrentTimestamp() : 0);
}

void
ks_shmem_note_ends_stored(void)
{
	ks_worker_slots[ks_my_slot].ends_stored = true;
}

static void
copy_words(char *dst, size_t size, const char *src)
{
	int			len = src ? strlen(src) : 0;

	len = pg_mbcliplen(src ? src : "", len, size - 1);
	memcpy(dst, src ? src : "", len);
	dst[len] = '\0';
}

static void
keep_last_words(ErrorData *edata)
{
	KsLastWords *words = &ks_worker_slots[ks_my_slot].last_words;

	if (edata->elevel == FATAL)
	{
		words->sqlstate = edata->sqlerrcode;
		copy_words(words->message, sizeof(words->message), edata->message);
		copy_words(words->detail, sizeof(words->detail), edata->detail);
		copy_words(words->hint, sizeof(words->hint), edata->hint);
	}
	if (prev_log_hook)
		prev_log_hook(edata);
}

void
ks_shmem_hear_last_words(void)
{
	prev_log_hook = emit_log_hook;
	emit_log_hook = keep_last_words;
}

/* --- anybody --- */

ConditionVariable *
ks_shmem_progress_cv(const char *sink)
{
	return ks_shmem_available() ? progress_cv(MyDatabaseId, sink) : NULL;
}

/* Whoever runs by an older definition knows nothing of what has changed, and may be of a feed
 * of that name that is gone; the lock is held. */
static bool
is_of_feed(const KsWorkerSlot *slot, const char *feed, int64 generation)
{
	return ks_slot_is_alive(slot) && slot->dbid == MyDatabaseId && strcmp(slot->sink, feed) == 0 &&
		slot->definition >= generation;
}

uint64
ks_shmem_feed_position(const char *feed, int64 generation)
{
	uint64		position = 0;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (is_of_feed(slot, feed, generation))
			position = Max(position, pg_atomic_read_u64(&slot->feed.decoded_lsn));
	}
	LWLockRelease(ks_shared->lock);
	return position;
}

bool
ks_shmem_feed_is_copying(const char *feed, int64 generation)
{
	bool		copying = false;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (is_of_feed(slot, feed, generation))
			copying |= pg_atomic_read_u64(&slot->feed.copying) != 0;
	}
	LWLockRelease(ks_shared->lock);
	return copying;
}

/* Who would start a worker of the sink, if one is parked; the lock is held. */
static pid_t
parked_pid(const char *sink)
{
	KsDatabase *db = ks_shmem_database(MyDatabaseId, false);

	for (int i = 0; i < KS_MAX_PARKED && db; i++)
	{
		KsParkedSlot *slot = &ks_shared->parked[i];

		if (slot->state != KS_PARKED_FREE && slot->dbid == MyDatabaseId && strcmp(slot->sink, sink) == 0)
			return db->watcher != 0 ? db->watcher : db->supervisor;
	}
	return 0;
}

bool
ks_shmem_has_worker(const char *sink)
{
	bool		found = false;

	if (!ks_shmem_available())
		return false;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers && !found; i++)
	{
		const KsWorkerSlot *slot = &ks_worker_slots[i];

		found = ks_slot_is_alive(slot) && slot->dbid == MyDatabaseId && strcmp(slot->sink, sink) == 0;
	}
	found = found || parked_pid(sink) != 0;
	LWLockRelease(ks_shared->lock);
	return found;
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

		if (ks_slot_is_alive(slot) && slot->dbid == MyDatabaseId && strcmp(slot->sink, sink) == 0)
			pid = slot->pid;
	}
	if (pid == 0)
		pid = parked_pid(sink);
	LWLockRelease(ks_shared->lock);
	return pid;
}
