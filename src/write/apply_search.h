/*
 * apply_search.h
 *	  What the files of the search for bad records share; nobody else includes it.
 *
 *	apply_search.c	which records are to blame
 *	apply_aside.c	records that are put aside
 *	apply_attempt.c	attempts
 *	apply_whole.c	those at the batch as a whole, where it has deletes that come last
 *	apply_suspects.c	records that others might cure
 *	apply_judge.c	records that others of the batch might cure; apply_trial.c (apply_judge.h)
 *	apply_blame.c	whose fault an error is
 *	apply_refer.c	which records refer to rows of which
 *	apply_constraints.c	the modes of deferrable constraints
 */
#ifndef KS_APPLY_SEARCH_H
#define KS_APPLY_SEARCH_H

#include "write/apply_int.h"

/* Records that fail beside those before them, in the order of the batch. */
typedef struct KsSuspect
{
	int			index;			/* into the batch */
	ErrorData  *edata;
	const char *column;			/* or NULL */
	KsFault		fault;
	Oid			constraint;		/* that was violated, or InvalidOid */
	int			before;			/* the last one before it whose key may be the same, or -1 */
	bool		excused;		/* it may be bad only for want of others that are, or of order */
	bool		at_once;		/* the row cannot be written: AFTER triggers do not come */
	bool		doubted;		/* has failed beside others, not all of which could be written */
	bool		bad;			/* the verdict, */
	bool		convicted;		/* whatever else is there */
	bool		at_first;		/* and not only without others that are bad */
} KsSuspect;

typedef struct KsSuspects
{
	KsSuspect  *items;
	int			n;
	int			size;
	struct KsRouteSuspects *of_routes;
	struct HTAB *keys;
} KsSuspects;

/* One more, in the order of the batch. */
extern KsSuspect *ks_suspects_add(const KsApply *ap, KsSuspects *list, int index);

extern void ks_suspects_clear(KsSuspects *list);

/*
 * Might the record, of a table without code of its owner's, need what one of them does?
 * unique: a value that another row has is all that it lacks.
 */
extern bool ks_suspects_may_be_needed(const KsApply *ap, const KsSuspects *list, int index, bool unique);

/*
 * Applies [lo, hi) in a subtransaction, decoding [from, hi) first.  NULL and
 * the counts added to the partitions', or the error, whose fault is ap->fault;
 * what may pass is thrown.  NULL and nothing applied if it is to be done by SQL
 * (use_sql), which the fast path may say, but not in a search.
 */
extern ErrorData *ks_apply_attempt(KsApply *ap, int lo, int hi, int from);

/* The first n of a batch; once more, with deletes first, or last, where that may help. */
extern ErrorData *ks_whole_attempt(KsApply *ap, int n);

/* The same behind an attempt at them; edata: what it has come to. */
extern ErrorData *ks_whole_or_turned(KsApply *ap, int n, ErrorData *edata);

/*
 * Leaves out the deletes that act on others, which as a whole come last, and what these
 * supersede.  Returns what they are, to be taken back.
 */
extern uint8 *ks_whole_leave_deletes_out(KsApply *ap);
extern void ks_whole_take_deletes_back(KsApply *ap, uint8 *left_out);

/* Tells the writers, whose attempt it was. */
extern void ks_apply_attempt_failed(KsApply *ap, const ErrorData *edata);

/*
 * Leaves of an error what is told later: all of it, if it stops the sink.  Returns
 * its column.
 */
extern const char *ks_apply_trim_error(KsApply *ap, ErrorData *edata);

/*
 * A subtransaction whose end restores the modes of constraints too, if it is rolled
 * back.  Runs fn, rolls back unless it returns true, or if it throws.
 */
extern void ks_apply_undoable(KsApply *ap, bool (*fn) (void *), void *arg);

/* Puts the record aside by the fault of its error. */
extern void ks_aside_put(KsApply *ap, int i, ErrorData *edata, const char *column, KsFault fault);

/* The one that cannot be decoded (ap->decoding).  Its schema may not fit a column. */
extern void ks_aside_put_undecodable(KsApply *ap, ErrorData *edata);

/* From there on, what is behind a record that waits in its partition, which waits too. */
extern void ks_aside_put_waiting(KsApply *ap, int from);

/* May the row that its foreign key needs still come? */
extern bool ks_aside_may_wait(KsApply *ap, int i, const ErrorData *edata);

/* The column of the last attempt's error, or NULL. */
extern const char *ks_aside_column(const KsApply *ap, const ErrorData *edata);

/*
 * All others that remain are written, suspects are not.  Tells which of them are
 * bad.  What it writes is the caller's to roll back.
 */
extern void ks_apply_judge(KsApply *ap, KsSuspects *s);

/* Of what a statement met while its target was renamed nothing is known: it may pass. */
extern void ks_fault_excuse(const KsRoute *at, ErrorData *edata);

/*
 * By ap->decoding and ap->evaluating, right behind the error; at: whose records were
 * written, or NULL.
 */
extern KsFault ks_fault_of(const KsApply *ap, const KsRoute *at, const ErrorData *edata);

/* Is it raised while a row is written, as far as is known? */
extern bool ks_fault_is_at_once(KsApply *ap, const ErrorData *edata);

/* May the record, which fails so, be fine beside others? */
extern bool ks_fault_may_be_cured(KsApply *ap, int index, const ErrorData *edata);

/* May it fail for want of what suspects before it, which are left out, would have written? */
extern bool ks_fault_may_follow(KsApply *ap, int index, const ErrorData *edata, const KsSuspects *suspects);

/* The constraint that was violated, or InvalidOid if the error does not tell. */
extern Oid	ks_fault_constraint(const ErrorData *edata);

/* Checks what is deferred, which leaves all constraints immediate. */
extern void ks_constraints_check(KsApply *ap);

/* Behind a search: nothing of it is left to the commit. */
extern void ks_constraints_finish(KsApply *ap);

/* Each constraint in its initial mode again, if they have been checked. */
extern void ks_constraints_reset(KsApply *ap);

/*
 * A record without the row that its foreign key needs: may another one of the
 * batch bring it, or have taken it away too early?  May it be one of those that were put aside?  If it is not known it
 * may.
 */
extern bool ks_refer_may_find(KsApply *ap, int index, Oid constraint);

/* Does the batch delete the row, as far as is known? */
extern bool ks_refer_is_deleted(KsApply *ap, int index, Oid constraint);

/* May the row that the record builds on have gone with another one that the batch deletes? */
extern bool ks_refer_may_have_gone(KsApply *ap, int index);

extern bool ks_refer_may_need_rejected(KsApply *ap, int index, Oid constraint);

/* Is it known that one behind the limit would bring it? */
extern bool ks_refer_finds_behind(KsApply *ap, int index, Oid constraint);

#endif
