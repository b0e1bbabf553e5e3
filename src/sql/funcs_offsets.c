/*
 * funcs_offsets.c
 *	  SQL functions that let sinks go on and move offsets.
 *
 * seek(), skip() and accept_gap() move offsets without a record; they are
 * audited in kafka_sink.offset_history.  They lock the sink's row first, then
 * rows of txn_offsets in order of (topic, part).  Kafka is asked before: nothing
 * is locked while its answer is waited for.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/compat.h"
#include "base/guc.h"
#include "catalog/claim.h"
#include "catalog/history.h"
#include "catalog/limits.h"
#include "catalog/filled.h"
#include "catalog/offsets.h"
#include "catalog/partition_ends.h"
#include "catalog/sinks.h"
#include "process/consumer.h"
#include "process/shmem.h"
#include "process/start_offsets.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/feeds.h"

#define MAX_LISTED_PLACES	10

PG_FUNCTION_INFO_V1(kafka_sink_is_home);
PG_FUNCTION_INFO_V1(kafka_sink_workers_off);
PG_FUNCTION_INFO_V1(kafka_sink_unsupervised);
PG_FUNCTION_INFO_V1(kafka_sink_resume);
PG_FUNCTION_INFO_V1(kafka_sink_seek);
PG_FUNCTION_INFO_V1(kafka_sink_skip);
PG_FUNCTION_INFO_V1(kafka_sink_accept_gap);
PG_FUNCTION_INFO_V1(kafka_sink_skip_halted);
PG_FUNCTION_INFO_V1(kafka_sink_accept_halted_gap);

Datum
kafka_sink_is_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL((uint64) PG_GETARG_INT64(0) == GetSystemIdentifier() &&
				   PG_GETARG_OID(1) == MyDatabaseId);
}

/* kafka_sink.workers_off(): why no sink has workers, for the view sinks. */
Datum
kafka_sink_workers_off(PG_FUNCTION_ARGS)
{
	if (!ks_shmem_available())
		PG_RETURN_TEXT_P(cstring_to_text("kafka_sink is not in shared_preload_libraries"));
	if (!ks_guc_enabled)
		PG_RETURN_TEXT_P(cstring_to_text("kafka_sink.enabled is off"));
	PG_RETURN_NULL();
}

/* kafka_sink.unsupervised(): since when nobody can look after sinks, for the views. */
Datum
kafka_sink_unsupervised(PG_FUNCTION_ARGS)
{
	TimestampTz since = ks_guc_enabled ? ks_shmem_unsupervised_since() : 0;

	if (since == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(since);
}

Datum
kafka_sink_resume(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsSink	   *sink;
	Oid			types[] = {TEXTOID, INT8OID, OIDOID};
	Datum		values[] = {PG_GETARG_DATUM(0), Int64GetDatum((int64) GetSystemIdentifier()),
	ObjectIdGetDatum(MyDatabaseId)};

	if (ks_feeds_resume(name))
		PG_RETURN_VOID();
	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, false);
	(void) ks_define_bump_generation(sink);
	/* columns may be called what they are called */
	ks_filled_forget(sink->name, NULL);
	/* the errors are forgotten, and the offsets belong here from now on */
	ks_define_change("DELETE FROM kafka_sink.topic_state h WHERE h.sink OPERATOR(pg_catalog.=) $1",
					 1, types, values, NULL);
	ks_define_change("DELETE FROM kafka_sink.sink_state s WHERE s.sink OPERATOR(pg_catalog.=) $1 "
					 "AND s.state OPERATOR(pg_catalog.<>) 'running'", 1, types, values, NULL);
	ks_define_change("UPDATE kafka_sink.sink_catalog c SET enabled = true, "
					 "system_identifier = $2, database_oid = $3 "
					 "WHERE c.sink OPERATOR(pg_catalog.=) $1", lengthof(types), types, values, NULL);
	ks_history_log(sink->name, "resume", NULL, NULL, NULL);
	PG_RETURN_VOID();
}

/* --- seek --- */

/* What identified the old log of a topic does not bind any more. */
static void
forget_cluster(const char *sink, const char *topic)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic)};

	ks_define_change("UPDATE kafka_sink.topic_catalog t SET cluster_id = NULL "
					 "WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.=) $2 "
					 "AND t.cluster_id IS NOT NULL", lengthof(types), types, values, NULL);
}

static void
seek_partition(const char *sink, const char *topic, int32 part, int64 off)
{
	KsPartition p = {.topic = topic, .part = part, .off = -1, .last_off = -1};
	int64		from = ks_offsets_read(sink, &p) ? p.off : -1;

	p.off = off;
	ks_offsets_put(sink, &p, true);
	if (from < 0)
		ks_limits_check_partitions(sink, 1);
	ks_offsets_log(sink, topic, part, "seek", from, off);
	ks_catalog_forget_partition_ends(sink, topic, part);
	forget_cluster(sink, topic);
}

/* Errors (55000) if the sink is another than when Kafka was asked. */
static void
check_unchanged(const KsSink *sink)
{
	KsSink	   *now = ks_catalog_sink(sink->name, false);

	/* we have changed it ourselves, once */
	if (now->generation != sink->generation + 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" was changed while Kafka was asked for offsets", sink->name),
				 errhint("Call kafka_sink.seek() again.")));
}

/* A sink that has workers may be moved before a topic is registered, or the name
 * is not what was meant. */
static void
note_unregistered(const KsSink *sink, const KsPartition *parts, int n)
{
	List	   *topics = sink->server ? ks_catalog_topics(sink->name) : NIL;

	for (int i = 0; i < n && sink->server; i++)
	{
		bool		registered = i > 0 && strcmp(parts[i].topic, parts[i - 1].topic) == 0;
		ListCell   *lc;

		CHECK_FOR_INTERRUPTS();
		foreach(lc, topics)
			registered |= strcmp(((KsTopic *) lfirst(lc))->topic, parts[i].topic) == 0;
		if (!registered)
			ereport(NOTICE,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("topic \"%s\" is not registered with sink \"%s\"", parts[i].topic, sink->name),
					 errdetail("Workers will go on from these offsets when it is.")));
	}
}

Datum
kafka_sink_seek(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(ks_text_argument(fcinfo, 0), false);
	char	   *to = ks_text_argument(fcinfo, 1);
	KsPartition *parts;
	bool		ask = *to != '{';
	int			n;

	ks_catalog_check_owner(sink, false);
	if (ask)
		parts = ks_start_offsets_query(sink, to, NULL, 0, &n);
	else
		parts = ks_offsets_parse(ks_offsets_jsonb(to), &n);
	if (!ask && n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no partition is named"),
				 errhint("Write topics, partitions and offsets, such as {\"orders\": {\"0\": 42}}.")));
	/* a worker that runs is to read the offsets again */
	(void) ks_define_bump_generation(sink);
	if (ask)
		check_unchanged(sink);
	note_unregistered(sink, parts, n);
	for (int i = 0; i < n; i++)
		seek_partition(sink->name, parts[i].topic, parts[i].part, parts[i].off);
	PG_RETURN_VOID();
}

/* --- moves under the guard --- */

/* Moves one row over a gap from 'from' to 'until', or raises. */
static void
pass_over(KsSink *sink, const char *topic, int32 part, int64 from, int64 until, const char *action)
{
	KsPartition p = {.topic = topic, .part = part, .last_off = -1, .new_last_off = -1};

	p.counts.gaps = until - from;
	/* a worker that runs is to read the offsets again */
	(void) ks_define_bump_generation(sink);
	ks_claim_exactly(sink->name, &p, from, until);
	ks_offsets_log(sink->name, topic, part, action, from, until);
}

Datum
kafka_sink_skip(PG_FUNCTION_ARGS)
{
	KsSink	   *sink;
	char	   *topic;
	int32		part = PG_GETARG_INT32(2);
	int64		off = PG_GETARG_INT64(3);

	ks_refuse_nulls(fcinfo);
	sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ks_catalog_check_owner(sink, false);
	ks_offsets_check_range(off, off);
	if (off == PG_INT64_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no offset behind " INT64_FORMAT, off),
				 errhint("The column off of the view kafka_sink.sinks tells where a sink has halted.")));
	pass_over(sink, topic, part, off, off + 1, "skip");
	PG_RETURN_VOID();
}

Datum
kafka_sink_accept_gap(PG_FUNCTION_ARGS)
{
	KsSink	   *sink;
	char	   *topic;
	int32		part = PG_GETARG_INT32(2);
	int64		from = PG_GETARG_INT64(3);
	int64		until = PG_GETARG_INT64(4);

	ks_refuse_nulls(fcinfo);
	sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	ks_catalog_check_owner(sink, false);
	ks_offsets_check_range(from, until);
	pass_over(sink, topic, part, from, until, "accept_gap");
	PG_RETURN_VOID();
}

/* --- the same where the sink has halted --- */

KS_NORETURN static void
refuse_several(const KsSink *sink, const KsStateError *places, int n, const char *function)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n && i < MAX_LISTED_PLACES; i++)
		appendStringInfo(&list, "%stopic \"%s\", partition %d, offset " INT64_FORMAT, i ? "; " : "",
						 places[i].topic, places[i].part, places[i].off);
	if (n > MAX_LISTED_PLACES)
		appendStringInfo(&list, "; and %d more", n - MAX_LISTED_PLACES);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sink \"%s\" has halted at %d places", sink->name, n),
			 errdetail("They are %s.", list.data),
			 errhint("Name one of them: kafka_sink.%s(%s, %s, %d, " INT64_FORMAT "%s).", function,
					 quote_literal_cstr(sink->name), quote_literal_cstr(places[0].topic),
					 places[0].part, places[0].off, strcmp(function, "skip") == 0 ? "" : ", until_off")));
}

/* The one place where the sink, or a topic of it, has halted. */
static KsStateError *
halted_place(const KsSink *sink, const char *function)
{
	int			n;
	KsStateError *places = ks_catalog_halted_places(sink->name, &n);

	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has not halted at a record", sink->name),
				 errhint("The view kafka_sink.sinks shows its state.")));
	if (n > 1)
		refuse_several(sink, places, n, function);
	return places;
}

/* It has halted there, but what it says is mended otherwise. */
KS_NORETURN static void
refuse_halt(const KsSink *sink, const KsStateError *e)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sink \"%s\" has halted for another reason", sink->name),
			 errdetail("Topic \"%s\", partition %d, offset " INT64_FORMAT ": %s.", e->topic, e->part, e->off, e->message),
			 e->hint ? errhint("%s", e->hint) : 0));
}

static void
note_passed(const KsStateError *e, int64 until)
{
	ereport(NOTICE,
			(errmsg("passed over topic \"%s\", partition %d, from offset " INT64_FORMAT " to below " INT64_FORMAT,
					e->topic, e->part, e->off, until)));
}

Datum
kafka_sink_skip_halted(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsSink	   *sink;
	KsStateError *e;

	if (ks_feeds_skip(name, NULL))
		PG_RETURN_VOID();
	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, false);
	e = halted_place(sink, "skip");
	if (strcmp(e->message, KS_LOG_DELETED) == 0 || strcmp(e->message, KS_LOG_REPLACED) == 0 ||
		strcmp(e->message, KS_LOG_TRUNCATED) == 0 || e->off == PG_INT64_MAX)
		refuse_halt(sink, e);
	pass_over(sink, e->topic, e->part, e->off, e->off + 1, "skip");
	note_passed(e, e->off + 1);
	PG_RETURN_VOID();
}

Datum
kafka_sink_accept_halted_gap(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsSink	   *sink;
	KsStateError *e;
	int64		until;

	if (ks_feeds_accept_gap(name))
		PG_RETURN_VOID();
	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, false);
	e = halted_place(sink, "accept_gap");
	if (strcmp(e->message, KS_LOG_DELETED) != 0)
		refuse_halt(sink, e);
	/* retention has gone on since */
	until = ks_start_offset_of_log(sink, e->topic, e->part);
	if (until <= e->off)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("nothing is missing of topic \"%s\" partition %d", e->topic, e->part),
				 errdetail("The stored offset is " INT64_FORMAT ", the log begins at " INT64_FORMAT ".", e->off, until),
				 errhint("kafka_sink.resume(%s) goes on with it.", quote_literal_cstr(sink->name))));
	pass_over(sink, e->topic, e->part, e->off, until, "accept_gap");
	note_passed(e, until);
	PG_RETURN_VOID();
}
