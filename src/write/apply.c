/*
 * apply.c
 *	  A batch of records to the target: rows, in which order, by which path.
 *
 * What was refused (apply_search.c) goes by on_error once all else is applied.  A
 * record that is one too many (the first one, with on_error => 'stop') ends the
 * batch: nothing behind it is applied.
 *
 * Upserts: the last record of a key counts, the others are superseded; rows
 * are written in key order, so that two sinks that write the same rows wait
 * for each other instead of deadlocking.
 *
 * Several targets (apply_route.c): what is referred to is written first, and
 * deleted last.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "write/accumulate.h"
#include "write/apply.h"
#include "write/command.h"
#include "write/dead_letters.h"

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

/*
 * Sorts by key and keeps the last record of each; counts the others.  Returns
 * the rows left, whose numbers go to idx too.
 */
static KsSortItem *
last_per_key(KsApply *ap, int *idx, int *n, KsCounts *counts)
{
	const KsSortKey *key = &ap->target->sortkey;
	KsRows		rows = {ap->values, ap->isnull, ap->target->nvalues};
	KsSortItem *items = ks_sort_rows(key, &rows, idx, *n);
	int			out = 0;

	for (int i = 0; i < *n; i++)
	{
		if (i + 1 < *n && ks_sort_compare(key, &rows, &items[i], &items[i + 1]) == 0)
			counts[ap->recs[items[i].row].pidx].superseded++;
		else
		{
			idx[out] = items[i].row;
			items[out++] = items[i];
		}
	}
	*n = out;
	return items;
}

/* The rows of one operation among idx, in order, to a new place. */
static int
select_op(KsApply *ap, const int *idx, int n, KsRowOp op, int *out)
{
	int			m = 0;

	for (int i = 0; i < n; i++)
		if (ap->ops[idx[i]] == op)
			out[m++] = idx[i];
	return m;
}

/*
 * Where each record of a key counts: the first of each, then the second, and so
 * on; within a round keys are distinct, and in order.
 */
static void
apply_rounds(KsApply *ap, const int *idx, int n, KsCounts *counts)
{
	const KsSortKey *key = &ap->target->sortkey;
	KsRows		rows = {ap->values, ap->isnull, ap->target->nvalues};
	KsSortItem *items = ks_sort_rows(key, &rows, idx, n);
	int		   *round = palloc_extended((n + 1) * sizeof(int), MCXT_ALLOC_HUGE);
	int		   *end = palloc0((n + 1) * sizeof(int));
	int		   *sorted = palloc_extended((n + 1) * sizeof(int), MCXT_ALLOC_HUGE);
	int		   *part = ap->idx + ap->nrecs;
	int			nrounds = 0;

	for (int i = 0; i < n; i++)
	{
		round[i] = i > 0 && ks_sort_compare(key, &rows, &items[i - 1], &items[i]) == 0 ?
			round[i - 1] + 1 : 0;
		end[round[i]]++;
		nrounds = Max(nrounds, round[i] + 1);
	}
	for (int i = 1; i < nrounds; i++)
		end[i] += end[i - 1];
	for (int i = n - 1; i >= 0; i--)
		sorted[--end[round[i]]] = items[i].row;
	/* end[] is where each begins by now */
	end[nrounds] = n;
	for (int i = 0; i < nrounds; i++)
	{
		int		   *first = sorted + end[i];
		int			m = end[i + 1] - end[i];

		CHECK_FOR_INTERRUPTS();
		ks_apply_sql(ap, part, select_op(ap, first, m, KS_ROW_DELETE, part), KS_ROW_DELETE, counts);
		ks_apply_sql(ap, part, select_op(ap, first, m, KS_ROW_WRITE, part), KS_ROW_WRITE, counts);
		ks_apply_sql(ap, part, select_op(ap, first, m, KS_ROW_PATCH, part), KS_ROW_PATCH, counts);
	}
}

/*
 * What lacks values builds on the record of its key before it: all before the
 * last complete one of a key, or the last delete, is superseded.
 */
static int
supersede_complete(KsApply *ap, int *idx, int n, KsCounts *counts)
{
	const KsSortKey *key = &ap->target->sortkey;
	KsRows		rows = {ap->values, ap->isnull, ap->target->nvalues};
	KsSortItem *items = ks_sort_rows(key, &rows, idx, n);
	int			out = n;
	bool		complete = false;

	for (int i = n - 1; i >= 0; i--)
	{
		int			row = items[i].row;

		if (i == n - 1 || ks_sort_compare(key, &rows, &items[i], &items[i + 1]) != 0)
			complete = false;
		if (complete)
			counts[ap->recs[row].pidx].superseded++;
		else
			idx[--out] = row;
		complete |= ap->ops[row] != KS_ROW_PATCH;
	}
	memmove(idx, idx + out, (n - out) * sizeof(int));
	return n - out;
}

/* Where tables refer to each other, upserts of a batch are two steps. */
typedef enum Step
{
	ALL,
	DELETES,					/* where they can be done before the rest */
	WRITES						/* and whatever is not done yet */
} Step;

static void
apply_rows(KsApply *ap, int lo, int hi, Step step, KsCounts *counts)
{
	int		   *idx = ap->idx;
	int			n = 0;
	bool		mixed = false;
	bool		patches = false;

	for (int i = lo; i < hi; i++)
	{
		if (ap->ops[i] == KS_ROW_FILTERED)
			counts[ap->recs[i].pidx].filtered += step != DELETES;
		else if (ap->ops[i] != KS_ROW_REJECTED)
		{
			mixed |= ap->ops[i] == KS_ROW_DELETE;
			patches |= ap->ops[i] == KS_ROW_PATCH;
			idx[n++] = i;
		}
	}

	if (step == DELETES &&
		(!mixed || ap->route->fast || patches || ap->sink->insert_mode != KS_UPSERT || ap->sink->update_if))
		return;
	if (ap->target->command)
	{
		ks_command_execute(ap, idx, n, counts);
		return;
	}
	if (ap->sink->insert_mode == KS_ACCUMULATE)
	{
		ks_accumulate_apply(ap, idx, n, counts);
		return;
	}
	if (patches && ap->sink->update_if == NULL)
		n = supersede_complete(ap, idx, n, counts);
	if (ap->sink->insert_mode == KS_UPDATE || ap->sink->update_if || patches)
	{
		apply_rounds(ap, idx, n, counts);
		return;
	}
	if (ap->sink->insert_mode == KS_UPSERT)
	{
		KsCounts   *superseded = step != DELETES ? counts : palloc0(ap->nparts * sizeof(KsCounts));
		KsSortItem *items = last_per_key(ap, idx, &n, superseded);

		if (ap->route->fast)
			ks_fast_upsert(ap, items, n, counts);
		else if (!mixed)
			ks_apply_sql(ap, idx, n, KS_ROW_WRITE, counts);
		else
		{
			/* keys are distinct now: deletes first, they make room */
			int		   *part = idx + ap->nrecs;

			if (step != WRITES)
				ks_apply_sql(ap, part, select_op(ap, idx, n, KS_ROW_DELETE, part),
							 KS_ROW_DELETE, counts);
			if (step != DELETES)
				ks_apply_sql(ap, part, select_op(ap, idx, n, KS_ROW_WRITE, part),
							 KS_ROW_WRITE, counts);
		}
		return;
	}

	if (ap->route->fast)
	{
		if (ap->route->one_by_one && n == 1)
			ks_rows_insert(ap->route->one_by_one, idx[0], counts);
		else
			ks_fast_insert(ap, idx, n, counts);
		return;
	}

	/* inserts and deletes in the order of the log, run by run */
	for (int i = 0, j; i < n; i = j)
	{
		KsRowOp		op = ap->ops[idx[i]];

		for (j = i + 1; j < n && ap->ops[idx[j]] == op; j++)
			;
		ks_apply_sql(ap, idx + i, j - i, op, counts);
	}
}

/* Truncations divide what is before them from what is behind them. */
static void
apply_to_target(KsApply *ap, int lo, int hi, Step step, KsCounts *counts)
{
	uint8	   *truncation;

	while (ap->target->empty_sql &&
		   (truncation = memchr(ap->ops + lo, KS_ROW_TRUNCATE, hi - lo)) != NULL)
	{
		int			i = truncation - ap->ops;

		if (step == DELETES)
			return;				/* all in its order, then */
		step = ALL;
		if (i > lo)
			apply_rows(ap, lo, i, step, counts);
		ks_apply_truncation(ap, i, counts);
		lo = i + 1;
	}
	if (lo < hi)
		apply_rows(ap, lo, hi, step, counts);
}

void
ks_apply_range(KsApply *ap, int lo, int hi, KsCounts *counts)
{
	if (ap->linked)
		for (int i = ap->nroutes - 1; i >= 0; i--)
		{
			KsRoute    *r = &ap->routes[i];

			if (Max(lo, r->lo) >= Min(hi, r->hi))
				continue;
			ks_apply_use_route(ap, r);
			apply_to_target(ap, Max(lo, r->lo), Min(hi, r->hi), DELETES, counts);
		}
	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (Max(lo, r->lo) >= Min(hi, r->hi))
			continue;
		ks_apply_use_route(ap, r);
		apply_to_target(ap, Max(lo, r->lo), Min(hi, r->hi), ap->linked ? WRITES : ALL, counts);
	}
}

static void
decode_rows(KsApply *ap, int lo, int hi)
{
	KsTarget   *target = ap->target;

	for (int i = lo; i < hi; i++)
	{
		const KsRecord *rec = &ap->recs[i];
		Size		row = (Size) i * target->nvalues;

		ap->decoding = i;
		ap->ops[i] = ks_decode(ap->decoder, rec, &ap->parts[rec->pidx],
							   ap->values + row, ap->isnull + row);
		if (ap->decoder->has_value)
		{
			if (target->filter &&
				!ks_filter_passes(target->filter, ap->decoder, rec, &ap->parts[rec->pidx],
								  ap->values + row, ap->isnull + row))
				ap->ops[i] = KS_ROW_FILTERED;
			else
				ks_decode_check_row(ap->decoder, ap->isnull + row);
		}
		if (unlikely(ap->ops[i] == KS_ROW_TRUNCATE))
			ks_apply_check_truncation(ap, rec);
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
		ks_apply_use_route(ap, r);
		decode_rows(ap, Max(lo, r->lo), Min(hi, r->hi));
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
	ap->nwaiting = 0;
	ks_rejects_begin(&ap->rejects);
	ap->ops = palloc(n);
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
	INSTR_TIME_SET_CURRENT(start);
	dispose(ap);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	ap->apply_us += INSTR_TIME_GET_MICROSEC(end);
	if (ap->limit < n)
	{
		err->index = ap->limit;
		err->edata = stopped->edata;
		err->column = stopped->column;
		err->exceeded = ap->rejects.limit.text;
	}
	ereport(DEBUG1,
			(errmsg_internal("sink \"%s\" applied %d of %d records %s SQL", ap->sink->name,
							 ap->limit, n, ap->fast ? "without" : "by")));
	SPI_finish();
	MemoryContextSwitchTo(old);
	return ap->limit;
}
