/*
 * source_error.c
 *	  What an error code of librdkafka or Kafka means and what to do about it.
 *
 * The table is the Kafka side of the faults this extension knows.  A code that
 * is not in it is tried again: nothing is lost by that, since the partition
 * starts at its stored offset.
 */
#include "postgres.h"

#include "kafka/source_int.h"

#define HINT_CONNECT "Check that the brokers run, and the option bootstrap_servers of the server."
#define HINT_AUTH "Check the options of the server and of the user mapping."
#define HINT_ACL "Grant the principal READ and DESCRIBE on the topic in Kafka."
#define HINT_TOPIC "Create the topic, or take it from the sink, which forgets its offsets, with kafka_sink.unregister_topic()."
#define HINT_SIZE "Raise max_record_bytes of the sink with kafka_sink.alter_sink(), then kafka_sink.resume()."
#define HINT_DATA "The records are damaged or were written in a format this librdkafka cannot read; pass over them with kafka_sink.accept_gap() if they are lost, then kafka_sink.resume()."
#define HINT_UNPACK "The batch is damaged, or unpacks to more than this librdkafka takes: 100 MB (zstd), or max_record_bytes of the sink if that is more.  Raise it, or pass over the batch with kafka_sink.accept_gap(), then kafka_sink.resume()."
#define HINT_ANSWER "Check the options security_protocol (is it a TLS port?) and fetch_max_bytes of the server."
#define HINT_VERSION "Use a version of librdkafka that knows what the brokers speak."

#define ERR(code_) RD_KAFKA_RESP_ERR_##code_

static const KsErrorClass classes[] = {
	/* brokers out of reach, leaders that move */
	{ERR(_ALL_BROKERS_DOWN), KS_CLIENT_DOWN, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(_TRANSPORT), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(_RESOLVE), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(_TIMED_OUT), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(_TIMED_OUT_QUEUE), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(_WAIT_COORD), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(REQUEST_TIMED_OUT), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, HINT_CONNECT},
	{ERR(LEADER_NOT_AVAILABLE), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(NOT_LEADER_FOR_PARTITION), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(BROKER_NOT_AVAILABLE), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(REPLICA_NOT_AVAILABLE), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(NETWORK_EXCEPTION), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(KAFKA_STORAGE_ERROR), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(FENCED_LEADER_EPOCH), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(UNKNOWN_LEADER_EPOCH), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},
	{ERR(OFFSET_NOT_AVAILABLE), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_FAILURE, NULL},

	/* nobody we are allowed to talk to */
	{ERR(_AUTHENTICATION), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, HINT_AUTH},
	{ERR(_SSL), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, HINT_AUTH},
	{ERR(SASL_AUTHENTICATION_FAILED), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, HINT_AUTH},
	{ERR(UNSUPPORTED_SASL_MECHANISM), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, HINT_AUTH},
	{ERR(ILLEGAL_SASL_STATE), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, HINT_AUTH},
	{ERR(TOPIC_AUTHORIZATION_FAILED), KS_CLIENT_FINE, KS_ERROR_RETRY_LONG, ERRCODE_INSUFFICIENT_PRIVILEGE, HINT_ACL},
	{ERR(CLUSTER_AUTHORIZATION_FAILED), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_INSUFFICIENT_PRIVILEGE, HINT_ACL},

	/* no such topic: perhaps not yet */
	{ERR(UNKNOWN_TOPIC_OR_PART), KS_CLIENT_FINE, KS_ERROR_RETRY_THEN_HALT, ERRCODE_UNDEFINED_OBJECT, HINT_TOPIC},
	{ERR(_UNKNOWN_TOPIC), KS_CLIENT_FINE, KS_ERROR_RETRY_THEN_HALT, ERRCODE_UNDEFINED_OBJECT, HINT_TOPIC},
	{ERR(_UNKNOWN_PARTITION), KS_CLIENT_FINE, KS_ERROR_RETRY_THEN_HALT, ERRCODE_UNDEFINED_OBJECT, HINT_TOPIC},
	{ERR(TOPIC_EXCEPTION), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_INVALID_NAME, HINT_TOPIC},

	/* records that cannot be had */
	{ERR(MSG_SIZE_TOO_LARGE), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_PROGRAM_LIMIT_EXCEEDED, HINT_SIZE},
	{ERR(RECORD_LIST_TOO_LARGE), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_PROGRAM_LIMIT_EXCEEDED, HINT_SIZE},
	{ERR(_BAD_MSG), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_DATA_CORRUPTED, HINT_DATA},
	{ERR(_BAD_COMPRESSION), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_DATA_CORRUPTED, HINT_UNPACK},
	{ERR(INVALID_MSG), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_DATA_CORRUPTED, HINT_DATA},
	{ERR(INVALID_RECORD), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_DATA_CORRUPTED, HINT_DATA},
	{ERR(_NOT_IMPLEMENTED), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_DATA_CORRUPTED, HINT_DATA},
	{ERR(UNSUPPORTED_COMPRESSION_TYPE), KS_CLIENT_FINE, KS_ERROR_HALT, ERRCODE_FEATURE_NOT_SUPPORTED, HINT_VERSION},
	{ERR(UNSUPPORTED_VERSION), KS_CLIENT_REFUSED, KS_ERROR_HALT, ERRCODE_FEATURE_NOT_SUPPORTED, HINT_VERSION},
	{ERR(_UNSUPPORTED_FEATURE), KS_CLIENT_REFUSED, KS_ERROR_HALT, ERRCODE_FEATURE_NOT_SUPPORTED, HINT_VERSION},

	/* an answer of the wrong shape or size */
	{ERR(_BAD_MSG), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_PROTOCOL_VIOLATION, HINT_ANSWER},
	{ERR(_UNDERFLOW), KS_CLIENT_REFUSED, KS_ERROR_RETRY_LONG, ERRCODE_PROTOCOL_VIOLATION, HINT_ANSWER},

	/* the system has no room, for now */
	{ERR(_CRIT_SYS_RESOURCE), KS_CLIENT_FINE, KS_ERROR_RETRY_LONG, ERRCODE_INSUFFICIENT_RESOURCES, NULL},

	/* the handle is of no use any more */
	{ERR(_FATAL), KS_CLIENT_FATAL, KS_ERROR_HALT, ERRCODE_SYSTEM_ERROR, NULL},
	{ERR(_CRIT_SYS_RESOURCE), KS_CLIENT_FATAL, KS_ERROR_HALT, ERRCODE_INSUFFICIENT_RESOURCES, NULL},
};

static const KsErrorClass unknown = {
	ERR(UNKNOWN), KS_CLIENT_FINE, KS_ERROR_RETRY, ERRCODE_CONNECTION_EXCEPTION, NULL
};

/* The same code can mean one thing of the client and another of a partition. */
const KsErrorClass *
ks_source_classify(rd_kafka_resp_err_t err, bool of_client)
{
	const KsErrorClass *class = &unknown;

	for (int i = 0; i < (int) lengthof(classes); i++)
	{
		if (classes[i].err != err)
			continue;
		class = &classes[i];
		if ((class->trouble != KS_CLIENT_FINE) == of_client)
			break;
	}
	return class;
}

/* The message for trouble of the whole client. */
const char *
ks_source_client_message(const KsErrorClass *class)
{
	switch (class->sqlstate)
	{
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
			return class->err == RD_KAFKA_RESP_ERR__SSL ?
				"could not agree with Kafka on TLS" :
				"could not authenticate to Kafka";
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return "Kafka denies access";
		case ERRCODE_CONNECTION_FAILURE:
			return "could not connect to Kafka";
		case ERRCODE_PROTOCOL_VIOLATION:
			return "could not understand an answer of Kafka";
		case ERRCODE_FEATURE_NOT_SUPPORTED:
			return "could not speak to this version of Kafka";
		default:
			return "librdkafka has failed";
	}
}
