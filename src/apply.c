/*
 * apply.c
 *	  A batch of records to the target, and the search for a bad one.
 *
 * The whole batch is tried in one subtransaction: decode all, apply all, check
 * deferred constraints.  A record that cannot be decoded is known by its
 * index: the next attempt decodes what is behind it.  For one that the table
 * refuses the batch is searched: ranges of it are tried in subtransactions of
 * their own, those that succeed stay, so that k bad records in n cost
 * O(k log n) retries, and n if all are bad.  Decoded rows
 * live in the batch's context and survive the rollback.
 *
 * What was refused goes by on_error once all else is applied.  A record that is
 * one too many (the first one, with on_error => 'stop') ends the batch: nothing
 * behind it is applied.
 *
 * A batch that the fast path cannot write is tried once more by SQL, which has
 * the last word on what is wrong.  Inserts need not be: what the fast path cannot
 * insert SQL cannot either, and for the same reason.  But only SQL tells an error
 * in full, as it is told if it stops the sink.
 *
 * Only errors that are a record's fault are caught (is_record_error);
 * everything else leaves through the caller, who rolls back the transaction.
 *
 * Upserts: the last record of a key counts, the others are superseded; rows
 * are written in key order, so that two sinks that write the same rows wait
 * for each other instead of deadlocking.
 *
 * Several targets (apply_route.c): what is referred to is written first, and
 * deleted last.  A record whose foreign key finds no row may wait for it: then
 * the search leaves out what is behind it in its partition, and all is rolled
 * back in the end, so that the caller can apply the batch without these.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "accumulate.h"
#include "apply.h"
#include "command.h"
#include "dead_letters.h"
#include "session.h"

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

/* SQLSTATEs that are a record's fault; the others are not. */
static bool
is_record_error(KsApply *ap, int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_DATA_EXCEPTION:	/* 22 */
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:	/* 23 */
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:	/* 44 */
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:	/* 54 */
		case ERRCODE_PLPGSQL_ERROR: /* P0 */
			return true;
		default:
			/* row security, if it is not the table's own privileges */
			return sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE && OidIsValid(ap->target->relid) &&
				ks_target_has_privileges(ap->sink, ap->target);
	}
}

/* --- one range --- */

/*
 * Sorts by key and keeps the last record of each; counts the others.  Returns
 * the rows left, whose numbers go to idx too.
 */
static KsSortItem *
last_per_key(KsApply *ap, int *idx, int *n, KsCounts *counts)
{
	const KsSortKey *key = &ap->target->sortkey;
	KsRows		rows = {ap->values, ap->isnull, ap->target->ncols};
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
	KsRows		rows = {ap->values, ap->isnull, ap->target->ncols};
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
	KsRows		rows = {ap->values, ap->isnull, ap->target->ncols};
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

static void
apply_range(KsApply *ap, int lo, int hi, KsCounts *counts)
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
		Size		row = (Size) i * target->ncols;

		ap->decoding = i;
		ap->ops[i] = ks_decode(ap->decoder, rec, &ap->parts[rec->pidx],
							   ap->values + row, ap->isnull + row);
		if (unlikely(ap->ops[i] == KS_ROW_TRUNCATE))
			ks_apply_check_truncation(ap, rec);
	}
}

static void
decode_range(KsApply *ap, int lo, int hi)
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

/* --- attempts --- */

/*
 * Applies [lo, hi) in a subtransaction, decoding [from, hi) first.  NULL and
 * the counts added to the partitions', or the record's error.
 */
static ErrorData *
attempt(KsApply *ap, int lo, int hi, int from)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	int			first = hi - lo == 1 ? ap->recs[lo].pidx : 0;	/* partitions counted */
	int			end = hi - lo == 1 ? first + 1 : ap->nparts;
	instr_time	t0,
				t1,
				t2;

	ap->decoding = -1;
	INSTR_TIME_SET_CURRENT(t0);
	t1 = t0;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(ap->attempt_cxt);
	PG_TRY();
	{
		if (from < hi)
		{
			decode_range(ap, from, hi);
			INSTR_TIME_SET_CURRENT(t1);
		}
		memset(ap->counts + first, 0, (end - first) * sizeof(KsCounts));
		apply_range(ap, lo, hi, ap->counts);
		if (ap->set_constraints)
		{
			ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt};

			AfterTriggerSetState(&stmt);
		}
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(ap->batch_cxt);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_END_TRY();
	MemoryContextReset(ap->attempt_cxt);
	INSTR_TIME_SET_CURRENT(t2);
	INSTR_TIME_SUBTRACT(t2, t1);
	INSTR_TIME_SUBTRACT(t1, t0);
	ap->decode_us += INSTR_TIME_GET_MICROSEC(t1);
	ap->apply_us += INSTR_TIME_GET_MICROSEC(t2);

	if (edata)
	{
		if (!is_record_error(ap, edata->sqlerrcode))
			ReThrowError(edata);
		return edata;
	}
	for (int i = first; i < end; i++)
		ks_counts_add(&ap->parts[i].counts, &ap->counts[i]);
	return NULL;
}

/* --- records that are refused --- */

static void
free_text(char **text)
{
	if (*text)
		pfree(*text);
	*text = NULL;
}

/* Leaves what a dead letter holds: there may be many, and they may be long. */
static void
strip_error(ErrorData *edata)
{
	free_text(&edata->detail);
	free_text(&edata->detail_log);
	free_text(&edata->hint);
	free_text(&edata->context);
	free_text(&edata->backtrace);
	free_text(&edata->schema_name);
	free_text(&edata->table_name);
	free_text(&edata->column_name);
	free_text(&edata->datatype_name);
	free_text(&edata->constraint_name);
	free_text(&edata->internalquery);
}

static void
reject(KsApply *ap, int i, ErrorData *edata, const char *column, bool undecodable)
{
	if (undecodable)
		ap->ops[i] = KS_ROW_REJECTED;
	ap->limit = ks_rejects_add(&ap->rejects, i, edata, column, undecodable, ap->limit);
	/* one that stops the sink is told in full */
	if (ap->rejects.limit.max < 0)
		strip_error(edata);
	else if (ap->sink->on_error != KS_ON_ERROR_STOP)
		free_text(&edata->context);
}

/*
 * The record waits for the row that its foreign key needs, and with it all that
 * is behind it in its partition.
 */
static void
wait_for_row(KsApply *ap, int i, ErrorData *edata)
{
	int			pidx = ap->recs[i].pidx;

	if (ap->waiting == NULL)
	{
		ap->waiting = palloc(ap->nparts * sizeof(int));
		memset(ap->waiting, -1, ap->nparts * sizeof(int));
	}
	if (ap->nwaiting++ == 0)
	{
		ap->wait_error.index = i;
		ap->wait_error.edata = edata;
	}
	ap->waiting[pidx] = i;
	for (int j = i; j < ap->nrecs; j++)
		if (ap->recs[j].pidx == pidx)
			ap->ops[j] = KS_ROW_REJECTED;
}

/* The table refuses the record. */
static void
refuse(KsApply *ap, int i, ErrorData *edata)
{
	if (edata->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION &&
		ap->may_wait && ap->may_wait(ap->wait_arg, &ap->recs[i]))
		wait_for_row(ap, i, edata);
	else
		reject(ap, i, edata, edata->column_name, false);
}

static void
begin_one_by_one(KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (r->lo == r->hi || !r->fast)
			continue;
		ks_apply_use_route(ap, r);
		r->one_by_one = ks_rows_begin(ap);
	}
}

static void
end_one_by_one(KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
	{
		if (ap->routes[i].one_by_one)
			ks_rows_end(ap->routes[i].one_by_one);
		ap->routes[i].one_by_one = NULL;
	}
}

/*
 * [0, n) as a whole has failed.  Goes through it in the order of the log, so
 * that nothing behind the limit is applied.  A range that has failed is halved
 * until its first bad record is found.  Behind that one the search begins anew,
 * with ranges that double as long as they succeed: where all are bad each is
 * tried once, alone.
 */
static void
search(KsApply *ap, int n)
{
	int			from = 0;		/* what is before it is done */
	int			failed = n;		/* [from, failed) has failed; from: not known */
	int			size = 1;		/* of the next range, if it is not known */

	begin_one_by_one(ap);
	while (from < ap->limit)
	{
		int			until = failed > from ? from + Max((failed - from) / 2, 1) : from + size;
		ErrorData  *edata;

		until = Min(until, ap->limit);
		edata = attempt(ap, from, until, until);
		if (edata == NULL)
		{
			size = failed > from ? 1 : size * 2;
			from = until;
		}
		else if (until - from > 1)
		{
			FreeErrorData(edata);
			failed = until;
		}
		else
		{
			if (ap->route->one_by_one)
				ks_rows_failed(ap->route->one_by_one, edata);
			refuse(ap, from, edata);
			from = until;
			size = 1;
		}
	}
	end_one_by_one(ap);
}

/* The same, undone if records wait. */
static void
search_waiting(KsApply *ap, int n)
{
	ResourceOwner owner = CurrentResourceOwner;

	if (ap->may_wait == NULL)
	{
		search(ap, n);
		return;
	}
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(ap->batch_cxt);
	PG_TRY();
	{
		search(ap, n);
	}
	PG_CATCH();
	{
		ks_session_leave_subtransaction(owner, ap->batch_cxt);
	}
	PG_END_TRY();
	if (ap->nwaiting > 0)
		RollbackAndReleaseCurrentSubTransaction();
	else
		ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(ap->batch_cxt);
	CurrentResourceOwner = owner;
}

/*
 * Every target by the general path from now on, but for inserts whose errors need
 * not be told in full; false if nothing changes by that.
 */
static bool
leave_fast_path(KsApply *ap)
{
	bool		left = false;

	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (r->sink->insert_mode == KS_INSERT && ap->rejects.limit.max < 0)
			continue;
		left |= r->fast && r->lo < r->hi;
		r->fast = false;
	}
	return left;
}

/* Applies all records below ap->limit but those that are refused. */
static void
apply_all(KsApply *ap)
{
	ErrorData  *edata = NULL;
	int			from = 0;

	while (ap->limit > 0)
	{
		edata = attempt(ap, 0, ap->limit, from);
		if (edata == NULL || ap->decoding < 0)
			break;
		/* known by its index; what is before it is decoded */
		from = ap->decoding + 1;
		reject(ap, ap->decoding, edata, ap->decoder->column, true);
		from = Min(from, ap->limit);
		edata = NULL;
	}
	if (edata && leave_fast_path(ap))
	{
		/* what went wrong is the general path's to say, and to wait for */
		edata = attempt(ap, 0, ap->limit, ap->limit);
	}
	if (edata && ap->limit == 1)
		refuse(ap, 0, edata);
	else if (edata)
	{
		FreeErrorData(edata);
		search_waiting(ap, ap->limit);
	}
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

	apply_all(ap);
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
