/*
 * shmem_view.c
 *	  What the workers of a sink can know of each other's partitions.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "process/shmem_int.h"

int
ks_partition_view_compare(const void *a, const void *b)
{
	const KsPartitionView *va = a;
	const KsPartitionView *vb = b;
	int			by_topic = strcmp(va->topic, vb->topic);

	return by_topic != 0 ? by_topic : (va->part > vb->part) - (va->part < vb->part);
}

static bool
is_of_sink(Oid dbid, const char *sink)
{
	const KsWorkerSlot *mine = &ks_worker_slots[ks_my_slot];

	return dbid == mine->dbid && strcmp(sink, mine->sink) == 0;
}

/* The lock is held. */
static void
see_workers(KsPresence *presence, int nworkers)
{
	for (int i = 0; i < nworkers; i++)
		presence[i] = KS_WORKER_AWAY;
	for (int i = 0; i < KS_MAX_PARKED; i++)
	{
		const KsParkedSlot *parked = &ks_shared->parked[i];

		if (parked->state == KS_PARKED_WATCHED && parked->worker < nworkers && is_of_sink(parked->dbid, parked->sink))
			presence[parked->worker] = KS_WORKER_IDLE;
	}
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		const KsWorkerSlot *slot = &ks_worker_slots[i];

		if (slot->state == KS_SLOT_RUNNING && slot->worker < nworkers && is_of_sink(slot->dbid, slot->sink))
			presence[slot->worker] = KS_WORKER_THERE;
	}
}

/* The lock is held: the slot is whose it is.  What is said of a moment was written before it. */
static void
see_partition(KsPartitionView *v, KsPartitionSlot *slot)
{
	v->known = true;
	v->as_of = (TimestampTz) pg_atomic_read_u64(&slot->as_of);
	pg_read_barrier();
	v->high = (int64) pg_atomic_read_u64(&slot->high);
	v->off = (int64) pg_atomic_read_u64(&slot->off);
	v->log_end = (int64) pg_atomic_read_u64(&slot->log_end);
	v->standing = (KsStanding) pg_atomic_read_u32(&slot->standing);
}

void
ks_shmem_view_partitions(KsPartitionView *views, int n, KsPresence *presence, int nworkers)
{
	for (int i = 0; i < n; i++)
		views[i].known = false;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	see_workers(presence, nworkers);
	for (int i = 0, left = ks_shared->npartitions_used; i < ks_shared->npartitions && left > 0; i++)
	{
		KsPartitionSlot *slot = &ks_partition_slots[i];
		KsPartitionView key = {.topic = slot->topic, .part = slot->part};
		KsPartitionView *v;

		left -= slot->in_use;
		if (!slot->in_use || slot->owner_slot < 0 || slot->owner_slot == ks_my_slot ||
			!is_of_sink(slot->dbid, slot->sink))
			continue;
		v = bsearch(&key, views, n, sizeof(KsPartitionView), ks_partition_view_compare);
		if (v)
			see_partition(v, slot);
	}
	LWLockRelease(ks_shared->lock);
}
