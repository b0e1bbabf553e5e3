/*
 * shmem_partition.c
 *	  Slots of the partitions that workers read, or that are watched: live figures.
 *
 * Figures are atomics, which who reads the partition writes alone.  There are
 * kafka_sink.max_partitions of them for all, and a role's sinks have a share of
 * these only: without one a partition is consumed all the same, and shows what was
 * seen of it last.  What each role has is counted where slots are taken and freed, so
 * that neither takes a time that grows with their number.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/guc.h"
#include "process/shmem_int.h"

/*
 * The entry of a role: its own, a free one, or if there is none, the first, which is of
 * all the others together.  The lock is held.
 */
static int
share_of(Oid owner)
{
	int			found = 0;

	for (int i = 1; i < KS_MAX_SHARES; i++)
	{
		const KsShare *share = &ks_shared->shares[i];

		if (share->used > 0 && share->owner == owner)
			return i;
		if (found == 0 && share->used == 0)
			found = i;
	}
	return found;
}

/* May it have one more?  The lock is held. */
static bool
has_share(const KsShare *share)
{
	int			limit = ks_guc_max_partitions_per_role >= 0 ? ks_guc_max_partitions_per_role :
		Max(1, ks_shared->npartitions / 2);

	return limit == 0 || share->used < limit;
}

/* The lock is held. */
static void
free_slot(KsPartitionSlot *slot)
{
	Assert(slot->in_use);
	slot->in_use = false;
	ks_shared->npartitions_used--;
	if (slot->share >= 0)
		ks_shared->shares[slot->share].used--;
}

/* NULL if all are in use.  The lock is held. */
static KsPartitionSlot *
find_free(void)
{
	static int	hint = 0;

	/* no search where it would find nothing, again and again */
	for (int i = 0; i < ks_shared->npartitions && ks_shared->npartitions_used < ks_shared->npartitions; i++)
	{
		int			n = (hint + i) % ks_shared->npartitions;

		if (ks_partition_slots[n].in_use)
			continue;
		hint = (n + 1) % ks_shared->npartitions;
		return &ks_partition_slots[n];
	}
	return NULL;
}

/* A slot for a partition, NULL if there is none, or none for that role. */
static KsPartitionSlot *
take_slot(int owner_slot, Oid dbid, const char *sink, Oid owner, bool superuser, const char *topic, int32 part)
{
	KsPartitionSlot *slot = NULL;
	int			share = -1;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	if (!superuser)
		share = share_of(owner);
	if (share < 0 || has_share(&ks_shared->shares[share]))
		slot = find_free();
	if (slot)
	{
		slot->in_use = true;
		ks_shared->npartitions_used++;
		slot->share = share;
		if (share >= 0)
		{
			ks_shared->shares[share].owner = owner;
			ks_shared->shares[share].used++;
		}
		slot->owner_slot = owner_slot;
		slot->owner = owner;
		slot->dbid = dbid;
		strlcpy(slot->sink, sink, NAMEDATALEN);
		strlcpy(slot->topic, topic, sizeof(slot->topic));
		slot->part = part;
		pg_atomic_write_u64(&slot->low, (uint64) -1);
		pg_atomic_write_u64(&slot->high, (uint64) -1);
		pg_atomic_write_u64(&slot->lso, (uint64) -1);
		pg_atomic_write_u64(&slot->as_of, 0);
		pg_atomic_write_u64(&slot->redelivered, 0);
		pg_atomic_write_u32(&slot->tail, KS_TAIL_NONE);
		pg_atomic_write_u64(&slot->off, (uint64) -1);
		pg_atomic_write_u64(&slot->log_end, (uint64) -1);
		pg_atomic_write_u32(&slot->standing, KS_STANDING_GOES_ON);
	}
	LWLockRelease(ks_shared->lock);
	return slot;
}

KsPartitionSlot *
ks_shmem_add_partition(const char *topic, int32 part)
{
	const KsWorkerSlot *slot = &ks_worker_slots[ks_my_slot];

	return take_slot(ks_my_slot, slot->dbid, slot->sink, slot->owner, slot->superuser, topic, part);
}

KsPartitionSlot *
ks_shmem_watch_partition(int parked_slot, const KsParkedSlot *parked, const char *topic, int32 part)
{
	KsPartitionSlot *slot = take_slot(-1, parked->dbid, parked->sink, parked->owner, parked->superuser, topic, part);

	if (slot == NULL)
		return NULL;
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	slot->parked = parked_slot;
	slot->parked_serial = parked->serial;
	LWLockRelease(ks_shared->lock);
	return slot;
}

bool
ks_shmem_is_reported(const KsPartitionSlot *slot)
{
	const KsParkedSlot *parked;

	if (!slot->in_use || slot->owner_slot >= 0)
		return slot->in_use;
	parked = &ks_shared->parked[slot->parked];
	return parked->state != KS_PARKED_FREE && parked->serial == slot->parked_serial;
}

void
ks_shmem_unwatch_partition(KsPartitionSlot *slot)
{
	if (slot == NULL)
		return;
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	free_slot(slot);
	LWLockRelease(ks_shared->lock);
}

void
ks_shmem_unwatch_partitions(Oid dbid)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < ks_shared->npartitions; i++)
		if (ks_partition_slots[i].in_use && ks_partition_slots[i].owner_slot < 0 &&
			ks_partition_slots[i].dbid == dbid)
			free_slot(&ks_partition_slots[i]);
	LWLockRelease(ks_shared->lock);
}

void
ks_shmem_free_partitions(int owner_slot)
{
	for (int i = 0; i < ks_shared->npartitions; i++)
		if (ks_partition_slots[i].in_use && ks_partition_slots[i].owner_slot == owner_slot)
			free_slot(&ks_partition_slots[i]);
}

KsPartitionEnds *
ks_shmem_read_ends(int owner_slot, int *n)
{
	KsPartitionEnds *ends;

	*n = 0;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->npartitions; i++)
		*n += ks_partition_slots[i].in_use && ks_partition_slots[i].owner_slot == owner_slot;
	LWLockRelease(ks_shared->lock);
	ends = palloc0(Max(*n, 1) * sizeof(KsPartitionEnds));
	for (int i = 0, j = 0; i < ks_shared->npartitions && j < *n; i++)
	{
		KsPartitionSlot *slot = &ks_partition_slots[i];

		if (!slot->in_use || slot->owner_slot != owner_slot)
			continue;
		ends[j].topic = pstrdup(slot->topic);
		ends[j].part = slot->part;
		ends[j].low = (int64) pg_atomic_read_u64(&slot->low);
		ends[j].high = (int64) pg_atomic_read_u64(&slot->high);
		ends[j].last_stable = (int64) pg_atomic_read_u64(&slot->lso);
		ends[j++].as_of = (TimestampTz) pg_atomic_read_u64(&slot->as_of);
	}
	return ends;
}
