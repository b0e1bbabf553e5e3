/*
 * producer_int.h
 *	  What the files producer*.c share.
 *
 *	producer.c			the handle, transactions, what is sent
 *	producer_commit.c	the thread that waits for a commit
 *	producer_error.c	what an error means
 *	producer_admin.c	the topic that a feed needs
 */
#ifndef KS_PRODUCER_INT_H
#define KS_PRODUCER_INT_H

#include "kafka/producer.h"
#include "kafka/source_int.h"

#define KS_PRODUCER_TOPICS	64

typedef struct KsCommitter KsCommitter;

/* For as long as the process lives; errors if there is no room for a thread. */
extern KsCommitter *ks_committer_start(rd_kafka_t *rk);

/* Begins a commit, or goes on waiting for it; false: it is not done yet. */
extern bool ks_committer_commit(KsCommitter *c, int timeout_ms, rd_kafka_error_t **error);

/* Is one under way?  Then no other call has a place. */
extern bool ks_committer_is_busy(KsCommitter *c);

struct KsProducer
{
	KsSource   *client;			/* handle, main queue, pipe, trouble; no partitions */
	KsCommitter *committer;
	rd_kafka_topic_t *topics[KS_PRODUCER_TOPICS];	/* that were sent to, by a hash of their names */

	/* of the transaction at hand */
	bool		purged;			/* messages were dropped, since it cannot be committed */
	rd_kafka_resp_err_t lost;	/* why the first of its messages could not be sent */
	bool		lost_here;		/* it was not even sent */
	char		lost_topic[KS_MAX_TOPIC_LEN + 1];

	/* of the last call that was not done */
	rd_kafka_resp_err_t failed;
	const char *what;			/* it was to do */
	char		words[512];		/* librdkafka's */

	/* of the error told last */
	char		message[512];
	char		detail[1024];
};

#endif
