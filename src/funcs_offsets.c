/*
 * funcs_offsets.c
 *	  SQL functions that stop and start sinks and move offsets.
 *
 * advance() is the guard for clients that write their own results.  seek(),
 * skip() and accept_gap() move offsets without a record; they are audited in
 * kafka_sink.offset_history.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "catalog.h"
#include "catalog_ends.h"
#include "consumer.h"
#include "offsets.h"
#include "options.h"
#include "shmem.h"
#include "source.h"

#define SEEK_TIMEOUT_MS		30000

PG_FUNCTION_INFO_V1(kafka_sink_is_home);
PG_FUNCTION_INFO_V1(kafka_sink_pause);
PG_FUNCTION_INFO_V1(kafka_sink_resume);
PG_FUNCTION_INFO_V1(kafka_sink_seek);
PG_FUNCTION_INFO_V1(kafka_sink_skip);
PG_FUNCTION_INFO_V1(kafka_sink_accept_gap);
PG_FUNCTION_INFO_V1(kafka_sink_advance);

Datum
kafka_sink_is_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL((uint64) PG_GETARG_INT64(0) == GetSystemIdentifier() &&
				   PG_GETARG_OID(1) == MyDatabaseId);
}

/* An UPDATE of one sink's row as the catalog's owner. */
static void
change_sink(const char *sink, const char *sql)
{
	Oid			types[] = {TEXTOID, INT8OID, OIDOID};
	Datum		values[] = {CStringGetTextDatum(sink), Int64GetDatum((int64) GetSystemIdentifier()),
	ObjectIdGetDatum(MyDatabaseId)};
	KsCatalogUser save;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args(sql, lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
	ks_shmem_note_change();
}

/* A worker that runs is to read the offsets again. */
static void
start_anew(const char *sink)
{
	change_sink(sink,
				"UPDATE kafka_sink.sink_catalog c SET "
				"generation = c.generation OPERATOR(pg_catalog.+) 1 "
				"WHERE c.sink OPERATOR(pg_catalog.=) $1");
}

Datum
kafka_sink_pause(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	ks_catalog_check_owner(sink, false);
	change_sink(sink->name,
				"UPDATE kafka_sink.sink_catalog c SET enabled = false, "
				"generation = c.generation OPERATOR(pg_catalog.+) 1 "
				"WHERE c.sink OPERATOR(pg_catalog.=) $1 AND c.enabled");
	PG_RETURN_VOID();
}

Datum
kafka_sink_resume(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);

	ks_catalog_check_owner(sink, false);
	/* the errors are forgotten, and the offsets belong here from now on */
	change_sink(sink->name,
				"DELETE FROM kafka_sink.topic_state h WHERE h.sink OPERATOR(pg_catalog.=) $1");
	change_sink(sink->name,
				"DELETE FROM kafka_sink.sink_state s WHERE s.sink OPERATOR(pg_catalog.=) $1 "
				"AND s.state OPERATOR(pg_catalog.<>) 'running'");
	change_sink(sink->name,
				"UPDATE kafka_sink.sink_catalog c SET enabled = true, "
				"system_identifier = $2, database_oid = $3, "
				"generation = c.generation OPERATOR(pg_catalog.+) 1 "
				"WHERE c.sink OPERATOR(pg_catalog.=) $1");
	PG_RETURN_VOID();
}

/* --- seek --- */

/* What identified the old log of a topic does not bind any more. */
static void
forget_cluster(const char *sink, const char *topic)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic)};
	KsCatalogUser save;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("UPDATE kafka_sink.topic_catalog t SET cluster_id = NULL "
						  "WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.=) $2 "
						  "AND t.cluster_id IS NOT NULL",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}

static void
seek_partition(const char *sink, const char *topic, int32 part, int64 off)
{
	KsPartition p = {.topic = topic, .part = part, .off = -1, .last_off = -1};
	int64		from = ks_offsets_read(sink, &p) ? p.off : -1;

	p.off = off;
	ks_offsets_put(sink, &p, true);
	ks_offsets_log(sink, topic, part, "seek", from, off);
	ks_catalog_forget_ends(sink, topic, part);
	forget_cluster(sink, topic);
}

/* earliest, latest or a timestamp: the broker tells. */
static void
seek_by_broker(KsSink *sink, const char *to)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink seek", ALLOCSET_DEFAULT_SIZES);
	KsSourceOptions opts = {
		.client_id = psprintf("kafka_sink/%s", sink->name),
		.read_uncommitted = sink->read_uncommitted,
		.max_record_bytes = sink->max_record_bytes
	};
	int64		off;
	int64		ts = ks_start_timestamp(to, "", 0, &off);
	List	   *topics = ks_catalog_topics(sink->name);
	KsSource   *src;
	ListCell   *lc;

	if (sink->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no server to ask for offsets", sink->name),
				 errhint("Give the offsets, such as {\"orders\": {\"0\": 42}}.")));
	if (topics == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no topics", sink->name)));
	src = ks_source_open(ks_options_load(sink->server, sink->owner), &opts, cxt);
	foreach(lc, topics)
	{
		KsTopic    *t = lfirst(lc);
		int			n = ks_source_partition_count(src, t->topic, SEEK_TIMEOUT_MS);
		KsOffsetQuery *q;
		int			m = 0;

		if (n < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("topic \"%s\" does not exist on server \"%s\"", t->topic, sink->server)));
		q = palloc0(n * sizeof(KsOffsetQuery));
		for (int i = 0; i < n; i++)
			if (ks_topic_has_partition(t, i))
			{
				q[m].topic = t->topic;
				q[m].part = i;
				q[m++].ts = ts;
			}
		ks_source_query_offsets(src, q, m, SEEK_TIMEOUT_MS);
		for (int i = 0; i < m; i++)
			seek_partition(sink->name, q[i].topic, q[i].part, q[i].off);
	}
	MemoryContextDelete(cxt);	/* closes the source */
}

Datum
kafka_sink_seek(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	char	   *to = text_to_cstring(PG_GETARG_TEXT_PP(1));

	ks_catalog_check_owner(sink, false);
	/* takes the lock on the sink's row first, as every change does */
	start_anew(sink->name);
	if (*to == '{')
	{
		int			n;
		KsPartition *parts = ks_offsets_parse(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(to))), &n);

		for (int i = 0; i < n; i++)
			seek_partition(sink->name, parts[i].topic, parts[i].part, parts[i].off);
	}
	else
		seek_by_broker(sink, to);
	PG_RETURN_VOID();
}

/* --- moves under the guard --- */

/* Moves one row from 'from' to 'until' with the given counts, or raises. */
static void
guarded_move(const char *sink, const char *topic, int32 part, int64 from,
			 int64 until, bool consumed)
{
	KsPartition p = {.topic = topic, .part = part, .off = from, .until = until,
	.last_off = -1, .new_last_off = -1};
	KsPartition *parts[] = {&p};

	if (consumed)
		p.counts.consumed = p.counts.applied = until - from;
	else
		p.counts.gaps = until - from;
	if (!ks_offsets_lock(sink, parts, 1) || !ks_offsets_move(sink, parts, 1))
		ks_offsets_mismatch(sink, parts, 1);
}

static void
check_range(int64 from, int64 until)
{
	if (from < 0 || until < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid range of offsets"),
				 errdetail("From " INT64_FORMAT " until " INT64_FORMAT ".", from, until),
				 errhint("Offsets are not negative, and until_off is not below from_off.")));
}

Datum
kafka_sink_skip(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	char	   *topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int32		part = PG_GETARG_INT32(2);
	int64		off = PG_GETARG_INT64(3);

	ks_catalog_check_owner(sink, false);
	check_range(off, off);
	start_anew(sink->name);
	guarded_move(sink->name, topic, part, off, off + 1, false);
	ks_offsets_log(sink->name, topic, part, "skip", off, off + 1);
	PG_RETURN_VOID();
}

Datum
kafka_sink_accept_gap(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	char	   *topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int32		part = PG_GETARG_INT32(2);
	int64		from = PG_GETARG_INT64(3);
	int64		until = PG_GETARG_INT64(4);

	ks_catalog_check_owner(sink, false);
	check_range(from, until);
	start_anew(sink->name);
	guarded_move(sink->name, topic, part, from, until, false);
	ks_offsets_log(sink->name, topic, part, "accept_gap", from, until);
	PG_RETURN_VOID();
}

Datum
kafka_sink_advance(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"sink", "topic", "part", "from_off", "until_off"};
	KsSink	   *sink;
	char	   *topic;
	int32		part;
	int64		until;

	for (int i = 0; i < (int) lengthof(names); i++)
		if (i != 3 && PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", names[i])));
	sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	topic = text_to_cstring(PG_GETARG_TEXT_PP(1));
	part = PG_GETARG_INT32(2);
	until = PG_GETARG_INT64(4);
	ks_catalog_check_owner(sink, false);

	if (PG_ARGISNULL(3))
	{
		KsPartition p = {.topic = topic, .part = part, .off = until};

		check_range(until, until);
		if (part < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid partition: %d", part)));
		if (!ks_offsets_put(sink->name, &p, false))
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("sink \"%s\" has an offset for topic \"%s\" partition %d already",
							sink->name, topic, part),
					 errhint("Give the offset that you expect there as from_off.")));
		PG_RETURN_VOID();
	}
	check_range(PG_GETARG_INT64(3), until);
	guarded_move(sink->name, topic, part, PG_GETARG_INT64(3), until, true);
	PG_RETURN_VOID();
}
