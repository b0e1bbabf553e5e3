/*
 * apply_judge.c
 *	  Records that fail alone, and that others of the batch might cure.
 *
 * Suspects are judged in a state in which all other records are written.  Which of
 * them are bad is a question of what else is there: a child without its parent, and
 * a parent that stands behind it in the batch, are both suspects, and neither is bad
 * if the parent is not.
 *
 * So a group of suspects is tried beside all the other suspects, which are written
 * before it without their AFTER triggers: rows are there, and what they need
 * themselves is not asked.  That is monotone where it matters: a group fails if one of
 * it is bad beside all others, and is halved to find it.  Each level of the halving
 * writes each suspect once, so n suspects cost O(n log n) rows and O(k log n)
 * attempts for k bad ones.  Where others cannot be written at all (an error that does
 * not wait for AFTER triggers), a suspect counts as bad only if it cannot either.
 *
 * Suspects whose rows cannot be written at all need no such trial.  They are tried
 * behind all that is written, in the order of the log and back, as long as that helps; if
 * there are others, behind these, too.  Only those that need them are judged with them.
 *
 * Who fails so, and alone beside the records that are written for good too, is bad:
 * two that get in each other's way are not both.  If nobody is, those that can be
 * written in the order of the log are good.  If there is none, those are bad that failed
 * where some of the others could not be written, for they may have needed just these;
 * and if there is none of them either, the last one is.
 *
 * Without the bad ones others can be bad in turn.  After some passes (MAX_PASSES,
 * MAX_TIMES) suspects that can be written behind all others, from the last to the
 * first and back, are good, and all that are left are bad: a long chain whose end is
 * missing.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/session.h"
#include "write/apply_judge.h"

#define MAX_PASSES	8

/* So many times the suspects' rows, or so many rows, are written by passes but one. */
#define MAX_TIMES	2
#define MIN_ROWS	10000

/* Behind so many bad ones in a row groups are not tried, as they have one too. */
#define ALL_BAD		16

static void accuse(KsJudge *j, int a, int b);

/* Accuses unjudged[a..b) beside unjudged[c..d). */
static void
accuse_beside(KsJudge *j, int a, int b, int c, int d)
{
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = j->ap->immediate_in;

	if (!ks_trial_write_quietly(j, c, d))
	{
		j->alone++;
		accuse(j, a, b);
		j->alone--;
		return;
	}
	PG_TRY();
	{
		accuse(j, a, b);
	}
	PG_CATCH();
	{
		ks_session_leave_subtransaction(owner, j->ap->batch_cxt);
	}
	PG_END_TRY();
	ks_trial_forget(j, owner, immediate_in);
}

/* The one suspect unjudged[a] fails beside all others, or as many as could be written. */
static void
accuse_one(KsJudge *j, int a, ErrorData *edata)
{
	KsSuspect  *item = &j->items[j->unjudged[a]];
	Oid			constraint = ks_fault_constraint(edata);

	if (j->alone > 0 && !ks_trial_fails_at_once(j, a))
	{
		FreeErrorData(edata);
		return;
	}
	/* the more rows are there, the less can be missing: it has failed alone, too */
	item->convicted = ks_error_is_of_reference(edata->sqlerrcode) &&
		ks_error_is_of_reference(item->edata->sqlerrcode) &&
		item->constraint == constraint && j->ap->ops[item->index] == KS_ROW_WRITE;
	item->convicted |= ks_trial_failed_beside_all(j, j->unjudged[a]);
	FreeErrorData(edata);
	item->bad = j->alone == 0;
	item->doubted = j->alone > 0;
}

/* Finds those of unjudged[a..b), which fail, that fail beside all others. */
static void
accuse_group(KsJudge *j, int a, int b)
{
	int			middle = a + (b - a) / 2;

	accuse_beside(j, a, middle, middle, b);
	accuse_beside(j, middle, b, a, middle);
}

/* Finds those of unjudged[a..b) that fail beside all others, which are written. */
static void
accuse(KsJudge *j, int a, int b)
{
	ErrorData  *edata;

	CHECK_FOR_INTERRUPTS();
	if (b - a > 1 && j->nbad_in_row >= ALL_BAD)
	{
		accuse_group(j, a, b);
		return;
	}
	edata = ks_trial_group(j, a, b);
	if (edata == NULL)
		j->nbad_in_row = 0;
	else if (b - a > 1)
	{
		FreeErrorData(edata);
		accuse_group(j, a, b);
	}
	else
	{
		accuse_one(j, a, edata);
		j->nbad_in_row++;
	}
}

/* All that are left: what is written is rolled back. */
static bool
accuse_all(void *arg)
{
	KsJudge	   *j = arg;
	ErrorData  *edata = ks_trial_group(j, 0, j->nunjudged);

	for (int i = 0; i < j->nunjudged; i++)
		j->items[j->unjudged[i]].doubted = false;
	j->consistent = edata == NULL;
	j->nbad_in_row = 0;
	if (edata && j->nunjudged == 1)
		accuse_one(j, 0, edata);
	else if (edata)
	{
		FreeErrorData(edata);
		accuse_group(j, 0, j->nunjudged);
	}
	return false;
}

/* The error of the last attempt, which was this suspect's. */
static void
keep_error(KsJudge *j, KsSuspect *item, ErrorData *edata)
{
	FreeErrorData(item->edata);
	item->edata = edata;
	item->fault = j->ap->fault;
	item->constraint = ks_fault_constraint(edata);
	item->column = ks_apply_trim_error(j->ap, edata);
}

/*
 * What it fails with here is what is told of it, or what it has met first in the
 * same state: beside others that are bad too it may meet those.
 */
static bool
try_one(void *arg)
{
	KsJudge	   *j = arg;
	KsSuspect  *item = &j->items[j->unjudged[j->tried]];
	ErrorData  *edata = ks_trial_group(j, j->tried, j->tried + 1);

	item->bad = edata != NULL;
	if (edata)
		keep_error(j, item, edata);
	return false;
}

/* Forgets those that are judged by now. */
static void
drop_bad(KsJudge *j)
{
	int			n = 0;

	for (int i = 0; i < j->nunjudged; i++)
	{
		if (j->items[j->unjudged[i]].bad)
		{
			j->items[j->unjudged[i]].at_first = j->passes == 0;
			ks_trial_hide(j, j->unjudged[i]);
		}
		else
			j->unjudged[n++] = j->unjudged[i];
	}
	j->nunjudged = n;
}

/* Who is accused, and fails beside the records that are not suspects, is bad. */
static bool
convict(KsJudge *j)
{
	int			n = j->nunjudged;

	for (int i = 0; i < j->nunjudged; i++)
	{
		if (!j->items[j->unjudged[i]].bad || j->items[j->unjudged[i]].convicted)
			continue;
		j->tried = i;
		ks_apply_undoable(j->ap, try_one, j);
	}
	drop_bad(j);
	return j->nunjudged < n;
}

/* The same of those that were accused where others could not be written. */
static bool
convict_doubted(KsJudge *j)
{
	for (int i = 0; i < j->nunjudged; i++)
		j->items[j->unjudged[i]].bad = j->items[j->unjudged[i]].doubted;
	return convict(j);
}

/* With the error that it has met first. */
static void
convict_from(KsJudge *j, int from)
{
	for (int i = from; i < j->nunjudged; i++)
		j->items[j->unjudged[i]].bad = true;
	drop_bad(j);
}

/* The same in the order of the log and back, as long as it helps. */
static void
absolve_in_turns(KsJudge *j)
{
	for (int turn = 0; turn < MAX_PASSES && ks_trial_absolve(j, turn % 2 == 1); turn++)
		;
}

/*
 * Those that are left cannot be written even if all others are: who can be is judged with
 * these.
 */
static void
convict_hopeless(KsJudge *j, int *others, int nothers)
{
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = j->ap->immediate_in;
	int		   *unjudged = j->unjudged;
	int			n = j->nunjudged;
	int		   *tried = MemoryContextAllocHuge(j->ap->batch_cxt, Max(n, 1) * sizeof(int));
	bool		absolved = j->absolved;
	bool		written;

	memcpy(tried, unjudged, n * sizeof(int));
	for (int i = 0; i < n; i++)
		ks_trial_hide(j, tried[i]);
	j->unjudged = others;
	written = ks_trial_write_quietly(j, 0, nothers);
	j->unjudged = unjudged;
	for (int i = 0; i < n; i++)
		ks_trial_show(j, tried[i]);
	if (written)
	{
		j->absolved = true;
		PG_TRY();
		{
			absolve_in_turns(j);
		}
		PG_CATCH();
		{
			ks_session_leave_subtransaction(owner, j->ap->batch_cxt);
		}
		PG_END_TRY();
		ks_trial_forget(j, owner, immediate_in);
		j->absolved = absolved;
		convict_from(j, 0);
		for (int i = 0; i < n; i++)
			if (!j->items[tried[i]].bad)
			{
				ks_trial_show(j, tried[i]);
				j->unjudged[j->nunjudged++] = tried[i];
			}
	}
	pfree(tried);
}

/*
 * What cannot be written at once is tried behind all others: it is not what AFTER
 * triggers find.  What fails there too is bad, unless there are other suspects that it
 * may need.
 */
static void
judge_at_once(KsJudge *j)
{
	Size		size = Max(j->nunjudged, 1) * sizeof(int);
	int		   *unjudged = j->unjudged;
	int		   *others = MemoryContextAllocHuge(j->ap->batch_cxt, size);
	int			n = j->nunjudged;
	int			nothers = 0;
	int			out = 0;
	int			left = 0;

	/* ks_trial_absolve() and drop_bad() look at those alone */
	j->unjudged = MemoryContextAllocHuge(j->ap->batch_cxt, size);
	j->nunjudged = 0;
	for (int i = 0; i < n; i++)
	{
		if (j->items[unjudged[i]].at_once)
			j->unjudged[j->nunjudged++] = unjudged[i];
		else
			others[nothers++] = unjudged[i];
	}
	absolve_in_turns(j);
	if (nothers == 0)
		convict_from(j, 0);
	else if (j->nunjudged > 0)
		convict_hopeless(j, others, nothers);
	for (int i = 0; i < n; i++)
	{
		bool		is_left = left < j->nunjudged && j->unjudged[left] == unjudged[i];

		left += is_left;
		if (is_left || !j->items[unjudged[i]].at_once)
			unjudged[out++] = unjudged[i];
	}
	pfree(j->unjudged);
	pfree(others);
	j->unjudged = unjudged;
	j->nunjudged = out;
}

void
ks_apply_judge(KsApply *ap, KsSuspects *s)
{
	KsJudge		j = {.ap = ap, .items = s->items, .nunjudged = s->n};

	j.ops = MemoryContextAllocHuge(ap->batch_cxt, ap->nrecs);
	memcpy(j.ops, ap->ops, ap->nrecs);
	memset(ap->ops, KS_ROW_REJECTED, ap->nrecs);
	j.last_written = ap->nrecs - 1;
	j.unjudged = MemoryContextAllocHuge(ap->batch_cxt, s->n * sizeof(int));
	for (int i = 0; i < s->n; i++)
	{
		j.unjudged[i] = i;
		ap->ops[s->items[i].index] = j.ops[s->items[i].index];
	}
	while (j.last_written >= 0 &&
		   (j.ops[j.last_written] == KS_ROW_REJECTED || ap->ops[j.last_written] != KS_ROW_REJECTED))
		j.last_written--;
	judge_at_once(&j);
	j.written = 0;				/* by passes */
	for (; j.passes < MAX_PASSES && j.nunjudged > 0; j.passes++)
	{
		if (j.passes > 0 && j.written > Max(MIN_ROWS, (int64) MAX_TIMES * s->n))
			break;
		ks_apply_undoable(ap, accuse_all, &j);
		if (j.consistent)
			j.nunjudged = 0;
		if (j.nunjudged == 0)
			break;
		if (!convict(&j) && !ks_trial_absolve(&j, false) && !convict_doubted(&j))
			convict_from(&j, j.nunjudged - 1);
	}
	if (j.nunjudged > 0)
	{
		if (ks_trial_absolve(&j, true))
			(void) ks_trial_absolve(&j, false);
		convict_from(&j, 0);
	}
	memcpy(ap->ops, j.ops, ap->nrecs);
	pfree(j.ops);
	pfree(j.unjudged);
}
