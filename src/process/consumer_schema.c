/*
 * consumer_schema.c
 *	  Records that wait for their schema.
 *
 * A registry that fails (cannot be reached, denies access, says what cannot be understood)
 * is left alone for a while.  Until then, and while it is asked for longer than others
 * should wait (consumer_fetch.c), a record whose schema nobody has read yet holds its
 * partition, as one does that waits for a row (consumer_wait.c), and the other partitions go
 * on.  Only if foreign keys link its target with others, or the sink halts as a whole, does
 * all of the batch wait: else records that refer to it would be refused.
 *
 * Nothing is refused for want of a registry, however long it takes.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "base/backoff.h"
#include "process/consumer_int.h"

#define RETRY_FIRST_MS		100
#define RETRY_MAX_MS		30000
#define READ_AGAIN_MS		10000

/* The batch is due, and records that have waited are read again: some may be by what has come. */
static void
end_asking(KsConsumer *c)
{
	TimestampTz now = GetCurrentTimestamp();

	c->asking = false;
	c->asked_at = 0;
	c->retry_at = c->batch_since != 0 ? now : 0;
	for (int i = 0; i < c->nparts; i++)
		if (c->states[i].restart_at != 0 && c->states[i].lacking_off >= c->parts[i].off)
			c->states[i].restart_at = Min(c->states[i].restart_at, now);
}

void
ks_consumer_registry_answers(KsConsumer *c)
{
	if (c->registry_at != 0)
		c->answered_at = GetCurrentTimestamp();
	c->registry_at = 0;
	c->registry_failures = 0;
	end_asking(c);
}

void
ks_consumer_ask_on(KsConsumer *c, TimestampTz later)
{
	c->registry_at = later;
	if (c->asking)
		return;
	c->asking = true;
	c->retry_at = c->batch_since != 0 ? GetCurrentTimestamp() : 0;
	/* or else what it has said last is told still */
	if (c->registry_failures == 0)
		c->registry_error = (KsStateError)
		{
			.sqlstate = ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION,
			.message = "the schema registry has not given the schema yet",
			.hint = "Check that the registry runs, and the option schema_registry_url of the server.",
			.waits_for = "registry"
		};
}

void
ks_consumer_leave_registry(KsConsumer *c, const KsStateError *error)
{
	TimestampTz now = GetCurrentTimestamp();

	ks_consumer_keep_error(c->registry_cxt, &c->registry_error, error);
	c->registry_at = ks_backoff_until(now, c->registry_failures, RETRY_FIRST_MS, RETRY_MAX_MS);
	c->registry_failures++;
	end_asking(c);
}

bool
ks_consumer_registry_rests(const KsConsumer *c)
{
	return c->asking || (c->registry_at != 0 && !ks_consumer_time_reached(c->registry_at, GetCurrentTimestamp()));
}

/* Records that have waited are read again when it is asked: that takes its time. */
bool
ks_consumer_registry_fails(const KsConsumer *c, TimestampTz now)
{
	TimestampTz until = TimestampTzPlusMilliseconds(c->registry_at, READ_AGAIN_MS);

	return c->asking || (c->registry_failures > 0 && !ks_consumer_time_reached(until, now));
}

static bool
is_same(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "") == 0;
}

/* Is it what is told already, of a record that lacks its schema still? */
static bool
is_told(const KsConsumer *c, const KsStateError *error)
{
	const KsStateError *told = &c->error;
	bool		lacks = false;

	if (told->message == NULL || told->topic == NULL || !is_same(told->message, error->message) ||
		!is_same(told->detail, error->detail))
		return false;
	for (int i = 0; i < c->nparts; i++)
		lacks |= c->parts[i].part == told->part && strcmp(c->parts[i].topic, told->topic) == 0 &&
			c->states[i].lacking_off == told->off && told->off >= c->parts[i].off;
	return lacks;
}

void
ks_consumer_note_lacking(KsConsumer *c)
{
	const KsApply *ap = c->apply;
	const KsRecord *first = &c->recs[ap->wait_error.index];
	KsStateError error = c->registry_error;

	for (int i = 0; i < c->nparts; i++)
	{
		KsPartitionState *st = &c->states[i];

		if (ap->waiting[i] < 0)
			continue;
		st->lacking_off = c->recs[ap->waiting[i]].off;
		if (st->failing_since == 0)
			st->failing_since = GetCurrentTimestamp();
	}
	error.topic = c->parts[first->pidx].topic;
	error.part = c->parts[first->pidx].part;
	error.off = first->off;
	/* (not reached by tests: a sink that halts in that moment) */
	if (c->halt || is_told(c, &error))
		return;
	c->error.message = NULL;
	ks_consumer_set_error(c, &error, false);
}
