/*
 * producer.h
 *	  A transactional producer: the only way in which this extension writes to Kafka.
 *
 * A producer belongs to a process of ours, and is never destroyed in it: whoever
 * does not know what became of a transaction ends the process, and the next one
 * begins by fencing this one (ks_producer_init()).  librdkafka cannot tell a late
 * end of one transaction from that of the next, so no handle is used again after
 * an end that it does not know.
 *
 * No call but the ones marked "waits" waits, and these wait for at most the time
 * that they are given, which is to be short: they are called again until they are
 * done.  Between the calls interrupts are served by who calls.
 */
#ifndef KS_PRODUCER_H
#define KS_PRODUCER_H

#include "base/message.h"
#include "kafka/options.h"

typedef struct KsProducer KsProducer;

typedef struct KsProducerOptions
{
	const char *client_id;		/* "kafka_sink/<feed>" */
	const char *transactional_id;
	int			transaction_timeout_ms;
	int			max_message_bytes;
	bool		one_by_one;		/* no message shares its fate with others of a batch */
} KsProducerOptions;

typedef enum KsProducerResult
{
	KS_PRODUCER_DONE,
	KS_PRODUCER_AGAIN,			/* not done yet: to be called again */
	KS_PRODUCER_ABORT,			/* the transaction cannot be committed, only aborted */
	KS_PRODUCER_DEAD			/* fenced, or failed: the handle is of no use any more */
} KsProducerResult;

/* Why the last call was not done, or what trouble the client is in. */
typedef struct KsProducerError
{
	int			sqlstate;
	bool		halts;			/* it does not pass by itself */
	bool		refused;		/* a message, or its topic, may be what is wrong */
	bool		fenced;			/* somebody else has begun, or the transaction took too long */
	const char *waits_for;		/* broker, topic, or NULL */
	const char *topic;			/* or NULL */
	const char *message;		/* no secrets; valid until the next call */
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
} KsProducerError;

typedef struct KsProducerRecord
{
	const char *topic;
	int32		part;			/* -1: by the key, as Java's producers do */
	int32		keylen;			/* -1: NULL */
	int32		valuelen;		/* -1: NULL */
	int			nheaders;
	const char *key;
	const char *value;
	const KsHeader *headers;	/* name not NULL */
	int64		ts_ms;
} KsProducerRecord;

/* No producer sends more headers with a record. */
#define KS_PRODUCER_MAX_HEADERS	64

/* Opens a handle in 'cxt', which lives as long as the process; errors if the
 * configuration is refused. */
extern KsProducer *ks_producer_open(const KsConf *conf, const KsProducerOptions *opts, MemoryContext cxt);

/* Readable when there is something to serve. */
extern int	ks_producer_fd(KsProducer *p);

/* Takes what librdkafka tells; to be called now and then. */
extern void ks_producer_serve(KsProducer *p);

/* False if nothing is wrong. */
extern bool ks_producer_error(KsProducer *p, KsProducerError *error);

/* Waits.  Fences whoever has been there before; first of all. */
extern KsProducerResult ks_producer_init(KsProducer *p, int timeout_ms);

extern KsProducerResult ks_producer_begin(KsProducer *p);

/* AGAIN: the queue is full; to be called again when something was sent. */
extern KsProducerResult ks_producer_send(KsProducer *p, const KsProducerRecord *rec);

/* Waits.  DONE: all that was sent has arrived; ABORT: it will not. */
extern KsProducerResult ks_producer_flush(KsProducer *p, int timeout_ms);

/* Waits.  DONE: it is committed; AGAIN for ever: nobody knows. */
extern KsProducerResult ks_producer_commit(KsProducer *p, int timeout_ms);

/* Waits. */
extern KsProducerResult ks_producer_abort(KsProducer *p, int timeout_ms);

/*
 * Waits.  Makes a topic of one partition that keeps the last record of each key;
 * DONE also if it is there.  AGAIN: the brokers have not answered.
 */
extern KsProducerResult ks_producer_make_compacted(KsProducer *p, const char *topic, int timeout_ms);

#endif
