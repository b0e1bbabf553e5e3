/*
 * apply_fast_writer.c
 *	  The writer of plain tables (apply_fast_plan.c): inserts and upserts.
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

static void
insert_run(KsApply *ap, const KsRoute *r, const int *idx, int n, KsCounts *counts)
{
	KsWrite		w;

	PreventCommandIfReadOnly("INSERT");
	ks_fast_begin(&w, ap, r, &r->rows, counts);
	/* checks see what was written before, as in a statement */
	PushActiveSnapshot(GetTransactionSnapshot());
	ks_fast_insert_rows(&w, idx, n);
	ks_fast_insert_all_entries(&w);
	PopActiveSnapshot();
	ks_fast_end(&w);
}

static KsWritten
fast_write(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	KsSortItem *items;

	/* all at once, where the statements would be two */
	if (run->step == KS_STEP_DELETES)
		return KS_WRITTEN;
	if (r->sink->insert_mode == KS_UPSERT)
	{
		items = ks_order_last(ap, r, run, counts);
		return ks_fast_upsert(ap, r, &r->rows, items, run->n, counts);
	}
	if (run->n == 1 && (ap->one_by_one || r->when == KS_WITH_ROW))
	{
		if (r->one_by_one == NULL)
			r->one_by_one = ks_rows_begin(ap, r);
		ks_rows_insert(r->one_by_one, run->idx[0], counts);
	}
	else
		insert_run(ap, r, run->idx, run->n, counts);
	return KS_WRITTEN;
}

static KsWritten
fast_store(KsApply *ap, KsRoute *r, const KsRows *rows, KsSortItem *items, int n, KsRowOp op,
		   KsCounts *counts)
{
	return ks_fast_upsert(ap, r, rows, items, n, counts);
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
