/*
 * consumer_open.c
 *	  Connecting: which partitions there are, and which of them are ours.
 *
 * A partition is read only when a committed row says from where: rows of new ones
 * are settled first (consumer_settle.c).  A sink's workers each consume the
 * partitions p with p mod workers = their number.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/memory.h"
#include "catalog/offsets.h"
#include "process/consumer_int.h"

#define STATISTICS_MS		1000
#define CLUSTER_ID_MS		5000

static void
append_partition(KsConsumer *c, const char *topic, int32 part)
{
	if (c->parts == NULL)
		c->parts = MemoryContextAllocZero(c->cxt, 64 * sizeof(KsPartition));
	else if (c->nparts >= 64 && (c->nparts & (c->nparts - 1)) == 0)
		c->parts = repalloc_huge(c->parts, (Size) c->nparts * 2 * sizeof(KsPartition));
	memset(&c->parts[c->nparts], 0, sizeof(KsPartition));
	c->parts[c->nparts].topic = topic;
	c->parts[c->nparts].part = part;
	c->parts[c->nparts].off = -1;
	c->parts[c->nparts].last_off = -1;
	c->nparts++;
}

/*
 * Another cluster under the same name is not gone on with, nor is one that
 * does not say which it is: what it knows of topics tells nothing then.
 */
static void
check_cluster(KsConsumer *c)
{
	const char *id = ks_source_cluster_id(c->source, Min(c->timeout_ms, CLUSTER_ID_MS));
	ListCell   *lc;

	foreach(lc, c->topics)
	{
		KsTopic    *t = lfirst(lc);

		if (t->cluster_id == NULL)
			continue;
		if (id == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("could not find out to which Kafka cluster server \"%s\" leads", c->sink->server),
					 errdetail("Cluster \"%s\" was consumed before; the brokers do not tell whether they are of it.",
							   t->cluster_id)));
		if (strcmp(t->cluster_id, id) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("server \"%s\" leads to another Kafka cluster than before", c->sink->server),
					 errdetail("Cluster \"%s\" was consumed before, \"%s\" answers now; offsets do not carry over.",
							   t->cluster_id, id),
					 errhint("Mend the connection, or say where to go on in the new cluster with kafka_sink.seek(%s, ...).",
							 quote_literal_cstr(c->sink->name))));
	}
}

/* A topic, and what is stored or to be stored of it. */
typedef struct StoredTopic
{
	const KsSink *sink;
	const char *topic;
	const char *cluster_id;
	int			partitions;
} StoredTopic;

static void
store_cluster(void *arg)
{
	const StoredTopic *t = arg;
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, INT8OID};
	Datum		args[] = {CStringGetTextDatum(t->sink->name), CStringGetTextDatum(t->topic),
	CStringGetTextDatum(t->cluster_id), Int64GetDatum(t->sink->generation)};
	KsCatalogUser save;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("UPDATE kafka_sink.topic_catalog t SET cluster_id = $3 "
						  "WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.=) $2 "
						  "AND EXISTS (SELECT FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1 "
						  "AND c.generation OPERATOR(pg_catalog.=) $4)",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}

/* Topics that have been found for the first time are of this cluster from now on. */
static void
remember_cluster(KsConsumer *c)
{
	const char *id = ks_source_cluster_id(c->source, Min(c->timeout_ms, CLUSTER_ID_MS));
	ListCell   *lc;

	if (id == NULL || c->worker > 0)
		return;					/* worker 0 takes it down, for all of them */
	/* what it is in does not last */
	id = MemoryContextStrdup(c->cxt, id);
	foreach(lc, c->topics)
	{
		KsTopic    *t = lfirst(lc);
		StoredTopic stored = {.sink = c->sink, .topic = t->topic, .cluster_id = id};

		if (t->cluster_id != NULL)
			continue;
		ks_consumer_transact(c, store_cluster, &stored);
		t->cluster_id = unconstify(char *, id);
	}
}

/* How many partitions must the topic have, by its rows in txn_offsets? */
static void
count_consumed(void *arg)
{
	StoredTopic *t = arg;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[] = {CStringGetTextDatum(t->sink->name), CStringGetTextDatum(t->topic)};
	KsCatalogUser save;
	bool		isnull;
	Datum		last;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT pg_catalog.max(o.part) FROM kafka_sink.txn_offsets o "
						  "WHERE o.sink OPERATOR(pg_catalog.=) $1 AND o.topic OPERATOR(pg_catalog.=) $2",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	last = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	t->partitions = isnull ? 0 : DatumGetInt32(last) + 1;
	SPI_finish();
}

static int
consumed_partitions(KsConsumer *c, const char *topic)
{
	StoredTopic stored = {.sink = c->sink, .topic = topic};

	ks_consumer_transact(c, count_consumed, &stored);
	return stored.partitions;
}

static void
find_partitions(KsConsumer *c)
{
	bool		checked = false;
	ListCell   *lc;

	foreach(lc, c->topics)
	{
		KsTopic    *t = lfirst(lc);
		KsDenial	denial = {0};
		int			n = c->in_worker ?
			ks_source_partition_count_or_denial(c->source, t->topic, c->timeout_ms, &denial) :
			ks_source_partition_count(c->source, t->topic, c->timeout_ms);
		int			wanted;

		/* a broker has answered: before its answer counts */
		if (!checked)
			check_cluster(c);
		checked = true;
		if (denial.message)
		{
			ks_consumer_add_denied_topic(c, t->topic, &denial);
			c->topics = foreach_delete_current(c->topics, lc);
			continue;
		}
		wanted = consumed_partitions(c, t->topic);
		if (n < Max(wanted, 1))
			n = ks_consumer_add_missing_topic(c, t->topic, n, wanted);
		if (n < Max(wanted, 1))
		{
			c->topics = foreach_delete_current(c->topics, lc);
			continue;
		}
		for (int i = 0; i < n; i++)
			if (ks_topic_has_partition(t, i))
				append_partition(c, t->topic, i);
	}
	ks_consumer_begin_missing_topics(c);
}

static void
read_rows(void *arg)
{
	KsConsumer *c = arg;

	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		if (!ks_offsets_read(c->sink->name, p))
			p->off = -1;
		p->until = p->off;
	}
}

static void
read_offsets(KsConsumer *c)
{
	ks_consumer_transact(c, read_rows, c);
}

/* Those that have no row still are not consumed. */
static void
drop_unsettled(KsConsumer *c)
{
	int			n = 0;

	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].off >= 0)
			c->parts[n++] = c->parts[i];
	c->nparts = n;
}

/* Are others' workers reading partitions of the same topic?  Those of one stand together. */
static void
mark_siblings(KsConsumer *c)
{
	for (int i = 0, j; i < c->nparts && c->workers > 1; i = j)
	{
		bool		others = false;

		for (j = i; j < c->nparts && c->parts[j].topic == c->parts[i].topic; j++)
			others |= c->parts[j].part % c->workers != c->worker;
		for (int k = i; k < j; k++)
			c->parts[k].has_siblings |= others;
	}
}

/* From here on this worker knows of no partitions but its own. */
static void
keep_own(KsConsumer *c)
{
	ListCell   *lc;
	int			n = 0;

	foreach(lc, c->topics)
	{
		const KsTopic *t = lfirst(lc);

		for (int i = 0; i < c->nparts; i++)
			c->parts[i].has_siblings |= t->partitions != NULL && c->parts[i].topic == t->topic;
	}
	mark_siblings(c);
	for (int i = 0; i < c->nparts; i++)
		if (c->workers == 0 || c->parts[i].part % c->workers == c->worker)
			c->parts[n++] = c->parts[i];
	c->nparts = n;
}

void
ks_consumer_start_partition(KsConsumer *c, int i)
{
	KsPartitionState *st = &c->states[i];

	st->restart_at = 0;
	st->tail = c->parts[i].last_off >= 0 ? KS_TAIL_PENDING : KS_TAIL_NONE;
	ks_source_start(c->source, i, &c->parts[i], true);
}

/* The interval of librdkafka's statistics: the sink's, or one for so many partitions. */
static int
statistics_ms(const KsConsumer *c, int nparts)
{
	if (!c->in_worker)
		return 0;
	if (c->sink->statistics_us > 0)
		return (int) Max(100, c->sink->statistics_us / 1000);
	return ks_source_statistics_ms(STATISTICS_MS, nparts / Max(c->workers, 1));
}

/* A topic that is new can have many more partitions than were counted. */
static void
check_statistics(KsConsumer *c)
{
	if (c->in_worker && statistics_ms(c, c->nparts) > 2 * c->statistics_ms)
		c->stale = true;		/* begins anew, with the rows that are there now */
}

/* What has to be known before anything is fetched. */
typedef struct Opening
{
	KsConsumer *c;
	bool		want_headers;	/* which is known from the target */
} Opening;

static void
prepare_opening(void *arg)
{
	Opening    *opening = arg;
	KsConsumer *c = opening->c;

	c->statistics_ms = statistics_ms(c, ks_offsets_count(c->sink->name));
	ks_consumer_try_prepare(c);
	opening->want_headers = ks_consumer_wants_headers(c);
}

void
ks_consumer_open(KsConsumer *c)
{
	Opening		opening = {.c = c};
	KsSourceOptions opts = {
		.client_id = psprintf("kafka_sink/%s", c->sink->name),
		.read_uncommitted = c->sink->read_uncommitted,
		.in_worker = c->in_worker,
		.max_record_bytes = c->sink->max_record_bytes,
		.answer_bytes = ks_memory_answer_bytes(c->memory_level),
		.tell_unpacking = c->memory_level > 0
	};
	MemoryContext old;

	ks_consumer_transact(c, prepare_opening, &opening);
	opts.statistics_ms = c->statistics_ms;
	opts.want_headers = opening.want_headers;
	c->source = ks_source_open(c->conf, &opts, c->source_cxt);
	find_partitions(c);
	remember_cluster(c);
	read_offsets(c);
	ks_consumer_settle_offsets(c);
	read_offsets(c);			/* another may have been faster */
	check_statistics(c);
	drop_unsettled(c);
	if (c->stale)
		c->nparts = 0;
	ks_consumer_find_others(c);
	keep_own(c);

	old = MemoryContextSwitchTo(c->cxt);
	c->states = palloc0(Max(c->nparts, 1) * sizeof(KsPartitionState));
	for (int i = 0; i < c->nparts; i++)
		c->states[i].ends = i > 0 && c->parts[i].topic == c->parts[i - 1].topic ? c->states[i - 1].ends : palloc0(sizeof(KsEnds));
	MemoryContextSwitchTo(old);
	ks_consumer_reset_batch(c);
	for (int i = 0; i < c->nparts; i++)
	{
		c->states[i].bound = -1;
		c->states[i].waiting_off = c->states[i].lacking_off = -1;
		if (c->in_worker)
			c->states[i].slot = ks_shmem_add_partition(c->parts[i].topic, c->parts[i].part);
		ks_consumer_start_partition(c, i);
	}
}

static void
check_definition(void *arg)
{
	KsConsumer *c = arg;

	c->stale |= !ks_catalog_is_unchanged(c->sink);
}

void
ks_consumer_rewind(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
		ks_source_stop(c->source, i);
	ks_consumer_reset_batch(c);
	/* those of another definition are for who goes by that */
	ks_consumer_transact(c, check_definition, c);
	if (c->stale)
		return;
	read_offsets(c);
	ks_consumer_settle_offsets(c);
	read_offsets(c);
	for (int i = 0; i < c->nparts; i++)
		c->stale |= c->parts[i].off < 0;
	ks_consumer_reset_batch(c);
	for (int i = 0; i < c->nparts && !c->stale; i++)
	{
		c->states[i].waiting = false;
		c->states[i].waiting_since = c->states[i].behind_at = 0;
		c->states[i].waiting_off = c->states[i].lacking_off = -1;
		ks_consumer_start_partition(c, i);
	}
}
