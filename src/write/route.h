/*
 * route.h
 *	  Where the records of a topic go: a target and the settings that it is written by.
 *
 *	apply_route.c	the routes of a sink, from transaction to transaction
 *	apply_topics.c	which records of a batch are whose
 */
#ifndef KS_ROUTE_H
#define KS_ROUTE_H

#include "base/message.h"
#include "format/decode.h"
#include "write/target_build.h"

typedef struct KsApply KsApply;

/* What is not known of a row yet, see evaluate.c. */
typedef struct KsPending
{
	int			row;
	KsLater		what;
} KsPending;

/* Where the records of a topic go, or of all that have no place of their own. */
typedef struct KsRoute
{
	const KsSink *sink;			/* with the topic's settings */
	const char *topic;			/* NULL: the sink's own target or command */
	int			listed;			/* by topic: its place where no foreign key tells another */
	KsTarget   *target;
	KsDecoder  *decoder;
	bool		linked;			/* by foreign keys, with other routes or within it */
	bool		referred;		/* by other tables' */
	bool		refers_to_itself;	/* its rows to each other */
	bool		is_tree;		/* so it does, and it is linked with others */
	int			group;			/* the same for all that are linked with it */
	bool		acts_on_itself; /* rows go, or change, with others of the target's that are deleted */
	bool		acts_on_others; /* nor only those */
	bool		deletes_last;	/* they are a step of their own then */
	bool		deletes_supersede;	/* what is before them need not be written */

	/*
	 * Of the transaction, from ks_apply_prepare() to ks_apply_finish(): what the
	 * target depends on, in use, so that it cannot be changed under the batch.
	 */
	bool		open;
	Relation	rel;			/* the target, or NULL: a command */
	List	   *in_use;			/* Relation: its indexes, composite types */

	/* of the batch at hand */
	int			lo,				/* its records */
				hi;
	const struct KsWriter *writer;	/* see writer.h */
	const struct KsWriter *store;	/* of rows that the writer makes */
	bool		fast;			/* by the fast path */
	KsRows		rows;			/* as decoded */
	KsWhen		when;			/* some of them are complete */
	KsPending  *pending;		/* in the order of rows */
	int			npending;
	int			maxpending;
	bool		evaluated;		/* in this attempt, */
	bool		divided;		/* and so are its deletes from the rest */
	bool		stored_filled;	/* in the transaction before, which may not have been committed */
	EphemeralNamedRelation enr;
	struct KsRowWriter *one_by_one; /* the fast path's own, or NULL */
} KsRoute;

/* --- apply_route.c --- */

/*
 * In each transaction, before the records: builds targets that changed, and
 * takes into use what they depend on.  Whoever calls ends it with
 * ks_apply_finish() before the resource owner is released; after an error that
 * has released it, as all of them do.
 */
extern void ks_apply_prepare(KsApply *ap);
extern void ks_apply_finish(KsApply *ap);

/* Before it is prepared: the topic has no records, and its own target may be gone. */
extern void ks_apply_leave_out(KsApply *ap, const char *topic);

/* So many records make as many bytes of rows as a batch may have, as far as is known. */
extern int	ks_apply_max_records(const KsApply *ap);

/* The targets; the memory is its context's. */
extern void ks_apply_free(KsApply *ap);

/* Prepared: does any target take what is in headers? */
extern bool ks_apply_wants_headers(const KsApply *ap);

/* --- apply_topics.c --- */

/*
 * Do foreign keys link the rows of two topics, directly, through those of other topics, or
 * in the one table that both are written to?  Before it was prepared, they may.
 */
extern bool ks_apply_are_linked(const KsApply *ap, const char *topic, const char *other);

/* Can a record of the topic need what a record of the other one, or of another partition of
 * its own, writes or deletes? */
extern bool ks_apply_may_need(const KsApply *ap, const char *topic, const char *other);

/* Are the rows of the topic written before those of the other one, which may refer to them? */
extern bool ks_apply_comes_before(const KsApply *ap, const char *topic, const char *other);

/*
 * Brings records into the order of their targets, which ks_apply() needs.
 * Returns where each was before, in the current context; NULL: as it is.
 */
extern int *ks_apply_order(const KsApply *ap, KsRecord *recs, int n,
						   const KsPartition *parts, int nparts);

/* That of one record of the batch at hand. */
extern KsRoute *ks_apply_route_at(const KsApply *ap, int record);

#endif
