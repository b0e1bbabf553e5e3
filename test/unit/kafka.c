/*
 * kafka.c
 *	  A librdkafka of arrays: one queue of messages, one of events, logs that are
 *	  what the test says.
 *
 * As librdkafka does it: what is queued of a partition goes when that is
 * stopped; a log line is there before what is fetched after it; errors of topics
 * are told by a callback while messages are taken; an end is told once.
 */
#include "unit.h"

#include <semaphore.h>

#include "kafka/source_int.h"

#define MAX_QUEUE	100000

struct rd_kafka_s { int unused; };
struct rd_kafka_queue_s { int unused; };
struct rd_kafka_topic_s { void *opaque; char name[64]; };
struct rd_kafka_topic_conf_s { void *opaque; };
struct rd_kafka_headers_s { int unused; };
struct rd_kafka_op_s { rd_kafka_event_type_t type; rd_kafka_resp_err_t err; const char *facility; char text[512]; };

typedef struct Message
{
	rd_kafka_message_t m;		/* the first */
	Content		content;
	rd_kafka_resp_err_t topic_err;	/* not a message, but a call */
} Message;

Log			logs[MAX_PARTS];
int			nparts;
int			kafka_out;
int			kafka_wakeups;
bool		kafka_start_fails;
bool		kafka_silent;
bool		kafka_bad_headers;
bool		kafka_no_times;
bool		kafka_no_ends;
bool		kafka_refuses_wakeup;
rd_kafka_resp_err_t kafka_metadata_err;
int			kafka_metadata_left;
int			kafka_leaderless;
int			kafka_longest;
bool		kafka_headless;
int			kafka_unknown;
int			kafka_destroyed;
const char *kafka_cluster;
static bool end_held;
static bool end_refuses;
static sem_t may_end;
static sem_t has_ended;
static rd_kafka_t handle;
static rd_kafka_queue_t queue;
static rd_kafka_topic_t topic;
static rd_kafka_headers_t headers;
static Message *queued[MAX_QUEUE];
static int	nqueued;
static rd_kafka_event_t *events[MAX_QUEUE];
static int	nevents;
static void *conf_opaque;
static rd_kafka_resp_err_t last_error;

void
kafka_reset(void)
{
	/* (calls of the callback that nobody has made) */
	for (int i = 0; i < nqueued; i++)
		rd_kafka_message_destroy(&queued[i]->m);
	nqueued = 0;
	FUZZ_CHECK(kafka_out == 0);
	for (int i = 0; i < nevents; i++)
		free(events[i]);
	nevents = 0;
	memset(logs, 0, sizeof(logs));
	kafka_start_fails = kafka_silent = kafka_bad_headers = kafka_no_times = false;
}

int
kafka_queued(void)
{
	return nqueued;
}

static Message *
enqueue(int part, int64 off, rd_kafka_resp_err_t err)
{
	Message    *m = calloc(1, sizeof(Message));

	FUZZ_CHECK(nqueued < MAX_QUEUE);
	m->m.rkt = &topic;
	m->m.partition = part;
	m->m.offset = off;
	m->m.err = err;
	m->content = (Content) {part, logs[part].generation, off};
	if (off >= 0 && off < MAX_LOG)
		m->content.by = logs[part].by[off];
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		m->m.payload = &m->content;
		m->m.len = sizeof(Content);
		m->m.key = off % 2 ? &m->content.off : NULL;
		m->m.key_len = off % 2 ? sizeof(int64) : 0;
	}
	queued[nqueued++] = m;
	kafka_out++;
	return m;
}

void
kafka_fetch(int part, int n)
{
	Log		   *log = &logs[part];

	if (!log->started || log->stuck)
		return;
	if (log->pos < log->low || log->pos > log->end)
	{
		enqueue(part, -1, RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET);
		log->stuck = true;
		return;
	}
	while (log->pos < STABLE(log) && n-- > 0)
	{
		while (log->pos < STABLE(log) && !log->there[log->pos])
			log->pos++;
		if (log->pos < STABLE(log))
			enqueue(part, log->pos++, RD_KAFKA_RESP_ERR_NO_ERROR);
	}
	if (log->pos == STABLE(log) && log->told_end != log->pos)
	{
		enqueue(part, log->pos, RD_KAFKA_RESP_ERR__PARTITION_EOF);
		log->told_end = log->pos;
	}
}

void
kafka_error(int part, rd_kafka_resp_err_t err)
{
	if (logs[part].started)
		enqueue(part, -1, err);
}

void
kafka_topic_error(int part, rd_kafka_resp_err_t err)
{
	enqueue(part, -1, err)->topic_err = err;
}

void
kafka_redeliver(int part)
{
	Log		   *log = &logs[part];

	for (int64 off = Max(log->low, log->pos - 3); log->started && !log->stuck && off < log->pos && off < log->end; off++)
		if (log->there[off])
			enqueue(part, off, RD_KAFKA_RESP_ERR_NO_ERROR);
}

void
kafka_say(rd_kafka_event_type_t type, rd_kafka_resp_err_t err, const char *facility, const char *text)
{
	rd_kafka_event_t *ev = calloc(1, sizeof(rd_kafka_event_t));

	ev->type = type;
	ev->err = err;
	ev->facility = facility;
	strncpy(ev->text, text, sizeof(ev->text) - 1);
	events[nevents++] = ev;
}

void
kafka_stranger(void)
{
	enqueue(0, 0, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)->m.rkt = NULL;
	enqueue(70, 0, RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* --- handles --- */

rd_kafka_conf_t *ks_source_conf(const KsConf *conf, const KsSourceOptions *opts) { return (rd_kafka_conf_t *) &handle; }
int64 ks_source_conf_int(const rd_kafka_conf_t *conf, const char *name) { return 1600; }
void rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf, void (*cb) (rd_kafka_t *, int, const char *, void *)) {}
void rd_kafka_conf_set_opaque(rd_kafka_conf_t *conf, void *opaque) { conf_opaque = opaque; }
rd_kafka_resp_err_t
rd_kafka_conf_interceptor_add_on_new(rd_kafka_conf_t *conf, const char *name,
									 rd_kafka_interceptor_f_on_new_t *on_new, void *opaque)
{
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}
rd_kafka_resp_err_t
rd_kafka_interceptor_add_on_thread_start(rd_kafka_t *rk, const char *name,
										 rd_kafka_interceptor_f_on_thread_start_t *on_thread_start,
										 void *opaque)
{
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}
void rd_kafka_conf_destroy(rd_kafka_conf_t *conf) {}
rd_kafka_conf_t *rd_kafka_conf_dup(const rd_kafka_conf_t *conf) { return unconstify(rd_kafka_conf_t *, conf); }
int rd_kafka_version(void) { return 0x020002ff; }

rd_kafka_t *
rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *errstr, size_t size)
{
	if (kafka_start_fails)
	{
		snprintf(errstr, size, "no, and the password is hunter2");
		return NULL;
	}
	return &handle;
}

rd_kafka_queue_t *rd_kafka_queue_get_main(rd_kafka_t *rk) { return NULL; }
rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk) { return &queue; }
void rd_kafka_queue_destroy(rd_kafka_queue_t *q) {}
rd_kafka_resp_err_t rd_kafka_set_log_queue(rd_kafka_t *rk, rd_kafka_queue_t *q) { return 0; }
void rd_kafka_queue_io_event_enable(rd_kafka_queue_t *q, int fd, const void *payload, size_t size) {}
void rd_kafka_topic_destroy(rd_kafka_topic_t *rkt) {}

void
kafka_hold_end(bool refuse)
{
	end_held = true;
	end_refuses = refuse;
	sem_init(&may_end, 0, 0);
	sem_init(&has_ended, 0, 0);
}

void
kafka_let_end(void)
{
	sem_post(&may_end);
	sem_wait(&has_ended);
	end_held = end_refuses = false;
}

void
rd_kafka_destroy_flags(rd_kafka_t *rk, int flags)
{
	if (end_held)
	{
		if (end_refuses)
			unit_refuse(true);
		sem_wait(&may_end);
	}
	/* it would wait for ever for those that are out */
	FUZZ_CHECK(kafka_out == nqueued);
	for (int i = 0; i < nqueued; i++)
		free(queued[i]);
	kafka_out = nqueued = 0;
	kafka_destroyed++;
	if (end_held)
		sem_post(&has_ended);
}

rd_kafka_topic_conf_t *
rd_kafka_default_topic_conf_dup(rd_kafka_t *rk)
{
	static rd_kafka_topic_conf_t conf;

	return &conf;
}

void rd_kafka_topic_conf_set_opaque(rd_kafka_topic_conf_t *conf, void *opaque) { conf->opaque = opaque; }

rd_kafka_topic_t *
rd_kafka_topic_new(rd_kafka_t *rk, const char *name, rd_kafka_topic_conf_t *conf)
{
	if (strcmp(name, "t") != 0)
		return NULL;
	topic.opaque = conf->opaque;
	return &topic;
}

void *rd_kafka_topic_opaque(const rd_kafka_topic_t *rkt) { return rkt->opaque; }
rd_kafka_resp_err_t rd_kafka_last_error(void) { return last_error; }

rd_kafka_error_t *
rd_kafka_sasl_set_credentials(rd_kafka_t *rk, const char *username, const char *password)
{
	kafka_wakeups++;
	return kafka_refuses_wakeup ? (rd_kafka_error_t *) &handle : NULL;
}

void rd_kafka_error_destroy(rd_kafka_error_t *error) {}

/* --- partitions --- */

int
rd_kafka_consume_start_queue(rd_kafka_topic_t *rkt, int32_t part, int64_t off, rd_kafka_queue_t *q)
{
	Log		   *log = &logs[part];

	FUZZ_CHECK(!log->started);
	if (kafka_start_fails)
	{
		last_error = RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
		return -1;
	}
	log->started = true;
	log->stuck = false;
	log->told_end = -1;
	log->pos = off;
	return 0;
}

int
rd_kafka_consume_stop(rd_kafka_topic_t *rkt, int32_t part)
{
	int			left = 0;

	for (int i = 0; i < nqueued; i++)
	{
		if (queued[i]->m.partition != part)
			queued[left++] = queued[i];
		else
			rd_kafka_message_destroy(&queued[i]->m);
	}
	nqueued = left;
	logs[part].started = false;
	return 0;
}

ssize_t
rd_kafka_consume_batch_queue(rd_kafka_queue_t *q, int timeout, rd_kafka_message_t **msgs, size_t size)
{
	size_t		n = 0;
	int			i = 0;

	for (; i < nqueued && n < size; i++)
	{
		if (queued[i]->topic_err)
		{
			char		reason[128];

			snprintf(reason, sizeof(reason), "t [%d]: topic does not exist (Broker: Unknown topic or partition)",
					 queued[i]->m.partition);
			ks_source_error_cb(&handle, queued[i]->topic_err, reason, conf_opaque);
			rd_kafka_message_destroy(&queued[i]->m);
		}
		else
			msgs[n++] = &queued[i]->m;
	}
	memmove(queued, queued + i, (nqueued - i) * sizeof(Message *));
	nqueued -= i;
	return n;
}

void
rd_kafka_message_destroy(rd_kafka_message_t *m)
{
	kafka_out--;
	free(m);
}

int64_t
rd_kafka_message_timestamp(const rd_kafka_message_t *m, rd_kafka_timestamp_type_t *type)
{
	return m->offset;
}

rd_kafka_resp_err_t
rd_kafka_message_headers(const rd_kafka_message_t *m, rd_kafka_headers_t **hdrs)
{
	*hdrs = &headers;
	return kafka_bad_headers ? RD_KAFKA_RESP_ERR__BAD_MSG :
		m->offset % 3 ? RD_KAFKA_RESP_ERR_NO_ERROR : RD_KAFKA_RESP_ERR__NOENT;
}

size_t rd_kafka_header_cnt(const rd_kafka_headers_t *hdrs) { return 2; }

rd_kafka_resp_err_t
rd_kafka_header_get_all(const rd_kafka_headers_t *hdrs, size_t i, const char **name, const void **value, size_t *size)
{
	*name = i ? "none" : "some";
	*value = i ? NULL : "value";
	*size = i ? 0 : 5;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- questions --- */

/* The end is the high watermark of a fetch; what is asked is answered for stable records. */
static rd_kafka_resp_err_t
watermarks(int part, bool stable, int64_t *low, int64_t *high)
{
	if (kafka_silent)
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	*low = logs[part].low;
	*high = stable ? STABLE(&logs[part]) : logs[part].end;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t
rd_kafka_get_watermark_offsets(rd_kafka_t *rk, const char *name, int32_t part, int64_t *low, int64_t *high)
{
	return watermarks(part, false, low, high);
}

rd_kafka_resp_err_t
rd_kafka_query_watermark_offsets(rd_kafka_t *rk, const char *name, int32_t part, int64_t *low, int64_t *high, int timeout)
{
	kafka_longest = Max(kafka_longest, timeout);
	unit_now += kafka_silent || kafka_no_ends ? timeout * INT64CONST(1000) : 1;
	return kafka_no_ends ? RD_KAFKA_RESP_ERR__TIMED_OUT : watermarks(part, true, low, high);
}

rd_kafka_resp_err_t
rd_kafka_offsets_for_times(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, int timeout)
{
	kafka_longest = Max(kafka_longest, timeout);
	if (kafka_silent)
	{
		unit_now += timeout * INT64CONST(1000);
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	}
	for (int i = 0; i < list->cnt; i++)
	{
		rd_kafka_topic_partition_t *p = &list->elems[i];

		p->offset = kafka_no_times ? -1 : p->offset == KS_OFFSET_EARLIEST ? logs[p->partition].low :
			p->offset == KS_OFFSET_LATEST ? STABLE(&logs[p->partition]) :
			p->offset < logs[p->partition].end ? p->offset : -1;
		if (p->partition == 1 && kafka_unknown > 0)
			p->err = RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* How the next question for metadata is answered. */
static rd_kafka_resp_err_t
metadata_err(void)
{
	rd_kafka_resp_err_t err = kafka_metadata_err;

	if (kafka_metadata_left > 0 && --kafka_metadata_left == 0)
		kafka_metadata_err = RD_KAFKA_RESP_ERR_NO_ERROR;
	return err;
}

rd_kafka_resp_err_t
rd_kafka_metadata(rd_kafka_t *rk, int all, rd_kafka_topic_t *only, const struct rd_kafka_metadata **md, int timeout)
{
	static struct rd_kafka_metadata_partition partitions[2] = {{.leader = 1, .replica_cnt = 3}, {.id = 1, .leader = 1}};
	static struct rd_kafka_metadata_topic topics[2] = {
		{.topic = "t", .partition_cnt = 2, .partitions = partitions},
		{.topic = "hidden", .err = RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED}};
	static struct rd_kafka_metadata answer = {.topic_cnt = 2, .topics = topics};
	rd_kafka_resp_err_t err = metadata_err();

	kafka_longest = Max(kafka_longest, timeout);
	unit_now += timeout * INT64CONST(1000);
	kafka_unknown -= kafka_unknown > 0;
	topics[0].err = RD_KAFKA_RESP_ERR_NO_ERROR;
	partitions[1].leader = kafka_headless ? -1 : 1;
	if (!all && err != RD_KAFKA_RESP_ERR__TIMED_OUT && err != RD_KAFKA_RESP_ERR__TRANSPORT)
	{
		topics[0].err = err;
		err = RD_KAFKA_RESP_ERR_NO_ERROR;
	}
	topics[0].partition_cnt = !all && kafka_leaderless-- > 0 ? 0 : 2;
	answer.topic_cnt = all ? 2 : 1;
	*md = &answer;
	return err;
}

void rd_kafka_metadata_destroy(const struct rd_kafka_metadata *md) {}

char *
rd_kafka_clusterid(rd_kafka_t *rk, int timeout)
{
	kafka_longest = Max(kafka_longest, timeout);
	unit_now += timeout * INT64CONST(1000);
	return kafka_cluster ? strdup(kafka_cluster) : NULL;
}

void rd_kafka_mem_free(rd_kafka_t *rk, void *p) { free(p); }

/* --- events --- */

rd_kafka_event_t *
rd_kafka_queue_poll(rd_kafka_queue_t *q, int timeout)
{
	rd_kafka_event_t *ev = nevents > 0 ? events[0] : NULL;

	if (ev)
		memmove(events, events + 1, --nevents * sizeof(rd_kafka_event_t *));
	return ev;
}

rd_kafka_event_type_t rd_kafka_event_type(const rd_kafka_event_t *ev) { return ev->type; }
rd_kafka_resp_err_t rd_kafka_event_error(rd_kafka_event_t *ev) { return ev->err; }
const char *rd_kafka_event_error_string(rd_kafka_event_t *ev) { return ev->text; }
int rd_kafka_event_error_is_fatal(rd_kafka_event_t *ev) { return ev->err == RD_KAFKA_RESP_ERR__FATAL; }
const char *rd_kafka_event_stats(rd_kafka_event_t *ev) { return ev->text; }
void rd_kafka_event_destroy(rd_kafka_event_t *ev) { free(ev); }

int
rd_kafka_event_log(rd_kafka_event_t *ev, const char **fac, const char **str, int *level)
{
	if (ev->facility == NULL)
		return -1;
	*fac = ev->facility;
	*str = ev->text;
	*level = ev->err ? ev->err : 7;
	return 0;
}
