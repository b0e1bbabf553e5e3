/*
 * message.h
 *	  The contract between the stages: a record as bytes, a partition's range.
 *
 * A KsRecord borrows its bytes from whoever made it (librdkafka's message, or
 * the caller's array in ingest()).  They stay valid until ks_source_release()
 * or the reset of the batch's memory context; Datums that outlive the batch
 * must be copied.  Partitions are named by index into the sink's array of
 * KsPartition, so that no string is compared per record.
 */
#ifndef KS_MESSAGE_H
#define KS_MESSAGE_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define KS_MAX_TOPIC_LEN	249 /* Kafka's own limit */

/* One record header; name is NUL-terminated, value may be NULL. */
typedef struct KsHeader
{
	const char *name;
	const char *value;
	int32		valuelen;		/* -1: NULL */
} KsHeader;

/* One record, as Kafka gives it. */
typedef struct KsRecord
{
	int32		pidx;			/* index into the batch's KsPartition array */
	int32		keylen;			/* -1: NULL key */
	int32		valuelen;		/* -1: NULL value (tombstone) */
	int32		nheaders;		/* headers are filled on demand only */
	const char *key;
	const char *value;
	int64		off;
	int64		ts_ms;			/* milliseconds since 1970, -1: none */
	const KsHeader *headers;
	void	   *msg;			/* source's handle, NULL if not from a source */
} KsRecord;

/* What became of the records of one partition; the columns of txn_offsets. */
typedef struct KsCounts
{
	int64		consumed;
	int64		applied;
	int64		deleted;
	int64		filtered;
	int64		dead_lettered;
	int64		ignored;
	int64		superseded;
	int64		unmatched;
	int64		gaps;
} KsCounts;

static inline void
ks_counts_add(KsCounts *sum, const KsCounts *add)
{
	for (int i = 0; i < (int) (sizeof(KsCounts) / sizeof(int64)); i++)
		((int64 *) sum)[i] += ((const int64 *) add)[i];
}

/* Of so many records is known what they became. */
static inline int64
ks_counts_became(const KsCounts *c)
{
	return c->applied + c->deleted + c->filtered + c->dead_lettered + c->ignored + c->superseded + c->unmatched;
}

/*
 * One partition of a sink.  off/last_off/last_hash mirror the committed row of
 * txn_offsets and change only after a commit; until/counts belong to the batch
 * at hand.
 */
typedef struct KsPartition
{
	const char *topic;
	int32		part;

	/* committed */
	int64		off;			/* next offset to fetch */
	int64		last_off;		/* last record consumed, -1: none */
	uint64		last_hash;		/* its ks_record_hash(), if last_off >= 0 */

	/* the batch */
	int64		until;			/* next offset after the batch; == off: untouched */
	int64		new_last_off;	/* -1: no record */
	uint64		new_last_hash;
	KsCounts	counts;
	int			last_rec;		/* index of its last record in the batch, or -1 */
	bool		has_siblings;	/* its topic has, or may have, partitions that others consume */
} KsPartition;

/* Kafka counts milliseconds since 1970, the server microseconds since 2000. */
#define KS_EPOCH_MS \
	((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000))

static inline int64
ks_timestamp_to_ms(TimestampTz ts)
{
	return ts / 1000 + KS_EPOCH_MS;
}

/* 64-bit hash of timestamp, key and value: identifies the log's tail. */
extern uint64 ks_record_hash(const KsRecord *rec);

#endif
