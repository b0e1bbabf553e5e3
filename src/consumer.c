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
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		p->until = p->off;
		p->new_last_off = -1;
		p->last_rec = -1;
		memset(&p->counts, 0, sizeof(KsCounts));
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

static void
handle_event(KsConsumer *c, const KsSourceEvent *ev)
{
	bool		of_partition = ev->type != KS_EVENT_ERROR && ev->type != KS_EVENT_RECOVERED &&
		ev->type != KS_EVENT_PARTITION_COUNT;
	KsPartition *p = &c->parts[of_partition ? ev->pidx : 0];
	KsStateError error = {.off = -1};

	if (of_partition)
	{
		error.topic = p->topic;
		error.part = p->part;
		error.off = p->off;
	}
	switch (ev->type)
	{
		case KS_EVENT_EOF:
			/* one that waits has not got past its record by that */
			if (!ks_consumer_is_waiting(c, ev->pidx))
				partition_works(c, ev->pidx);
			if (ev->off > p->eof)
				p->eof = ev->off;
			if (p->eof > p->off && c->since == 0)
				c->since = GetCurrentTimestamp();
			break;
		case KS_EVENT_TAIL_OK:
			c->states[ev->pidx].tail = KS_TAIL_OK;
			break;
		case KS_EVENT_TAIL_UNCHECKABLE:
			c->states[ev->pidx].tail = KS_TAIL_UNCHECKABLE;
			break;
		case KS_EVENT_TAIL_MISMATCH:
			error.sqlstate = ERRCODE_DATA_CORRUPTED;
			error.message = "the log is not the one that was consumed";
			error.detail = psprintf("The record at offset " INT64_FORMAT
									" is not the one that was read there: the topic was recreated, or its log was truncated and written again.",
									p->last_off);
			error.hint = "Find out what was lost, then say where to go on with kafka_sink.seek(), and kafka_sink.resume().";
			ks_source_stop(c->source, ev->pidx);
			ks_consumer_set_error(c, &error, true);
			break;
		case KS_EVENT_TRUNCATED:
			error.sqlstate = ERRCODE_DATA_CORRUPTED;
			error.message = "the log ends before the stored offset";
			error.detail = psprintf("Stored offset " INT64_FORMAT ", end of the log " INT64_FORMAT
									": the topic was recreated or its log was truncated.", p->off, ev->off);
			error.hint = "Find out what was lost, then say where to go on with kafka_sink.seek(), and kafka_sink.resume().";
			ks_source_stop(c->source, ev->pidx);
			ks_consumer_set_error(c, &error, true);
			break;
		case KS_EVENT_OUT_OF_RANGE:
			error.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			error.message = "records were deleted before they were consumed";
			error.detail = psprintf("Stored offset " INT64_FORMAT ", the log begins at " INT64_FORMAT
									": retention has overtaken the sink.", p->off, ev->off);
			error.hint = psprintf("To go on without them: SELECT kafka_sink.accept_gap(%s, %s, %d, "
								  INT64_FORMAT ", " INT64_FORMAT "), then kafka_sink.resume(%s).",
								  quote_literal_cstr(c->sink->name), quote_literal_cstr(p->topic),
								  p->part, p->off, ev->off, quote_literal_cstr(c->sink->name));
			ks_source_stop(c->source, ev->pidx);
			ks_consumer_set_error(c, &error, true);
			break;
		case KS_EVENT_PARTITION_ERROR:
			error.sqlstate = ev->sqlstate;
			error.message = ev->message;
			error.detail = ev->detail;
			error.hint = ev->hint;
			partition_failed(c, ev, &error);
			break;
		case KS_EVENT_ERROR:
			error.sqlstate = ev->sqlstate;
			error.message = ev->message;
			error.detail = ev->detail;
			error.hint = ev->hint;
			ks_consumer_set_error(c, &error, ev->action == KS_ERROR_HALT);
			break;
		case KS_EVENT_RECOVERED:
			clear_error(c);
			break;
		case KS_EVENT_PARTITION_COUNT:
			c->stale = true;
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

		if (slot == NULL)
			continue;
		ks_source_watermarks(c->source, i, &low, &high, &lso);
		pg_atomic_write_u64(&slot->low, (uint64) low);
		pg_atomic_write_u64(&slot->high, (uint64) high);
		pg_atomic_write_u64(&slot->lso, (uint64) lso);
		pg_atomic_write_u64(&slot->redelivered, (uint64) ks_source_redelivered(c->source, i));
		pg_atomic_write_u32(&slot->tail, c->states[i].tail);
	}
}

/* Records at or above a bound of run() are not ours. */
static void
cut_at_bounds(KsConsumer *c, int from)
{
	int			out = from;

	for (int i = from; i < c->nrecs; i++)
	{
		KsRecord   *rec = &c->recs[i];
		int64		bound = c->states[rec->pidx].bound;

		if (bound < 0 || rec->off < bound)
		{
			if (out != i)
				c->recs[out] = *rec;
			out++;
			continue;
		}
		/* nothing visible is left below it */
		c->parts[rec->pidx].eof = Max(c->parts[rec->pidx].eof, bound);
		ks_source_release(rec, 1);
	}
	c->nrecs = out;
	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].bound >= 0 && c->parts[i].eof > c->states[i].bound)
			c->parts[i].eof = c->states[i].bound;
}

void
ks_consumer_keep(KsConsumer *c, int n)
{
	for (int i = n; i < c->nrecs; i++)
	{
		int			pidx = c->recs[i].pidx;

		/* nor is an end seen behind it */
		c->parts[pidx].eof = -1;
		if (c->states[pidx].restart_at != 0)
			continue;
		ks_source_stop(c->source, pidx);
		c->states[pidx].restart_at = GetCurrentTimestamp();
	}
	ks_source_release(c->recs + n, c->nrecs - n);
	c->nrecs = n;
}

void
ks_consumer_poll(KsConsumer *c)
{
	KsSourceEvent ev;
	instr_time	start,
				end;
	bool		events = false;
	bool		bounded = !c->in_worker;
	TimestampTz now;

	/* partitions whose back-off is over, between batches */
	if (c->nrecs == 0)
	{
		now = GetCurrentTimestamp();
		for (int i = 0; i < c->nparts; i++)
		{
			if (c->states[i].restart_at == 0)
				continue;
			if (c->states[i].restart_at <= now && !c->halt)
				ks_consumer_start_partition(c, i);
		}
	}

	INSTR_TIME_SET_CURRENT(start);
	ks_source_clear_fd(c->source);
	while (c->nrecs < c->sink->batch_records && c->bytes < (Size) c->sink->batch_bytes)
	{
		Size		bytes = 0;
		int			from = c->nrecs;
		int			got;
		MemoryContext old = MemoryContextSwitchTo(c->batch_cxt);

		got = ks_source_poll(c->source, c->recs + from,
							 Min(c->sink->batch_records - from, 4096),
							 c->sink->batch_bytes - c->bytes, &bytes);
		MemoryContextSwitchTo(old);
		c->nrecs += got;
		c->bytes += bytes;
		if (got > 0 && c->since == 0)
			c->since = GetCurrentTimestamp();
		if (bounded)
			cut_at_bounds(c, from);
		while (ks_source_next_event(c->source, &ev))
		{
			handle_event(c, &ev);
			events = true;
		}
		if (got == 0)
			break;
	}
	if (bounded)
		cut_at_bounds(c, c->nrecs);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	c->fetch_us += INSTR_TIME_GET_MICROSEC(end);

	/* statistics wake us every second, and bring what no event tells: how far
	 * the log goes on behind an open transaction */
	now = GetCurrentTimestamp();
	if (c->in_worker && (events || now - c->published >= USECS_PER_SEC || now < c->published))
	{
		publish_watermarks(c);
		c->published = now;
	}
}

bool
ks_consumer_ready(KsConsumer *c, long *timeout)
{
	TimestampTz now;
	long		ms = -1;

	*timeout = -1;
	if (c->nrecs >= c->sink->batch_records || c->bytes >= (Size) c->sink->batch_bytes)
		return true;
	now = GetCurrentTimestamp();
	if (c->since != 0)
	{
		/* the part that is left, rounded up; a clock set back ends it */
		int64		left = c->since + c->sink->batch_linger_ms * INT64CONST(1000) - now;

		if (left <= 0 || left > c->sink->batch_linger_ms * INT64CONST(1000))
			return true;
		ms = (left + 999) / 1000;
	}
	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].restart_at != 0 && c->nrecs == 0)
		{
			long		left = TimestampDifferenceMilliseconds(now, c->states[i].restart_at);

			ms = ms < 0 ? left : Min(ms, left);
		}
	*timeout = ms;
	return false;
}

/* --- the batch --- */

/* Offsets and accounting of the first 'done' records. */
static void
account(KsConsumer *c, int done, bool whole)
{
	for (int i = 0; i < c->nparts; i++)
	{
		c->parts[i].until = c->parts[i].off;
		c->parts[i].last_rec = -1;
		c->parts[i].new_last_off = -1;
	}
	for (int i = 0; i < done; i++)
	{
		KsPartition *p = &c->parts[c->recs[i].pidx];

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
		/* control records and what compaction took, up to the end seen */
		if (whole && p->eof > p->until)
			p->until = p->eof;
		p->counts.gaps += p->until - p->off - p->counts.consumed;
	}
}

KsApplyResult
ks_consumer_apply(KsConsumer *c, KsRecordError *err)
{
	KsPartition **touched;
	int			n = 0;
	int			moved = 0;
	int			done;

	MemoryContextReset(c->row_cxt);
	ks_rejects_begin(&c->apply->rejects);
	memset(err, 0, sizeof(KsRecordError));
	for (int i = 0; i < c->nparts; i++)
		memset(&c->parts[i].counts, 0, sizeof(KsCounts));

	/* lock what the whole batch would move */
	account(c, c->nrecs, true);
	touched = MemoryContextAlloc(c->batch_cxt, Max(c->nparts, 1) * sizeof(KsPartition *));
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].until != c->parts[i].off)
			touched[n++] = &c->parts[i];
	if (n == 0)
		return KS_APPLY_DONE;
	if (!ks_offsets_lock(c->sink->name, touched, n))
		return KS_APPLY_MISMATCH;
	for (int i = 0; i < c->nparts; i++)
		memset(&c->parts[i].counts, 0, sizeof(KsCounts));

#ifdef KS_BREAK_ATOMICITY
	/* for the tests alone: offsets in a transaction of their own, which the
	 * crash test must find out */
	account(c, c->nrecs, true);
	if (!ks_offsets_move(c->sink->name, touched, n))
		return KS_APPLY_MISMATCH;
	c->commit();
	c->begin();
	for (int i = 0; i < c->nparts; i++)
		memset(&c->parts[i].counts, 0, sizeof(KsCounts));
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
		for (int i = 0; i < c->nparts; i++)
			memset(&c->parts[i].counts, 0, sizeof(KsCounts));
	}
	account(c, done, done == c->nrecs);
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
