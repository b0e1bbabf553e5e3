/*
 * producer_admin.c
 *	  The topic that a feed keeps its progress in.
 */
#include "postgres.h"

#include "kafka/producer_int.h"

/*
 * Compacted, with segments that are small enough to be compacted soon: a start
 * reads what is left of it.
 */
static const struct
{
	const char *name;
	const char *value;
}			config[] = {
	{"cleanup.policy", "compact"},
	{"segment.bytes", "16777216"},
	{"min.cleanable.dirty.ratio", "0.1"},
};

static KsProducerResult
created(KsProducer *p, rd_kafka_event_t *ev)
{
	const rd_kafka_CreateTopics_result_t *result = rd_kafka_event_CreateTopics_result(ev);
	const rd_kafka_topic_result_t **topics;
	rd_kafka_resp_err_t err = rd_kafka_event_error(ev);
	size_t		n = 0;

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR && result != NULL)
	{
		topics = rd_kafka_CreateTopics_result_topics(result, &n);
		if (n == 1)
			err = rd_kafka_topic_result_error(topics[0]);
	}
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR || err == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
		return KS_PRODUCER_DONE;
	p->failed = err;
	p->what = "make the topic of progress";
	p->words[0] = '\0';
	return err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__TRANSPORT ? KS_PRODUCER_AGAIN : KS_PRODUCER_ABORT;
}

KsProducerResult
ks_producer_make_compacted(KsProducer *p, const char *topic, int timeout_ms)
{
	char		errstr[256];
	rd_kafka_NewTopic_t *new_topic = rd_kafka_NewTopic_new(topic, 1, -1, errstr, sizeof(errstr));
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(p->client->rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(p->client->rk);
	rd_kafka_event_t *ev;
	KsProducerResult result = KS_PRODUCER_AGAIN;

	for (int i = 0; i < (int) lengthof(config); i++)
		(void) rd_kafka_NewTopic_set_config(new_topic, config[i].name, config[i].value);
	(void) rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, errstr, sizeof(errstr));
	rd_kafka_CreateTopics(p->client->rk, &new_topic, 1, options, queue);
	ev = rd_kafka_queue_poll(queue, timeout_ms + 100);
	if (ev != NULL)
	{
		result = created(p, ev);
		rd_kafka_event_destroy(ev);
	}
	rd_kafka_queue_destroy(queue);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_NewTopic_destroy(new_topic);
	return result;
}
