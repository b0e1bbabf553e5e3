/*
 * shmem_feeds.c
 *	  Live figures of this database's feeds, as SQL sees them.
 *
 * A role sees the feeds whose owner's privileges it has, members of
 * pg_read_all_stats all of them.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "process/shmem_int.h"

#define COLUMNS		14

PG_FUNCTION_INFO_V1(kafka_sink_feed_stats);

/* 0 stands for none. */
static void
put(Datum *values, bool *nulls, int i, pg_atomic_uint64 *c)
{
	values[i] = UInt64GetDatum(pg_atomic_read_u64(c));
	nulls[i] = values[i] == 0;
}

/* Of all workers: a feed and a sink never have the same name, and the view asks for feeds. */
Datum
kafka_sink_feed_stats(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;

	ks_init_materialized_srf(fcinfo);
	for (int i = 0; ks_shmem_available() && i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];
		KsFeedCounters *n = &slot->feed;
		Datum		values[COLUMNS];
		bool		nulls[COLUMNS] = {0};
		char		name[NAMEDATALEN];
		Oid			owner;
		bool		mine;

		LWLockAcquire(ks_shared->lock, LW_SHARED);
		mine = ks_slot_is_alive(slot) && slot->dbid == MyDatabaseId;
		strlcpy(name, slot->sink, NAMEDATALEN);
		values[1] = Int32GetDatum((int32) slot->pid);
		nulls[1] = slot->pid == 0;
		values[2] = TimestampTzGetDatum(slot->started_at);
		owner = slot->owner;
		LWLockRelease(ks_shared->lock);
		if (!mine || !ks_shmem_may_see(owner))
			continue;
		values[0] = CStringGetTextDatum(name);
		values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&n->transactions));
		values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&n->records));
		values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&n->bytes));
		values[6] = Int64GetDatum((int64) pg_atomic_read_u64(&n->forged));
		values[7] = Int64GetDatum((int64) pg_atomic_read_u64(&n->commits));
		values[8] = Int64GetDatum((int64) pg_atomic_read_u64(&n->cuts));
		values[9] = Float8GetDatum(pg_atomic_read_u64(&n->commit_us) / 1000.0);
		put(values, nulls, 10, &n->last_commit);
		put(values, nulls, 11, &n->decoded_lsn);
		put(values, nulls, 12, &n->published_lsn);
		values[13] = Int64GetDatum((int64) pg_atomic_read_u64(&n->copied));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
