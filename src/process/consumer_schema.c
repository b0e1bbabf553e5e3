/*
 * consumer_schema.c
 *	  Records that wait for their schema.
 *
 * A registry that fails (cannot be reached, denies access, says what cannot be understood)
 * is left alone for a while.  Until then a record whose schema nobody has read yet holds its
 * partition, as one does that waits for a row (consumer_wait.c), and the other partitions go
 * on.  Only if foreign keys link its target with others, or the sink halts as a whole, does
 * all of the batch wait: else records that refer to it would be refused.
 *
 * Nothing is refused for want of a registry, however long it takes.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/backoff.h"
#include "process/consumer_int.h"

#define RETRY_FIRST_MS		100
#define RETRY_MAX_MS		30000

void
ks_consumer_leave_registry(KsConsumer *c, const KsStateError *error)
{
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext old;

	MemoryContextReset(c->registry_cxt);
	old = MemoryContextSwitchTo(c->registry_cxt);
	c->registry_error = *error;
	c->registry_error.message = pstrdup(error->message);
	c->registry_error.detail = error->detail ? pstrdup(error->detail) : NULL;
	c->registry_error.hint = error->hint ? pstrdup(error->hint) : NULL;
	c->registry_error.column = NULL;
	MemoryContextSwitchTo(old);
	c->registry_at = ks_backoff_until(now, c->registry_failures, RETRY_FIRST_MS, RETRY_MAX_MS);
	c->registry_failures++;
	c->retry_at = now;
}

bool
ks_consumer_registry_rests(const KsConsumer *c)
{
	return c->registry_at != 0 && !ks_consumer_time_reached(c->registry_at, GetCurrentTimestamp());
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

	if (told->message == NULL || told->topic == NULL || !is_same(told->message, error->message) ||
		!is_same(told->detail, error->detail))
		return false;
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].part == told->part && strcmp(c->parts[i].topic, told->topic) == 0)
			return c->states[i].lacking_off == told->off && told->off >= c->parts[i].off;
	return false;
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
		st->lacks_schema = true;
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
