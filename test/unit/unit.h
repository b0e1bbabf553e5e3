/*
 * unit.h
 *	  The source of records outside a server, on a librdkafka and brokers that
 *	  are arrays: see source.c.
 */
#ifndef KS_UNIT_H
#define KS_UNIT_H

#include "../fuzz/stubs.h"

#include <librdkafka/rdkafka.h>

#include "utils/timestamp.h"

#define MAX_PARTS	80
#define MAX_LOG		400

/* A log of a partition: what stands at an offset, 0: nothing (a marker, compaction). */
typedef struct Log
{
	int			generation;		/* +1 whenever it is another log */
	int			leader;			/* +1 whenever it is cut */
	int64		low;
	int64		end;
	int64		open;			/* so much of it is not stable yet, and not shown */
	int64		cut;			/* where it was cut lowest */
	bool		there[MAX_LOG];
	int			by[MAX_LOG];	/* under which leader it was written */
	/* the fetcher */
	bool		started;
	int64		pos;
	int64		told_end;		/* -1: none */
	bool		stuck;			/* gives nothing until it is started again */
} Log;

#define STABLE(log) ((log)->end - (log)->open)

extern Log	logs[MAX_PARTS];
extern int	nparts;

/* What a record holds. */
typedef struct Content
{
	int			part;
	int			generation;
	int64		off;
	int			by;
} Content;

/* --- librdkafka (kafka.c) --- */

extern void kafka_reset(void);
extern void kafka_fetch(int part, int n);	/* up to n records, and the end behind them */
extern void kafka_say(rd_kafka_event_type_t type, rd_kafka_resp_err_t err, const char *facility, const char *text);
extern void kafka_error(int part, rd_kafka_resp_err_t err);	/* of a partition */
extern void kafka_topic_error(int part, rd_kafka_resp_err_t err);	/* told while messages are taken */
extern void kafka_redeliver(int part);
extern int	kafka_queued(void);
extern int	kafka_out;			/* messages that nobody has given back */
extern bool kafka_start_fails;
extern bool kafka_silent;		/* questions are not answered */
extern bool kafka_bad_headers;
extern bool kafka_no_times;		/* offsets are not told by timestamp */
extern bool kafka_no_ends;		/* nor otherwise */
extern bool kafka_refuses_wakeup;
extern rd_kafka_resp_err_t kafka_metadata_err;	/* of the next questions for it */
extern int	kafka_metadata_left;	/* so many; 0: all */
extern int	kafka_longest;		/* milliseconds that a question was to wait without an interrupt */
extern bool kafka_headless;		/* partition 1 has no leader */
extern int	kafka_leaderless;	/* partitions of no answer have a leader, for so many */
extern const char *kafka_cluster;	/* NULL: it does not tell */
extern void kafka_stranger(void);	/* messages of what nobody has started */
extern int	kafka_wakeups;
extern int	kafka_unknown;		/* partition 1 is not known, for so many questions for metadata */
extern int	kafka_destroyed;	/* handles */
extern void kafka_hold_end(bool refuse);	/* the next handle is not destroyed yet; or its thread is refused memory */
extern void kafka_let_end(void);	/* it is now */

/* --- the server (server.c) --- */

extern int	unit_sqlstate;
extern char unit_message[1024];
extern char unit_log[1024];		/* what was said last, not an error */
extern bool unit_interrupt;		/* the next thing that is said is interrupted */
extern TimestampTz unit_now;
extern int64 unit_step;			/* so long it takes to look at the clock */
extern int	unit_no_memory;		/* the n-th calloc() from now has none */
extern bool unit_no_thread;
extern int	unit_left;			/* how often the session was to end without destructors */
extern void unit_refuse(bool refused);	/* a thread is refused memory */

/* What the server calls when the memory goes, and at the end. */
extern void unit_reset(MemoryContext cxt);
extern void unit_exit(void);

/* True unless it raised an error. */
extern bool unit_try(void (*f) (void *), void *arg);

#endif
