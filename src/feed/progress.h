/*
 * progress.h
 *	  How far a feed is: the record in Kafka that says so.
 *
 * It is written in the transaction of Kafka that holds the records before it, so it
 * is true whatever happens; what else is stored of a feed's progress is a copy for
 * people to see.
 */
#ifndef KS_FEED_PROGRESS_H
#define KS_FEED_PROGRESS_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "base/message.h"
#include "kafka/options.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

/* What tables are published by.  It changes with the commit that has changed it: what
 * comes before may be of tables, and a publication, that are not there any more. */
typedef struct KsDefinition
{
	char		publication[NAMEDATALEN];	/* empty: messages alone are published */
	char		topic[KS_MAX_TOPIC_LEN + 1];
	char		envelope[32];
} KsDefinition;

typedef struct KsProgress
{
	int64		feed_id;		/* of the feed's creation */
	uint64		system_identifier;
	TimeLineID	timeline;		/* of who publishes */
	XLogRecPtr	start_lsn;		/* where the feed has begun, last */
	XLogRecPtr	lsn;			/* commits that begin before it are in Kafka */
	uint32		xid;			/* of the last one, 0: none */
	int64		transactions;	/* of PostgreSQL, since the feed began */
	int64		records;		/* without those of progress */

	XLogRecPtr	skipped;		/* where the commit begins that was left out last, 0: none */

	/* a transaction of which a part is in Kafka, behind lsn */
	XLogRecPtr	inside;			/* where its commit begins, 0: there is none */
	int64		inside_changes; /* what so many of it have, which are counted as the WAL has them */

	KsDefinition as;			/* what comes next is published by that */

	/* the rows of a table that were there before */
	int64		copy;			/* the copy's number, 0: there is none */
	int64		copied;			/* rows of it */
	char	   *copy_after;		/* the place behind them, in UTF-8; NULL: it is done */
} KsProgress;

/* Who a feed is for Kafka: the key of its progress, and its first transactional id. */
extern char *ks_progress_name(const char *feed);

/* Of its n-th producer, counted from 0. */
extern char *ks_progress_transactional_id(const char *feed, int n);

extern void ks_progress_write(const KsProgress *progress, StringInfo buf);

/* False if it is nothing that ks_progress_write() has written. */
extern bool ks_progress_parse(const char *text, int len, KsProgress *progress);

/*
 * Waits, serving interrupts.  The last record of the feed's in the topic, of those
 * that are committed, up to the end that the topic has now; false if there is none.
 * What it points to is in the current context.  To be called after fencing: then nobody can
 * add to it.  Errors (class 08, 57014) if Kafka does not answer until the deadline, or later
 * for as long as that is away now.
 */
extern bool ks_progress_read(const KsConf *conf, const char *topic, const char *name, TimestampTz deadline,
							 KsProgress *progress);

/* Does the topic exist?  Waits, as above. */
extern bool ks_progress_has_topic(const KsConf *conf, const char *topic, TimestampTz deadline);

#endif
