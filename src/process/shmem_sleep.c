/*
 * shmem_sleep.c
 *	  Workers of feeds that sleep, and commits that wake them.
 *
 * One of messages alone is woken by a commit that has emitted to it; one of tables by any
 * that has written, since nobody knows before what is to be published of it.  What commits
 * cost that wake nobody is a look at how many of these sleep.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "process/shmem_int.h"

/* What a slot says ('asleep'). */
enum
{
	AWAKE, UNTIL_EMITTED, UNTIL_WRITTEN
};

/* Those that any commit wakes, and are in databases with the same hash. */
static pg_atomic_uint32 *
sleepers(Oid dbid)
{
	return &ks_shared->sleepers[dbid % KS_SLEEPERS];
}

bool
ks_slot_end_sleep(KsWorkerSlot *slot)
{
	uint32		until = pg_atomic_exchange_u32(&slot->asleep, AWAKE);

	if (until == UNTIL_WRITTEN)
		(void) pg_atomic_fetch_sub_u32(sleepers(slot->dbid), 1);
	return until != AWAKE;
}

void
ks_shmem_begin_sleep(bool until_written)
{
	KsWorkerSlot *slot = &ks_worker_slots[ks_my_slot];

	(void) ks_slot_end_sleep(slot);
	if (until_written)
		(void) pg_atomic_fetch_add_u32(sleepers(slot->dbid), 1);
	pg_atomic_write_u32(&slot->asleep, until_written ? UNTIL_WRITTEN : UNTIL_EMITTED);
	pg_memory_barrier();
}

void
ks_shmem_end_sleep(void)
{
	(void) ks_slot_end_sleep(&ks_worker_slots[ks_my_slot]);
}

/* Of many who commit, one wakes it. */
static void
wake(KsWorkerSlot *slot)
{
	if (ks_slot_end_sleep(slot))
		ks_shmem_wake(slot->pid);
}

void
ks_shmem_wake_feed(const char *feed)
{
	if (!ks_shmem_available())
		return;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (slot->pid == 0 || slot->dbid != MyDatabaseId || strcmp(slot->sink, feed) != 0)
			continue;
		wake(slot);
		break;
	}
	LWLockRelease(ks_shared->lock);
}

static void
wake_those_of_tables(void)
{
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		if (slot->pid != 0 && slot->dbid == MyDatabaseId && pg_atomic_read_u32(&slot->asleep) == UNTIL_WRITTEN)
			wake(slot);
	}
	LWLockRelease(ks_shared->lock);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT && ks_shmem_available() && pg_atomic_read_u32(sleepers(MyDatabaseId)) > 0 &&
		TransactionIdIsValid(GetTopTransactionIdIfAny()))
		wake_those_of_tables();
}

void
ks_shmem_sleep_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}
