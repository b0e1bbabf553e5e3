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
 *	- an offset moves over the records that the batch was handed, and over what
 *	  lies between them; beyond the last of them only to an end of the log that
 *	  was seen in the epoch that still holds, so behind all of them.
 *	  check_handed() and account() see to it.
 */
#include "postgres.h"

#include "portability/instr_time.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "backoff.h"
#include "compat.h"
#include "consumer.h"
#include "offsets.h"

#define CONNECT_TIMEOUT_MS	10000
#define UNKNOWN_TOPIC_HALT_MS	30000
#define BACKOFF_MS			500
#define BACKOFF_MAX_MS		30000
#define BACKOFF_LONG_MS		10000
#define PUBLISH_US			USECS_PER_SEC
#define REFRESH_MS			5000	/* between questions for the ends of the log */
#define REFRESH_TIMEOUT_MS	1000
#define STUCK_MS			1000
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
	c->since = 0;
	c->attempts = 0;
	c->retry_at = 0;
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

/* Topics that are halted alone are no worker's, until resume(). */
static void
leave_out_halted(KsConsumer *c)
{
	ListCell   *lc;

	foreach(lc, c->topics)
		if (((KsTopic *) lfirst(lc))->halted)
			c->topics = foreach_delete_current(c->topics, lc);
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
	c->begin = begin;
	c->commit = commit;
	c->topics = ks_catalog_topics(sink->name);
	ks_catalog_check_consumes(sink, c->topics);
	if (in_worker)
		leave_out_halted(c);
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
	c->recs = MemoryContextAllocHuge(cxt, sink->batch_records * sizeof(KsRecord));
	ks_consumer_reset_batch(c);
	MemoryContextSwitchTo(old);
	return c;
}

/* --- events --- */

void
ks_consumer_set_error(KsConsumer *c, const KsStateError *error, bool halt)
{
	MemoryContext old;

	/* the first final error stays */
	if (c->halt)
		return;
	/* said before: not news */
	if (!halt && c->error.message && strcmp(c->error.message, error->message) == 0)
		return;
	MemoryContextReset(c->error_cxt);
	old = MemoryContextSwitchTo(c->error_cxt);
	c->error = *error;
	c->error.message = pstrdup(error->message);
	c->error.detail = error->detail ? pstrdup(error->detail) : NULL;
	c->error.hint = error->hint ? pstrdup(error->hint) : NULL;
	c->error.topic = error->topic ? pstrdup(error->topic) : NULL;
	c->error.column = error->column ? pstrdup(error->column) : NULL;
	MemoryContextSwitchTo(old);
	c->halt = halt;
	c->reported = false;
}

void
ks_consumer_set_missing(KsConsumer *c, const char *topic)
{
	KsStateError error = {
		.sqlstate = ERRCODE_UNDEFINED_OBJECT,
		.message = psprintf("topic \"%s\" does not exist on server \"%s\"", topic, c->sink->server),
		.detail = "The sink's other topics are consumed.",
		.hint = psprintf("Create it, or kafka_sink.unregister_topic(%s, %s).",
						 quote_literal_cstr(c->sink->name), quote_literal_cstr(topic)),
		.topic = topic,
		.part = -1,
		.off = -1,
		.waits_for = "topic"
	};

	c->missing = topic;
	ks_consumer_set_error(c, &error, false);
	pfree((char *) error.message);
	pfree((char *) error.hint);
}

static void
clear_error(KsConsumer *c)
{
	if (c->error.message == NULL || c->halt)
		return;
	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].failing_since != 0)
			return;
	memset(&c->error, 0, sizeof(c->error));
	c->reported = false;
	if (c->missing)
		ks_consumer_set_missing(c, c->missing);
}

static void
partition_failed(KsConsumer *c, const KsSourceEvent *ev, KsStateError *error)
{
	KsPartitionState *st = &c->states[ev->pidx];
	TimestampTz now = GetCurrentTimestamp();
	bool		halt = ev->action == KS_ERROR_HALT;

	if (st->failing_since == 0)
		st->failing_since = now;
	if (ev->action == KS_ERROR_RETRY_THEN_HALT &&
		TimestampDifferenceExceeds(st->failing_since, now, UNKNOWN_TOPIC_HALT_MS))
		halt = true;
	ks_source_stop(c->source, ev->pidx);
	st->restart_at = ks_backoff_until(now, st->failures,
									  ev->action == KS_ERROR_RETRY_LONG ? BACKOFF_LONG_MS : BACKOFF_MS,
									  BACKOFF_MAX_MS);
	st->failures++;
	ks_consumer_set_error(c, error, halt);
}

static void
partition_works(KsConsumer *c, int i)
{
	if (c->states[i].failing_since != 0)
	{
		c->states[i].failing_since = 0;
		c->states[i].failures = 0;
		clear_error(c);
	}
}

/* The log is not what it was: nothing goes on by itself. */
static void
log_failed(KsConsumer *c, int pidx, KsStateError *error)
{
	ks_source_stop(c->source, pidx);
	ks_consumer_set_error(c, error, true);
}

/* The partition ends at 'off', for now. */
static void
end_seen(KsConsumer *c, int pidx, int64 off, uint32 epoch)
{
	KsPartitionState *st = &c->states[pidx];

	/* one that waits has not got past its record by that */
	if (!ks_consumer_is_waiting(c, pidx))
		partition_works(c, pidx);
	if (st->bound >= 0)
		off = Min(off, st->bound);
	st->end = off;
	st->end_epoch = epoch;
	if (off > c->parts[pidx].off && c->since == 0)
		c->since = GetCurrentTimestamp();
}

/* The end of the partition's log, -1: none was seen that still holds. */
static int64
known_end(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];

	return st->end_epoch == ks_source_epoch(c->source, pidx) ? st->end : -1;
}

/* The stored offset when the batch at hand, which comes first, is committed. */
static int64
next_offset(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];

	return st->handed > 0 && !st->given_back ? st->last_off + 1 : c->parts[pidx].off;
}

/* An event of a partition. */
static void
handle_partition_event(KsConsumer *c, const KsSourceEvent *ev)
{
	const KsPartition *p = &c->parts[ev->pidx];
	int64		off = next_offset(c, ev->pidx);
	KsStateError error = {
		.sqlstate = ERRCODE_DATA_CORRUPTED,
		.hint = "Find out what was lost, then say where to go on with kafka_sink.seek(), and kafka_sink.resume().",
		.topic = p->topic,
		.part = p->part,
		.off = off
	};

	switch (ev->type)
	{
		case KS_EVENT_EOF:
			end_seen(c, ev->pidx, ev->off, ev->epoch);
			break;
		case KS_EVENT_TAIL_OK:
			c->states[ev->pidx].tail = KS_TAIL_OK;
			break;
		case KS_EVENT_TAIL_UNCHECKABLE:
			c->states[ev->pidx].tail = KS_TAIL_UNCHECKABLE;
			break;
		case KS_EVENT_TAIL_MISMATCH:
			error.message = "the log is not the one that was consumed";
			error.detail = psprintf("The record at offset " INT64_FORMAT
									" is not the one that was read there: the topic was recreated, or its log was truncated and written again.",
									ev->off);
			log_failed(c, ev->pidx, &error);
			break;
		case KS_EVENT_TRUNCATED:
			error.message = "the log ends before the stored offset";
			error.detail = psprintf("Stored offset " INT64_FORMAT ", end of the log " INT64_FORMAT
									": the topic was recreated or its log was truncated.", off, ev->off);
			log_failed(c, ev->pidx, &error);
			break;
		case KS_EVENT_OUT_OF_RANGE:
			error.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			error.message = "records were deleted before they were consumed";
			error.detail = psprintf("Stored offset " INT64_FORMAT ", the log begins at " INT64_FORMAT
									": retention has overtaken the sink.", off, ev->off);
			error.hint = psprintf("To go on without them: SELECT kafka_sink.accept_gap(%s, %s, %d, "
								  INT64_FORMAT ", " INT64_FORMAT "), then kafka_sink.resume(%s).",
								  quote_literal_cstr(c->sink->name), quote_literal_cstr(p->topic),
								  p->part, off, ev->off, quote_literal_cstr(c->sink->name));
			log_failed(c, ev->pidx, &error);
			break;
		case KS_EVENT_PARTITION_ERROR:
			error.sqlstate = ev->sqlstate;
			error.message = ev->message;
			error.detail = ev->detail;
			error.hint = ev->hint;
			error.waits_for = ev->action == KS_ERROR_RETRY_THEN_HALT ? "topic" : "broker";
			partition_failed(c, ev, &error);
			break;
		case KS_EVENT_ERROR:
		case KS_EVENT_RECOVERED:
		case KS_EVENT_PARTITION_COUNT:
			Assert(false);
			break;
	}
}

static void
handle_event(KsConsumer *c, const KsSourceEvent *ev)
{
	KsStateError error = {
		.sqlstate = ev->sqlstate,
		.message = ev->message,
		.detail = ev->detail,
		.hint = ev->hint,
		.off = -1,
		.waits_for = "broker"
	};

	switch (ev->type)
	{
		case KS_EVENT_ERROR:
			ks_consumer_set_error(c, &error, ev->action == KS_ERROR_HALT);
			break;
		case KS_EVENT_RECOVERED:
			clear_error(c);
			break;
		case KS_EVENT_PARTITION_COUNT:
			c->stale = true;
			break;
		default:
			handle_partition_event(c, ev);
			break;
	}
}

static void
publish_watermarks(KsConsumer *c)
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
		pg_atomic_write_u64(&slot->as_of, (uint64) as_of);
		pg_atomic_write_u64(&slot->redelivered, (uint64) ks_source_redelivered(c->source, i));
		pg_atomic_write_u32(&slot->tail, c->states[i].tail);
	}
}

/* --- polling --- */

/* Records at or above a bound of run() are not ours. */
static void
cut_at_bounds(KsConsumer *c, int from)
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
		end_seen(c, rec->pidx, st->bound, ks_source_epoch(c->source, rec->pidx));
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
			st->first_off = rec->off;
		st->last_off = rec->off;
	}
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
ks_consumer_keep(KsConsumer *c, int n)
{
	for (int i = n; i < c->nrecs; i++)
		if (!c->states[c->recs[i].pidx].given_back)
			ks_consumer_give_back(c, c->recs[i].pidx, GetCurrentTimestamp());
	ks_source_release(c->recs + n, c->nrecs - n);
	c->nrecs = n;
}

static bool
is_full(const KsConsumer *c)
{
	return c->nrecs >= c->sink->batch_records || c->bytes >= (Size) c->sink->batch_bytes;
}

/* Is the wait until then over?  A clock that was set back ends it. */
static bool
has_come(TimestampTz at, TimestampTz now)
{
	return at <= now || at > TimestampTzPlusMilliseconds(now, MAX_WAIT_MS);
}

/* Partitions whose back-off is over, between batches. */
static void
start_due(KsConsumer *c, TimestampTz now)
{
	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].restart_at != 0 && has_come(c->states[i].restart_at, now))
			ks_consumer_start_partition(c, i);
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
									   Min(c->sink->batch_records - from, 4096),
									   c->sink->batch_bytes - c->bytes, &bytes, &c->drained);
			MemoryContextSwitchTo(old);
		}
		c->bytes += bytes;
		if (c->nrecs > from && c->since == 0)
			c->since = GetCurrentTimestamp();
		if (!c->in_worker)
			cut_at_bounds(c, from);
		note_handed(c, from);
		while (ks_source_next_event(c->source, &ev))
		{
			handle_event(c, &ev);
			events = true;
		}
	} while (!c->drained && !is_closed(c) && !ks_source_is_busy(c->source));
	/* also those that were found while an event was looked into */
	c->drained &= !ks_source_is_busy(c->source);
	return events;
}

/* Live figures: fetches tell them, statistics, and the brokers if asked. */
static void
publish(KsConsumer *c, TimestampTz now, bool events)
{
	if (!c->in_worker)
		return;
	/* nothing is fetched any more for a batch that is full and cannot be applied */
	if (c->retry_at != 0 && !c->drained &&
		TimestampDifferenceExceeds(Max(c->refreshed, c->since), now, REFRESH_MS))
	{
		ks_source_refresh(c->source, REFRESH_TIMEOUT_MS);
		c->refreshed = GetCurrentTimestamp();
	}
	if (events || now - c->published >= PUBLISH_US || now < c->published)
	{
		publish_watermarks(c);
		c->published = now;
	}
}

/* Is the batch to be applied?  If not, until when may it wait: *due, or 0. */
static bool
is_due(const KsConsumer *c, TimestampTz now, TimestampTz *due)
{
	*due = 0;
	if (c->since == 0)
		return false;
	if (c->retry_at != 0)
		*due = c->retry_at;
	else if (c->halt || is_full(c))
		return true;
	else
		*due = TimestampTzPlusMilliseconds(c->since, c->sink->batch_linger_ms);
	return has_come(*due, now);
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

	*timeout = -1;
	if (c->nrecs == 0 && !c->halt)
		start_due(c, now);
	INSTR_TIME_SET_CURRENT(start);
	events = take_records(c);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	c->fetch_us += INSTR_TIME_GET_MICROSEC(end);

	now = GetCurrentTimestamp();
	publish(c, now, events);
	if (is_due(c, now, &due))
		return KS_STEP_APPLY;
	if (c->halt && c->since == 0)
		return KS_STEP_HALT;
	*timeout = wait_ms(c, now, due);
	return KS_STEP_WAIT;
}

void
ks_consumer_retry(KsConsumer *c, long ms)
{
	c->attempts++;
	c->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ms);
}

/* --- the batch --- */

/*
 * The records that the batch has of a partition are those that it was handed:
 * first, last and all between.  Anything else would be a loss.
 */
static void
check_handed(const KsConsumer *c, int pidx, int64 first)
{
	const KsPartition *p = &c->parts[pidx];
	const KsPartitionState *st = &c->states[pidx];
	bool		whole = p->counts.consumed == st->handed &&
		(st->handed == 0 || (first == st->first_off && p->until == st->last_off + 1));

	Assert(whole || st->given_back);
	if (!whole && !st->given_back)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the batch does not have the records that were read"),
				 errdetail("Topic \"%s\", partition %d, stored offset " INT64_FORMAT ": %d records from "
						   INT64_FORMAT " to " INT64_FORMAT " were read, " INT64_FORMAT " from "
						   INT64_FORMAT " to " INT64_FORMAT " are there.",
						   p->topic, p->part, p->off, st->handed, st->first_off, st->last_off,
						   p->counts.consumed, first, p->until - 1)));
}

/* Offsets of one partition ascend, from the stored one on. */
static void
check_ascends(const KsPartition *p, int64 off)
{
	if (unlikely(off < p->until))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("a record comes after its place"),
				 errdetail("Topic \"%s\", partition %d: offset " INT64_FORMAT " after " INT64_FORMAT ".",
						   p->topic, p->part, off, p->until - 1)));
}

/* Offsets and accounting of the first 'done' records. */
static void
account(KsConsumer *c, int done)
{
	bool		whole = done == c->nrecs;
	int64	   *first = palloc(Max(c->nparts, 1) * sizeof(int64));

	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		p->until = p->off;
		p->last_rec = -1;
		p->new_last_off = -1;
		p->counts.consumed = 0;
		first[i] = -1;
	}
	for (int i = 0; i < done; i++)
	{
		int			pidx = c->recs[i].pidx;
		KsPartition *p = &c->parts[pidx];

		check_ascends(p, c->recs[i].off);
		if (p->last_rec < 0)
			first[pidx] = c->recs[i].off;
		p->counts.consumed++;
		p->until = c->recs[i].off + 1;
		p->last_rec = i;
	}
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		if (p->last_rec >= 0)
		{
			p->new_last_off = c->recs[p->last_rec].off;
			p->new_last_hash = ks_record_hash(&c->recs[p->last_rec]);
		}
		if (whole)
		{
			check_handed(c, i, first[i]);
			/* control records and what compaction took, up to the end seen */
			p->until = Max(p->until, known_end(c, i));
		}
		p->counts.gaps = p->until - p->off - p->counts.consumed;
	}
	pfree(first);
}

/* What became of the records, of an attempt that is made again. */
static void
forget_counts(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
		memset(&c->parts[i].counts, 0, sizeof(KsCounts));
}

/* The partitions whose offsets the batch moves. */
static KsPartition **
parts_to_move(KsConsumer *c, int *n)
{
	KsPartition **parts = palloc(Max(c->nparts, 1) * sizeof(KsPartition *));

	*n = 0;
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].until != c->parts[i].off)
			parts[(*n)++] = &c->parts[i];
	return parts;
}

KsApplyResult
ks_consumer_apply(KsConsumer *c, KsRecordError *err)
{
	KsPartition **touched;
	int			n;
	int			moved = 0;
	int			done;

	MemoryContextReset(c->row_cxt);
	ks_rejects_begin(&c->apply->rejects);
	memset(err, 0, sizeof(KsRecordError));
	for (int i = 0; i < c->nparts; i++)
		c->states[i].waiting = false;

	/* lock what the whole batch would move */
	forget_counts(c);
	account(c, c->nrecs);
	touched = parts_to_move(c, &n);
	if (n == 0)
		return KS_APPLY_DONE;	/* and there are no records, see account() */
	if (!ks_offsets_lock(c->sink->name, touched, n))
		return KS_APPLY_MISMATCH;
	forget_counts(c);

#ifdef KS_BREAK_ATOMICITY
	/* for the tests alone: offsets in a transaction of their own, which the
	 * crash test must find out */
	account(c, c->nrecs);
	if (!ks_offsets_move(c->sink->name, touched, n))
		return KS_APPLY_MISMATCH;
	c->commit();
	c->begin();
	touched = parts_to_move(c, &n);
	forget_counts(c);
#endif

	done = 0;
	if (c->nrecs > 0)
		ks_apply_prepare(c->apply);
	while (c->nrecs > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(c->row_cxt);

		(void) ks_apply_order(c->apply, c->recs, c->nrecs, c->parts, c->nparts);
		MemoryContextSwitchTo(old);
		done = ks_apply(c->apply, c->recs, c->nrecs, c->parts, c->nparts, err);
		if (c->apply->nwaiting == 0)
			break;
		ks_consumer_cut_waiting(c);
		/* what is left is decoded anew */
		MemoryContextReset(c->row_cxt);
		forget_counts(c);
	}
	account(c, done);
	for (int i = 0; i < n; i++)
		if (touched[i]->until != touched[i]->off)
			touched[moved++] = touched[i];
#ifndef KS_BREAK_ATOMICITY
	if (moved > 0 && !ks_offsets_move(c->sink->name, touched, moved))
		return KS_APPLY_MISMATCH;
#endif
	return done == c->nrecs ? KS_APPLY_DONE : KS_APPLY_STOPPED;
}

void
ks_consumer_committed(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		if (p->last_rec >= 0)
		{
			p->last_off = p->new_last_off;
			p->last_hash = p->new_last_hash;
		}
		if (!ks_consumer_waits(c, i) && p->until > p->off)
			partition_works(c, i);
		p->off = p->until;
	}
	ks_rejects_committed(&c->apply->rejects, c->nrecs);
	ks_consumer_reset_batch(c);
	if (c->in_worker)
		publish_watermarks(c);
}

void
ks_consumer_describe(KsConsumer *c, const KsRecordError *err, KsStateError *out)
{
	const KsRecord *rec = &c->recs[err->index];
	const KsPartition *p = &c->parts[rec->pidx];

	memset(out, 0, sizeof(KsStateError));
	out->sqlstate = err->edata->sqlerrcode;
	out->message = err->edata->message;
	out->detail = err->edata->detail;
	out->hint = psprintf("Mend the cause, or pass over the record with kafka_sink.skip(%s, %s, %d, " INT64_FORMAT "); then kafka_sink.resume(%s).",
						 quote_literal_cstr(c->sink->name), quote_literal_cstr(p->topic),
						 p->part, rec->off, quote_literal_cstr(c->sink->name));
	if (err->exceeded)
	{
		out->sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
		out->message = "more records cannot be applied than reject_limit allows";
		out->detail = psprintf("The limit is %s.  This record would be one too many: %s (%s)",
							   err->exceeded, err->edata->message,
							   unpack_sql_state(err->edata->sqlerrcode));
		out->hint = psprintf("Mend the cause, or raise reject_limit; then kafka_sink.resume(%s) goes on with this record and counts anew.",
							 quote_literal_cstr(c->sink->name));
	}
	out->topic = p->topic;
	out->part = p->part;
	out->off = rec->off;
	out->column = err->column;
}
