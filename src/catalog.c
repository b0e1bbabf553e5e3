/*
 * catalog.c
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
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "catalog.h"

#define SINK_COLUMNS \
	"c.sink, c.owner::pg_catalog.oid, c.server, c.target::pg_catalog.oid, " \
	"c.insert_mode, c.columns, c.pk_fields, c.key_format, c.delete_enabled, " \
	"c.on_tombstone, c.on_nul, c.on_nonfinite, c.isolation_level, " \
	"c.synchronous_commit, c.batch_records, c.batch_bytes, " \
	"c.batch_linger_ms, c.max_record_bytes, c.workers, " \
	"c.command, c.value_type::pg_catalog.oid, c.filter, c.update_if, c.accumulate, " \
	"c.on_error, c.reject_limit, c.dead_letter_retention, " \
	"c.format, c.envelope, c.csv_delimiter, c.csv_quote, c.csv_null, c.strict, " \
	"c.enabled, c.generation, " \
	"c.system_identifier, c.database_oid, s.workers, s.states "
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
	COL_ENABLED, COL_GENERATION, COL_SYSID,
	COL_DBID, COL_STATE_WORKERS, COL_STATES
};

/* Switches to the owner of the extension's tables. */
void
ks_catalog_enter(KsCatalogUser *save)
{
	Oid			nspid = get_namespace_oid("kafka_sink", true);
	Oid			relid = InvalidOid;
	HeapTuple	tup;

	if (OidIsValid(nspid))
		relid = get_relname_relid("sink_catalog", nspid);
	tup = OidIsValid(relid) ? SearchSysCache1(RELOID, ObjectIdGetDatum(relid)) : NULL;
	if (!HeapTupleIsValid(tup))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" is not installed in this database", "kafka_sink"),
				 errhint("Run CREATE EXTENSION kafka_sink.")));
	GetUserIdAndSecContext(&save->userid, &save->sec_context);
	SetUserIdAndSecContext(((Form_pg_class) GETSTRUCT(tup))->relowner,
						   save->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	ReleaseSysCache(tup);
}

void
ks_catalog_leave(const KsCatalogUser *save)
{
	SetUserIdAndSecContext(save->userid, save->sec_context);
}

/* Complete: the script creates the last view at its end. */
bool
ks_catalog_exists(void)
{
	Oid			nspid = get_namespace_oid("kafka_sink", true);

	return OidIsValid(get_extension_oid("kafka_sink", true)) &&
		OidIsValid(nspid) &&
		OidIsValid(get_relname_relid("sink_catalog", nspid));
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
		column_is(tup, col, "none") ? KS_FORMAT_NONE : KS_FORMAT_JSON;
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
	char	   *s;
	MemoryContext old;

	sink->name = column_text(tup, COL_SINK, cxt);
	sink->owner = DatumGetObjectId(column(tup, COL_OWNER, &isnull));
	sink->server = column_text(tup, COL_SERVER, cxt);
	d = column(tup, COL_TARGET, &isnull);
	sink->target = isnull ? InvalidOid : DatumGetObjectId(d);
	s = column_text(tup, COL_INSERT_MODE, CurrentMemoryContext);
	sink->insert_mode = strcmp(s, "upsert") == 0 ? KS_UPSERT :
		strcmp(s, "ignore") == 0 ? KS_IGNORE :
		strcmp(s, "update") == 0 ? KS_UPDATE :
		strcmp(s, "accumulate") == 0 ? KS_ACCUMULATE : KS_INSERT;

	old = MemoryContextSwitchTo(cxt);
	d = column(tup, COL_COLUMNS, &isnull);
	if (!isnull)
		sink->columns = DatumGetJsonbPCopy(d);
	d = column(tup, COL_ACCUMULATE, &isnull);
	if (!isnull)
		sink->accumulate = DatumGetJsonbPCopy(d);
	d = column(tup, COL_PK_FIELDS, &isnull);
	if (!isnull)
	{
		Datum	   *elems;
		int			n;

		deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT,
						  &elems, NULL, &n);
		for (int i = 0; i < n; i++)
			sink->pk_fields = lappend(sink->pk_fields, TextDatumGetCString(elems[i]));
	}
	MemoryContextSwitchTo(old);

	sink->format = column_format(tup, COL_FORMAT);
	sink->key_format = column_format(tup, COL_KEY_FORMAT);
	sink->envelope = column_is(tup, COL_ENVELOPE, "debezium") ? KS_DEBEZIUM :
		column_is(tup, COL_ENVELOPE, "connect") ? KS_CONNECT : KS_NO_ENVELOPE;
	sink->csv_delimiter = *column_text(tup, COL_CSV_DELIMITER, CurrentMemoryContext);
	sink->csv_quote = *column_text(tup, COL_CSV_QUOTE, CurrentMemoryContext);
	sink->csv_null = column_text(tup, COL_CSV_NULL, cxt);
	sink->strict = DatumGetBool(column(tup, COL_STRICT, &isnull));
	sink->delete_enabled = DatumGetBool(column(tup, COL_DELETE_ENABLED, &isnull));
	sink->tombstone_ignore = column_is(tup, COL_ON_TOMBSTONE, "ignore");
	sink->strip_nul = column_is(tup, COL_ON_NUL, "strip");
	sink->refuse_nonfinite = column_is(tup, COL_ON_NONFINITE, "error");
	sink->read_uncommitted = column_is(tup, COL_ISOLATION, "read_uncommitted");
	sink->synchronous_commit = column_text(tup, COL_SYNC_COMMIT, cxt);
	sink->batch_records = DatumGetInt32(column(tup, COL_BATCH_RECORDS, &isnull));
	sink->batch_bytes = DatumGetInt32(column(tup, COL_BATCH_BYTES, &isnull));
	sink->batch_linger_ms = DatumGetInt32(column(tup, COL_LINGER, &isnull));
	sink->max_record_bytes = DatumGetInt32(column(tup, COL_MAX_RECORD, &isnull));
	sink->workers = DatumGetInt32(column(tup, COL_WORKERS, &isnull));
	sink->command = column_text(tup, COL_COMMAND, cxt);
	d = column(tup, COL_VALUE_TYPE, &isnull);
	sink->value_type = isnull ? InvalidOid : DatumGetObjectId(d);
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
	sink->enabled = DatumGetBool(column(tup, COL_ENABLED, &isnull));
	sink->generation = DatumGetInt64(column(tup, COL_GENERATION, &isnull));
	sink->suspended =
		(uint64) DatumGetInt64(column(tup, COL_SYSID, &isnull)) != GetSystemIdentifier() ||
		DatumGetObjectId(column(tup, COL_DBID, &isnull)) != MyDatabaseId;
	read_states(sink, tup, cxt);
	return sink;
}

/*
 * Runs a read as the tables' owner; SPI is connected by the caller.  It must see
 * what this command has done before, so it is not "read only" for SPI.
 */
static void
catalog_select(const char *sql, int nargs, Oid *types, Datum *values)
{
	KsCatalogUser save;

	ks_catalog_enter(&save);
	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	ks_catalog_leave(&save);
}

KsSink *
ks_catalog_sink(const char *name, bool missing_ok)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	KsSink	   *sink = NULL;

	SPI_connect();
	catalog_select("SELECT " SINK_COLUMNS SINK_FROM
				   "WHERE c.sink OPERATOR(pg_catalog.=) $1",
				   1, types, values);
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
ks_catalog_sinks(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	List	   *result = NIL;

	SPI_connect();
	catalog_select("SELECT " SINK_COLUMNS SINK_FROM "ORDER BY c.sink", 0, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		KsSink	   *sink = sink_from_tuple(SPI_tuptable->vals[i], cxt);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		result = lappend(result, sink);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

List *
ks_catalog_topics(const char *sink)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink)};
	List	   *result = NIL;

	SPI_connect();
	catalog_select("SELECT t.topic, t.partitions, t.start_at, t.cluster_id "
				   "FROM kafka_sink.topic_catalog t "
				   "WHERE t.sink OPERATOR(pg_catalog.=) $1 ORDER BY t.topic",
				   1, types, values);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		KsTopic    *topic = MemoryContextAllocZero(cxt, sizeof(KsTopic));
		MemoryContext old;

		topic->topic = column_text(tup, 1, cxt);
		topic->partitions = column_text(tup, 2, cxt);
		topic->start_at = column_text(tup, 3, cxt);
		topic->cluster_id = column_text(tup, 4, cxt);
		old = MemoryContextSwitchTo(cxt);
		result = lappend(result, topic);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

bool
ks_catalog_is_current(const KsSink *sink)
{
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(sink->name), Int64GetDatum(sink->generation)};
	bool		current;

	SPI_connect();
	catalog_select("SELECT 1 FROM kafka_sink.sink_catalog c "
				   "WHERE c.sink OPERATOR(pg_catalog.=) $1 "
				   "AND c.generation OPERATOR(pg_catalog.=) $2 FOR SHARE OF c",
				   2, types, values);
	current = SPI_processed == 1;
	SPI_finish();
	return current;
}

/*
 * Is 'part' in the topic's list?  With list NULL or part -1 it only checks the
 * syntax ('0-15,20'), and errors on a bad one.
 */
static bool
partition_list_has(const char *list, int32 part)
{
	const char *p = list;
	bool		found = false;

	if (list == NULL)
		return true;
	for (;;)
	{
		char	   *end;
		long		lo,
					hi;

		errno = 0;
		if (!isdigit((unsigned char) *p))
			break;
		lo = hi = strtol(p, &end, 10);
		p = end;
		if (*p == '-')
		{
			if (!isdigit((unsigned char) p[1]))
				break;
			hi = strtol(p + 1, &end, 10);
			p = end;
		}
		if (errno != 0 || lo > hi || hi > PG_INT32_MAX)
			break;
		if (part >= lo && part <= hi)
			found = true;
		if (*p == '\0')
			return found;
		if (*p++ != ',')
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid list of partitions: \"%s\"", list),
			 errhint("Write partitions and ranges of them with commas between, such as 0-15,20.")));
}

bool
ks_topic_has_partition(const KsTopic *topic, int32 part)
{
	return partition_list_has(topic->partitions, part);
}

void
ks_catalog_check_owner(const KsSink *sink, bool exactly)
{
	Oid			user = GetUserId();

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(sink->owner)) && (exactly || !superuser()))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of sink \"%s\" does not exist any more", sink->name),
				 errhint("A superuser can drop the sink and create it again as another role.")));
	if (exactly && user != sink->owner)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must run as the owner of sink \"%s\"", sink->name),
				 errdetail("Its triggers, defaults and constraints would run with the privileges of \"%s\".",
						   GetUserNameFromId(user, false)),
				 errhint("SET ROLE %s first.",
						 quote_identifier(GetUserNameFromId(sink->owner, false)))));
	if (!is_member_of_role(user, sink->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be a member of the owner of sink \"%s\"", sink->name)));
}

void
ks_catalog_check_writes(const KsSink *sink)
{
	if (!ks_sink_writes(sink))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has neither target nor command", sink->name),
				 errdetail("It is a ledger for kafka_sink.advance().")));
}

void
ks_catalog_check_consumes(const KsSink *sink, List *topics)
{
	if (sink->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no server to consume from", sink->name),
				 errhint("SELECT kafka_sink.alter_sink(%s, server => ...).", quote_literal_cstr(sink->name))));
	ks_catalog_check_writes(sink);
	if (topics == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no topics", sink->name),
				 errhint("SELECT kafka_sink.register_topic(%s, ...).", quote_literal_cstr(sink->name))));
}

void
ks_catalog_set_state(const char *sink, int worker, const char *state,
					 const KsStateError *error)
{
	Oid			types[] = {TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, INT4OID, INT8OID, TEXTOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];
	KsCatalogUser save;

	memset(nulls, 'n', sizeof(nulls));
#define SET_TEXT(i, s) \
	do { if ((s) != NULL) { values[i] = CStringGetTextDatum(s); nulls[i] = ' '; } } while (0)
	SET_TEXT(0, sink);
	values[1] = Int32GetDatum(worker);
	nulls[1] = ' ';
	SET_TEXT(2, state);
	if (error)
	{
		SET_TEXT(3, unpack_sql_state(error->sqlstate));
		SET_TEXT(4, error->message);
		SET_TEXT(5, error->detail);
		SET_TEXT(6, error->hint);
		SET_TEXT(7, error->topic);
		SET_TEXT(10, error->column);
		if (error->topic)
		{
			values[8] = Int32GetDatum(error->part);
			nulls[8] = ' ';
			values[9] = Int64GetDatum(error->off);
			nulls[9] = error->off >= 0 ? ' ' : 'n';
		}
	}
#undef SET_TEXT

	SPI_connect();
	ks_catalog_enter(&save);
	/* The sink may have been dropped meanwhile: then there is nothing to say. */
	SPI_execute_with_args("INSERT INTO kafka_sink.sink_state AS s "
						  "(sink, worker, state, since, sqlstate, message, detail, hint, topic, part, off, column_name) "
						  "SELECT c.sink, $2, $3, pg_catalog.clock_timestamp(), $4, $5, $6, $7, $8, $9, $10, $11 "
						  "FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF c "
						  "ON CONFLICT (sink, worker) DO UPDATE SET "
						  "state = excluded.state, "
						  "since = CASE WHEN s.state OPERATOR(pg_catalog.=) excluded.state THEN s.since ELSE excluded.since END, "
						  "sqlstate = excluded.sqlstate, message = excluded.message, "
						  "detail = excluded.detail, hint = excluded.hint, "
						  "topic = excluded.topic, part = excluded.part, off = excluded.off, "
						  "column_name = excluded.column_name",
						  lengthof(types), types, values, nulls, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}

void
ks_catalog_check_partitions(const char *list)
{
	(void) partition_list_has(list, -1);
}

const char *
ks_sink_worker_state(const KsSink *sink, int worker)
{
	for (int i = 0; i < sink->nstates; i++)
		if (sink->states[i].worker == worker)
			return sink->states[i].state;
	return NULL;
}

void
ks_catalog_clear_states(const KsSink *sink, int from_worker)
{
	Oid			types[] = {TEXTOID, INT4OID};
	Datum		values[] = {CStringGetTextDatum(sink->name), Int32GetDatum(from_worker)};
	bool		any = false;
	KsCatalogUser save;

	for (int i = 0; i < sink->nstates; i++)
		any |= sink->states[i].worker >= from_worker &&
			strcmp(sink->states[i].state, "halted") != 0 &&
			strcmp(sink->states[i].state, "suspended") != 0;
	if (!any)
		return;
	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("DELETE FROM kafka_sink.sink_state s "
						  "WHERE s.sink OPERATOR(pg_catalog.=) $1 "
						  "AND s.worker OPERATOR(pg_catalog.>=) $2 "
						  "AND s.state OPERATOR(pg_catalog.<>) ALL ('{halted,suspended}'::pg_catalog.text[])",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}
