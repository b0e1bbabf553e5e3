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
 * A suspect whose row cannot be written at all needs no such trial: it is tried
 * once more behind all others, in the order of the log.
 *
 * Who fails so, and alone beside the records that are written for good too, is bad:
 * two that get in each other's way are not both.  If nobody is, those that can be
 * written in the order of the log are, and if there is none, the last one is bad.
 *
 * Without the bad ones others can be bad in turn.  After some passes (MAX_PASSES,
 * MAX_TIMES) suspects that can be written behind all others, from the last to the
 * first and back, are good, and all that are left are bad: a long chain whose end is
 * missing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/session.h"
#include "write/apply_search.h"

#define MAX_PASSES	8

/* So many times the suspects' rows, or so many rows, are written by passes but one. */
#define MAX_TIMES	2
#define MIN_ROWS	10000

/* Behind so many bad ones in a row groups are not tried, as they have one too. */
#define ALL_BAD		16

typedef struct Judge
{
	KsApply    *ap;
	KsSuspect  *items;
	uint8	   *ops;			/* of all records, as they were */
	int		   *unjudged;		/* suspects that are not judged yet, in order */
	int			nunjudged;
	bool		consistent;		/* what is left is good */
	int			last_written;	/* the last record that is not a suspect */
	bool		absolved;		/* more was written since the suspects failed */
	int			alone;			/* levels whose others could not be written */
	int			passes;
	int64		written;		/* rows, of whatever became nothing */
	int			nbad_in_row;	/* suspects accused one behind the other */
	int			tried;			/* the suspect at hand */
} Judge;

/* Only suspects that are left are written. */
static void
hide(Judge *j, int k)
{
	j->ap->ops[j->items[k].index] = KS_ROW_REJECTED;
}

static int
first_record(const Judge *j, int a)
{
	return j->items[j->unjudged[a]].index;
}

/* Is all that is written what was there when it failed? */
static bool
failed_beside_all(const Judge *j, int k)
{
	return j->items[k].index > j->last_written && !j->absolved;
}

/* Suspects unjudged[a..b) in an attempt of their own. */
static ErrorData *
try_group(Judge *j, int a, int b)
{
	int			end = first_record(j, b - 1) + 1;

	j->written += b - a;
	return ks_apply_attempt(j->ap, first_record(j, a), end, end);
}

/*
 * Writes unjudged[a..b) without their AFTER triggers, in a subtransaction that stays
 * open, unless there is an error, of records of route *at; *use_sql: not all of it.
 */
static ErrorData *
begin_quietly(Judge *j, int a, int b, volatile bool *use_sql, const KsRoute *volatile *at)
{
	KsApply    *ap = j->ap;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile edata = NULL;

	*use_sql = false;
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
		*use_sql = !ks_apply_range(ap, first_record(j, a), first_record(j, b - 1) + 1, ap->counts, at);
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

/* Ends what is open. */
static void
forget_written(Judge *j, ResourceOwner owner, LocalTransactionId immediate_in)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(j->ap->batch_cxt);
	CurrentResourceOwner = owner;
	j->ap->immediate_in = immediate_in;
}

/* The subtransaction stays open; false: they cannot be written, and there is none. */
static bool
write_quietly(Judge *j, int a, int b)
{
	KsApply    *ap = j->ap;
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = ap->immediate_in;
	volatile bool use_sql;
	const KsRoute *volatile at;
	ErrorData  *edata = begin_quietly(j, a, b, &use_sql, &at);

	if (use_sql)
	{
		forget_written(j, owner, immediate_in);
		ks_apply_leave_fast_path(ap);
		edata = begin_quietly(j, a, b, &use_sql, &at);
	}
	if (edata == NULL)
		return true;
	ap->immediate_in = immediate_in;
	ks_apply_attempt_failed(ap, edata);
	ks_fault_excuse(at, edata);
	if (ks_fault_of(ap, at, edata) == KS_FAULT_PASSES)
		ReThrowError(edata);
	FreeErrorData(edata);
	return false;
}

/* Does writing it fail by itself, whatever comes behind it? */
static bool
fails_at_once(Judge *j, int a)
{
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = j->ap->immediate_in;

	if (!write_quietly(j, a, a + 1))
		return true;
	forget_written(j, owner, immediate_in);
	return false;
}

static void accuse(Judge *j, int a, int b);

/* Accuses unjudged[a..b) beside unjudged[c..d). */
static void
accuse_beside(Judge *j, int a, int b, int c, int d)
{
	ResourceOwner owner = CurrentResourceOwner;
	LocalTransactionId immediate_in = j->ap->immediate_in;

	if (!write_quietly(j, c, d))
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
	forget_written(j, owner, immediate_in);
}

/* The one suspect unjudged[a] fails beside all others. */
static void
accuse_one(Judge *j, int a, ErrorData *edata)
{
	KsSuspect  *item = &j->items[j->unjudged[a]];
	Oid			constraint = ks_fault_constraint(edata);

	if (j->alone > 0 && !fails_at_once(j, a))
	{
		FreeErrorData(edata);
		return;
	}
	/* the more rows are there, the less can be missing: it has failed alone, too */
	item->convicted = ks_error_is_of_reference(edata->sqlerrcode) &&
		ks_error_is_of_reference(item->edata->sqlerrcode) &&
		item->constraint == constraint && j->ap->ops[item->index] == KS_ROW_WRITE;
	item->convicted |= failed_beside_all(j, j->unjudged[a]);
	FreeErrorData(edata);
	item->bad = true;
}

/* Finds those of unjudged[a..b), which fail, that fail beside all others. */
static void
accuse_group(Judge *j, int a, int b)
{
	int			middle = a + (b - a) / 2;

	accuse_beside(j, a, middle, middle, b);
	accuse_beside(j, middle, b, a, middle);
}

/* Finds those of unjudged[a..b) that fail beside all others, which are written. */
static void
accuse(Judge *j, int a, int b)
{
	ErrorData  *edata;

	CHECK_FOR_INTERRUPTS();
	if (b - a > 1 && j->nbad_in_row >= ALL_BAD)
	{
		accuse_group(j, a, b);
		return;
	}
	edata = try_group(j, a, b);
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
	Judge	   *j = arg;
	ErrorData  *edata = try_group(j, 0, j->nunjudged);

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
keep_error(Judge *j, KsSuspect *item, ErrorData *edata)
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
	Judge	   *j = arg;
	KsSuspect  *item = &j->items[j->unjudged[j->tried]];
	ErrorData  *edata = try_group(j, j->tried, j->tried + 1);

	item->bad = edata != NULL;
	if (edata)
		keep_error(j, item, edata);
	return false;
}

/* Forgets those that are judged by now. */
static void
drop_bad(Judge *j)
{
	int			n = 0;

	for (int i = 0; i < j->nunjudged; i++)
	{
		if (j->items[j->unjudged[i]].bad)
		{
			j->items[j->unjudged[i]].at_first = j->passes == 0;
			hide(j, j->unjudged[i]);
		}
		else
			j->unjudged[n++] = j->unjudged[i];
	}
	j->nunjudged = n;
}

/* Who is accused, and fails beside the records that are not suspects, is bad. */
static bool
convict(Judge *j)
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

/* Those that can be written, one behind the other, are good, and stay written. */
static bool
absolve(Judge *j, bool backwards)
{
	int			n = j->nunjudged;
	int			out = 0;

	for (int i = 0; i < n; i++)
	{
		int			at = backwards ? n - 1 - i : i;
		ErrorData  *edata;

		CHECK_FOR_INTERRUPTS();
		if (failed_beside_all(j, j->unjudged[at]))
			continue;
		edata = try_group(j, at, at + 1);
		if (edata == NULL)
		{
			j->absolved = true;
			hide(j, j->unjudged[at]);
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

/* With the error that it has met first. */
static void
convict_from(Judge *j, int from)
{
	for (int i = from; i < j->nunjudged; i++)
		j->items[j->unjudged[i]].bad = true;
	drop_bad(j);
}

/*
 * What cannot be written at once is tried but once more, behind all others: it is
 * not what AFTER triggers find.
 */
static void
judge_at_once(Judge *j)
{
	int		   *unjudged = j->unjudged;
	int			n = j->nunjudged;
	int			m = 0;

	/* absolve() and drop_bad() look at those alone */
	j->unjudged = MemoryContextAllocHuge(j->ap->batch_cxt, Max(n, 1) * sizeof(int));
	j->nunjudged = 0;
	for (int i = 0; i < n; i++)
	{
		if (j->items[unjudged[i]].at_once)
			j->unjudged[j->nunjudged++] = unjudged[i];
		else
			unjudged[m++] = unjudged[i];
	}
	(void) absolve(j, false);
	convict_from(j, 0);
	pfree(j->unjudged);
	j->unjudged = unjudged;
	j->nunjudged = m;
}

void
ks_apply_judge(KsApply *ap, KsSuspects *s)
{
	Judge		j = {.ap = ap, .items = s->items, .nunjudged = s->n};

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
	for (; j.passes < MAX_PASSES && j.nunjudged > 0; j.passes++)
	{
		if (j.passes > 0 && j.written > Max(MIN_ROWS, (int64) MAX_TIMES * s->n))
			break;
		ks_apply_undoable(ap, accuse_all, &j);
		if (j.consistent)
			j.nunjudged = 0;
		if (j.nunjudged == 0)
			break;
		if (!convict(&j) && !absolve(&j, false))
			convict_from(&j, j.nunjudged - 1);
	}
	if (j.nunjudged > 0)
	{
		if (absolve(&j, true))
			(void) absolve(&j, false);
		convict_from(&j, 0);
	}
	memcpy(ap->ops, j.ops, ap->nrecs);
	pfree(j.ops);
	pfree(j.unjudged);
}
