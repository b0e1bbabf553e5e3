/*
 * order.c
 *	  Which records of a key count, and in what order rows are written.
 *
 * Upserts: the last record of a key counts, the others are superseded; rows are
 * written in key order, so that two sinks that write the same rows wait for each
 * other instead of deadlocking.
 */
#include "postgres.h"

#include "write/writer.h"

KsSortItem *
ks_order_last(KsApply *ap, const KsRoute *r, KsRun *run, KsCounts *counts)
{
	const KsSortKey *key = &r->target->sortkey;
	KsSortItem *items = ks_sort_rows(key, &r->rows, run->idx, run->n);
	int			out = 0;

	for (int i = 0; i < run->n; i++)
	{
		if (i + 1 < run->n && ks_sort_compare(key, &r->rows, &items[i], &items[i + 1]) == 0)
			counts[ap->recs[items[i].row].pidx].superseded++;
		else
		{
			run->idx[out] = items[i].row;
			items[out++] = items[i];
		}
	}
	run->n = out;
	return items;
}

void
ks_order_complete(KsApply *ap, const KsRoute *r, KsRun *run, KsCounts *counts)
{
	const KsSortKey *key = &r->target->sortkey;
	KsSortItem *items = ks_sort_rows(key, &r->rows, run->idx, run->n);
	int			out = run->n;
	bool		complete = false;

	for (int i = run->n - 1; i >= 0; i--)
	{
		int			row = items[i].row;

		if (i == run->n - 1 || ks_sort_compare(key, &r->rows, &items[i], &items[i + 1]) != 0)
			complete = false;
		if (complete)
			counts[ap->recs[row].pidx].superseded++;
		else
			run->idx[--out] = row;
		complete |= ap->ops[row] != KS_ROW_PATCH;
	}
	run->n -= out;
	memmove(run->idx, run->idx + out, run->n * sizeof(int));
}

void
ks_order_apart(KsApply *ap, const KsRoute *r, int lo, int hi)
{
	const KsSortKey *key = &r->target->sortkey;
	bool		deletes = false;
	KsSortItem *items;
	int			n = 0;

	memset(ap->apart + lo, KS_NOT_APART, hi - lo);
	for (int i = lo; i < hi; i++)
	{
		if (ap->ops[i] == KS_ROW_REJECTED || ap->ops[i] == KS_ROW_FILTERED)
			continue;
		if (ap->ops[i] == KS_ROW_TRUNCATE)
			return;				/* all in its order, then */
		deletes |= ap->ops[i] == KS_ROW_DELETE;
		ap->idx[n++] = i;
	}
	if (!deletes)
		return;
	items = ks_sort_rows(key, &r->rows, ap->idx, n);
	for (int i = 0, j; i < n; i = j)
	{
		bool		only_deletes = true;

		for (j = i; j < n && ks_sort_compare(key, &r->rows, &items[i], &items[j]) == 0; j++)
			only_deletes &= ap->ops[items[j].row] == KS_ROW_DELETE;
		if (ap->ops[items[j - 1].row] != KS_ROW_DELETE || !(r->deletes_supersede || only_deletes || !ap->deletes_first))
			continue;
		ap->apart[items[j - 1].row] = KS_APART;
		for (int k = i; r->deletes_supersede && k < j - 1; k++)
			ap->apart[items[k].row] = KS_APART_SUPERSEDED;
	}
}

int
ks_order_select(KsApply *ap, const int *idx, int n, KsRowOp op, int *out)
{
	int			m = 0;

	for (int i = 0; i < n; i++)
		if (ap->ops[idx[i]] == op)
			out[m++] = idx[i];
	return m;
}
