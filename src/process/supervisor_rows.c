/*
 * supervisor_rows.c
 *	  The rows of the catalog that a supervisor reads: definitions of sinks and feeds,
 *	  their topics and states.
 *
 * All of it is read by two statements, of all sinks or of one.  Of a definition only what a
 * supervisor acts upon is read: how long its texts are, and whether they make
 * sense, is its workers' concern, and costs nobody else.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "process/supervisor_int.h"
#include "process/supervisor_rows.h"

/*
 * Tables and roles by a snapshot, not by the system caches: who drops one wakes
 * us before the caches hear of it.
 */
#define SINKS \
	"SELECT c.sink, c.owner::pg_catalog.oid, o.rolname::pg_catalog.text, o.rolcanlogin, o.rolsuper, " \
	"c.target::pg_catalog.oid, n.nspname, r.relname, c.command IS NOT NULL, c.server IS NOT NULL, c.enabled, " \
	"c.system_identifier, c.database_oid, " \
	"c.idle_after OPERATOR(pg_catalog.>) '0'::pg_catalog.interval, c.generation, c.workers, NULL::pg_catalog.int8 " \
	"FROM kafka_sink.sink_catalog c " \
	"LEFT JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) c.target::pg_catalog.oid " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace " \
	"LEFT JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) c.owner::pg_catalog.oid " \
	"WHERE $1 IS NULL OR c.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT f.feed, f.owner::pg_catalog.oid, o.rolname::pg_catalog.text, o.rolcanlogin, o.rolsuper, " \
	"NULL, NULL, NULL, false, true, f.enabled, f.system_identifier, f.database_oid, false, f.generation, 1, f.id " \
	"FROM kafka_sink.feed_catalog f " \
	"LEFT JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) f.owner::pg_catalog.oid " \
	"WHERE $1 IS NULL OR f.feed OPERATOR(pg_catalog.=) $1"

#define PARTS_OF_SINKS \
	"SELECT t.sink, 0, t.topic, t.target::pg_catalog.oid, n.nspname, r.relname, NULL::pg_catalog.int4, NULL, h.topic IS NOT NULL " \
	"FROM kafka_sink.topic_catalog t " \
	"LEFT JOIN kafka_sink.topic_state h ON h.sink OPERATOR(pg_catalog.=) t.sink " \
	"AND h.topic OPERATOR(pg_catalog.=) t.topic " \
	"LEFT JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) t.target::pg_catalog.oid " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace " \
	"WHERE $1 IS NULL OR t.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT s.sink, 1, s.state, NULL, NULL, NULL, s.worker, s.message, NULL " \
	"FROM kafka_sink.sink_state s " \
	"WHERE $1 IS NULL OR s.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT s.feed, 1, s.state, NULL, NULL, NULL, 0, s.message, NULL " \
	"FROM kafka_sink.feed_state s " \
	"WHERE $1 IS NULL OR s.feed OPERATOR(pg_catalog.=) $1 " \
	"ORDER BY 1, 2"

static char *
row_text(int row, int col, MemoryContext cxt)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);

	return text ? MemoryContextStrdup(cxt, text) : NULL;
}

static Datum
row_value(int row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, isnull);
}

static Oid
row_oid(int row, int col)
{
	bool		isnull;
	Datum		d = row_value(row, col, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(d);
}

static bool
row_bool(int row, int col)
{
	bool		isnull;
	Datum		d = row_value(row, col, &isnull);

	return !isnull && DatumGetBool(d);
}

/* The name of a table from its schema's, and its own in the next column; or NULL. */
static char *
row_table(int row, int col, MemoryContext cxt)
{
	char	   *schema = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);
	char	   *table = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col + 1);

	return schema && table ? MemoryContextStrdup(cxt, quote_qualified_identifier(schema, table)) : NULL;
}

static void
fill_sink(KsSinkRow *sink, int row, MemoryContext cxt)
{
	bool		isnull;

	sink->sink = row_text(row, 1, cxt);
	sink->owner = row_oid(row, 2);
	sink->owner_name = row_text(row, 3, cxt);
	sink->may_login = row_bool(row, 4);
	sink->superuser = row_bool(row, 5);
	sink->target = row_oid(row, 6);
	sink->table = row_table(row, 7, cxt);
	sink->has_command = row_bool(row, 9);
	sink->has_server = row_bool(row, 10);
	sink->enabled = row_bool(row, 11);
	sink->suspended = (uint64) DatumGetInt64(row_value(row, 12, &isnull)) != GetSystemIdentifier() ||
		row_oid(row, 13) != MyDatabaseId;
	sink->parks = row_bool(row, 14);
	sink->generation = DatumGetInt64(row_value(row, 15, &isnull));
	sink->workers = Min(DatumGetInt32(row_value(row, 16, &isnull)), KS_MAX_WORKERS);
	sink->feed_id = DatumGetInt64(row_value(row, 17, &isnull));
	sink->feed = !isnull;
}

static void
fill_part(KsPartRow *part, int row, MemoryContext cxt)
{
	bool		isnull;
	Datum		d;

	part->sink = row_text(row, 1, cxt);
	part->kind = DatumGetInt32(row_value(row, 2, &isnull));
	part->name = row_text(row, 3, cxt);
	part->relid = row_oid(row, 4);
	part->table = row_table(row, 5, cxt);
	d = row_value(row, 7, &isnull);
	part->worker = isnull ? -1 : DatumGetInt32(d);
	part->text = row_text(row, 8, cxt);
	part->flag = row_bool(row, 9);
}

/* Runs one of the statements for one sink, or for all; SPI is connected. */
static int
select_rows(const char *sql, const char *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {sink ? CStringGetTextDatum(sink) : (Datum) 0};

	ks_catalog_execute(sql, 1, types, values, sink ? " " : "n");
	return (int) SPI_processed;
}

KsSinkRow *
ks_supervisor_read_sinks(const char *sink, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	KsSinkRow  *sinks;

	SPI_connect();
	*n = select_rows(SINKS, sink);
	sinks = MemoryContextAllocExtended(cxt, Max(*n, 1) * sizeof(KsSinkRow), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < *n; i++)
		fill_sink(&sinks[i], i, cxt);
	SPI_finish();
	return sinks;
}

KsPartRow *
ks_supervisor_read_parts(const char *sink, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	KsPartRow  *parts;

	SPI_connect();
	*n = select_rows(PARTS_OF_SINKS, sink);
	parts = MemoryContextAllocExtended(cxt, Max(*n, 1) * sizeof(KsPartRow), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < *n; i++)
		fill_part(&parts[i], i, cxt);
	SPI_finish();
	return parts;
}
