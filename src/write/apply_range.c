/*
 * apply_range.c
 *	  Records of a batch to the targets: rows, and which route's writer has which.
 *
 * Rows are written by the route's writer (writer.h).  Of several targets
 * (apply_route.c) what is referred to is written first, and deleted last, when nothing
 * refers to it any more, and nothing is left that would go with it (target_acts.c).  So
 * deletes from it are a step of their own, behind all that is written: those that are the
 * last records of their keys.  Should that fail they come first, of all targets: they make
 * room for unique values.  The other way round where two topics share a table: what one has
 * deleted another may write.  Within one target deletes are where the log has them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "write/command.h"
#include "write/writer.h"

typedef enum Step
{
	ALL,
	WRITES,
	DELETES						/* those that are apart */
} Step;

static KsWritten
apply_rows(KsApply *ap, KsRoute *r, int lo, int hi, Step step, KsCounts *counts)
{
	KsRun		run = {.idx = ap->idx};

	for (int i = lo; i < hi; i++)
	{
		Assert(step != ALL || ap->apart[i] == KS_NOT_APART);
		if (ap->ops[i] == KS_ROW_FILTERED)
			counts[ap->recs[i].pidx].filtered += step != DELETES;
		else if (ap->apart[i] == KS_APART_SUPERSEDED)
			counts[ap->recs[i].pidx].superseded += step != DELETES;
		else if (ap->ops[i] != KS_ROW_REJECTED && (ap->apart[i] == KS_APART) == (step == DELETES))
		{
			run.deletes |= ap->ops[i] == KS_ROW_DELETE;
			run.patches |= ap->ops[i] == KS_ROW_PATCH;
			run.idx[run.n++] = i;
		}
	}
	return run.n > 0 ? r->writer->write(ap, r, &run, counts) : KS_WRITTEN;
}

/* Are deletes and other rows of the target's to be written as they come? */
static bool
is_in_order_of_log(const KsApply *ap, const KsRoute *r, int lo, int hi, Step step)
{
	if (likely(!r->acts_on_itself) || step == DELETES || memchr(ap->ops + lo, KS_ROW_DELETE, hi - lo) == NULL)
		return false;
	/* or those that count are apart */
	return step == ALL || !ks_sink_last_counts(r->sink);
}

static KsWritten
apply_in_order(KsApply *ap, KsRoute *r, int lo, int hi, Step step, KsCounts *counts)
{
	int			next;

	if (likely(!is_in_order_of_log(ap, r, lo, hi, step)))
		return apply_rows(ap, r, lo, hi, step, counts);
	for (; lo < hi; lo = next)
	{
		int			nkinds = 0;
		bool		deletes = false;

		CHECK_FOR_INTERRUPTS();
		for (next = lo; next < hi; next++)
		{
			bool		delete = ap->ops[next] == KS_ROW_DELETE;

			if (ap->apart[next] != KS_NOT_APART ||
				(!delete && ap->ops[next] != KS_ROW_WRITE && ap->ops[next] != KS_ROW_PATCH))
				continue;
			if (nkinds++ == 0)
				deletes = delete;
			else if (delete != deletes)
				break;
		}
		if (apply_rows(ap, r, lo, next, step, counts) != KS_WRITTEN)
			return KS_USE_SQL;
	}
	return KS_WRITTEN;
}

/* Truncations divide what is before them from what is behind them. */
static KsWritten
apply_evaluated(KsApply *ap, KsRoute *r, int lo, int hi, Step step, KsCounts *counts)
{
	uint8	   *truncation;

	while (r->target->empty_sql &&
		   (truncation = memchr(ap->ops + lo, KS_ROW_TRUNCATE, hi - lo)) != NULL)
	{
		int			i = truncation - ap->ops;

		if (step == DELETES)
			return KS_WRITTEN;	/* none is apart */
		step = ALL;
		if (apply_in_order(ap, r, lo, i, step, counts) != KS_WRITTEN)
			return KS_USE_SQL;
		ks_apply_truncation(ap, r, i, counts);
		lo = i + 1;
	}
	return apply_in_order(ap, r, lo, hi, step, counts);
}

/* Each row is evaluated when those before it are written. */
static KsWritten
apply_row_by_row(KsApply *ap, KsRoute *r, int lo, int hi, Step step, KsCounts *counts)
{
	KsWritten	result = KS_WRITTEN;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink row",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);

	for (int i = lo; i < hi && result == KS_WRITTEN; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if ((ap->apart[i] == KS_APART) != (step == DELETES))
			continue;
		ks_evaluate(ap, r, i, i + 1);
		result = apply_evaluated(ap, r, i, i + 1, step, counts);
		MemoryContextReset(cxt);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return result;
}

/* Which deletes are apart. */
static void
divide(KsApply *ap, const KsRoute *r, int lo, int hi, bool any, bool row_by_row)
{
	if (!any || (row_by_row && !ks_target_knows_keys(r->target)))
	{
		memset(ap->apart + lo, KS_NOT_APART, hi - lo);
		return;
	}
	/* what an attempt before has made of them is gone with it */
	for (int i = lo; row_by_row && i < hi; i++)
		if (ap->ops[i] != KS_ROW_REJECTED)
			ap->ops[i] = ap->parsed_ops[i];
	ks_order_apart(ap, r, lo, hi);
}

/*
 * Evaluates what belongs to the attempt, and applies the rows; one after the other
 * if something looks at the rows before, or writes.  A command takes them as a set.
 */
static KsWritten
apply_to_target(KsApply *ap, KsRoute *r, int lo, int hi, Step step, KsCounts *counts)
{
	bool		row_by_row = r->when == KS_WITH_ROW && r->target->command == NULL;

	if (step == DELETES && memchr(ap->ops + lo, KS_ROW_DELETE, hi - lo) == NULL)
		return KS_WRITTEN;
	if (unlikely(r->when != KS_WITH_RECORD) && !row_by_row && !r->evaluated)
		ks_evaluate(ap, r, lo, hi);
	r->evaluated = true;
	if (!r->divided)
		divide(ap, r, lo, hi, step != ALL, row_by_row);
	r->divided = true;
	return row_by_row ? apply_row_by_row(ap, r, lo, hi, step, counts) :
		apply_evaluated(ap, r, lo, hi, step, counts);
}

/* Of one route, as far as it has any of the records. */
static KsWritten
apply_to_route(KsApply *ap, KsRoute *r, int lo, int hi, Step step, KsCounts *counts,
			   const KsRoute *volatile *at)
{
	lo = Max(lo, r->lo);
	hi = Min(hi, r->hi);
	if (lo >= hi)
		return KS_WRITTEN;
	*at = ap->written = r;
	return apply_to_target(ap, r, lo, hi, step, counts);
}

/* Are its deletes a step of their own? */
static bool
is_divided(const KsApply *ap, const KsRoute *r)
{
	return ap->deletes_first ? r->linked && r->sink->delete_enabled : r->deletes_last;
}

/* Those that are apart. */
static bool
apply_deletes(KsApply *ap, int lo, int hi, KsCounts *counts, const KsRoute *volatile *at)
{
	for (int i = ap->nroutes - 1; i >= 0; i--)
		if (is_divided(ap, &ap->routes[i]) &&
			apply_to_route(ap, &ap->routes[i], lo, hi, DELETES, counts, at) != KS_WRITTEN)
			return false;
	return true;
}

bool
ks_apply_range(KsApply *ap, int lo, int hi, KsCounts *counts, const KsRoute *volatile *at)
{
	bool		written = true;

	for (int i = 0; i < ap->nroutes; i++)
		ap->routes[i].evaluated = ap->routes[i].divided = false;
	if (ap->deletes_first)
		written = apply_deletes(ap, lo, hi, counts, at);
	for (int i = 0; i < ap->nroutes && written; i++)
		written = apply_to_route(ap, &ap->routes[i], lo, hi, is_divided(ap, &ap->routes[i]) ? WRITES : ALL,
								 counts, at) == KS_WRITTEN;
	return written && (ap->deletes_first || apply_deletes(ap, lo, hi, counts, at));
}

/* Does the record go on, as far as that is known? */
static bool
passes(KsApply *ap, const KsRoute *r, const KsRecord *rec, const Datum *values, const bool *isnull)
{
	struct KsFilter *filter = r->target->filter;

	if (filter && ks_filter_when(filter) != KS_WITH_RECORD)
		return true;			/* and its key counts if it does */
	if (filter && !ks_filter_passes(filter, r->decoder, rec, &ap->parts[rec->pidx], values, isnull))
		return false;
	ks_decode_check_row(r->decoder, isnull);
	return true;
}

/*
 * Deletes and truncations pass the filter, but those of other types: where it reads nothing of
 * rows but the type, which a change tells.
 */
static bool
is_of_other_type(KsApply *ap, const KsRoute *r, const KsRecord *rec)
{
	KsTarget   *target = r->target;
	KsDecoder  *d = r->decoder;
	int			nlater = d->nlater;
	const KsPartition *part = &ap->parts[rec->pidx];
	Datum	   *values;
	bool	   *isnull;
	bool		result;

	if (target->filter == NULL || rec->valuelen < 0 || !ks_filter_is_by_type(target->filter))
		return false;
	values = palloc0(target->ncols * sizeof(Datum));
	isnull = palloc(target->ncols * sizeof(bool));
	memset(isnull, true, target->ncols * sizeof(bool));
	for (int i = 0; i < target->ncols; i++)
	{
		if (!target->cols[i].in_filter)
			continue;
		d->column = target->cols[i].name;
		values[i] = ks_decode_column(d, &target->cols[i], rec, part, &isnull[i]);
	}
	d->column = NULL;
	result = !ks_filter_passes(target->filter, d, rec, part, values, isnull);
	d->nlater = nlater;
	pfree(values);
	pfree(isnull);
	return result;
}

static void
decode_rows(KsApply *ap, KsRoute *r, int lo, int hi)
{
	int			nvalues = r->rows.ncols;
	bool		late = r->when != KS_WITH_RECORD;	/* something is evaluated later */

	r->decoder->filters = r->target->filter && ks_filter_when(r->target->filter) == KS_WITH_RECORD;
	r->decoder->for_filter = ap->for_filter;
	for (int i = lo; i < hi; i++)
	{
		const KsRecord *rec = &ap->recs[i];
		Size		row = (Size) i * nvalues;

		CHECK_FOR_INTERRUPTS();
		ap->decoding = i;
		ap->ops[i] = ks_decode(r->decoder, rec, &ap->parts[rec->pidx],
							   r->rows.values + row, r->rows.isnull + row);
		if (unlikely(ap->ops[i] == KS_ROW_TRUNCATE))
			/* whoever compares rows finds none here */
			memset(r->rows.isnull + row, true, nvalues);
		if ((ap->ops[i] == KS_ROW_DELETE || ap->ops[i] == KS_ROW_TRUNCATE) && is_of_other_type(ap, r, rec))
			ap->ops[i] = KS_ROW_FILTERED;
		if (unlikely(ap->ops[i] == KS_ROW_TRUNCATE))
			ks_apply_check_truncation(ap, r, rec);
		if (unlikely(r->decoder->nlater > 0 || (r->decoder->unmatched && late)))
		{
			/* (what the filter would say is not known then) */
			if (!ap->for_filter)
				ks_evaluate_later(r, i);
		}
		else if (r->decoder->has_value &&
				 !passes(ap, r, rec, r->rows.values + row, r->rows.isnull + row))
			ap->ops[i] = KS_ROW_FILTERED;
		ap->parsed_ops[i] = ap->ops[i];
	}
}

void
ks_apply_decode_range(KsApply *ap, int lo, int hi)
{
	MemoryContext old = MemoryContextSwitchTo(ap->batch_cxt);

	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (Max(lo, r->lo) >= Min(hi, r->hi))
			continue;
		decode_rows(ap, r, Max(lo, r->lo), Min(hi, r->hi));
	}
	ap->decoding = -1;
	MemoryContextSwitchTo(old);
}
