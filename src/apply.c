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
 * the last word on what is wrong.
 *
 * Only errors that are a record's fault are caught (is_record_error);
 * everything else leaves through the caller, who rolls back the transaction.
 *
 * Upserts: the last record of a key counts, the others are superseded; rows
 * are written in key order, so that two sinks that write the same rows wait
 * for each other instead of deadlocking.
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

void
ks_apply_prepare(KsApply *ap)
{
	if (ap->target && ks_target_valid(ap->target))
	{
		/* SQL checks them by itself */
		if (ap->target->fast)
			ks_target_check_privileges(ap->sink, ap->target);
		return;
	}
	if (ap->target)
	{
		ks_target_free(ap->target);
		ap->target = NULL;
	}
	ap->target = ks_target_build(ap->sink, ap->cxt);
	ap->decoder = ks_decoder_create(ap->sink, ap->target, ap->target->cxt);
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

static void
apply_range(KsApply *ap, int lo, int hi, KsCounts *counts)
{
	int		   *idx = ap->idx;
	int			n = 0;
	bool		mixed = false;
	bool		patches = false;

	for (int i = lo; i < hi; i++)
	{
		if (ap->ops[i] == KS_ROW_FILTERED)
			counts[ap->recs[i].pidx].filtered++;
		else if (ap->ops[i] != KS_ROW_REJECTED)
		{
			mixed |= ap->ops[i] == KS_ROW_DELETE;
			patches |= ap->ops[i] == KS_ROW_PATCH;
			idx[n++] = i;
		}
	}

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
		KsSortItem *items = last_per_key(ap, idx, &n, counts);

		if (ap->fast)
			ks_fast_upsert(ap, items, n, counts);
		else if (!mixed)
			ks_apply_sql(ap, idx, n, KS_ROW_WRITE, counts);
		else
		{
			/* keys are distinct now: deletes first, they make room */
			int		   *part = idx + ap->nrecs;

			ks_apply_sql(ap, part, select_op(ap, idx, n, KS_ROW_DELETE, part),
						 KS_ROW_DELETE, counts);
			ks_apply_sql(ap, part, select_op(ap, idx, n, KS_ROW_WRITE, part),
						 KS_ROW_WRITE, counts);
		}
		return;
	}

	if (ap->fast)
	{
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

static void
decode_range(KsApply *ap, int lo, int hi)
{
	KsTarget   *target = ap->target;
	MemoryContext old = MemoryContextSwitchTo(ap->batch_cxt);

	for (int i = lo; i < hi; i++)
	{
		const KsRecord *rec = &ap->recs[i];
		Size		row = (Size) i * target->ncols;

		ap->decoding = i;
		ap->ops[i] = ks_decode(ap->decoder, rec, &ap->parts[rec->pidx],
							   ap->values + row, ap->isnull + row);
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
	instr_time	t0,
				t1,
				t2;

	memset(ap->counts, 0, ap->nparts * sizeof(KsCounts));
	ap->values = ap->decoded;
	ap->isnull = ap->decoded_null;
	ap->decoding = -1;
	INSTR_TIME_SET_CURRENT(t0);
	t1 = t0;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		if (from < hi)
		{
			decode_range(ap, from, hi);
			INSTR_TIME_SET_CURRENT(t1);
		}
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
	for (int i = 0; i < ap->nparts; i++)
		ks_counts_add(&ap->parts[i].counts, &ap->counts[i]);
	return NULL;
}

/* --- records that are refused --- */

static void
reject(KsApply *ap, int i, ErrorData *edata, const char *column, bool undecodable)
{
	/* may be long, and there may be many */
	if (ap->sink->on_error != KS_ON_ERROR_STOP && edata->context)
	{
		pfree(edata->context);
		edata->context = NULL;
	}
	if (undecodable)
		ap->ops[i] = KS_ROW_REJECTED;
	ap->limit = ks_rejects_add(&ap->rejects, i, edata, column, undecodable, ap->limit);
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
			reject(ap, from, edata, edata->column_name, false);
			from = until;
			size = 1;
		}
	}
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
	if (edata && ap->fast)
	{
		/* what went wrong is the general path's to say, and to wait for */
		ap->fast = false;
		edata = attempt(ap, 0, ap->limit, ap->limit);
	}
	if (edata && ap->limit == 1)
		reject(ap, 0, edata, edata->column_name, false);
	else if (edata)
	{
		FreeErrorData(edata);
		search(ap, ap->limit);
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
	KsTarget   *target = ap->target;
	KsReject   *stopped;
	instr_time	start,
				end;

	memset(err, 0, sizeof(KsRecordError));
	ap->recs = recs;
	ap->nrecs = n;
	ap->parts = parts;
	ap->nparts = nparts;
	ap->fast = target->fast != NULL;
	ap->limit = n;
	ks_rejects_begin(&ap->rejects);
	ap->values = palloc_extended((Size) n * target->ncols * sizeof(Datum), MCXT_ALLOC_HUGE);
	ap->isnull = palloc_extended((Size) n * target->ncols * sizeof(bool), MCXT_ALLOC_HUGE);
	ap->decoded = ap->values;
	ap->decoded_null = ap->isnull;
	ap->ops = palloc(n);
	ap->idx = palloc_extended((Size) n * 2 * sizeof(int), MCXT_ALLOC_HUGE);
	ap->counts = palloc(nparts * sizeof(KsCounts));
	SPI_connect();
	ap->enr = palloc0(sizeof(EphemeralNamedRelationData));
	ap->enr->md.name = "batch";
	ap->enr->md.reliddesc = InvalidOid;
	ap->enr->md.tupdesc = target->rowdesc;
	ap->enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	/* an update looks rows up by the key, however many there are */
	ap->enr->md.enrtuples = ap->sink->insert_mode == KS_UPDATE ? 30 : n;
	if (SPI_register_relation(ap->enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"batch\"");
	MemoryContextSwitchTo(ap->batch_cxt);

	apply_all(ap);
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
