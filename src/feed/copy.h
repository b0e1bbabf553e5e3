/*
 * copy.h
 *	  Rows that were read, while changes of them go by.
 *
 * The rows are those that a snapshot saw.  From the place on at which it was taken each
 * change that is published is told: it may be as good as the row, or the row is to be
 * sent before it.  Those that are left when all that the snapshot saw has gone by are as
 * they are then, and are sent.  doc/feeds.md says why.
 */
#ifndef KS_FEED_COPY_H
#define KS_FEED_COPY_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "kafka/producer.h"

/* Which transactions a snapshot sees, of those that have committed; subtransactions are
 * no business of it. */
typedef struct KsHorizon
{
	TransactionId xmin;
	TransactionId xmax;
	int			nrunning;
	TransactionId *running;		/* in their order as numbers */
} KsHorizon;

/* In the current context. */
extern void ks_horizon_take(KsHorizon *h, Snapshot snapshot);
extern bool ks_horizon_sees(const KsHorizon *h, TransactionId xid);

typedef struct KsChunk KsChunk;

/* In 'cxt', with which it goes. */
extern KsChunk *ks_chunk_create(const KsHorizon *horizon, MemoryContext cxt);

/* A row; its bytes are copied. */
extern void ks_chunk_add(KsChunk *chunk, const char *key, const KsProducerRecord *rec);

/*
 * A change of this key is about to be published, which has all of the row ('whole': or
 * there is none any more) or not.  Returns the row if it is to be sent before.
 */
extern KsProducerRecord *ks_chunk_touch(KsChunk *chunk, TransactionId xid, const char *key, bool whole);

/* The next row that is left, in their order; NULL: there is none. */
extern KsProducerRecord *ks_chunk_next(KsChunk *chunk);

#endif
