/*
 * apply_attempt.c
 *	  Attempts: records of a batch in a subtransaction, and whose fault it is if that
 *	  fails.
 *
 * Decoded rows live in the batch's context and survive the rollback; what is
 * evaluated in an attempt lives until the next one begins.
 */
#include "postgres.h"

#include "access/xact.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/error.h"
#include "base/session.h"
#include "catalog/owner.h"
#include "write/apply_search.h"
#include "write/writer.h"

void
ks_apply_attempt_failed(KsApply *ap, const ErrorData *edata)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].writer->failed)
			ap->routes[i].writer->failed(&ap->routes[i], edata);
}

ErrorData *
ks_apply_attempt(KsApply *ap, int lo, int hi, int from)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;
	const KsRoute *volatile at = NULL;
	volatile int first = hi - lo == 1 ? ap->recs[lo].pidx : 0;	/* partitions counted */
	volatile int end = hi - lo == 1 ? first + 1 : ap->nparts;
	LocalTransactionId immediate_in = ap->immediate_in;
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
		ks_constraints_reset(ap);
		if (from < hi)
		{
			ks_apply_decode_range(ap, from, hi);
			INSTR_TIME_SET_CURRENT(t1);
		}
		memset(ap->counts + first, 0, (end - first) * sizeof(KsCounts));
		ap->use_sql = !ks_apply_range(ap, lo, hi, ap->counts, &at);
		if (ap->use_sql && ap->searching)
			elog(ERROR, "a search has met the fast path");
		if (ap->set_constraints && !ap->use_sql)
			ks_constraints_check(ap);
		if (ap->use_sql)
			RollbackAndReleaseCurrentSubTransaction();
		else
			ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		edata = ks_session_catch_subtransaction(owner, ap->batch_cxt);
		MemoryContextSwitchTo(cxt);
	}
	PG_END_TRY();
	INSTR_TIME_SET_CURRENT(t2);
	INSTR_TIME_SUBTRACT(t2, t1);
	INSTR_TIME_SUBTRACT(t1, t0);
	ap->decode_us += INSTR_TIME_GET_MICROSEC(t1);
	ap->apply_us += INSTR_TIME_GET_MICROSEC(t2);

	if (edata || ap->use_sql)
		ap->immediate_in = immediate_in;
	if (edata)
	{
		ks_apply_attempt_failed(ap, edata);
		ks_owner_explain(ap->sink, edata);
		ks_fault_excuse(at, edata);
		ap->fault = ks_fault_of(ap, at, edata);
		if (ap->fault == KS_FAULT_PASSES)
			ks_error_rethrow(edata);
		return edata;
	}
	for (int i = first; i < end && !ap->use_sql; i++)
		ks_counts_add(&ap->parts[i].counts, &ap->counts[i]);
	return NULL;
}

void
ks_apply_undoable(KsApply *ap, bool (*fn) (void *), void *arg)
{
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = ap->immediate_in;
	volatile bool stays = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(ap->batch_cxt);
	PG_TRY();
	{
		if (ap->set_constraints)
			ks_constraints_remember();
		stays = fn(arg);
	}
	PG_CATCH();
	{
		ks_session_leave_subtransaction(owner, ap->batch_cxt);
	}
	PG_END_TRY();
	if (stays)
		ReleaseCurrentSubTransaction();
	else
	{
		RollbackAndReleaseCurrentSubTransaction();
		ap->immediate_in = immediate_in;
	}
	MemoryContextSwitchTo(ap->batch_cxt);
	CurrentResourceOwner = owner;
}

/* --- errors that are kept --- */

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

const char *
ks_apply_trim_error(KsApply *ap, ErrorData *edata)
{
	const char *column = edata->column_name ? pstrdup(edata->column_name) : NULL;

	if (ap->rejects.limit.max < 0)
		strip_error(edata);
	else if (ap->sink->on_error != KS_ON_ERROR_STOP)
		free_text(&edata->context);
	return column;
}
