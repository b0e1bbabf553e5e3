/*
 * consumer_missing.c
 *	  Topics that are registered and not there, or denied.
 *
 * One that was never consumed may come into being: the worker reads the others,
 * and begins anew when it does.  One that was consumed has been deleted, or made
 * again with fewer partitions, unless the brokers have only just started and do
 * not know all of their topics yet: so it is looked for until a deadline, which
 * all of them share, and which keeps no other topic from being read.  After it
 * they are errors, all of them at once: a halt begins the sink anew, and would
 * have those that are left wait again.
 *
 * One that the brokers deny access to may be there or not.  It is asked for now and
 * then, until they allow it, and the others are read meanwhile.
 *
 * Where a new partition begins only its leader knows.  One that has none is left out,
 * with those of its topic whose beginning would be another one if they were settled
 * without it (consumer_open.c), and all else is read until it has one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "process/consumer_int.h"

#define DELETED_TOPIC_MS	30000	/* for a topic that was consumed to come back */
#define CHECK_MS			1000	/* between questions for it */
#define CHECK_TIMEOUT_MS	1000
#define CHECK_DENIED_MS		10000	/* the same for those that are denied */
#define CHECK_LEADER_MAX_MS	10000	/* and at most for a leader */
#define LEADER_MS			3000	/* a topic that has just been made has one soon */
#define LEADER_FIRST_MS		100		/* between questions for it then */
#define LEADER_MAX_MS		1000

/* It was consumed, and some of it, or all, does not exist any more. */
static void
describe_deleted(const KsConsumer *c, const KsMissingTopic *m, KsStateError *error)
{
	const char *sink = quote_literal_cstr(c->sink->name);
	const char *topic = quote_literal_cstr(m->topic);

	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
	error->topic = m->topic;
	error->part = -1;
	error->off = -1;
	if (m->count < 0)
	{
		error->message = psprintf("topic \"%s\" was deleted", m->topic);
		error->detail = psprintf("It was consumed before, and server \"%s\" does not know it any more.", c->sink->server);
		error->hint = psprintf("If it comes back, say where to go on with kafka_sink.seek(%s, ...); kafka_sink.unregister_topic(%s, %s) takes it from the sink for good and forgets its offsets.",
							   sink, sink, topic);
	}
	else
	{
		error->message = psprintf("topic \"%s\" has fewer partitions than before", m->topic);
		error->detail = psprintf("Partition %d has a stored offset, and server \"%s\" knows %d partitions: the topic was recreated.",
								 m->wanted - 1, c->sink->server, m->count);
		error->hint = psprintf("Find out what was lost; kafka_sink.unregister_topic(%s, %s) forgets all offsets of the old topic, then kafka_sink.register_topic() begins with the new one.",
							   sink, topic);
	}
}

/* It was never consumed, and does not exist. */
static void
describe_undefined(const KsConsumer *c, const KsMissingTopic *m, KsStateError *error)
{
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = ERRCODE_UNDEFINED_OBJECT;
	error->message = psprintf("topic \"%s\" does not exist on server \"%s\"", m->topic, c->sink->server);
	error->hint = psprintf("Create it, or kafka_sink.unregister_topic(%s, %s).",
						   quote_literal_cstr(c->sink->name), quote_literal_cstr(m->topic));
	error->topic = m->topic;
	error->part = -1;
	error->off = -1;
}

/* It may be there, or not. */
static void
describe_denied(const KsMissingTopic *m, KsStateError *error)
{
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = m->denial.sqlstate;
	error->message = m->denial.message;
	error->hint = m->denial.hint;
	error->topic = m->topic;
	error->part = -1;
	error->off = -1;
}

void
ks_consumer_describe_leaderless(const char *topic, int32 part, KsStateError *error)
{
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = ERRCODE_CONNECTION_FAILURE;
	error->message = psprintf("partition %d of topic \"%s\" has no leader", part, topic);
	error->hint = "See to the brokers that have its replicas.";
	error->topic = topic;
	error->part = part;
	error->off = -1;
}

KS_NORETURN static void
raise_missing(const KsConsumer *c, const KsMissingTopic *m)
{
	KsStateError error;

	if (m->denial.message)
		describe_denied(m, &error);
	else if (m->wanted > 0)
		describe_deleted(c, m, &error);
	else
		describe_undefined(c, m, &error);
	ereport(ERROR,
			(errcode(error.sqlstate),
			 errmsg_internal("%s", error.message),
			 error.detail ? errdetail_internal("%s", error.detail) : 0,
			 errhint("%s", error.hint)));
}

/* run(): looks for it until the deadline, or for as long as run() may take, and errors then. */
static int
wait_for_topic(KsConsumer *c, KsMissingTopic *m)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), Min(DELETED_TOPIC_MS, c->timeout_ms));

	while (m->wanted > 0 && m->count < m->wanted && GetCurrentTimestamp() < until)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 CHECK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		m->count = ks_source_partition_count(c->source, m->topic, c->timeout_ms);
	}
	if (m->count < Max(m->wanted, 1))
		raise_missing(c, m);
	return m->count;
}

int
ks_consumer_add_missing_topic(KsConsumer *c, const char *topic, int count, int wanted)
{
	MemoryContext old = MemoryContextSwitchTo(c->cxt);
	KsMissingTopic *m = palloc0(sizeof(KsMissingTopic));

	m->topic = topic;
	m->count = count;
	m->wanted = wanted;
	if (c->in_worker)
		c->missing = lappend(c->missing, m);
	MemoryContextSwitchTo(old);
	return c->in_worker ? -1 : wait_for_topic(c, m);
}

void
ks_consumer_add_denied_topic(KsConsumer *c, const char *topic, const KsDenial *denial)
{
	MemoryContext old = MemoryContextSwitchTo(c->cxt);
	KsMissingTopic *m = palloc0(sizeof(KsMissingTopic));

	m->topic = topic;
	m->denial = *denial;
	m->denial.message = pstrdup(denial->message);
	c->missing = lappend(c->missing, m);
	MemoryContextSwitchTo(old);
}

/* Of several it is one that was consumed, or else one that is denied or has no leader. */
static const KsMissingTopic *
topic_to_report(const KsConsumer *c)
{
	const KsMissingTopic *result = llast(c->missing);
	ListCell   *lc;

	foreach(lc, c->missing)
	{
		const KsMissingTopic *m = lfirst(lc);

		if (m->wanted > 0)
			return m;
		if (m->denial.message || m->leaderless)
			result = m;
	}
	return result;
}

/* When they are looked for next: those that may be gone often, the others now and then. */
static TimestampTz
next_check(const KsConsumer *c, TimestampTz now)
{
	bool		any_denied = false;
	bool		any_leaderless = false;
	ListCell   *lc;

	foreach(lc, c->missing)
	{
		const KsMissingTopic *m = lfirst(lc);

		if (m->wanted > 0)
			return TimestampTzPlusMilliseconds(now, CHECK_MS);
		any_denied |= m->denial.message != NULL;
		any_leaderless |= m->leaderless;
	}
	if (any_leaderless)
		return ks_backoff_until(now, c->leader_checks, CHECK_MS, CHECK_LEADER_MAX_MS);
	return any_denied ? ks_backoff_until(now, 0, CHECK_DENIED_MS, CHECK_DENIED_MS) : 0;
}

void
ks_consumer_begin_missing_topics(KsConsumer *c)
{
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, c->missing)
		if (((KsMissingTopic *) lfirst(lc))->wanted > 0)
			c->missing_until = TimestampTzPlusMilliseconds(now, DELETED_TOPIC_MS);
	c->missing_check_at = next_check(c, now);
	if (c->missing != NIL && c->topics == NIL && c->missing_until == 0)
		raise_missing(c, topic_to_report(c));
	ks_consumer_report_missing_topics(c);
}

void
ks_consumer_report_missing_topics(KsConsumer *c)
{
	const KsMissingTopic *m;
	KsStateError error;
	MemoryContext scratch;
	MemoryContext old;

	if (c->missing == NIL)
		return;
	scratch = AllocSetContextCreate(c->cxt, "kafka_sink missing topic", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(scratch);
	m = topic_to_report(c);
	if (m->denial.message)
		describe_denied(m, &error);
	else if (m->leaderless)
		ks_consumer_describe_leaderless(m->topic, m->part, &error);
	else if (m->count < 0)
		describe_undefined(c, m, &error);
	else
		describe_deleted(c, m, &error);
	error.detail = m->leaderless ? "Where it begins cannot be found out.  What the sink has begun to consume is consumed." :
		m->wanted == 0 ? "The sink's other topics are consumed." :
		"It was consumed before.  It is looked for, for half a minute; the sink's other topics are consumed meanwhile.";
	error.waits_for = m->denial.message || m->leaderless ? "broker" : "topic";
	ks_consumer_set_error(c, &error, false);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* --- partitions without a leader --- */

/* Fills without[], and says if there are any. */
static bool
mark_leaderless(KsConsumer *c, KsPartition *const *parts, int n, bool *without)
{
	bool		any = false;

	for (int i = 0; i < n; i++)
	{
		without[i] = !ks_source_has_leader(c->source, parts[i]->topic, parts[i]->part);
		any |= without[i];
	}
	return any;
}

/* Asks for the leaders of a topic again, whose partitions have been counted before. */
static bool
ask_for_leaders(KsConsumer *c, const char *topic)
{
	int			before = ks_source_known_count(c->source, topic);
	int			count;

	/* (not reached by tests: nobody sees when it is asked, to keep the answer back then) */
	if (!ks_source_try_partition_count(c->source, topic, CHECK_TIMEOUT_MS, &count))
		return false;
	/* no event tells of these any more: begins anew */
	c->stale |= count != before;
	return true;
}

bool *
ks_consumer_find_leaderless(KsConsumer *c, KsPartition *const *parts, int n)
{
	bool	   *without = palloc0(Max(n, 1) * sizeof(bool));
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LEADER_MS);

	for (int asked = 0; mark_leaderless(c, parts, n, without); asked++)
	{
		if (c->stale || GetCurrentTimestamp() >= until)
			return without;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 ks_backoff_ms(asked, LEADER_FIRST_MS, LEADER_MAX_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
			if (without[i] && (i == 0 || !without[i - 1] || parts[i - 1]->topic != parts[i]->topic))
				(void) ask_for_leaders(c, parts[i]->topic);
	}
	pfree(without);
	return NULL;
}

void
ks_consumer_leave_leaderless(KsConsumer *c, const KsPartition *p)
{
	MemoryContext old;
	KsMissingTopic *m;
	ListCell   *lc;

	/* one of a topic is enough to be waited for */
	foreach(lc, c->missing)
		if (strcmp(((KsMissingTopic *) lfirst(lc))->topic, p->topic) == 0)
			return;
	old = MemoryContextSwitchTo(c->cxt);
	m = palloc0(sizeof(KsMissingTopic));
	m->topic = p->topic;
	m->leaderless = true;
	m->part = p->part;
	c->missing = lappend(c->missing, m);
	MemoryContextSwitchTo(old);
	c->missing_check_at = next_check(c, GetCurrentTimestamp());
	ks_consumer_report_missing_topics(c);
}

/* The deadline is over: those that were consumed are errors. */
static void
halt_deleted(KsConsumer *c)
{
	MemoryContext old = MemoryContextSwitchTo(c->cxt);
	ListCell   *lc;

	c->deleted_topics = palloc(list_length(c->missing) * sizeof(KsStateError));
	foreach(lc, c->missing)
	{
		const KsMissingTopic *m = lfirst(lc);

		if (m->wanted > 0)
			describe_deleted(c, m, &c->deleted_topics[c->ndeleted_topics++]);
	}
	MemoryContextSwitchTo(old);
	ks_consumer_set_error(c, &c->deleted_topics[0], true);
}

/*
 * The brokers are asked for them: an event tells of a topic that is back, but
 * only a while after.  Without an answer none of them is gone.
 */
void
ks_consumer_check_missing_topics(KsConsumer *c)
{
	bool		known = true;
	TimestampTz asked;
	TimestampTz now = GetCurrentTimestamp();
	ListCell   *lc;

	foreach(lc, c->missing)
	{
		KsMissingTopic *m = lfirst(lc);
		int			count;

		asked = now;
		/* allowed, or known not to be there: begins anew, with all of them */
		if (m->denial.message)
			c->stale |= ks_source_try_partition_count(c->source, m->topic, CHECK_TIMEOUT_MS, &count);
		if (m->leaderless)
		{
			c->stale |= ask_for_leaders(c, m->topic) && ks_source_has_leader(c->source, m->topic, m->part);
			c->leader_checks++;
		}
		if (m->wanted > 0)
		{
			known = ks_source_try_partition_count(c->source, m->topic, CHECK_TIMEOUT_MS, &count);
			if (!known)
				break;
			m->count = count;
			if (count >= m->wanted)
				c->stale = true;	/* begins anew, with all of them */
		}
		now = GetCurrentTimestamp();
		/* who was silent for so long answers for no other one */
		known = !TimestampDifferenceExceeds(asked, now, CHECK_TIMEOUT_MS - 1);
		if (!known)
			break;
	}
	now = GetCurrentTimestamp();
	c->missing_check_at = c->stale ? 0 : next_check(c, now);
	/* a clock that was set back has not ended it (not reached by tests: one that was) */
	if (c->missing_until != 0)
		c->missing_until = Min(c->missing_until, TimestampTzPlusMilliseconds(now, DELETED_TOPIC_MS));
	if (known && !c->stale && c->missing_until != 0 && ks_consumer_time_reached(c->missing_until, now))
		halt_deleted(c);
}
