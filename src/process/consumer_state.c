/*
 * consumer_state.c
 *	  What the consumer's other files stand upon: an empty batch, partitions
 *	  that are stopped, the error at hand, live figures.
 *
 * Nothing here decides anything, nor calls any other file consumer*.c.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/compat.h"
#include "process/consumer_int.h"

#define MAX_WAIT_MS			120000	/* longer than any back-off or linger */

static void
release_batch(void *arg)
{
	KsConsumer *c = arg;

	ks_source_release(c->recs, c->nrecs);
	c->nrecs = 0;
}

void
ks_consumer_reset_batch(KsConsumer *c)
{
	MemoryContextCallback *cb;

	MemoryContextReset(c->batch_cxt);
	MemoryContextReset(c->row_cxt);
	cb = MemoryContextAllocZero(c->batch_cxt, sizeof(MemoryContextCallback));
	cb->func = release_batch;
	cb->arg = c;
	MemoryContextRegisterResetCallback(c->batch_cxt, cb);
	c->bytes = 0;
	c->tight = false;
	c->batch_since = 0;
	c->attempts = 0;
	c->retry_at = 0;
	c->fetched = false;
	c->fetches = 0;
	c->evolve = InvalidOid;
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		p->until = p->off;
		p->new_last_off = -1;
		p->last_rec = -1;
		memset(&p->counts, 0, sizeof(KsCounts));
		if (c->states)
		{
			c->states[i].handed = 0;
			c->states[i].given_back = false;
		}
	}
}

void
ks_consumer_transact(KsConsumer *c, void (*step) (void *arg), void *arg)
{
	if (c->transact)
	{
		c->transact(step, arg);
		return;
	}
	c->begin();
	step(arg);
	c->commit();
}

void
ks_consumer_give_back(KsConsumer *c, int pidx, TimestampTz at)
{
	/* the epoch ends with it, and what was seen behind these records */
	ks_source_stop(c->source, pidx);
	c->states[pidx].given_back = true;
	c->states[pidx].restart_at = at;
}

void
ks_consumer_truncate_batch(KsConsumer *c, int n)
{
	for (int i = n; i < c->nrecs; i++)
		if (!c->states[c->recs[i].pidx].given_back)
			ks_consumer_give_back(c, c->recs[i].pidx, GetCurrentTimestamp());
	ks_source_release(c->recs + n, c->nrecs - n);
	c->nrecs = n;
}

bool
ks_consumer_take_fewer(KsConsumer *c)
{
	if (c->nrecs < 2)
		return false;
	c->most = c->nrecs / 2;
	ks_consumer_truncate_batch(c, c->most);
	return true;
}

void
ks_consumer_keep_partition(KsConsumer *c, int pidx)
{
	TimestampTz now = GetCurrentTimestamp();
	int			n = 0;

	for (int i = 0; i < c->nrecs; i++)
	{
		int			other = c->recs[i].pidx;

		if (other == pidx)
		{
			c->recs[n++] = c->recs[i];
			continue;
		}
		if (!c->states[other].given_back)
			ks_consumer_give_back(c, other, now);
		ks_source_release(&c->recs[i], 1);
	}
	c->nrecs = n;
}

void
ks_consumer_keep_error(MemoryContext cxt, KsStateError *kept, const KsStateError *error)
{
	MemoryContext old;

	MemoryContextReset(cxt);
	old = MemoryContextSwitchTo(cxt);
	*kept = *error;
	kept->message = pstrdup(error->message);
	kept->detail = error->detail ? pstrdup(error->detail) : NULL;
	kept->hint = error->hint ? pstrdup(error->hint) : NULL;
	kept->topic = error->topic ? pstrdup(error->topic) : NULL;
	kept->column = error->column ? pstrdup(error->column) : NULL;
	MemoryContextSwitchTo(old);
}

void
ks_consumer_set_error(KsConsumer *c, const KsStateError *error, bool halt)
{
	/* the first final error stays */
	if (c->halt)
		return;
	/* said before: not news (not reached by tests: brokers go again before a partition says that it fails still) */
	if (!halt && c->error.message && strcmp(c->error.message, error->message) == 0 &&
		strcmp(c->error.hint ? c->error.hint : "", error->hint ? error->hint : "") == 0)
		return;
	ks_consumer_keep_error(c->error_cxt, &c->error, error);
	c->halt = halt;
	c->reported = false;
}

bool
ks_consumer_time_reached(TimestampTz at, TimestampTz now)
{
	return at <= now || at > TimestampTzPlusMilliseconds(now, MAX_WAIT_MS);
}

static KsStanding
standing(const KsConsumer *c, int pidx)
{
	return ks_consumer_waits_for_row(c, pidx) ? KS_STANDING_WAITS :
		ks_consumer_cannot_read(c, pidx) ? KS_STANDING_FAILS : KS_STANDING_GOES_ON;
}

void
ks_consumer_publish(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartitionSlot *slot = c->states[i].slot;
		int64		low,
					high,
					lso;
		TimestampTz as_of;

		if (slot == NULL)
			continue;
		as_of = ks_source_watermarks(c->source, i, &low, &high, &lso);
		pg_atomic_write_u64(&slot->low, (uint64) low);
		pg_atomic_write_u64(&slot->high, (uint64) high);
		pg_atomic_write_u64(&slot->lso, (uint64) lso);
		pg_atomic_write_u64(&slot->off, (uint64) c->parts[i].off);
		pg_atomic_write_u64(&slot->log_end, (uint64) ks_consumer_log_end(c, i));
		pg_atomic_write_u32(&slot->standing, standing(c, i));
		pg_write_barrier();
		pg_atomic_write_u64(&slot->as_of, (uint64) as_of);
		pg_atomic_write_u64(&slot->redelivered, (uint64) ks_source_redelivered(c->source, i));
		pg_atomic_write_u32(&slot->tail, c->states[i].tail);
	}
}
