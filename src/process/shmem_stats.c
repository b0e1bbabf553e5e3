/*
 * shmem_stats.c
 *	  Live figures of this database's workers and partitions, as SQL sees them.
 *
 * A role sees the sinks whose owner's privileges it has, members of
 * pg_read_all_stats all of them.  Without shared memory there are no rows.
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "process/shmem_int.h"

PG_FUNCTION_INFO_V1(kafka_sink_worker_stats);
PG_FUNCTION_INFO_V1(kafka_sink_partition_stats);

bool
ks_shmem_may_see(Oid owner)
{
	return has_privs_of_role(GetUserId(), owner) || has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

/* The last answer: partitions of one sink, and so of one owner, are neighbours. */
typedef struct Membership
{
	Oid			owner;
	bool		seen;
} Membership;

static bool
may_see(Membership *last, Oid owner)
{
	if (last->owner != owner)
	{
		last->seen = ks_shmem_may_see(owner);
		last->owner = owner;
	}
	return last->seen;
}

static Datum
counter(pg_atomic_uint64 *c)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(c));
}

static Datum
milliseconds(pg_atomic_uint64 *us)
{
	return Float8GetDatum(pg_atomic_read_u64(us) / 1000.0);
}

/* 0 stands for none. */
static Datum
timestamp_or_null(pg_atomic_uint64 *c, bool *isnull)
{
	uint64		v = pg_atomic_read_u64(c);

	*isnull = v == 0;
	return TimestampTzGetDatum((TimestampTz) v);
}

/* -1 stands for unknown. */
static Datum
offset_or_null(pg_atomic_uint64 *c, bool *isnull)
{
	int64		v = (int64) pg_atomic_read_u64(c);

	*isnull = v < 0;
	return Int64GetDatum(v);
}

Datum
kafka_sink_worker_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Membership	last = {InvalidOid, false};

	ks_init_materialized_srf(fcinfo);
	for (int i = 0; ks_shmem_available() && i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];
		KsWorkerCounters *n = &slot->counters;
		Datum		values[20];
		bool		nulls[20] = {0};
		char		sink[NAMEDATALEN];
		Oid			owner;
		bool		mine;
		int			j = 0;

		LWLockAcquire(ks_shared->lock, LW_SHARED);
		mine = ks_slot_is_alive(slot) && slot->dbid == MyDatabaseId;
		strlcpy(sink, slot->sink, NAMEDATALEN);
		values[2] = Int32GetDatum((int32) slot->pid);
		nulls[2] = slot->pid == 0;
		values[3] = TimestampTzGetDatum(slot->started_at);
		values[1] = Int32GetDatum(slot->worker);
		owner = slot->owner;
		LWLockRelease(ks_shared->lock);
		if (!mine || !may_see(&last, owner))
			continue;
		values[0] = CStringGetTextDatum(sink);
		j = 4;
		values[j++] = counter(&n->batches);
		values[j++] = counter(&n->records);
		values[j++] = counter(&n->bytes);
		values[j++] = counter(&n->fast_batches);
		values[j++] = counter(&n->retries);
		values[j++] = counter(&n->guard_mismatches);
		values[j++] = counter(&n->redelivered);
		values[j++] = milliseconds(&n->wait_us);
		values[j++] = milliseconds(&n->fetch_us);
		values[j++] = milliseconds(&n->decode_us);
		values[j++] = milliseconds(&n->apply_us);
		values[j++] = milliseconds(&n->index_us);
		values[j++] = milliseconds(&n->commit_us);
		values[j] = timestamp_or_null(&n->first_record, &nulls[j]);
		j++;
		values[j] = timestamp_or_null(&n->last_commit, &nulls[j]);
		j++;
		values[j++] = counter(&n->rss_anon_peak);
		Assert(j == lengthof(values));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

Datum
kafka_sink_partition_stats(PG_FUNCTION_ARGS)
{
	static const char *const tails[] = {"none", "pending", "ok", "uncheckable"};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Membership	last = {InvalidOid, false};

	ks_init_materialized_srf(fcinfo);
	for (int i = 0; ks_shmem_available() && i < ks_shared->npartitions; i++)
	{
		KsPartitionSlot *slot = &ks_partition_slots[i];
		Datum		values[9];
		bool		nulls[9] = {0};
		Oid			owner = InvalidOid;
		bool		mine;

		LWLockAcquire(ks_shared->lock, LW_SHARED);
		mine = ks_shmem_is_reported(slot) && slot->dbid == MyDatabaseId;
		if (mine)
		{
			owner = slot->owner;
			values[0] = CStringGetTextDatum(slot->sink);
			values[1] = CStringGetTextDatum(slot->topic);
			values[2] = Int32GetDatum(slot->part);
		}
		LWLockRelease(ks_shared->lock);
		if (!mine || !may_see(&last, owner))
			continue;
		values[3] = offset_or_null(&slot->low, &nulls[3]);
		values[4] = offset_or_null(&slot->high, &nulls[4]);
		values[5] = offset_or_null(&slot->lso, &nulls[5]);
		values[6] = timestamp_or_null(&slot->as_of, &nulls[6]);
		values[7] = counter(&slot->redelivered);
		values[8] = CStringGetTextDatum(tails[Min(pg_atomic_read_u32(&slot->tail), lengthof(tails) - 1)]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
