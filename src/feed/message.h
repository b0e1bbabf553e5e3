/*
 * message.h
 *	  A message of emit() as it stands in the WAL.
 *
 * Whoever may connect may write logical messages, so one of ours proves that emit()
 * wrote it: it carries an HMAC, by a secret that only the tables' owner can read,
 * over all of it, with the feed and the transaction that it was written in.  One
 * that is taken from the WAL and written again, by another transaction, is none.
 */
#ifndef KS_FEED_MESSAGE_H
#define KS_FEED_MESSAGE_H

#include "postgres.h"

#include "access/transam.h"

#include "kafka/producer.h"

#define KS_MESSAGE_PREFIX		"kafka_sink"

/* The partition of a message that is no record: from here on the feed's tables are
 * published by the publication in its key, to its topic, in the envelope in its value. */
#define KS_MESSAGE_DEFINES		(-2)

#define KS_MESSAGE_SECRET_LEN	32

/* What the secret is used as; made once. */
typedef struct KsMessageKey
{
	uint8		inner[64];
	uint8		outer[64];
} KsMessageKey;

typedef enum KsMessageVerdict
{
	KS_MESSAGE_OURS,
	KS_MESSAGE_OTHERS,			/* of another feed, or of nobody that we know */
	KS_MESSAGE_FORGED			/* it says that it is of this feed, and was not emitted for it */
} KsMessageVerdict;

extern void ks_message_make_key(const uint8 *secret, KsMessageKey *key);

/* In the current context; the record's time is not part of it. */
extern char *ks_message_write(const KsProducerRecord *rec, int64 feed_id, FullTransactionId xid,
							  const KsMessageKey *key, Size *len);

/* Does it say that it is no record, but settings?  Nothing is proven. */
extern bool ks_message_defines(const char *data, Size len);

/*
 * Reads a message that was met in the transaction 'xid'.  The record shares the
 * bytes; 'headers' has room for KS_PRODUCER_MAX_HEADERS.
 */
extern KsMessageVerdict ks_message_read(const char *data, Size len, int64 feed_id, FullTransactionId xid,
										const KsMessageKey *key, KsProducerRecord *rec, KsHeader *headers);

#endif
