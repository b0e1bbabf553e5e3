/*
 * memory.h
 *	  Private memory of this process, librdkafka's included, and its bounds.
 */
#ifndef KS_MEMORY_H
#define KS_MEMORY_H

#include "postgres.h"

/*
 * The guard of memory.c, while librdkafka has a handle in this process.  In a
 * process that is ours the limit is for all of it; in a client's session for
 * what it has grown by, since what it had before is its own.  Calls nest.
 */
extern void ks_memory_guard_begin(bool ours);
extern void ks_memory_guard_end(void);

/*
 * How much counts against kafka_sink.worker_memory_limit, in bytes, as of at most
 * 50 ms ago: a look takes some 20 microseconds.
 */
extern int64 ks_memory_used(void);

/* Has it reached the limit, or was memory refused to a thread of librdkafka? */
extern bool ks_memory_exceeded(void);

/* Half of the limit is used: what is at hand should be done before more is taken. */
extern bool ks_memory_is_tight(void);

/* A thread of librdkafka was refused memory, and stands still for ever: the
 * handle must not be used any more, and the process has to leave. */
extern bool ks_memory_refused(void);

/* Would the system give what the guard has refused? */
extern bool ks_memory_is_to_be_had(void);

/* In words, for a message's detail; valid until the next call. */
extern const char *ks_memory_describe(void);

/* Errors (53200) if a session's limit is exceeded. */
extern void ks_memory_check_session(void);

/* To be called in each thread that may be refused memory, but the main one. */
extern void ks_memory_watch_thread(void);

/* One who is refused memory writes a byte there, until it is closed. */
extern void ks_memory_wake_by(int fd);
extern void ks_memory_stop_waking_by(int fd);

/*
 * Around calls of librdkafka that take its locks, which one who stands still
 * could hold: odd while within.
 */
extern volatile uint32 ks_memory_library_calls;

static inline void
ks_memory_enter_library(void)
{
	ks_memory_library_calls++;
}

static inline void
ks_memory_leave_library(void)
{
	ks_memory_library_calls++;
}

/*
 * How much an answer of Kafka may hold, as it comes, before it is unpacked:
 * 0: whatever the connection says.  Level 1 is what stays within the limit at
 * the ratio that compression gets from the most regular records, level 2 one
 * batch of records, than which Kafka gives no less.
 */
#define KS_MEMORY_LEVELS	3

extern int32 ks_memory_answer_bytes(int level);

#endif
