/*
 * claim.c
 *	  What is left of a range, and the row moved over it.
 *
 * The row says that everything from start_off to off is applied.  A range
 * [from, until) is compared with that:
 *
 *		from > off					refused: [off, from) is missing
 *		from < start_off			refused: nobody has applied [from, start_off)
 *		until <= off				nothing is left
 *		from <= off < until			[off, until) is left
 *
 * In the last case the row moves to until, in the caller's transaction, which
 * applies what is left.  So a range that comes twice, or after its successor,
 * does no harm, and one that comes before its predecessor is an error: without
 * the second line it would not be, where the later range makes the row.
 *
 * Rows are made before any is locked, both in order of (topic, part): claims of
 * many ranges wait for each other, but never in a circle.
 */
#include "postgres.h"

#include "catalog/claim.h"
#include "catalog/offsets.h"

static int
compare_ranges(const void *a, const void *b)
{
	const KsPartition *pa = &((const KsRange *) a)->p;
	const KsPartition *pb = &((const KsRange *) b)->p;
	int			cmp = strcmp(pa->topic, pb->topic);

	return cmp != 0 ? cmp : (pa->part > pb->part) - (pa->part < pb->part);
}

/* Where the range begins for us. */
static int64
wanted_from(const KsRange *r)
{
	return Max(r->from, r->start_at);
}

/* Where a row that is missing begins: at start_at, or with the range. */
static void
begin_rows(KsRange *ranges, int n)
{
	for (int i = 0; i < n; i++)
		ranges[i].p.off = ranges[i].start_at >= 0 ? ranges[i].start_at : ranges[i].from;
}

/* Locks the rows, and makes those that are missing. */
static void
hold(const char *sink, KsRange *ranges, KsPartition **parts, int n, int64 *starts)
{
	KsPartition **missing = palloc(n * sizeof(KsPartition *));
	int			nmissing = 0;

	begin_rows(ranges, n);
	for (int i = 0; i < n; i++)
	{
		parts[i] = &ranges[i].p;
		/* a single one need not be made before it is locked */
		if (n > 1 && !ks_offsets_exists(sink, parts[i]))
			missing[nmissing++] = parts[i];
	}
	if (nmissing > 0)
		ks_offsets_put_missing(sink, missing, nmissing);
	if (ks_offsets_hold(sink, parts, n, starts) == n)
		return;
	begin_rows(ranges, n);
	ks_offsets_put_missing(sink, parts, n);
	/* a row that goes away again is missing below */
	(void) ks_offsets_hold(sink, parts, n, starts);
}

/* What is left of one range; counts what it moves over. */
static void
find_rest(const char *sink, KsRange *r, int64 start_off)
{
	KsPartition *p = &r->p;
	int64		from = wanted_from(r);
	int64		rest;

	r->apply_from = -1;
	/* all of it is before what is wanted */
	if (p->off >= 0 && r->until <= r->start_at)
		return;
	if (p->off < 0 || from > p->off || from < start_off)
	{
		KsPartition want = *p;

		want.off = from;
		want.until = r->until;
		ks_offsets_refuse(sink, &want, p->off, start_off);
	}
	if (r->until <= p->off)
		return;
	r->apply_from = p->off;
	p->until = r->until;
	rest = p->until - p->off;
	/* how many of them are in a rest, nobody has told */
	p->counts.consumed = p->counts.applied = r->records < 0 ? rest : Min(r->records, rest);
	p->counts.gaps = rest - p->counts.consumed;
}

void
ks_claim(const char *sink, KsRange *ranges, int n)
{
	KsPartition **parts;
	int64	   *starts;
	int			moved = 0;

	if (n == 0)
		return;
	parts = palloc(n * sizeof(KsPartition *));
	starts = palloc(n * sizeof(int64));
	qsort(ranges, n, sizeof(KsRange), compare_ranges);
	hold(sink, ranges, parts, n, starts);
	for (int i = 0; i < n; i++)
	{
		find_rest(sink, &ranges[i], starts[i]);
		if (ranges[i].apply_from >= 0)
			parts[moved++] = &ranges[i].p;
	}
	if (moved > 0 && !ks_offsets_move(sink, parts, moved))
		ks_offsets_mismatch(sink, parts, moved);
}

void
ks_claim_exactly(const char *sink, KsPartition *p, int64 from, int64 until)
{
	KsPartition *parts[] = {p};
	int64		start_off;
	int64		stored;

	(void) ks_offsets_hold(sink, parts, 1, &start_off);
	stored = p->off;
	p->off = from;
	p->until = until;
	if (stored != from || !ks_offsets_move(sink, parts, 1))
		ks_offsets_refuse(sink, p, stored, start_off);
}
