/*
 * consumer_others.c
 *	  Partitions that other workers of the sink consume, as far as they tell of them.
 *
 * What a record waits for may come from there (consumer_wait.c).  A worker tells where it is
 * at each commit, and at least once a second.
 */
#include "postgres.h"

#include "process/consumer_int.h"

void
ks_consumer_find_others(KsConsumer *c)
{
	if (c->workers <= 1)
		return;
	c->others = MemoryContextAllocHuge(c->cxt, Max(c->nparts, 1) * sizeof(KsPartitionView));
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].part % c->workers != c->worker)
			c->others[c->nothers++] = (KsPartitionView) {.topic = c->parts[i].topic, .part = c->parts[i].part};
	qsort(c->others, c->nothers, sizeof(KsPartitionView), ks_partition_view_compare);
	c->presence = MemoryContextAllocZero(c->cxt, c->workers * sizeof(KsPresence));
}

void
ks_consumer_look_at_others(KsConsumer *c)
{
	if (c->nothers == 0 || c->others_seen)
		return;
	ks_shmem_view_partitions(c->others, c->nothers, c->presence, c->workers);
	c->others_seen = true;
}

bool
ks_consumer_other_fails(const KsConsumer *c, const KsPartitionView *v)
{
	/* of those that are there some have no room to tell of all they have */
	return v->known ? v->standing == KS_STANDING_FAILS : c->presence[v->part % c->workers] == KS_WORKER_AWAY;
}

bool
ks_consumer_other_is_behind(const KsConsumer *c, KsEnds *ends, int other)
{
	const KsPartitionView *v = &c->others[other];
	int64	   *end = &ends->ends[c->nparts + other];

	if (!v->known)
		return false;
	/* it has just come, and has yet to say where it is */
	if (v->off < 0)
		return true;
	if (*end < 0 && v->as_of >= ends->taken_at)
		*end = v->high;
	if (*end < 0)
		return true;
	return v->off < *end && (v->standing == KS_STANDING_WAITS || v->off != v->log_end || v->high > v->off);
}
