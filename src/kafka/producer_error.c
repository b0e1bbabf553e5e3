/*
 * producer_error.c
 *	  What an error of a producer means, and what to do about it.
 *
 * What is not in the table is tried again: nothing is lost by that, since the next
 * process fences this one and begins behind what Kafka has committed.
 */
#include "postgres.h"

#include "kafka/producer_int.h"

#define HINT_TOPIC "Create the topic in Kafka."
#define HINT_PARTITION "Add partitions to the topic, or emit() to one that it has."
#define HINT_ACL "Grant the principal WRITE and DESCRIBE on the topic in Kafka."
#define HINT_TXN_ACL "Grant the principal WRITE and DESCRIBE on the transactional id in Kafka, and IDEMPOTENT_WRITE on the cluster where the brokers ask for it."
#define HINT_SIZE "Raise max.message.bytes of the topic (and message.max.bytes of the brokers), or kafka_sink.skip() its transaction, or row; then kafka_sink.resume()."
#define HINT_OWN_SIZE "Raise max_message_bytes of the feed with kafka_sink.alter_feed(), and what the topic takes, or kafka_sink.skip() its transaction, or row; then kafka_sink.resume()."
#define HINT_DATA "The brokers refuse the message. Change what they check, or kafka_sink.skip() its transaction, or row; then kafka_sink.resume()."
#define HINT_TIMEOUT "Lower transaction_timeout of the feed with kafka_sink.alter_feed(), or raise transaction.max.timeout.ms of the brokers."
#define HINT_FENCED "Another server may publish the same feed, such as a copy of this one or the one that it was before a failover; or a transaction of Kafka was open for longer than the feed's transaction_timeout."

#define ERR(code_) RD_KAFKA_RESP_ERR_##code_

static const struct
{
	rd_kafka_resp_err_t err;
	int			sqlstate;
	bool		halts;
	const char *waits_for;
	const char *hint;
}			classes[] = {
	{ERR(UNKNOWN_TOPIC_OR_PART), ERRCODE_UNDEFINED_OBJECT, false, "topic", HINT_TOPIC},
	{ERR(_UNKNOWN_TOPIC), ERRCODE_UNDEFINED_OBJECT, false, "topic", HINT_TOPIC},
	{ERR(_UNKNOWN_PARTITION), ERRCODE_UNDEFINED_OBJECT, false, "topic", HINT_PARTITION},
	{ERR(TOPIC_EXCEPTION), ERRCODE_INVALID_NAME, true, NULL, HINT_TOPIC},
	{ERR(TOPIC_AUTHORIZATION_FAILED), ERRCODE_INSUFFICIENT_PRIVILEGE, false, "broker", HINT_ACL},
	{ERR(TRANSACTIONAL_ID_AUTHORIZATION_FAILED), ERRCODE_INSUFFICIENT_PRIVILEGE, false, "broker", HINT_TXN_ACL},
	{ERR(CLUSTER_AUTHORIZATION_FAILED), ERRCODE_INSUFFICIENT_PRIVILEGE, false, "broker", HINT_TXN_ACL},
	{ERR(MSG_SIZE_TOO_LARGE), ERRCODE_PROGRAM_LIMIT_EXCEEDED, true, NULL, HINT_SIZE},
	{ERR(RECORD_LIST_TOO_LARGE), ERRCODE_PROGRAM_LIMIT_EXCEEDED, true, NULL, HINT_SIZE},
	{ERR(INVALID_MSG), ERRCODE_DATA_EXCEPTION, true, NULL, HINT_DATA},
	{ERR(INVALID_RECORD), ERRCODE_DATA_EXCEPTION, true, NULL, HINT_DATA},
	{ERR(INVALID_TIMESTAMP), ERRCODE_DATA_EXCEPTION, true, NULL, HINT_DATA},
	{ERR(INVALID_TRANSACTION_TIMEOUT), ERRCODE_INVALID_PARAMETER_VALUE, true, NULL, HINT_TIMEOUT},
	{ERR(UNSUPPORTED_VERSION), ERRCODE_FEATURE_NOT_SUPPORTED, true, NULL, "Use brokers that have transactions, and a librdkafka that knows what they speak."},
	{ERR(_UNSUPPORTED_FEATURE), ERRCODE_FEATURE_NOT_SUPPORTED, true, NULL, "Use brokers that have transactions, and a librdkafka that knows what they speak."},
};

static bool
is_fenced(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__FENCED || err == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
		err == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

/* Of the client as a whole: nobody answers, or nobody lets us in. */
static void
describe_trouble(KsProducer *p, KsProducerError *error)
{
	const KsErrorClass *class = ks_source_classify(p->client->client_err, true);

	strlcpy(p->message, ks_source_client_message(class), sizeof(p->message));
	snprintf(p->detail, sizeof(p->detail), "%s.", p->client->reason);
	error->sqlstate = class->sqlstate;
	error->halts = class->action == KS_ERROR_HALT && class->trouble != KS_CLIENT_FATAL;
	error->waits_for = "broker";
	error->message = p->message;
	error->detail = p->client->reason[0] ? p->detail : NULL;
	error->hint = ks_source_client_hint(p->client, class);
}

bool
ks_producer_error(KsProducer *p, KsProducerError *error)
{
	rd_kafka_resp_err_t err = p->lost != RD_KAFKA_RESP_ERR_NO_ERROR ? p->lost : p->failed;
	rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(p->client->rk, NULL, 0);

	memset(error, 0, sizeof(KsProducerError));
	if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR)
		err = fatal;
	if (p->client->trouble == KS_CLIENT_REFUSED ||
		(p->client->trouble == KS_CLIENT_DOWN && !is_fenced(err)))
	{
		describe_trouble(p, error);
		return true;
	}
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return false;
	error->sqlstate = ERRCODE_CONNECTION_EXCEPTION;
	error->fenced = is_fenced(err);
	if (err == RD_KAFKA_RESP_ERR__TIMED_OUT || err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT ||
		err == RD_KAFKA_RESP_ERR__TRANSPORT)
		error->waits_for = "broker";
	for (int i = 0; i < (int) lengthof(classes); i++)
		if (classes[i].err == err)
		{
			error->sqlstate = classes[i].sqlstate;
			error->halts = classes[i].halts;
			error->waits_for = classes[i].waits_for;
			error->hint = classes[i].hint;
			error->refused = err == p->lost || err == ERR(TOPIC_AUTHORIZATION_FAILED) || err == ERR(UNKNOWN_TOPIC_OR_PART);
		}
	if (err == p->lost)
	{
		if (p->lost_here && err == ERR(MSG_SIZE_TOO_LARGE))
			error->hint = HINT_OWN_SIZE;
		error->topic = p->lost_topic;
		snprintf(p->message, sizeof(p->message), "could not send a message to topic \"%s\"", p->lost_topic);
	}
	else if (error->fenced)
	{
		error->sqlstate = ERRCODE_OBJECT_IN_USE;
		error->hint = HINT_FENCED;
		strlcpy(p->message, "another producer has taken over", sizeof(p->message));
	}
	else
		snprintf(p->message, sizeof(p->message), "could not %s", p->what);
	error->message = p->message;
	/* librdkafka's words are about its calls then */
	if (err == RD_KAFKA_RESP_ERR__TIMED_OUT)
	{
		error->detail = "Kafka has not answered yet.";
		error->hint = "Check that the brokers run, and that the topic has enough replicas in sync.";
		return true;
	}
	snprintf(p->detail, sizeof(p->detail), "%s.",
			 err == p->failed && p->words[0] ? p->words : rd_kafka_err2str(err));
	error->detail = p->detail;
	return true;
}
