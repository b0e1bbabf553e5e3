/*
 * source.c
 *	  Handles of librdkafka: opened, closed, and what they know of partitions.
 *
 * A source is a consumer without group: no coordinator, no rebalance, no
 * committed offsets.  All partitions are routed to one queue, everything else
 * (errors, logs, statistics) comes through librdkafka's main queue, and a pipe
 * tells when either has something.  librdkafka's threads run librdkafka's code
 * only, with all signals blocked.
 *
 * In a client's session the handle is destroyed with the memory context it was
 * opened in, or at the latest when the process exits: not before the messages
 * that are still out are given back, or librdkafka would wait for them.  A
 * worker never destroys its handle, which can hang; it leaves by _exit().
 *
 * Nothing of librdkafka is called when the library is loaded: it does not
 * survive a fork.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define RDKAFKA_2_2		0x020200ff

static dlist_head open_sources = DLIST_STATIC_INIT(open_sources);
static bool exit_registered = false;

/* --- closing --- */

static void
close_pipe(KsSource *src)
{
	for (int i = 0; i < 2; i++)
		if (src->pipe[i] >= 0)
			close(src->pipe[i]);
	src->pipe[0] = src->pipe[1] = -1;
	for (; src->nfds > 0; src->nfds--)
		ReleaseExternalFD();
}

static void
stop_all(KsSource *src)
{
	for (int i = 0; i < src->nparts; i++)
		if (src->parts[i] && src->parts[i]->started)
			(void) rd_kafka_consume_stop(src->parts[i]->topic->rkt, src->parts[i]->part);
}

static void
destroy_handle(KsSource *src)
{
	dlist_iter	iter;

	dlist_foreach(iter, &src->topics)
		rd_kafka_topic_destroy(dlist_container(KsSourceTopic, node, iter.cur)->rkt);
	rd_kafka_queue_destroy(src->queue);
	rd_kafka_queue_destroy(src->mainq);
	rd_kafka_destroy_flags(src->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/*
 * Closes the source; what it gave out is invalid afterwards.  In a worker the
 * handle stays, without partitions, until the process ends.
 */
void
ks_source_close(KsSource *src)
{
	if (src->closed)
		return;
	src->closed = true;
	dlist_delete(&src->node);
	if (src->rk)
	{
		stop_all(src);
		ks_source_release_all(src);
		rd_kafka_queue_io_event_enable(src->queue, -1, NULL, 0);
		rd_kafka_queue_io_event_enable(src->mainq, -1, NULL, 0);
		if (!src->in_worker)
			destroy_handle(src);
		src->rk = NULL;
	}
	close_pipe(src);
}

static void
close_on_reset(void *arg)
{
	KsSource   *src = arg;

	if (!src->in_worker || !proc_exit_inprogress)
		ks_source_close(src);
}

/* A session may end without its memory contexts being reset. */
static void
close_on_exit(int code, Datum arg)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &open_sources)
		close_on_reset(dlist_container(KsSource, node, iter.cur));
}

/* --- opening --- */

/* not reached by tests: a system that has no pipe, or no room for its ends */
static void
open_pipe(KsSource *src)
{
	for (int i = 0; i < 2; i++)
	{
		if (!AcquireExternalFD())
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open a pipe for librdkafka: %m")));
		src->nfds++;
	}
	if (pipe(src->pipe) < 0)
	{
		src->pipe[0] = src->pipe[1] = -1;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open a pipe for librdkafka: %m")));
	}
	for (int i = 0; i < 2; i++)
		if (fcntl(src->pipe[i], F_SETFL, O_NONBLOCK) < 0 ||
			fcntl(src->pipe[i], F_SETFD, FD_CLOEXEC) < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not set up a pipe for librdkafka: %m")));
}

/* What decides whether librdkafka's words are shown. */
static void
keep_secrets(KsSource *src, const KsConf *conf)
{
	src->secrets = palloc0(Max(conf->nprops, 1) * sizeof(char *));
	for (int i = 0; i < conf->nprops; i++)
	{
		if (conf->props[i].value == NULL || conf->props[i].value[0] == '\0')
			continue;
		src->show_debug |= strcmp(conf->props[i].name, "debug") == 0;
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

static void
create_handle(KsSource *src, const KsConf *conf, const KsSourceOptions *opts)
{
	rd_kafka_conf_t *rkconf = ks_source_conf(conf, opts);
	char		errstr[512] = "";

	plan_wakeups(src, conf, rkconf);
	rd_kafka_conf_set_error_cb(rkconf, ks_source_error_cb);
	rd_kafka_conf_set_opaque(rkconf, src);
	src->rk = rd_kafka_new(RD_KAFKA_CONSUMER, rkconf, errstr, sizeof(errstr));
	if (src->rk == NULL)
	{
		rd_kafka_conf_destroy(rkconf);
		ks_source_clean(src, errstr, src->detail, sizeof(src->detail));
		explicit_bzero(errstr, sizeof(errstr));
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("librdkafka refuses the connection's properties"),
				 src->detail[0] ? errdetail_internal("%s", src->detail) : 0,
				 errhint("Check the options of the server and of the user mapping.")));
	}
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
	src->pipe[0] = src->pipe[1] = -1;
	src->avg_bytes = 16384;		/* a guess until records are seen */
	dlist_init(&src->topics);
	dlist_push_tail(&open_sources, &src->node);
	src->on_reset.func = close_on_reset;
	src->on_reset.arg = src;
	MemoryContextRegisterResetCallback(cxt, &src->on_reset);
	if (!exit_registered)
	{
		before_shmem_exit(close_on_exit, (Datum) 0);
		exit_registered = true;
	}

	if (!src->in_worker)
		ks_memory_begin_session();
	keep_secrets(src, conf);
	open_pipe(src);
	create_handle(src, conf, opts);
	MemoryContextSwitchTo(old);
	return src;
}

/* --- the wake-up pipe --- */

int
ks_source_fd(KsSource *src)
{
	return src->pipe[0];
}

void
ks_source_clear_fd(KsSource *src)
{
	char		buf[256];

	while (read(src->pipe[0], buf, sizeof(buf)) == sizeof(buf))
		;
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
		*high = Max(Max(part->high, *lso), read);
	return part->known_at;
}

int64
ks_source_redelivered(KsSource *src, int pidx)
{
	return pidx < src->nparts && src->parts[pidx] ? src->parts[pidx]->redelivered : 0;
}
