/*
 * funcs_topic.c
 *	  SQL functions that define the topics of a sink.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "catalog/filled.h"
#include "catalog/history.h"
#include "catalog/limits.h"
#include "catalog/offsets.h"
#include "catalog/partition_ends.h"
#include "catalog/settings.h"
#include "catalog/sinks.h"
#include "catalog/version.h"
#include "process/consumer.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/given.h"

PG_FUNCTION_INFO_V1(kafka_sink_register_topic);
PG_FUNCTION_INFO_V1(kafka_sink_alter_topic);
PG_FUNCTION_INFO_V1(kafka_sink_unregister_topic);
PG_FUNCTION_INFO_V1(kafka_sink_resume_topic);

/* The argument of register_topic() behind the settings. */
#define REGISTER_IF_NOT_EXISTS	(4 + KS_TOPIC_SETTINGS)

/* start_at: a word, a timestamp, or an object of offsets by partition. */
static const char *
check_start_at(const char *start_at)
{
	int64		off;

	if (*start_at == '{')
	{
		Jsonb	   *jb = ks_offsets_jsonb(start_at);
		JsonbIterator *it = JsonbIteratorInit(&jb->root);
		JsonbValue	v;
		JsonbIteratorToken tok;

		while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			int32		part;

			if ((tok == WJB_KEY && !ks_offsets_partition(v.val.string.val, v.val.string.len, &part)) ||
				(tok == WJB_VALUE && !ks_offsets_number(&v, &off)))
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid offsets in start_at"),
						 errhint("Write partitions and offsets, such as {\"0\": 42, \"1\": 0}.")));
		}
		return pstrdup(start_at);
	}
	if (strcmp(start_at, "earliest") == 0 || strcmp(start_at, "beginning") == 0)
		return "earliest";
	if (strcmp(start_at, "latest") == 0 || strcmp(start_at, "end") == 0)
		return "latest";
	/* errors if it is no timestamp; kept with the zone it was read in */
	(void) ks_start_timestamp(start_at, "", 0, &off);
	return pstrdup(timestamptz_to_str(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																			  CStringGetDatum(start_at),
																			  ObjectIdGetDatum(InvalidOid),
																			  Int32GetDatum(-1)))));
}

/*
 * The settings of a topic's target as parameters of a statement, from number n
 * on; returns the number of parameters.
 */
static int
add_settings(const KsGiven *given, int n, Oid *types, Datum *values, char *nulls)
{
	for (int i = 0; i < KS_TOPIC_SETTINGS; i++)
	{
		types[n] = given[i].setting->type;
		values[n] = given[i].value;
		nulls[n++] = given[i].given ? ' ' : 'n';
	}
	nulls[n] = '\0';
	return n;
}

Datum
kafka_sink_register_topic(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *topic = ks_text_argument(fcinfo, 1);
	char	   *partitions = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *start_at = ks_text_argument(fcinfo, 3);
	KsSink	   *sink = ks_catalog_sink(name, false);
	Oid			types[4 + KS_TOPIC_SETTINGS] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4 + KS_TOPIC_SETTINGS];
	char		nulls[4 + KS_TOPIC_SETTINGS + 1] = "    ";
	KsGiven		given[KS_TOPIC_SETTINGS];
	StringInfoData sql;

	ks_catalog_check_definer(sink);
	ks_catalog_check_topic(topic);
	if (partitions)
		ks_limits_check_size("list of partitions", PG_GETARG_DATUM(2), KS_MAX_PARTITIONS_BYTES);
	ks_limits_check_size("start_at", PG_GETARG_DATUM(3), KS_MAX_START_AT_BYTES);
	ks_limits_check_topics(sink->owner, 1);
	ks_catalog_check_partitions(partitions);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(topic);
	values[2] = partitions ? CStringGetTextDatum(partitions) : (Datum) 0;
	nulls[2] = partitions ? ' ' : 'n';
	values[3] = CStringGetTextDatum(check_start_at(start_at));
	ks_refuse_null(fcinfo, REGISTER_IF_NOT_EXISTS);
	ks_given_init(given, KS_TOPIC_SETTINGS, ks_topic_setting);
	ks_given_arguments(given, KS_TOPIC_SETTINGS, fcinfo, 4);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO kafka_sink.topic_catalog (sink, topic, partitions, start_at");
	for (int i = 0; i < KS_TOPIC_SETTINGS; i++)
		appendStringInfo(&sql, ", %s", ks_topic_setting(i)->name);
	appendStringInfoString(&sql, ") VALUES ($1, $2, $3, $4");
	for (int i = 0; i < KS_TOPIC_SETTINGS; i++)
		appendStringInfo(&sql, ", $%d", 5 + i);
	appendStringInfoString(&sql, ") ON CONFLICT (sink, topic) DO NOTHING");
	if (ks_define_change(sql.data, add_settings(given, 4, types, values, nulls),
						 types, values, nulls) == 0)
	{
		ereport(PG_GETARG_BOOL(REGISTER_IF_NOT_EXISTS) ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("topic \"%s\" is already registered with sink \"%s\"%s", topic, name,
						PG_GETARG_BOOL(REGISTER_IF_NOT_EXISTS) ? ", skipping" : "")));
		PG_RETURN_VOID();
	}
	ks_define_bump_generation(sink);
	if (ks_given_any(given, KS_TOPIC_SETTINGS))
		ks_define_check(name);
	ks_history_log_change(name, "register_topic", topic, NULL);
	sink = ks_catalog_sink(name, false);
	if (sink->server && ks_sink_writes(sink) && sink->enabled)
		ks_warn_without_workers(name);
	PG_RETURN_VOID();
}

static void
undefined_topic(const char *topic, const char *sink, bool missing_ok)
{
	ereport(missing_ok ? NOTICE : ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("topic \"%s\" is not registered with sink \"%s\"%s", topic, sink,
					missing_ok ? ", skipping" : "")));
}

Datum
kafka_sink_alter_topic(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *topic = ks_text_argument(fcinfo, 1);
	KsSink	   *sink = ks_catalog_sink(name, false);
	KsGiven		given[KS_TOPIC_SETTINGS];
	Oid			types[2 + KS_TOPIC_SETTINGS] = {TEXTOID, TEXTOID};
	Datum		values[2 + KS_TOPIC_SETTINGS];
	char		nulls[2 + KS_TOPIC_SETTINGS + 1] = "  ";
	const KsGiven *columns;
	Jsonb	   *before;
	StringInfoData sql;

	ks_catalog_check_definer(sink);
	ks_given_init(given, KS_TOPIC_SETTINGS, ks_topic_setting);
	ks_given_refuse_nulls(given, KS_TOPIC_SETTINGS, fcinfo, 2);
	ks_given_arguments(given, KS_TOPIC_SETTINGS, fcinfo, 2);
	ks_given_reset(given, KS_TOPIC_SETTINGS, fcinfo, 2 + KS_TOPIC_SETTINGS);
	if (!ks_given_any(given, KS_TOPIC_SETTINGS))
		ks_given_nothing(psprintf("topic \"%s\" of sink \"%s\"", topic, name));
	ks_define_bump_generation(sink);
	before = ks_history_definition(name, topic);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(topic);
	(void) add_settings(given, 2, types, values, nulls);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE kafka_sink.topic_catalog t SET ");
	for (int i = 0; i < KS_TOPIC_SETTINGS; i++)
	{
		const char *setting = given[i].setting->name;

		if (given[i].reset)
			appendStringInfo(&sql, "%s%s = NULL", i ? ", " : "", setting);
		else
			appendStringInfo(&sql, "%s%s = COALESCE($%d, t.%s)", i ? ", " : "", setting, 3 + i, setting);
	}
	appendStringInfoString(&sql, " WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.=) $2");
	if (ks_define_change(sql.data, 2 + KS_TOPIC_SETTINGS, types, values, nulls) == 0)
		undefined_topic(topic, name, false);
	ks_define_check(name);
	/* fields of CSV, which go to columns by their places, may be meant to be others now */
	columns = ks_given_find(given, KS_TOPIC_SETTINGS, "columns", "settings");
	if (sink->format == KS_FORMAT_CSV && (columns->given || columns->reset))
		ks_filled_forget(name, topic);
	ks_history_log_change(name, "alter_topic", topic, before);
	PG_RETURN_VOID();
}

Datum
kafka_sink_unregister_topic(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *topic = ks_text_argument(fcinfo, 1);
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	Jsonb	   *before;
	KsSink	   *sink;
	bool		missing_ok;

	/* the SQL of another version has not so many arguments */
	ks_version_check();
	ks_refuse_null(fcinfo, 2);
	missing_ok = PG_GETARG_BOOL(2);
	sink = ks_catalog_sink(name, missing_ok);
	if (sink)
		ks_catalog_check_owner(sink, false);
	before = sink ? ks_history_definition(name, topic) : NULL;
	if (before == NULL)
	{
		undefined_topic(topic, name, missing_ok);
		PG_RETURN_VOID();
	}
	ks_define_bump_generation(sink);
	before = ks_history_definition(name, topic);
	if (ks_define_change("DELETE FROM kafka_sink.topic_catalog t WHERE t.sink OPERATOR(pg_catalog.=) $1 "
					   "AND t.topic OPERATOR(pg_catalog.=) $2", 2, types, values, NULL) == 0)
		undefined_topic(topic, name, false);
	ks_define_change("DELETE FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) $1 "
				   "AND o.topic OPERATOR(pg_catalog.=) $2", 2, types, values, NULL);
	ks_catalog_forget_partition_ends(name, topic, -1);
	ks_filled_forget(name, topic);
	ks_catalog_halt_if_all_topics_are(name);
	ks_history_log_change(name, "unregister_topic", topic, before);
	PG_RETURN_VOID();
}

Datum
kafka_sink_resume_topic(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	char	   *topic = ks_text_argument(fcinfo, 1);
	KsSink	   *sink = ks_catalog_sink(name, false);
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool		registered = false;
	ListCell   *lc;

	ks_catalog_check_owner(sink, false);
	ks_define_bump_generation(sink);
	foreach(lc, ks_catalog_topics(name))
		registered |= strcmp(((KsTopic *) lfirst(lc))->topic, topic) == 0;
	if (!registered)
		undefined_topic(topic, name, false);
	/* one that was the last to go on has halted the sink: it halts alone now */
	ks_define_change("INSERT INTO kafka_sink.topic_state "
					 "(sink, topic, state, since, sqlstate, message, detail, hint, part, off, column_name) "
					 "SELECT s.sink, s.topic, s.state, s.since, s.sqlstate, s.message, s.detail, s.hint, s.part, s.off, s.column_name "
					 "FROM kafka_sink.sink_state s JOIN kafka_sink.topic_catalog t "
					 "ON t.sink OPERATOR(pg_catalog.=) s.sink AND t.topic OPERATOR(pg_catalog.=) s.topic "
					 "WHERE s.sink OPERATOR(pg_catalog.=) $1 AND s.topic OPERATOR(pg_catalog.<>) $2 "
					 "AND s.state OPERATOR(pg_catalog.=) 'halted' "
					 "AND EXISTS (SELECT FROM kafka_sink.topic_state h WHERE h.sink OPERATOR(pg_catalog.=) $1 "
					 "AND h.topic OPERATOR(pg_catalog.=) $2) "
					 "ON CONFLICT (sink, topic) DO NOTHING", 2, types, values, NULL);
	/* with it those that halted by the same error, each of which would lack the others' rows */
	ks_define_change("DELETE FROM kafka_sink.topic_state h WHERE h.sink OPERATOR(pg_catalog.=) $1 "
					 "AND (h.topic OPERATOR(pg_catalog.=) $2 OR COALESCE(h.halted_by, h.topic) OPERATOR(pg_catalog.=) "
					 "(SELECT COALESCE(o.halted_by, o.topic) FROM kafka_sink.topic_state o "
					 "WHERE o.sink OPERATOR(pg_catalog.=) $1 AND o.topic OPERATOR(pg_catalog.=) $2))",
					 2, types, values, NULL);
	/* what halted the sink was this topic, or that no topic was left to go on, or
	 * is of a topic that was taken from it */
	ks_define_change("DELETE FROM kafka_sink.sink_state s WHERE s.sink OPERATOR(pg_catalog.=) $1 "
					 "AND s.state OPERATOR(pg_catalog.=) 'halted' "
					 "AND (s.topic OPERATOR(pg_catalog.=) $2 "
					 "OR s.topic OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.topic FROM kafka_sink.topic_state h WHERE h.sink OPERATOR(pg_catalog.=) $1)) "
					 "OR s.topic OPERATOR(pg_catalog.<>) ALL (ARRAY(SELECT t.topic FROM kafka_sink.topic_catalog t WHERE t.sink OPERATOR(pg_catalog.=) $1)))",
					 2, types, values, NULL);
	ks_filled_forget(name, topic);
	ks_history_log(name, "resume", topic, NULL, NULL);
	PG_RETURN_VOID();
}
