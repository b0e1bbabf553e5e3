/*
 * kfk.c
 *	  The Kafka side of the tests, the demo and the bench: one client program.
 *
 *	kfk -b HOST:PORT [-X prop=value]... [-t SECONDS] COMMAND ...
 *
 *	wait-ready
 *	create-topic NAME PARTITIONS [config=value]...
 *	delete-topic NAME
 *	add-partitions NAME TOTAL
 *	delete-records NAME PART BEFORE_OFFSET|end [PART BEFORE_OFFSET|end]...
 *	alter-config NAME config=value...
 *	grant PRINCIPAL TOPIC OPERATION...	ACLs: read, describe, ...
 *	revoke PRINCIPAL TOPIC OPERATION...
 *	features					what librdkafka was built with, and its version
 *	leaders NAME				part, leader (-1: none), number of replicas in sync
 *	watermarks NAME				part, low, high, last stable offset
 *	cat NAME					part, offset, key, value: all that is committed now
 *	follow NAME -n COUNT		time of arrival (us), key: what is committed from now on
 *	ranges NAME [ISOLATION]		part, from, until: offsets with a record, now
 *	script						commands on stdin, see run_script()
 *	gen NAME -n COUNT [...]		synthetic records, see run_gen()
 *	latency NAME -n COUNT --rate R	id and time of acknowledgement (us)
 *	mock PORTFILE [BROKERS]		mock cluster, commands on stdin, see run_mock()
 *
 * Every command that changes something returns when the change can be seen,
 * or fails after -t seconds (30).  The brokers answer a commit before they write
 * the ends of the transaction into its partitions: so whoever commits, and whoever
 * reads what is committed, waits for these, but not for long, since another
 * transaction may stay open.  Keys and values are printed and read with
 * \N for NULL, and \t \n \r \\ \xHH; fields are separated by tabs.
 *
 * Single-threaded: librdkafka's callbacks run inside rd_kafka_poll/flush.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "wire.h"

#define MAX_PROPS	64
#define MAX_WORDS	64
#define MAX_PARTS	4096
#define SETTLE_MS	2000		/* until the end of a transaction can be seen */

typedef struct
{
	int64_t		qty;
	int64_t		cents;
	char		at[40];
	char		note[128];		/* as JSON and as COPY text: the same escapes */
	char		note_copy[128];
	char		note_plain[128];
	int64_t		us;				/* at, since 1970 */
} Row;

static const char *bootstrap;
static char *props[MAX_PROPS];
static int	nprops;
static int	timeout_ms = 30000;
static char errstr[512];
static volatile sig_atomic_t stopped;

/* gen, latency, and follow */
static int64_t gen_count = -1;
static int64_t gen_from;
static int	gen_parts;
static double gen_rate;
static uint64_t gen_seed = 1;
static int64_t gen_keys;		/* 0: sequential */
static bool gen_hot;
static bool gen_ranges;			/* each partition has a range of ids to itself */
static enum {SMALL, WIDE, BROAD, CONNECT, DEBEZIUM, UUID, AVRO, AVRO_DEBEZIUM, PROTOBUF} gen_shape;
static int64_t gen_ids = 1;		/* of schemas, by turns */
static int64_t gen_size;		/* 0: as long as the shape is */
static FILE *manifest;
static FILE *copy_file;
static FILE *hidden;
static int	gen_txn;			/* records in a transaction, about; 0: none */
static int	gen_abort;			/* percent of them that are aborted */

/* delivery reports */
static int64_t n_acked;
static int64_t n_failed;

static void __attribute__((format(printf, 1, 2), noreturn))
die(const char *fmt,...)
{
	va_list		ap;

	fputs("kfk: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static void
handle_stop(int sig)
{
	stopped = sig;
}

static int64_t
now_us(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int64_t
number(const char *s)
{
	char	   *end;
	int64_t		n = strtoll(s, &end, 10);

	if (end == s || *end)
		die("not a number: %s", s);
	return n;
}

static FILE *
open_file(const char *path, const char *mode)
{
	FILE	   *f = fopen(path, mode);

	if (!f)
		die("%s: %s", path, strerror(errno));
	return f;
}

/* ---- client ---- */

static void
set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	if (rd_kafka_conf_set(conf, name, value, errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
		die("%s", errstr);
}

static rd_kafka_t *
client(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
	rd_kafka_t *rk;

	if (bootstrap)
		set(conf, "bootstrap.servers", bootstrap);
	set(conf, "reconnect.backoff.max.ms", "500");
	set(conf, "log_level", "3");
	for (int i = 0; i < nprops; i++)
	{
		char	   *prop = strdup(props[i]);
		char	   *value = strchr(prop, '=');

		if (!value)
			die("-X wants property=value: %s", prop);
		*value++ = '\0';
		set(conf, prop, value);
		free(prop);
	}
	rk = rd_kafka_new(type, conf, errstr, sizeof(errstr));
	if (!rk)
		die("%s", errstr);
	return rk;
}

/*
 * A consumer without a group, told of the end of each partition.  A full queue
 * stops librdkafka's fetcher for up to a second, hence the large one.
 */
static rd_kafka_t *
consumer(const char *isolation)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set(conf, "isolation.level", isolation);
	set(conf, "enable.partition.eof", "true");
	set(conf, "auto.offset.reset", "error");
	set(conf, "queued.min.messages", "10000000");
	set(conf, "queued.max.messages.kbytes", "65536");
	/* a partition that is started is not waited for by a fetch of others */
	set(conf, "fetch.wait.max.ms", "10");
	return client(RD_KAFKA_CONSUMER, conf);
}

static int64_t
deadline(void)
{
	return now_us(CLOCK_MONOTONIC) + (int64_t) timeout_ms * 1000;
}

/* A short wait before a condition on the cluster is looked at again. */
static void
again(rd_kafka_t *rk, int64_t until, const char *what)
{
	if (now_us(CLOCK_MONOTONIC) > until)
		die("timed out: %s", what);
	rd_kafka_poll(rk, 20);
}

/* Number of partitions, all with a leader; 0 if there is no such topic, -1 if not known. */
static int
partitions(rd_kafka_t *rk, const char *name)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL);
	const struct rd_kafka_metadata *md;
	int			n = -1;

	if (rd_kafka_metadata(rk, 0, rkt, &md, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR)
	{
		if (md->topic_cnt == 1 && md->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			n = md->topics[0].partition_cnt;
			for (int i = 0; i < md->topics[0].partition_cnt; i++)
				if (md->topics[0].partitions[i].leader < 0)
					n = -1;
		}
		else if (md->topic_cnt == 1 &&
				 md->topics[0].err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
			n = 0;
		rd_kafka_metadata_destroy(md);
	}
	rd_kafka_topic_destroy(rkt);
	return n;
}

static int
existing_partitions(rd_kafka_t *rk, const char *name)
{
	int64_t		until = deadline();
	int			n;

	while ((n = partitions(rk, name)) <= 0)
		again(rk, until, "topic is not there");
	return n;
}

static void
wait_partitions(rd_kafka_t *rk, const char *name, int n)
{
	int64_t		until = deadline();

	while (partitions(rk, name) != n)
		again(rk, until, "topic has not the wanted number of partitions");
}

/* What the brokers say that are there; nothing for a topic that does not exist. */
static void
run_leaders(const char *name)
{
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL);
	const struct rd_kafka_metadata *md;
	int64_t		until = deadline();

	while (rd_kafka_metadata(rk, 0, rkt, &md, 5000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		again(rk, until, "cluster does not answer");
	for (int i = 0; i < md->topic_cnt; i++)
		for (int p = 0; p < md->topics[i].partition_cnt; p++)
			printf("%d\t%d\t%d\n", md->topics[i].partitions[p].id, md->topics[i].partitions[p].leader,
				   md->topics[i].partitions[p].isr_cnt);
	rd_kafka_metadata_destroy(md);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
}

static void
run_wait_ready(void)
{
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	const struct rd_kafka_metadata *md;
	int64_t		until = deadline();

	while (rd_kafka_metadata(rk, 0, NULL, &md, 1000) != RD_KAFKA_RESP_ERR_NO_ERROR)
		again(rk, until, "cluster does not answer");
	rd_kafka_metadata_destroy(md);
	rd_kafka_destroy(rk);
}

/* ---- admin ---- */

typedef struct
{
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	rd_kafka_AdminOptions_t *options;
} Admin;

static Admin
admin(void)
{
	Admin		a;

	a.rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	a.queue = rd_kafka_queue_new(a.rk);
	a.options = rd_kafka_AdminOptions_new(a.rk, RD_KAFKA_ADMIN_OP_ANY);
	rd_kafka_AdminOptions_set_request_timeout(a.options, timeout_ms, NULL, 0);
	return a;
}

static void
admin_end(Admin a)
{
	rd_kafka_AdminOptions_destroy(a.options);
	rd_kafka_queue_destroy(a.queue);
	rd_kafka_destroy(a.rk);
}

static rd_kafka_event_t *
admin_result(Admin a)
{
	rd_kafka_event_t *ev = rd_kafka_queue_poll(a.queue, timeout_ms + 1000);

	if (!ev)
		die("no answer from the cluster");
	if (rd_kafka_event_error(ev))
		die("%s", rd_kafka_event_error_string(ev));
	return ev;
}

/*
 * The answer to a request about topics: fails unless all of them went well.  False: the
 * broker has not told the controller for some time that it lives, as on a machine that has
 * much else to do, and has no place for a partition until it does.
 */
static bool
admin_topic_done(Admin a)
{
	rd_kafka_event_t *ev = admin_result(a);
	const rd_kafka_topic_result_t **res = NULL;
	size_t		n = 0;
	bool		done = true;

	switch (rd_kafka_event_type(ev))
	{
		case RD_KAFKA_EVENT_CREATETOPICS_RESULT:
			res = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &n);
			break;
		case RD_KAFKA_EVENT_DELETETOPICS_RESULT:
			res = rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(ev), &n);
			break;
		case RD_KAFKA_EVENT_CREATEPARTITIONS_RESULT:
			res = rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(ev), &n);
			break;
		default:
			die("unexpected %s", rd_kafka_event_name(ev));
	}
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_topic_result_error(res[i]) == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR)
			done = false;
		else if (rd_kafka_topic_result_error(res[i]))
			die("%s: %s", rd_kafka_topic_result_name(res[i]),
				rd_kafka_topic_result_error_string(res[i]));
	rd_kafka_event_destroy(ev);
	return done;
}

static void
run_create_topic(const char *name, int parts, char **configs, int n)
{
	Admin		a = admin();
	rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(name, parts, -1, errstr, sizeof(errstr));
	int64_t		until = deadline();

	if (!t)
		die("%s", errstr);
	for (int i = 0; i < n; i++)
	{
		char	   *value = strchr(configs[i], '=');

		if (!value)
			die("not config=value: %s", configs[i]);
		*value++ = '\0';
		rd_kafka_NewTopic_set_config(t, configs[i], value);
	}
	for (;;)
	{
		rd_kafka_CreateTopics(a.rk, &t, 1, a.options, a.queue);
		if (admin_topic_done(a))
			break;
		again(a.rk, until, "all brokers are fenced");
	}
	rd_kafka_NewTopic_destroy(t);
	wait_partitions(a.rk, name, parts);
	admin_end(a);
}

static void
run_delete_topic(const char *name)
{
	Admin		a = admin();
	rd_kafka_DeleteTopic_t *t = rd_kafka_DeleteTopic_new(name);

	rd_kafka_DeleteTopics(a.rk, &t, 1, a.options, a.queue);
	(void) admin_topic_done(a);
	rd_kafka_DeleteTopic_destroy(t);
	wait_partitions(a.rk, name, 0);
	admin_end(a);
}

static void
run_add_partitions(const char *name, int total)
{
	Admin		a = admin();
	rd_kafka_NewPartitions_t *p = rd_kafka_NewPartitions_new(name, total, errstr, sizeof(errstr));
	int64_t		until = deadline();

	if (!p)
		die("%s", errstr);
	for (;;)
	{
		rd_kafka_CreatePartitions(a.rk, &p, 1, a.options, a.queue);
		if (admin_topic_done(a))
			break;
		again(a.rk, until, "all brokers are fenced");
	}
	rd_kafka_NewPartitions_destroy(p);
	wait_partitions(a.rk, name, total);
	admin_end(a);
}

/* Each partition and where it is to begin from now on. */
static void
run_delete_records(const char *name, char **words, int n)
{
	Admin		a = admin();
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n / 2);
	const rd_kafka_topic_partition_list_t *res;
	rd_kafka_DeleteRecords_t *d;
	rd_kafka_event_t *ev;

	if (n % 2)
		die("a partition without an offset");
	for (int i = 0; i < n; i += 2)
		rd_kafka_topic_partition_list_add(list, name, (int) number(words[i]))->offset =
			strcmp(words[i + 1], "end") == 0 ? RD_KAFKA_OFFSET_END : number(words[i + 1]);
	d = rd_kafka_DeleteRecords_new(list);
	rd_kafka_DeleteRecords(a.rk, &d, 1, a.options, a.queue);
	ev = admin_result(a);
	res = rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(ev));
	for (int i = 0; i < res->cnt; i++)
		if (res->elems[i].err)
			die("%s [%d]: %s", name, res->elems[i].partition, rd_kafka_err2str(res->elems[i].err));
	rd_kafka_event_destroy(ev);
	rd_kafka_DeleteRecords_destroy(d);
	rd_kafka_topic_partition_list_destroy(list);
	admin_end(a);
}

/* One configuration resource out of an answer; fails if it carries an error. */
static const rd_kafka_ConfigResource_t *
config_result(rd_kafka_event_t *ev)
{
	const rd_kafka_ConfigResource_t **res;
	size_t		n;

	if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_ALTERCONFIGS_RESULT)
		res = rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(ev), &n);
	else
		res = rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ev), &n);
	if (n != 1 || rd_kafka_ConfigResource_error(res[0]))
		die("%s", n == 1 ? rd_kafka_ConfigResource_error_string(res[0]) : "no answer");
	return res[0];
}

static rd_kafka_event_t *
describe(Admin a, const char *name)
{
	rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);

	rd_kafka_DescribeConfigs(a.rk, &r, 1, a.options, a.queue);
	rd_kafka_ConfigResource_destroy(r);
	return admin_result(a);
}

/* AlterConfigs replaces all of a topic's settings, so those of before are sent along. */
static void
run_alter_config(const char *name, char **configs, int n)
{
	Admin		a = admin();
	rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
	rd_kafka_event_t *ev = describe(a, name);
	const rd_kafka_ConfigEntry_t **e;
	size_t		ne;
	int64_t		until = deadline();
	int			seen = 0;

	for (int i = 0; i < n; i++)
	{
		char	   *value = strchr(configs[i], '=');

		if (!value)
			die("not config=value: %s", configs[i]);
		*value++ = '\0';
		rd_kafka_ConfigResource_set_config(r, configs[i], value);
	}
	e = rd_kafka_ConfigResource_configs(config_result(ev), &ne);
	for (size_t i = 0; i < ne; i++)
	{
		bool		changed = false;

		for (int j = 0; j < n; j++)
			changed |= strcmp(rd_kafka_ConfigEntry_name(e[i]), configs[j]) == 0;
		if (!changed &&
			rd_kafka_ConfigEntry_source(e[i]) == RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG)
			rd_kafka_ConfigResource_set_config(r, rd_kafka_ConfigEntry_name(e[i]),
											   rd_kafka_ConfigEntry_value(e[i]));
	}
	rd_kafka_event_destroy(ev);
	rd_kafka_AlterConfigs(a.rk, &r, 1, a.options, a.queue);
	ev = admin_result(a);
	config_result(ev);
	rd_kafka_event_destroy(ev);
	for (;;)
	{
		ev = describe(a, name);
		e = rd_kafka_ConfigResource_configs(config_result(ev), &ne);
		seen = 0;
		for (size_t i = 0; i < ne; i++)
			for (int j = 0; j < n; j++)
				if (strcmp(rd_kafka_ConfigEntry_name(e[i]), configs[j]) == 0 &&
					strcmp(rd_kafka_ConfigEntry_value(e[i]), configs[j] + strlen(configs[j]) + 1) == 0)
					seen++;
		rd_kafka_event_destroy(ev);
		if (seen == n)
			break;
		again(a.rk, until, "configuration is not in force");
	}
	rd_kafka_ConfigResource_destroy(r);
	admin_end(a);
}

/* ---- rights ---- */

static rd_kafka_AclOperation_t
operation(const char *name)
{
	for (int i = RD_KAFKA_ACL_OPERATION_ALL; i < RD_KAFKA_ACL_OPERATION__CNT; i++)
		if (strcasecmp(rd_kafka_AclOperation_name(i), name) == 0)
			return i;
	die("no such operation: %s", name);
}

/* How many such rights there are. */
static size_t
count_acls(Admin a, rd_kafka_AclBindingFilter_t *filter)
{
	rd_kafka_event_t *ev;
	size_t		n;

	rd_kafka_DescribeAcls(a.rk, filter, a.options, a.queue);
	ev = admin_result(a);
	rd_kafka_DescribeAcls_result_acls(rd_kafka_event_DescribeAcls_result(ev), &n);
	rd_kafka_event_destroy(ev);
	return n;
}

static void
create_acl(Admin a, const char *principal, const char *topic, rd_kafka_AclOperation_t op)
{
	rd_kafka_AclBinding_t *acl = rd_kafka_AclBinding_new(RD_KAFKA_RESOURCE_TOPIC, topic, RD_KAFKA_RESOURCE_PATTERN_LITERAL,
														 principal, "*", op, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW,
														 errstr, sizeof(errstr));
	const rd_kafka_acl_result_t **res;
	rd_kafka_event_t *ev;
	size_t		n;

	if (!acl)
		die("%s", errstr);
	rd_kafka_CreateAcls(a.rk, &acl, 1, a.options, a.queue);
	ev = admin_result(a);
	res = rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(ev), &n);
	if (n != 1 || rd_kafka_acl_result_error(res[0]))
		die("%s", n == 1 ? rd_kafka_error_string(rd_kafka_acl_result_error(res[0])) : "no answer");
	rd_kafka_event_destroy(ev);
	rd_kafka_AclBinding_destroy(acl);
}

static void
run_acl(bool grant, const char *principal, const char *topic, char **operations, int nops)
{
	Admin		a = admin();

	for (int i = 0; i < nops; i++)
	{
		rd_kafka_AclOperation_t op = operation(operations[i]);
		rd_kafka_AclBindingFilter_t *filter =
			rd_kafka_AclBindingFilter_new(RD_KAFKA_RESOURCE_TOPIC, topic, RD_KAFKA_RESOURCE_PATTERN_LITERAL,
										  principal, "*", op, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, errstr, sizeof(errstr));
		int64_t		until = deadline();

		if (!filter)
			die("%s", errstr);
		if (grant)
			create_acl(a, principal, topic, op);
		else
		{
			rd_kafka_DeleteAcls(a.rk, &filter, 1, a.options, a.queue);
			rd_kafka_event_destroy(admin_result(a));
		}
		while ((count_acls(a, filter) > 0) != grant)
			again(a.rk, until, "rights are not in force");
		rd_kafka_AclBinding_destroy(filter);
	}
	admin_end(a);
}

/* librdkafka's features, separated by commas, and its version. */
static void
run_features(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char		features[512];
	size_t		size = sizeof(features);

	if (rd_kafka_conf_get(conf, "builtin.features", features, &size) != RD_KAFKA_CONF_OK)
		die("no builtin.features");
	printf("%s\t%s\n", features, rd_kafka_version_str());
	rd_kafka_conf_destroy(conf);
}

/* ---- reading ---- */

/* A broker that has just started may not know yet what it leads. */
static void
query_watermarks(rd_kafka_t *rk, const char *name, int part, int64_t *low, int64_t *high)
{
	int64_t		until = deadline();
	rd_kafka_resp_err_t err;

	while ((err = rd_kafka_query_watermark_offsets(rk, name, part, low, high, timeout_ms)) != 0)
	{
		if (err != RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION && err != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE &&
			err != RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE && err != RD_KAFKA_RESP_ERR__TRANSPORT)
			die("%s [%d]: %s", name, part, rd_kafka_err2str(err));
		again(rk, until, rd_kafka_err2str(err));
	}
}

/* The last stable offset, of at least 'end' if that is so soon. */
static int64_t
stable_end(rd_kafka_t *committed, const char *name, int part, int64_t end, int64_t until)
{
	int64_t		low,
				lso;

	for (;;)
	{
		query_watermarks(committed, name, part, &low, &lso);
		if (lso >= end || now_us(CLOCK_MONOTONIC) > until)
			return lso;
		rd_kafka_poll(committed, 20);
	}
}

static int64_t
settle_deadline(void)
{
	return now_us(CLOCK_MONOTONIC) + (int64_t) SETTLE_MS * 1000;
}

static void
run_watermarks(const char *name)
{
	rd_kafka_t *all = consumer("read_uncommitted");
	rd_kafka_t *committed = consumer("read_committed");
	int			parts = existing_partitions(all, name);

	for (int p = 0; p < parts; p++)
	{
		int64_t		low,
					high,
					lso;

		query_watermarks(committed, name, p, &low, &lso);
		query_watermarks(all, name, p, &low, &high);
		printf("%d\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n", p, low, high, lso);
	}
	rd_kafka_destroy(committed);
	rd_kafka_destroy(all);
}

static void
put_escaped(const void *data, size_t len)
{
	const unsigned char *s = data;

	if (!s)
	{
		fputs("\\N", stdout);
		return;
	}
	for (size_t i = 0; i < len; i++)
		switch (s[i])
		{
			case '\t':
				fputs("\\t", stdout);
				break;
			case '\n':
				fputs("\\n", stdout);
				break;
			case '\r':
				fputs("\\r", stdout);
				break;
			case '\\':
				fputs("\\\\", stdout);
				break;
			default:
				if (s[i] < 0x20 || s[i] == 0x7f)
					printf("\\x%02X", s[i]);
				else
					putchar(s[i]);
		}
}

typedef void (*Visit) (int part, const rd_kafka_message_t *m);

/*
 * Everything up to the last stable offsets of now (or the ends of the log, if
 * what is not committed is wanted too), partition by partition; NULL at the end
 * of each.
 */
static void
visit(const char *name, const char *isolation, Visit each)
{
	rd_kafka_t *rk = consumer(isolation);
	rd_kafka_t *all = consumer("read_uncommitted");
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL);
	int			parts = existing_partitions(rk, name);
	int64_t		until = settle_deadline();

	for (int p = 0; p < parts; p++)
	{
		int64_t		low,
					end,
					next;

		query_watermarks(all, name, p, &low, &end);
		end = stable_end(rk, name, p, end, until);
		if (low >= end)
			continue;
		if (rd_kafka_consume_start(rkt, p, low) < 0)
			die("%s [%d]: %s", name, p, rd_kafka_err2str(rd_kafka_last_error()));
		for (next = low; next < end;)
		{
			rd_kafka_message_t *m = rd_kafka_consume(rkt, p, timeout_ms);

			if (!m)
				die("%s [%d]: no record at %" PRId64, name, p, next);
			if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
				die("%s [%d]: %s", name, p, rd_kafka_message_errstr(m));
			if (!m->err && m->offset < end)
				each(p, m);
			next = m->err ? m->offset : m->offset + 1;
			rd_kafka_message_destroy(m);
		}
		each(p, NULL);
		rd_kafka_consume_stop(rkt, p);
	}
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(all);
	rd_kafka_destroy(rk);
}

static void
put_record(int part, const rd_kafka_message_t *m)
{
	if (!m)
		return;
	printf("%d\t%" PRId64 "\t", part, m->offset);
	put_escaped(m->key, m->key_len);
	putchar('\t');
	put_escaped(m->payload, m->len);
	putchar('\n');
}

/* Offsets that follow one another, as one line. */
static void
put_range(int part, const rd_kafka_message_t *m)
{
	static int64_t from = -1;
	static int64_t until;

	if (from >= 0 && (!m || m->offset != until))
	{
		printf("%d\t%" PRId64 "\t%" PRId64 "\n", part, from, until);
		from = -1;
	}
	if (!m)
		return;
	if (from < 0)
		from = m->offset;
	until = m->offset + 1;
}

/*
 * The next records of all partitions, as they come; the first line says that all
 * behind it will be seen.
 */
static void
run_follow(const char *name)
{
	rd_kafka_t *rk = consumer("read_committed");
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(rk, name, NULL);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	int			parts = existing_partitions(rk, name);
	int64_t		n = 0;

	for (int p = 0; p < parts; p++)
	{
		int64_t		low,
					end;

		query_watermarks(rk, name, p, &low, &end);
		if (rd_kafka_consume_start_queue(rkt, p, end, queue) < 0)
			die("%s [%d]: %s", name, p, rd_kafka_err2str(rd_kafka_last_error()));
	}
	puts("ready");
	fflush(stdout);
	while (n < gen_count)
	{
		rd_kafka_message_t *m = rd_kafka_consume_queue(queue, timeout_ms);
		int64_t		at = now_us(CLOCK_REALTIME);

		if (!m)
			die("%s: %" PRId64 " records, and no more", name, n);
		if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
			die("%s: %s", name, rd_kafka_message_errstr(m));
		if (!m->err)
		{
			printf("%" PRId64 "\t", at);
			put_escaped(m->key, m->key_len);
			putchar('\n');
			n++;
		}
		rd_kafka_message_destroy(m);
	}
	for (int p = 0; p < parts; p++)
		rd_kafka_consume_stop(rkt, p);
	rd_kafka_queue_destroy(queue);
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
}

/* ---- producing ---- */

static rd_kafka_t *
producer(rd_kafka_conf_t *conf, const char *linger_ms)
{
	set(conf, "acks", "all");
	set(conf, "enable.idempotence", "true");
	set(conf, "linger.ms", linger_ms);
	set(conf, "retry.backoff.ms", "100");
	set(conf, "queue.buffering.max.messages", "1000000");
	set(conf, "queue.buffering.max.kbytes", "262144");
	set(conf, "batch.size", "1000000");
	return client(RD_KAFKA_PRODUCER, conf);
}

/* Split at tabs, in place. */
static int
split(char *line, char **words)
{
	int			n = 0;
	char	   *word;

	while ((word = strsep(&line, "\t")) != NULL)
	{
		if (n == MAX_WORDS)
			die("too many fields");
		words[n++] = word;
	}
	return n;
}

/* Undo the escapes in place; NULL for \N. */
static char *
unescape(char *s, size_t *len)
{
	char	   *to = s;

	*len = 0;
	if (strcmp(s, "\\N") == 0)
		return NULL;
	for (char *from = s; *from; from++)
	{
		unsigned	hex;

		if (*from != '\\')
			*to++ = *from;
		else if (*++from == 'x' && sscanf(from + 1, "%2x", &hex) == 1)
		{
			*to++ = (char) hex;
			from += isxdigit((unsigned char) from[2]) ? 2 : 1;
		}
		else if (*from == '\0')
			break;
		else
			*to++ = *from == 't' ? '\t' : *from == 'n' ? '\n' : *from == 'r' ? '\r' : *from;
	}
	*len = to - s;
	return s;
}

static rd_kafka_topic_partition_list_t *last_acked;
static rd_kafka_topic_partition_list_t *in_script_txn;	/* the same, of the transaction */

static void
note_acked(rd_kafka_topic_partition_list_t *list, const char *topic, const rd_kafka_message_t *m)
{
	rd_kafka_topic_partition_t *tp = rd_kafka_topic_partition_list_find(list, topic, m->partition);

	if (!tp)
		tp = rd_kafka_topic_partition_list_add(list, topic, m->partition);
	tp->offset = m->offset;
}

static void
script_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	const char *topic = rd_kafka_topic_name(m->rkt);

	(void) rk;
	(void) opaque;
	if (m->err)
	{
		n_failed++;
		return;
	}
	n_acked++;
	note_acked(last_acked, topic, m);
	note_acked(in_script_txn, topic, m);
}

static void
forget_script_txn(void)
{
	if (in_script_txn)
		rd_kafka_topic_partition_list_destroy(in_script_txn);
	in_script_txn = rd_kafka_topic_partition_list_new(8);
}

/* The end of the transaction can be seen, unless another one stays open. */
static void
see_end_of_script_txn(void)
{
	static rd_kafka_t *committed;
	int64_t		until = settle_deadline();

	if (!committed && in_script_txn->cnt > 0)
		committed = consumer("read_committed");
	for (int i = 0; i < in_script_txn->cnt; i++)
		(void) stable_end(committed, in_script_txn->elems[i].topic, in_script_txn->elems[i].partition,
						  in_script_txn->elems[i].offset + 1, until);
}

static rd_kafka_resp_err_t
script_produce(rd_kafka_t *rk, char **w, int n)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(4);
	rd_kafka_resp_err_t err;
	size_t		klen,
				vlen;
	char	   *key = unescape(w[3], &klen);
	char	   *value = unescape(w[4], &vlen);
	int64_t		ts = n > 5 && *w[5] ? number(w[5]) : 0;

	for (int i = 6; i < n; i++)
	{
		char	   *hvalue = strchr(w[i], '=');
		size_t		len;

		if (hvalue)
			*hvalue++ = '\0';
		hvalue = hvalue ? unescape(hvalue, &len) : NULL;
		rd_kafka_header_add(headers, w[i], -1, hvalue, hvalue ? (ssize_t) len : 0);
	}
	while ((err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(w[1]),
									RD_KAFKA_V_PARTITION(atoi(w[2])),
									RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
									RD_KAFKA_V_KEY(key, klen),
									RD_KAFKA_V_VALUE(value, vlen),
									RD_KAFKA_V_TIMESTAMP(ts),
									RD_KAFKA_V_HEADERS(headers),
									RD_KAFKA_V_END)) == RD_KAFKA_RESP_ERR__QUEUE_FULL)
		rd_kafka_poll(rk, 100);
	if (err)
		rd_kafka_headers_destroy(headers);
	rd_kafka_poll(rk, 0);
	return err;
}

/* R topic part id letters [header]: one letter many times, which compresses well. */
static rd_kafka_resp_err_t
script_repeat(rd_kafka_t *rk, char **w, int n)
{
	size_t		letters = (size_t) number(w[4]);
	bool		in_header = n > 5;
	char	   *value = malloc(letters + 64);
	char	   *header = NULL;
	int			len;
	rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
	rd_kafka_resp_err_t err;

	if (value == NULL)
		die("no memory for %s letters", w[4]);
	len = sprintf(value, "{\"id\": %s, \"note\": \"", w[3]);
	if (in_header)
	{
		header = malloc(letters + 1);
		if (header == NULL)
			die("no memory for %s letters", w[4]);
		memset(header, 'x', letters);
		rd_kafka_header_add(headers, w[5], -1, header, (ssize_t) letters);
		free(header);
	}
	else
	{
		memset(value + len, 'x', letters);
		len += (int) letters;
	}
	len += sprintf(value + len, "\"}");
	err = rd_kafka_producev(rk, RD_KAFKA_V_TOPIC(w[1]), RD_KAFKA_V_PARTITION(atoi(w[2])),
							RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_FREE),
							RD_KAFKA_V_VALUE(value, len), RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
	if (err)
	{
		rd_kafka_headers_destroy(headers);
		free(value);
	}
	rd_kafka_poll(rk, 0);
	return err;
}

/*
 * One command a line, fields separated by tabs, one line of answer each,
 * "E message" when it failed:
 *
 *	P topic part key value [ts_ms [hname=hvalue ...]]	OK (sent, not yet acknowledged)
 *	R topic part id letters [header]	OK: {"id": id, "note": "xxx..."}, or with an
 *			empty note and the letters in a header of that name
 *	F		wait for all: F acked failed (since the last F)
 *	O		wait for all: O topic:part:offset ... of the last acknowledged ones
 *	B C A	begin, commit, abort a transaction (needs -X transactional.id=...)
 *	Q		quit, as at the end of input; an open transaction stays open
 */
static void
run_script(void)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_error_t *error;
	char	   *line = NULL;
	size_t		size = 0;
	ssize_t		len;
	bool		transactional = false;

	last_acked = rd_kafka_topic_partition_list_new(8);
	forget_script_txn();
	for (int i = 0; i < nprops; i++)
		transactional |= strncmp(props[i], "transactional.id=", 17) == 0;
	rd_kafka_conf_set_dr_msg_cb(conf, script_report);
	rk = producer(conf, "1");
	if (transactional && (error = rd_kafka_init_transactions(rk, timeout_ms)) != NULL)
		die("%s", rd_kafka_error_string(error));

	while ((len = getline(&line, &size, stdin)) > 0)
	{
		char	   *w[MAX_WORDS];
		int			n;
		rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

		if (line[len - 1] == '\n')
			line[len - 1] = '\0';
		n = split(line, w);
		error = NULL;
		if (strcmp(w[0], "P") == 0 && n >= 5)
		{
			if (!(err = script_produce(rk, w, n)))
				puts("OK");
		}
		else if (strcmp(w[0], "R") == 0 && n >= 5)
		{
			if (!(err = script_repeat(rk, w, n)))
				puts("OK");
		}
		else if (strcmp(w[0], "F") == 0)
		{
			if (!(err = rd_kafka_flush(rk, timeout_ms)))
				printf("F %" PRId64 " %" PRId64 "\n", n_acked, n_failed);
			n_acked = n_failed = 0;
		}
		else if (strcmp(w[0], "O") == 0)
		{
			if (!(err = rd_kafka_flush(rk, timeout_ms)))
			{
				putchar('O');
				for (int i = 0; i < last_acked->cnt; i++)
					printf(" %s:%d:%" PRId64, last_acked->elems[i].topic,
						   last_acked->elems[i].partition, last_acked->elems[i].offset);
				putchar('\n');
			}
		}
		else if (strchr("BCA", w[0][0]) && w[0][0] && !w[0][1])
		{
			/* An aborted record shall be in the log, not purged from our queue. */
			if (w[0][0] == 'A')
				rd_kafka_flush(rk, timeout_ms);
			if (w[0][0] == 'B')
				forget_script_txn();
			error = w[0][0] == 'B' ? rd_kafka_begin_transaction(rk) :
				w[0][0] == 'C' ? rd_kafka_commit_transaction(rk, timeout_ms) :
				rd_kafka_abort_transaction(rk, timeout_ms);
			if (!error && w[0][0] != 'B')
				see_end_of_script_txn();
			if (!error)
				puts("OK");
		}
		else if (strcmp(w[0], "Q") == 0)
			break;
		else
			puts("E unknown command or too few fields");
		if (err)
			printf("E %s\n", rd_kafka_err2str(err));
		if (error)
		{
			printf("E %s\n", rd_kafka_error_string(error));
			rd_kafka_error_destroy(error);
		}
		fflush(stdout);
	}
	free(line);
	if (!transactional)
		rd_kafka_flush(rk, timeout_ms);
	rd_kafka_topic_partition_list_destroy(last_acked);
	if (!transactional)
		rd_kafka_destroy(rk);
}

/* ---- synthetic records ---- */

/* splitmix64 */
static uint64_t
hash(uint64_t x)
{
	x = (x + gen_seed * 0x632be59bd9b4e019ULL) * 0x9e3779b97f4a7c15ULL;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/*
 * The id of record i.  All records of an id are in one partition, in order: it
 * is congruent to i modulo the number of partitions, or, with ranges, each
 * partition's ids ascend in a range of its own.  Hot: the cube
 * of a uniform number, so that a tenth of the ids gets 46 % of the records.
 */
static int64_t
gen_id(int64_t i)
{
	uint64_t	per_part;
	uint64_t	k;

	if (gen_ranges)
		return i % gen_parts * (gen_count / gen_parts + 1) + i / gen_parts;
	if (gen_keys == 0)
		return i;
	per_part = (gen_keys + gen_parts - 1) / gen_parts;
	k = hash(i ^ 0x5bd1e995) % per_part;
	if (gen_hot)
	{
		double		u = (double) (hash(i ^ 0x5bd1e995) >> 11) / 9007199254740992.0;

		k = (uint64_t) (u * u * u * per_part);
	}
	return (int64_t) (k * gen_parts + i % gen_parts);
}

static char *
put_int(char *to, int64_t n)
{
	char		digits[20];
	int			len = 0;

	do
		digits[len++] = '0' + n % 10;
	while ((n /= 10) > 0);
	while (len > 0)
		*to++ = digits[--len];
	return to;
}

static char *
put_text(char *to, const char *s)
{
	return stpcpy(to, s);
}

static char *
put_padded(char *to, int64_t n, int width)
{
	for (int i = width - 1; i >= 0; i--, n /= 10)
		to[i] = '0' + n % 10;
	return to + width;
}

/* The columns of record i.  Rows repeat nothing but the id. */
static void
gen_row(int64_t i, Row *row)
{
	static const char text[] =
		"the quick brown fox jumps over the lazy dog while the sun sets behind"
		" hills of heather and a train of empty wagons rolls slowly to the sea";
	uint64_t	h = hash(i);
	int64_t		us = i * 1000123 % (INT64_C(28) * 86400 * 1000000);
	int			from = h % 70;
	int			len = (h >> 8) % 49;
	char	   *to = row->at;

	row->qty = 1 + (h >> 16) % 1000;
	row->cents = (h >> 32) % 1000000;
	to = put_text(to, "2026-01-");
	to = put_padded(to, 1 + us / (INT64_C(86400) * 1000000), 2);
	*to++ = 'T';
	to = put_padded(to, us / (INT64_C(3600) * 1000000) % 24, 2);
	*to++ = ':';
	to = put_padded(to, us / 60000000 % 60, 2);
	*to++ = ':';
	to = put_padded(to, us / 1000000 % 60, 2);
	*to++ = '.';
	to = put_padded(to, us % 1000000, 6);
	put_text(to, "+00:00");

	memcpy(row->note, text + from, len);
	row->note[len] = '\0';
	if (i % 64 == 7)			/* what an escape-aware decoder has to meet */
		put_text(row->note + len, " \\\"caf\u00e9\\\"\\n");
	put_text(row->note_copy, row->note);
	put_text(row->note_plain, row->note);
	if (i % 64 == 7)
	{
		put_text(row->note_copy + len, " \"caf\u00e9\"\\n");
		put_text(row->note_plain + len, " \"caf\u00e9\"\n");
	}
	row->us = INT64_C(1767225600000000) + us;
}

/* Columns 6 to 17 of the wide shape, as JSON fields or as COPY columns. */
static char *
put_wide(char *to, int64_t i, bool copy)
{
	static const char *const names[] = {"n1", "n2", "n3", "n4", "t1", "t2", "t3", "t4"};
	uint64_t	h = hash(~i);

	to += sprintf(to, copy ? "\t%s\t%.6f" : ",\"ok\":%s,\"ratio\":%.6f",
				  copy ? (h & 1 ? "t" : "f") : (h & 1 ? "true" : "false"),
				  (double) (h >> 11) / 9007199254740992.0);
	for (int n = 0; n < 8; n++)
	{
		uint64_t	v = hash(h + n);

		if (v % 16 == 0)
			to += copy ? sprintf(to, "\t\\N") : sprintf(to, ",\"%s\":null", names[n]);
		else if (n < 4)
			to += copy ? sprintf(to, "\t%" PRId64, (int64_t) v)
				: sprintf(to, ",\"%s\":%" PRId64, names[n], (int64_t) v);
		else
			to += copy ? sprintf(to, "\t%016" PRIx64, v)
				: sprintf(to, ",\"%s\":\"%016" PRIx64 "\"", names[n], v);
	}
	return to + sprintf(to, copy ? "\t[\"a\", \"b%d\"]\t{\"x\": %d, \"y\": {\"z\": null}}"
						: ",\"tags\":[\"a\",\"b%d\"],\"extra\":{\"x\":%d,\"y\":{\"z\":null}}",
						(int) (h % 10), (int) (h % 1000));
}

/* Text of n bytes that needs no escapes and does not compress well. */
static char *
put_noise(char *to, uint64_t seed, int64_t n)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz 01234";
	uint64_t	h = 0;

	for (int64_t i = 0; i < n; i++, h >>= 5)
	{
		if (i % 12 == 0)
			h = hash(seed + i);
		*to++ = letters[h % 32];
	}
	return to;
}

/* Four fields that nobody asked for: a number, two texts and an object. */
static char *
put_filler(char *to, int64_t i, int n)
{
	uint64_t	h = hash(i ^ ((uint64_t) n << 48));

	to += sprintf(to, ",\"f%02d\":%" PRIu64 ",\"f%02d\":\"", n, h, n + 1);
	to = put_noise(to, h + 1, 32 + h % 17);
	to += sprintf(to, "\",\"f%02d\":\"", n + 2);
	to = put_noise(to, h + 2, 32 + (h >> 8) % 17);
	return to + sprintf(to, "\",\"f%02d\":{\"a\":%d,\"b\":[%d,\"%03x\"]}", n + 3,
						(int) (h % 10000), (int) (h % 1000), (int) (h % 4096));
}

/* Forty fields: eight columns, each followed by four others. */
static char *
gen_broad(int64_t i, int64_t id, const Row *row, char *to)
{
	uint64_t	h = hash(~i);

	to += sprintf(to, "{\"id\":%" PRId64, id);
	to = put_filler(to, i, 1);
	to += sprintf(to, ",\"qty\":%" PRId64, row->qty);
	to = put_filler(to, i, 5);
	to += sprintf(to, ",\"price\":%" PRId64 ".%02d", row->cents / 100, (int) (row->cents % 100));
	to = put_filler(to, i, 9);
	to += sprintf(to, ",\"at\":\"%s\"", row->at);
	to = put_filler(to, i, 13);
	to += sprintf(to, ",\"note\":\"%s\"", row->note);
	to = put_filler(to, i, 17);
	to += sprintf(to, ",\"total\":%" PRId64, (int64_t) (h >> 1));
	to = put_filler(to, i, 21);
	to += sprintf(to, ",\"ok\":%s", h & 1 ? "true" : "false");
	to = put_filler(to, i, 25);
	to += sprintf(to, ",\"ratio\":%.6f", (double) (h >> 11) / 9007199254740992.0);
	to = put_filler(to, i, 29);
	*to++ = '}';
	return to;
}

/*
 * What Kafka Connect's JsonConverter wants before a value: its schema, without
 * what it can do without.  It takes a Decimal from a number, too.
 */
#define SCHEMA(fields) "{\"schema\":{\"type\":\"struct\",\"fields\":[" fields "]},\"payload\":"
#define FIELD(type, name) "{\"type\":\"" type "\",\"field\":\"" name "\"}"

static const char connect_row[] = SCHEMA(
	FIELD("int64", "id") "," FIELD("int32", "qty") ","
	"{\"type\":\"bytes\",\"name\":\"org.apache.kafka.connect.data.Decimal\","
	"\"parameters\":{\"scale\":\"2\"},\"field\":\"price\"},"
	"{\"type\":\"string\",\"name\":\"io.debezium.time.ZonedTimestamp\",\"field\":\"at\"},"
	FIELD("string", "note"));
static const char connect_latency[] = SCHEMA(
	FIELD("int64", "id") "," FIELD("int32", "qty") ","
	FIELD("int64", "sent_us"));

/* What Debezium puts around a row, with schemas.enable=false. */
static const char debezium_before[] = "{\"before\":null,\"after\":";
static const char debezium_after[] =
	",\"source\":{\"version\":\"3.3.1.Final\",\"connector\":\"postgresql\",\"name\":\"shop\",\"ts_ms\":1767225600000,"
	"\"snapshot\":\"false\",\"db\":\"shop\",\"schema\":\"public\",\"table\":\"sales\",\"txId\":4711,\"lsn\":24023128},"
	"\"op\":\"u\",\"ts_ms\":1767225600123}";

/* A random UUID for each id, version 4. */
static char *
put_uuid(char *to, int64_t id)
{
	uint64_t	a = hash(id ^ INT64_C(0x7575696431)),
				b = hash(id ^ INT64_C(0x7575696432));

	return to + sprintf(to, "%08x-%04x-4%03x-%04x-%012" PRIx64, (unsigned) (a >> 32), (unsigned) (a >> 16 & 0xffff),
						(unsigned) (a & 0xfff), (unsigned) (0x8000 | (b >> 48 & 0x3fff)),
						b & UINT64_C(0xffffffffffff));
}

static size_t
gen_json(int64_t i, int64_t id, const Row *row, char *to)
{
	char	   *start = to;

	if (gen_shape == BROAD)
		return gen_broad(i, id, row, to) - start;
	if (gen_shape == CONNECT)
		to = put_text(to, connect_row);
	if (gen_shape == DEBEZIUM)
		to = put_text(to, debezium_before);
	to = put_text(to, "{\"id\":");
	if (gen_shape == UUID)
	{
		*to++ = '"';
		to = put_uuid(to, id);
		*to++ = '"';
	}
	else
		to = put_int(to, id);
	to = put_text(to, ",\"qty\":");
	to = put_int(to, row->qty);
	to = put_text(to, ",\"price\":");
	to = put_int(to, row->cents / 100);
	*to++ = '.';
	to = put_padded(to, row->cents % 100, 2);
	to = put_text(to, ",\"at\":\"");
	to = put_text(to, row->at);
	to = put_text(to, "\",\"note\":\"");
	if (gen_size == 0)
		to = put_text(to, row->note);
	else if (to - start + 2 < gen_size)
		to = put_noise(to, hash(~i), gen_size - (to - start) - 2);
	*to++ = '"';
	if (gen_shape == WIDE)
		to = put_wide(to, i, false);
	*to++ = '}';
	if (gen_shape == CONNECT)
		*to++ = '}';
	if (gen_shape == DEBEZIUM)
		to = put_text(to, debezium_after);
	return to - start;
}

/* The same in Avro, alone or as Debezium's converter writes an update. */
static size_t
gen_avro(int64_t i, int64_t id, const Row *row, char *to)
{
	char	   *start = to;

	to = wire_prefix(to, (uint32_t) ((gen_shape == AVRO_DEBEZIUM ? 1000001 : 1) + i % gen_ids));
	if (gen_shape == AVRO_DEBEZIUM)
	{
		to = avro_long(to, 0);	/* before: null */
		to = avro_long(to, 1);	/* after: a row */
	}
	to = avro_long(to, id);
	to = avro_long(to, row->qty);
	to = avro_decimal(to, row->cents);
	if (gen_shape == AVRO_DEBEZIUM)
		to = avro_string(to, row->at);
	else
		to = avro_long(to, row->us);
	to = avro_string(to, row->note_plain);
	if (gen_shape == AVRO_DEBEZIUM)
	{
		to = avro_string(to, "3.3.1.Final");
		to = avro_string(to, "postgresql");
		to = avro_string(to, "shop");
		to = avro_long(to, INT64_C(1767225600000));
		to = avro_long(to, 1);	/* snapshot, which may be null */
		to = avro_string(to, "false");
		to = avro_string(to, "shop");
		to = avro_string(to, "public");
		to = avro_string(to, "sales");
		to = avro_long(to, 1);	/* txId and lsn, as well */
		to = avro_long(to, 4711);
		to = avro_long(to, 1);
		to = avro_long(to, 24023128);
		to = avro_string(to, "u");
		to = avro_long(to, 1);	/* ts_ms, as well */
		to = avro_long(to, INT64_C(1767225600123));
	}
	return to - start;
}

/* The same in Protobuf. */
static size_t
gen_protobuf(int64_t i, int64_t id, const Row *row, char *to)
{
	char	   *start = to;

	to = wire_prefix(to, (uint32_t) (2000001 + i % gen_ids));
	*to++ = 0;					/* the first message of the file */
	to = proto_number(to, 1, id);
	to = proto_number(to, 2, row->qty);
	to = proto_decimal(to, 3, row->cents, 12, 2);
	to = proto_timestamp(to, 4, row->us);
	return proto_bytes(to, 5, row->note_plain, strlen(row->note_plain)) - start;
}

static void
gen_copy(int64_t i, int64_t id, const Row *row)
{
	char		wide[1024] = "";

	if (gen_shape == WIDE)
		put_wide(wide, i, true);
	fprintf(copy_file, "%" PRId64 "\t%" PRId64 "\t%" PRId64 ".%02d\t%s\t%s%s\n", id, row->qty,
			row->cents / 100, (int) (row->cents % 100), row->at, row->note_copy, wide);
}

/* --- transactions of gen --- */

/* What was acknowledged in the transaction that is open. */
typedef struct
{
	int			part;
	int64_t		off;
	int64_t		i;
} Acked;

static Acked *in_txn;
static int	n_in_txn;

static void
put_manifest(FILE *f, int part, int64_t off, int64_t i)
{
	Row			row = {0};

	gen_row(i, &row);
	fprintf(f, "%d\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n", part, off, gen_id(i), row.qty);
}

static void
gen_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	int64_t		i = (intptr_t) m->_private;

	(void) rk;
	(void) opaque;
	if (m->err)
	{
		n_failed++;
		return;
	}
	n_acked++;
	if (gen_txn)
		in_txn[n_in_txn++] = (Acked) {m->partition, m->offset, i};
	else if (manifest)
		put_manifest(manifest, m->partition, m->offset, i);
}

/* All that was produced is in the log, however long that takes. */
static void
flush_all(rd_kafka_t *rk)
{
	while (rd_kafka_outq_len(rk) > 0)
		rd_kafka_flush(rk, 1000);
}

/*
 * Ends a transaction of which all records are acknowledged.  What became of it
 * is known when it returns: a commit that was not answered is asked for again,
 * one that failed is aborted.
 */
static void
end_transaction(rd_kafka_t *rk, bool abort)
{
	bool	   *touched = calloc(gen_parts, sizeof(bool));
	rd_kafka_error_t *error;

	if (!touched)
		die("out of memory");
	flush_all(rk);
	for (;;)
	{
		error = abort ? rd_kafka_abort_transaction(rk, timeout_ms)
			: rd_kafka_commit_transaction(rk, timeout_ms);
		if (!error)
			break;
		if (rd_kafka_error_txn_requires_abort(error))
			abort = true;
		else if (!rd_kafka_error_is_retriable(error))
			die("%s", rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);
	}
	for (int n = 0; n < n_in_txn; n++)
	{
		FILE	   *f = abort ? hidden : manifest;

		if (f)
			put_manifest(f, in_txn[n].part, in_txn[n].off, in_txn[n].i);
		touched[in_txn[n].part] = true;
	}
	for (int p = 0; hidden && p < gen_parts; p++)
		if (touched[p])
			fprintf(hidden, "%d\t\\N\t\\N\t\\N\n", p);
	n_in_txn = 0;
	free(touched);
}

static void
begin_transaction(rd_kafka_t *rk)
{
	rd_kafka_error_t *error = rd_kafka_begin_transaction(rk);

	if (error)
		die("%s", rd_kafka_error_string(error));
}

static void
latency_report(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	(void) rk;
	(void) opaque;
	if (m->err)
		n_failed++;
	else
		printf("%" PRId64 "\t%" PRId64 "\n", (int64_t) (intptr_t) m->_private,
			   now_us(CLOCK_REALTIME));
}

/*
 * Record i, counted from --from, goes to partition i mod P; -n 0 goes on until
 * SIGTERM or SIGINT.  At the end, once all is acknowledged or given up, one
 * line: what was sent, acknowledged and lost.  Exit status 0 if nothing was lost.
 *
 *	-p PARTITIONS (default: the topic's)  -k seq|ranges|rand:N|hot:N  --from N  --seed S
 *	--rate RECORDS/s  -z CODEC  --shape small|wide|broad|connect|
 *						debezium|uuid|avro|avro-debezium|protobuf
 *	--ids N				N schemas by turns, from 1 (avro), from 1000001 (avro-debezium),
 *						from 2000001 (protobuf)
 *	--size BYTES		of a small record, by its note
 *	--manifest FILE		append part, offset, id, qty per acknowledged record
 *	--copy FILE			write the rows in COPY's text format (small, wide)
 *	--txn N				in transactions of N records at most (-X transactional.id=...),
 *						whose records get into the manifest when they are committed
 *	--abort PERCENT		so many transactions are aborted
 *	--hidden FILE		append what no reader of committed records sees: part, offset,
 *						id, qty of each aborted record, and part with NULLs for the
 *						marker that a transaction leaves in each of its partitions
 *
 * small: {"id","qty","price","at","note"}, about 120 bytes; wide: 17 fields;
 * broad: 40 fields, 1.5 kB;
 * connect: the same as small with its schema, for Kafka Connect's JsonConverter;
 * debezium: the same in an envelope without schemas; uuid: the same with a UUID as id;
 * avro, avro-debezium: small and debezium in Avro, behind the id of a schema; protobuf:
 * small in Protobuf.
 */
static void
run_gen(const char *name, bool latency)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_t *rk;
	rd_kafka_topic_t *rkt;
	int64_t		start,
				elapsed,
				sent = 0;
	int			left = 0;		/* records of this transaction to come */
	int			n_txn = 0;
	char	   *value = malloc(4096 + gen_size);
	char		key[24];
	Row			row = {0};

	if (!value)
		die("out of memory");
	if (gen_count < 0)
		die("-n COUNT is missing");
	if (copy_file && (gen_size || (gen_shape != SMALL && gen_shape != WIDE)))
		die("--copy writes the shapes small and wide");
	if (latency)
		rd_kafka_conf_set_dr_msg_cb(conf, latency_report);
	else
	{
		set(conf, "message.timeout.ms", "900000");
		if (gen_txn)
			set(conf, "transaction.timeout.ms", "900000");
		rd_kafka_conf_set_dr_msg_cb(conf, gen_report);
		if (!manifest && !gen_txn)
			set(conf, "delivery.report.only.error", "true");
	}
	rk = producer(conf, latency ? "0" : gen_rate > 0 ? "5" : "20");
	if (gen_parts == 0)
		gen_parts = existing_partitions(rk, name);
	rkt = rd_kafka_topic_new(rk, name, NULL);
	if (gen_txn)
	{
		rd_kafka_error_t *error = rd_kafka_init_transactions(rk, timeout_ms);

		if (error)
			die("%s", rd_kafka_error_string(error));
		in_txn = calloc(gen_txn, sizeof(Acked));
		if (!in_txn)
			die("out of memory");
	}

	start = now_us(CLOCK_MONOTONIC);
	for (; (gen_count == 0 || sent < gen_count) && !stopped; sent++)
	{
		int64_t		i = gen_from + sent;
		int64_t		id = gen_id(i);
		size_t		len;

		if (gen_rate > 0)
		{
			int64_t		due = start + (int64_t) (sent * 1e6 / gen_rate);
			int64_t		ahead;

			while ((ahead = due - now_us(CLOCK_MONOTONIC)) > 500 && !stopped)
				rd_kafka_poll(rk, ahead < 1000 ? 1 : ahead > 100000 ? 100 : (int) (ahead / 1000));
		}
		if (gen_txn && left == 0)
		{
			if (sent > 0)
				end_transaction(rk, (int) (hash(n_txn++) % 100) < gen_abort);
			begin_transaction(rk);
			left = 1 + (int) (hash(~(uint64_t) n_txn) % gen_txn);
		}
		left--;
		gen_row(i, &row);
		if (latency)
			len = sprintf(value, "%s{\"id\":%" PRId64 ",\"qty\":%" PRId64 ",\"sent_us\":%" PRId64 "}%s",
						  gen_shape == CONNECT ? connect_latency : "", id, row.qty,
						  now_us(CLOCK_REALTIME), gen_shape == CONNECT ? "}" : "");
		else
			len = gen_shape == PROTOBUF ? gen_protobuf(i, id, &row, value) :
				gen_shape >= AVRO ? gen_avro(i, id, &row, value) : gen_json(i, id, &row, value);
		while (rd_kafka_produce(rkt, i % gen_parts, RD_KAFKA_MSG_F_COPY, value, len,
								key, put_int(key, id) - key, (void *) (intptr_t) i) != 0)
		{
			if (rd_kafka_last_error() != RD_KAFKA_RESP_ERR__QUEUE_FULL)
				die("%s", rd_kafka_err2str(rd_kafka_last_error()));
			rd_kafka_poll(rk, 10);
		}
		if (copy_file)
			gen_copy(i, id, &row);
		if (gen_rate > 0 || sent % 1024 == 0)
			rd_kafka_poll(rk, 0);
	}
	if (gen_txn && sent > 0)
		end_transaction(rk, (int) (hash(n_txn) % 100) < gen_abort);
	flush_all(rk);
	elapsed = now_us(CLOCK_MONOTONIC) - start;
	if (latency || !(manifest || gen_txn))
		n_acked = sent - n_failed;
	fprintf(latency ? stderr : stdout,
			"sent=%" PRId64 " acked=%" PRId64 " failed=%" PRId64 " seconds=%.3f rate=%.0f\n",
			sent, n_acked, n_failed, elapsed / 1e6, sent * 1e6 / (elapsed ? elapsed : 1));
	if ((manifest && fclose(manifest) != 0) || (hidden && fclose(hidden) != 0) ||
		 (copy_file && fclose(copy_file) != 0))
		die("%s", strerror(errno));
	rd_kafka_topic_destroy(rkt);
	rd_kafka_destroy(rk);
	free(value);
	if (n_acked != sent)
		exit(1);
}

/* ---- mock cluster ---- */

/*
 * Write the mock cluster's bootstrap servers to a file, then read faults from
 * stdin, one a line, separated by blanks, each answered by OK or E:
 *
 *	topic NAME PARTITIONS			(others are made with 4 by their first use)
 *	push_errors APIKEY ERR...		the next responses to that request
 *	clear_errors APIKEY				those that have not been sent are not
 *	rtt BROKER MS | down BROKER | up BROKER | leader TOPIC PART BROKER
 *	follower TOPIC PART BROKER LOW HIGH	to be read from, with its ends of the log
 *									(-1: the leader's)
 *	topic_error TOPIC ERR			of its metadata, from here on
 */
static void
run_mock(const char *portfile, int brokers)
{
	rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, rd_kafka_conf_new());
	rd_kafka_mock_cluster_t *mock = rd_kafka_mock_cluster_new(rk, brokers);
	char		tmp[4096];
	char	   *line = NULL;
	size_t		size = 0;
	FILE	   *f;

	if (!mock)
		die("no mock cluster");
	snprintf(tmp, sizeof(tmp), "%s.tmp", portfile);
	f = open_file(tmp, "w");
	fprintf(f, "%s\n", rd_kafka_mock_cluster_bootstraps(mock));
	if (fclose(f) != 0 || rename(tmp, portfile) != 0)
		die("%s: %s", portfile, strerror(errno));

	while (getline(&line, &size, stdin) > 0)
	{
		char	   *w[MAX_WORDS] = {NULL};
		char	   *rest = line;
		char	   *word;
		int			n = 0;
		rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR_NO_ERROR;

		while ((word = strsep(&rest, " \t\n")) != NULL && n < MAX_WORDS)
			if (*word)
				w[n++] = word;
		if (n == 3 && strcmp(w[0], "topic") == 0)
			err = rd_kafka_mock_topic_create(mock, w[1], (int) number(w[2]), 1);
		else if (n > 2 && strcmp(w[0], "push_errors") == 0)
		{
			rd_kafka_resp_err_t errs[MAX_WORDS];

			for (int i = 2; i < n; i++)
				errs[i - 2] = (rd_kafka_resp_err_t) number(w[i]);
			rd_kafka_mock_push_request_errors_array(mock, (int16_t) number(w[1]), n - 2, errs);
		}
		else if (n == 2 && strcmp(w[0], "clear_errors") == 0)
			rd_kafka_mock_clear_request_errors(mock, (int16_t) number(w[1]));
		else if (n == 3 && strcmp(w[0], "rtt") == 0)
			err = rd_kafka_mock_broker_set_rtt(mock, (int) number(w[1]), (int) number(w[2]));
		else if (n == 2 && strcmp(w[0], "down") == 0)
			err = rd_kafka_mock_broker_set_down(mock, (int) number(w[1]));
		else if (n == 2 && strcmp(w[0], "up") == 0)
			err = rd_kafka_mock_broker_set_up(mock, (int) number(w[1]));
		else if (n == 4 && strcmp(w[0], "leader") == 0)
			err = rd_kafka_mock_partition_set_leader(mock, w[1], (int) number(w[2]), (int) number(w[3]));
		else if (n == 6 && strcmp(w[0], "follower") == 0)
		{
			err = rd_kafka_mock_partition_set_follower_wmarks(mock, w[1], (int) number(w[2]),
															  number(w[4]), number(w[5]));
			if (!err)
				err = rd_kafka_mock_partition_set_follower(mock, w[1], (int) number(w[2]), (int) number(w[3]));
		}
		else if (n == 3 && strcmp(w[0], "topic_error") == 0)
			rd_kafka_mock_topic_set_error(mock, w[1], (rd_kafka_resp_err_t) number(w[2]));
		else
			err = RD_KAFKA_RESP_ERR__INVALID_ARG;
		printf(err ? "E %s\n" : "OK\n", rd_kafka_err2str(err));
		fflush(stdout);
	}
	free(line);
	rd_kafka_mock_cluster_destroy(mock);
	rd_kafka_destroy(rk);
}

int
main(int argc, char **argv)
{
	enum
	{
		FROM = 256, RATE, MANIFEST, SEED, SHAPE, SIZE, IDS, COPY, TXN, ABORT, HIDDEN
	};
	static const struct option options[] = {
		{"count", required_argument, NULL, 'n'},
		{"from", required_argument, NULL, FROM},
		{"rate", required_argument, NULL, RATE},
		{"manifest", required_argument, NULL, MANIFEST},
		{"seed", required_argument, NULL, SEED},
		{"shape", required_argument, NULL, SHAPE},
		{"size", required_argument, NULL, SIZE},
		{"ids", required_argument, NULL, IDS},
		{"copy", required_argument, NULL, COPY},
		{"txn", required_argument, NULL, TXN},
		{"abort", required_argument, NULL, ABORT},
		{"hidden", required_argument, NULL, HIDDEN},
		{NULL, 0, NULL, 0}
	};
	struct sigaction act = {.sa_handler = handle_stop};
	const char *command;
	int			c;

	while ((c = getopt_long(argc, argv, "b:X:t:n:p:k:z:", options, NULL)) != -1)
		switch (c)
		{
			case 'b':
				bootstrap = optarg;
				break;
			case 'z':
				if (asprintf(&optarg, "compression.codec=%s", optarg) < 0)
					die("out of memory");
				/* fall through */
			case 'X':
				if (nprops == MAX_PROPS)
					die("too many -X");
				props[nprops++] = optarg;
				break;
			case 't':
				timeout_ms = (int) (atof(optarg) * 1000);
				break;
			case 'n':
				gen_count = number(optarg);
				break;
			case 'p':
				gen_parts = (int) number(optarg);
				break;
			case 'k':
				gen_hot = strncmp(optarg, "hot:", 4) == 0;
				if (gen_hot || strncmp(optarg, "rand:", 5) == 0)
					gen_keys = number(strchr(optarg, ':') + 1);
				else if (strcmp(optarg, "ranges") == 0)
					gen_ranges = true;
				else if (strcmp(optarg, "seq") != 0)
					die("-k seq, ranges, rand:N or hot:N");
				break;
			case FROM:
				gen_from = number(optarg);
				break;
			case RATE:
				gen_rate = atof(optarg);
				break;
			case MANIFEST:
				manifest = open_file(optarg, "a");
				break;
			case SEED:
				gen_seed = (uint64_t) number(optarg);
				break;
			case SHAPE:
				gen_shape = strcmp(optarg, "wide") == 0 ? WIDE :
					strcmp(optarg, "broad") == 0 ? BROAD :
					strcmp(optarg, "connect") == 0 ? CONNECT :
					strcmp(optarg, "debezium") == 0 ? DEBEZIUM :
					strcmp(optarg, "uuid") == 0 ? UUID :
					strcmp(optarg, "avro") == 0 ? AVRO :
					strcmp(optarg, "avro-debezium") == 0 ? AVRO_DEBEZIUM :
					strcmp(optarg, "protobuf") == 0 ? PROTOBUF : SMALL;
				if (gen_shape == SMALL && strcmp(optarg, "small") != 0)
					die("--shape small, wide, broad, connect, debezium, uuid, avro, avro-debezium or protobuf");
				break;
			case SIZE:
				gen_size = number(optarg);
				if (gen_size < 0 || gen_size > 64 * 1024 * 1024)
					die("--size: 0 to 67108864");
				break;
			case IDS:
				gen_ids = number(optarg);
				if (gen_ids < 1)
					die("--ids: 1 and more");
				break;
			case COPY:
				copy_file = open_file(optarg, "w");
				break;
			case TXN:
				gen_txn = (int) number(optarg);
				if (gen_txn < 1 || gen_txn > 1000000)
					die("--txn: 1 to 1000000");
				break;
			case ABORT:
				gen_abort = (int) number(optarg);
				break;
			case HIDDEN:
				hidden = open_file(optarg, "a");
				break;
			default:
				return 2;
		}
	argc -= optind;
	argv += optind;
	if (argc < 1)
		die("no command; the head of the source lists them");
	command = argv[0];
	if (strcmp(command, "gen") == 0 || strcmp(command, "latency") == 0)
	{
		sigaction(SIGINT, &act, NULL);
		sigaction(SIGTERM, &act, NULL);
		setvbuf(stdout, NULL, _IOLBF, 0);
	}
	signal(SIGPIPE, SIG_IGN);

#define COMMAND(name, n) (strcmp(command, name) == 0 && argc > (n))
	if (COMMAND("wait-ready", 0))
		run_wait_ready();
	else if (COMMAND("create-topic", 2))
		run_create_topic(argv[1], (int) number(argv[2]), argv + 3, argc - 3);
	else if (COMMAND("delete-topic", 1))
		run_delete_topic(argv[1]);
	else if (COMMAND("add-partitions", 2))
		run_add_partitions(argv[1], (int) number(argv[2]));
	else if (COMMAND("delete-records", 3))
		run_delete_records(argv[1], argv + 2, argc - 2);
	else if (COMMAND("alter-config", 2))
		run_alter_config(argv[1], argv + 2, argc - 2);
	else if (COMMAND("grant", 3) || COMMAND("revoke", 3))
		run_acl(argv[0][0] == 'g', argv[1], argv[2], argv + 3, argc - 3);
	else if (COMMAND("features", 0))
		run_features();
	else if (COMMAND("leaders", 1))
		run_leaders(argv[1]);
	else if (COMMAND("watermarks", 1))
		run_watermarks(argv[1]);
	else if (COMMAND("cat", 1))
		visit(argv[1], "read_committed", put_record);
	else if (COMMAND("follow", 1))
		run_follow(argv[1]);
	else if (COMMAND("ranges", 1))
		visit(argv[1], argc > 2 ? argv[2] : "read_committed", put_range);
	else if (COMMAND("script", 0))
		run_script();
	else if (COMMAND("gen", 1))
		run_gen(argv[1], false);
	else if (COMMAND("latency", 1))
		run_gen(argv[1], true);
	else if (COMMAND("mock", 1))
		run_mock(argv[1], argc > 2 ? (int) number(argv[2]) : 1);
	else
		die("%s: unknown command or too few arguments", command);
	return 0;
}
