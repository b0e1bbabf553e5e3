/*
 * funcs_define.c
 *	  SQL functions that define sinks and their topics.
 *
 * Every setting is checked here, in the transaction that makes it, against
 * what a worker would find: the target is built as a worker builds it, the
 * server is looked up as the owner.  Changes become visible to workers at
 * commit (ks_shmem_note_change).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog.h"
#include "compat.h"
#include "consumer.h"
#include "guc.h"
#include "options.h"
#include "session.h"
#include "shmem.h"
#include "target.h"

PG_FUNCTION_INFO_V1(kafka_sink_create_sink);
PG_FUNCTION_INFO_V1(kafka_sink_alter_sink);
PG_FUNCTION_INFO_V1(kafka_sink_drop_sink);
PG_FUNCTION_INFO_V1(kafka_sink_register_topic);
PG_FUNCTION_INFO_V1(kafka_sink_unregister_topic);

/*
 * The settings in the order of the arguments of create_sink() and
 * alter_sink(), behind the sink's name.
 */
typedef struct Setting
{
	const char *name;
	Oid			type;
	const char *def;			/* default, as text; NULL: null */
	const char *values;			/* valid words, by commas; NULL: any */
	int			min;
	int			max;
} Setting;

static const Setting settings[] = {
	{"server", TEXTOID, NULL, NULL, 0, 0},
	{"target", REGCLASSOID, NULL, NULL, 0, 0},
	{"insert_mode", TEXTOID, "insert", "insert,ignore,upsert,update,accumulate", 0, 0},
	{"columns", JSONBOID, NULL, NULL, 0, 0},
	{"pk_fields", TEXTARRAYOID, NULL, NULL, 0, 0},
	{"format", TEXTOID, "json", "json,raw,csv", 0, 0},
	{"key_format", TEXTOID, "json", "json,raw,csv,none", 0, 0},
	{"delete_enabled", BOOLOID, "false", NULL, 0, 0},
	{"on_tombstone", TEXTOID, "error", "error,ignore", 0, 0},
	{"on_error", TEXTOID, "stop", "stop,dead_letter,ignore", 0, 0},
	{"on_nul", TEXTOID, "error", "error,strip", 0, 0},
	{"on_nonfinite", TEXTOID, "accept", "accept,error", 0, 0},
	{"isolation_level", TEXTOID, "read_committed", "read_committed,read_uncommitted", 0, 0},
	{"synchronous_commit", TEXTOID, "off", "off,local,remote_write,on,remote_apply", 0, 0},
	{"batch_records", INT4OID, "50000", NULL, 1, 1000000},
	{"batch_bytes", INT4OID, "16777216", NULL, 1024, 1024 * 1024 * 1024},
	{"batch_linger_ms", INT4OID, "2", NULL, 0, 60000},
	{"max_record_bytes", INT4OID, "8388608", NULL, 1024, 512 * 1024 * 1024},
	{"workers", INT4OID, "1", NULL, 1, 64},
	{"command", TEXTOID, NULL, NULL, 0, 0},
	{"value_type", REGTYPEOID, NULL, NULL, 0, 0},
	{"filter", TEXTOID, NULL, NULL, 0, 0},
	{"update_if", TEXTOID, NULL, NULL, 0, 0},
	{"accumulate", JSONBOID, NULL, NULL, 0, 0},
	{"reject_limit", TEXTOID, NULL, NULL, 0, 0},
	{"dead_letter_retention", INTERVALOID, NULL, NULL, 0, 0},
	{"envelope", TEXTOID, "none", "none,debezium,connect", 0, 0},
	{"csv_delimiter", TEXTOID, ",", NULL, 0, 0},
	{"csv_quote", TEXTOID, "\"", NULL, 0, 0},
	{"csv_null", TEXTOID, "", NULL, 0, 0},
	{"strict", BOOLOID, "false", NULL, 0, 0},
};

#define NSETTINGS ((int) lengthof(settings))

static bool
is_word_of(const char *value, const char *values)
{
	const char *p = values;
	size_t		len = strlen(value);

	for (;;)
	{
		const char *end = p + strcspn(p, ",");

		if ((size_t) (end - p) == len && memcmp(p, value, len) == 0)
			return true;
		if (*end == '\0')
			return false;
		p = end + 1;
	}
}

/* One character of one byte that cannot be part of another. */
static bool
is_csv_character(const char *s)
{
	return strlen(s) == 1 && !IS_HIGHBIT_SET(*s) && *s != '\n' && *s != '\r';
}

static void
check_csv(const char *name, const char *value)
{
	bool		quote = strcmp(name, "csv_quote") == 0;

	if (strcmp(name, "csv_null") == 0)
	{
		if (strpbrk(value, "\r\n") != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" must not contain a line break", name)));
		return;
	}
	if (!is_csv_character(value) && !(quote && *value == '\0'))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" must be a single ASCII character, not a line break", name),
				 quote ? errhint("An empty text means that fields are never quoted.") : 0));
}

static void
check_setting(const Setting *s, Datum value)
{
	if (s->values)
	{
		char	   *word = TextDatumGetCString(value);

		if (!is_word_of(word, s->values))
		{
			StringInfoData list;

			initStringInfo(&list);
			for (const char *p = s->values; *p; p++)
			{
				if (*p == ',')
					appendStringInfoString(&list, ", ");
				else
					appendStringInfoChar(&list, *p);
			}
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for setting \"%s\": \"%s\"", s->name, word),
					 errhint("Valid values: %s.", list.data)));
		}
	}
	if (strncmp(s->name, "csv_", 4) == 0)
		check_csv(s->name, TextDatumGetCString(value));
	if (s->type == INT4OID &&
		(DatumGetInt32(value) < s->min || DatumGetInt32(value) > s->max))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is outside the valid range for setting \"%s\" (%d .. %d)",
						DatumGetInt32(value), s->name, s->min, s->max),
				 strcmp(s->name, "workers") == 0 ?
				 errdetail("Partition p of every topic goes to worker p mod workers.") : 0,
				 strcmp(s->name, "workers") == 0 ?
				 errhint("More workers than a topic has partitions have nothing to do.  To stop a sink use kafka_sink.pause().") : 0));
	if (s->type == TEXTARRAYOID)
	{
		ArrayType  *array = DatumGetArrayTypeP(value);

		if (ARR_NDIM(array) != 1 || array_contains_nulls(array))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" must be a list of column names", s->name)));
	}
	if (strcmp(s->name, "reject_limit") == 0)
	{
		KsRejectLimit limit;

		ks_reject_limit_parse(TextDatumGetCString(value), &limit);
	}
	if (s->type == INTERVALOID)
	{
		Interval	zero = {0};

		if (!DatumGetBool(DirectFunctionCall2(interval_gt, value, IntervalPGetDatum(&zero))))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" must be positive", s->name),
					 errhint("Without it, dead letters are kept until they are retried or discarded.")));
	}
}

/* Settings that need or exclude each other. */
static void
check_writing(const KsSink *sink)
{
	const char *stray = NULL;

	if (OidIsValid(sink->target) && sink->command)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a sink has a target or a command, not both"),
				 errhint("A command can write to any table; alter_sink(..., reset => '{target}') takes a target away.")));
	if (sink->command && (sink->columns || sink->pk_fields || sink->insert_mode != KS_INSERT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns, pk_fields and insert_mode need a target"),
				 errdetail("A command says itself what it writes.")));
	if (OidIsValid(sink->value_type) && sink->command == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value_type needs a command"),
				 errdetail("With a target, its columns say what is taken from a value.")));
	if (sink->filter && !ks_sink_writes(sink))
		stray = "filter";
	else if (sink->update_if && sink->insert_mode != KS_UPSERT && sink->insert_mode != KS_UPDATE)
		stray = "update_if";
	else if (sink->accumulate && sink->insert_mode != KS_ACCUMULATE)
		stray = "accumulate";
	if (stray)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" has nothing to work on", stray),
				 strcmp(stray, "filter") == 0 ? errhint("Give the sink a target or a command.") :
				 strcmp(stray, "update_if") == 0 ? errhint("It needs insert_mode upsert or update.") :
				 errhint("It needs insert_mode accumulate.")));
	if (sink->insert_mode == KS_ACCUMULATE && sink->accumulate == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("insert_mode accumulate needs the setting \"accumulate\""),
				 errhint("For example: {\"total\": \"sum\", \"hits\": \"count\", \"last_seen\": \"max\"}.")));
}

/* Formats and envelopes that need or exclude other settings. */
static void
check_format(const KsSink *sink)
{
	const char *stray = NULL;

	if (sink->csv_delimiter == sink->csv_quote)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("csv_delimiter and csv_quote must differ")));
	if (strchr(sink->csv_null, sink->csv_delimiter) != NULL ||
		(sink->csv_quote && strchr(sink->csv_null, sink->csv_quote) != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("csv_null must not contain csv_delimiter or csv_quote")));
	if (sink->envelope != KS_NO_ENVELOPE && sink->format != KS_FORMAT_JSON)
		stray = "envelope";
	else if (sink->strict && sink->format == KS_FORMAT_RAW)
		stray = "strict";
	if (stray)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" does not go with this format", stray),
				 *stray == 'e' ? errhint("An envelope needs format json.") :
				 errhint("A raw value has no fields.")));
	if (sink->envelope == KS_DEBEZIUM && sink->command)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("envelope debezium needs a target"),
				 errhint("Without an envelope, a command sees the whole value: op, before and after.")));
}

/* A sink's definition as a whole, as a worker will find it. */
static void
check_sink(const char *name)
{
	KsSink	   *sink = ks_catalog_sink(name, false);

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(sink->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of sink \"%s\" does not exist any more", name),
				 errhint("Drop the sink and create it again as another role.")));
	if (sink->max_record_bytes > (int64) ks_guc_max_fetch_memory * 1024 * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_record_bytes is larger than kafka_sink.max_fetch_memory"),
				 errdetail("The limit is %d MB.", ks_guc_max_fetch_memory)));
	if (!PG17_GE && sink->server)
	{
		HeapTuple	tup = SearchSysCache1(AUTHOID, ObjectIdGetDatum(sink->owner));
		bool		login = HeapTupleIsValid(tup) && ((Form_pg_authid) GETSTRUCT(tup))->rolcanlogin;

		if (HeapTupleIsValid(tup))
			ReleaseSysCache(tup);
		if (!login)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
					 errmsg("role \"%s\" cannot log in and cannot own a sink with a server",
							GetUserNameFromId(sink->owner, false)),
					 errdetail("Workers run as the sink's owner; before PostgreSQL 17 that needs LOGIN."),
					 errhint("ALTER ROLE %s LOGIN.", quote_identifier(GetUserNameFromId(sink->owner, false)))));
	}
	check_writing(sink);
	check_format(sink);
	if (sink->delete_enabled && sink->key_format == KS_FORMAT_NONE && sink->command == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delete_enabled needs a key format"),
				 errhint("Set key_format to json, raw or csv.")));
	if (sink->reject_limit.text && sink->on_error == KS_ON_ERROR_STOP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reject_limit has no effect with on_error => 'stop'"),
				 errdetail("The sink halts at the first record that cannot be applied."),
				 errhint("Set on_error to dead_letter or ignore, or reset reject_limit.")));
	if (sink->server)
		(void) ks_options_load(sink->server, sink->owner);
	if (ks_sink_writes(sink))
	{
		/* defaults are planned, so their functions may run: as the owner */
		Oid			user;
		int			sec_context;
		int			nestlevel = ks_session_enter();

		GetUserIdAndSecContext(&user, &sec_context);
		SetUserIdAndSecContext(sink->owner, sec_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
		ks_target_free(ks_target_build(sink, CurrentMemoryContext));
		SetUserIdAndSecContext(user, sec_context);
		ks_session_leave(nestlevel);
	}
	else if (sink->columns || sink->pk_fields || sink->delete_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns, pk_fields and delete_enabled need a target")));
}

/* Runs a change of the catalog as its owner; returns the rows hit. */
static uint64
catalog_change(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	KsCatalogUser save;
	uint64		n;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);
	ks_catalog_leave(&save);
	n = SPI_processed;
	SPI_finish();
	ks_shmem_note_change();
	return n;
}

/*
 * Workers of the old definition are to end.  The lock on the row comes first
 * in every change: a worker that settles offsets holds it shared, and sees
 * afterwards that its definition is the old one.
 */
static void
bump_generation(const char *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink)};

	catalog_change("UPDATE kafka_sink.sink_catalog c SET generation = c.generation OPERATOR(pg_catalog.+) 1 "
				   "WHERE c.sink OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
}

static char *
required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static void
warn_without_workers(const char *sink)
{
	if (!ks_shmem_available())
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no background worker will consume for sink \"%s\"", sink),
				 errdetail("kafka_sink is not in shared_preload_libraries."),
				 errhint("Add it and restart the server, or consume in a session with CALL kafka_sink.run(%s).",
						 quote_literal_cstr(sink))));
}

Datum
kafka_sink_create_sink(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "the sink's name");
	Oid			types[NSETTINGS + 6];
	Datum		values[NSETTINGS + 6];
	char		nulls[NSETTINGS + 6];
	StringInfoData sql;
	int			n = 0;

	if (*name == '\0' || strlen(name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid sink name"),
				 errdetail("A name has 1 to %d bytes.", NAMEDATALEN - 1)));
	if (ks_catalog_sink(name, true))
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("sink \"%s\" already exists", name)));

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO kafka_sink.sink_catalog (sink, owner, system_identifier, database_oid, enabled, generation");
#define ADD(t, v, isnull) \
	(types[n] = (t), values[n] = (v), nulls[n] = (isnull) ? 'n' : ' ', n++)
	ADD(TEXTOID, CStringGetTextDatum(name), false);
	ADD(OIDOID, ObjectIdGetDatum(GetUserId()), false);
	ADD(INT8OID, Int64GetDatum((int64) GetSystemIdentifier()), false);
	ADD(OIDOID, ObjectIdGetDatum(MyDatabaseId), false);
	ADD(BOOLOID, BoolGetDatum(PG_ARGISNULL(NSETTINGS + 1) || PG_GETARG_BOOL(NSETTINGS + 1)), false);
	/* not one that workers of a sink of the same name, dropped before, run by */
	ADD(INT8OID, Int64GetDatum(GetCurrentTimestamp()), false);
	for (int i = 0; i < NSETTINGS; i++)
	{
		bool		isnull = PG_ARGISNULL(i + 1);

		if (!isnull)
			check_setting(&settings[i], PG_GETARG_DATUM(i + 1));
		else if (settings[i].def)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("setting \"%s\" must not be null", settings[i].name)));
		appendStringInfo(&sql, ", %s", settings[i].name);
		ADD(settings[i].type, isnull ? (Datum) 0 : PG_GETARG_DATUM(i + 1), isnull);
	}
#undef ADD
	appendStringInfoString(&sql, ") VALUES (");
	for (int i = 1; i <= n; i++)
		appendStringInfo(&sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoString(&sql, ")");
	catalog_change(sql.data, n, types, values, nulls);
	check_sink(name);
	PG_RETURN_VOID();
}

/* Names of settings in reset => '{...}'. */
static bool
is_reset(ArrayType *reset, const char *name)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	deconstruct_array(reset, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
		if (!nulls[i] && strcmp(TextDatumGetCString(elems[i]), name) == 0)
			return true;
	return false;
}

static void
check_reset(ArrayType *reset)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < NSETTINGS; i++)
		appendStringInfo(&list, "%s%s", i ? ", " : "", settings[i].name);
	deconstruct_array(reset, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		bool		known = false;

		for (int j = 0; j < NSETTINGS && !nulls[i]; j++)
			known |= strcmp(TextDatumGetCString(elems[i]), settings[j].name) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown setting \"%s\" in reset",
							nulls[i] ? "null" : TextDatumGetCString(elems[i])),
					 errhint("Valid settings: %s.", list.data)));
	}
}

Datum
kafka_sink_alter_sink(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "the sink's name");
	KsSink	   *sink = ks_catalog_sink(name, false);
	ArrayType  *reset = PG_ARGISNULL(NSETTINGS + 1) ? NULL : PG_GETARG_ARRAYTYPE_P(NSETTINGS + 1);
	Oid			types[NSETTINGS + 1];
	Datum		values[NSETTINGS + 1];
	StringInfoData sql;
	int			n = 1;

	ks_catalog_check_owner(sink, false);
	if (reset)
		check_reset(reset);
	types[0] = TEXTOID;
	values[0] = CStringGetTextDatum(name);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE kafka_sink.sink_catalog c SET generation = c.generation OPERATOR(pg_catalog.+) 1");
	for (int i = 0; i < NSETTINGS; i++)
	{
		if (!PG_ARGISNULL(i + 1))
		{
			check_setting(&settings[i], PG_GETARG_DATUM(i + 1));
			types[n] = settings[i].type;
			values[n] = PG_GETARG_DATUM(i + 1);
			appendStringInfo(&sql, ", %s = $%d", settings[i].name, ++n);
		}
		else if (reset && is_reset(reset, settings[i].name))
			appendStringInfo(&sql, ", %s = %s", settings[i].name,
							 settings[i].def ? quote_literal_cstr(settings[i].def) : "NULL");
	}
	appendStringInfoString(&sql, " WHERE c.sink OPERATOR(pg_catalog.=) $1");
	catalog_change(sql.data, n, types, values, NULL);
	check_sink(name);
	PG_RETURN_VOID();
}

Datum
kafka_sink_drop_sink(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	ks_catalog_check_owner(ks_catalog_sink(name, false), false);
	bump_generation(name);
	catalog_change("DELETE FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL);
	catalog_change("DELETE FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values, NULL);
	PG_RETURN_VOID();
}

/* start_at: a word, a timestamp, or an object of offsets by partition. */
static char *
check_start_at(const char *start_at)
{
	int64		off;

	if (*start_at == '{')
	{
		Jsonb	   *jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(start_at)));
		JsonbIterator *it = JsonbIteratorInit(&jb->root);
		JsonbValue	v;
		JsonbIteratorToken tok;

		while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		{
			bool		ok = true;

			if (tok == WJB_KEY)
				ok = v.val.string.len > 0 && v.val.string.len < 10 &&
					(int) strspn(pnstrdup(v.val.string.val, v.val.string.len), "0123456789") == v.val.string.len;
			else if (tok == WJB_VALUE)
				ok = v.type == jbvNumeric &&
					DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(v.val.numeric))) >= 0;
			if (!ok)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("invalid offsets in start_at"),
						 errhint("Write partitions and offsets, such as {\"0\": 42, \"1\": 0}.")));
		}
		return pstrdup(start_at);
	}
	if (strcmp(start_at, "earliest") == 0 || strcmp(start_at, "latest") == 0)
		return pstrdup(start_at);
	/* errors if it is no timestamp; kept with the zone it was read in */
	(void) ks_start_timestamp(start_at, "", 0, &off);
	return pstrdup(timestamptz_to_str(DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																			  CStringGetDatum(start_at),
																			  ObjectIdGetDatum(InvalidOid),
																			  Int32GetDatum(-1)))));
}

Datum
kafka_sink_register_topic(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "the sink's name");
	char	   *topic = required_text(fcinfo, 1, "the topic");
	char	   *partitions = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	char	   *start_at = required_text(fcinfo, 3, "start_at");
	KsSink	   *sink = ks_catalog_sink(name, false);
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4];
	char		nulls[] = "    ";

	ks_catalog_check_owner(sink, false);
	if (*topic == '\0' || strlen(topic) > KS_MAX_TOPIC_LEN ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != strlen(topic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("invalid topic name"),
				 errdetail("Kafka's topics have 1 to %d letters, digits, dots, underscores and hyphens.",
						   KS_MAX_TOPIC_LEN)));
	ks_catalog_check_partitions(partitions);
	values[0] = CStringGetTextDatum(name);
	values[1] = CStringGetTextDatum(topic);
	values[2] = partitions ? CStringGetTextDatum(partitions) : (Datum) 0;
	nulls[2] = partitions ? ' ' : 'n';
	values[3] = CStringGetTextDatum(check_start_at(start_at));
	if (catalog_change("INSERT INTO kafka_sink.topic_catalog (sink, topic, partitions, start_at) "
					   "VALUES ($1, $2, $3, $4) ON CONFLICT (sink, topic) DO NOTHING",
					   4, types, values, nulls) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("topic \"%s\" is already registered with sink \"%s\"", topic, name)));
	bump_generation(name);
	if (sink->server && ks_sink_writes(sink) && sink->enabled)
		warn_without_workers(name);
	PG_RETURN_VOID();
}

Datum
kafka_sink_unregister_topic(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};

	ks_catalog_check_owner(ks_catalog_sink(name, false), false);
	bump_generation(name);
	if (catalog_change("DELETE FROM kafka_sink.topic_catalog t WHERE t.sink OPERATOR(pg_catalog.=) $1 "
					   "AND t.topic OPERATOR(pg_catalog.=) $2", 2, types, values, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" is not registered with sink \"%s\"",
						text_to_cstring(PG_GETARG_TEXT_PP(1)), name)));
	catalog_change("DELETE FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) $1 "
				   "AND o.topic OPERATOR(pg_catalog.=) $2", 2, types, values, NULL);
	PG_RETURN_VOID();
}
