/*
 * apply.h
 *	  A batch of records to the target, and the search for a bad one.
 */
#ifndef KS_APPLY_H
#define KS_APPLY_H

#include "write/reject.h"
#include "write/route.h"

/* The record that stopped a batch, and why. */
typedef struct KsRecordError
{
	int			index;			/* into the batch */
	char	   *column;			/* or NULL */
	ErrorData  *edata;
	const char *exceeded;		/* the reject_limit that it exceeds, or NULL */
	bool		of_record;		/* it is the record's fault, not only met there */
} KsRecordError;

/* Whose fault an error is. */
typedef enum KsFault
{
	KS_FAULT_OF_RECORD,
	KS_FAULT_OF_BATCH,			/* its records cannot be in one statement */
	KS_FAULT_OF_NONE,			/* something else must be mended */
	KS_FAULT_PASSES				/* so the batch may be applied again */
} KsFault;

/* Where deletes of a batch are a step of their own (apply_range.c): what the record is in. */
typedef enum KsApart
{
	KS_NOT_APART,				/* the step that writes */
	KS_APART,					/* the deletes */
	KS_APART_SUPERSEDED			/* neither: it comes before a delete of its key */
} KsApart;

/* What a record's schema needs of its target, see evolve.c. */
typedef struct KsEvolution
{
	int			at;				/* the first such record, -1: none */
	Oid			relid;			/* its target */
	KsSchemaId	id;
	char	   *statement;		/* that makes the target ready */
	ErrorData  *refused;		/* or why it cannot be */
} KsEvolution;

struct KsApply
{
	const KsSink *sink;			/* itself; routes have settings of their own */
	MemoryContext cxt;			/* as long as the sink */
	MemoryContext batch_cxt;	/* reset by the caller after each batch */
	MemoryContext attempt_cxt;	/* child of it, reset before each attempt */
	ResourceOwner owner;		/* around the attempts, of what outlives them */
	KsRoute    *routes;			/* in the order of their foreign keys */
	int			nroutes;
	bool		in_order;		/* since the last target was built */
	bool		shared;			/* two routes write to a table that is linked, without actions */
	List	   *unrouted;		/* topics (String) without a route */
	bool		set_constraints;	/* check deferred constraints per batch, */
	bool		more_batches;	/* and others follow in the transaction */
	bool		defining;		/* the sink is only checked: renamed columns are no error yet */

	/*
	 * Asked about a record whose foreign key finds no row: may it wait for it?
	 * NULL: none may.
	 */
	bool		(*may_wait) (void *arg, const KsRecord *rec);
	void	   *wait_arg;

	/* of the batch at hand, in batch_cxt */
	const KsRecord *recs;
	int			nrecs;
	KsPartition *parts;
	int			nparts;
	uint8	   *ops;			/* KsRowOp; rejected until it is decoded */
	uint8	   *parsed_ops;		/* as decoded: before filters of the attempt */
	uint8	   *apart;			/* KsApart, of the attempt */
	bool		deletes_first;	/* they are apart, and come before what is written */

	/* what is being done, for whoever catches an error */
	const KsRoute *written;		/* to its target rows have been written last, or are; NULL: none yet */
	int			decoding;		/* record being decoded, -1: past that */
	int			evaluating;		/* record whose default or filter is evaluated, or -1 */

	bool		fast;			/* no record was written by SQL */
	bool		searching;		/* attempts stay that others follow */
	bool		one_by_one;		/* records are refused: ranges are small */
	bool		use_sql;		/* the attempt was rolled back for that */
	int			limit;			/* records from here on are not applied, */
	int			done;			/* nor from here on, which need them */
	int			decoded_until;	/* records before it are decoded, or cannot be */
	KsFault		fault;			/* of the last attempt's error */
	KsRecordError stopped;		/* the first record with an error that is not its own */
	bool		for_filter;		/* a record is decoded to ask the filter, and no more */
	bool		quiet;			/* rows are written without their AFTER triggers */
	List	   *key_sets;		/* KsKeySet: rows that foreign keys may find */
	int			owner_code_around;	/* sees code of the owner's other records? -1: not known */
	bool		owner_code_behind;	/* and some of it behind a statement? */
	bool		owner_code_before;	/* or does some see those that were written before? */
	LocalTransactionId immediate_in;	/* where constraints have become immediate */
	int		   *waiting;		/* by partition: its first record that waits, or -1 */
	int			nwaiting;		/* partitions with one */
	KsRecordError wait_error;	/* of the first of them; edata NULL: for a schema */
	List	   *unknown;		/* KsSchemaId *: schemas that must be fetched first, in batch_cxt */
	bool		unknown_wait;	/* they cannot be fetched now */
	bool		unknown_first;	/* those only that partitions wait for */
	KsSchemaPass looking;		/* for such */
	bool		again;			/* the batch of the last call, with schemas that were missing then */
	KsEvolution evolution;		/* that is needed first, in batch_cxt */
	KsRejects	rejects;
	int			nundecodable;	/* of these: their rows are not known */
	bool		keep_rejects;	/* in rejects.items, for the caller; no dead letters */
	int		   *idx;			/* scratch: rows to write, in order */
	KsCounts   *counts;			/* scratch: of one attempt, by partition */
	EphemeralNamedRelation enr; /* the route's that is registered as "batch" */

	/* since created */
	int64		decode_us;
	int64		apply_us;		/* with index_us */
	int64		index_us;		/* making index entries, fast path only */
};

extern KsApply *ks_apply_create(const KsSink *sink, bool set_constraints,
								MemoryContext cxt, MemoryContext batch_cxt);

/*
 * Decodes and applies recs[0..n).  A record that is refused goes by on_error.
 * If that stops the batch, everything before the record is applied and nothing
 * after: the number of records done is returned, and err tells of the one
 * behind them, or of a later one, if some between need what is behind it.  So does
 * an error that is not a record's fault, but that one of them provokes alone; any
 * other is thrown, and those that may pass.  What became of the records done is
 * added to the partitions' counts (consumed, until and gaps excepted).  In a
 * transaction with an active snapshot.
 *
 * If records wait (nwaiting > 0), nothing is applied and 0 returned: the caller
 * takes them and what is behind them in their partitions out of the batch, and
 * calls again.
 *
 * Nor is anything applied, nor looked at, if records are by schemas that are not known
 * (unknown != NIL): the caller has them fetched, and calls 'again'.  There may be more;
 * with unknown_first they are only those of the first such record of each partition.
 * With unknown_wait, for that cannot be done now, records wait (above); but if foreign keys
 * of the target link them with others, all must (both unknown != NIL and nwaiting > 0).
 * Nor if the target is not ready for the schema of a record (evolution.at >= 0): the
 * caller applies those before it, if there are any, or has the target altered, between
 * ks_apply_finish() and ks_apply_prepare(), and calls again.
 */
extern int	ks_apply(KsApply *ap, const KsRecord *recs, int n,
					 KsPartition *parts, int nparts, KsRecordError *err);

/* The schema of a registry that a value of the batch names, and is read by; false: none. */
extern bool ks_apply_schema_of(const KsApply *ap, int record, KsSchemaId *id);

/* --- evolve.c --- */

/* At the beginning of a transaction that will alter it. */
extern void ks_evolve_lock(const KsApply *ap, Oid relid);

/* Alters the target as evolution says; what is wrong with that, NULL: it is done.  Errors
 * that may pass are thrown. */
extern ErrorData *ks_evolve_run(KsApply *ap);

/* --- apply_blame.c, apply_constraints.c --- */

/* Is it of a kind that may pass by itself? */
extern bool ks_error_passes(const ErrorData *edata);

/* Does a foreign key find no row, or a row go that is referred to? */
extern bool ks_error_is_of_reference(int sqlstate);

/*
 * In a subtransaction that will be rolled back: the modes of constraints are then
 * what they are now, whatever subtransactions below it do.
 */
extern void ks_constraints_remember(void);

#endif
