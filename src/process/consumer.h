/*
 * consumer.h
 *	  One sink's partitions, source and batch: what workers and run() share.
 *
 * The host waits, drives transactions and decides about errors; the consumer
 * does the rest.  The host calls ks_consumer_step(), outside a transaction, and
 * does what it says: waits, or applies the batch:
 *
 *		begin
 *		ks_consumer_apply()
 *		commit
 *		ks_consumer_committed()
 *
 * After a rollback the batch is applied again later (ks_consumer_retry(); steps
 * go on meanwhile), or the consumer goes back to the stored offsets
 * (ks_consumer_rewind()).
 */
#ifndef KS_CONSUMER_H
#define KS_CONSUMER_H

#include "base/message.h"
#include "catalog/sinks.h"
#include "kafka/source.h"
#include "process/schema_fetch.h"
#include "process/shmem.h"
#include "write/apply.h"

/* The ends of logs that records of a topic await, see consumer_wait.c. */
typedef struct KsEnds
{
	uint64		taken;			/* so many times they were taken down, */
	TimestampTz taken_at;		/* last, */
	int64	   *ends;			/* by partition, then by that of others, -1: not known yet; NULL: never */
} KsEnds;

/* What the consumer knows of one partition beside its row. */
typedef struct KsPartitionState
{
	TimestampTz restart_at;		/* stopped by an error until then; 0: fetching */
	TimestampTz failing_since;	/* 0: not */
	TimestampTz gone_since;		/* nothing has been said of it since, but that it does not exist; 0: else */
	int			failures;		/* in a row */
	bool		waiting;		/* a record of the batch waits, see consumer_wait.c */
	TimestampTz waiting_since;	/* the first of those that wait in a row; 0: none */
	int64		waiting_off;	/* the last that waited, -1: none */
	TimestampTz waiting_read_at;	/* since when */
	bool		expected;		/* it is read again, and what waits has not come yet */
	TimestampTz behind_at;		/* what it waits for could still come from others then, last */
	bool		was_behind;		/* when it was tried last */
	KsEnds	   *ends;			/* of its topic */
	uint64		awaits;			/* what waits awaits those that are taken down for this time */
	int64		lacking_off;	/* the last that waited for its schema, see consumer_schema.c; -1: none */
	int64		bound;			/* run(): consume below it only; -1: none */
	int64		end;			/* of the log, as seen in ... */
	uint32		end_epoch;		/* ... this epoch of the source's partition */

	/* what it was handed for the batch at hand */
	int			handed;			/* records */
	int64		first_off;		/* of the first, if handed > 0 */
	int64		last_off;		/* of the last */
	bool		given_back;		/* some were taken out of the batch, to be read again */

	KsTail		tail;
	KsPartitionSlot *slot;		/* live figures, or NULL */
} KsPartitionState;

/* A registered topic that is not there, not all of it, not for us, or without a leader. */
typedef struct KsMissingTopic
{
	const char *topic;
	KsDenial	denial;			/* message NULL: it is not denied, and of a count: */
	int			count;			/* of its partitions, -1: it does not exist */
	int			wanted;			/* how many there must be; 0: it was never consumed */
	bool		leaderless;		/* it is there; who knows where this partition begins is not: */
	int32		part;
} KsMissingTopic;

/* What the host is to do. */
typedef enum KsStep
{
	KS_STEP_WAIT,				/* for the source, or until the timeout */
	KS_STEP_APPLY,				/* the batch */
	KS_STEP_HALT				/* c->error is final, and nothing is left to apply */
} KsStep;

typedef enum KsApplyResult
{
	KS_APPLY_DONE,				/* commit */
	KS_APPLY_STOPPED,			/* commit what is before the bad record; err tells */
	KS_APPLY_SCHEMAS,			/* commit, or roll back: nothing was touched, and schemas
								 * are to be fetched before the batch is applied */
	KS_APPLY_EVOLVE,			/* the same: the target is to be altered, for which the
								 * next attempt locks it */
	KS_APPLY_MISMATCH,			/* the guard failed: roll back, nothing was touched */
	KS_APPLY_CHANGED			/* the sink is not what it was: roll back, begin anew */
} KsApplyResult;

typedef struct KsConsumer
{
	MemoryContext cxt;
	KsSink	   *sink;
	List	   *topics;			/* of KsTopic *; a worker's are without those that are
								 * halted, or missing */
	List	   *missing;		/* of KsMissingTopic * */
	TimestampTz missing_until;	/* the deadline of those that were consumed; 0: none */
	TimestampTz missing_check_at;	/* they are looked for, and those that are denied; 0: never */
	int			leader_checks;	/* for a leader, in a row */
	KsConf	   *conf;
	bool		in_worker;
	int			worker;			/* of 'workers': consumes its partitions only; */
	int			workers;		/* 0: all of them, in one */
	int			timeout_ms;		/* of calls that wait for a broker */
	void		(*begin) (void);	/* transaction and active snapshot */
	void		(*commit) (void);
	void		(*transact) (void (*step) (void *arg), void *arg);	/* a transaction that may be
																	 * made again, for want of a
																	 * lock; NULL: as it is */

	MemoryContext source_cxt;
	KsSource   *source;
	KsSource   *ends;			/* asks for ends behind open transactions; NULL: not yet */
	MemoryContext row_cxt;		/* decoded rows of one attempt */
	KsApply    *apply;
	KsSchemaFetcher fetcher;	/* of what the batch needs */
	void		(*idle) (void); /* of the host, while it works */
	void		(*work) (void); /* and its steps, if it takes long; NULL: all wait for it */
	TimestampTz asked_at;		/* the fetch at hand has begun */
	MemoryContext fetch_cxt;
	bool		fetched;		/* for the batch at hand */
	int			fetches;		/* in a row that began with ... */
	KsSchemaId	first_fetched;

	/* the registry has failed, and is left alone, or takes long: see consumer_schema.c */
	bool		asking;			/* it takes long */
	TimestampTz registry_at;	/* it is left alone until then; 0: it has not failed */
	int			registry_failures;	/* in a row */
	MemoryContext registry_cxt;
	KsStateError registry_error;
	TimestampTz answered_at;	/* it has failed before, or taken long, and answered then; 0: never */

	KsPartition *parts;
	KsPartitionState *states;
	int			nparts;
	KsPartitionView *others;	/* of the sink's other workers; sorted */
	int			nothers;
	KsPresence *presence;		/* of these workers, by number */
	bool		others_seen;	/* in this batch */
	TimestampTz turns_since;	/* those that wait for rows are read again in turns from then on, */
	TimestampTz expected_until; /* and so long they wait for each other */
	int			behind_of;		/* what they wait for was looked up for this partition, in this batch; -1: for none */
	bool		behind;			/* and could still come from others */

	/* the batch */
	MemoryContext batch_cxt;	/* its reset gives the records back */
	KsRecord   *recs;
	int			nrecs;
	Size		bytes;
	TimestampTz batch_since;	/* first record or EOF that counts; 0: empty */
	int			attempts;		/* that failed */
	Oid			evolve;			/* table that is to be altered for it; InvalidOid: none */
	TimestampTz retry_at;		/* the next; 0: none has failed */

	/* what the host must know */
	MemoryContext error_cxt;
	KsStateError error;			/* message NULL: none */
	bool		halt;			/* the error is final */
	bool		reported;		/* the host has seen the error */
	KsStateError *deleted_topics;	/* the error is that of topics which are gone: */
	int			ndeleted_topics;	/* all of these; 0: it is not */
	bool		stale;			/* topics grew, or the sink was changed: begin anew */
	bool		prepared;		/* what the targets need is known; until then, all is taken */

	int			memory_level;	/* how much is fetched at a time, see base/memory.h */
	bool		single;			/* one record a batch: more was too much memory */
	int			most;			/* so many: more took too many locks; 0: any number */
	bool		tight;			/* the batch takes no more: memory is getting short */
	bool		drained;		/* the last poll left nothing in the source */
	int			statistics_ms;	/* interval of what no event tells */
	TimestampTz published;		/* live figures, last */
	TimestampTz refreshed;		/* the ends of the log were asked for */
	int64		fetch_us;
} KsConsumer;

/* In a transaction: reads topics and connection of the sink. */
extern KsConsumer *ks_consumer_create(KsSink *sink, bool in_worker,
									  void (*begin) (void), void (*commit) (void),
									  MemoryContext parent);

/*
 * Outside a transaction's work (it calls begin and commit): connects, finds
 * the partitions, settles the starting offsets of new ones in committed rows,
 * and starts fetching.  May wait for the broker.
 */
extern void ks_consumer_open(KsConsumer *c);

/*
 * Takes what is ready into the batch, handles events, and says what to do next:
 * *timeout, in milliseconds, -1: until the source's fd or the latch.  Does not
 * wait for a broker, but for at most two seconds now and then while a batch waits
 * to be tried again.
 */
extern KsStep ks_consumer_step(KsConsumer *c, long *timeout);

/* Leaves only the first n records in the batch; the others will be read again. */
extern void ks_consumer_truncate_batch(KsConsumer *c, int n);

/* The batch takes more locks than the server has room for: half of it, and for some time no
 * more than that in one batch.  False if it cannot be less. */
extern bool ks_consumer_take_fewer(KsConsumer *c);

extern KsApplyResult ks_consumer_apply(KsConsumer *c, KsRecordError *err);

/*
 * KS_APPLY_SCHEMAS, and outside a transaction: fetches what is wanted, and then the batch
 * is due.  The source is served meanwhile, and idle called.  If it takes long, and there is
 * c->work, that is called, too: the batch is due without what waits for schemas.
 * Errors are the registry's, see kafka/registry.h, unless c->fetcher.serving.
 */
extern void ks_consumer_fetch_schemas(KsConsumer *c, void (*idle) (void));

/*
 * That was in vain, in a worker: the registry is left alone for a while, in which records
 * whose schema is not known wait, and the batch is due without them.  If all of it has to
 * wait (KS_APPLY_SCHEMAS again) it is due at the end of that.
 */
extern void ks_consumer_leave_registry(KsConsumer *c, const KsStateError *error);
extern bool ks_consumer_registry_rests(const KsConsumer *c);

/* In the same way: has the registry another schema by that id than the one that was fetched? */
extern bool ks_consumer_schema_differs(KsConsumer *c, const KsSchemaId *id, void (*idle) (void));

/* After the commit: the mirrors follow, the batch is released. */
extern void ks_consumer_committed(KsConsumer *c);

/* After a rollback: the batch, which may grow, is due again after a while; 'soon': it has
 * waited too long for a lock, or is a smaller one now. */
extern void ks_consumer_retry(KsConsumer *c, bool soon);

/* Drops the batch and starts all partitions again at the stored offsets. */
extern void ks_consumer_rewind(KsConsumer *c);

/* Translates a record's error for a human. */
extern void ks_consumer_describe(KsConsumer *c, const KsRecordError *err,
								 KsStateError *out);

extern void ks_consumer_set_error(KsConsumer *c, const KsStateError *error, bool halt);

/*
 * start_at as a timestamp for ks_source_query_offsets(), or, for a JSON object,
 * the offset it gives for the partition (-1: it gives none).
 */
extern int64 ks_start_timestamp(const char *start_at, const char *topic,
								int32 part, int64 *explicit_off);

#endif
