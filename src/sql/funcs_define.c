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

#include "catalog/history.h"
#include "catalog/limits.h"
#include "catalog/settings.h"
#include "catalog/sinks.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/given.h"

PG_FUNCTION_INFO_V1(kafka_sink_create_sink);
PG_FUNCTION_INFO_V1(kafka_sink_alter_sink);
PG_FUNCTION_INFO_V1(kafka_sink_drop_sink);

Datum
kafka_sink_create_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	Oid			types[KS_SINK_SETTINGS + 6];
	Datum		values[KS_SINK_SETTINGS + 6];
	char		nulls[KS_SINK_SETTINGS + 6];
	StringInfoData sql;
	int			n = 0;

	ks_catalog_check_name(name);
	if (ks_catalog_sink(name, true))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("sink \"%s\" already exists", name)));
	ks_limits_check_sinks(GetUserId());

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO kafka_sink.sink_catalog (sink, owner, system_identifier, database_oid, enabled, generation");
#define ADD(t, v, isnull) \
	(types[n] = (t), values[n] = (v), nulls[n] = (isnull) ? 'n' : ' ', n++)
	ADD(TEXTOID, CStringGetTextDatum(name), false);
	ADD(OIDOID, ObjectIdGetDatum(GetUserId()), false);
	ADD(INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false);
	ADD(OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	ADD(BOOLOID, BoolGetDatum(PG_ARGISNULL(KS_SINK_SETTINGS + 1) || PG_GETARG_BOOL(KS_SINK_SETTINGS + 1)), false);
	/* not one that workers of a sink of the same name, dropped before, run by */
	ADD(INT8OID, Int64GetDatum(GetCurrentTimestamp()), false);
	for (int i = 0; i < KS_SINK_SETTINGS; i++)
	{
		bool		isnull = PG_ARGISNULL(i + 1);

		if (!isnull)
			ks_setting_check(&ks_sink_settings[i], PG_GETARG_DATUM(i + 1));
		else if (ks_sink_settings[i].def)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("setting \"%s\" must not be null", ks_sink_settings[i].name)));
		appendStringInfo(&sql, ", %s", ks_sink_settings[i].name);
		ADD(ks_sink_settings[i].type, isnull ? (Datum) 0 : PG_GETARG_DATUM(i + 1), isnull);
	}
#undef ADD
	appendStringInfoString(&sql, ") VALUES (");
	for (int i = 1; i <= n; i++)
		appendStringInfo(&sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoString(&sql, ")");
	ks_define_change(sql.data, n, types, values, nulls);
	ks_define_check(name);
	ks_history_log_change(name, "create_sink", NULL, NULL);
	PG_RETURN_VOID();
}

Datum
kafka_sink_alter_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsSink	   *sink = ks_catalog_sink(name, false);
	KsGiven		given[KS_SINK_SETTINGS];
	Jsonb	   *before;
	Oid			types[KS_SINK_SETTINGS + 1];
	Datum		values[KS_SINK_SETTINGS + 1];
	StringInfoData sql;
	int			n = 1;

	ks_catalog_check_definer(sink);
	ks_given_init(given, KS_SINK_SETTINGS, ks_sink_setting);
	ks_given_refuse_nulls(given, KS_SINK_SETTINGS, fcinfo, 1);
	ks_given_arguments(given, KS_SINK_SETTINGS, fcinfo, 1);
	ks_given_reset(given, KS_SINK_SETTINGS, fcinfo, KS_SINK_SETTINGS + 1);
	if (!ks_given_any(given, KS_SINK_SETTINGS))
		ks_given_nothing(psprintf("sink \"%s\"", name));
	types[0] = TEXTOID;
	values[0] = CStringGetTextDatum(name);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE kafka_sink.sink_catalog c SET generation = c.generation OPERATOR(pg_catalog.+) 1");
	for (int i = 0; i < KS_SINK_SETTINGS; i++)
	{
		const KsSetting *setting = given[i].setting;

		if (given[i].given)
		{
			types[n] = setting->type;
			values[n] = given[i].value;
			appendStringInfo(&sql, ", %s = $%d", setting->name, ++n);
		}
		else if (given[i].reset)
			appendStringInfo(&sql, ", %s = %s", setting->name,
							 setting->def ? quote_literal_cstr(setting->def) : "NULL");
	}
	appendStringInfoString(&sql, " WHERE c.sink OPERATOR(pg_catalog.=) $1");
	before = ks_history_definition(name, NULL);
	ks_define_change(sql.data, n, types, values, NULL);
	ks_define_check(name);
	ks_history_log_change(name, "alter_sink", NULL, before);
	PG_RETURN_VOID();
}

Datum
kafka_sink_drop_sink(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	ks_catalog_check_owner(ks_catalog_sink(name, false), false);
	ks_define_bump_generation(name);
	ks_history_log(name, "drop_sink", NULL, ks_history_definition(name, NULL), NULL);
	ks_define_change("DELETE FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL);
	ks_define_change("DELETE FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL);
	PG_RETURN_VOID();
}
