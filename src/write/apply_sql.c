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
 * own, so that the accounting stays exact.  Rows that may refer to each other are
 * checked when all of these statements are done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "write/command.h"
#include "write/writer.h"

/*
 * How many rows of the batch have one to build on: where a trigger or update_if can leave an
 * update out, that it was not done does not tell.
 */
static int64
count_present(const KsTarget *target, int64 updated)
{
	int64		n = updated;
	bool		isnull;

	if (!target->rows_may_vanish)
		return updated;
	if (SPI_execute(psprintf("SELECT pg_catalog.count(*) FROM batch excluded WHERE EXISTS (SELECT FROM %s WHERE %s)",
							 target->qualified_name, target->same_key.data), false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read %s", target->qualified_name);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return n;
}

static int64
execute(KsApply *ap, const KsRoute *r, const KsRows *rows, const int *idx, int n, KsRowOp op, bool quiet)
{
	KsTarget   *target = r->target;
	SPIPlanPtr *plan = op == KS_ROW_DELETE ? target->delete_plans :
		op == KS_ROW_PATCH ? target->patch_plans : target->insert_plans;
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	int64		done;
	int			rc;

	for (int i = 0; i < n; i++)
	{
		Size		row = (Size) idx[i] * target->nvalues;

		tuplestore_putvalues(store, target->rowdesc, rows->values + row, rows->isnull + row);
	}
	ks_apply_register_rows(ap, r);
	r->enr->reldata = store;
	plan += ks_batch_size(r, n);
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
	rc = SPI_execute_snapshot(*plan, NULL, NULL, InvalidSnapshot, InvalidSnapshot, false, !quiet, 0);
	if (rc == SPI_OK_SELECT)
		SPI_freetuptable(SPI_tuptable);	/* records were counted */
	else if (rc != SPI_OK_INSERT && rc != SPI_OK_UPDATE && rc != SPI_OK_DELETE)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
	done = (int64) SPI_processed;
	if (op == KS_ROW_PATCH && done < n && count_present(target, done) < n)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("record lacks the value of a column, and there is no row that has it"),
				 errdetail("Debezium does not know TOASTed values that an update left unchanged."),
				 errhint("Begin with a snapshot, or set REPLICA IDENTITY FULL for the source table.")));
	ks_target_check_name(target);
	r->enr->reldata = NULL;
	tuplestore_end(store);
	return done;
}

void
ks_apply_check_truncation(const KsApply *ap, const KsRoute *r, const KsRecord *rec)
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
	if (r->target->filter && ks_filter_reads_type(r->target->filter) && !ks_filter_is_by_type(r->target->filter))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record says that the source table was truncated, and perhaps another one than the sink's"),
				 errdetail("The filter reads @schema, but more besides than can be asked without a row."),
				 errhint("Filter by @schema alone, or set on_tombstone => 'ignore' without delete_enabled, or let Debezium leave truncations out.")));
	if (ap->keep_rejects)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("record says that the source table was truncated, which is not done later"),
				 errdetail("It would delete rows that were written behind it."),
				 errhint("Discard the dead letter.")));
}

void
ks_apply_truncation(KsApply *ap, const KsRoute *r, int i, KsCounts *counts)
{
	KsCounts   *c = &counts[ap->recs[i].pidx];

	CHECK_FOR_INTERRUPTS();
	/* readers keep what their snapshots see, which TRUNCATE would take away */
	if (SPI_execute(r->target->empty_sql, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not delete from %s", r->target->qualified_name);
	ks_target_check_name(r->target);
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

/* The AFTER triggers of what has been written without them since AfterTriggerBeginQuery(). */
static void
fire_triggers(void)
{
	EState	   *estate = CreateExecutorState();

	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	AfterTriggerEndQuery(estate);
	PopActiveSnapshot();
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}

/*
 * Rows idx[0..n) of one operation, in one statement per partition, to know whose rows were
 * left out.  Where they may refer to each other, triggers come when all of them are written,
 * as behind one statement.
 */
static void
write_by_partition(KsApply *ap, const KsRoute *r, const KsRows *rows, int *idx, int n, KsRowOp op,
				   KsCounts *counts)
{
	bool		together;

	qsort_arg(idx, n, sizeof(int), compare_partition, unconstify(KsRecord *, ap->recs));
	together = r->refers_to_itself && !ap->quiet && ap->recs[idx[0]].pidx != ap->recs[idx[n - 1]].pidx;
	if (together)
		AfterTriggerBeginQuery();
	for (int i = 0, j; i < n; i = j)
	{
		KsCounts   *c = &counts[ap->recs[idx[i]].pidx];
		int64		changed;

		for (j = i + 1; j < n && ap->recs[idx[j]].pidx == ap->recs[idx[i]].pidx; j++)
			;
		changed = execute(ap, r, rows, idx + i, j - i, op, ap->quiet || together);
		*(op == KS_ROW_DELETE ? &c->deleted : &c->applied) += changed;
		c->unmatched += j - i - changed;
	}
	if (together)
		fire_triggers();
}

/* Rows idx[0..n) of one operation, counted by partition. */
static void
write_rows(KsApply *ap, const KsRoute *r, const KsRows *rows, int *idx, int n, KsRowOp op,
		   KsCounts *counts)
{
	bool		delete = op == KS_ROW_DELETE;
	int64		changed;

	if (n == 0)
		return;
	if (ap->nparts > 1 && (op != KS_ROW_WRITE || r->target->rows_may_vanish))
	{
		write_by_partition(ap, r, rows, idx, n, op, counts);
		return;
	}

	changed = execute(ap, r, rows, idx, n, op, ap->quiet);
	if (changed != n && ap->nparts > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("target \"%s\" took " INT64_FORMAT " of %d rows", r->target->qualified_name,
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

/* --- the writer --- */

/* The rows of one operation among idx. */
static void
write_op(KsApply *ap, const KsRoute *r, const int *idx, int n, KsRowOp op, KsCounts *counts)
{
	int		   *part = ap->idx + ap->nrecs;

	write_rows(ap, r, &r->rows, part, ks_order_select(ap, idx, n, op, part), op, counts);
}

/*
 * Where each record of a key counts: the first of each, then the second, and so
 * on; within a round keys are distinct, and in order.
 */
static void
write_rounds(KsApply *ap, const KsRoute *r, const int *idx, int n, KsCounts *counts)
{
	const KsSortKey *key = &r->target->sortkey;
	KsSortItem *items = ks_sort_rows(key, &r->rows, idx, n);
	int		   *round = palloc_extended((n + 1) * sizeof(int), MCXT_ALLOC_HUGE);
	int		   *end = palloc0((n + 1) * sizeof(int));
	int		   *sorted = palloc_extended((n + 1) * sizeof(int), MCXT_ALLOC_HUGE);
	int			nrounds = 0;

	for (int i = 0; i < n; i++)
	{
		round[i] = i > 0 && ks_sort_compare(key, &r->rows, &items[i - 1], &items[i]) == 0 ?
			round[i - 1] + 1 : 0;
		end[round[i]]++;
		nrounds = Max(nrounds, round[i] + 1);
	}
	for (int i = 1; i < nrounds; i++)
		end[i] += end[i - 1];
	for (int i = n - 1; i >= 0; i--)
		sorted[--end[round[i]]] = items[i].row;
	/* end[] is where each begins by now */
	end[nrounds] = n;
	for (int i = 0; i < nrounds; i++)
	{
		int		   *first = sorted + end[i];
		int			m = end[i + 1] - end[i];

		CHECK_FOR_INTERRUPTS();
		write_op(ap, r, first, m, KS_ROW_DELETE, counts);
		write_op(ap, r, first, m, KS_ROW_WRITE, counts);
		write_op(ap, r, first, m, KS_ROW_PATCH, counts);
	}
}

/* Inserts and deletes in the order of the log, run by run. */
static void
write_in_order(KsApply *ap, const KsRoute *r, KsRun *run, KsCounts *counts)
{
	for (int i = 0, j; i < run->n; i = j)
	{
		KsRowOp		op = ap->ops[run->idx[i]];

		for (j = i + 1; j < run->n && ap->ops[run->idx[j]] == op; j++)
			;
		write_rows(ap, r, &r->rows, run->idx + i, j - i, op, counts);
	}
}

/* The last record of each key: deletes first, they make room. */
static void
write_last(KsApply *ap, const KsRoute *r, KsRun *run, KsCounts *counts)
{
	(void) ks_order_last(ap, r, run, counts);
	if (!run->deletes)
		write_rows(ap, r, &r->rows, run->idx, run->n, KS_ROW_WRITE, counts);
	else
	{
		write_op(ap, r, run->idx, run->n, KS_ROW_DELETE, counts);
		write_op(ap, r, run->idx, run->n, KS_ROW_WRITE, counts);
	}
}

static KsWritten
sql_write(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	bool		last = ks_sink_last_counts(r->sink) && !run->patches;

	if (run->patches && r->sink->update_if == NULL)
		ks_order_complete(ap, r, run, counts);
	if (last)
		write_last(ap, r, run, counts);
	else if (r->sink->insert_mode == KS_UPDATE || r->sink->update_if || run->patches)
		write_rounds(ap, r, run->idx, run->n, counts);
	else
		write_in_order(ap, r, run, counts);
	return KS_WRITTEN;
}

static KsWritten
sql_store(KsApply *ap, KsRoute *r, const KsRows *rows, KsSortItem *items, int n, KsRowOp op,
		  KsCounts *counts)
{
	int		   *idx = palloc_extended((n + 1) * sizeof(int), MCXT_ALLOC_HUGE);

	for (int i = 0; i < n; i++)
		idx[i] = items[i].row;
	write_rows(ap, r, rows, idx, n, op, counts);
	pfree(idx);
	return KS_WRITTEN;
}

const KsWriter ks_sql_writer = {
	.name = "SQL",
	.write = sql_write,
	.store = sql_store
};
