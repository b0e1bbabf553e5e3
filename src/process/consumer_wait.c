/*
 * consumer_wait.c
 *	  Records that wait for the row that their foreign key needs.
 *
 * A topic's records can be read before those of another topic, or written
 * before those of another sink, that they refer to.  Such a record (23503)
 * holds its partition: what is before it commits, it is read again after a
 * while, and the other partitions go on meanwhile.  If the row has not come
 * retry_within after the record began to wait, the record is refused like any
 * other.
 *
 * Of a partition that has waited in vain, what was in the log meanwhile has
 * waited too: its time counts from when the first one began to wait, or from
 * its own timestamp, whichever is later.  So a run of bad records makes a
 * partition late by retry_within, not by as much for each of them.  A batch
 * without such a record ends that.  A timestamp that lies in the future is that
 * of when the record was met: no record waits longer than retry_within.
 *
 * Nor does the time run while the row can still come: who begins to wait awaits what is in
 * the logs of other partitions then, also of those that other workers consume, if foreign keys
 * link their topics, and as long as one of these cannot be read.  A load of many parents may
 * take longer than retry_within, and so may a broker's being away.  The ends of the logs are
 * taken down for all of a topic: who begins to wait while others of it await the ends as of
 * before takes the next ones, when these have been reached.  So nobody awaits ends that move
 * on, and none is refused by ends of long ago: of a run of bad records those that have come
 * since they were taken down await others, too.
 *
 * What waits itself is awaited by those whose tables refer to its own, directly or not:
 * of several that wait in vain, who refers to none of the others' is refused first.
 *
 * Two that wait may need each other: rows that refer to each other, or a delete before a row
 * for which others are to be moved away from what is deleted.  Then they must be in one
 * batch.  So all of a process that wait are read again at the same moments, ever fewer of
 * these, and a batch that has got one of them waits a while for the others.
 *
 * But a command may write the row for a record that waits for its schema (consumer_schema.c):
 * then the time counts from when the registry has answered.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/compat.h"
#include "process/consumer_int.h"
#include "write/route.h"

#define TURN_FIRST_MS	20
#define MAX_DOUBLINGS	5
#define MAX_BEHIND		8		/* while there is more to come from others, which has to be fetched, too */

/* The turns of a partition that has failed so often are so far from each other. */
static int64
between_turns(int failures, int max)
{
	return (int64) TURN_FIRST_MS * 1000 << Max(0, Min(failures, max));
}

/* The first of them behind at least half of that: those of others that failed more often are among them. */
static TimestampTz
next_turn(const KsConsumer *c, const KsPartitionState *st, TimestampTz now)
{
	int64		distance = between_turns(st->failures, st->was_behind ? MAX_BEHIND : MAX_DOUBLINGS);
	TimestampTz at = now + distance / 2;

	return at + distance - (at - c->turns_since) % distance;
}

static TimestampTz
record_time(const KsRecord *rec)
{
	return (rec->ts_ms - KS_EPOCH_MS) * 1000;
}

/* The end of another partition's log that is awaited by records of one, -1: not known yet. */
static int64
awaited_end(KsConsumer *c, int pidx, int other)
{
	int64	   *end = &c->states[pidx].ends->ends[other];

	if (*end < 0)
	{
		int64		bound = c->states[other].bound;
		int64		high = ks_source_high(c->source, other);

		/* what will not be read is not awaited */
		*end = bound < 0 || (high >= 0 && high < bound) ? high : bound;
	}
	return *end;
}

/* Is there more to come of the other one before that end? */
static bool
is_behind(KsConsumer *c, int pidx, int other)
{
	int64		off = c->parts[other].off;
	int64		end = awaited_end(c, pidx, other);

	if (end >= 0 && off >= end)
		return false;
	/* where it ends for now there is more if an open transaction hides it */
	return ks_consumer_waits_for_row(c, other) || off != ks_consumer_log_end(c, other) ||
		(end >= 0 && ks_source_high(c->source, other) > off);
}

/* Nor of a topic that is not there, but was, or is there for others. */
static bool
misses_needed(const KsConsumer *c, const char *topic)
{
	ListCell   *lc;

	foreach(lc, c->missing)
	{
		const KsMissingTopic *m = lfirst(lc);

		if ((m->wanted > 0 || m->denial.message || m->leaderless) && ks_apply_may_need(c->apply, topic, m->topic))
			return true;
	}
	return false;
}

/* A topic, for records of another one that wait. */
typedef struct Needed
{
	const char *topic;
	bool		needed;			/* what they wait for may come from there */
	bool		first;			/* before that of which they are, of what waits in both */
} Needed;

static void
need(KsConsumer *c, Needed *n, const char *own, const char *topic)
{
	if (n->topic == topic)
		return;
	n->topic = topic;
	n->needed = ks_apply_may_need(c->apply, own, topic);
	n->first = n->needed && ks_apply_comes_before(c->apply, topic, own);
}

/* Can what a record of the partition waits for come from others?  Before the ends, if it awaits these. */
static bool
logs_are_behind(KsConsumer *c, int pidx)
{
	const char *own = c->parts[pidx].topic;
	bool		awaits = c->states[pidx].awaits == c->states[pidx].ends->taken;
	Needed		of = {0};

	for (int i = 0; i < c->nparts; i++)
	{
		need(c, &of, own, c->parts[i].topic);
		if (!of.needed || i == pidx)
			continue;
		if (ks_consumer_cannot_read(c, i) || (awaits && (of.first || !ks_consumer_waits_for_row(c, i)) && is_behind(c, pidx, i)))
			return true;
	}
	for (int i = 0; i < c->nothers; i++)
	{
		const KsPartitionView *v = &c->others[i];

		need(c, &of, own, v->topic);
		if (!of.needed)
			continue;
		if (ks_consumer_other_fails(c, v) ||
			(awaits && (of.first || v->standing != KS_STANDING_WAITS) && ks_consumer_other_is_behind(c, c->states[pidx].ends, i)))
			return true;
	}
	return misses_needed(c, own);
}

/* Does any of the partition's topic still await its ends?  (It is the same for all that wait.) */
static bool
ends_are_awaited(KsConsumer *c, int pidx)
{
	const KsEnds *ends = c->states[pidx].ends;

	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].ends == ends && c->states[i].awaits == ends->taken && ks_consumer_waits_for_row(c, i))
			return logs_are_behind(c, i);
	return false;
}

/* What is in the logs by now is awaited from here on, by those that await the next ends, too. */
static void
take_ends(KsConsumer *c, int pidx)
{
	KsEnds	   *ends = c->states[pidx].ends;

	if (ends->ends == NULL)
		ends->ends = MemoryContextAllocHuge(c->cxt, (c->nparts + c->nothers) * sizeof(int64));
	ends->taken++;
	ends->taken_at = GetCurrentTimestamp();
	for (int i = 0; i < c->nothers; i++)
		ends->ends[c->nparts + i] = -1;
	for (int i = 0; i < c->nparts; i++)
	{
		ends->ends[i] = -1;
		(void) awaited_end(c, pidx, i);
	}
}

/* The partition awaits those that are taken down now; or next, if others still await these. */
static void
await_next_ends(KsConsumer *c, int pidx)
{
	KsPartitionState *st = &c->states[pidx];

	if (ends_are_awaited(c, pidx))
	{
		st->awaits = st->ends->taken + 1;
		return;
	}
	take_ends(c, pidx);
	st->awaits = st->ends->taken;
}

/* Is it another record than those that have waited, and was not in the log then? */
static bool
came_later(KsConsumer *c, const KsRecord *rec)
{
	const KsPartitionState *st = &c->states[rec->pidx];
	int64		end = awaited_end(c, rec->pidx, rec->pidx);

	return rec->off > st->waiting_off && st->awaits <= st->ends->taken && end >= 0 && rec->off >= end;
}

/* Was it looked up in this batch, for this partition or one of which it is the same? */
static bool
is_looked_up(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];
	const char *topic = c->parts[pidx].topic;
	int			other = c->behind_of;

	if (other < 0 || other == pidx)
		return other == pidx;
	return c->states[other].ends == st->ends && c->states[other].awaits == st->awaits &&
		((ks_consumer_waits_for_row(c, pidx) && ks_consumer_waits_for_row(c, other)) || !ks_apply_may_need(c->apply, topic, topic));
}

/* Can what the record waits for come from others? */
static bool
others_are_behind(KsConsumer *c, const KsRecord *rec)
{
	KsPartitionState *st = &c->states[rec->pidx];
	bool		was_behind = st->was_behind;
	bool		later;

	st->was_behind = false;
	if (st->waiting_since == 0)
		return false;
	later = came_later(c, rec);
	if (later || !is_looked_up(c, rec->pidx))
	{
		ks_consumer_look_at_others(c);
		if (later || st->awaits > st->ends->taken)
			await_next_ends(c, rec->pidx);
		c->behind_of = rec->pidx;
		c->behind = st->awaits > st->ends->taken || logs_are_behind(c, rec->pidx);
	}
	st->was_behind = c->behind;
	/* or since the last time, nobody knows when */
	if (c->behind || was_behind)
		st->behind_at = GetCurrentTimestamp();
	return c->behind;
}

bool
ks_consumer_may_wait(void *arg, const KsRecord *rec)
{
	KsConsumer *c = arg;
	const KsPartitionState *st = &c->states[rec->pidx];
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz begin = st->waiting_since;
	TimestampTz read_at = rec->off == st->waiting_off ? Min(st->waiting_read_at, now) : now;

	if (c->sink->retry_within_us > 0 && others_are_behind(c, rec))
		return true;
	if (begin == 0 || begin > now)
		begin = now;
	begin = Max(begin, Min(st->behind_at, now));
	if (c->sink->command)
	{
		if (ks_consumer_registry_fails(c, now))
			return c->sink->retry_within_us > 0;
		begin = Max(begin, Min(c->answered_at, now));
	}
	if (rec->ts_ms >= 0 && rec->ts_ms < PG_INT64_MAX / 1000)
		begin = Max(begin, Min(record_time(rec), read_at));
	return now - begin < c->sink->retry_within_us;
}

bool
ks_consumer_is_waiting(const KsConsumer *c, int pidx)
{
	return ks_consumer_waits_for_row(c, pidx) || c->states[pidx].lacking_off >= c->parts[pidx].off;
}

/* Is that record told of, and does it wait, in this batch or in its back-off? */
static bool
is_reported(const KsConsumer *c, int pidx)
{
	int			rec = c->apply->waiting[pidx];

	return c->parts[pidx].part == c->error.part && strcmp(c->parts[pidx].topic, c->error.topic) == 0 &&
		(rec >= 0 ? c->recs[rec].off == c->error.off :
		 ks_consumer_waits_for_row(c, pidx) && c->states[pidx].waiting_off == c->error.off);
}

/* Is it told already what keeps the row from coming: that a log cannot be read? */
static bool
is_told_why(const KsConsumer *c, const char *topic)
{
	const KsStateError *told = &c->error;
	ListCell   *lc;

	if (told->message == NULL || told->topic == NULL || !ks_apply_may_need(c->apply, topic, told->topic))
		return false;
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].part == told->part && strcmp(c->parts[i].topic, told->topic) == 0)
			return ks_consumer_cannot_read(c, i);
	foreach(lc, c->missing)
		if (strcmp(((const KsMissingTopic *) lfirst(lc))->topic, told->topic) == 0)
			return misses_needed(c, topic);
	return false;
}

/*
 * Tell of the first record, unless another one that is told of still waits.
 * (not reached by tests: a sink that halts in that moment)
 */
static void
report_waiting(KsConsumer *c, const KsStateError *error)
{
	if (c->halt || is_told_why(c, error->topic))
		return;
	if (c->error.message && c->error.topic && c->error.sqlstate == error->sqlstate)
	{
		for (int i = 0; i < c->nparts; i++)
			if (is_reported(c, i))
				return;
		/* the same message may be of another record: news */
		c->error.message = NULL;
	}
	ks_consumer_set_error(c, error, false);
}

/* Records of the batch wait for rows. */
static void
note_waiting(KsConsumer *c)
{
	const KsApply *ap = c->apply;
	const KsRecord *first = &c->recs[ap->wait_error.index];
	KsStateError error = {
		.sqlstate = ap->wait_error.edata->sqlerrcode,
		.message = ap->wait_error.edata->message,
		.detail = ap->wait_error.edata->detail,
		.hint = "The record waits for that row: until what linked topics have in their logs is read, and then at most for the setting retry_within.",
		.waits_for = "row",
		.topic = c->parts[first->pidx].topic,
		.part = c->parts[first->pidx].part,
		.off = first->off
	};

	report_waiting(c, &error);
	for (int i = 0; i < c->nparts; i++)
		if (ap->waiting[i] >= 0)
		{
			KsPartitionState *st = &c->states[i];
			int64		off = c->recs[ap->waiting[i]].off;

			if (off != st->waiting_off)
			{
				st->waiting_off = off;
				st->waiting_read_at = GetCurrentTimestamp();
			}
			st->waiting = true;
		}
}

void
ks_consumer_drop_waiting_records(KsConsumer *c)
{
	const KsApply *ap = c->apply;
	bool		for_rows = ap->wait_error.edata != NULL;
	int			out = 0;

	if (for_rows)
		note_waiting(c);
	else
		ks_consumer_note_lacking(c);
	for (int i = 0; i < c->nparts; i++)
		if (ap->waiting[i] >= 0)
			ks_consumer_give_back(c, i, for_rows ? GetCurrentTimestamp() : c->registry_at);
	for (int i = 0; i < c->nrecs; i++)
	{
		int			from = ap->waiting[c->recs[i].pidx];

		if (from >= 0 && i >= from)
			ks_source_release(&c->recs[i], 1);
		else
			c->recs[out++] = c->recs[i];
	}
	c->nrecs = out;
}

/* Was a record of the partition refused for want of a row, in this batch? */
static bool
has_refused(const KsConsumer *c, int pidx)
{
	const KsRejects *r = &c->apply->rejects;

	for (int i = 0; i < r->n; i++)
		if (ks_error_is_of_reference(r->items[i].edata->sqlerrcode) &&
			c->recs[r->items[i].index].pidx == pidx)
			return true;
	return false;
}

bool
ks_consumer_stop_if_waiting(KsConsumer *c, int pidx)
{
	KsPartitionState *st = &c->states[pidx];
	bool		offset_moves = c->parts[pidx].until > c->parts[pidx].off;
	TimestampTz now;

	if (st->waiting_since != 0 && offset_moves &&
		(!has_refused(c, pidx) || ks_consumer_log_end(c, pidx) == c->parts[pidx].until))
		st->waiting_since = 0;
	/* given back until the registry is asked again, or to be read again */
	if (st->lacking_off >= c->parts[pidx].until && !st->waiting)
		return true;
	if (!st->waiting)
		return false;
	now = GetCurrentTimestamp();
	st->waiting = false;
	if (st->waiting_since == 0)
	{
		ks_consumer_look_at_others(c);
		await_next_ends(c, pidx);
		st->waiting_since = now;
	}
	if (st->failing_since == 0)
		st->failing_since = now;
	if (offset_moves)
		st->failures = 0;
	st->restart_at = next_turn(c, st, now);
	st->failures++;
	return true;
}

void
ks_consumer_expect_waiting(KsConsumer *c, int pidx, TimestampTz now)
{
	KsPartitionState *st = &c->states[pidx];

	if (!ks_consumer_waits_for_row(c, pidx))
		return;
	st->expected = true;
	c->expected_until = now + between_turns(st->failures - 1, MAX_DOUBLINGS) / 2;
}

void
ks_consumer_is_at_end(KsConsumer *c, int pidx)
{
	if (!ks_consumer_waits_for_row(c, pidx))
		c->states[pidx].waiting_since = 0;
}

void
ks_consumer_has_come(KsConsumer *c, int pidx)
{
	c->states[pidx].expected = false;
}

TimestampTz
ks_consumer_gathers_until(const KsConsumer *c, TimestampTz now)
{
	bool		is_here = false;
	bool		is_away = false;

	if (ks_consumer_time_reached(c->expected_until, now))
		return 0;
	for (int i = 0; i < c->nparts; i++)
	{
		is_here |= c->states[i].handed > 0 && ks_consumer_waits_for_row(c, i);
		is_away |= c->states[i].expected;
	}
	return is_here && is_away ? c->expected_until : 0;
}
