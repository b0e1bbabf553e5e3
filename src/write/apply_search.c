/*
 * apply_search.c
 *	  A batch in subtransactions, and the search for its bad records.
 *
 * The whole batch is tried in one subtransaction: decode all, apply all, check
 * deferred constraints.  A record that cannot be decoded is known by its
 * index: the next attempt decodes what is behind it.  For one that the table
 * refuses the batch is searched: ranges of it are tried in subtransactions of
 * their own, those that succeed stay, so that k bad records in n cost
 * O(k log n) retries, and n if all are bad.  Decoded rows live in the batch's
 * context and survive the rollback.
 *
 * A batch that the fast path cannot write is tried once more by SQL, which has
 * the last word on what is wrong.  Inserts need not be: what the fast path cannot
 * insert SQL cannot either, and for the same reason.  But only SQL tells an error
 * in full, as it is told if it stops the sink.
 *
 * A record whose foreign key finds no row may wait for it: then the search leaves
 * out what is behind it in its partition, and all is rolled back in the end, so
 * that the caller can apply the batch without these.
 *
 * Only errors that are a record's fault are caught (is_record_error);
 * everything else leaves through the caller, who rolls back the transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/session.h"
#include "write/writer.h"

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
			return sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE &&
				OidIsValid(ap->at_route->target->relid) &&
				ks_target_has_privileges(ap->at_route->sink, ap->at_route->target);
	}
}

/*
 * Applies [lo, hi) in a subtransaction, decoding [from, hi) first.  NULL and
 * the counts added to the partitions', or the record's error; NULL and nothing
 * applied if it is to be done by SQL (use_sql), which the fast path may say.
 */
static ErrorData *
attempt(KsApply *ap, int lo, int hi, int from)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	volatile int first = hi - lo == 1 ? ap->recs[lo].pidx : 0;	/* partitions counted */
	volatile int end = hi - lo == 1 ? first + 1 : ap->nparts;
	instr_time	t0,
				t1,
				t2;

	ap->decoding = ap->evaluating = -1;
	ap->use_sql = false;
	MemoryContextReset(ap->attempt_cxt);	/* what was in it may be looked at until now */
	INSTR_TIME_SET_CURRENT(t0);
	t1 = t0;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(ap->attempt_cxt);
	PG_TRY();
	{
		if (from < hi)
		{
			ks_apply_decode_range(ap, from, hi);
			INSTR_TIME_SET_CURRENT(t1);
		}
		memset(ap->counts + first, 0, (end - first) * sizeof(KsCounts));
		ap->use_sql = !ks_apply_range(ap, lo, hi, ap->counts);
		if (ap->set_constraints && !ap->use_sql)
		{
			ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt};

			AfterTriggerSetState(&stmt);
		}
		if (ap->use_sql)
			RollbackAndReleaseCurrentSubTransaction();
		else
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
		for (int i = 0; i < ap->nroutes; i++)
			if (ap->routes[i].writer->failed)
				ap->routes[i].writer->failed(&ap->routes[i], edata);
		if (!is_record_error(ap, edata->sqlerrcode))
			ReThrowError(edata);
		return edata;
	}
	for (int i = first; i < end && !ap->use_sql; i++)
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
	ap->limit = ks_rejects_add(&ap->rejects, i, edata, column, ap->limit);
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
		reject(ap, i, edata, ap->evaluating >= 0 ? ap->at_route->decoder->column : edata->column_name,
			   false);
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
	int			known = ap->evaluating; /* what is before it can be evaluated, it cannot */

	ap->one_by_one = true;
	while (from < ap->limit)
	{
		int			until = failed > from ? from + Max((failed - from) / 2, 1) : from + size;
		ErrorData  *edata;

		if (known >= from)
			until = Max(known, from + 1);
		until = Min(until, ap->limit);
		edata = attempt(ap, from, until, until);
		if (edata)
			known = ap->evaluating;
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
			refuse(ap, from, edata);
			from = until;
			size = 1;
		}
	}
	ap->one_by_one = false;
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
		ks_writer_choose(r, false);
	}
	return left;
}

void
ks_apply_search(KsApply *ap)
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
		reject(ap, ap->decoding, edata, ap->at_route->decoder->column, true);
		from = Min(from, ap->limit);
		edata = NULL;
	}
	if ((edata || ap->use_sql) && leave_fast_path(ap) && ap->evaluating < 0)
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
