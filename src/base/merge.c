/*
 * merge.c
 *	  A merge sort, for what records bring.
 *
 * There is an order of items for which the server's qsort() needs n * n comparisons, and
 * anybody can compute it: a record of 8 MB takes minutes then, in which nothing
 * interrupts it.  (Rows of a batch are sorted by sort.c.)
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/merge.h"

#define RUN		8				/* items that are inserted one by one */
#define CHUNK	1024			/* items between looks at interrupts */

typedef struct Merge
{
	Size		width;
	int			(*compare) (const void *, const void *);
} Merge;

/* A few, with room for one at 'spare'. */
static void
insert_each(const Merge *m, char *first, Size n, char *spare)
{
	Size		w = m->width;

	for (char *p = first + w; p < first + n * w; p += w)
	{
		char	   *to = p;

		while (to > first && m->compare(to - w, p) > 0)
			to -= w;
		if (to == p)
			continue;
		memcpy(spare, p, w);
		memmove(to + w, to, p - to);
		memcpy(to, spare, w);
	}
}

/* Two runs side by side, of which the second may be empty, to one. */
static void
merge_two(const Merge *m, const char *a, const char *middle, const char *end, char *to)
{
	const char *b = middle;
	int			n = 0;

	/* in order already */
	if (b == end || m->compare(b - m->width, b) <= 0)
	{
		memcpy(to, a, end - a);
		return;
	}
	while (a < middle && b < end)
	{
		const char **from = m->compare(a, b) <= 0 ? &a : &b;

		memcpy(to, *from, m->width);
		*from += m->width;
		to += m->width;
		if (++n % CHUNK == 0)
			CHECK_FOR_INTERRUPTS();
	}
	/* one of them is at its end */
	memcpy(to, a, middle - a);
	to += middle - a;
	memcpy(to, b, end - b);
}

/* All pairs of runs of so many items. */
static void
merge_pass(const Merge *m, const char *from, Size n, Size run, char *to)
{
	Size		w = m->width;

	for (Size i = 0; i < n; i += 2 * run)
		merge_two(m, from + i * w, from + Min(i + run, n) * w, from + Min(i + 2 * run, n) * w, to + i * w);
	CHECK_FOR_INTERRUPTS();
}

void
ks_merge_sort(void *items, Size n, Size width, int (*compare) (const void *, const void *))
{
	Merge		m = {width, compare};
	char	   *from = items;
	char	   *to;
	char	   *buffer;

	if (n < 2)
		return;
	to = buffer = MemoryContextAllocHuge(CurrentMemoryContext, n * width);
	for (Size i = 0; i < n; i += RUN)
	{
		insert_each(&m, from + i * width, Min(RUN, n - i), buffer);
		if (i % CHUNK == 0)
			CHECK_FOR_INTERRUPTS();
	}
	for (Size run = RUN; run < n; run *= 2)
	{
		char	   *sorted = to;

		merge_pass(&m, from, n, run, to);
		to = from;
		from = sorted;
	}
	if (from != items)
		memcpy(items, from, n * width);
	pfree(buffer);
}
