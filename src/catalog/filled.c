/*
 * filled.c
 *	  Which columns of a target, and attributes of their types, records have filled from
 *	  the fields of their names.
 *
 * Processes come and go, and a column may be renamed while none is there.  So what a
 * process has seen of it is written with the batch in which it saw it.  Several may do so
 * at a time, and none waits for another: the same column can be there more than once.
 *
 * A table is meant by its OID, a column by its number.  Both are others after a dump was
 * restored, so none of this is dumped; pg_upgrade takes the table along, and keeps both.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "catalog/filled.h"
#include "catalog/sinks.h"

/* $1: the sink, $2: the topic, or nothing */
#define OF_ROUTE \
	"f.sink OPERATOR(pg_catalog.=) $1 AND COALESCE(f.topic, '') OPERATOR(pg_catalog.=) $2"

List *
ks_filled_read(const char *sink, const char *topic, List *relids)
{
	MemoryContext cxt = CurrentMemoryContext;
	int			n = list_length(relids);
	Datum	   *oids = palloc(n * sizeof(Datum));
	Oid			types[] = {TEXTOID, TEXTOID, OIDARRAYOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic ? topic : ""), (Datum) 0};
	List	   *columns = NIL;

	for (int i = 0; i < n; i++)
		oids[i] = ObjectIdGetDatum(list_nth_oid(relids, i));
	values[2] = PointerGetDatum(construct_array(oids, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	SPI_connect();
	ks_catalog_execute("SELECT DISTINCT f.relid, f.attnum, f.name FROM kafka_sink.filled_columns f WHERE " OF_ROUTE
					   " AND f.relid OPERATOR(pg_catalog.=) ANY ($3)",
					   lengthof(types), types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old = MemoryContextSwitchTo(cxt);
		KsFilledColumn *col = palloc(sizeof(KsFilledColumn));
		bool		isnull;

		col->relid = DatumGetObjectId(SPI_getbinval(tup, desc, 1, &isnull));
		col->attnum = DatumGetInt16(SPI_getbinval(tup, desc, 2, &isnull));
		col->name = TextDatumGetCString(SPI_getbinval(tup, desc, 3, &isnull));
		columns = lappend(columns, col);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return columns;
}

void
ks_filled_write(const char *sink, const char *topic, List *columns, bool anew)
{
	int			n = list_length(columns);
	Datum	   *relids = palloc((n + 1) * sizeof(Datum));
	Datum	   *attnums = palloc((n + 1) * sizeof(Datum));
	Datum	   *names = palloc((n + 1) * sizeof(Datum));
	Oid			types[] = {TEXTOID, TEXTOID, OIDARRAYOID, INT2ARRAYOID, TEXTARRAYOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic ? topic : ""),
	(Datum) 0, (Datum) 0, (Datum) 0};

	for (int i = 0; i < n; i++)
	{
		const KsFilledColumn *col = list_nth(columns, i);

		relids[i] = ObjectIdGetDatum(col->relid);
		attnums[i] = Int16GetDatum(col->attnum);
		names[i] = CStringGetTextDatum(col->name);
	}
	values[2] = PointerGetDatum(construct_array(relids, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(attnums, n, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	values[4] = PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
	SPI_connect();
	if (anew)
		ks_catalog_execute("DELETE FROM kafka_sink.filled_columns f WHERE " OF_ROUTE, 2, types, values, NULL);
	ks_catalog_execute("INSERT INTO kafka_sink.filled_columns (sink, topic, relid, attnum, name) "
					   "SELECT c.sink, CASE WHEN $2 OPERATOR(pg_catalog.<>) '' THEN $2 END, n.relid, n.attnum, n.name "
					   "FROM kafka_sink.sink_catalog c CROSS JOIN unnest($3, $4, $5) AS n(relid, attnum, name) "
					   "WHERE c.sink OPERATOR(pg_catalog.=) $1",
					   lengthof(types), types, values, NULL);
	SPI_finish();
}

void
ks_filled_forget(const char *sink, const char *topic)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic ? topic : "")};

	SPI_connect();
	ks_catalog_execute(topic ? "DELETE FROM kafka_sink.filled_columns f WHERE " OF_ROUTE :
					   "DELETE FROM kafka_sink.filled_columns f WHERE f.sink OPERATOR(pg_catalog.=) $1",
					   topic ? 2 : 1, types, values, NULL);
	SPI_finish();
}
