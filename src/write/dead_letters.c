/*
 * dead_letters.c
 *	  Records that could not be applied, as rows of kafka_sink.dead_letters.
 *
 * They are written in the transaction that moves the offset behind them, so
 * they are there exactly once.  A batch may be all bad, so they go in as COPY's
 * rows do, by hundreds.  The foreign key is the same for all of them and is
 * checked once.  If somebody has given the table triggers, rules or generated
 * columns, a statement writes them, over a tuplestore.
 *
 * Writing must not fail because of what is in a record: bytes stay bytes, and
 * what has to be text is made text.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "tcop/utility.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "base/interval.h"
#include "catalog/extension.h"
#include "write/dead_letters.h"

/* So many rows go in at once, unless they are large. */
#define ROWS_PER_INSERT		256
#define BYTES_PER_INSERT	65536

/* The columns of the relation "rejected", in their order. */
#define COLUMNS "topic, part, off, ts, key, value, headers, sqlstate, message, column_name"
enum
{
	COL_TOPIC, COL_PART, COL_OFF, COL_TS, COL_KEY, COL_VALUE, COL_HEADERS,
	COL_SQLSTATE, COL_MESSAGE, COL_COLUMN, NCOLS
};

static const char *const insert_sql =
"INSERT INTO kafka_sink.dead_letters (sink, " COLUMNS ") "
"SELECT $1, " COLUMNS " FROM rejected";

static const char *const names[] = {"topic", "part", "off", "ts", "key", "value", "headers",
"sqlstate", "message", "column_name"};

/* The letters of one batch. */
typedef struct Letters
{
	const KsSink *sink;
	const KsRecord *recs;
	const KsPartition *parts;
	const KsReject *items;
	int			n;
	Oid			headers;		/* the type of the column */
	Oid			header;			/* and of its elements */
	TupleDesc	header_desc;
} Letters;

static Datum
bytes_datum(const char *p, int len, bool *isnull)
{
	*isnull = len < 0;
	return *isnull ? (Datum) 0 : PointerGetDatum(cstring_to_text_with_len(p, len));
}

/* A header's name can be any bytes: those that are no text become \xHH. */
static Datum
name_datum(const char *name)
{
	int			encoding = GetDatabaseEncoding();
	int			len = strlen(name);
	bool		utf8 = encoding == PG_UTF8 && pg_verify_mbstr(PG_UTF8, name, len, true);
	StringInfoData buf;

	if (utf8 || encoding == PG_SQL_ASCII)
		return CStringGetTextDatum(name);
	initStringInfo(&buf);
	for (; *name; name++)
	{
		if (IS_HIGHBIT_SET(*name))
			appendStringInfo(&buf, "\\x%02x", (unsigned char) *name);
		else
			appendStringInfoChar(&buf, *name);
	}
	return CStringGetTextDatum(buf.data);
}

static Datum
headers_datum(const KsRecord *rec, Oid type, TupleDesc desc)
{
	Datum	   *elems = palloc(rec->nheaders * sizeof(Datum));

	for (int i = 0; i < rec->nheaders; i++)
	{
		const KsHeader *h = &rec->headers[i];
		Datum		values[2];
		bool		isnull[2] = {false, false};

		values[0] = name_datum(h->name);
		values[1] = bytes_datum(h->value, h->value ? h->valuelen : -1, &isnull[1]);
		elems[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, isnull));
	}
	return PointerGetDatum(construct_array(elems, rec->nheaders, type, -1, false, TYPALIGN_DOUBLE));
}

/* The record's timestamp; false if it has none, or none that there is. */
static bool
timestamp_of(const KsRecord *rec, TimestampTz *ts)
{
	if (rec->ts_ms < 0 || rec->ts_ms >= END_TIMESTAMP / 1000 + KS_EPOCH_MS)
		return false;
	*ts = (rec->ts_ms - KS_EPOCH_MS) * 1000;
	return true;
}

/* What a letter holds, in the current context. */
static void
fill_row(const Letters *l, int i, Datum *values, bool *isnull)
{
	const KsReject *item = &l->items[i];
	const KsRecord *rec = &l->recs[item->index];
	const KsPartition *p = &l->parts[rec->pidx];
	TimestampTz ts = 0;

	memset(isnull, false, NCOLS);
	values[COL_TOPIC] = CStringGetTextDatum(p->topic);
	isnull[COL_TOPIC] = *p->topic == '\0';
	values[COL_PART] = Int32GetDatum(p->part);
	isnull[COL_PART] = p->part < 0;
	values[COL_OFF] = Int64GetDatum(rec->off);
	isnull[COL_OFF] = rec->off < 0;
	isnull[COL_TS] = !timestamp_of(rec, &ts);
	values[COL_TS] = TimestampTzGetDatum(ts);
	values[COL_KEY] = bytes_datum(rec->key, rec->keylen, &isnull[COL_KEY]);
	values[COL_VALUE] = bytes_datum(rec->value, rec->valuelen, &isnull[COL_VALUE]);
	isnull[COL_HEADERS] = rec->nheaders == 0;
	values[COL_HEADERS] = rec->nheaders == 0 ? (Datum) 0 : headers_datum(rec, l->header, l->header_desc);
	values[COL_SQLSTATE] = CStringGetTextDatum(unpack_sql_state(item->edata->sqlerrcode));
	values[COL_MESSAGE] = CStringGetTextDatum(item->edata->message);
	isnull[COL_COLUMN] = item->column == NULL;
	values[COL_COLUMN] = item->column ? CStringGetTextDatum(item->column) : (Datum) 0;
}

/* --- as COPY does --- */

/* Does nothing but our own foreign key act on what is inserted? */
static bool
is_plain(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	int			nkeys = 0;

	for (int i = 0; triggers && i < triggers->numtriggers; i++)
		if (TRIGGER_FOR_INSERT(triggers->triggers[i].tgtype) &&
			(RI_FKey_trigger_type(triggers->triggers[i].tgfoid) == RI_TRIGGER_NONE || nkeys++ > 0))
			return false;
	for (int a = 0; a < RelationGetNumberOfAttributes(rel); a++)
		if (TupleDescAttr(RelationGetDescr(rel), a)->attgenerated != '\0')
			return false;
	return rel->rd_rules == NULL && rel->rd_rel->relkind == RELKIND_RELATION;
}

/* What the foreign key would do for each row. */
static void
lock_sink(const KsSink *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(sink->name)};

	if (SPI_execute_with_args("SELECT FROM ONLY kafka_sink.sink_catalog c "
							  "WHERE c.sink OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF c",
							  lengthof(types), types, args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("sink \"%s\" does not exist", sink->name),
				 errdetail("It was dropped while it wrote dead letters.")));
}

/* Where a letter's values go in the table, and defaults of the other columns. */
typedef struct Layout
{
	int			cols[NCOLS];
	int			sink;
	ExprState **defaults;		/* by attribute, NULL: none */
} Layout;

static int
find_column(Relation rel, const char *name, bool *ours)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("kafka_sink.dead_letters has no column \"%s\"", name)));
	ours[attnum - 1] = true;
	return attnum - 1;
}

static void
find_layout(Layout *layout, Relation rel, EState *estate)
{
	TupleDesc	desc = RelationGetDescr(rel);
	bool	   *ours = palloc0(desc->natts * sizeof(bool));

	layout->sink = find_column(rel, "sink", ours);
	for (int c = 0; c < NCOLS; c++)
		layout->cols[c] = find_column(rel, names[c], ours);
	layout->defaults = palloc0(desc->natts * sizeof(ExprState *));
	for (int a = 0; a < desc->natts; a++)
	{
		Expr	   *expr = NULL;

		if (!ours[a] && !TupleDescAttr(desc, a)->attisdropped)
			expr = (Expr *) build_column_default(rel, a + 1);
		if (expr)
			layout->defaults[a] = ExecPrepareExpr(expr, estate);
	}
}

static void
write_rows(const Letters *l, Relation rel)
{
	EState	   *estate = CreateExecutorState();
	ExprContext *econtext = GetPerTupleExprContext(estate);
	ResultRelInfo *rri = makeNode(ResultRelInfo);
	CommandId	cid = GetCurrentCommandId(true);
	BulkInsertState bistate = GetBulkInsertState();
	int			natts = RelationGetNumberOfAttributes(rel);
	TupleTableSlot *slots[ROWS_PER_INSERT];
	int			nslots = Min(l->n, ROWS_PER_INSERT);
	Datum		name = CStringGetTextDatum(l->sink->name);
	Layout		layout;

	ks_init_range_table(estate, rel, NULL, NULL);
	InitResultRelInfo(rri, rel, 1, NULL, 0);
	ExecOpenIndices(rri, false);
	estate->es_output_cid = cid;
	find_layout(&layout, rel, estate);
	for (int i = 0; i < nslots; i++)
		slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));
	for (int done = 0, n; done < l->n; done += n)
	{
		MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
		Size		bytes = 0;

		CHECK_FOR_INTERRUPTS();
		for (n = 0; n < nslots && done + n < l->n && bytes < BYTES_PER_INSERT; n++)
		{
			TupleTableSlot *slot = slots[n];
			Datum		values[NCOLS];
			bool		isnull[NCOLS];

			ExecClearTuple(slot);
			memset(slot->tts_isnull, true, natts);
			fill_row(l, done + n, values, isnull);
			for (int c = 0; c < NCOLS; c++)
			{
				slot->tts_values[layout.cols[c]] = values[c];
				slot->tts_isnull[layout.cols[c]] = isnull[c];
			}
			slot->tts_values[layout.sink] = name;
			slot->tts_isnull[layout.sink] = false;
			for (int a = 0; a < natts; a++)
				if (layout.defaults[a])
					slot->tts_values[a] = ExecEvalExpr(layout.defaults[a], econtext, &slot->tts_isnull[a]);
			ExecStoreVirtualTuple(slot);
			slot->tts_tableOid = RelationGetRelid(rel);
			ExecConstraints(rri, slot, estate);
			for (int c = COL_KEY; c <= COL_HEADERS; c++)
				bytes += isnull[c] ? 0 : VARSIZE_ANY(values[c]);
		}
		table_multi_insert(rel, slots, n, cid, 0, bistate);
		MemoryContextSwitchTo(old);
		for (int i = 0; i < n; i++)
			list_free(ks_exec_insert_index_tuples(rri, slots[i], estate));
		ResetPerTupleExprContext(estate);
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	FreeBulkInsertState(bistate);
	table_finish_bulk_insert(rel, 0);
	ExecCloseIndices(rri);
	ExecResetTupleTable(estate->es_tupleTable, false);
	FreeExecutorState(estate);
	CommandCounterIncrement();
}

/* --- by a statement --- */

static TupleDesc
describe_rows(Oid headers)
{
	const Oid	types[] = {TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID, headers,
	TEXTOID, TEXTOID, TEXTOID};
	TupleDesc	desc = CreateTemplateTupleDesc(NCOLS);

	StaticAssertStmt(lengthof(names) == NCOLS && lengthof(types) == NCOLS, "columns must agree");
	for (int i = 0; i < NCOLS; i++)
		TupleDescInitEntry(desc, i + 1, names[i], types[i], -1, types[i] == headers);
	return desc;
}

static void
execute_insert(const Letters *l)
{
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(l->sink->name)};
	TupleDesc	desc = describe_rows(l->headers);
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	MemoryContext row_cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink dead letter",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(row_cxt);

	for (int i = 0; i < l->n; i++)
	{
		Datum		values[NCOLS];
		bool		isnull[NCOLS];

		fill_row(l, i, values, isnull);
		tuplestore_putvalues(store, desc, values, isnull);
		MemoryContextReset(row_cxt);
	}
	MemoryContextSwitchTo(old);

	enr->md.name = "rejected";
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = l->n;
	enr->reldata = store;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"rejected\"");
	if (SPI_execute_with_args(insert_sql, lengthof(types), types, args, NULL, false, 0) != SPI_OK_INSERT ||
		SPI_processed != (uint64) l->n)
		elog(ERROR, "could not write to kafka_sink.dead_letters");
	tuplestore_end(store);
}

void
ks_dead_letters_write(const KsSink *sink, const KsRecord *recs, const KsPartition *parts,
					  const KsReject *items, int n)
{
	Letters		l = {.sink = sink, .recs = recs, .parts = parts, .items = items, .n = n};
	Relation	rel;
	KsCatalogUser save;

	PreventCommandIfReadOnly("INSERT");
	SPI_connect();
	rel = table_open(ks_extension_relation(KS_DEAD_LETTERS), RowExclusiveLock);
	l.headers = get_atttype(RelationGetRelid(rel), get_attnum(RelationGetRelid(rel), "headers"));
	l.header = get_element_type(l.headers);
	l.header_desc = lookup_rowtype_tupdesc_copy(l.header, -1);
	ks_catalog_enter(&save);
	if (is_plain(rel))
	{
		lock_sink(sink);
		write_rows(&l, rel);
	}
	else
		execute_insert(&l);
	ks_catalog_leave(&save);
	table_close(rel, NoLock);
	SPI_finish();
}

void
ks_dead_letters_expire(const KsSink *sink)
{
	Oid			types[] = {TEXTOID, INTERVALOID};
	Datum		args[] = {CStringGetTextDatum(sink->name), IntervalPGetDatum(sink->dead_letter_retention)};
	KsCatalogUser save;

	/* stored before there was a limit: no dead letter is that old */
	if (ks_interval_us(sink->dead_letter_retention) > KS_INTERVAL_MAX_US)
		return;
	SPI_connect();
	ks_catalog_enter(&save);
	/* not those that somebody retries at this moment */
	SPI_execute_with_args("DELETE FROM kafka_sink.dead_letters d WHERE d.id OPERATOR(pg_catalog.=) ANY "
						  "(SELECT e.id FROM kafka_sink.dead_letters e WHERE e.sink OPERATOR(pg_catalog.=) $1 "
						  "AND e.failed_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-) $2) "
						  "FOR UPDATE SKIP LOCKED)",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}
