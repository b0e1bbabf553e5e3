/*
 * apply.c
 *	  A batch of records to the targets: rows, and which route's writer has which.
 *
 * What was refused (apply_search.c) goes by on_error once all else is applied.  A
 * record that is one too many (the first one, with on_error => 'stop') ends the
 * batch: nothing behind it is applied.
 *
 * Rows are written by the route's writer (writer.h).
 *
 * Several targets (apply_route.c): what is referred to is written first, and
 * deleted last.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "write/command.h"
#include "write/dead_letters.h"
#include "write/writer.h"

KsApply *
ks_apply_create(const KsSink *sink, bool set_constraints,
				MemoryContext cxt, MemoryContext batch_cxt)
{
	KsApply    *ap = MemoryContextAllocZero(cxt, sizeof(KsApply));

	ap->cxt = cxt;
	ap->batch_cxt = batch_cxt;
	ap->sink = sink;
	ap->set_constraints = set_constraints;
	ap->rejects.cxt = cxt;
	ap->rejects.limit = sink->reject_limit;
	if (sink->on_error == KS_ON_ERROR_STOP)
		ap->rejects.limit.max = 0;
	return ap;
}

static KsWritten
apply_rows(KsApply *ap, KsRoute *r, int lo, int hi, KsStep step, KsCounts *counts)
{
	KsRun		run = {.idx = ap->idx, .step = step};

	for (int i = lo; i < hi; i++)
	{
		if (ap->ops[i] == KS_ROW_FILTERED)
			counts[ap->recs[i].pidx].filtered += step != KS_STEP_DELETES;
		else if (ap->ops[i] != KS_ROW_REJECTED)
		{
			run.deletes |= ap->ops[i] == KS_ROW_DELETE;
			run.patches |= ap->ops[i] == KS_ROW_PATCH;
			run.idx[run.n++] = i;
		}
	}
	return run.n > 0 ? r->writer->write(ap, r, &run, counts) : KS_WRITTEN;
}

/* Truncations divide what is before them from what is behind them. */
static KsWritten
apply_evaluated(KsApply *ap, KsRoute *r, int lo, int hi, KsStep step, KsCounts *counts)
{
	uint8	   *truncation;

	while (r->target->empty_sql &&
		   (truncation = memchr(ap->ops + lo, KS_ROW_TRUNCATE, hi - lo)) != NULL)
	{
		int			i = truncation - ap->ops;

		if (step == KS_STEP_DELETES)
			return KS_WRITTEN;	/* all in its order, then */
		step = KS_STEP_ALL;
		if (apply_rows(ap, r, lo, i, step, counts) != KS_WRITTEN)
			return KS_USE_SQL;
		ks_apply_truncation(ap, r, i, counts);
		lo = i + 1;
	}
	return apply_rows(ap, r, lo, hi, step, counts);
}

/* Each row is evaluated when those before it are written. */
static KsWritten
apply_row_by_row(KsApply *ap, KsRoute *r, int lo, int hi, KsCounts *counts)
{
	KsWritten	result = KS_WRITTEN;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink row",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);

	for (int i = lo; i < hi && result == KS_WRITTEN; i++)
	{
		CHECK_FOR_INTERRUPTS();
		ks_evaluate(ap, r, i, i + 1);
		result = apply_evaluated(ap, r, i, i + 1, KS_STEP_ALL, counts);
		MemoryContextReset(cxt);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return result;
}

/*
 * Evaluates what belongs to the attempt, and applies the rows; one after the other
 * if something looks at the rows before, or writes.  A command takes them as a set.
 */
static KsWritten
apply_to_target(KsApply *ap, KsRoute *r, int lo, int hi, KsStep step, KsCounts *counts)
{
	if (likely(r->when == KS_WITH_RECORD))
		return apply_evaluated(ap, r, lo, hi, step, counts);
	if (r->when == KS_IN_ATTEMPT || r->target->command)
	{
		/* where deletes are early they have to be known */
		if (step == KS_STEP_DELETES && memchr(ap->ops + lo, KS_ROW_DELETE, hi - lo) == NULL)
			return KS_WRITTEN;
		if (!r->evaluated)
			ks_evaluate(ap, r, lo, hi);
		r->evaluated = step == KS_STEP_DELETES;
		return apply_evaluated(ap, r, lo, hi, step, counts);
	}
	return step == KS_STEP_DELETES ? KS_WRITTEN : apply_row_by_row(ap, r, lo, hi, counts);
}

/* Of one route, as far as it has any of the records. */
static KsWritten
apply_to_route(KsApply *ap, KsRoute *r, int lo, int hi, KsStep step, KsCounts *counts)
{
	lo = Max(lo, r->lo);
	hi = Min(hi, r->hi);
	if (lo >= hi)
		return KS_WRITTEN;
	ap->at_route = r;
	return apply_to_target(ap, r, lo, hi, step, counts);
}

bool
ks_apply_range(KsApply *ap, int lo, int hi, KsCounts *counts)
{
	for (int i = 0; i < ap->nroutes; i++)
		ap->routes[i].evaluated = false;
	for (int i = ap->nroutes - 1; ap->linked && i >= 0; i--)
		if (apply_to_route(ap, &ap->routes[i], lo, hi, KS_STEP_DELETES, counts) != KS_WRITTEN)
			return false;
	for (int i = 0; i < ap->nroutes; i++)
		if (apply_to_route(ap, &ap->routes[i], lo, hi,
						   ap->linked ? KS_STEP_WRITES : KS_STEP_ALL, counts) != KS_WRITTEN)
			return false;
	return true;
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

static void
decode_rows(KsApply *ap, KsRoute *r, int lo, int hi)
{
	int			nvalues = r->rows.ncols;
	bool		late = r->when != KS_WITH_RECORD;	/* something is evaluated later */

	for (int i = lo; i < hi; i++)
	{
		const KsRecord *rec = &ap->recs[i];
		Size		row = (Size) i * nvalues;

		CHECK_FOR_INTERRUPTS();
		ap->decoding = i;
		ap->ops[i] = ks_decode(r->decoder, rec, &ap->parts[rec->pidx],
							   r->rows.values + row, r->rows.isnull + row);
		if (unlikely(ap->ops[i] == KS_ROW_TRUNCATE))
			ks_apply_check_truncation(ap, rec);
		if (unlikely(r->decoder->nlater > 0 || (r->decoder->unmatched && late)))
			ks_evaluate_later(r, i);
		else if (r->decoder->has_value &&
				 !passes(ap, r, rec, r->rows.values + row, r->rows.isnull + row))
			ap->ops[i] = KS_ROW_FILTERED;
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
		ap->at_route = r;
		decode_rows(ap, r, Max(lo, r->lo), Min(hi, r->hi));
	}
	ap->decoding = -1;
	MemoryContextSwitchTo(old);
}

/* What becomes of those that were refused. */
static void
dispose(KsApply *ap)
{
	bool		ignore = ap->sink->on_error == KS_ON_ERROR_IGNORE && !ap->keep_rejects;

	for (int i = 0; i < ap->rejects.n; i++)
	{
		KsCounts   *c = &ap->parts[ap->recs[ap->rejects.items[i].index].pidx].counts;

		(*(ignore ? &c->ignored : &c->dead_lettered))++;
	}
	if (!ignore && !ap->keep_rejects && ap->rejects.n > 0)
		ks_dead_letters_write(ap->sink, ap->recs, ap->parts, ap->rejects.items, ap->rejects.n);
}

int
ks_apply(KsApply *ap, const KsRecord *recs, int n, KsPartition *parts,
		 int nparts, KsRecordError *err)
{
	MemoryContext old = MemoryContextSwitchTo(ap->batch_cxt);
	KsReject   *stopped;
	instr_time	start,
				end;

	memset(err, 0, sizeof(KsRecordError));
	ap->recs = recs;
	ap->nrecs = n;
	ap->parts = parts;
	ap->nparts = nparts;
	ap->limit = n;
	ap->waiting = NULL;
	ap->owner = CurrentResourceOwner;
	ap->nwaiting = 0;
	ap->done = n;
	ap->decoded_until = 0;
	ap->looks_around = -1;
	ap->one_by_one = ap->quiet = false;
	ap->key_sets = NIL;
	memset(&ap->stopped, 0, sizeof(KsRecordError));
	ks_rejects_begin(&ap->rejects);
	ap->nundecodable = 0;
	ap->ops = palloc(n);
	ap->parsed_ops = NULL;
	ap->idx = palloc_extended((Size) n * 2 * sizeof(int), MCXT_ALLOC_HUGE);
	ap->counts = palloc(nparts * sizeof(KsCounts));
	ks_apply_begin_routes(ap);
	ap->attempt_cxt = AllocSetContextCreate(ap->batch_cxt, "kafka_sink attempt",
											ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	MemoryContextSwitchTo(ap->batch_cxt);

	ks_apply_search(ap);
	ap->fast = true;
	for (int i = 0; i < ap->nroutes; i++)
		ks_writer_end(&ap->routes[i]);
	for (int i = 0; i < ap->nroutes; i++)
		ap->fast &= ap->routes[i].fast || ap->routes[i].lo == ap->routes[i].hi;
	if (ap->nwaiting > 0)
	{
		/* nor was any refused */
		ks_rejects_begin(&ap->rejects);
		SPI_finish();
		MemoryContextSwitchTo(old);
		return 0;
	}
	stopped = ks_rejects_end(&ap->rejects, ap->limit);
	(void) ks_rejects_end(&ap->rejects, ap->done);
	INSTR_TIME_SET_CURRENT(start);
	dispose(ap);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	ap->apply_us += INSTR_TIME_GET_MICROSEC(end);
	if (ap->stopped.edata && ap->stopped.index == ap->limit)
		*err = ap->stopped;
	else if (ap->limit < n)
	{
		err->index = ap->limit;
		err->edata = stopped->edata;
		err->column = stopped->column;
		err->exceeded = ap->rejects.limit.text;
		err->of_record = true;
	}
	ereport(DEBUG1,
			(errmsg_internal("sink \"%s\" applied %d of %d records %s SQL", ap->sink->name,
							 ap->done, n, ap->fast ? "without" : "by")));
	SPI_finish();
	MemoryContextSwitchTo(old);
	return ap->done;
}
