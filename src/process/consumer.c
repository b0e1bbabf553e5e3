/*
 * consumer.c
 *	  One sink's partitions, source and batch: what workers and run() share.
 *
 * Invariants:
 *	- parts[i].off is what the committed row says; it changes only in
 *	  ks_consumer_committed() and when rows are read.
 *	- records of the batch of one partition ascend and begin at or above off;
 *	  everything between off and the last of them that Kafka shows is in it.
 *	- a partition that failed is stopped at once, but what it gave before is
 *	  good; it is started again at its stored offset, after the batch.
 */
#include "postgres.h"

#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "base/memory.h"
#include "process/consumer_int.h"

#define CONNECT_TIMEOUT_MS	10000
#define PUBLISH_US			USECS_PER_SEC
#define REFRESH_MS			5000	/* between questions for the ends of the log */
#define REFRESH_TIMEOUT_MS	1000
#define STUCK_MS			1000
#define RETRY_FIRST_MS		100
#define RETRY_MAX_MS		30000
#define RETRY_LOCK_MAX_MS	1000

/* Topics that are halted alone are no worker's, until resume(). */
static void
leave_out_halted(KsConsumer *c)
{
	ListCell   *lc;

	foreach(lc, c->topics)
	{
		const KsTopic *topic = lfirst(lc);

		if (!topic->halted)
			continue;
		ks_apply_leave_out(c->apply, topic->topic);
		c->topics = foreach_delete_current(c->topics, lc);
	}
}

KsConsumer *
ks_consumer_create(KsSink *sink, bool in_worker, void (*begin) (void),
				   void (*commit) (void), MemoryContext parent)
{
	MemoryContext cxt = AllocSetContextCreate(parent, "kafka_sink consumer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsConsumer *c = palloc0(sizeof(KsConsumer));

	c->cxt = cxt;
	c->sink = sink;
	c->in_worker = in_worker;
	c->timeout_ms = CONNECT_TIMEOUT_MS;
	c->turns_since = GetCurrentTimestamp();
	c->begin = begin;
	c->commit = commit;
	c->topics = ks_catalog_topics(sink->name);
	ks_catalog_check_consumes(sink, c->topics);
	c->conf = ks_options_load(sink->server, sink->owner);

	/* the batch goes before the source when the parent is deleted */
	c->source_cxt = AllocSetContextCreate(cxt, "kafka_sink source", ALLOCSET_DEFAULT_SIZES);
	c->row_cxt = AllocSetContextCreate(cxt, "kafka_sink rows",
									   ALLOCSET_DEFAULT_MINSIZE, 1024 * 1024, ALLOCSET_DEFAULT_MAXSIZE);
	c->error_cxt = AllocSetContextCreate(cxt, "kafka_sink error", ALLOCSET_SMALL_SIZES);
	c->batch_cxt = AllocSetContextCreate(cxt, "kafka_sink batch", ALLOCSET_DEFAULT_SIZES);
	c->apply = ks_apply_create(sink, true, cxt, c->row_cxt);
	c->apply->may_wait = ks_consumer_may_wait;
	c->apply->wait_arg = c;
	if (in_worker)
		leave_out_halted(c);
	c->fetch_cxt = AllocSetContextCreate(cxt, "kafka_sink fetch", ALLOCSET_SMALL_SIZES);
	c->registry_cxt = AllocSetContextCreate(cxt, "kafka_sink registry's error", ALLOCSET_SMALL_SIZES);
	c->fetcher = (KsSchemaFetcher)
	{
		.server = sink->server, .conf = c->conf, .cxt = cxt, .begin = begin, .commit = commit
	};
	c->recs = MemoryContextAllocHuge(cxt, sink->batch_records * sizeof(KsRecord));
	ks_consumer_reset_batch(c);
	MemoryContextSwitchTo(old);
	return c;
}

/* --- polling --- */

/* Records at or above a bound of run() are not ours. */
static void
drop_beyond_bounds(KsConsumer *c, int from)
{
	int			out = from;

	for (int i = from; i < c->nrecs; i++)
	{
		KsRecord   *rec = &c->recs[i];
		KsPartitionState *st = &c->states[rec->pidx];

		if (st->bound < 0 || rec->off < st->bound)
		{
			if (out != i)
				c->recs[out] = *rec;
			out++;
			continue;
		}
		/* no record is left below it, and none behind it is wanted */
		ks_source_stop(c->source, rec->pidx);
		ks_consumer_set_log_end(c, rec->pidx, st->bound, ks_source_epoch(c->source, rec->pidx));
		ks_source_release(rec, 1);
	}
	c->nrecs = out;
}

/* Takes down what the batch is handed. */
static void
note_handed(KsConsumer *c, int from)
{
	for (int i = from; i < c->nrecs; i++)
	{
		const KsRecord *rec = &c->recs[i];
		KsPartitionState *st = &c->states[rec->pidx];

		if (st->handed++ == 0)
		{
			st->first_off = rec->off;
			st->gone_since = 0;
			ks_consumer_has_come(c, rec->pidx);
		}
		st->last_off = rec->off;
	}
}

static int
max_records(const KsConsumer *c)
{
	int			max = c->single ? 1 : Min(c->sink->batch_records, ks_apply_max_records(c->apply));

	return c->most > 0 ? Min(max, c->most) : max;
}

static bool
is_full(const KsConsumer *c)
{
	return c->nrecs >= max_records(c) || c->bytes >= (Size) c->sink->batch_bytes || c->tight;
}

/* Partitions whose back-off is over, between batches. */
static void
start_due(KsConsumer *c, TimestampTz now)
{
	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].restart_at != 0 && ks_consumer_time_reached(c->states[i].restart_at, now))
		{
			ks_consumer_expect_waiting(c, i, now);
			ks_consumer_start_partition(c, i);
		}
}

/* No more records are taken: there is no room, or the batch is the last one. */
static bool
is_closed(const KsConsumer *c)
{
	return c->halt || is_full(c);
}

/*
 * Records until the batch is closed or nothing is left.  The source is served
 * also if it is.  Returns whether there were events.
 */
static bool
take_records(KsConsumer *c)
{
	KsSourceEvent ev;
	bool		events = false;

	ks_source_clear_fd(c->source);
	c->drained = false;
	do
	{
		Size		bytes = 0;
		int			from = c->nrecs;

		if (is_closed(c))
			ks_source_serve(c->source);
		else
		{
			MemoryContext old = MemoryContextSwitchTo(c->batch_cxt);

			c->nrecs += ks_source_poll(c->source, c->recs + from,
									   Min(max_records(c) - from, 4096),
									   c->sink->batch_bytes - c->bytes, &bytes, &c->drained);
			MemoryContextSwitchTo(old);
		}
		c->bytes += bytes;
		/* what is borrowed can be more than it seems: whole batches of records */
		c->tight |= c->nrecs > 0 && ks_memory_is_tight();
		if (c->nrecs > from && c->batch_since == 0)
			c->batch_since = GetCurrentTimestamp();
		if (!c->in_worker)
			drop_beyond_bounds(c, from);
		note_handed(c, from);
		while (ks_source_next_event(c->source, &ev))
		{
			ks_consumer_handle_event(c, &ev);
			events = true;
		}
	} while (!c->drained && !is_closed(c) && !ks_source_is_busy(c->source));
	/* also those that were found while an event was looked into */
	c->drained &= !ks_source_is_busy(c->source);
	return events;
}

/*
 * Nothing is fetched that would tell where partitions end.  What is stable the source can
 * ask for; how far a log goes behind an open transaction one is told that reads all of it,
 * which is opened when it is first needed, and stays as long as the process.
 */
static void
ask_for_ends(KsConsumer *c)
{
	ks_source_refresh(c->source, REFRESH_TIMEOUT_MS);
	if (c->sink->read_uncommitted)
		return;
	if (c->ends == NULL)
	{
		KsSourceOptions opts = {
			.client_id = psprintf("kafka_sink/%s", c->sink->name),
			.read_uncommitted = true,
			.in_worker = true,
			.watch = true,
			/* which tell that brokers are there again */
			.statistics_ms = REFRESH_MS
		};

		c->ends = ks_source_open(c->conf, &opts, c->source_cxt);
		ks_source_wake(c->source);
	}
	ks_source_refresh_high(c->source, c->ends, REFRESH_TIMEOUT_MS);
}

/* Live figures: fetches tell them, statistics, and the brokers if asked. */
static void
publish(KsConsumer *c, TimestampTz now, bool events)
{
	if (!c->in_worker)
		return;
	/* nothing is fetched any more for a batch that is full and cannot be applied */
	if (c->retry_at != 0 && !c->drained &&
		TimestampDifferenceExceeds(Max(c->refreshed, c->batch_since), now, REFRESH_MS))
	{
		ask_for_ends(c);
		c->refreshed = GetCurrentTimestamp();
	}
	if (c->ends && now - c->published >= PUBLISH_US)
		ks_source_serve(c->ends);
	if (events || now - c->published >= PUBLISH_US || now < c->published)
	{
		ks_consumer_publish(c);
		c->published = now;
	}
}

/* Is the batch to be applied?  If not, until when may it wait: *due, or 0. */
static bool
is_due(const KsConsumer *c, TimestampTz now, TimestampTz *due)
{
	*due = 0;
	if (c->batch_since == 0)
		return false;
	if (c->retry_at != 0)
		*due = c->retry_at;
	/* or the clock was set back, which would make it linger for longer (not reached by tests: it was) */
	else if (c->halt || is_full(c) || c->batch_since > now)
		return true;
	else
		*due = Max(TimestampTzPlusMilliseconds(c->batch_since, c->sink->batch_linger_ms),
				   ks_consumer_gathers_until(c, now));
	return ks_consumer_time_reached(*due, now);
}

/* How long the host may wait, for the batch or a partition. */
static long
wait_ms(const KsConsumer *c, TimestampTz now, TimestampTz due)
{
	if (!c->drained && !is_closed(c))
		return 0;
	if (c->nrecs == 0 && !c->halt)
		for (int i = 0; i < c->nparts; i++)
			if (c->states[i].restart_at != 0 && (due == 0 || c->states[i].restart_at < due))
				due = c->states[i].restart_at;
	if (c->missing_check_at != 0 && !c->halt && (due == 0 || c->missing_check_at < due))
		due = c->missing_check_at;
	if (due == 0)
		return -1;
	/* while a batch is stuck, figures and memory are looked at */
	return Min(TimestampDifferenceMilliseconds(now, due), STUCK_MS);
}

KsStep
ks_consumer_step(KsConsumer *c, long *timeout)
{
	instr_time	start,
				end;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz due;
	bool		events;
	bool		apply;

	*timeout = -1;
	if (c->nrecs == 0 && !c->halt)
		start_due(c, now);
	if (c->missing_check_at != 0 && !c->halt && ks_consumer_time_reached(c->missing_check_at, now))
		ks_consumer_check_missing_topics(c);
	INSTR_TIME_SET_CURRENT(start);
	events = take_records(c);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	c->fetch_us += INSTR_TIME_GET_MICROSEC(end);

	now = GetCurrentTimestamp();
	apply = is_due(c, now, &due);
	/* who may wait for a lock for ever says what he has first */
	publish(c, now, events || (apply && c->sink->lock_timeout_us == 0));
	if (apply)
		return KS_STEP_APPLY;
	if (c->halt && c->batch_since == 0)
		return KS_STEP_HALT;
	*timeout = wait_ms(c, now, due);
	return KS_STEP_WAIT;
}

void
ks_consumer_retry(KsConsumer *c, bool soon)
{
	/*
	 * A lock is waited for again soon: nobody tells when it is to be had.  That by
	 * which a target is altered is not: as long as it is waited for, all others who
	 * want the table wait behind it.
	 */
	int			max = soon && !OidIsValid(c->evolve) ? RETRY_LOCK_MAX_MS : RETRY_MAX_MS;

	c->retry_at = ks_backoff_until(GetCurrentTimestamp(), c->attempts, RETRY_FIRST_MS, max);
	c->attempts++;
}
