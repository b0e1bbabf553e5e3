/*
 * reject.c
 *	  Records that cannot be applied: those of a batch, and how many may be.
 *
 * A limit is "at most max in any window of so many records".  Records are
 * numbered as this process sees them; a rejected one exceeds the limit if the
 * max-th rejected one before it lies in the same window.  Without a window the
 * number of those before it decides.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "write/reject.h"

void
ks_rejects_begin(KsRejects *r)
{
	r->items = NULL;
	r->n = r->size = r->undecodable = 0;
}

/* The first one of the batch that is too many, in the order of the log. */
static int
first_excess(const KsRejects *r, int limit)
{
	int64		max = r->limit.max;
	int64	   *seq;
	int64		n = 0;
	int			a = 0,
				b = r->undecodable;

	/* cannot be, wherever they stand */
	if (max < 0 || (r->limit.window ? r->nlast : r->total) + r->n <= max)
		return limit;
	seq = palloc_extended((r->nlast + r->n) * sizeof(int64), MCXT_ALLOC_HUGE);
	for (; n < r->nlast; n++)
		seq[n] = r->last[n];
	while (a < r->undecodable || b < r->n)
	{
		bool		from_a = b == r->n ||
			(a < r->undecodable && r->items[a].index < r->items[b].index);
		int			index = r->items[from_a ? a++ : b++].index;

		if (index >= limit)
			break;
		seq[n] = r->seen + index;
		if (r->limit.window ?
			n >= max && (max == 0 || seq[n] - seq[n - max] < r->limit.window) :
			r->total + (n - r->nlast) >= max)
		{
			limit = index;
			break;
		}
		n++;
	}
	pfree(seq);
	return limit;
}

int
ks_rejects_add(KsRejects *r, int index, ErrorData *edata, const char *column,
			   bool undecodable, int limit)
{
	KsReject   *item;

	if (r->n == r->size)
	{
		r->size = Max(64, r->size * 2);
		r->items = r->items ? repalloc_huge(r->items, r->size * sizeof(KsReject)) :
			palloc(r->size * sizeof(KsReject));
	}
	item = &r->items[r->n++];
	item->index = index;
	item->edata = edata;
	item->column = column ? pstrdup(column) : NULL;
	r->undecodable += undecodable;
	return first_excess(r, limit);
}

static int
compare_items(const void *a, const void *b)
{
	int			ia = ((const KsReject *) a)->index;
	int			ib = ((const KsReject *) b)->index;

	return (ia > ib) - (ia < ib);
}

KsReject *
ks_rejects_end(KsRejects *r, int done)
{
	int			n = 0;

	if (r->n > 1)
		qsort(r->items, r->n, sizeof(KsReject), compare_items);
	while (n < r->n && r->items[n].index < done)
		n++;
	if (n == r->n)
		return NULL;
	r->n = n;
	return &r->items[n];
}

void
ks_rejects_committed(KsRejects *r, int done)
{
	int64		max = r->limit.max;

	if (r->limit.window > 0 && max > 0 && r->n > 0)
	{
		int64		keep = Min(r->nlast, Max(0, max - r->n));
		int64		add = Min(r->n, max);

		if (r->last == NULL)
			r->last = MemoryContextAllocHuge(r->cxt, max * sizeof(int64));
		memmove(r->last, r->last + r->nlast - keep, keep * sizeof(int64));
		for (int64 i = 0; i < add; i++)
			r->last[keep + i] = r->seen + r->items[r->n - add + i].index;
		r->nlast = keep + add;
	}
	r->total += r->n;
	r->seen += done;
	ks_rejects_begin(r);
}
