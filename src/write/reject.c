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
	r->n = r->size = 0;
	r->seq = NULL;
	r->nseq = r->maxseq = 0;
}

/* Into the order of the log; where it stands in seq. */
static int64
insert_number(KsRejects *r, int64 number)
{
	int64		lo = r->nlast,
				hi = r->nseq;

	if (r->seq == NULL)
	{
		r->maxseq = r->nlast + 64;
		r->seq = palloc_extended(r->maxseq * sizeof(int64), MCXT_ALLOC_HUGE);
		if (r->nlast > 0)
			memcpy(r->seq, r->last, r->nlast * sizeof(int64));
		lo = hi = r->nseq = r->nlast;
	}
	if (r->nseq == r->maxseq)
	{
		r->maxseq *= 2;
		r->seq = repalloc_huge(r->seq, r->maxseq * sizeof(int64));
	}
	while (lo < hi)
	{
		int64		mid = lo + (hi - lo) / 2;

		if (r->seq[mid] < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	memmove(r->seq + lo + 1, r->seq + lo, (r->nseq - lo) * sizeof(int64));
	r->seq[lo] = number;
	r->nseq++;
	return lo;
}

/*
 * The first one of the batch that is too many, in the order of the log.  Those
 * before the one that has just come, at seq[from], are none.
 */
static int
first_excess(const KsRejects *r, int64 from, int limit)
{
	int64		max = r->limit.max;

	if (r->limit.window == 0)
	{
		int64		at = r->nlast + Max(max - r->total, 0);

		return at < r->nseq ? (int) Min(limit, r->seq[at] - r->seen) : limit;
	}
	for (int64 i = Max(from, max); i < r->nseq && r->seq[i] - r->seen < limit; i++)
		if (max == 0 || r->seq[i] - r->seq[i - max] < r->limit.window)
			return (int) (r->seq[i] - r->seen);
	return limit;
}

int
ks_rejects_add(KsRejects *r, int index, ErrorData *edata, const char *column,
			   int limit)
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
	if (r->limit.max < 0)
		return limit;
	return first_excess(r, insert_number(r, r->seen + index), limit);
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
