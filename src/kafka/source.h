/*
 * source.h
 *	  The door to librdkafka: the only module that includes rdkafka.h.
 *
 * A source is a consumer handle without group: partitions are started at
 * explicit offsets on one shared queue.  No call but the ones marked
 * "blocking" waits; blocking calls wait in slices, check for interrupts
 * between them and are bounded by their timeout.  Everything happens on the
 * calling thread: librdkafka's threads run none of our code, but what lets SIGABRT
 * through (source.c) and the words for a certificate that is refused (source_verify.c).
 *
 * A source lives in a memory context: its deletion or reset (also by an error)
 * closes the handle, unless the process is a worker (KsSourceOptions.in_worker),
 * which leaves through _exit() and never destroys a handle: there its
 * partitions are stopped and the rest stays until the process ends.
 */
#ifndef KS_SOURCE_H
#define KS_SOURCE_H

#include "utils/timestamp.h"

#include "base/message.h"
#include "kafka/options.h"

typedef struct KsSource KsSource;

typedef struct KsSourceOptions
{
	const char *client_id;		/* "kafka_sink/<sink>" */
	bool		read_uncommitted;
	bool		want_headers;	/* fill KsRecord.headers */
	bool		in_worker;		/* long-lived: larger prefetch */
	int32		statistics_ms;	/* interval of librdkafka's statistics; 0: none */
	int32		max_record_bytes;	/* raises fetch sizes where needed */
	bool		watch;			/* only whether there are records: fetch little */
	int32		answer_bytes;	/* what an answer may hold, before it is unpacked; 0:
								 * as the connection says (base/memory.h) */
	bool		tell_unpacking;	/* see ks_source_unpacking() */
	int32		prefetch_kb;	/* librdkafka's queue, 0: 32 MB in a worker, else 16 */
} KsSourceOptions;

/* What a source tells beside records. */
typedef enum KsSourceEventType
{
	KS_EVENT_EOF,				/* pidx, off: end of partition as of now */
	KS_EVENT_TAIL_OK,			/* pidx: the record at last_off is the same */
	KS_EVENT_TAIL_UNCHECKABLE,	/* pidx: it is gone (retention, compaction) */
	KS_EVENT_TAIL_MISMATCH,		/* pidx, off: another record stands there */
	KS_EVENT_TRUNCATED,			/* pidx, off = log end: log ends before the offset */
	KS_EVENT_OUT_OF_RANGE,		/* pidx, off = low watermark: retention overtook */
	KS_EVENT_PARTITION_ERROR,	/* pidx, error: partition is stopped */
	KS_EVENT_LEADER_AWAY,		/* pidx, broker: nothing of the partition can be had, while others go on */
	KS_EVENT_LEADER_BACK,		/* pidx: that is over */
	KS_EVENT_ERROR,				/* error: whole client (brokers down, auth) */
	KS_EVENT_RECOVERED,			/* after KS_EVENT_ERROR: a broker is up again */
	KS_EVENT_PARTITION_COUNT	/* topic, count: grew since started, or is there now */
} KsSourceEventType;

/* What to do about an error. */
typedef enum KsErrorAction
{
	KS_ERROR_RETRY,				/* back off and start the partition again */
	KS_ERROR_RETRY_LONG,		/* the same with a long back-off (auth) */
	KS_ERROR_RETRY_THEN_HALT,	/* unknown topic: halt after a while */
	KS_ERROR_HALT
} KsErrorAction;

typedef struct KsSourceEvent
{
	KsSourceEventType type;
	int			pidx;
	uint32		epoch;			/* of the partition, in which it was seen */
	int64		off;
	int32		broker;			/* KS_EVENT_LEADER_AWAY: which is not reached, -1: there is no leader */
	const char *topic;			/* KS_EVENT_PARTITION_COUNT */
	int			count;
	KsErrorAction action;		/* errors only */
	int			sqlstate;
	const char *message;		/* no secrets; valid until the next event */
	const char *detail;			/* or NULL; librdkafka's words */
	const char *hint;			/* or NULL */
} KsSourceEvent;

/*
 * Opens a handle in 'cxt'.  Errors if the configuration is refused.  Closing it
 * releases the records that are still out; releasing them again, or later, does
 * nothing.
 */
extern KsSource *ks_source_open(const KsConf *conf, const KsSourceOptions *opts,
								MemoryContext cxt);
extern void ks_source_close(KsSource *src);

/*
 * How often librdkafka is to make its statistics, of so many partitions: they take 700
 * bytes and some microseconds for each.  'least_ms' without any.
 */
extern int	ks_source_statistics_ms(int least_ms, int64 nparts);

/* Non-blocking fd that becomes readable when there is something to poll. */
extern int	ks_source_fd(KsSource *src);

/* Of several sources the one that tells of memory that was refused; else the last opened. */
extern void ks_source_wake(KsSource *src);

/* Empties the wake-up pipe; call before polling until nothing is left. */
extern void ks_source_clear_fd(KsSource *src);

/*
 * Starts fetching 'topic'/'part' at p->off; records carry 'pidx'.  If
 * p->last_off >= 0 and check_tail, starts at last_off and compares the record
 * there first (it is not handed out); reported by a KS_EVENT_TAIL_* event, or
 * by TRUNCATED or OUT_OF_RANGE.  A partition that was started before is stopped
 * first; one that cannot be started reports a PARTITION_ERROR.
 *
 * An interruption of the fetching (connection, leader, topic) makes the source
 * check the tail again by itself, at the last record it handed out, before it
 * hands out another: the same events come then, whatever check_tail was.
 */
extern void ks_source_start(KsSource *src, int pidx, const KsPartition *p,
							bool check_tail);

/* Stops fetching; later records of it are dropped until started again. */
extern void ks_source_stop(KsSource *src, int pidx);

/* Its epoch: raised whenever it is started, stopped, or found interrupted. */
extern uint32 ks_source_epoch(KsSource *src, int pidx);

/*
 * Appends what is ready to recs[0..max), at most about max_bytes of payload (keys,
 * values, and headers if they are wanted);
 * never blocks, never palloc's per record (headers are allocated at once in the
 * current context).  Returns the number of records; *bytes gets their size.
 * Offsets of one partition ascend; a record below the expected offset is
 * dropped and counted.  A record is given once: a caller that loses records to
 * an error starts their partitions anew.  Events wait in a queue of their own;
 * records of a partition before an error or EOF event are handed out before it.
 *
 * *drained: nothing is left, and the fd tells when there is something again.  It
 * does not otherwise, also if no record was returned: what was taken were ends
 * of partitions, or records not to be handed out.
 */
extern int	ks_source_poll(KsSource *src, KsRecord *recs, int max,
						   Size max_bytes, Size *bytes, bool *drained);

/* Are there partitions to be started again, by the next polls? */
extern bool ks_source_is_busy(const KsSource *src);

/*
 * Takes what librdkafka tells beside records and ends of partitions: to be
 * called also by those who want no records for a while, or it piles up.
 */
extern void ks_source_serve(KsSource *src);

/*
 * The next event, false if there is none.  After OUT_OF_RANGE, TRUNCATED,
 * TAIL_MISMATCH and PARTITION_ERROR the partition gives nothing until it is
 * started again.  The first of those that librdkafka tells only as "out of
 * range", or as an end before the position, make this call ask the brokers for
 * the ends of the log, for at most 3 s; interrupts are served meanwhile.
 */
extern bool ks_source_next_event(KsSource *src, KsSourceEvent *ev);

/* It turns out that nobody wants headers. */
extern void ks_source_want_no_headers(KsSource *src);

/* Gives the records' memory back to librdkafka. */
extern void ks_source_release(KsRecord *recs, int n);

/*
 * Known watermarks of a started partition, -1 where unknown.  Returns since when
 * they may have changed; 0: they were never known.
 */
extern TimestampTz ks_source_watermarks(KsSource *src, int pidx, int64 *low,
								 int64 *high, int64 *lso);

/* The high watermark, as of the last answer to a fetch, if that is newer; -1: not known. */
extern int64 ks_source_high(KsSource *src, int pidx);

extern int64 ks_source_redelivered(KsSource *src, int pidx);

/*
 * Of which partition a batch of records is being unpacked, -1: none, or not
 * known.  *off: where it begins, or before that.
 */
extern int	ks_source_unpacking(KsSource *src, int64 *off);

/* The statistics are to tell of a topic of which no partition may ever be started. */
extern void ks_source_know_topic(KsSource *src, const char *topic);

/* Partitions of a topic as the statistics last told, 0: not yet. */
extern int	ks_source_known_count(KsSource *src, const char *topic);

/* --- blocking --- */

/*
 * Asks the brokers for the ends of all started partitions, for ks_source_watermarks():
 * fetchers whose queue is full learn nothing.  Silent if they do not answer in time.
 */
extern void ks_source_refresh(KsSource *src, int timeout_ms);

/*
 * The same of the high watermarks, which 'other' is asked for: a source of the same
 * connection that reads uncommitted.  One that does not is told of last stable offsets.
 */
extern void ks_source_refresh_high(KsSource *src, KsSource *other, int timeout_ms);

/* Does what a blocking call has raised last pass, once somebody mends it? */
extern bool ks_source_may_pass(const KsSource *src);

/* Number of partitions of a topic; -1 if the topic does not exist: an event
 * tells when it does, if the source is in a worker and goes on. */
extern int	ks_source_partition_count(KsSource *src, const char *topic,
									  int timeout_ms);

/* That the brokers deny access to one topic, which says nothing of others. */
typedef struct KsDenial
{
	int			sqlstate;
	char	   *message;		/* NULL: they do not */
	const char *hint;
} KsDenial;

/* The same, with 'denial' filled instead of an error if they do. */
extern int	ks_source_partition_count_or_denial(KsSource *src, const char *topic,
												int timeout_ms, KsDenial *denial);

/* The same, into *count; false if the brokers do not answer in time, or deny it. */
extern bool ks_source_try_partition_count(KsSource *src, const char *topic,
										  int timeout_ms, int *count);

/* Had the partition a leader when its topic was asked for last?  True if that is not known. */
extern bool ks_source_has_leader(KsSource *src, const char *topic, int32 part);

#define KS_OFFSET_EARLIEST	(-2)
#define KS_OFFSET_LATEST	(-1)	/* last stable offset under read_committed */

typedef struct KsOffsetQuery
{
	const char *topic;
	int32		part;
	int64		ts;				/* KS_OFFSET_* or milliseconds since 1970; becomes
								 * KS_OFFSET_LATEST where no record is that late */
	int64		off;			/* result */
} KsOffsetQuery;

/* Resolves all of them or errors. */
extern void ks_source_query_offsets(KsSource *src, KsOffsetQuery *q, int n,
									int timeout_ms);

/* Cluster id, or NULL if the broker does not tell in time. */
extern const char *ks_source_cluster_id(KsSource *src, int timeout_ms);

typedef struct KsTopicInfo
{
	const char *topic;
	int			partitions;
	int			replicas;		/* of the first partition */
	const char *error;			/* or NULL */
} KsTopicInfo;

extern KsTopicInfo *ks_source_list_topics(KsSource *src, int timeout_ms, int *n);

/*
 * For the options validator: does librdkafka know and accept this property?
 * Returns 0: yes, 1: unknown property, 2: value refused.
 */
extern int	ks_source_check_property(const char *name, const char *value);

#endif
