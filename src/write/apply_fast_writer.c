/*
 * apply_fast_writer.c
 *	  The writer of plain and partitioned tables (apply_fast_plan.c): inserts and
 *	  upserts.
 *
 * Upserts come sorted by key.  A walk along the index finds the rows that are
 * there, which are updated on the way; the others are inserted by thousands.  The
 * unique index has the last word: a key that somebody else inserted meanwhile
 * fails there, and a row that somebody else changed is not updated.  Nor may a
 * row take a unique value too early (apply_unique.c).  Either way SQL takes the
 * batch, waits where it must and says what is to be said.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/apply_fast.h"

/* Into a table, or a partition. */
static bool
insert_into(KsWrite *w, KsSortItem *items, const int *idx, int n)
{
	ks_fast_insert_rows(w, idx, n);
	ks_fast_insert_all_entries(w);
	return true;
}

static KsWritten
insert_run(KsApply *ap, const KsRoute *r, const int *idx, int n, KsCounts *counts)
{
	KsWrite		w;
	KsWritten	result;

	PreventCommandIfReadOnly("INSERT");
	ks_fast_begin(&w, ap, r, &r->rows, false, counts);
	if (w.fast->partitioned)
		result = ks_partitioned_write(&w, NULL, idx, n, insert_into);
	else
	{
		/* checks see what was written before, as in a statement */
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) insert_into(&w, NULL, idx, n);
		PopActiveSnapshot();
		result = ks_foreign_check(&w) ? KS_WRITTEN : KS_USE_SQL;
	}
	ks_fast_end(&w);
	return result;
}

/* Patches of one key, or beside others of its records, are written one after the other. */
static KsWritten
upsert_patches(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	const KsSortKey *key = &r->target->sortkey;
	KsSortItem *items;

	ks_order_complete(ap, r, run, counts);
	items = ks_sort_rows(key, &r->rows, run->idx, run->n);
	for (int i = 1; i < run->n; i++)
		if (ks_sort_compare(key, &r->rows, &items[i - 1], &items[i]) == 0)
			return KS_USE_SQL;
	return ks_fast_upsert(ap, r, &r->rows, items, run->n, true, counts);
}

static KsWritten
upsert_run(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	/* the last record of a key counts */
	KsSortItem *items = ks_order_last(ap, r, run, counts);

	return ks_fast_upsert(ap, r, &r->rows, items, run->n, false, counts);
}

static KsWritten
fast_write(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	const KsFast *fast = r->target->fast;

	if (!ks_foreign_may(fast, run->deletes))
		return KS_USE_SQL;
	if (r->sink->insert_mode == KS_UPSERT)
		return run->patches ? upsert_patches(ap, r, run, counts) : upsert_run(ap, r, run, counts);
	/* what outlives a subtransaction must not hold what is its */
	if (run->n == 1 && fast->nforeign == 0 && !fast->partitioned && !fast->holds &&
		(ap->one_by_one || r->when == KS_WITH_ROW))
	{
		if (r->one_by_one == NULL)
			r->one_by_one = ks_rows_begin(ap, r);
		ks_rows_insert(r->one_by_one, run->idx[0], counts);
		return KS_WRITTEN;
	}
	return insert_run(ap, r, run->idx, run->n, counts);
}

static KsWritten
fast_store(KsApply *ap, KsRoute *r, const KsRows *rows, KsSortItem *items, int n, KsRowOp op,
		   KsCounts *counts)
{
	if (!ks_foreign_may(r->target->fast, op == KS_ROW_DELETE && n > 0))
		return KS_USE_SQL;
	return ks_fast_upsert(ap, r, rows, items, n, false, counts);
}

static void
fast_failed(KsRoute *r, const ErrorData *edata)
{
	if (r->one_by_one)
		ks_rows_failed(r->one_by_one, edata);
}

static void
fast_end(KsRoute *r)
{
	if (r->one_by_one)
		ks_rows_end(r->one_by_one);
	r->one_by_one = NULL;
}

const KsWriter ks_fast_writer = {
	.name = "fast path",
	.write = fast_write,
	.store = fast_store,
	.failed = fast_failed,
	.end = fast_end
};
