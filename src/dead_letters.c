/*
 * dead_letters.c
 *	  Records that could not be applied, as rows of kafka_sink.dead_letters.
 *
 * They are written in the transaction that moves the offset behind them, so
 * they are there exactly once.  The rows go through a tuplestore, which spills
 * to disk: a batch whose records are all bad can be large.
 *
 * Writing must not fail because of what is in a record: bytes stay bytes, and
 * what has to be text is made text.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/typcache.h"

#include "dead_letters.h"

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

/* The type of the column headers. */
static Oid
headers_type(void)
{
	Oid			relid = get_relname_relid("dead_letters", get_namespace_oid("kafka_sink", false));

	return get_atttype(relid, get_attnum(relid, "headers"));
}

static TupleDesc
describe_rows(Oid headers)
{
	static const char *const names[] = {"topic", "part", "off", "ts", "key", "value", "headers",
	"sqlstate", "message", "column_name"};
	const Oid	types[] = {TEXTOID, INT4OID, INT8OID, TIMESTAMPTZOID, BYTEAOID, BYTEAOID, headers,
	TEXTOID, TEXTOID, TEXTOID};
	TupleDesc	desc = CreateTemplateTupleDesc(NCOLS);

	StaticAssertStmt(lengthof(names) == NCOLS && lengthof(types) == NCOLS, "columns must agree");
	for (int i = 0; i < NCOLS; i++)
		TupleDescInitEntry(desc, i + 1, names[i], types[i], -1, types[i] == headers);
	return desc;
}

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
	const int64 epoch_ms = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);

	if (rec->ts_ms < 0 || rec->ts_ms >= END_TIMESTAMP / 1000 + epoch_ms)
		return false;
	*ts = (rec->ts_ms - epoch_ms) * 1000;
	return true;
}

void
ks_dead_letters_write(const KsSink *sink, const KsRecord *recs, const KsPartition *parts,
					  const KsReject *items, int n)
{
	Oid			types[] = {TEXTOID};
	Datum		args[1];
	Oid			headers = headers_type();
	Oid			header = get_element_type(headers);
	TupleDesc	header_desc;
	TupleDesc	desc;
	Tuplestorestate *store;
	EphemeralNamedRelation enr;
	MemoryContext row_cxt;
	MemoryContext old;
	KsCatalogUser save;

	SPI_connect();
	args[0] = CStringGetTextDatum(sink->name);
	header_desc = lookup_rowtype_tupdesc_copy(header, -1);
	desc = describe_rows(headers);
	store = tuplestore_begin_heap(false, false, work_mem);
	row_cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink dead letter",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(row_cxt);
	for (int i = 0; i < n; i++)
	{
		const KsRecord *rec = &recs[items[i].index];
		const KsPartition *p = &parts[rec->pidx];
		Datum		values[NCOLS] = {0};
		bool		isnull[NCOLS] = {0};
		TimestampTz ts = 0;

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
		if (rec->nheaders > 0)
			values[COL_HEADERS] = headers_datum(rec, header, header_desc);
		values[COL_SQLSTATE] = CStringGetTextDatum(unpack_sql_state(items[i].edata->sqlerrcode));
		values[COL_MESSAGE] = CStringGetTextDatum(items[i].edata->message);
		isnull[COL_COLUMN] = items[i].column == NULL;
		if (items[i].column)
			values[COL_COLUMN] = CStringGetTextDatum(items[i].column);
		tuplestore_putvalues(store, desc, values, isnull);
		MemoryContextReset(row_cxt);
	}
	MemoryContextSwitchTo(old);

	enr = palloc0(sizeof(EphemeralNamedRelationData));
	enr->md.name = "rejected";
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = n;
	enr->reldata = store;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"rejected\"");
	ks_catalog_enter(&save);
	if (SPI_execute_with_args(insert_sql, lengthof(types), types, args, NULL, false, 0) != SPI_OK_INSERT ||
		SPI_processed != (uint64) n)
		elog(ERROR, "could not write to kafka_sink.dead_letters");
	ks_catalog_leave(&save);
	tuplestore_end(store);
	SPI_finish();
}

void
ks_dead_letters_expire(const KsSink *sink)
{
	Oid			types[] = {TEXTOID, INTERVALOID};
	Datum		args[] = {CStringGetTextDatum(sink->name), IntervalPGetDatum(sink->dead_letter_retention)};
	KsCatalogUser save;

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
