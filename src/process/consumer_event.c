/*
 * consumer_event.c
 *	  What the source tells beside records, and the errors that come of it.
 *
 * An end of a partition is kept with the epoch in which it was seen, and counts
 * in that one only.  What may pass stops a partition for a while; what will not
 * is final: the batch at hand is the last one then.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "base/backoff.h"
#include "process/consumer_int.h"

#define UNKNOWN_TOPIC_HALT_MS	30000
#define BACKOFF_MS			500
#define BACKOFF_MAX_MS		30000
#define BACKOFF_LONG_MS		10000

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
	ks_consumer_report_missing_topics(c);
}

/*
 * Is the same told already of a partition of the topic that fails still?  Each of many is
 * tried again in its own time, and would be news each time.
 */
static bool
is_told(const KsConsumer *c, const KsStateError *error)
{
	const KsStateError *told = &c->error;

	if (told->message == NULL || told->topic == NULL || told->sqlstate != error->sqlstate ||
		strcmp(told->topic, error->topic) != 0 ||
		strcmp(told->detail ? told->detail : "", error->detail ? error->detail : "") != 0)
		return false;
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].part == told->part && strcmp(c->parts[i].topic, told->topic) == 0)
			return c->states[i].failing_since != 0;
	return false;
}

static void
partition_failed(KsConsumer *c, const KsSourceEvent *ev, KsStateError *error)
{
	KsPartitionState *st = &c->states[ev->pidx];
	TimestampTz now = GetCurrentTimestamp();
	bool		halt = ev->action == KS_ERROR_HALT;

	ks_consumer_has_come(c, ev->pidx);
	if (st->failing_since == 0)
		st->failing_since = now;
	if (ev->action != KS_ERROR_RETRY_THEN_HALT)
		st->gone_since = 0;
	else if (st->gone_since == 0)
		st->gone_since = now;
	else if (TimestampDifferenceExceeds(st->gone_since, now, UNKNOWN_TOPIC_HALT_MS))
		halt = true;
	ks_source_stop(c->source, ev->pidx);
	st->restart_at = ks_backoff_until(now, st->failures,
									  ev->action == KS_ERROR_RETRY_LONG ? BACKOFF_LONG_MS : BACKOFF_MS,
									  BACKOFF_MAX_MS);
	st->failures++;
	/* nor does the time of a record that waits for a row run until then */
	st->behind_at = st->restart_at;
	if (halt || !is_told(c, error))
		ks_consumer_set_error(c, error, halt);
}

/* Brokers that have just started may not know all of their topics yet. */
static void
forget_gone(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
		c->states[i].gone_since = 0;
}

void
ks_consumer_clear_failure(KsConsumer *c, int i)
{
	c->states[i].gone_since = 0;
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
void
ks_consumer_set_log_end(KsConsumer *c, int pidx, int64 off, uint32 epoch)
{
	KsPartitionState *st = &c->states[pidx];

	st->gone_since = 0;
	ks_consumer_has_come(c, pidx);
	/* one that waits has not got past its record by that */
	if (!ks_consumer_is_waiting(c, pidx))
		ks_consumer_clear_failure(c, pidx);
	if (st->bound >= 0)
		off = Min(off, st->bound);
	st->end = off;
	st->end_epoch = epoch;
	if (off <= c->parts[pidx].off)
		ks_consumer_is_at_end(c, pidx);
	else if (c->batch_since == 0)
		c->batch_since = GetCurrentTimestamp();
}

/* The stored offset when the batch at hand, which comes first, is committed. */
static int64
next_offset(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];

	return st->handed > 0 && !st->given_back ? st->last_off + 1 : c->parts[pidx].off;
}

/* Nothing of it can be had; librdkafka goes on by itself as soon as something can. */
static void
leader_is_away(KsConsumer *c, const KsSourceEvent *ev)
{
	const KsPartition *p = &c->parts[ev->pidx];
	KsPartitionState *st = &c->states[ev->pidx];
	KsStateError error;

	ks_consumer_has_come(c, ev->pidx);
	ks_consumer_describe_leaderless(p->topic, p->part, &error);
	if (ev->broker >= 0)
	{
		error.message = psprintf("broker %d, which has partition %d of topic \"%s\", cannot be reached",
								 ev->broker, p->part, p->topic);
		error.hint = "Check that the broker runs, and that its advertised listener can be reached from here.";
	}
	error.waits_for = "broker";
	if (st->failing_since == 0)
		st->failing_since = GetCurrentTimestamp();
	if (!is_told(c, &error))
		ks_consumer_set_error(c, &error, false);
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
			ks_consumer_set_log_end(c, ev->pidx, ev->off, ev->epoch);
			break;
		case KS_EVENT_TAIL_OK:
			c->states[ev->pidx].tail = KS_TAIL_OK;
			break;
		case KS_EVENT_TAIL_UNCHECKABLE:
			c->states[ev->pidx].tail = KS_TAIL_UNCHECKABLE;
			break;
		case KS_EVENT_TAIL_MISMATCH:
			error.message = KS_LOG_REPLACED;
			error.detail = psprintf("The record at offset " INT64_FORMAT
									" is not the one that was read there: the topic was recreated, or its log was truncated and written again.",
									ev->off);
			log_failed(c, ev->pidx, &error);
			break;
		case KS_EVENT_TRUNCATED:
			error.message = KS_LOG_TRUNCATED;
			error.detail = psprintf("Stored offset " INT64_FORMAT ", end of the log " INT64_FORMAT
									": the topic was recreated or its log was truncated.", off, ev->off);
			log_failed(c, ev->pidx, &error);
			break;
		case KS_EVENT_OUT_OF_RANGE:
			error.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			error.message = KS_LOG_DELETED;
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
		case KS_EVENT_LEADER_AWAY:
			leader_is_away(c, ev);
			break;
		case KS_EVENT_LEADER_BACK:
			c->states[ev->pidx].behind_at = GetCurrentTimestamp();
			if (!ks_consumer_is_waiting(c, ev->pidx))
				ks_consumer_clear_failure(c, ev->pidx);
			break;
		case KS_EVENT_ERROR:
		case KS_EVENT_RECOVERED:
		case KS_EVENT_PARTITION_COUNT:
			Assert(false);
			break;
	}
}

/*
 * The system had no room for a thread, or the like: the handle is of no use, another one
 * may be.  (not reached by tests: the system has)
 */
static void
begin_anew_for_resources(const KsSourceEvent *ev)
{
	if (ev->action != KS_ERROR_HALT ||
		ERRCODE_TO_CATEGORY(ev->sqlstate) != ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES))
		return;
	ereport(ERROR,
			(errcode(ev->sqlstate),
			 errmsg("%s", ev->message),
			 ev->detail ? errdetail_internal("%s", ev->detail) : 0));
}

void
ks_consumer_handle_event(KsConsumer *c, const KsSourceEvent *ev)
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
			forget_gone(c);
			begin_anew_for_resources(ev);
			ks_consumer_set_error(c, &error, ev->action == KS_ERROR_HALT);
			break;
		case KS_EVENT_RECOVERED:
			for (int i = 0; i < c->nparts; i++)
				c->states[i].behind_at = GetCurrentTimestamp();
			forget_gone(c);
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
