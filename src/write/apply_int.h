/*
 * apply_int.h
 *	  What the files that apply a batch have of each other, beside the writers
 *	  (writer.h) and the search (apply_search.h).
 *
 *	apply.c			a batch: decoded, searched, disposed of
 *	apply_topics.c	what of it each route has
 *	apply_range.c	its records to the writers
 *	evaluate.c		what is found anew in each attempt
 *	evolve.c		whether targets are ready for the schemas of records
 *	batch_relation.c, apply_sql.c	what statements see of it, and truncations
 *	apply_fast_plan.c	what the fast path knows of a target
 */
#ifndef KS_APPLY_INT_H
#define KS_APPLY_INT_H

#include "write/apply.h"

/* --- apply_search.c --- */

/* Applies all records below ap->done but those that are refused. */
extern void ks_apply_search(KsApply *ap);

/* --- apply_aside.c --- */

/*
 * The record waits: for a row, of which the error tells, or for a schema (NULL).  Does it, or
 * one before it in its partition?
 */
extern void ks_aside_wait(KsApply *ap, int i, ErrorData *edata);
extern bool ks_aside_waits(const KsApply *ap, int i);

/* --- apply_topics.c --- */

/* What each route has of the batch. */
extern void ks_apply_begin_routes(KsApply *ap);

/* --- apply_range.c --- */

/*
 * Decodes, or applies, records [lo, hi); errors are thrown, which are of records of
 * route *at.  False if a writer wants what it was given to be rolled back and written
 * by SQL.
 */
extern void ks_apply_decode_range(KsApply *ap, int lo, int hi);
extern bool ks_apply_range(KsApply *ap, int lo, int hi, KsCounts *counts,
						   const KsRoute *volatile *at);

/* --- evaluate.c --- */

/* What the decoder has left of a row, in the current context. */
extern void ks_evaluate_later(KsRoute *r, int row);

/* The values, checks and filter of rows [lo, hi), in an attempt. */
extern void ks_evaluate(KsApply *ap, KsRoute *r, int lo, int hi);

/* --- evolve.c --- */

/* Are targets ready for the schemas of the records?  See KsEvolution. */
extern bool ks_evolve_ready(KsApply *ap);

/* --- batch_relation.c --- */

/* The relation "batch" is this route's from here on. */
extern void ks_apply_register_rows(KsApply *ap, const KsRoute *r);

/*
 * Which of the plans of a statement is for so many rows, for which it will be made.  A search
 * for bad records executes the statement for one row again and again: if that is planned for
 * the batch, each reads the whole of a table that is not much larger than it.
 */
extern int	ks_batch_size(const KsRoute *r, int n);

/* --- apply_sql.c --- */

/* Errors if the record's truncation has no place in the order. */
extern void ks_apply_check_truncation(const KsApply *ap, const KsRoute *r, const KsRecord *rec);

/* The truncation that record i tells of. */
extern void ks_apply_truncation(KsApply *ap, const KsRoute *r, int i, KsCounts *counts);

/* --- apply_fast_plan.c, apply_fill.c, apply_foreign.c --- */

/*
 * What the fast path knows of a table, where nothing can tell the difference; NULL if the
 * general path must be taken.  In the current context.
 */
extern struct KsFast *ks_fast_plan(const KsSink *sink, Relation rel, KsTarget *target);

/* Does it know the target, and has not met a partition that it must not write? */
extern bool ks_fast_may_try(const KsTarget *target);

/* How many values of a row it may copy. */
extern int	ks_fast_width(const KsTarget *target);

/*
 * Does it leave some rows to the general path?  It does not when it inserts into an
 * ordinary table without foreign keys.
 */
extern bool ks_fast_may_decline(const KsTarget *target);

#endif
