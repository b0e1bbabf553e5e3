/*
 * sort.c
 *	  The rows of a batch in the order of a btree index.
 *
 * A natural merge sort: each partition's records tend to ascend, so a batch is
 * a few ascending runs, and finding and merging them costs a fraction of what
 * sorting from nothing does (D. E. Knuth, The Art of Computer Programming,
 * volume 3, 5.2.4).  Runs shorter than MIN_RUN are filled up by insertion, so
 * that records without any order cost no more than a plain merge sort.
 *
 * Where there are many runs, and the integers are all there is to compare, they are
 * dealt out by their bits, from the lowest: that compares nothing (ibid., 5.2.5).
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "base/compat.h"
#include "base/sort.h"

#define MIN_RUN		16

#define MIN_RADIX	512			/* items that are dealt out */
#define MANY_RUNS	16
#define RADIX_BITS	11
#define BUCKETS		(1 << RADIX_BITS)

/* --- keys --- */

static KsAbbrev
choose_abbrev(Relation index)
{
	Oid			type = index->rd_opcintype[0];
	Oid			family = index->rd_opfamily[0];
	Oid			usual = GetDefaultOpClass(type, BTREE_AM_OID);

	if (!OidIsValid(usual) || get_opclass_family(usual) != family)
		return KS_ABBREV_NONE;
	switch (type)
	{
		case INT2OID:
			return KS_ABBREV_INT2;
		case INT4OID:
		case DATEOID:
			return KS_ABBREV_INT4;
		case INT8OID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return KS_ABBREV_INT8;
		case UUIDOID:
			return KS_ABBREV_UUID;
		case TEXTOID:
			return index->rd_indcollation[0] == C_COLLATION_OID ? KS_ABBREV_TEXT : KS_ABBREV_NONE;
		default:
			return KS_ABBREV_NONE;
	}
}

void
ks_sort_init(KsSortKey *key, Relation index, const int *cols, MemoryContext cxt)
{
	memset(key, 0, sizeof(KsSortKey));
	key->ncols = IndexRelationGetNumberOfKeyAttributes(index);
	for (int i = 0; i < key->ncols; i++)
	{
		SortSupport ssup = &key->ssup[i];
		int16		option = index->rd_indoption[i];

		key->cols[i] = cols[i];
		ssup->ssup_cxt = cxt;
		ssup->ssup_collation = index->rd_indcollation[i];
		ssup->ssup_nulls_first = (option & INDOPTION_NULLS_FIRST) != 0;
		ssup->ssup_attno = i + 1;
		ks_sort_support_from_index(index, (option & INDOPTION_DESC) != 0, ssup);
	}
	key->abbrev = choose_abbrev(index);
	key->descending = (index->rd_indoption[0] & INDOPTION_DESC) != 0;
	key->exact = key->ncols == 1 && key->abbrev >= KS_ABBREV_INT2 && key->abbrev <= KS_ABBREV_INT8;
}

/* The first bytes, as an integer that compares like them. */
static int64
prefix(const char *s, Size len)
{
	uint64		w = 0;

	memcpy(&w, s, Min(len, sizeof(w)));
	return (int64) (pg_ntoh64(w) ^ (UINT64CONST(1) << 63));
}

int64
ks_sort_abbreviate(const KsSortKey *key, Datum value, bool isnull)
{
	int64		v = 0;

	if (isnull)
		return key->abbrev == KS_ABBREV_NONE ? 0 :
			key->ssup[0].ssup_nulls_first ? PG_INT64_MIN : PG_INT64_MAX;
	switch (key->abbrev)
	{
		case KS_ABBREV_NONE:
			return 0;
		case KS_ABBREV_INT2:
			v = DatumGetInt16(value);
			break;
		case KS_ABBREV_INT4:
			v = DatumGetInt32(value);
			break;
		case KS_ABBREV_INT8:
			v = DatumGetInt64(value);
			break;
		case KS_ABBREV_UUID:
			v = prefix((const char *) DatumGetUUIDP(value)->data, UUID_LEN);
			break;
		case KS_ABBREV_TEXT:
			{
				text	   *t = DatumGetTextPP(value);

				v = prefix(VARDATA_ANY(t), VARSIZE_ANY_EXHDR(t));
				break;
			}
	}
	return key->descending ? ~v : v;
}

int
ks_sort_compare_full(const KsSortKey *key, const Datum *va, const bool *na,
					 const Datum *vb, const bool *nb)
{
	for (int i = 0; i < key->ncols; i++)
	{
		int			c = key->cols[i];
		int			cmp = ApplySortComparator(va[c], na[c], vb[c], nb[c],
											  unconstify(SortSupportData *, &key->ssup[i]));

		if (cmp != 0)
			return cmp;
	}
	return 0;
}

/* --- the sort --- */

/* a comes before b in the log: it goes first unless it is greater. */
static inline bool
in_order(const KsSortKey *key, const KsRows *rows, const KsSortItem *a,
		 const KsSortItem *b, bool exact)
{
	if (exact)
		return a->abbrev <= b->abbrev;
	return ks_sort_compare(key, rows, a, b) <= 0;
}

static inline void
merge(const KsSortKey *key, const KsRows *rows, const KsSortItem *a, int na,
	  const KsSortItem *b, int nb, KsSortItem *out, bool exact)
{
	const KsSortItem *enda = a + na;
	const KsSortItem *endb = b + nb;

	if (!in_order(key, rows, enda - 1, b, exact))
		while (a < enda && b < endb)
			*out++ = in_order(key, rows, a, b, exact) ? *a++ : *b++;
	memcpy(out, a, (enda - a) * sizeof(KsSortItem));
	memcpy(out + (enda - a), b, (endb - b) * sizeof(KsSortItem));
}

/* Fills starts with the beginnings of ascending runs, and n; returns how many. */
static inline int
find_runs(const KsSortKey *key, const KsRows *rows, KsSortItem *items, int n,
		  int *starts, bool exact)
{
	int			nruns = 0;

	for (int i = 0, j; i < n; i = j)
	{
		starts[nruns++] = i;
		for (j = i + 1; j < n && in_order(key, rows, &items[j - 1], &items[j], exact); j++)
			;
		for (; j < n && j - i < MIN_RUN; j++)
		{
			KsSortItem	item = items[j];
			int			k = j;

			for (; k > i && !in_order(key, rows, &items[k - 1], &item, exact); k--)
				items[k] = items[k - 1];
			items[k] = item;
		}
	}
	starts[nruns] = n;
	return nruns;
}

static inline KsSortItem *
sort_items(const KsSortKey *key, const KsRows *rows, KsSortItem *items, int n, bool exact)
{
	int		   *starts = palloc((n / MIN_RUN + 2) * sizeof(int));
	int			nruns = find_runs(key, rows, items, n, starts, exact);
	KsSortItem *from = items;
	KsSortItem *to;

	if (nruns <= 1)
		return items;
	to = palloc_extended((Size) n * sizeof(KsSortItem), MCXT_ALLOC_HUGE);
	while (nruns > 1)
	{
		KsSortItem *swap = from;
		int			out = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < nruns; i += 2)
		{
			int			lo = starts[i];
			int			mid = starts[i + 1];

			if (i + 1 < nruns)
				merge(key, rows, from + lo, mid - lo, from + mid, starts[i + 2] - mid,
					  to + lo, exact);
			else
				memcpy(to + lo, from + lo, (mid - lo) * sizeof(KsSortItem));
			starts[out++] = lo;
		}
		starts[out] = n;
		nruns = out;
		from = to;
		to = swap;
	}
	return from;
}

/* How many ascending runs there are, and the least and the greatest integer. */
static int
count_runs(const KsSortItem *items, int n, int64 *min, int64 *max)
{
	int			nruns = 1;

	*min = *max = items[0].abbrev;
	for (int i = 1; i < n; i++)
	{
		nruns += items[i].abbrev < items[i - 1].abbrev;
		*min = Min(*min, items[i].abbrev);
		*max = Max(*max, items[i].abbrev);
	}
	return nruns;
}

/* By the bits in which integers differ from the least one; those that are equal keep their order. */
static KsSortItem *
deal_items(KsSortItem *items, int n, int64 min, int64 max)
{
	uint64		range = (uint64) max - (uint64) min;
	KsSortItem *from = items;
	KsSortItem *to = palloc_extended((Size) n * sizeof(KsSortItem), MCXT_ALLOC_HUGE);

	for (int shift = 0; shift < 64 && range >> shift != 0; shift += RADIX_BITS)
	{
		int			places[BUCKETS] = {0};
		int			at = 0;
		KsSortItem *swap = from;

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
			places[((uint64) from[i].abbrev - (uint64) min) >> shift & (BUCKETS - 1)]++;
		for (int b = 0; b < BUCKETS; b++)
		{
			int			count = places[b];

			places[b] = at;
			at += count;
		}
		for (int i = 0; i < n; i++)
			to[places[((uint64) from[i].abbrev - (uint64) min) >> shift & (BUCKETS - 1)]++] = from[i];
		from = to;
		to = swap;
	}
	return from;
}

static KsSortItem *
sort_exact(const KsSortKey *key, const KsRows *rows, KsSortItem *items, int n)
{
	int64		min,
				max;

	if (n >= MIN_RADIX && count_runs(items, n, &min, &max) > MANY_RUNS)
		return deal_items(items, n, min, max);
	return sort_items(key, rows, items, n, true);
}

KsSortItem *
ks_sort_rows(const KsSortKey *key, const KsRows *rows, const int *idx, int n)
{
	KsSortItem *items = palloc_extended((Size) Max(n, 1) * sizeof(KsSortItem), MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
	{
		Size		first = (Size) idx[i] * rows->ncols + key->cols[0];

		items[i].row = idx[i];
		items[i].abbrev = ks_sort_abbreviate(key, rows->values[first], rows->isnull[first]);
	}
	if (key->exact)
		return sort_exact(key, rows, items, n);
	return sort_items(key, rows, items, n, false);
}

/* --- rows --- */

void
ks_sort_make_rows(KsRows *rows, int lo, int hi, int ncols)
{
	Size		n = (Size) (hi - lo) * ncols;
	Datum	   *values = palloc_extended(n * sizeof(Datum), MCXT_ALLOC_HUGE);
	bool	   *isnull = palloc_extended(n * sizeof(bool), MCXT_ALLOC_HUGE);

	rows->ncols = ncols;
	rows->values = KS_NUMBER_FROM(values, (Size) lo * ncols);
	rows->isnull = KS_NUMBER_FROM(isnull, (Size) lo * ncols);
}

void
ks_sort_free_rows(KsRows *rows, int lo)
{
	pfree(rows->values + (Size) lo * rows->ncols);
	pfree(rows->isnull + (Size) lo * rows->ncols);
	rows->values = NULL;
	rows->isnull = NULL;
}
