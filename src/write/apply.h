/*
 * apply.h
 *	  A batch of records to the target, and the search for a bad one.
 */
#ifndef KS_APPLY_H
#define KS_APPLY_H

#include "base/message.h"
#include "format/decode.h"
#include "write/reject.h"
#include "write/target_build.h"

/* The record that stopped a batch, and why. */
typedef struct KsRecordError
{
	int			index;			/* into the batch */
	char	   *column;			/* or NULL */
	ErrorData  *edata;
	const char *exceeded;		/* the reject_limit that it exceeds, or NULL */
} KsRecordError;

/* Where the records of a topic go, or of all that have no place of their own. */
typedef struct KsRoute
{
	const KsSink *sink;			/* with the topic's settings */
	const char *topic;			/* NULL: the sink's own target or command */
	KsTarget   *target;
	KsDecoder  *decoder;

	/* of the batch at hand */
	int			lo,				/* its records */
				hi;
	bool		fast;			/* this attempt takes the fast path */
	Datum	   *values;			/* as decoded */
	bool	   *isnull;
	EphemeralNamedRelation enr;
	struct KsRowWriter *one_by_one; /* in the search for refused records, or NULL */
} KsRoute;

typedef struct KsApply
{
	MemoryContext cxt;			/* as long as the sink */
	MemoryContext batch_cxt;	/* reset by the caller after each batch */
	MemoryContext attempt_cxt;	/* child of it, reset after each attempt */
	KsRoute    *routes;			/* in the order of their foreign keys */
	int			nroutes;
	List	   *left_out;		/* topics (String) without a route */
	bool		linked;			/* there are foreign keys between them */
	bool		set_constraints;	/* check deferred constraints per batch */

	/*
	 * Asked about a record whose foreign key finds no row: may it wait for it?
	 * NULL: none may.
	 */
	bool		(*may_wait) (void *arg, const KsRecord *rec);
	void	   *wait_arg;

	/* the route at hand: its settings, target, decoder, rows */
	KsRoute    *route;
	const KsSink *sink;
	KsTarget   *target;
	KsDecoder  *decoder;

	/* of the batch at hand, in batch_cxt */
	const KsRecord *recs;
	int			nrecs;
	KsPartition *parts;
	int			nparts;
	Datum	   *values;			/* target->nvalues for a record: what is written */
	bool	   *isnull;
	Datum	   *decoded;		/* the same, but for folded rows */
	bool	   *decoded_null;
	uint8	   *ops;			/* KsRowOp */
	int			decoding;		/* record being decoded, -1: past that */
	bool		fast;			/* no record was written by SQL */
	int			limit;			/* records from here on are not applied */
	int		   *waiting;		/* by partition: its first record that waits, or -1 */
	int			nwaiting;		/* partitions with one */
	KsRecordError wait_error;	/* of the first of them */
	KsRejects	rejects;
	bool		keep_rejects;	/* in rejects.items, for the caller; no dead letters */
	int		   *idx;			/* scratch: rows to write, in order */
	KsCounts   *counts;			/* scratch: of one attempt, by partition */
	EphemeralNamedRelation enr;

	/* since created */
	int64		decode_us;
	int64		apply_us;		/* with index_us */
	int64		index_us;		/* making index entries, fast path only */
} KsApply;

extern KsApply *ks_apply_create(const KsSink *sink, bool set_constraints,
								MemoryContext cxt, MemoryContext batch_cxt);

/*
 * Decodes and applies recs[0..n).  A record that is refused goes by on_error.
 * If that stops the batch, everything before the record is applied and nothing
 * after: the number of records done is returned, and err tells of the one
 * behind them.  What became of the records done is added
 * to the partitions' counts (consumed, until and gaps excepted).  Any error
 * that is not a record's fault is thrown.  In a transaction with an active
 * snapshot.
 *
 * If records wait (nwaiting > 0), nothing is applied and 0 returned: the caller
 * takes them and what is behind them in their partitions out of the batch, and
 * calls again.
 */
extern int	ks_apply(KsApply *ap, const KsRecord *recs, int n,
					 KsPartition *parts, int nparts, KsRecordError *err);

/* --- between apply.c and apply_search.c --- */

/* Decodes, or applies, records [lo, hi); errors are thrown. */
extern void ks_apply_decode_range(KsApply *ap, int lo, int hi);
extern void ks_apply_range(KsApply *ap, int lo, int hi, KsCounts *counts);

/* Applies all records below ap->limit but those that are refused. */
extern void ks_apply_search(KsApply *ap);

/* --- apply_route.c --- */

/* In each transaction, before the records: builds targets that changed. */
extern void ks_apply_prepare(KsApply *ap);

/* Before it is prepared: the topic has no records, and its own target may be gone. */
extern void ks_apply_leave_out(KsApply *ap, const char *topic);

/* The targets; the memory is its context's. */
extern void ks_apply_free(KsApply *ap);

/* Prepared: does any target take what is in headers? */
extern bool ks_apply_wants_headers(const KsApply *ap);

/*
 * Brings records into the order of their targets, which ks_apply() needs.
 * Returns where each was before, in the current context; NULL: as it is.
 */
extern int *ks_apply_order(const KsApply *ap, KsRecord *recs, int n,
						   const KsPartition *parts, int nparts);

/* Inside ks_apply(): what each route has of the batch; the one at hand. */
extern void ks_apply_begin_routes(KsApply *ap);
extern void ks_apply_use_route(KsApply *ap, KsRoute *r);

/* apply_sql.c: errors if the record's truncation has no place in the order. */
extern void ks_apply_check_truncation(const KsApply *ap, const KsRecord *rec);

/* apply_sql.c: the truncation that record i tells of. */
extern void ks_apply_truncation(KsApply *ap, int i, KsCounts *counts);

/* apply_sql.c: rows idx[0..n) of one operation, counted by partition. */
extern void ks_apply_sql(KsApply *ap, int *idx, int n, KsRowOp op, KsCounts *counts);

/* --- apply_fast.c: plain tables, where nothing can tell the difference --- */

/* NULL if the general path must be taken; allocates in the current context. */
extern struct KsFast *ks_fast_plan(const KsSink *sink, Relation rel, KsTarget *target);

/* Rows idx[0..n), in this order. */
extern void ks_fast_insert(KsApply *ap, const int *idx, int n, KsCounts *counts);

/*
 * apply_rows.c: inserts one by one.  Begun and ended outside the subtransactions
 * in which rows are inserted and may fail; told of each that has.
 */
typedef struct KsRowWriter KsRowWriter;

extern KsRowWriter *ks_rows_begin(KsApply *ap);
extern void ks_rows_insert(KsRowWriter *rw, int row, KsCounts *counts);
extern void ks_rows_failed(KsRowWriter *rw, const ErrorData *edata);
extern void ks_rows_end(KsRowWriter *rw);

/* Writes and deletes, one for a key, sorted by it; changes the order of items. */
extern void ks_fast_upsert(KsApply *ap, KsSortItem *items, int n, KsCounts *counts);

#endif
