/*
 * apply_sql.c
 *	  Rows to the target by SQL over the relation "batch": the general path.
 *
 * The rows go into a tuplestore that the statement sees as an ephemeral named
 * relation; the plan is kept with the target.  Triggers, row security, foreign
 * keys, partition routing and whatever else the server does with an INSERT
 * happen as they should.
 *
 * The server tells how many rows a statement changed, not which: where rows
 * may be left out silently, each partition's rows are a statement of their
 * own, so that the accounting stays exact.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/tuplestore.h"

#include "write/apply.h"

static int64
execute(KsApply *ap, const int *idx, int n, KsRowOp op)
{
	KsTarget   *target = ap->target;
	SPIPlanPtr *plan = op == KS_ROW_DELETE ? &target->delete_plan :
		op == KS_ROW_PATCH ? &target->patch_plan : &target->insert_plan;
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	int			rc;

	for (int i = 0; i < n; i++)
	{
		Size		row = (Size) idx[i] * target->nvalues;

		tuplestore_putvalues(store, target->rowdesc, ap->values + row, ap->isnull + row);
	}
	ap->enr->reldata = store;
	if (*plan == NULL)
	{
		SPIPlanPtr	p = SPI_prepare(op == KS_ROW_DELETE ? target->delete_sql :
									op == KS_ROW_PATCH ? target->patch_sql : target->insert_sql,
									0, NULL);

		if (p == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(p);
		*plan = p;
	}
	rc = SPI_execute_plan(*plan, NULL, NULL, false, 0);
	if (rc != SPI_OK_INSERT && rc != SPI_OK_UPDATE && rc != SPI_OK_DELETE)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	ap->enr->reldata = NULL;
	tuplestore_end(store);
	if (op == KS_ROW_PATCH && (int64) SPI_processed < n && ap->sink->update_if == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("record lacks the value of a column, and there is no row that has it"),
				 errdetail("Debezium does not know TOASTed values that an update left unchanged."),
				 errhint("Begin with a snapshot, or set REPLICA IDENTITY FULL for the source table.")));
	return (int64) SPI_processed;
}

void
ks_apply_check_truncation(const KsApply *ap, const KsRecord *rec)
{
	const KsPartition *part = &ap->parts[rec->pidx];
	bool		others = part->has_siblings;

	for (int i = 0; i < ap->nparts; i++)
		others |= i != rec->pidx && strcmp(ap->parts[i].topic, part->topic) == 0;
	if (others)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record says that the source table was truncated, but not in what order"),
				 errdetail("Topic \"%s\" has other partitions, with changes from before it and behind it.", part->topic),
				 errhint("Give the topic one partition, or set on_tombstone => 'ignore' without delete_enabled, or let Debezium leave truncations out.")));
	if (ap->keep_rejects)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record says that the source table was truncated, which is not done later"),
				 errdetail("It would delete rows that were written behind it."),
				 errhint("Discard the dead letter.")));
}

void
ks_apply_truncation(KsApply *ap, int i, KsCounts *counts)
{
	KsCounts   *c = &counts[ap->recs[i].pidx];

	CHECK_FOR_INTERRUPTS();
	/* readers keep what their snapshots see, which TRUNCATE would take away */
	if (SPI_execute(ap->target->empty_sql, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from %s", ap->target->qualified_name);
	(*(SPI_processed > 0 ? &c->deleted : &c->unmatched))++;
}

static int
compare_partition(const void *a, const void *b, void *arg)
{
	const KsRecord *recs = arg;
	int			ia = *(const int *) a;
	int			ib = *(const int *) b;

	if (recs[ia].pidx != recs[ib].pidx)
		return recs[ia].pidx < recs[ib].pidx ? -1 : 1;
	return (ia > ib) - (ia < ib);
}

void
ks_apply_sql(KsApply *ap, int *idx, int n, KsRowOp op, KsCounts *counts)
{
	bool		delete = op == KS_ROW_DELETE;
	int64		changed;

	if (n == 0)
		return;
	if (ap->nparts > 1 && (op != KS_ROW_WRITE || ap->target->rows_may_vanish))
	{
		/* one statement per partition, to know whose rows were left out */
		qsort_arg(idx, n, sizeof(int), compare_partition, unconstify(KsRecord *, ap->recs));
		for (int i = 0, j; i < n; i = j)
		{
			KsCounts   *c = &counts[ap->recs[idx[i]].pidx];

			for (j = i + 1; j < n && ap->recs[idx[j]].pidx == ap->recs[idx[i]].pidx; j++)
				;
			changed = execute(ap, idx + i, j - i, op);
			*(delete ? &c->deleted : &c->applied) += changed;
			c->unmatched += j - i - changed;
		}
		return;
	}

	changed = execute(ap, idx, n, op);
	if (changed != n && ap->nparts > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("target \"%s\" took " INT64_FORMAT " of %d rows", ap->target->qualified_name,
						changed, n)));
	if (ap->nparts == 1)
	{
		*(delete ? &counts[0].deleted : &counts[0].applied) += changed;
		counts[0].unmatched += n - changed;
		return;
	}
	for (int i = 0; i < n; i++)
		counts[ap->recs[idx[i]].pidx].applied++;
}
