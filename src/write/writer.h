/*
 * writer.h
 *	  How rows get into a target: writers that do not know each other.
 *
 *	fast path	apply_fast_writer.c and what is behind apply_fast.h; one by one where
 *				records are refused or look at each other (apply_rows.c)
 *	SQL			apply_sql.c
 *	accumulate	accumulate.c: folds the records of a key, and has another writer
 *				store the rows
 *	command		command.c
 *
 * A writer works in an attempt, a subtransaction.  What the server says of a row is
 * thrown, as the server does; that the fast path cannot go on where the statement
 * could, or has to look closer, is a result.
 */
#ifndef KS_WRITER_H
#define KS_WRITER_H

#include "write/apply_int.h"

/* What is to be written: records of one route that are neither filtered nor refused. */
typedef struct KsRun
{
	int		   *idx;			/* in the order of the log; the writer's to change */
	int			n;
	bool		deletes;		/* there are some */
	bool		patches;
} KsRun;

typedef enum KsWritten
{
	KS_WRITTEN,					/* and counted */
	KS_USE_SQL					/* not all of it: the attempt is to be rolled back */
} KsWritten;

typedef struct KsWriter
{
	const char *name;

	/* Writes a run, by the rules of the sink's mode. */
	KsWritten	(*write) (KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts);

	/*
	 * Upserts or deletes rows of distinct keys, in its order; for those who make
	 * rows of their own.  NULL: it cannot.
	 */
	KsWritten	(*store) (KsApply *ap, KsRoute *r, const KsRows *rows, KsSortItem *items, int n,
						  KsRowOp op, KsCounts *counts);

	/* An attempt in which it wrote has failed; and: it writes no more.  Or NULL. */
	void		(*failed) (KsRoute *r, const ErrorData *edata);
	void		(*end) (KsRoute *r);
} KsWriter;

extern const KsWriter ks_fast_writer;
extern const KsWriter ks_sql_writer;
extern const KsWriter ks_accumulate_writer;
extern const KsWriter ks_command_writer;

/*
 * Of a batch, or of what is left of it: the writer of a route.  The fast path, if
 * the target's plan allows it (apply_fast_plan.c) and 'fast' does.
 */
extern void ks_writer_choose(KsRoute *r, bool fast);
extern void ks_writer_end(KsRoute *r);

/* --- order.c: what writers need of the order of rows --- */

/*
 * Sorts by key and keeps the last record of each; counts the others.  Returns the
 * rows left, whose numbers go to run->idx too.
 */
extern KsSortItem *ks_order_last(KsApply *ap, const KsRoute *r, KsRun *run, KsCounts *counts);

/*
 * Of records [lo, hi), which are the route's: the deletes that can be done apart from the
 * rest, to ap->apart.  They are the last records of their keys.
 */
extern void ks_order_apart(KsApply *ap, const KsRoute *r, int lo, int hi);

/*
 * What lacks values builds on the record of its key before it: all before the last
 * complete one of a key, or the last delete, is superseded.
 */
extern void ks_order_complete(KsApply *ap, const KsRoute *r, KsRun *run, KsCounts *counts);

/* The rows of one operation among idx, in order, to a new place. */
extern int	ks_order_select(KsApply *ap, const int *idx, int n, KsRowOp op, int *out);

#endif
