/*
 * funcs_dead_letters.c
 *	  retry_dead_letters() and discard_dead_letters().
 *
 * The caller's condition runs as the caller, in the caller's session, over the
 * rows that row security lets him see; all it can do is to name rows.  What is
 * done to them is restricted to the sink, and runs as the tables' owner.
 *
 * A retry is one transaction, the caller's, and goes in batches, so that its
 * memory is bounded as a worker's is.  The records keep the order in which
 * they were written.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "catalog/extension.h"
#include "catalog/owner.h"
#include "catalog/schemas.h"
#include "catalog/sinks.h"
#include "sql/arguments.h"
#include "sql/funcs_schema.h"
#include "write/apply.h"
#include "write/dead_letters.h"
#include "write/partitions.h"

PG_FUNCTION_INFO_V1(kafka_sink_retry_dead_letters);
PG_FUNCTION_INFO_V1(kafka_sink_discard_dead_letters);

#define SELECT_ROWS		8192	/* of a condition, at a time */

/* The rows that a condition selects, in order. */
typedef struct Selection
{
	Datum	   *ids;			/* int8 */
	int64	   *bytes;			/* of key, value and headers, these as they are stored */
	int			n;
} Selection;

/* Rows that were fetched; 16 bytes each stay. */
static void
take_selected(Selection *sel)
{
	int			n = (int) SPI_processed;

	if (sel->n > PG_INT32_MAX - n)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many dead letters at once"),
				 errhint("Select fewer of them with \"where\".")));
	sel->ids = repalloc_huge(sel->ids, ((Size) sel->n + n) * sizeof(Datum));
	sel->bytes = repalloc_huge(sel->bytes, ((Size) sel->n + n) * sizeof(int64));
	for (int i = 0; i < n; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		bool		isnull;

		sel->ids[sel->n + i] = SPI_getbinval(tup, SPI_tuptable->tupdesc, 1, &isnull);
		sel->bytes[sel->n + i] = DatumGetInt64(SPI_getbinval(tup, SPI_tuptable->tupdesc, 2, &isnull));
		/* a condition that is no condition, but more of a query */
		if (isnull)
			sel->bytes[sel->n + i] = 0;
	}
	sel->n += n;
}

/* As the caller; NULL: all of the sink.  In the current context. */
static void
select_rows(const char *sink, const char *where, Selection *sel)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(sink)};
	StringInfoData sql;
	SPIPlanPtr	plan;
	Portal		portal;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT dead_letters.id, "
					 "COALESCE(pg_catalog.octet_length(dead_letters.key), 0)::pg_catalog.int8 OPERATOR(pg_catalog.+) "
					 "COALESCE(pg_catalog.octet_length(dead_letters.value), 0) OPERATOR(pg_catalog.+) "
					 "COALESCE(pg_catalog.pg_column_size(dead_letters.headers), 0) "
					 "FROM kafka_sink.dead_letters WHERE dead_letters.sink OPERATOR(pg_catalog.=) $1 AND (%s\n) "
					 "ORDER BY dead_letters.id", where ? where : "true");
	ks_extension_check();
	SPI_connect();
	plan = SPI_prepare(sql.data, lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	/* one statement that returns rows: no other hides in the condition */
	if (!SPI_is_cursor_plan(plan))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"where\" must be one condition"),
				 errhint("Write what stands behind WHERE, such as sqlstate = '23503' AND failed_at > now() - interval '1 day'.")));
	sel->n = 0;
	sel->ids = MemoryContextAlloc(cxt, sizeof(Datum));
	sel->bytes = MemoryContextAlloc(cxt, sizeof(int64));
	portal = SPI_cursor_open(NULL, plan, args, NULL, false);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, SELECT_ROWS);
		if (SPI_processed == 0)
			break;
		take_selected(sel);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

static Datum
id_array(Datum *ids, int n)
{
	return PointerGetDatum(construct_array(ids, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* Runs a statement over $1 (sink) and $2 (ids) as the tables' owner. */
static void
execute_on_rows(const char *sql, const char *sink, Datum *ids, int n, int expected)
{
	Oid			types[] = {TEXTOID, INT8ARRAYOID};
	Datum		args[] = {CStringGetTextDatum(sink), id_array(ids, n)};
	KsCatalogUser save;

	ks_catalog_enter(&save);
	if (SPI_execute_with_args(sql, lengthof(types), types, args, NULL, false, 0) != expected)
		elog(ERROR, "could not access kafka_sink.dead_letters");
	ks_catalog_leave(&save);
}

#define THESE_ROWS "d.sink OPERATOR(pg_catalog.=) $1 AND d.id OPERATOR(pg_catalog.=) ANY ($2)"

static int64
delete_rows(const char *sink, Datum *ids, int n)
{
	int64		deleted;

	if (n == 0)
		return 0;
	SPI_connect();
	execute_on_rows("DELETE FROM kafka_sink.dead_letters d WHERE " THESE_ROWS, sink, ids, n, SPI_OK_DELETE);
	deleted = (int64) SPI_processed;
	SPI_finish();
	return deleted;
}

/* The rows, locked, as records; those that are gone meanwhile are left out. */
static int
load_records(const char *sink, Datum *ids, int n, KsRecord *recs, Datum *loaded,
			 KsPartitionSet *set, MemoryContext cxt)
{
	int			last = -1;

	SPI_connect();
	execute_on_rows("SELECT d.id, d.topic, d.part, d.off, d.ts, d.key, d.value, d.headers "
					"FROM kafka_sink.dead_letters d WHERE " THESE_ROWS " ORDER BY d.id FOR UPDATE",
					sink, ids, n, SPI_OK_SELECT);
	n = (int) SPI_processed;
	for (int i = 0; i < n; i++)
	{
		enum
		{
			ID, TOPIC, PART, OFF, TS, KEY, VALUE, HEADERS, NCOLS
		};
		Datum		values[NCOLS];
		bool		isnull[NCOLS];
		KsRecord   *rec = &recs[i];
		MemoryContext old;

		/* values stay in the tuple */
		old = MemoryContextSwitchTo(cxt);
		heap_deform_tuple(heap_copytuple(SPI_tuptable->vals[i]), SPI_tuptable->tupdesc, values, isnull);
		memset(rec, 0, sizeof(KsRecord));
		loaded[i] = values[ID];
		last = rec->pidx = ks_partition_set_add(set,
												isnull[TOPIC] ? "" : TextDatumGetCString(values[TOPIC]),
												isnull[PART] ? -1 : DatumGetInt32(values[PART]), last);
		rec->off = isnull[OFF] ? -1 : DatumGetInt64(values[OFF]);
		rec->ts_ms = -1;
		if (!isnull[TS])
			rec->ts_ms = ks_timestamp_to_ms(DatumGetTimestampTz(values[TS]));
		ks_record_bytes(values[KEY], isnull[KEY], &rec->key, &rec->keylen);
		ks_record_bytes(values[VALUE], isnull[VALUE], &rec->value, &rec->valuelen);
		if (!isnull[HEADERS])
			ks_record_headers(values[HEADERS], rec);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return n;
}

/* What failed again says why it did, this time. */
static void
update_rows(const char *sink, const KsRejects *rejects, const Datum *ids)
{
	Oid			types[] = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID};
	KsCatalogUser save;
	SPIPlanPtr	plan;

	if (rejects->n == 0)
		return;
	SPI_connect();
	ks_catalog_enter(&save);
	plan = SPI_prepare("UPDATE kafka_sink.dead_letters d SET sqlstate = $3, message = $4, column_name = $5, "
					   "failed_at = pg_catalog.clock_timestamp() "
					   "WHERE d.sink OPERATOR(pg_catalog.=) $1 AND d.id OPERATOR(pg_catalog.=) $2",
					   lengthof(types), types);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	for (int i = 0; i < rejects->n; i++)
	{
		const KsReject *item = &rejects->items[i];
		Datum		args[lengthof(types)];
		char		nulls[] = "     ";

		args[0] = CStringGetTextDatum(sink);
		args[1] = ids[item->index];
		args[2] = CStringGetTextDatum(unpack_sql_state(item->edata->sqlerrcode));
		args[3] = CStringGetTextDatum(item->edata->message);
		args[4] = item->column ? CStringGetTextDatum(item->column) : (Datum) 0;
		nulls[4] = item->column ? ' ' : 'n';
		if (SPI_execute_plan(plan, args, nulls, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not write to kafka_sink.dead_letters");
	}
	ks_catalog_leave(&save);
	SPI_finish();
}

/* What is not a record's fault, and where it was met. */
KS_NORETURN static void throw_error(const char *sink, const KsRecordError *err, int64 id);

static void
throw_error(const char *sink, const KsRecordError *err, int64 id)
{
	ErrorData  *edata = err->edata;

	edata->context = psprintf("%s%ssink \"%s\", dead letter " INT64_FORMAT,
							  edata->context ? edata->context : "", edata->context ? "\n" : "", sink, id);
	ks_error_rethrow(edata);
}

/* Applies one batch of rows, and adds up what became of them. */
static void
retry_batch(KsApply *ap, Datum *ids, int n, KsCounts *sum, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	const char *sink = ap->sink->name;
	KsRecord   *recs = palloc_extended((Size) n * sizeof(KsRecord), MCXT_ALLOC_HUGE);
	KsPartitionSet set;
	Datum	   *loaded = palloc_extended((Size) n * sizeof(Datum), MCXT_ALLOC_HUGE);
	KsRecordError err;
	int		   *order;
	int			done = 0;
	KsOwnerUser user;

	ks_partition_set_init(&set, n);
	n = load_records(sink, ids, n, recs, loaded, &set, cxt);
	ks_owner_enter(ap->sink, &user);
	ks_apply_prepare(ap);
	order = ks_apply_order(ap, recs, n, set.parts, set.n);
	if (order)
	{
		Datum	   *ids_before = palloc_extended((Size) n * sizeof(Datum), MCXT_ALLOC_HUGE);

		memcpy(ids_before, loaded, (Size) n * sizeof(Datum));
		for (int i = 0; i < n; i++)
			loaded[i] = ids_before[order[i]];
	}
	if (n > 0 && ks_schemas_apply(ap, recs, n, set.parts, set.n, &err) != n)
		throw_error(sink, &err, DatumGetInt64(loaded[err.index]));
	ks_apply_finish(ap);
	ks_owner_leave(&user);
	for (int i = 0; i < set.n; i++)
		ks_counts_add(sum, &set.parts[i].counts);
	sum->consumed += n;

	update_rows(sink, &ap->rejects, loaded);
	for (int i = 0, r = 0; i < n; i++)
	{
		if (r < ap->rejects.n && ap->rejects.items[r].index == i)
			r++;
		else
			loaded[done++] = loaded[i];
	}
	(void) delete_rows(sink, loaded, done);
	MemoryContextSwitchTo(old);
}

Datum
kafka_sink_retry_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *where = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	KsSink	   *sink = ks_catalog_sink(name, false);
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink retry",
											  ALLOCSET_DEFAULT_SIZES);
	KsApply    *ap;
	KsOwnerUser user;
	int			max;
	Selection	sel;
	KsCounts	sum = {0};
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {0};

	ks_catalog_check_owner(sink, true);
	ks_catalog_check_writes(sink);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	select_rows(name, where, &sel);

	/* whoever tries again may have registered a schema */
	ks_schemas_forget_absent();
	/* whatever the sink does with others: those that fail again stay */
	sink->on_error = KS_ON_ERROR_DEAD_LETTER;
	sink->reject_limit.max = -1;
	ap = ks_apply_create(sink, false, cxt, cxt);
	ap->keep_rejects = true;
	ks_owner_enter(sink, &user);
	ks_apply_prepare(ap);
	ks_apply_finish(ap);
	ks_owner_leave(&user);
	max = Min(sink->batch_records, ks_apply_max_records(ap));
	for (int i = 0, j; i < sel.n; i = j)
	{
		MemoryContext batch_cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink retry batch",
														ALLOCSET_DEFAULT_SIZES);
		int64		bytes = 0;

		CHECK_FOR_INTERRUPTS();
		for (j = i; j < sel.n && j - i < max && (j == i || bytes < sink->batch_bytes); j++)
			bytes += sel.bytes[j];
		ap->batch_cxt = batch_cxt;
		retry_batch(ap, sel.ids + i, j - i, &sum, batch_cxt);
		MemoryContextDelete(batch_cxt);
	}
	ks_apply_free(ap);

	for (int j = 0; j < (int) lengthof(values); j++)
		values[j] = Int64GetDatum(((int64 *) &sum)[j]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

Datum
kafka_sink_discard_dead_letters(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *where = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	Selection	sel;

	ks_catalog_check_owner(ks_catalog_sink(name, false), false);
	select_rows(name, where, &sel);
	PG_RETURN_INT64(delete_rows(name, sel.ids, sel.n));
}
