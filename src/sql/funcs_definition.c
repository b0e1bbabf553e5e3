/*
 * funcs_definition.c
 *	  sink_definition(): a sink as SQL, to be run again elsewhere.
 *
 * It has what is not the default, so that it reads as somebody would have written
 * it.  Names have their schema, and times their zone, so that it means the same to
 * whoever runs it.  Offsets, dead letters and the owner are not in it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"

#include "base/session.h"
#include "catalog/settings.h"
#include "catalog/sinks.h"
#include "sql/arguments.h"

PG_FUNCTION_INFO_V1(kafka_sink_sink_definition);

/* A value as an argument is written: numbers and truth values bare. */
static void
append_argument(StringInfo s, const char *name, Oid type, const char *value)
{
	appendStringInfo(s, ",\n    %s => ", quote_identifier(name));
	if (type == INT4OID)
		appendStringInfoString(s, value);
	else if (type == BOOLOID)
		appendStringInfoString(s, strcmp(value, "t") == 0 ? "true" : "false");
	else
		appendStringInfoString(s, quote_literal_cstr(value));
}

/* The columns of settings, each as it is and whether it is the default. */
static void
append_columns(StringInfo s, const KsSetting *(*setting) (int i), int n, const char *alias)
{
	for (int i = 0; i < n; i++)
	{
		const KsSetting *one = setting(i);

		appendStringInfo(s, ", %s.%s", alias, one->name);
		if (one->def)
			appendStringInfo(s, ", %s.%s::pg_catalog.text OPERATOR(pg_catalog.=) %s::%s::pg_catalog.text",
							 alias, one->name, quote_literal_cstr(one->def), format_type_be_qualified(one->type));
		else
			appendStringInfo(s, ", %s.%s IS NULL", alias, one->name);
	}
}

/* Of row 'row', from column 'col' on: what is not the default. */
static void
append_settings(StringInfo s, const KsSetting *(*setting) (int i), int n, uint64 row, int col)
{
	for (int i = 0; i < n; i++)
	{
		const KsSetting *one = setting(i);
		HeapTuple	tup = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *value = SPI_getvalue(tup, desc, col + 2 * i);
		bool		isnull;

		if (value && !DatumGetBool(SPI_getbinval(tup, desc, col + 2 * i + 1, &isnull)))
			append_argument(s, one->name, one->type, value);
	}
}

static void
append_sink(StringInfo s, const char *name)
{
	appendStringInfo(s, "SELECT kafka_sink.create_sink(%s", quote_literal_cstr(name));
	append_settings(s, ks_sink_setting, KS_SINK_SETTINGS, 0, 2);
	if (strcmp(SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1), "f") == 0)
		append_argument(s, "enabled", BOOLOID, "f");
	appendStringInfoString(s, ");\n");
}

static const KsSetting *
topic_setting(int i)
{
	static KsSetting bare;

	/* without a default: what a topic does not have is the sink's */
	bare = *ks_topic_setting(i);
	bare.def = NULL;
	return &bare;
}

static void
append_topic(StringInfo s, const char *name, uint64 row)
{
	HeapTuple	tup = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *partitions = SPI_getvalue(tup, desc, 2);
	char	   *start_at = SPI_getvalue(tup, desc, 3);

	appendStringInfo(s, "SELECT kafka_sink.register_topic(%s, %s", quote_literal_cstr(name),
					 quote_literal_cstr(SPI_getvalue(tup, desc, 1)));
	if (partitions)
		append_argument(s, "partitions", TEXTOID, partitions);
	if (strcmp(start_at, "earliest") != 0)
		append_argument(s, "start_at", TEXTOID, start_at);
	append_settings(s, topic_setting, KS_TOPIC_SETTINGS, row, 4);
	appendStringInfoString(s, ");\n");
}

Datum
kafka_sink_sink_definition(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};
	StringInfoData sql;
	StringInfoData s;
	int			nestlevel;

	ks_catalog_check_owner(ks_catalog_sink(name, false), false);
	initStringInfo(&s);
	nestlevel = ks_session_enter();
	SPI_connect();
	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT c.enabled");
	append_columns(&sql, ks_sink_setting, KS_SINK_SETTINGS, "c");
	appendStringInfoString(&sql, " FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1");
	ks_catalog_execute(sql.data, lengthof(types), types, values, NULL);
	append_sink(&s, name);
	resetStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT t.topic, t.partitions, t.start_at");
	append_columns(&sql, topic_setting, KS_TOPIC_SETTINGS, "t");
	appendStringInfoString(&sql, " FROM kafka_sink.topic_catalog t WHERE t.sink OPERATOR(pg_catalog.=) $1 "
						   "ORDER BY t.topic COLLATE pg_catalog.\"C\"");
	ks_catalog_execute(sql.data, lengthof(types), types, values, NULL);
	for (uint64 row = 0; row < SPI_processed; row++)
		append_topic(&s, name, row);
	SPI_finish();
	ks_session_leave(nestlevel);
	PG_RETURN_TEXT_P(cstring_to_text(s.data));
}
