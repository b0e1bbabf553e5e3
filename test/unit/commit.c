/*
 * commit.c
 *	  A thread that waits for commits, against brokers of librdkafka's that answer late.
 *
 * Who asks for a commit asks again and again, and does not wait: the answers come at any
 * time, between two questions most of all.  (Asked in that way itself, librdkafka takes some
 * of them for ends of aborts, and ends the process.)
 */
#include "../fuzz/stubs.h"
#include "tap.h"

#include <unistd.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "kafka/producer_int.h"

#define TRANSACTIONS	30
#define RTT_MS			20
#define END_TXN			26		/* of the protocol */

/* (src/base/memory.c) */
void
ks_memory_watch_thread(void)
{
}

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char		words[512];

	if (rd_kafka_conf_set(conf, name, value, words, sizeof(words)) != RD_KAFKA_CONF_OK)
	{
		fprintf(stderr, "%s\n", words);
		exit(1);
	}
}

static void
check(rd_kafka_error_t *error)
{
	if (error == NULL)
		return;
	fprintf(stderr, "%s\n", rd_kafka_error_string(error));
	exit(1);
}

static rd_kafka_t *
open_producer(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	char		words[512];

	set(conf, "test.mock.num.brokers", "1");
	set(conf, "transactional.id", "commit");
	set(conf, "delivery.report.only.error", "true");
	rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR);
	rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, words, sizeof(words));
	if (rk == NULL)
	{
		fprintf(stderr, "%s\n", words);
		exit(1);
	}
	(void) rd_kafka_mock_topic_create(rd_kafka_handle_mock_cluster(rk), "commit", 1, 1);
	check(rd_kafka_init_transactions(rk, -1));
	return rk;
}

static void
begin(rd_kafka_t *rk)
{
	check(rd_kafka_begin_transaction(rk));
	if (rd_kafka_producev(rk, RD_KAFKA_V_TOPIC("commit"), RD_KAFKA_V_VALUE("v", 1), RD_KAFKA_V_END) != 0)
		exit(1);
}

/* How often it was asked. */
static int
commit(KsCommitter *c, int timeout_ms, rd_kafka_error_t **error)
{
	int			asked = 1;

	for (; !ks_committer_commit(c, timeout_ms, error); asked++)
	{
		if (!ks_committer_is_busy(c))
			return -1;
		if (timeout_ms == 0)
			(void) usleep(1000);
	}
	return asked;
}

int
main(void)
{
	rd_kafka_t *rk = open_producer();
	rd_kafka_mock_cluster_t *cluster = rd_kafka_handle_mock_cluster(rk);
	KsCommitter *c = ks_committer_start(rk);
	rd_kafka_error_t *error = NULL;
	bool		committed = true;
	bool		busy = false;
	int			all = 0;

	(void) rd_kafka_mock_broker_set_rtt(cluster, 1, RTT_MS);
	for (int i = 0; i < TRANSACTIONS; i++)
	{
		int			asked;

		begin(rk);
		asked = commit(c, i % 2, &error);
		committed &= asked > 0 && error == NULL;
		all += asked;
		busy |= ks_committer_is_busy(c);
	}
	ok(committed, "each transaction is committed");
	ok(all > TRANSACTIONS, "after it was asked for again");
	ok(!busy, "and is over then");
	begin(rk);
	ok(commit(c, 600000, &error) == 1 && error == NULL, "once is enough for who has time");
	rd_kafka_mock_push_request_errors(cluster, END_TXN, 1, RD_KAFKA_RESP_ERR_PRODUCER_FENCED);
	begin(rk);
	ok(commit(c, 0, &error) > 0 && error != NULL && rd_kafka_error_is_fatal(error), "what went wrong is told");
	ok(!ks_committer_is_busy(c), "and that is over, too");
	printf("1..%d\n", tests);
	return failed;
}
