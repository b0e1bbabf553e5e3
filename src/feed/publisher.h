/*
 * publisher.h
 *	  Committed transactions become transactions of Kafka.
 *
 *		IDLE ---- first record of a transaction -----> OPEN
 *		OPEN ---- ks_publisher_commit() ------------->  IDLE
 *		OPEN ---- a transaction takes too long ------>  OPEN (cut: committed, begun anew), or
 *													IDLE (nothing more of it comes for now)
 *		any ----- an error ---------------------------> FAILED: the process ends
 *
 * A transaction of Kafka holds whole transactions of PostgreSQL and one record of
 * progress, the last of it; only one that takes longer than Kafka allows is cut, and
 * the record says where.  The slot is confirmed by who calls, after
 * ks_publisher_commit() has returned.
 *
 * When Kafka refuses a message, nobody may be able to tell whose it was: brokers refuse
 * batches, and topics.  So whoever begins again sets 'one_by_one': up to that commit each
 * transaction has one of Kafka's, and its messages have arrived before the progress is
 * sent.  What is refused then is its own ('blamed').
 *
 * Two producers take turns, since one can do nothing while Kafka writes the end of its
 * transaction into the partitions.  The next transaction is begun only when Kafka has
 * answered the commit of the one before: so whoever fences both finds at most one open, and
 * per partition the order is that of the commits.
 *
 * Waiting for Kafka is done in slices, with 'serve' called in between.
 */
#ifndef KS_FEED_PUBLISHER_H
#define KS_FEED_PUBLISHER_H

#include "postgres.h"

#include "feed/message.h"
#include "feed/progress.h"
#include "feed/rows.h"
#include "feed/wal.h"
#include "kafka/producer.h"

typedef enum KsPublisherState
{
	KS_PUBLISHER_IDLE,
	KS_PUBLISHER_OPEN,
	KS_PUBLISHER_FAILED
} KsPublisherState;

#define KS_PUBLISHER_PRODUCERS	2

/* Since the process began. */
typedef struct KsPublisherCounts
{
	int64		transactions;	/* of PostgreSQL, with a record */
	int64		records;
	int64		bytes;			/* keys and values */
	int64		forged;			/* messages that were dropped */
	int64		commits;		/* of Kafka, with records */
	int64		cuts;			/* of them in the middle of a transaction */
	int64		commit_us;
	int64		copied;			/* rows that were there before the feed began */
} KsPublisherCounts;

typedef struct KsPublisher
{
	/* set by who makes it */
	KsProducer *producers[KS_PUBLISHER_PRODUCERS];
	const char *name;			/* the feed's, for Kafka */
	const char *progress_topic;
	int64		feed_id;
	KsMessageKey key;
	int			batch_records;
	int64		batch_bytes;
	int			cut_ms;			/* a transaction of Kafka is open for no longer */
	int			patience_ms;	/* with a commit that is not answered */
	KsProgress	progress;		/* as Kafka has it */
	void		(*serve) (void);	/* called while waiting; may end the process */
	KsRows	   *rows;			/* NULL: messages alone are published */
	XLogRecPtr	one_by_one;		/* up to the commit that begins there; 0: none */

	/* its own */
	KsPublisherState state;
	int			turn;			/* whose it is, of the producers */
	KsProgress	next;			/* what is committed next */
	TimestampTz opened_at;
	TimestampTz committed_at[KS_PUBLISHER_PRODUCERS];	/* its last one, 0: none */
	int64		took_us;		/* the last commit, of either */
	int64		open_records;	/* in the transaction of Kafka */
	int64		open_bytes;
	int64		open_transactions;	/* in it to their end */
	XLogRecPtr	txn_lsn;		/* where its commit begins, of the transaction of PostgreSQL at hand */
	int64		txn_records;	/* of it */
	uint64		txn_change;		/* whose the last of these was */
	int64		looked_at;		/* behind so many of them the clock was read */
	bool		has_waited;		/* and since then Kafka was waited for */
	bool		defines;		/* it changes 'next.as' to this */
	KsDefinition definition;
	bool		redefined;		/* and one did; what follows is for another process */
	XLogRecPtr	last;			/* where the commit begins of who sent last */
	XLogRecPtr	blamed;			/* likewise, if what is refused now is its own; 0: not known */
	char		only_topic[KS_MAX_TOPIC_LEN + 1];	/* of what is published alone; empty: several */
	KsPublisherCounts counts;	/* of what is committed */
	KsPublisherCounts open_counts;	/* with what is open */
} KsPublisher;

/* Before anything else. */
extern void ks_publisher_init(KsPublisher *p);

/* What is given to ks_rows_create(). */
extern void ks_publisher_send_row(void *publisher, const KsWalTransaction *txn, KsProducerRecord *rec);

/* A row that was there before, now; its place is told by 'next' when it is committed. */
extern void ks_publisher_send_copied(KsPublisher *p, const KsProducerRecord *rec);

/* What it does with what is read. */
extern KsWalReceiver ks_publisher_receiver(KsPublisher *p);

/* Which has a transaction open, or will have the next one. */
#define ks_publisher_producer(p)	((p)->producers[(p)->turn])

/* Is something to be committed? */
#define ks_publisher_is_open(p)		((p)->state == KS_PUBLISHER_OPEN)

/* Is what comes next published by other settings? */
#define ks_publisher_is_redefined(p)	((p)->redefined)

/* So, or because a transaction was skipped, or one that was cut has come to its end, be it
 * without another record: is Kafka to know before anything else is read? */
#define ks_publisher_is_due(p) \
	((p)->redefined || (p)->next.skipped != (p)->progress.skipped || ((p)->next.inside == 0 && (p)->progress.inside != 0))

/* The clock was set back. */
extern void ks_publisher_set_back(KsPublisher *p, TimestampTz now);

/* What comes next is published by these settings, whatever the WAL has said. */
extern void ks_publisher_redefine(KsPublisher *p, const KsDefinition *as);

/* Is each transaction published alone? */
#define ks_publisher_is_careful(p)	((p)->progress.lsn <= (p)->one_by_one)

/* Is it enough for a transaction of Kafka? */
extern bool ks_publisher_is_full(const KsPublisher *p);

/*
 * Commits what is open, with the progress 'position': all that commits before it has
 * been handed out.  Without anything open, the progress alone.  Returns when it is
 * committed; errors otherwise, and then nobody may know whether it is.
 */
extern void ks_publisher_commit(KsPublisher *p, XLogRecPtr position);

/* After an error: lets readers go on, if Kafka answers soon.  Raises none. */
extern void ks_publisher_abort(KsPublisher *p);

#endif
