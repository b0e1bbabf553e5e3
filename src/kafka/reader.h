/*
 * reader.h
 *	  Ranges of partitions read once, for functions that only look.
 *
 * Nothing is stored and nothing is waited for but the records of the ranges:
 * each ends at an offset that the log has reached when it is read.  In a
 * client's session; what is not done when the time is over is an error.
 */
#ifndef KS_READER_H
#define KS_READER_H

#include "base/message.h"
#include "kafka/source.h"
#include "utils/timestamp.h"

typedef struct KsReader
{
	KsSource   *source;
	KsPartition *parts;			/* [off, until): the range; off moves with what is read */
	bool	   *done;
	bool	   *failed;			/* stopped by an error, started again at restart_at */
	TimestampTz restart_at;
	int			failures;		/* since records were had last */
	int			nparts;
	int			nunfinished;	/* partitions that are not done */
	TimestampTz deadline;
	int			patience_ms;	/* records put the deadline off for so long; 0: they do not */
	const char *trouble;		/* what Kafka said last, or NULL */
	const char *hint;			/* if it comes too late, or NULL: of who gives the time */
} KsReader;

/*
 * Starts fetching.  With 'check_tail', the log is compared with last_off and
 * last_hash of each partition first.  In the current context.
 */
extern KsReader *ks_reader_start(KsSource *source, KsPartition *parts, int nparts,
								 bool check_tail, TimestampTz deadline);

/*
 * Appends records to recs[0..max), of about max_bytes; waits for the first.
 * Returns 0 when all ranges are at their end.  The caller releases the records.
 */
extern int	ks_reader_next(KsReader *r, KsRecord *recs, int max, Size max_bytes, Size *bytes);

/* The offset at a time (KS_OFFSET_* or milliseconds since 1970) of each partition. */
extern void ks_reader_query_offsets(KsSource *source, const KsPartition *parts, int n, int64 ts,
									TimestampTz deadline, int64 *result);

/* Milliseconds until a deadline, at least 1. */
extern int	ks_reader_remaining_ms(TimestampTz deadline);

#endif
