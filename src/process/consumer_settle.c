/*
 * consumer_settle.c
 *	  Where partitions begin that the sink has not seen before.
 *
 * That is settled in committed rows before a record is read: by the topic's start_at,
 * or at the beginning for a partition that was added to a topic already under way.
 *
 * Whether a topic is under way is a question of all its partitions, so whichever of
 * a sink's workers comes first settles all that have no row, in one transaction, and
 * the others find either none of these rows or all of them.  That, when a topic or
 * a partition is new, is the only place where workers can wait for each other.
 *
 * Only the leader of a partition knows where it begins.  Without one it is left to
 * later by a worker, with all of its topic that would not begin at the beginning: if
 * those had rows, the topic would be under way, and what is left begin elsewhere than
 * start_at says.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "catalog/offsets.h"
#include "process/consumer_int.h"

/*
 * start_at as a timestamp for ks_source_query_offsets(), or, for a JSON object,
 * the offset it gives for the partition (-1: it gives none).
 */
int64
ks_start_timestamp(const char *start_at, const char *topic, int32 part, int64 *explicit_off)
{
	*explicit_off = -1;
	if (strcmp(start_at, "earliest") == 0 || strcmp(start_at, "beginning") == 0)
		return KS_OFFSET_EARLIEST;
	if (strcmp(start_at, "latest") == 0 || strcmp(start_at, "end") == 0)
		return KS_OFFSET_LATEST;
	if (*start_at == '{')
	{
		/* once for each partition: nothing of it stays */
		MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink start_at",
												  ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(cxt);
		Jsonb	   *jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(start_at)));
		char		name[12];
		JsonbValue	buf;
		JsonbValue *v;

		CHECK_FOR_INTERRUPTS();
		pg_ltoa(part, name);
		v = getKeyJsonValueFromContainer(&jb->root, name, strlen(name), &buf);
		if (v && v->type == jbvNumeric)
			*explicit_off = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(v->val.numeric)));
		MemoryContextSwitchTo(old);
		MemoryContextDelete(cxt);
		return KS_OFFSET_EARLIEST;
	}
	{
		TimestampTz ts = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(start_at),
																 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));

		if (TIMESTAMP_NOT_FINITE(ts))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("a topic cannot be read from an infinite timestamp"),
					 errhint("Valid values: earliest, latest, a timestamp, or offsets by partition.")));
		/* offsets-for-times: the first record at or after it */
		return Max(0, ks_timestamp_to_ms(ts));
	}
}

/* Has any partition of the topic a row? */
static bool
topic_has_rows(KsConsumer *c, const char *topic)
{
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].topic == topic && c->parts[i].off >= 0)
			return true;
	return false;
}

/* Partitions without a row, and what is asked about where they begin. */
typedef struct Unsettled
{
	KsConsumer *c;
	KsPartition **parts;
	KsOffsetQuery *queries;		/* ts 0 where the topic's start_at has the offset: nothing is asked */
	bool	   *asked;
	int			n;
} Unsettled;

/*
 * Finds them.  A partition that was added to a topic already under way begins at its
 * beginning: nothing in it has been seen.
 */
static void
find_unsettled(KsConsumer *c, Unsettled *u)
{
	ListCell   *lc;

	u->c = c;
	u->parts = palloc0(Max(c->nparts, 1) * sizeof(KsPartition *));
	u->queries = palloc0(Max(c->nparts, 1) * sizeof(KsOffsetQuery));
	u->asked = palloc0(Max(c->nparts, 1) * sizeof(bool));
	u->n = 0;
	c->begin();
	foreach(lc, c->topics)
	{
		KsTopic    *t = lfirst(lc);
		bool		under_way = topic_has_rows(c, t->topic);

		for (int i = 0; i < c->nparts; i++)
		{
			KsPartition *p = &c->parts[i];
			int64		off;
			int64		ts;

			if (p->topic != t->topic || p->off >= 0)
				continue;
			ts = ks_start_timestamp(t->start_at, p->topic, p->part, &off);
			if (off >= 0)
				p->until = off;
			else
			{
				u->asked[u->n] = true;
				u->queries[u->n].topic = p->topic;
				u->queries[u->n].part = p->part;
				u->queries[u->n].ts = under_way ? KS_OFFSET_EARLIEST : ts;
			}
			u->parts[u->n++] = p;
		}
	}
	c->commit();
}

/*
 * Leaves out those that have no leader, and those of the same topic that begin elsewhere
 * than at the beginning, which is where the others would begin once these have rows.
 */
static void
leave_out_leaderless(KsConsumer *c, Unsettled *u)
{
	bool	   *without = ks_consumer_find_leaderless(c, u->parts, u->n);
	bool	   *leave = palloc0(Max(u->n, 1) * sizeof(bool));
	int			out = 0;

	for (int i = 0; i < u->n && without; i++)
		if (u->asked[i] && without[i])
		{
			ks_consumer_leave_leaderless(c, u->parts[i]);
			leave[i] = true;
			for (int j = 0; j < u->n; j++)
				leave[j] |= u->parts[j]->topic == u->parts[i]->topic && u->asked[j] &&
					u->queries[j].ts != KS_OFFSET_EARLIEST;
		}
	for (int i = 0; i < u->n; i++)
	{
		if (leave[i])
			continue;
		u->parts[out] = u->parts[i];
		u->queries[out] = u->queries[i];
		u->asked[out++] = u->asked[i];
	}
	u->n = out;
	pfree(leave);
}

/* Asks Kafka where they begin. */
static void
ask_unsettled(KsConsumer *c, Unsettled *u)
{
	KsOffsetQuery *q = palloc(Max(u->n, 1) * sizeof(KsOffsetQuery));
	int			n = 0;

	for (int i = 0; i < u->n; i++)
		if (u->asked[i])
			q[n++] = u->queries[i];
	if (n > 0)
		ks_source_query_offsets(c->source, q, n, c->timeout_ms);
	for (int i = 0, j = 0; i < u->n; i++)
		if (u->asked[i])
			u->parts[i]->until = q[j++].off;
	pfree(q);
}

/* Rows that a topic has lost by being unregistered must not come back. */
static void
put_rows(void *arg)
{
	const Unsettled *u = arg;
	KsConsumer *c = u->c;

	if (!ks_catalog_is_current(c->sink))
	{
		c->stale = true;
		return;
	}
	for (int i = 0; i < u->n; i++)
	{
		u->parts[i]->off = u->parts[i]->until;
		ks_offsets_put(c->sink->name, u->parts[i], false);
	}
}

void
ks_consumer_settle_offsets(KsConsumer *c)
{
	/* a worker with rivals comes here again and again */
	MemoryContext scratch = AllocSetContextCreate(c->cxt, "kafka_sink unsettled", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	Unsettled	u;

	find_unsettled(c, &u);
	/* it has ended a transaction */
	MemoryContextSwitchTo(scratch);
	if (u.n > 0)
	{
		if (c->in_worker)
			leave_out_leaderless(c, &u);
		ask_unsettled(c, &u);
		ks_consumer_transact(c, put_rows, &u);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}
