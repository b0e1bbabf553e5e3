/*
 * source.c
 *	  Handles of librdkafka: opened, and what they know of partitions.
 *
 * A source is a consumer without group: no coordinator, no rebalance, no
 * committed offsets.  All partitions are routed to one queue, everything else
 * (errors, logs, statistics) comes through librdkafka's main queue, and a pipe
 * tells when either has something.  librdkafka's threads run librdkafka's code
 * only (but for on_thread_start() and source_verify.c), with all signals blocked but
 * SIGABRT, for which see base/memory.c.
 *
 * Nothing of librdkafka is called when the library is loaded: it does not
 * survive a fork.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define RDKAFKA_2_2		0x020200ff

#define STATISTICS_PARTITION_MS	10
#define STATISTICS_MAX_MS	600000

/* --- opening --- */

int
ks_source_statistics_ms(int least_ms, int64 nparts)
{
	return (int) Min(least_ms + nparts * STATISTICS_PARTITION_MS, STATISTICS_MAX_MS);
}

/* What decides whether librdkafka's words are shown. */
void
ks_source_keep_secrets(KsSource *src, const KsConf *conf)
{
	src->secrets = palloc0(Max(conf->nprops, 1) * sizeof(char *));
	for (int i = 0; i < conf->nprops; i++)
	{
		if (conf->props[i].value == NULL || conf->props[i].value[0] == '\0')
			continue;
		src->show_debug |= strcmp(conf->props[i].name, "debug") == 0;
		src->scram |= strcmp(conf->props[i].name, "sasl.mechanisms") == 0 &&
			strncmp(conf->props[i].value, "SCRAM", 5) == 0;
		if (conf->props[i].secret)
			src->secrets[src->nsecrets++] = pstrdup(conf->props[i].value);
	}
}

/*
 * How often to wake fetchers that stopped at a full queue, which librdkafka 2.2
 * does by itself: several times while the queue is emptied.  Not where the
 * credentials that a wake-up sets would mean something and are not ours.
 */
static void
plan_wakeups(KsSource *src, const KsConf *conf, const rd_kafka_conf_t *rkconf)
{
	const char *username = NULL;
	const char *password = NULL;
	bool		sasl = false;

	if (rd_kafka_version() >= RDKAFKA_2_2)
		return;
	for (int i = 0; i < conf->nprops; i++)
	{
		const KsProperty *prop = &conf->props[i];

		if (strcmp(prop->name, "security.protocol") == 0)
			sasl = pg_strncasecmp(prop->value, "sasl", 4) == 0;
		else if (strcmp(prop->name, "sasl.username") == 0)
			username = prop->value;
		else if (strcmp(prop->name, "sasl.password") == 0)
			password = prop->value;
	}
	if (sasl && (username == NULL || password == NULL))
		return;
	src->username = pstrdup(username ? username : "");
	src->password = pstrdup(password ? password : "");
	src->wake_every = ks_source_conf_int(rkconf, "queued.min.messages") / 16 + 1;
	src->wake_every_bytes = ks_source_conf_int(rkconf, "queued.max.messages.kbytes") * 1024 / 16 + 1;
}

/* In each thread of librdkafka, when it begins. */
static rd_kafka_resp_err_t
on_thread_start(rd_kafka_t *rk, rd_kafka_thread_type_t type, const char *name, void *opaque)
{
	ks_memory_watch_thread();
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t
on_new(rd_kafka_t *rk, const rd_kafka_conf_t *rkconf, void *opaque, char *errstr, size_t size)
{
	return rd_kafka_interceptor_add_on_thread_start(rk, "kafka_sink", on_thread_start, NULL);
}

/*
 * librdkafka frees the interceptors of properties that it refuses, and would free
 * them again with these.  So it is given a copy, which stays if it is refused: once, since
 * who has been refused is asked for a handle without interceptors first.
 */
static rd_kafka_t *
new_handle(rd_kafka_type_t type, const rd_kafka_conf_t *rkconf, char *errstr, size_t size)
{
	static bool refused = false;
	rd_kafka_conf_t *copy;
	rd_kafka_t *rk;

	if (refused)
	{
		copy = rd_kafka_conf_dup(rkconf);
		rk = rd_kafka_new(type, copy, errstr, size);
		if (rk == NULL)
		{
			rd_kafka_conf_destroy(copy);
			return NULL;
		}
		rd_kafka_destroy_flags(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	}
	copy = rd_kafka_conf_dup(rkconf);
	(void) rd_kafka_conf_interceptor_add_on_new(copy, "kafka_sink", on_new, NULL);
	rk = rd_kafka_new(type, copy, errstr, size);
	refused = rk == NULL;
	return rk;
}

/* A handle with this configuration, which is destroyed; errors if it is refused. */
rd_kafka_t *
ks_source_create_handle(KsSource *src, rd_kafka_type_t type, rd_kafka_conf_t *rkconf)
{
	rd_kafka_t *rk;
	char		errstr[512] = "";
	bool		tls;

	rk = new_handle(type, rkconf, errstr, sizeof(errstr));
	rd_kafka_conf_destroy(rkconf);
	if (rk != NULL)
		return rk;
	ks_source_clean(src, errstr, src->detail, sizeof(src->detail));
	ks_source_tidy(src->detail);
	tls = strstr(errstr, "ssl.") != NULL;
	explicit_bzero(errstr, sizeof(errstr));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
			 errmsg("librdkafka refuses the connection's properties"),
			 src->detail[0] ? errdetail_internal("%s", src->detail) : 0,
			 tls ? errhint("Check ssl_ca_pem of the server, and ssl_certificate_pem, ssl_key_pem and ssl_key_password of the user mapping.") :
			 errhint("Check the options of the server and of the user mapping.")));
}

static void
create_consumer(KsSource *src, const KsConf *conf, const KsSourceOptions *opts)
{
	rd_kafka_conf_t *rkconf = ks_source_conf(conf, opts);

	plan_wakeups(src, conf, rkconf);
	rd_kafka_conf_set_error_cb(rkconf, ks_source_error_cb);
	rd_kafka_conf_set_opaque(rkconf, src);
	src->rk = ks_source_create_handle(src, RD_KAFKA_CONSUMER, rkconf);
	src->mainq = rd_kafka_queue_get_main(src->rk);
	src->queue = rd_kafka_queue_new(src->rk);
	rd_kafka_set_log_queue(src->rk, NULL);
	rd_kafka_queue_io_event_enable(src->mainq, src->pipe[1], "", 1);
	rd_kafka_queue_io_event_enable(src->queue, src->pipe[1], "", 1);
}

KsSource *
ks_source_open(const KsConf *conf, const KsSourceOptions *opts, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsSource   *src = palloc0(sizeof(KsSource));

	src->cxt = cxt;
	src->in_worker = opts->in_worker;
	src->want_headers = opts->want_headers;
	src->bounded = opts->answer_bytes > 0;
	src->pipe[0] = src->pipe[1] = -1;
	src->avg_bytes = 16384;		/* a guess until records are seen */
	dlist_init(&src->topics);
	ks_source_close_later(src);
	ks_memory_guard_begin(src->in_worker);
	ks_source_keep_secrets(src, conf);
	ks_source_open_pipe(src);
	create_consumer(src, conf, opts);
	MemoryContextSwitchTo(old);
	return src;
}

void
ks_source_wake(KsSource *src)
{
	ks_memory_wake_by(src->pipe[1]);
}

void
ks_source_want_no_headers(KsSource *src)
{
	src->want_headers = false;
}

/* --- what is known of a partition --- */

TimestampTz
ks_source_watermarks(KsSource *src, int pidx, int64 *low, int64 *high, int64 *lso)
{
	KsSourcePart *part = pidx < src->nparts ? src->parts[pidx] : NULL;
	int64		read;

	*low = *high = *lso = -1;
	if (part == NULL)
		return 0;
	if (ks_memory_refused())
		return part->known_at;
	if (!src->in_worker || part->high < 0)
	{
		/* what the last answer to a fetch said: no statistics (yet) */
		int64		lo,
					hi;

		if (rd_kafka_get_watermark_offsets(src->rk, part->topic->name, part->part,
										   &lo, &hi) == RD_KAFKA_RESP_ERR_NO_ERROR && hi >= 0)
		{
			part->low = lo;
			part->high = hi;
		}
	}
	/* what was read is stable, whatever is known of the rest */
	read = part->state == KS_PART_FETCHING ? part->expected : -1;
	*low = part->low < 0 ? -1 : part->low;
	if (part->lso >= 0)
		*lso = Max(part->lso, read);
	if (part->high >= 0)
		*high = Max(Max(part->high, part->asked_high), Max(*lso, read));
	return part->known_at;
}

int64
ks_source_high(KsSource *src, int pidx)
{
	int64		low,
				high,
				lso,
				kept;

	if (pidx >= src->nparts || src->parts[pidx] == NULL)
		return -1;
	(void) ks_source_watermarks(src, pidx, &low, &high, &lso);
	if (!ks_memory_refused() &&
		rd_kafka_get_watermark_offsets(src->rk, src->parts[pidx]->topic->name, src->parts[pidx]->part,
									   &low, &kept) == RD_KAFKA_RESP_ERR_NO_ERROR)
		high = Max(high, kept);
	return high < 0 ? -1 : high;
}

int64
ks_source_redelivered(KsSource *src, int pidx)
{
	return pidx < src->nparts && src->parts[pidx] ? src->parts[pidx]->redelivered : 0;
}
