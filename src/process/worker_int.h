/*
 * worker_int.h
 *	  What the files worker*.c share: the process's one worker.
 *
 * From above to below:
 *
 *	worker.c		the process: begin, wait, what is due, end
 *	worker_batch.c	one attempt to apply the batch
 *	worker_wait.c	what others want, and locks beside those of the batch
 *	worker_schema.c	what is refused, and by which schema it was read
 *	worker_memory.c	leaving when there is too little memory
 *	worker_idle.c	leaving when there is nothing to do
 *	worker_state.c	what is written of the worker
 */
#ifndef KS_WORKER_INT_H
#define KS_WORKER_INT_H

#include "postgres.h"

#include "storage/condition_variable.h"
#include "storage/latch.h"

#include "base/compat.h"
#include "process/consumer.h"

typedef struct KsWorker
{
	KsWorkerSlot *slot;
	ConditionVariable *progress;	/* of the sink */
	KsSink	   *sink;
	KsConsumer *consumer;
	WaitEventSet *events;
	const char *state;			/* as last written; "unknown": it could not be, ... */
	TimestampTz untold_at;		/* ... at that moment */
	uint64		conf_fingerprint;
	MemoryContext error_cxt;	/* of the error of the batch at hand */
	TimestampTz expired;		/* dead letters, last */
	TimestampTz idle_since;		/* 0: there is something to do */
	TimestampTz lower_at;		/* the memory level, if all is well; 0: it is 0 */
} KsWorker;

extern KsWorker ks_worker;

/*
 * Writes the state in a transaction of its own.  A failure (disk full, somebody has the
 * sink's row, ...) is logged and does no harm: it is written again a little later.
 */
extern void ks_worker_write_state(const char *state, const KsStateError *error);

/* Stores the ends of the partitions, before a worker leaves by itself or because
 * it was asked to; 'ask': as of now, if the brokers answer in time. */
extern void ks_worker_store_partition_ends(bool ask);

/* Writes that the sink is halted, or the errors' topics alone, and ends the
 * process. */
extern void ks_worker_halt(const KsStateError *errors, int n) KS_NORETURN;

/*
 * The limit of memory is met, while the batch was applied (its error), or not (NULL):
 * ends the process, to begin anew with less at a time, or halts where it was met
 * before.
 */
extern void ks_worker_leave_for_memory(const ErrorData *edata) KS_NORETURN;

/* How much to fetch at a time, before the consumer is opened. */
extern void ks_worker_begin_memory_level(void);

/* It is time for more, and nothing is at hand: the worker is to begin anew. */
extern bool ks_worker_lower_memory_level(void);

/* As sink_state has it; shares what edata points to. */
extern void ks_worker_state_error(const ErrorData *edata, KsStateError *error);

/* What others want of this process at once: may end it. */
extern void ks_worker_check_stop(void);

/*
 * Runs 'step' in a transaction of its own, again and again until it gets the locks that
 * it needs; the state says so meanwhile.  What it has done before it failed must do no
 * harm.  Other errors are raised.
 */
extern void ks_worker_transact(void (*step) (void *arg), void *arg);

/* What a lock that was not got in time was, and who is in the way; in a transaction of its
 * own. */
extern void ks_worker_describe_lock(const ErrorData *edata, KsStateError *error);

/*
 * One attempt to apply the batch, and what follows from its outcome.  idle: what else
 * there is to do, now and then while a schema registry is asked.
 */
extern void ks_worker_apply_batch(void (*idle) (void));

/*
 * Of the batch that was applied, and not yet released: is there a record, among those that
 * were refused and the one that has stopped it (or NULL), whose value is not what its
 * schema says, and which the registry is to be asked about?
 */
extern bool ks_worker_suspects_schema(const KsRecordError *stopped, KsSchemaId *id);

/* Asks it, outside a transaction; halts if it has another schema by that id now.  place: of
 * the record, or NULL. */
extern void ks_worker_check_schema(const KsSchemaId *id, const KsStateError *place, void (*idle) (void));

/* Leaves if there has been nothing to do for long enough. */
extern void ks_worker_leave_if_idle(long *timeout);

#endif
