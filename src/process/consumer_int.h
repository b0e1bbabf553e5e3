/*
 * consumer_int.h
 *	  What the files consumer*.c share; nobody else includes it.
 *
 * From above to below:
 *
 *	consumer_fetch.c	asks the registry for schemas
 *	consumer.c			takes records into the batch: one step
 *	consumer_batch.c	applies the batch, and accounts for it
 *	consumer_open.c		connects: which partitions there are
 *	consumer_settle.c	where new ones begin
 *	consumer_event.c	what the source tells beside records
 *	consumer_missing.c	topics that are not there
 *	consumer_wait.c		records that wait for the row of a foreign key
 *	consumer_others.c	partitions of other workers
 *	consumer_schema.c	records that wait for their schema
 *	consumer_prepare.c	what is to be known of the targets
 *	consumer_state.c	the empty batch, the error, figures: what all share
 */
#ifndef KS_CONSUMER_INT_H
#define KS_CONSUMER_INT_H

#include "postgres.h"

#include "process/consumer.h"

/* --- consumer_state.c --- */

extern void ks_consumer_reset_batch(KsConsumer *c);

/* Live figures of all partitions, into shared memory. */
extern void ks_consumer_publish(KsConsumer *c);

/*
 * Records of the partition are taken out of the batch: the partition is stopped,
 * and read again from its stored offset when the batch is done, not before 'at'.
 */
extern void ks_consumer_give_back(KsConsumer *c, int pidx, TimestampTz at);

/*
 * Runs 'step' in a transaction of its own.  It leaves nothing behind when it fails, and
 * may be run again: a worker does so until it gets the locks that it needs.
 */
extern void ks_consumer_transact(KsConsumer *c, void (*step) (void *arg), void *arg);

/* A copy in that context, which is reset; the error is not in it. */
extern void ks_consumer_keep_error(MemoryContext cxt, KsStateError *kept, const KsStateError *error);

/* Leaves only the records of one partition in the batch; the others will be read again. */
extern void ks_consumer_keep_partition(KsConsumer *c, int pidx);

/* Has that moment come?  A clock that was set back ends any wait. */
extern bool ks_consumer_time_reached(TimestampTz at, TimestampTz now);

/* --- consumer_wait.c --- */

/* Of KsApply: arg is the consumer. */
extern bool ks_consumer_may_wait(void *arg, const KsRecord *rec);

/* Takes records that wait, and what is behind them, out of the batch. */
extern void ks_consumer_drop_waiting_records(KsConsumer *c);

/* Is a record of the partition to be read again, which waited the last time? */
extern bool ks_consumer_is_waiting(const KsConsumer *c, int pidx);

/* The batch is committed: does the partition wait?  Then it is stopped for a while. */
extern bool ks_consumer_stop_if_waiting(KsConsumer *c, int pidx);

/* It is about to be read again; and: its records have come, or none will. */
extern void ks_consumer_expect_waiting(KsConsumer *c, int pidx, TimestampTz now);
extern void ks_consumer_has_come(KsConsumer *c, int pidx);

/* It is at the end of its log: what comes now was not there while others waited. */
extern void ks_consumer_is_at_end(KsConsumer *c, int pidx);

static inline bool
ks_consumer_waits_for_row(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];

	return st->waiting_since != 0 && st->waiting_off >= c->parts[pidx].off;
}

/* Nobody knows what is in it. */
static inline bool
ks_consumer_cannot_read(const KsConsumer *c, int pidx)
{
	return c->states[pidx].failing_since != 0 && !ks_consumer_waits_for_row(c, pidx);
}

/* So long the batch waits for what may be of use to a record that is in it; 0: not. */
extern TimestampTz ks_consumer_gathers_until(const KsConsumer *c, TimestampTz now);

/* --- consumer_others.c --- */

/* As long as the consumer still has all partitions. */
extern void ks_consumer_find_others(KsConsumer *c);

/* What is told of them now, once for a batch. */
extern void ks_consumer_look_at_others(KsConsumer *c);

/* Does nobody know what is in it, and will somebody? */
extern bool ks_consumer_other_fails(const KsConsumer *c, const KsPartitionView *v);

/* Is there more to come of one of them before the end that is awaited?  That is known when its worker has told of it. */
extern bool ks_consumer_other_is_behind(const KsConsumer *c, KsEnds *ends, int other);

/* --- consumer_schema.c --- */

/* Records of the batch (apply->waiting) wait for their schema: it is told, and of which. */
extern void ks_consumer_note_lacking(KsConsumer *c);

/* Does the registry fail, for all that is known until it has been asked again? */
extern bool ks_consumer_registry_fails(const KsConsumer *c, TimestampTz now);

/* The fetch goes on, and the batch does without it. */
extern void ks_consumer_ask_on(KsConsumer *c, TimestampTz later);

/* It has ended well. */
extern void ks_consumer_registry_answers(KsConsumer *c);

/* --- consumer_event.c --- */

extern void ks_consumer_handle_event(KsConsumer *c, const KsSourceEvent *ev);

/* The partition ends at 'off', for now, as seen in that epoch. */
extern void ks_consumer_set_log_end(KsConsumer *c, int pidx, int64 off, uint32 epoch);

/* The end of the partition's log, -1: none was seen that still holds. */
static inline int64
ks_consumer_log_end(const KsConsumer *c, int pidx)
{
	const KsPartitionState *st = &c->states[pidx];

	return st->end_epoch == ks_source_epoch(c->source, pidx) ? st->end : -1;
}

/* It gives records, or has come to its end: what went wrong is over. */
extern void ks_consumer_clear_failure(KsConsumer *c, int pidx);

/* --- consumer_missing.c --- */

/*
 * A topic of which no partition, or not all that were consumed, could be found:
 * a worker's goes to c->missing, run() waits and returns how many there are, or
 * errors.
 */
extern int	ks_consumer_add_missing_topic(KsConsumer *c, const char *topic, int count, int wanted);

/* One that the brokers deny access to. */
extern void ks_consumer_add_denied_topic(KsConsumer *c, const char *topic, const KsDenial *denial);

/*
 * Which of these partitions have no leader, who alone knows where they begin; NULL: all
 * have one, if need be after a moment.
 */
extern bool *ks_consumer_find_leaderless(KsConsumer *c, KsPartition *const *parts, int n);

/* It, and perhaps more of its topic, is not consumed until it has one. */
extern void ks_consumer_leave_leaderless(KsConsumer *c, const KsPartition *p);

/* All topics were looked for: errors if none is worth waiting for. */
extern void ks_consumer_begin_missing_topics(KsConsumer *c);

/* That nobody leads a partition, in the current context. */
extern void ks_consumer_describe_leaderless(const char *topic, int32 part, KsStateError *error);

/* That a topic is missing is an error while there is no other. */
extern void ks_consumer_report_missing_topics(KsConsumer *c);

/* To be called when missing_check_at has come. */
extern void ks_consumer_check_missing_topics(KsConsumer *c);

/* --- consumer_settle.c --- */

/*
 * Commits a row for each partition that has none, and that can be settled, before a
 * record is read from it.
 */
extern void ks_consumer_settle_offsets(KsConsumer *c);

/* --- consumer_prepare.c --- */

/* In a transaction, before anything is fetched: if it needs no wait; see c->prepared. */
extern void ks_consumer_try_prepare(KsConsumer *c);

/* For a batch: ks_apply_prepare(), which locks the targets.  The batch may get smaller. */
extern void ks_consumer_prepare(KsConsumer *c);

/* Are headers to be fetched, as far as anybody knows? */
extern bool ks_consumer_wants_headers(const KsConsumer *c);

/* --- consumer_open.c --- */

extern void ks_consumer_start_partition(KsConsumer *c, int pidx);

#endif
