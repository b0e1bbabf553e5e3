/*
 * producer.c
 *	  A transactional producer: its handle, what it sends, and what it tells.
 *
 * It borrows the client's side of a source: the main queue, the pipe that wakes,
 * the words for trouble.  Of reports on messages only failures are asked for;
 * they come as events, and until they are taken librdkafka waits with the end of
 * the transaction.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "utils/memutils.h"

#include "base/memory.h"
#include "kafka/producer_int.h"

/* Nothing overrides these. */
static const struct
{
	const char *name;
	const char *value;
}			fixed[] = {
	{"enable.idempotence", "true"},
	{"acks", "all"},
	{"partitioner", "murmur2_random"},	/* as Java's */
	{"delivery.report.only.error", "true"},
	{"enable.metrics.push", "false"},	/* librdkafka 2.5 */
	{"log.queue", "true"},
};

/* Properties of the connection override these. */
#define LINGER_MS			"2"
#define COMPRESSION			"lz4"
#define PROPAGATION_MS		"5000"	/* in which a topic that is new is known everywhere */

#define QUEUE_KB			32768
#define QUEUE_MESSAGES		500000
#define BATCH_MESSAGES		"100000"
#define PROTOCOL_SLACK		1024	/* around a record */

static rd_kafka_conf_t *
configure(const KsConf *conf, const KsProducerOptions *opts)
{
	rd_kafka_conf_t *rkconf = rd_kafka_conf_new();

	ks_source_conf_own(rkconf, "socket.keepalive.enable", "true");
	ks_source_conf_own(rkconf, "reconnect.backoff.max.ms", "3000");
	ks_source_conf_own(rkconf, "linger.ms", LINGER_MS);
	ks_source_conf_own(rkconf, "compression.type", COMPRESSION);
	ks_source_conf_own(rkconf, "batch.num.messages", BATCH_MESSAGES);
	ks_source_conf_own(rkconf, "topic.metadata.propagation.max.ms", PROPAGATION_MS);
	ks_source_conf_connection(rkconf, conf, KS_OF_PRODUCERS);
	if (opts->one_by_one)
		ks_source_conf_own(rkconf, "batch.num.messages", "1");
	for (int i = 0; i < (int) lengthof(fixed); i++)
		ks_source_conf_own(rkconf, fixed[i].name, fixed[i].value);
	ks_source_conf_own(rkconf, "client.id", opts->client_id);
#ifndef KS_BENCH_WITHOUT_TRANSACTIONS
	ks_source_conf_own(rkconf, "transactional.id", opts->transactional_id);
	ks_source_conf_own_int(rkconf, "transaction.timeout.ms", opts->transaction_timeout_ms);
#endif
	/* a record that is not sent by then could not be committed either */
	ks_source_conf_own_int(rkconf, "message.timeout.ms", opts->transaction_timeout_ms);
	ks_source_conf_own_int(rkconf, "message.max.bytes", opts->max_message_bytes + PROTOCOL_SLACK);
	ks_source_conf_own_int(rkconf, "queue.buffering.max.kbytes",
						   Max(QUEUE_KB, 2 * ((int64) opts->max_message_bytes / 1024 + 1)));
	ks_source_conf_own_int(rkconf, "queue.buffering.max.messages", QUEUE_MESSAGES);
	ks_source_conf_own_int(rkconf, "reconnect.backoff.max.ms",
						   Max(ks_source_conf_int(rkconf, "reconnect.backoff.max.ms"),
							   ks_source_conf_int(rkconf, "reconnect.backoff.ms")));
	ks_source_verify_conf(rkconf);
	rd_kafka_conf_set_events(rkconf, RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_DR);
	return rkconf;
}

KsProducer *
ks_producer_open(const KsConf *conf, const KsProducerOptions *opts, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsProducer *p = palloc0(sizeof(KsProducer));
	KsSource   *client = palloc0(sizeof(KsSource));

	p->client = client;
	client->cxt = cxt;
	client->in_worker = true;
	client->pipe[0] = client->pipe[1] = -1;
	dlist_init(&client->topics);
	ks_memory_guard_begin(true);
	ks_source_keep_secrets(client, conf);
	ks_source_open_pipe(client);
	client->rk = ks_source_create_handle(client, RD_KAFKA_PRODUCER, configure(conf, opts));
	client->mainq = rd_kafka_queue_get_main(client->rk);
	rd_kafka_set_log_queue(client->rk, NULL);
	rd_kafka_queue_io_event_enable(client->mainq, client->pipe[1], "", 1);
#ifndef KS_BENCH_WITHOUT_TRANSACTIONS
	p->committer = ks_committer_start(client->rk);
#endif
	MemoryContextSwitchTo(old);
	return p;
}

int
ks_producer_fd(KsProducer *p)
{
	return ks_source_fd(p->client);
}

/* Messages that were not sent: the first one tells why. */
static void
take_reports(KsProducer *p, rd_kafka_event_t *ev)
{
	const rd_kafka_message_t *msg;

	while ((msg = rd_kafka_event_message_next(ev)) != NULL)
	{
		if (msg->err == RD_KAFKA_RESP_ERR_NO_ERROR)
			continue;
		p->purged = true;
		/* that the others of its transaction go with it is no reason */
		if (p->lost != RD_KAFKA_RESP_ERR_NO_ERROR ||
			msg->err == RD_KAFKA_RESP_ERR__PURGE_QUEUE || msg->err == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT)
			continue;
		p->lost = msg->err;
		strlcpy(p->lost_topic, rd_kafka_topic_name(msg->rkt), sizeof(p->lost_topic));
	}
	rd_kafka_event_destroy(ev);
}

void
ks_producer_serve(KsProducer *p)
{
	rd_kafka_event_t *ev;

	ks_source_clear_fd(p->client);
	for (;;)
	{
		ks_memory_enter_library();
		ev = rd_kafka_queue_poll(p->client->mainq, 0);
		ks_memory_leave_library();
		if (ev == NULL)
			return;
		if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_DR)
			take_reports(p, ev);
		else
			ks_source_take_event(p->client, ev);
	}
}

/* What a call has returned; keeps why it is not done. */
static KsProducerResult
result_of(KsProducer *p, rd_kafka_error_t *error, const char *what)
{
	KsProducerResult result;

	if (error == NULL)
	{
		p->failed = RD_KAFKA_RESP_ERR_NO_ERROR;
		ks_source_client_works(p->client);
		return KS_PRODUCER_DONE;
	}
	p->what = what;
	p->failed = rd_kafka_error_code(error);
	ks_source_clean(p->client, rd_kafka_error_string(error), p->words, sizeof(p->words));
	/* a fatal error can be called retriable, too */
	if (rd_kafka_error_is_fatal(error))
		result = KS_PRODUCER_DEAD;
	else if (rd_kafka_error_txn_requires_abort(error))
		result = KS_PRODUCER_ABORT;
	else if (rd_kafka_error_is_retriable(error) || p->failed == RD_KAFKA_RESP_ERR__TIMED_OUT)
		result = KS_PRODUCER_AGAIN;
	else
		result = KS_PRODUCER_DEAD;
	rd_kafka_error_destroy(error);
	return result;
}

KsProducerResult
ks_producer_flush(KsProducer *p, int timeout_ms)
{
	rd_kafka_resp_err_t err = rd_kafka_flush(p->client->rk, timeout_ms);

	/* what failed counts as not arrived until it is taken */
	ks_producer_serve(p);
	return p->purged ? KS_PRODUCER_ABORT : err == RD_KAFKA_RESP_ERR_NO_ERROR ? KS_PRODUCER_DONE : KS_PRODUCER_AGAIN;
}

#ifndef KS_BENCH_WITHOUT_TRANSACTIONS

KsProducerResult
ks_producer_init(KsProducer *p, int timeout_ms)
{
	ks_producer_serve(p);
	return result_of(p, rd_kafka_init_transactions(p->client->rk, timeout_ms), "fence what was before");
}

KsProducerResult
ks_producer_begin(KsProducer *p)
{
	p->lost = RD_KAFKA_RESP_ERR_NO_ERROR;
	p->purged = p->lost_here = false;
	return result_of(p, rd_kafka_begin_transaction(p->client->rk), "begin a transaction");
}

/*
 * All messages are to have arrived before librdkafka is asked to commit: what a transaction
 * that has failed leaves in its queues it would wait for until that times out.  So far the
 * transaction can be aborted.
 */
KsProducerResult
ks_producer_commit(KsProducer *p, int timeout_ms)
{
	static const char what[] = "commit a transaction";
	KsProducerResult result = KS_PRODUCER_DONE;
	rd_kafka_error_t *error;

	ks_producer_serve(p);
	if (!ks_committer_is_busy(p->committer))
	{
		result = ks_producer_flush(p, timeout_ms);
		/* asked for another one, librdkafka says why not */
		if (result == KS_PRODUCER_ABORT || rd_kafka_fatal_error(p->client->rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR)
			return result_of(p, rd_kafka_begin_transaction(p->client->rk), what);
	}
	if (result == KS_PRODUCER_AGAIN || !ks_committer_commit(p->committer, timeout_ms, &error))
	{
		p->what = what;
		p->failed = RD_KAFKA_RESP_ERR__TIMED_OUT;
		return KS_PRODUCER_AGAIN;
	}
	result = result_of(p, error, what);
	/* which message it was */
	if (result != KS_PRODUCER_DONE)
		ks_producer_serve(p);
	return result;
}

KsProducerResult
ks_producer_abort(KsProducer *p, int timeout_ms)
{
	rd_kafka_error_t *error;

	ks_producer_serve(p);
	/* it may be committed yet */
	if (ks_committer_is_busy(p->committer))
		return KS_PRODUCER_DEAD;
	error = rd_kafka_abort_transaction(p->client->rk, timeout_ms);
	/* what it is aborted for stays what is told */
	if (error != NULL)
	{
		bool		again = rd_kafka_error_is_retriable(error) && !rd_kafka_error_is_fatal(error);

		rd_kafka_error_destroy(error);
		return again ? KS_PRODUCER_AGAIN : KS_PRODUCER_DEAD;
	}
	return KS_PRODUCER_DONE;
}

#else							/* for the bench alone, which measures what they cost */

KsProducerResult
ks_producer_init(KsProducer *p, int timeout_ms)
{
	return KS_PRODUCER_DONE;
}

KsProducerResult
ks_producer_begin(KsProducer *p)
{
	return KS_PRODUCER_DONE;
}

KsProducerResult
ks_producer_commit(KsProducer *p, int timeout_ms)
{
	ks_producer_serve(p);
	return rd_kafka_flush(p->client->rk, timeout_ms) == RD_KAFKA_RESP_ERR_NO_ERROR ? KS_PRODUCER_DONE : KS_PRODUCER_AGAIN;
}

KsProducerResult
ks_producer_abort(KsProducer *p, int timeout_ms)
{
	return KS_PRODUCER_DONE;
}
#endif

/*
 * librdkafka goes through all topics that it knows for a name, and makes one anew that
 * nothing refers to.  NULL if it will not have it.
 */
static rd_kafka_topic_t *
find_topic(KsProducer *p, const char *name)
{
	int			n = string_hash(name, KS_MAX_TOPIC_LEN + 1) % KS_PRODUCER_TOPICS;
	rd_kafka_topic_t *topic = p->topics[n];

	if (topic != NULL && strcmp(rd_kafka_topic_name(topic), name) == 0)
		return topic;
	ks_memory_enter_library();
	if (topic != NULL)
		rd_kafka_topic_destroy(topic);
	p->topics[n] = rd_kafka_topic_new(p->client->rk, name, NULL);
	ks_memory_leave_library();
	return p->topics[n];
}

#define SET(vu, type, field, val) \
	((vu).vtype = (type), (vu).u.field = (val))

KsProducerResult
ks_producer_send(KsProducer *p, const KsProducerRecord *rec)
{
	rd_kafka_vu_t vus[6 + KS_PRODUCER_MAX_HEADERS];
	rd_kafka_topic_t *topic = find_topic(p, rec->topic);
	int			n = 0;
	rd_kafka_error_t *error;

	Assert(rec->nheaders <= KS_PRODUCER_MAX_HEADERS);
	if (topic != NULL)
		SET(vus[n], RD_KAFKA_VTYPE_RKT, rkt, topic), n++;
	else						/* then it says why */
		SET(vus[n], RD_KAFKA_VTYPE_TOPIC, cstr, rec->topic), n++;
	SET(vus[n], RD_KAFKA_VTYPE_PARTITION, i32, rec->part >= 0 ? rec->part : RD_KAFKA_PARTITION_UA), n++;
	SET(vus[n], RD_KAFKA_VTYPE_MSGFLAGS, i, RD_KAFKA_MSG_F_COPY), n++;
	SET(vus[n], RD_KAFKA_VTYPE_TIMESTAMP, i64, rec->ts_ms), n++;
	if (rec->keylen >= 0)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_KEY;
		/* NULL is no key, and not one of no bytes */
		vus[n].u.mem.ptr = rec->keylen > 0 ? (void *) rec->key : (void *) "";
		vus[n++].u.mem.size = rec->keylen;
	}
	if (rec->valuelen >= 0)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_VALUE;
		vus[n].u.mem.ptr = rec->valuelen > 0 ? (void *) rec->value : (void *) "";
		vus[n++].u.mem.size = rec->valuelen;
	}
	for (int i = 0; i < rec->nheaders; i++)
	{
		vus[n].vtype = RD_KAFKA_VTYPE_HEADER;
		vus[n].u.header.name = rec->headers[i].name;
		vus[n].u.header.val = rec->headers[i].valuelen >= 0 ? rec->headers[i].value : NULL;
		vus[n++].u.header.size = Max(rec->headers[i].valuelen, 0);
	}
	ks_memory_enter_library();
	error = rd_kafka_produceva(p->client->rk, vus, n);
	ks_memory_leave_library();
	if (error == NULL)
		return KS_PRODUCER_DONE;
	if (rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
	{
		rd_kafka_error_destroy(error);
		return KS_PRODUCER_AGAIN;
	}
	/* it cannot be committed any more: asked for another, librdkafka says why */
	if (rd_kafka_error_code(error) == RD_KAFKA_RESP_ERR__STATE)
	{
		rd_kafka_error_t *why = rd_kafka_begin_transaction(p->client->rk);

		if (why != NULL)
		{
			rd_kafka_error_destroy(error);
			error = why;
		}
	}
	else if (p->lost == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		p->lost = rd_kafka_error_code(error);
		p->lost_here = true;
		strlcpy(p->lost_topic, rec->topic, sizeof(p->lost_topic));
	}
	/* the transaction is over, be it by this or by what came before */
	(void) result_of(p, error, "send a message");
	ks_producer_serve(p);
	return rd_kafka_fatal_error(p->client->rk, NULL, 0) != RD_KAFKA_RESP_ERR_NO_ERROR ? KS_PRODUCER_DEAD : KS_PRODUCER_ABORT;
}
