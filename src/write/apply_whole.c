/*
 * apply_whole.c
 *	  A batch as a whole, where deletes of linked targets come last (apply_range.c).
 *
 * Should that fail for want of a value that a row to be deleted has, they are tried first; or
 * last, where two topics share a table, for a row that is to be moved away first.  And
 * ranges that a search tries may have them too early: where they act on rows of others, it
 * can do without them, to find out who is bad.
 */
#include "postgres.h"

#include "write/apply_search.h"
#include "write/writer.h"

/* May it help to have deletes before what is written, or behind it, other than it was? */
static bool
may_turn(const KsApply *ap, const ErrorData *edata)
{
	bool		any = false;

	if (ap->evaluating >= 0 ||
		!(ap->deletes_first ? ks_error_is_of_reference(edata->sqlerrcode) : edata->sqlerrcode == ERRCODE_UNIQUE_VIOLATION))
		return false;
	for (int i = 0; i < ap->nroutes; i++)
	{
		const KsRoute *r = &ap->routes[i];

		if (r->acts_on_itself || r->acts_on_others)
			return false;
		any |= r->deletes_last && r->lo < r->hi && memchr(ap->ops + r->lo, KS_ROW_DELETE, r->hi - r->lo) != NULL;
	}
	return any;
}

ErrorData *
ks_whole_or_turned(KsApply *ap, int n, ErrorData *edata)
{
	ErrorData  *again;
	KsFault		fault = ap->fault;
	bool		first = ap->deletes_first;

	if (edata == NULL || !may_turn(ap, edata))
		return edata;
	ap->deletes_first = !first;
	again = ks_apply_attempt(ap, 0, n, n);
	ap->deletes_first = first;
	if (again == NULL)
	{
		FreeErrorData(edata);
		return NULL;
	}
	FreeErrorData(again);
	ap->fault = fault;
	ap->evaluating = -1;
	return edata;
}

ErrorData *
ks_whole_attempt(KsApply *ap, int n)
{
	return ks_whole_or_turned(ap, n, ks_apply_attempt(ap, 0, n, n));
}

uint8 *
ks_whole_leave_deletes_out(KsApply *ap)
{
	uint8	   *left_out = palloc(ap->nrecs);

	memset(left_out, KS_ROW_REJECTED, ap->nrecs);
	for (int i = 0; i < ap->nroutes; i++)
	{
		const KsRoute *r = &ap->routes[i];

		if (!r->acts_on_others || r->lo >= r->hi || !ks_target_knows_keys(r->target))
			continue;
		ks_order_apart(ap, r, r->lo, r->hi);
		for (int j = r->lo; j < r->hi; j++)
			if (ap->apart[j] != KS_NOT_APART)
			{
				left_out[j] = ap->ops[j];
				ap->ops[j] = KS_ROW_REJECTED;
			}
	}
	return left_out;
}

void
ks_whole_take_deletes_back(KsApply *ap, uint8 *left_out)
{
	for (int i = 0; i < ap->nrecs; i++)
		if (left_out[i] != KS_ROW_REJECTED)
			ap->ops[i] = left_out[i];
	pfree(left_out);
}
