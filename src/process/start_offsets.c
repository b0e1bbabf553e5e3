/*
 * start_offsets.c
 *	  What Kafka says of the offsets of a sink's partitions.
 *
 * A source of its own is opened for the question and closed after it.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "catalog/offsets.h"
#include "kafka/options.h"
#include "kafka/source.h"
#include "process/consumer.h"
#include "process/start_offsets.h"

#define ASK_TIMEOUT_MS		30000

/* Of the time for all questions. */
static int
remaining_ms(TimestampTz deadline)
{
	return (int) Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline));
}

static void
check_asks(const KsSink *sink, List *topics)
{
	if (sink->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no server to ask for offsets", sink->name),
				 errhint("Give the offsets, such as {\"orders\": {\"0\": 42}}.")));
	if (topics == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no topics", sink->name)));
}

/* Is a partition of the topic under way?  Then a new one begins at its beginning. */
static bool
is_under_way(const char *topic, const KsPartition *stored, int nstored)
{
	for (int i = 0; i < nstored; i++)
		if (strcmp(stored[i].topic, topic) == 0)
			return true;
	return false;
}

/* One partition's question; what start_at gives needs none. */
static void
add_partition(const KsTopic *t, int32 part, const char *to, bool under_way,
			  KsPartition *p, KsOffsetQuery *q, int *nq)
{
	const char *at = to ? to : t->start_at;
	int64		ts = ks_start_timestamp(at, t->topic, part, &p->off);

	p->topic = t->topic;
	p->part = part;
	p->last_off = p->new_last_off = -1;
	if (p->off >= 0)
		return;
	q[*nq].topic = t->topic;
	q[*nq].part = part;
	q[(*nq)++].ts = under_way ? KS_OFFSET_EARLIEST : ts;
}

KsPartition *
ks_start_offsets_query(KsSink *sink, const char *to, const KsPartition *stored, int nstored, int *n)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink question", ALLOCSET_DEFAULT_SIZES);
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ASK_TIMEOUT_MS);
	KsSourceOptions opts = {
		.client_id = psprintf("kafka_sink/%s", sink->name),
		.read_uncommitted = sink->read_uncommitted,
		.max_record_bytes = sink->max_record_bytes
	};
	List	   *topics = ks_catalog_topics(sink->name);
	KsPartition *parts = palloc(sizeof(KsPartition));
	KsSource   *src;
	ListCell   *lc;
	int64		off;

	if (to)
		(void) ks_start_timestamp(to, "", 0, &off);
	check_asks(sink, topics);
	src = ks_source_open(ks_options_load(sink->server, sink->owner), &opts, cxt);
	*n = 0;
	foreach(lc, topics)
	{
		KsTopic    *t = lfirst(lc);
		int			count = ks_source_partition_count(src, t->topic, remaining_ms(deadline));
		bool		under_way = to == NULL && is_under_way(t->topic, stored, nstored);
		KsOffsetQuery *q;
		int			nq = 0;
		int			first = *n;

		if (count < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("topic \"%s\" does not exist on server \"%s\"", t->topic, sink->server)));
		q = palloc0(Max(count, 1) * sizeof(KsOffsetQuery));
		parts = repalloc(parts, (*n + count + 1) * sizeof(KsPartition));
		for (int i = 0; i < count; i++)
			if (ks_topic_has_partition(t, i))
			{
				memset(&parts[*n], 0, sizeof(KsPartition));
				add_partition(t, i, to, under_way, &parts[(*n)++], q, &nq);
			}
		ks_source_query_offsets(src, q, nq, remaining_ms(deadline));
		/* answers are in the order of those that have none yet */
		for (int i = first, j = 0; j < nq; i++)
			if (parts[i].off < 0)
				parts[i].off = q[j++].off;
	}
	MemoryContextDelete(cxt);	/* closes the source */
	ks_offsets_sort(parts, *n);
	return parts;
}

int64
ks_start_offset_of_log(const KsSink *sink, const char *topic, int32 part)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink question", ALLOCSET_DEFAULT_SIZES);
	KsSourceOptions opts = {
		.client_id = psprintf("kafka_sink/%s", sink->name),
		.read_uncommitted = sink->read_uncommitted,
		.max_record_bytes = sink->max_record_bytes
	};
	KsOffsetQuery q = {.topic = topic, .part = part, .ts = KS_OFFSET_EARLIEST};
	KsSource   *src;

	if (sink->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no server to ask for offsets", sink->name)));
	src = ks_source_open(ks_options_load(sink->server, sink->owner), &opts, cxt);
	ks_source_query_offsets(src, &q, 1, ASK_TIMEOUT_MS);
	MemoryContextDelete(cxt);	/* closes the source */
	return q.off;
}
