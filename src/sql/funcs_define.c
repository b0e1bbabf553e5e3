/*
 * funcs_define.c
 *	  SQL functions that define sinks.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "catalog/feeds.h"
#include "catalog/filled.h"
#include "catalog/history.h"
#include "catalog/limits.h"
#include "catalog/settings.h"
#include "catalog/sinks.h"
#include "catalog/version.h"
#include "process/shmem.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/given.h"

PG_FUNCTION_INFO_V1(kafka_sink_create_sink);
PG_FUNCTION_INFO_V1(kafka_sink_alter_sink);
PG_FUNCTION_INFO_V1(kafka_sink_drop_sink);
PG_FUNCTION_INFO_V1(kafka_sink_rename_sink);

/* The arguments behind the settings. */
enum
{
	CREATE_ENABLED = KS_SINK_SETTINGS + 1, CREATE_SETTINGS, CREATE_IF_NOT_EXISTS
};
enum
{
	ALTER_RESET = KS_SINK_SETTINGS + 1, ALTER_OWNER, ALTER_SETTINGS
};

static void
refuse_existing(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("sink \"%s\" already exists", name)));
}

/* What create_sink() says of each setting; those that it does not give are NULL. */
static void
read_settings(FunctionCallInfo fcinfo, KsGiven *given)
{
	ks_given_init(given, KS_SINK_SETTINGS, ks_sink_setting);
	ks_given_arguments(given, KS_SINK_SETTINGS, fcinfo, 1);
	for (int i = 0; i < KS_SINK_SETTINGS; i++)
		if (!given[i].given && given[i].setting->def)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("setting \"%s\" must not be null", given[i].setting->name),
					 errhint("Leave it out for its default, %s.", quote_literal_cstr(given[i].setting->def))));
	ks_given_json(given, KS_SINK_SETTINGS, fcinfo, CREATE_SETTINGS, true);
}

Datum
kafka_sink_create_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsGiven		given[KS_SINK_SETTINGS];
	Oid			types[KS_SINK_SETTINGS + 6] = {TEXTOID, OIDOID, INT8OID, OIDOID, BOOLOID, INT8OID};
	Datum		values[KS_SINK_SETTINGS + 6];
	char		nulls[KS_SINK_SETTINGS + 7];
	StringInfoData sql;
	int			n;

	/* the SQL of another version has not so many arguments */
	ks_version_check();
	ks_catalog_check_name("sink", name);
	ks_refuse_null(fcinfo, CREATE_IF_NOT_EXISTS);
	/* first, so that who creates it at this moment is waited for */
	ks_feeds_take_name(name, false);
	if (ks_catalog_sink(name, true))
	{
		if (!PG_GETARG_BOOL(CREATE_IF_NOT_EXISTS))
			refuse_existing(name);
		ereport(NOTICE,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("sink \"%s\" already exists, skipping", name)));
		PG_RETURN_VOID();
	}
	read_settings(fcinfo, given);
	ks_limits_check_sinks(GetUserId());

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO kafka_sink.sink_catalog (sink, owner, system_identifier, database_oid, enabled, generation");
	values[0] = CStringGetTextDatum(name);
	values[1] = ObjectIdGetDatum(GetUserId());
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = ObjectIdGetDatum(MyDatabaseId);
	values[4] = BoolGetDatum(PG_ARGISNULL(CREATE_ENABLED) || PG_GETARG_BOOL(CREATE_ENABLED));
	/* not one that workers of a sink of the same name, dropped before, run by */
	values[5] = Int64GetDatum(GetCurrentTimestamp());
	n = ks_given_insert(given, KS_SINK_SETTINGS, &sql, 6, types, values, nulls);
	ks_define_change(sql.data, n, types, values, nulls);
	ks_define_check(name);
	ks_history_log_change(name, "create_sink", NULL, NULL);
	PG_RETURN_VOID();
}

/* Are columns meant to take other fields of CSV, which they do by their places? */
static bool
places_change(const KsSink *before, KsGiven *given)
{
	const KsGiven *columns = ks_given_find(given, KS_SINK_SETTINGS, "columns", "settings");
	bool		was = before->format == KS_FORMAT_CSV;
	bool		is = ks_catalog_sink(before->name, false)->format == KS_FORMAT_CSV;

	return was != is || (is && (columns->given || columns->reset));
}

Datum
kafka_sink_alter_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsSink	   *sink = ks_catalog_sink(name, false);
	KsGiven		given[KS_SINK_SETTINGS];
	Oid			owner = PG_ARGISNULL(ALTER_OWNER) ? InvalidOid : PG_GETARG_OID(ALTER_OWNER);
	Jsonb	   *before;
	Oid			types[KS_SINK_SETTINGS + 2];
	Datum		values[KS_SINK_SETTINGS + 2];
	StringInfoData sql;
	int			n;

	ks_catalog_check_definer(sink);
	ks_given_init(given, KS_SINK_SETTINGS, ks_sink_setting);
	ks_given_refuse_nulls(given, KS_SINK_SETTINGS, fcinfo, 1);
	if (ks_null_is_given(fcinfo, ALTER_OWNER))
		ks_refuse_null(fcinfo, ALTER_OWNER);
	ks_given_arguments(given, KS_SINK_SETTINGS, fcinfo, 1);
	ks_given_reset(given, KS_SINK_SETTINGS, fcinfo, ALTER_RESET);
	ks_given_json(given, KS_SINK_SETTINGS, fcinfo, ALTER_SETTINGS, false);
	if (!ks_given_any(given, KS_SINK_SETTINGS) && !OidIsValid(owner))
		ks_given_nothing(psprintf("sink \"%s\"", name));
	if (OidIsValid(owner))
	{
		ks_define_check_new_owner(owner, "create_sink");
		if (owner != sink->owner)
		{
			ks_limits_check_sinks(owner);
			ks_limits_check_topics(owner, list_length(ks_catalog_topics(name)));
		}
	}

	/* whoever gives it away has seen what the new owner's code will be */
	if (!ks_define_bump_generation(sink) && OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" was changed meanwhile", name),
				 errhint("Look at it, and give it away again.")));
	before = ks_history_definition(name, NULL);
	types[0] = TEXTOID;
	values[0] = CStringGetTextDatum(name);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE kafka_sink.sink_catalog c SET generation = c.generation");
	n = ks_given_assign(given, KS_SINK_SETTINGS, &sql, 1, types, values);
	if (OidIsValid(owner))
	{
		types[n] = REGROLEOID;
		values[n] = ObjectIdGetDatum(owner);
		appendStringInfo(&sql, ", owner = $%d", ++n);
	}
	appendStringInfoString(&sql, " WHERE c.sink OPERATOR(pg_catalog.=) $1");
	ks_define_change(sql.data, n, types, values, NULL);
	ks_define_check(name);
	if (places_change(sink, given))
		ks_filled_forget(name, NULL);
	if (OidIsValid(owner))
		ks_history_follow(name, name, owner);
	ks_history_log_change(name, "alter_sink", NULL, before);
	PG_RETURN_VOID();
}

Datum
kafka_sink_drop_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsSink	   *sink;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	/* the SQL of another version has not so many arguments */
	ks_version_check();
	ks_refuse_null(fcinfo, 1);
	sink = ks_catalog_sink(name, PG_GETARG_BOOL(1));
	if (sink == NULL)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("sink \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	ks_catalog_check_owner(sink, false);
	ks_define_bump_generation(sink);
	ks_history_log(name, "drop_sink", NULL, ks_history_definition(name, NULL), NULL);
	ks_define_change("DELETE FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL);
	ks_define_change("DELETE FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL);
	PG_RETURN_VOID();
}

/* {"sink": name} */
static Jsonb *
named(const char *name)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, "{\"sink\": ");
	escape_json(&s, name);
	appendStringInfoChar(&s, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(s.data)));
}

/*
 * All rows of the sink follow by its foreign keys.  A worker that runs finds no
 * rows of its sink any more, as if it were dropped; its batch at hand is waited
 * for, since it holds them.  The new generation is none that workers of a sink of
 * that name, dropped before, run by.
 */
Datum
kafka_sink_rename_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *new_name = ks_text_argument(fcinfo, 1);
	KsSink	   *sink = ks_catalog_sink(name, false);
	Oid			types[] = {TEXTOID, TEXTOID, INT8OID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1), Int64GetDatum(GetCurrentTimestamp())};

	ks_catalog_check_owner(sink, false);
	ks_catalog_check_name("sink", new_name);
	if (ks_catalog_sink(new_name, true))
		refuse_existing(new_name);
	ks_feeds_take_name(new_name, false);
	/* one that still applies a batch under the name would move the other's offsets */
	if (ks_shmem_has_worker(new_name))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("workers of a sink that was called \"%s\" have not ended yet", new_name),
				 errhint("Try again in a moment, in a transaction of its own.")));
	ks_define_bump_generation(sink);
	/* a batch that holds these may still want the sink's row, of which the key is
	 * locked next */
	ks_define_change("SELECT FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) $1 "
					 "ORDER BY o.topic COLLATE pg_catalog.\"C\", o.part FOR UPDATE OF o", 1, types, values, NULL);
	ks_define_change("UPDATE kafka_sink.sink_catalog c SET sink = $2, generation = GREATEST(c.generation, $3) "
					 "WHERE c.sink OPERATOR(pg_catalog.=) $1", lengthof(types), types, values, NULL);
	ks_history_follow(name, new_name, InvalidOid);
	ks_history_log(new_name, "rename_sink", NULL, named(name), named(new_name));
	ks_history_stamp(new_name, false);
	PG_RETURN_VOID();
}
