/*
 * apply_trial.c
 *	  Trials of suspects: some of them are written, to see whether they can be.
 *
 * What a judge needs to know of them is behind all other records, and so beside them, what
 * the rest of the suspects does (apply_judge.c).  It is rolled back in the end, as all that
 * the search has written by then.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/error.h"
#include "base/session.h"
#include "write/apply_judge.h"

void
ks_trial_hide(KsJudge *j, int k)
{
	j->ap->ops[j->items[k].index] = KS_ROW_REJECTED;
}

void
ks_trial_show(KsJudge *j, int k)
{
	j->ap->ops[j->items[k].index] = j->ops[j->items[k].index];
}

static int
first_record(const KsJudge *j, int a)
{
	return j->items[j->unjudged[a]].index;
}

bool
ks_trial_failed_beside_all(const KsJudge *j, int k)
{
	return j->items[k].index > j->last_written && !j->absolved;
}

ErrorData *
ks_trial_group(KsJudge *j, int a, int b)
{
	int			end = first_record(j, b - 1) + 1;

	j->written += b - a;
	return ks_apply_attempt(j->ap, first_record(j, a), end, end);
}

/*
 * Writes unjudged[a..b) without their AFTER triggers, in a subtransaction that stays
 * open, unless there is an error, of records of route *at.
 */
static ErrorData *
begin_quietly(KsJudge *j, int a, int b, const KsRoute *volatile *at)
{
	KsApply    *ap = j->ap;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	*at = NULL;
	j->written += b - a;
	ap->decoding = ap->evaluating = -1;
	MemoryContextReset(ap->attempt_cxt);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(ap->attempt_cxt);
	PG_TRY();
	{
		if (ap->set_constraints)
			ks_constraints_remember();
		ks_constraints_reset(ap);
		/* their events are of this query, which does not end */
		AfterTriggerBeginQuery();
		ap->quiet = true;
		if (!ks_apply_range(ap, first_record(j, a), first_record(j, b - 1) + 1, ap->counts, at))
			elog(ERROR, "a trial has met the fast path");
	}
	PG_CATCH();
	{
		edata = ks_session_catch_subtransaction(owner, ap->batch_cxt);
	}
	PG_END_TRY();
	ap->quiet = false;
	MemoryContextSwitchTo(ap->batch_cxt);
	return edata;
}

void
ks_trial_forget(KsJudge *j, ResourceOwner owner, LocalTransactionId immediate_in)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(j->ap->batch_cxt);
	CurrentResourceOwner = owner;
	j->ap->immediate_in = immediate_in;
}

bool
ks_trial_write_quietly(KsJudge *j, int a, int b)
{
	KsApply    *ap = j->ap;
	LocalTransactionId immediate_in = ap->immediate_in;
	const KsRoute *volatile at;
	ErrorData  *edata = begin_quietly(j, a, b, &at);

	if (edata == NULL)
		return true;
	ap->immediate_in = immediate_in;
	ks_apply_attempt_failed(ap, edata);
	ks_fault_excuse(at, edata);
	if (ks_fault_of(ap, at, edata) == KS_FAULT_PASSES)
		ks_error_rethrow(edata);
	FreeErrorData(edata);
	return false;
}

bool
ks_trial_fails_at_once(KsJudge *j, int a)
{
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = j->ap->immediate_in;

	if (!ks_trial_write_quietly(j, a, a + 1))
		return true;
	ks_trial_forget(j, owner, immediate_in);
	return false;
}

bool
ks_trial_absolve(KsJudge *j, bool backwards)
{
	int			n = j->nunjudged;
	int			out = 0;

	for (int i = 0; i < n; i++)
	{
		int			at = backwards ? n - 1 - i : i;
		ErrorData  *edata;

		CHECK_FOR_INTERRUPTS();
		if (ks_trial_failed_beside_all(j, j->unjudged[at]))
			continue;
		edata = ks_trial_group(j, at, at + 1);
		if (edata == NULL)
		{
			j->absolved = true;
			ks_trial_hide(j, j->unjudged[at]);
			j->unjudged[at] = -1;
		}
		else
			FreeErrorData(edata);
	}
	for (int i = 0; i < n; i++)
		if (j->unjudged[i] >= 0)
			j->unjudged[out++] = j->unjudged[i];
	j->nunjudged = out;
	return out < n;
}
