/*
 * source_int.h
 *	  What the files source*.c share; nobody else includes it.
 *
 *	source.c		opens handles
 *	source_close.c	closes them, in any case
 *	source_pipe.c	the pipe that wakes
 *	source_part.c	topics and partitions: states, epochs, start and stop
 *	source_conf.c	the configuration of librdkafka
 *	source_poll.c	records: the hot path
 *	source_judge.c	ends, errors, and the tail check
 *	source_slots.c	messages handed out, release
 *	source_event.c	what is told: events of partitions and of the client
 *	source_client.c	trouble of the client as a whole
 *	source_serve.c	the main queue
 *	source_error.c	what an error code of librdkafka means
 *	source_words.c	what is told in words only, and which option mends it
 *	source_verify.c	why the certificate of a broker is refused
 *	source_watch.c	interruptions, which only logs tell
 *	source_stats.c	librdkafka's statistics
 *	source_wait.c	waiting for what brokers answer
 *	source_admin.c	blocking queries about topics and the cluster
 *	source_offsets.c	and about offsets
 *
 * No error is raised and nothing is allocated by palloc while a message or an
 * event of librdkafka is held that nobody else knows of: such a message would
 * be lost, and destroying its handle would wait for it.
 */
#ifndef KS_SOURCE_INT_H
#define KS_SOURCE_INT_H

#include "postgres.h"

#include <librdkafka/rdkafka.h>

#if defined(RD_KAFKA_VERSION) && RD_KAFKA_VERSION < 0x020002ff
#error "kafka_sink needs librdkafka 2.0.2 or later"
#endif

#include "lib/ilist.h"
#include "portability/instr_time.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "kafka/source.h"

/* The headers of librdkafka before 2.1 do not name it, the library may know it. */
#define KS_ERR_LOG_TRUNCATION	((rd_kafka_resp_err_t) -139)

/* What librdkafka says when ks_source_verify_conf()'s callback refuses. */
#define KS_VERIFY_FACILITY	"SSLCERTVRFY"

/* Before it, SCRAM does not work with Kafka 4. */
#define KS_RDKAFKA_SCRAM		0x020601ff

/* Messages taken from librdkafka at once. */
#define KS_SOURCE_CHUNK		512

/* Debug contexts whose logs source_watch.c reads. */
#define KS_WATCH_DEBUG		"topic,broker"
#define KS_UNPACKING_DEBUG	",msg"

/*
 * What a partition is in.  Its transitions are made by ks_source_set_state()
 * alone and listed in src/README.md.  What arrives counts in CHECKING and
 * FETCHING only.
 */
typedef enum KsPartState
{
	KS_PART_STOPPED,
	KS_PART_CHECKING,			/* the first thing delivered is compared with last_off */
	KS_PART_FETCHING,
	KS_PART_SUSPECT,			/* interrupted: to be started again with a tail check */
	KS_PART_OUT_OF_RANGE,		/* which end of the log it is beyond is to be asked */
	KS_PART_FAILED				/* gives nothing until it is started again */
} KsPartState;

#define KS_PART_RECEIVES(part) \
	((part)->state == KS_PART_FETCHING || (part)->state == KS_PART_CHECKING)

/* Events of a partition that wait, in the order in which they are told. */
#define KS_PENDING_TAIL		0x01	/* tail_event */
#define KS_PENDING_EOF		0x02	/* eof */
#define KS_PENDING_RANGE	0x04	/* out of range: watermarks to be asked for */
#define KS_PENDING_FAILURE	0x08	/* failure, failure_off, err */
#define KS_PENDING_LEADER	0x10	/* away, broker */

struct KsSourceTopic;

typedef struct KsSourcePart
{
	struct KsSourceTopic *topic;
	int32		part;
	int32		pidx;
	KsPartState state;
	uint32		epoch;			/* +1 by each stop and start: what is older is dead */
	uint64		born_chunk;		/* chunk at hand when the epoch began: it is older */
	bool		started;		/* as far as librdkafka knows */
	bool		queued;			/* in src->waiting */
	uint8		pending;
	int64		expected;		/* lowest offset that is not a redelivery */
	int64		floor;			/* lowest offset that is handed out */
	int64		passed;			/* no record is left below it: stored, or an end was told */
	int64		last_off;		/* last record handed out or checked, -1: none */
	uint64		last_hash;
	int			last_rec;		/* index of the last one in it, -1: none */
	rd_kafka_resp_err_t topic_err;	/* told while messages were taken */
	int64		redelivered;

	KsSourceEventType tail_event;
	int64		eof;
	KsSourceEventType failure;
	int64		failure_off;
	rd_kafka_resp_err_t err;

	bool		away;			/* its broker is, and that was told; */
	TimestampTz away_since;		/* 0: it is there, or not known */
	int32		broker;			/* which it is, -1: there is no leader */

	bool		unpacking;		/* an answer has come, and nothing of it yet */

	int64		low;			/* as last heard, -1: unknown */
	int64		high;
	int64		lso;
	int64		asked_high;		/* as another handle told, since it was started; -1: not */
	TimestampTz known_at;		/* when, 0: never */
} KsSourcePart;

typedef struct KsSourceTopic
{
	dlist_node	node;
	char	   *name;
	rd_kafka_topic_t *rkt;
	KsSourcePart **parts;		/* by partition number, NULL: not started */
	int			nparts;			/* length of parts */
	int			count;			/* partitions in the cluster, 0: not yet known */
	bool		absent;			/* the cluster was asked and did not know it */
	bool	   *leads;			/* by partition number: it had a leader, when last asked; */
	int			nleads;			/* of so many */
	bool		count_grew;		/* KS_EVENT_PARTITION_COUNT is due */
} KsSourceTopic;

/* How bad the trouble of the whole client is; a worse one replaces a lesser. */
typedef enum KsClientTrouble
{
	KS_CLIENT_FINE,
	KS_CLIENT_DOWN,				/* no broker can be reached */
	KS_CLIENT_REFUSED,			/* authentication, TLS, protocol */
	KS_CLIENT_FATAL
} KsClientTrouble;

/* Brokers that statistics tell of; of more nothing is known. */
#define KS_MAX_BROKERS	256

struct KsSource
{
	dlist_node	node;			/* in the list of open sources */
	MemoryContext cxt;
	MemoryContextCallback on_reset;
	bool		in_worker;
	bool		want_headers;
	bool		bounded;		/* KsSourceOptions.answer_bytes is given */
	bool		show_debug;		/* the connection wants debug logs */
	bool		closed;

	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;	/* all partitions */
	rd_kafka_queue_t *mainq;	/* errors, logs, statistics */
	int			pipe[2];		/* -1: none */
	int			nfds;			/* reserved with the server */

	dlist_head	topics;
	KsSourcePart **parts;		/* by pidx */
	int			nparts;			/* length of parts */
	KsSourcePart **waiting;		/* ring of partitions with events */
	int			waiting_first;
	int			nwaiting;

	/* poll */
	rd_kafka_message_t *taken[KS_SOURCE_CHUNK];
	KsSourcePart **touched;		/* partitions with records in this poll */
	int			ntouched;
	uint64		chunk;			/* number of the chunk in taken[] */
	bool		suspects;		/* some partition is */
	bool		moving;			/* emptied, or read from, since the last statistics */
	TimestampTz stats_at;		/* when the statistics at hand are true; 0: unknown */
	int			nup;			/* brokers that are up by them: */
	int32		up[KS_MAX_BROKERS];
	bool		topic_errs;		/* some partition has one */
	bool		unfinished;		/* still set at the next poll: an error ended one */
	Size		avg_bytes;		/* of recent records */

	/* fetchers that stopped because the queue was full */
	int			wake_every;		/* records between wake-ups, 0: not needed */
	Size		wake_every_bytes;
	int			since_wake;		/* records taken since the last */
	Size		since_wake_bytes;
	char	   *username;		/* what a wake-up sets anew */
	char	   *password;

	/* the client as a whole */
	KsClientTrouble trouble;
	rd_kafka_resp_err_t client_err;
	bool		report_trouble;
	bool		report_recovered;
	bool		report_counts;
	bool		drained;		/* the queue was empty since the trouble began */
	char		reason[512];	/* librdkafka's words on the last client error */
	const char *reason_hint;	/* and what to do about it, NULL: as its class says */
	char		unverified[512];	/* why the last certificate was refused, "": none was */
	const char *unverified_hint;
	bool		reached;		/* some broker was, ever */
	bool		may_pass;		/* what a blocking call raised last */
	bool		scram;			/* the connection authenticates by it */
	char	  **secrets;		/* values that must not be shown */
	int			nsecrets;

	char		message[512];	/* of the event told last */
	char		detail[1024];
};

/* source.c */
extern void ks_source_keep_secrets(KsSource *src, const KsConf *conf);
extern rd_kafka_t *ks_source_create_handle(KsSource *src, rd_kafka_type_t type, rd_kafka_conf_t *rkconf);

/* source_serve.c */
extern void ks_source_take_event(KsSource *src, rd_kafka_event_t *ev);

/* source_close.c */
extern void ks_source_close_later(KsSource *src);

/* source_pipe.c */
extern void ks_source_open_pipe(KsSource *src);
extern void ks_source_close_pipe(KsSource *src);

/* source_conf.c */
extern rd_kafka_conf_t *ks_source_conf(const KsConf *conf, const KsSourceOptions *opts);
extern int64 ks_source_conf_int(const rd_kafka_conf_t *rkconf, const char *name);
extern void ks_source_conf_own(rd_kafka_conf_t *rkconf, const char *name, const char *value);
extern void ks_source_conf_own_int(rd_kafka_conf_t *rkconf, const char *name, int64 value);
extern void ks_source_conf_connection(rd_kafka_conf_t *rkconf, const KsConf *conf, KsSide side);

/* source_slots.c */
extern void ks_source_reserve(int n);
extern void *ks_source_hold(KsSource *src, rd_kafka_message_t *msg);
extern rd_kafka_message_t *ks_source_held(const KsRecord *rec);
extern void ks_source_release_all(KsSource *src);

/* source_part.c */
extern KsSourceTopic *ks_source_topic(KsSource *src, const char *topic);
extern void ks_source_note_leaders(KsSource *src, KsSourceTopic *topic, const struct rd_kafka_metadata_topic *md);
extern void ks_source_set_state(KsSourcePart *part, KsPartState to);
extern void ks_source_wait_event(KsSource *src, KsSourcePart *part, uint8 pending);
extern void ks_source_fail(KsSource *src, KsSourcePart *part, KsSourceEventType type,
						   int64 off, rd_kafka_resp_err_t err);
extern void ks_source_suspect(KsSource *src, KsSourcePart *part);
extern void ks_source_restart(KsSource *src, KsSourcePart *part, int64 off);
extern void ks_source_recheck(KsSource *src, KsSourcePart *part);

/* source_client.c */
extern void ks_source_clean(KsSource *src, const char *text, char *buf, Size size);
extern void ks_source_client_error(KsSource *src, rd_kafka_resp_err_t err, const char *text, bool fatal);
extern void ks_source_client_works(KsSource *src);

/* source_error.c */
typedef struct KsErrorClass
{
	rd_kafka_resp_err_t err;
	KsClientTrouble trouble;	/* if it concerns the client */
	KsErrorAction action;
	int			sqlstate;
	const char *hint;
} KsErrorClass;

extern const KsErrorClass *ks_source_classify(rd_kafka_resp_err_t err, bool of_client);
extern const char *ks_source_client_message(const KsErrorClass *class);

/* source_client.c, again */
extern const char *ks_source_client_hint(const KsSource *src, const KsErrorClass *class);

/* source_words.c */
extern const char ks_source_unverified_hint[];
extern const char *ks_source_words(const KsSource *src, rd_kafka_resp_err_t *err, const char *text);
extern void ks_source_tidy(char *text);

/* source_verify.c */
extern void ks_source_verify_conf(rd_kafka_conf_t *rkconf);
extern void ks_source_verify_log(KsSource *src, const char *text);

/* source_watch.c */
extern void ks_source_watch(KsSource *src, const char *facility, const char *text);
extern void ks_source_error_cb(rd_kafka_t *rk, int err, const char *reason, void *opaque);

/* source_stats.c */
extern void ks_source_read_stats(KsSource *src, const char *json);

/* source_judge.c */
extern void ks_source_judge_eof(KsSource *src, KsSourcePart *part, const rd_kafka_message_t *msg);
extern void ks_source_judge_error(KsSource *src, KsSourcePart *part, rd_kafka_resp_err_t err);

/* Is the error that of a batch that is not wanted? */
extern bool ks_source_is_passed_over(const KsSourcePart *part, rd_kafka_resp_err_t err);

/* A record in CHECKING, or where none is to come: is it handed out? */
extern bool ks_source_judge_tail(KsSource *src, KsSourcePart *part, const KsRecord *rec);

/* source_wait.c: a question to the brokers that is waited for */
typedef struct KsSourceWait
{
	KsSource   *src;
	instr_time	start;
	int			timeout_ms;
} KsSourceWait;

extern void ks_source_wait_begin(KsSourceWait *wait, KsSource *src, int timeout_ms);
extern int	ks_source_wait_elapsed(const KsSourceWait *wait);

/* How long the next call may take in ms, 0: the time is up. */
extern int	ks_source_wait_slice(KsSourceWait *wait);

/*
 * A call has failed: returns if it should be made again.  Errors of the moment
 * are waited out, briefly, since the call may have returned at once.
 */
extern bool ks_source_wait_again(KsSourceWait *wait, rd_kafka_resp_err_t err);

/* Raises what stands in the way: trouble of the client, or the call's error. */
KS_NORETURN extern void ks_source_wait_failed(KsSource *src, rd_kafka_resp_err_t err, const char *what);

/* source_offsets.c */
extern void ks_source_resolve_ranges(KsSource *src);

#endif
