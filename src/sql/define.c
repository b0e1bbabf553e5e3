/*
 * define.c
 *	  What the functions that define sinks and topics share.
 *
 * Every setting is checked in the transaction that makes it, against what a
 * worker would find: the target is built as a worker builds it, the server is
 * looked up as the owner.  Changes become visible to workers at commit
 * (ks_shmem_note_change).
 */
#include "postgres.h"

#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/guc.h"
#include "catalog/owner.h"
#include "catalog/sinks.h"
#include "kafka/options.h"
#include "process/shmem.h"
#include "sql/define.h"
#include "sql/define_schema.h"
#include "write/apply.h"

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
	if (sink->filter && !ks_sink_writes_by_default(sink))
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
	if (sink->envelope != KS_NO_ENVELOPE && !ks_format_is_json(sink->format) && !ks_format_has_schema(sink->format))
		stray = "envelope";
	else if (sink->strict && sink->format == KS_FORMAT_RAW)
		stray = "strict";
	if (sink->envelope != KS_NO_ENVELOPE && ks_format_is_json(sink->format) && ks_format_has_schema(sink->key_format))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("keys in %s do not go with an envelope in JSON", sink->key_format == KS_FORMAT_AVRO ? "Avro" : "Protobuf")));
	if (stray)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" does not go with this format", stray),
				 *stray == 'e' ? errhint("An envelope needs format json, json_schema, avro or protobuf.") :
				 errhint("A raw value has no fields.")));
	if (sink->envelope == KS_DEBEZIUM && sink->command)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("envelope debezium needs a target"),
				 errhint("Without an envelope, a command sees the whole value: op, before and after.")));
}

static void
topic_context(void *arg)
{
	errcontext("settings of topic \"%s\"", ((const KsTopic *) arg)->topic);
}

/* Topics with targets of their own. */
static void
check_topics(const KsSink *sink)
{
	ListCell   *lc;

	foreach(lc, ks_catalog_topics(sink->name))
	{
		KsTopic    *topic = lfirst(lc);
		ErrorContextCallback context = {error_context_stack, topic_context, topic};

		if (OidIsValid(topic->target))
		{
			error_context_stack = &context;
			check_writing(ks_catalog_topic_sink(sink, topic));
			ks_define_check_schemas(ks_catalog_topic_sink(sink, topic));
			error_context_stack = context.previous;
		}
		else if (topic->insert_mode || topic->columns || topic->pk_fields || topic->filter ||
				 topic->update_if || topic->accumulate || topic->value_schema || topic->key_schema ||
				 topic->framing || topic->message_type || topic->validate_given || topic->evolve)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("topic \"%s\" has settings of a target, but no target of its own", topic->topic),
					 errhint("Give it a target, or change the sink's settings with kafka_sink.alter_sink().")));
	}
}

/* A sink's definition as a whole, as a worker will find it. */
void
ks_define_check(const char *name)
{
	KsSink	   *sink = ks_catalog_sink(name, false);

	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(sink->owner)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of sink \"%s\" does not exist any more", name),
				 errhint("Give it to another role with kafka_sink.alter_sink(..., owner => ...), or drop it.")));
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
	check_topics(sink);
	check_format(sink);
	ks_define_check_schemas(sink);
	if (sink->delete_enabled && sink->key_format == KS_FORMAT_NONE &&
		(sink->command == NULL || sink->topic_targets))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("delete_enabled needs a key format"),
				 errhint("Set key_format to json, raw, csv, avro, protobuf or json_schema.")));
	if (sink->reject_limit.text && sink->on_error == KS_ON_ERROR_STOP)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("reject_limit has no effect with on_error => 'stop'"),
				 errdetail("The sink halts at the first record that cannot be applied."),
				 errhint("Set on_error to dead_letter or ignore, or reset reject_limit.")));
	if (sink->server)
		(void) ks_options_load(sink->server, sink->owner);
	if (!ks_sink_writes_by_default(sink) && (sink->columns || sink->pk_fields))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns and pk_fields need a target")));
	if (ks_sink_writes(sink))
	{
		/* defaults are planned, so their functions may run: as the owner */
		KsOwnerUser user;
		KsApply    *apply;

		ks_owner_enter_restricted(sink, &user);
		apply = ks_apply_create(sink, true, CurrentMemoryContext, CurrentMemoryContext);
		apply->defining = true;
		ks_apply_prepare(apply);
		ks_apply_finish(apply);
		ks_apply_free(apply);
		ks_owner_leave(&user);
	}
}

/* May the role call create_sink(), or create_feed()? */
static bool
may_create(Oid role, const char *create)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {ObjectIdGetDatum(role), CStringGetTextDatum(create)};
	bool		may;

	SPI_connect();
	ks_catalog_execute("SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n "
					   "ON n.oid OPERATOR(pg_catalog.=) p.pronamespace "
					   "WHERE n.nspname OPERATOR(pg_catalog.=) 'kafka_sink' AND p.proname::pg_catalog.text OPERATOR(pg_catalog.=) $2 "
					   "AND pg_catalog.has_function_privilege($1, p.oid, 'EXECUTE')",
					   lengthof(types), types, values, NULL);
	may = SPI_processed > 0;
	SPI_finish();
	return may;
}

void
ks_define_check_new_owner(Oid role, const char *create)
{
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	/* its code will run as that role */
	if (!ks_can_set_role(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\"", GetUserNameFromId(role, false)),
				 errdetail("The %s's %s will run as that role.", strchr(create, '_') + 1,
						   strcmp(create, "create_sink") == 0 ? "code" : "worker")));
	if (!superuser() && !may_create(role, create))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not create %ss", GetUserNameFromId(role, false), strchr(create, '_') + 1),
				 errhint("GRANT EXECUTE ON FUNCTION kafka_sink.%s TO %s.", create,
						 quote_identifier(GetUserNameFromId(role, false)))));
}

uint64
ks_define_change(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	uint64		n;

	SPI_connect();
	ks_catalog_execute(sql, nargs, types, values, nulls);
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
bool
ks_define_bump_generation(const KsSink *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink->name)};
	KsSink	   *now;

	ks_define_change("UPDATE kafka_sink.sink_catalog c SET generation = c.generation OPERATOR(pg_catalog.+) 1 "
				   "WHERE c.sink OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
	now = ks_catalog_sink(sink->name, false);
	if (now->owner != sink->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" was given to another role meanwhile", sink->name)));
	return now->generation == sink->generation + 1;
}

void
ks_warn_without_workers(const char *sink)
{
	if (!ks_shmem_available())
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no background worker will consume for sink \"%s\"", sink),
				 errdetail("kafka_sink is not in shared_preload_libraries."),
				 errhint("Add it and restart the server, or consume in a session with CALL kafka_sink.run(%s).",
						 quote_literal_cstr(sink))));
}
