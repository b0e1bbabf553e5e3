/*
 * evaluate.c
 *	  What is evaluated anew in each attempt: defaults, domains' checks, the filter.
 *
 * Records are parsed and converted once, and what came of them survives an attempt
 * that is rolled back.  What an expression wrote does not, and what it saw may be
 * different in the next: so its result is the attempt's (volatility.h says which
 * expressions that are; the others are evaluated with the record).  A value within
 * whose type a domain has such a check, an array of them for instance, is converted
 * in the attempt: its conversion makes the check.
 *
 * A row has NULL where its value is still to come, and a place in the route's list
 * of these, which is in the order of the rows.  Whatever an attempt evaluates lives
 * in its context.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "write/apply_int.h"
#include "write/command.h"

/* Rows between looks at interrupts. */
#define CHUNK		1024

static void
add_pending(KsRoute *r, int row, KsLater what)
{
	KsPending  *p;

	if (r->npending == r->maxpending)
	{
		r->maxpending = Max(256, r->maxpending * 2);
		r->pending = r->pending ? repalloc_huge(r->pending, r->maxpending * sizeof(KsPending)) :
			palloc(r->maxpending * sizeof(KsPending));
	}
	p = &r->pending[r->npending++];
	p->row = row;
	p->what = what;
}

void
ks_evaluate_later(KsRoute *r, int row)
{
	const KsDecoder *d = r->decoder;

	for (int i = 0; i < d->nlater; i++)
	{
		add_pending(r, row, d->later[i]);
		r->when = Max(r->when, r->target->cols[d->later[i].col].when);
	}
	if (d->unmatched && d->must_match)
		add_pending(r, row, (KsLater) {.col = -1});
}

/* The first that is pending of this row or one behind it. */
static int
first_pending(const KsRoute *r, int row)
{
	int			lo = 0,
				hi = r->npending;

	while (lo < hi)
	{
		int			mid = lo + (hi - lo) / 2;

		if (r->pending[mid].row < row)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* A default, or the check of the domain of a value that is there. */
static void
evaluate_value(const KsRoute *r, const KsPending *p)
{
	KsColumn   *col = &r->target->cols[p->what.col];
	Size		at = (Size) p->row * r->rows.ncols + p->what.col;
	ExprContext *econtext = r->target->late_econtext;
	Datum		v;

	r->decoder->column = col->name;
	if (p->what.kind == KS_LATER_CHECK)
	{
		domain_check(r->rows.values[at], r->rows.isnull[at], col->type.typid,
					 &col->late_domain, r->target->late_cxt);
		return;
	}
	ResetExprContext(econtext);
	r->decoder->evaluating = true;
	v = ExecEvalExprSwitchContext(col->late_default, econtext, &r->rows.isnull[at]);
	r->decoder->evaluating = false;
	if (!r->rows.isnull[at])
		v = datumCopy(v, col->type.typbyval, col->type.typlen);
	r->rows.values[at] = v;
}

/* One of the values that are converted in the attempt, all of them at once. */
static void
take_value(KsApply *ap, const KsRoute *r, const KsPending *p, KsRows *again)
{
	const KsRecord *rec = &ap->recs[p->row];
	KsDecoder  *d = r->decoder;
	int			col = p->what.col;
	Size		at = (Size) p->row * r->rows.ncols + col;

	if (again->values == NULL)
	{
		again->values = palloc(r->rows.ncols * sizeof(Datum));
		again->isnull = palloc(r->rows.ncols * sizeof(bool));
		ks_decode_values(d, rec, &ap->parts[rec->pidx], again->values, again->isnull);
	}
	r->rows.values[at] = again->values[col];
	r->rows.isnull[at] = again->isnull[col];
	for (int i = 0; i < d->nlater; i++)
		if (d->later[i].col == col)
			evaluate_value(r, &(KsPending) {p->row, d->later[i]});
}

/* What the attempt before has made of it is gone with that, should this one not come so far. */
static void
forget_values(const KsRoute *r, int row, int next)
{
	bool	   *isnull = r->rows.isnull + (Size) row * r->rows.ncols;

	for (; next < r->npending && r->pending[next].row == row; next++)
		if (r->pending[next].what.col >= 0 && r->pending[next].what.kind != KS_LATER_CHECK)
			isnull[r->pending[next].what.col] = true;
}

static void
evaluate_row(KsApply *ap, const KsRoute *r, int row, int *next)
{
	const KsRecord *rec = &ap->recs[row];
	Datum	   *values = r->rows.values + (Size) row * r->rows.ncols;
	bool	   *isnull = r->rows.isnull + (Size) row * r->rows.ncols;
	struct KsFilter *filter = r->target->filter;
	KsRows		again = {0};
	bool		unmatched = false;
	bool		pending = *next < r->npending && r->pending[*next].row == row;

	/* what the decoder still knows is of another record */
	r->decoder->record = rec;
	r->decoder->evaluating = false;
	r->decoder->key.p = NULL;
	r->decoder->serial++;
	r->decoder->unmatched = NULL;
	r->decoder->unreadable = NULL;
	ap->ops[row] = ap->parsed_ops[row];
	forget_values(r, row, *next);
	for (; *next < r->npending && r->pending[*next].row == row; (*next)++)
	{
		const KsPending *p = &r->pending[*next];

		if (p->what.col < 0)
			unmatched = true;
		else if (p->what.kind == KS_LATER_VALUE)
			take_value(ap, r, p, &again);
		else
			evaluate_value(r, p);
	}
	r->decoder->column = NULL;
	if (ap->ops[row] != KS_ROW_WRITE && ap->ops[row] != KS_ROW_PATCH)
		return;
	/* without either it has passed the filter, or not, with the record */
	pending |= filter && ks_filter_when(filter) != KS_WITH_RECORD;
	if (pending && filter &&
		!ks_filter_passes(filter, r->decoder, rec, &ap->parts[rec->pidx], values, isnull))
		ap->ops[row] = KS_ROW_FILTERED;
	else if (pending)
	{
		/* once more, to say which they are */
		if (unmatched)
			(void) ks_decode(r->decoder, rec, &ap->parts[rec->pidx],
							 palloc(r->rows.ncols * sizeof(Datum)),
							 palloc(r->rows.ncols * sizeof(bool)));
		ks_decode_check_row(r->decoder, isnull);
	}
}

/* An expression that has thrown an error was left in its middle. */
static void
begin_expressions(KsTarget *target)
{
	MemoryContext old;

	if (target->late_cxt && !target->late_broken)
		return;
	/* nor is one ready that the owner may not evaluate */
	target->late_broken = true;
	if (target->late_cxt == NULL)
		target->late_cxt = AllocSetContextCreate(target->cxt, "kafka_sink expressions",
												 ALLOCSET_SMALL_SIZES);
	MemoryContextReset(target->late_cxt);
	old = MemoryContextSwitchTo(target->late_cxt);
	target->late_econtext = CreateStandaloneExprContext();
	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		col->late_domain = NULL;
		col->late_default = col->when != KS_WITH_RECORD && col->default_expr ?
			ExecInitExpr(col->default_expr, NULL) : NULL;
	}
	if (target->filter)
		ks_filter_begin(target->filter);
	MemoryContextSwitchTo(old);
}

void
ks_evaluate(KsApply *ap, KsRoute *r, int lo, int hi)
{
	int			next = first_pending(r, lo);
	MemoryContext old;

	Assert(r->when != KS_WITH_RECORD);
	old = MemoryContextSwitchTo(ap->batch_cxt);
	begin_expressions(r->target);
	MemoryContextSwitchTo(ap->attempt_cxt);
	r->target->late_broken = true;
	/* what was written before is seen, as by a statement */
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = lo; i < hi; i++)
	{
		if (i % CHUNK == CHUNK - 1)
			CHECK_FOR_INTERRUPTS();
		if (ap->ops[i] == KS_ROW_REJECTED)
		{
			while (next < r->npending && r->pending[next].row == i)
				next++;
			continue;
		}
		ap->evaluating = i;
		evaluate_row(ap, r, i, &next);
	}
	PopActiveSnapshot();
	ap->evaluating = -1;
	r->target->late_broken = false;
	MemoryContextSwitchTo(old);
}
