/*
 * sinks.c
 *	  Rows of the extension's tables as structs, and the tables' owner.
 *
 * All access goes through SPI with qualified names and parameters, as the
 * owner of the tables; results are copied into the caller's context.  Sinks
 * are read rarely (a worker's definition is fixed for its life), so plans are
 * not kept.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/interval.h"
#include "catalog/extension.h"
#include "catalog/sinks.h"
#include "catalog/version.h"

/* Defaults of batch_records; the view sinks says them too. */
#define BATCH_RECORDS			50000
#define COMMAND_BATCH_RECORDS	200000

#define SINK_COLUMNS \
	"c.sink, c.owner::pg_catalog.oid, c.server, c.target::pg_catalog.oid, " \
	"c.insert_mode, c.columns, c.pk_fields, c.key_format, c.delete_enabled, " \
	"c.on_tombstone, c.on_nul, c.on_nonfinite, c.isolation_level, " \
	"c.synchronous_commit, c.batch_records, c.batch_bytes, " \
	"c.batch_linger_ms, c.max_record_bytes, c.workers, " \
	"c.command, c.value_type::pg_catalog.oid, c.filter, c.update_if, c.accumulate, " \
	"c.on_error, c.reject_limit, c.dead_letter_retention, " \
	"c.format, c.envelope, c.csv_delimiter, c.csv_quote, c.csv_null, c.strict, " \
	"c.retry_within, c.on_topic_error, c.lock_timeout, c.idle_after, c.statistics_interval, EXISTS (SELECT FROM kafka_sink.topic_catalog t " \
	"WHERE t.sink OPERATOR(pg_catalog.=) c.sink AND t.target IS NOT NULL), " \
	"c.enabled, c.generation, " \
	"c.system_identifier, c.database_oid, s.workers, s.states, c.value_schema, c.key_schema, c.framing, c.message_type, c.validate, c.evolve "
#define SINK_FROM \
	"FROM kafka_sink.sink_catalog c CROSS JOIN LATERAL " \
	"(SELECT pg_catalog.array_agg(s.worker) AS workers, pg_catalog.array_agg(s.state) AS states " \
	"FROM kafka_sink.sink_state s WHERE s.sink OPERATOR(pg_catalog.=) c.sink) s "

/* The order of SINK_COLUMNS. */
enum
{
	COL_SINK = 1, COL_OWNER, COL_SERVER, COL_TARGET, COL_INSERT_MODE,
	COL_COLUMNS, COL_PK_FIELDS, COL_KEY_FORMAT, COL_DELETE_ENABLED,
	COL_ON_TOMBSTONE, COL_ON_NUL, COL_ON_NONFINITE, COL_ISOLATION,
	COL_SYNC_COMMIT, COL_BATCH_RECORDS, COL_BATCH_BYTES, COL_LINGER,
	COL_MAX_RECORD, COL_WORKERS,
	COL_COMMAND, COL_VALUE_TYPE, COL_FILTER, COL_UPDATE_IF, COL_ACCUMULATE,
	COL_ON_ERROR, COL_REJECT_LIMIT, COL_RETENTION,
	COL_FORMAT, COL_ENVELOPE, COL_CSV_DELIMITER, COL_CSV_QUOTE, COL_CSV_NULL, COL_STRICT,
	COL_RETRY_WITHIN, COL_ON_TOPIC_ERROR, COL_LOCK_TIMEOUT, COL_IDLE_AFTER, COL_STATISTICS,
	COL_TOPIC_TARGETS,
	COL_ENABLED, COL_GENERATION, COL_SYSID,
	COL_DBID, COL_STATE_WORKERS, COL_STATES,
	COL_VALUE_SCHEMA, COL_KEY_SCHEMA, COL_FRAMING, COL_MESSAGE_TYPE, COL_VALIDATE, COL_EVOLVE
};

/*
 * Switches to the owner of the extension's tables.  Restricted: a deferred trigger
 * on one of them would fire at the commit, as whoever commits, which may be
 * somebody's session or, in a supervisor, a superuser's.  The server refuses to
 * queue it instead.
 */
void
ks_catalog_enter(KsCatalogUser *save)
{
	Oid			owner = ks_extension_tables_owner();

	ks_version_check();
	GetUserIdAndSecContext(&save->userid, &save->sec_context);
	SetUserIdAndSecContext(owner, save->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
}

void
ks_catalog_leave(const KsCatalogUser *save)
{
	SetUserIdAndSecContext(save->userid, save->sec_context);
}

KsFormatSettings
ks_catalog_format(const KsSink *sink)
{
	return (KsFormatSettings)
	{
		.insert_mode = sink->insert_mode,
			.format = sink->format,
			.key_format = sink->key_format,
			.envelope = sink->envelope,
			.strict = sink->strict,
			.strip_nul = sink->strip_nul,
			.refuse_nonfinite = sink->refuse_nonfinite,
			.delete_enabled = sink->delete_enabled,
			.tombstone_ignore = sink->tombstone_ignore,
			.max_record_bytes = sink->max_record_bytes,
			.csv_delimiter = sink->csv_delimiter,
			.csv_quote = sink->csv_quote,
			.csv_null = sink->csv_null,
			.framing = sink->framing,
			.validate = sink->validate,
			.value_schema = sink->value_schema,
			.key_schema = sink->key_schema,
			.message_type = sink->message_type,
			.server = sink->server,
			.evolves = sink->evolve != KS_EVOLVE_NONE
	};
}

static Datum
column(HeapTuple tup, int col, bool *isnull)
{
	return SPI_getbinval(tup, SPI_tuptable->tupdesc, col, isnull);
}

/* A text column in 'cxt', NULL for NULL. */
static char *
column_text(HeapTuple tup, int col, MemoryContext cxt)
{
	bool		isnull;
	Datum		d = column(tup, col, &isnull);
	MemoryContext old;
	char	   *result;

	if (isnull)
		return NULL;
	old = MemoryContextSwitchTo(cxt);
	result = text_to_cstring(DatumGetTextPP(d));
	MemoryContextSwitchTo(old);
	return result;
}

static bool
column_is(HeapTuple tup, int col, const char *value)
{
	char	   *s = column_text(tup, col, CurrentMemoryContext);

	return s != NULL && strcmp(s, value) == 0;
}

static KsFormat
column_format(HeapTuple tup, int col)
{
	return column_is(tup, col, "raw") ? KS_FORMAT_RAW :
		column_is(tup, col, "csv") ? KS_FORMAT_CSV :
		column_is(tup, col, "avro") ? KS_FORMAT_AVRO :
		column_is(tup, col, "protobuf") ? KS_FORMAT_PROTOBUF :
		column_is(tup, col, "json_schema") ? KS_FORMAT_JSON_SCHEMA :
		column_is(tup, col, "none") ? KS_FORMAT_NONE : KS_FORMAT_JSON;
}

static KsInsertMode
insert_mode(const char *word)
{
	return strcmp(word, "upsert") == 0 ? KS_UPSERT :
		strcmp(word, "ignore") == 0 ? KS_IGNORE :
		strcmp(word, "update") == 0 ? KS_UPDATE :
		strcmp(word, "accumulate") == 0 ? KS_ACCUMULATE : KS_INSERT;
}

static void
set_framing(KsSink *sink, const char *word)
{
	sink->framing = word == NULL || strcmp(word, "auto") == 0 ? KS_FRAMING_AUTO :
		strcmp(word, "confluent") == 0 ? KS_FRAMING_CONFLUENT :
		strcmp(word, "header") == 0 ? KS_FRAMING_HEADER :
		strcmp(word, "apicurio8") == 0 ? KS_FRAMING_APICURIO8 :
		strcmp(word, "glue") == 0 ? KS_FRAMING_GLUE :
		strcmp(word, "single_object") == 0 ? KS_FRAMING_SINGLE_OBJECT : KS_FRAMING_NONE;
	sink->framing_given = word && strcmp(word, "auto") != 0;
}

static KsEvolve
evolve(const char *word)
{
	return strcmp(word, "add") == 0 ? KS_EVOLVE_ADD : strcmp(word, "widen") == 0 ? KS_EVOLVE_WIDEN : KS_EVOLVE_NONE;
}

static Oid
column_oid(HeapTuple tup, int col)
{
	bool		isnull;
	Datum		d = column(tup, col, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(d);
}

/* A jsonb column in 'cxt', NULL for NULL. */
static Jsonb *
column_jsonb(HeapTuple tup, int col, MemoryContext cxt)
{
	bool		isnull;
	Datum		d = column(tup, col, &isnull);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	Jsonb	   *result = isnull ? NULL : DatumGetJsonbPCopy(d);

	MemoryContextSwitchTo(old);
	return result;
}

/* A column of type text[] as a list of char * in 'cxt', NIL for NULL. */
static List *
column_names(HeapTuple tup, int col, MemoryContext cxt)
{
	bool		isnull;
	Datum		d = column(tup, col, &isnull);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	List	   *result = NIL;

	if (!isnull)
	{
		Datum	   *elems;
		int			n;

		deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT,
						  &elems, NULL, &n);
		for (int i = 0; i < n; i++)
			result = lappend(result, TextDatumGetCString(elems[i]));
	}
	MemoryContextSwitchTo(old);
	return result;
}

/*
 * An interval in microseconds, 0 for NULL.  What was stored before there were
 * limits, or by hand, is what can be reckoned with.
 */
static int64
column_interval_us(HeapTuple tup, int col)
{
	bool		isnull;
	Datum		d = column(tup, col, &isnull);

	if (isnull)
		return 0;
	return Max(0, Min(ks_interval_us(DatumGetIntervalP(d)), KS_INTERVAL_MAX_US));
}

/* The rows of sink_state. */
static void
read_states(KsSink *sink, HeapTuple tup, MemoryContext cxt)
{
	bool		isnull;
	Datum		workers = column(tup, COL_STATE_WORKERS, &isnull);
	Datum	   *worker,
			   *state;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(workers), INT4OID, sizeof(int32), true, TYPALIGN_INT,
					  &worker, NULL, &sink->nstates);
	deconstruct_array(DatumGetArrayTypeP(column(tup, COL_STATES, &isnull)), TEXTOID, -1, false,
					  TYPALIGN_INT, &state, NULL, &sink->nstates);
	sink->states = MemoryContextAlloc(cxt, sink->nstates * sizeof(KsWorkerState));
	for (int i = 0; i < sink->nstates; i++)
	{
		sink->states[i].worker = DatumGetInt32(worker[i]);
		sink->states[i].state = MemoryContextStrdup(cxt, TextDatumGetCString(state[i]));
		sink->halted |= strcmp(sink->states[i].state, "halted") == 0;
	}
}

static KsSink *
sink_from_tuple(HeapTuple tup, MemoryContext cxt)
{
	KsSink	   *sink = MemoryContextAllocZero(cxt, sizeof(KsSink));
	bool		isnull;
	Datum		d;

	sink->name = column_text(tup, COL_SINK, cxt);
	sink->owner = DatumGetObjectId(column(tup, COL_OWNER, &isnull));
	sink->server = column_text(tup, COL_SERVER, cxt);
	sink->target = column_oid(tup, COL_TARGET);
	sink->insert_mode = insert_mode(column_text(tup, COL_INSERT_MODE, CurrentMemoryContext));
	sink->columns = column_jsonb(tup, COL_COLUMNS, cxt);
	sink->accumulate = column_jsonb(tup, COL_ACCUMULATE, cxt);
	sink->pk_fields = column_names(tup, COL_PK_FIELDS, cxt);
	sink->format = column_format(tup, COL_FORMAT);
	sink->key_format = column_format(tup, COL_KEY_FORMAT);
	sink->envelope = column_is(tup, COL_ENVELOPE, "debezium") ? KS_DEBEZIUM :
		column_is(tup, COL_ENVELOPE, "connect") ? KS_CONNECT : KS_NO_ENVELOPE;
	sink->csv_delimiter = *column_text(tup, COL_CSV_DELIMITER, CurrentMemoryContext);
	sink->csv_quote = *column_text(tup, COL_CSV_QUOTE, CurrentMemoryContext);
	sink->csv_null = column_text(tup, COL_CSV_NULL, cxt);
	sink->value_schema = column_text(tup, COL_VALUE_SCHEMA, cxt);
	sink->key_schema = column_text(tup, COL_KEY_SCHEMA, cxt);
	set_framing(sink, column_text(tup, COL_FRAMING, CurrentMemoryContext));
	sink->message_type = column_text(tup, COL_MESSAGE_TYPE, cxt);
	sink->validate = DatumGetBool(column(tup, COL_VALIDATE, &isnull));
	sink->evolve = evolve(column_text(tup, COL_EVOLVE, CurrentMemoryContext));
	sink->strict = DatumGetBool(column(tup, COL_STRICT, &isnull));
	sink->delete_enabled = DatumGetBool(column(tup, COL_DELETE_ENABLED, &isnull));
	sink->tombstone_ignore = column_is(tup, COL_ON_TOMBSTONE, "ignore");
	sink->strip_nul = column_is(tup, COL_ON_NUL, "strip");
	sink->refuse_nonfinite = column_is(tup, COL_ON_NONFINITE, "error");
	sink->read_uncommitted = column_is(tup, COL_ISOLATION, "read_uncommitted");
	sink->synchronous_commit = column_text(tup, COL_SYNC_COMMIT, cxt);
	sink->batch_bytes = DatumGetInt32(column(tup, COL_BATCH_BYTES, &isnull));
	sink->batch_linger_ms = DatumGetInt32(column(tup, COL_LINGER, &isnull));
	sink->max_record_bytes = DatumGetInt32(column(tup, COL_MAX_RECORD, &isnull));
	sink->workers = DatumGetInt32(column(tup, COL_WORKERS, &isnull));
	sink->command = column_text(tup, COL_COMMAND, cxt);
	d = column(tup, COL_BATCH_RECORDS, &isnull);
	if (isnull)
		sink->batch_records = sink->command ? COMMAND_BATCH_RECORDS : BATCH_RECORDS;
	else
		sink->batch_records = DatumGetInt32(d);
	sink->value_type = column_oid(tup, COL_VALUE_TYPE);
	sink->filter = column_text(tup, COL_FILTER, cxt);
	sink->update_if = column_text(tup, COL_UPDATE_IF, cxt);
	sink->on_error = column_is(tup, COL_ON_ERROR, "dead_letter") ? KS_ON_ERROR_DEAD_LETTER :
		column_is(tup, COL_ON_ERROR, "ignore") ? KS_ON_ERROR_IGNORE : KS_ON_ERROR_STOP;
	ks_reject_limit_parse(column_text(tup, COL_REJECT_LIMIT, cxt), &sink->reject_limit);
	d = column(tup, COL_RETENTION, &isnull);
	if (!isnull)
	{
		sink->dead_letter_retention = MemoryContextAlloc(cxt, sizeof(Interval));
		*sink->dead_letter_retention = *DatumGetIntervalP(d);
	}
	sink->retry_within_us = column_interval_us(tup, COL_RETRY_WITHIN);
	sink->halt_as_a_whole = column_is(tup, COL_ON_TOPIC_ERROR, "halt_sink");
	sink->lock_timeout_us = column_interval_us(tup, COL_LOCK_TIMEOUT);
	sink->idle_after_us = column_interval_us(tup, COL_IDLE_AFTER);
	sink->statistics_us = column_interval_us(tup, COL_STATISTICS);
	sink->topic_targets = DatumGetBool(column(tup, COL_TOPIC_TARGETS, &isnull));
	sink->enabled = DatumGetBool(column(tup, COL_ENABLED, &isnull));
	sink->generation = DatumGetInt64(column(tup, COL_GENERATION, &isnull));
	sink->suspended =
		(uint64) DatumGetInt64(column(tup, COL_SYSID, &isnull)) != GetSystemIdentifier() ||
		DatumGetObjectId(column(tup, COL_DBID, &isnull)) != MyDatabaseId;
	read_states(sink, tup, cxt);
	return sink;
}

/* Reads, too, must see what this command has done before: not "read only" for SPI. */
void
ks_catalog_execute(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	KsCatalogUser save;

	ks_catalog_enter(&save);
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not execute a statement of kafka_sink's own");
	ks_catalog_leave(&save);
}

void
ks_catalog_set_text(Datum *values, char *nulls, int i, const char *s)
{
	values[i] = s ? CStringGetTextDatum(s) : (Datum) 0;
	nulls[i] = s ? ' ' : 'n';
}

KsSink *
ks_catalog_sink(const char *name, bool missing_ok)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	KsSink	   *sink = NULL;

	SPI_connect();
	ks_catalog_execute("SELECT " SINK_COLUMNS SINK_FROM
					   "WHERE c.sink OPERATOR(pg_catalog.=) $1",
					   1, types, values, NULL);
	if (SPI_processed == 1)
		sink = sink_from_tuple(SPI_tuptable->vals[0], cxt);
	SPI_finish();

	if (sink == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("sink \"%s\" does not exist", name),
				 errhint("The view kafka_sink.sinks lists the sinks; kafka_sink.create_sink() creates one.")));
	return sink;
}

List *
ks_catalog_topics(const char *sink)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink)};
	List	   *result = NIL;

	SPI_connect();
	ks_catalog_execute("SELECT t.topic, t.partitions, t.start_at, t.cluster_id, "
					   "t.target::pg_catalog.oid, t.insert_mode, t.columns, t.pk_fields, "
					   "t.filter, t.update_if, t.accumulate, h.topic IS NOT NULL, "
					   "t.value_schema, t.key_schema, t.framing, t.message_type, t.validate, t.evolve "
					   "FROM kafka_sink.topic_catalog t "
					   "LEFT JOIN kafka_sink.topic_state h ON h.sink OPERATOR(pg_catalog.=) t.sink "
					   "AND h.topic OPERATOR(pg_catalog.=) t.topic "
					   "WHERE t.sink OPERATOR(pg_catalog.=) $1 ORDER BY t.topic",
					   1, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		KsTopic    *topic = MemoryContextAllocZero(cxt, sizeof(KsTopic));
		MemoryContext old;
		bool		isnull;

		topic->topic = column_text(tup, 1, cxt);
		topic->partitions = column_text(tup, 2, cxt);
		topic->start_at = column_text(tup, 3, cxt);
		topic->cluster_id = column_text(tup, 4, cxt);
		topic->target = column_oid(tup, 5);
		topic->insert_mode = column_text(tup, 6, cxt);
		topic->columns = column_jsonb(tup, 7, cxt);
		topic->pk_fields = column_names(tup, 8, cxt);
		topic->filter = column_text(tup, 9, cxt);
		topic->update_if = column_text(tup, 10, cxt);
		topic->accumulate = column_jsonb(tup, 11, cxt);
		topic->halted = DatumGetBool(column(tup, 12, &isnull));
		topic->value_schema = column_text(tup, 13, cxt);
		topic->key_schema = column_text(tup, 14, cxt);
		topic->framing = column_text(tup, 15, cxt);
		topic->message_type = column_text(tup, 16, cxt);
		topic->validate = DatumGetBool(column(tup, 17, &isnull));
		topic->validate_given = !isnull;
		topic->evolve = column_text(tup, 18, cxt);
		old = MemoryContextSwitchTo(cxt);
		result = lappend(result, topic);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

KsSink *
ks_catalog_topic_sink(const KsSink *sink, const KsTopic *topic)
{
	KsSink	   *result = palloc(sizeof(KsSink));

	*result = *sink;
	result->topic = topic->topic;
	result->target = topic->target;
	if (topic->insert_mode)
		result->insert_mode = insert_mode(topic->insert_mode);
	result->columns = topic->columns;
	result->pk_fields = topic->pk_fields;
	result->filter = topic->filter;
	result->update_if = topic->update_if;
	result->accumulate = topic->accumulate;
	if (topic->value_schema)
		result->value_schema = topic->value_schema;
	if (topic->key_schema)
		result->key_schema = topic->key_schema;
	if (topic->framing)
		set_framing(result, topic->framing);
	/* it is of a schema */
	if (topic->message_type || topic->value_schema)
		result->message_type = topic->message_type;
	if (topic->validate_given)
		result->validate = topic->validate;
	if (topic->evolve)
		result->evolve = evolve(topic->evolve);
	result->command = NULL;
	result->value_type = InvalidOid;
	return result;
}

bool
ks_catalog_is_current(const KsSink *sink)
{
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(sink->name), Int64GetDatum(sink->generation)};
	bool		current;

	SPI_connect();
	ks_catalog_execute("SELECT 1 FROM kafka_sink.sink_catalog c "
					   "WHERE c.sink OPERATOR(pg_catalog.=) $1 "
					   "AND c.generation OPERATOR(pg_catalog.=) $2 FOR SHARE OF c",
					   2, types, values, NULL);
	current = SPI_processed == 1;
	SPI_finish();
	return current;
}

bool
ks_catalog_is_unchanged(const KsSink *sink)
{
	static SPIPlanPtr plan = NULL;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink->name)};
	KsCatalogUser save;
	bool		isnull;
	bool		unchanged;

	SPI_connect();
	ks_catalog_enter(&save);
	if (plan == NULL)
	{
		plan = SPI_prepare("SELECT c.generation FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1",
						   1, types);
		if (plan == NULL || SPI_keepplan(plan) != 0)
			elog(ERROR, "could not prepare a statement of kafka_sink's own");
	}
	/* not read-only: with a snapshot of its own */
	if (SPI_execute_plan(plan, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not execute a statement of kafka_sink's own");
	ks_catalog_leave(&save);
	unchanged = SPI_processed == 1 &&
		DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull)) == sink->generation;
	SPI_finish();
	return unchanged;
}
