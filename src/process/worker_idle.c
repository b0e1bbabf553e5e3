/*
 * worker_idle.c
 *	  A worker that has had nothing to do for long enough leaves.
 *
 * A process with librdkafka's threads, its connections and its caches is a lot
 * to keep for a topic that is silent.  So the worker leaves; the database's
 * watcher (watcher.c) has it started when there is something again, and begins
 * at the stored offsets: what arrives while the worker leaves is seen by the
 * watcher.
 */
#include "postgres.h"

#include "storage/ipc.h"

#include "process/worker_int.h"

/* Is all of the partition consumed, and nothing expected of it? */
static bool
partition_idles(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];

	return st->restart_at == 0 && st->failing_since == 0 && st->waiting_since == 0 &&
		!st->waiting && st->tail != KS_TAIL_PENDING &&
		st->end_epoch == ks_source_epoch(c->source, pidx) && st->end == c->parts[pidx].off;
}

static bool
worker_idles(const KsConsumer *c)
{
	if (c->nrecs > 0 || c->batch_since != 0 || c->attempts > 0 || !c->drained || c->stale || c->halt ||
		c->error.message != NULL || ks_source_is_busy(c->source) ||
		ks_worker.state == NULL || strcmp(ks_worker.state, "running") != 0)
		return false;
	/* who deletes old dead letters has something to do now and then */
	if (ks_worker.sink->dead_letter_retention && ks_worker.slot->worker == 0)
		return false;
	for (int i = 0; i < c->nparts; i++)
		if (!partition_idles(c, i))
			return false;
	return true;
}

/*
 * To be called when there is nothing to do but to wait: leaves, or shortens the
 * timeout (milliseconds, -1: none) to when it is to be called again.
 */
void
ks_worker_leave_if_idle(long *timeout)
{
	int64		after = ks_worker.sink->idle_after_us;
	TimestampTz now;
	long		remaining;

	if (after == 0 || !worker_idles(ks_worker.consumer))
	{
		ks_worker.idle_since = 0;
		return;
	}
	now = GetCurrentTimestamp();
	if (ks_worker.idle_since == 0 || ks_worker.idle_since > now)
		ks_worker.idle_since = now;
	if (now - ks_worker.idle_since >= after)
	{
		if (ks_shmem_can_park(ks_worker.slot->owner))
		{
			ks_worker_write_state("idle", NULL);
			if (strcmp(ks_worker.state, "idle") == 0)
			{
				ks_worker_store_partition_ends(false);
				ks_shmem_say_farewell(KS_FAREWELL_IDLE);
				proc_exit(0);
			}
			ks_worker.state = "running";
		}
		/* another time */
		ks_worker.idle_since = now;
	}
	remaining = Min((after - (now - ks_worker.idle_since)) / 1000 + 1, PG_INT32_MAX);
	*timeout = *timeout < 0 ? remaining : Min(*timeout, remaining);
}
