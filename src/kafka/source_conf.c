/*
 * source_conf.c
 *	  The configuration of a librdkafka handle.
 *
 * Three layers, each overriding the one before: our defaults, the properties
 * of the server and the user mapping (which the options module has let pass),
 * and what the guarantee rests on.  Sizes are then made consistent, since
 * librdkafka refuses a handle whose limits contradict each other.
 *
 * What depends on librdkafka's version is decided when the handle is made, by
 * the library that is loaded: a property that it does not know is left out.
 *
 * Neither values nor librdkafka's words about them reach an error message:
 * they repeat what they complain about.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "kafka/source_int.h"

typedef struct KsSetting
{
	const char *name;
	const char *value;
} KsSetting;

/* Properties of the connection override these. */
static const KsSetting defaults[] = {
	{"socket.keepalive.enable", "true"},
	{"reconnect.backoff.max.ms", "3000"},
	/* bounds the prefetch of small records, half a kilobyte of overhead each */
	{"queued.min.messages", "150000"},
	/* a fetcher that found the queue full looks again soon (2.2; see also
	 * wake_fetchers()) */
	{"fetch.queue.backoff.ms", "10"},
};

/* Nothing overrides these. */
static const KsSetting fixed[] = {
	{"auto.offset.reset", "error"},
	{"check.crcs", "true"},
	{"enable.partition.eof", "true"},
	{"allow.auto.create.topics", "false"},
	{"enable.auto.commit", "false"},
	{"enable.auto.offset.store", "false"},
	{"enable.metrics.push", "false"},	/* 2.5 */
	{"log.queue", "true"},
};

#define DEFAULT_FETCH_MAX		52428800	/* librdkafka's fetch.max.bytes */
#define DEFAULT_RECEIVE_MAX		100000000	/* receive.message.max.bytes */
#define MIN_FETCH_MAX			1000	/* and of message.max.bytes, which is not above it */
#define PROTOCOL_SLACK			(1024 * 1024)	/* headers around a record */

/*
 * Sets a property of ours; one that this librdkafka does not know is skipped.
 * (not reached by tests: a value that it refuses)
 */
void
ks_source_conf_own(rd_kafka_conf_t *rkconf, const char *name, const char *value)
{
	char		errstr[256];

	if (rd_kafka_conf_set(rkconf, name, value, errstr, sizeof(errstr)) == RD_KAFKA_CONF_INVALID)
	{
		rd_kafka_conf_destroy(rkconf);
		elog(ERROR, "librdkafka %s refuses %s=%s", rd_kafka_version_str(), name, value);
	}
}

void
ks_source_conf_own_int(rd_kafka_conf_t *rkconf, const char *name, int64 value)
{
	char		buf[32];

	snprintf(buf, sizeof(buf), INT64_FORMAT, value);
	ks_source_conf_own(rkconf, name, buf);
}

/* not reached by tests: a number that has no value */
int64
ks_source_conf_int(const rd_kafka_conf_t *rkconf, const char *name)
{
	char		buf[32];
	size_t		size = sizeof(buf);

	if (rd_kafka_conf_get(rkconf, name, buf, &size) != RD_KAFKA_CONF_OK)
		return 0;
	return strtoll(buf, NULL, 10);
}

static void
set_defaults(rd_kafka_conf_t *rkconf, const KsSourceOptions *opts)
{
	int			prefetch_kb = opts->prefetch_kb > 0 ? opts->prefetch_kb :
		opts->in_worker ? 32768 : 16384;

	for (int i = 0; i < (int) lengthof(defaults); i++)
		ks_source_conf_own(rkconf, defaults[i].name, defaults[i].value);

	ks_source_conf_own_int(rkconf, "queued.max.messages.kbytes", prefetch_kb);
	/* one answer, which may be packed, is not larger than a part of the queue */
	ks_source_conf_own_int(rkconf, "fetch.max.bytes", Min(DEFAULT_FETCH_MAX, (int64) prefetch_kb * 1024 / 4));
	if (opts->in_worker)
		ks_source_conf_own_int(rkconf, "topic.metadata.refresh.interval.ms", 30000);
	else
		/* the end of a partition is told by the first fetch without records */
		ks_source_conf_own_int(rkconf, "fetch.wait.max.ms", 50);
}

/* not reached by tests: ks_options_load() has refused all of it before */
void
ks_source_conf_connection(rd_kafka_conf_t *rkconf, const KsConf *conf, KsSide side)
{
	bool		brokers = false;

	for (int i = 0; i < conf->nprops; i++)
	{
		const KsProperty *prop = &conf->props[i];
		char		errstr[256];
		rd_kafka_conf_res_t res;

		if (prop->registry || (prop->side != KS_OF_BOTH && prop->side != side))
			continue;
		res = rd_kafka_conf_set(rkconf, prop->name, prop->value, errstr, sizeof(errstr));
		if (res != RD_KAFKA_CONF_OK)
		{
			rd_kafka_conf_destroy(rkconf);
			if (res == RD_KAFKA_CONF_UNKNOWN)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
						 errmsg("librdkafka %s does not know the property \"%s\"",
								rd_kafka_version_str(), prop->name)));
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
					 errmsg("librdkafka refuses the value of property \"%s\"", prop->name)));
		}
		if (strcmp(prop->name, "bootstrap.servers") == 0 ||
			strcmp(prop->name, "metadata.broker.list") == 0)
			brokers = true;
	}
	if (!brokers)
	{
		rd_kafka_conf_destroy(rkconf);
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("no Kafka broker is known"),
				 errhint("Set the option bootstrap_servers of the server.")));
	}
}

static void
set_at_most(rd_kafka_conf_t *rkconf, const char *name, int64 value)
{
	ks_source_conf_own_int(rkconf, name, Min(ks_source_conf_int(rkconf, name), value));
}

/*
 * No more is asked for than this, and only when all that came before is taken: the
 * queue's limits do not know headers, nor a batch of which one record is left.  A
 * broker gives one whole batch of records all the same, however large, and
 * librdkafka doubles what it asks of a partition where it finds nothing to give;
 * so the limit of the whole answer is the one that counts.
 */
static void
bound_answers(rd_kafka_conf_t *rkconf, int64 bytes)
{
	set_at_most(rkconf, "queued.min.messages", 1);
	set_at_most(rkconf, "fetch.message.max.bytes", bytes);
	set_at_most(rkconf, "fetch.max.bytes", Max(bytes, MIN_FETCH_MAX));
	set_at_most(rkconf, "message.max.bytes", Max(bytes, MIN_FETCH_MAX));
	set_at_most(rkconf, "fetch.min.bytes", 1);
}

/*
 * One who only watches whether there are records: a few of them, of one
 * partition at a time, whatever the connection says of consumers.
 */
static void
set_watch(rd_kafka_conf_t *rkconf)
{
	ks_source_conf_own_int(rkconf, "queued.max.messages.kbytes", 64);
	bound_answers(rkconf, 1);
}

/* What source_watch.c reads, and what the connection wants to see beside. */
static void
set_debug(rd_kafka_conf_t *rkconf, const KsConf *conf, bool tell_unpacking)
{
	char		contexts[512] = KS_WATCH_DEBUG;

	if (tell_unpacking)
		strlcat(contexts, KS_UNPACKING_DEBUG, sizeof(contexts));
	for (int i = 0; i < conf->nprops; i++)
	{
		if (strcmp(conf->props[i].name, "debug") != 0)
			continue;
		strlcat(contexts, ",", sizeof(contexts));
		strlcat(contexts, conf->props[i].value, sizeof(contexts));
	}
	ks_source_conf_own(rkconf, "debug", contexts);
}

/*
 * A broker gives at least one whole batch of records, however large, so a
 * record is never too large to be fetched, only to be received.
 */
static void
fit_sizes(rd_kafka_conf_t *rkconf, const KsSourceOptions *opts)
{
	int64		fetch = Max(ks_source_conf_int(rkconf, "fetch.max.bytes"),
							ks_source_conf_int(rkconf, "message.max.bytes"));
	int64		largest = Max(fetch, opts->max_record_bytes) + PROTOCOL_SLACK;

	ks_source_conf_own_int(rkconf, "fetch.max.bytes", Min(fetch, PG_INT32_MAX - 512));
	ks_source_conf_own_int(rkconf, "receive.message.max.bytes",
				Min(Max(largest, DEFAULT_RECEIVE_MAX), PG_INT32_MAX));
	/* the default above may be below what the connection asks for */
	ks_source_conf_own_int(rkconf, "reconnect.backoff.max.ms",
				Max(ks_source_conf_int(rkconf, "reconnect.backoff.max.ms"),
					ks_source_conf_int(rkconf, "reconnect.backoff.ms")));
}

/*
 * The configuration for a handle; the caller destroys it unless
 * rd_kafka_new() took it.
 */
rd_kafka_conf_t *
ks_source_conf(const KsConf *conf, const KsSourceOptions *opts)
{
	rd_kafka_conf_t *rkconf = rd_kafka_conf_new();

	set_defaults(rkconf, opts);
	ks_source_conf_connection(rkconf, conf, KS_OF_CONSUMERS);
	if (opts->watch)
		set_watch(rkconf);
	else if (opts->answer_bytes > 0)
	{
		bound_answers(rkconf, opts->answer_bytes);
		/* who only looks has no time to lose; others stop at the tail before they
		 * go on */
		if (!opts->tell_unpacking)
			ks_source_conf_own(rkconf, "fetch.queue.backoff.ms", "1");
	}

	for (int i = 0; i < (int) lengthof(fixed); i++)
		ks_source_conf_own(rkconf, fixed[i].name, fixed[i].value);
	ks_source_conf_own(rkconf, "client.id", opts->client_id ? opts->client_id : "kafka_sink");
	ks_source_conf_own(rkconf, "isolation.level",
			opts->read_uncommitted ? "read_uncommitted" : "read_committed");
	ks_source_conf_own_int(rkconf, "statistics.interval.ms", opts->statistics_ms);
	set_debug(rkconf, conf, opts->tell_unpacking);
	fit_sizes(rkconf, opts);
	ks_source_verify_conf(rkconf);
	rd_kafka_conf_set_events(rkconf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG |
							 RD_KAFKA_EVENT_STATS);
	return rkconf;
}

int
ks_source_check_property(const char *name, const char *value)
{
	rd_kafka_conf_t *rkconf = rd_kafka_conf_new();
	char		errstr[256];
	rd_kafka_conf_res_t res = rd_kafka_conf_set(rkconf, name, value, errstr, sizeof(errstr));

	rd_kafka_conf_destroy(rkconf);
	explicit_bzero(errstr, sizeof(errstr));
	switch (res)
	{
		case RD_KAFKA_CONF_OK:
			return 0;
		case RD_KAFKA_CONF_UNKNOWN:
			return 1;
		default:
			return 2;
	}
}
