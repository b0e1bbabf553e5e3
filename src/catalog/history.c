/*
 * history.c
 *	  Who has changed a sink or a feed, when, and how: rows of sink_history.
 *
 * A row is written in the transaction of the change, and stays when the sink is
 * dropped.  What changed is two objects, by the names of settings: what was, and
 * what is.  Names in them have their schema, whatever the caller's search_path.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/session.h"
#include "catalog/history.h"
#include "catalog/sinks.h"

/* With settings by which the texts of a definition are the same for everybody. */
static void
run(const char *sql, int nargs, Oid *types, Datum *values, const char *nulls)
{
	int			nestlevel = ks_session_enter();

	ks_catalog_execute(sql, nargs, types, values, nulls);
	ks_session_leave(nestlevel);
}

/* Columns that are not of a definition. */
#define NO_SETTINGS \
	"'{sink,feed,id,start_lsn,skip_lsn,enabled,generation,system_identifier,database_oid,created_by,created_at,altered_by,altered_at}'::pg_catalog.text[] "

Jsonb *
ks_history_definition(const char *sink, const char *topic)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink), topic ? CStringGetTextDatum(topic) : (Datum) 0};
	Jsonb	   *result = NULL;

	SPI_connect();
	run(topic ?
		"SELECT pg_catalog.to_jsonb(t) OPERATOR(pg_catalog.-) '{sink,topic,cluster_id}'::pg_catalog.text[] "
		"FROM kafka_sink.topic_catalog t "
		"WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.=) $2" :
		"SELECT pg_catalog.to_jsonb(c) OPERATOR(pg_catalog.-) " NO_SETTINGS
		"FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1 "
		"UNION ALL "
		"SELECT pg_catalog.to_jsonb(c) OPERATOR(pg_catalog.-) " NO_SETTINGS
		"FROM kafka_sink.feed_catalog c WHERE c.feed OPERATOR(pg_catalog.=) $1",
		topic ? 2 : 1, types, values, NULL);
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		d = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		result = DatumGetJsonbPCopy(d);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

/* Of $4 and $5: what the first says that the second does not, or says otherwise. */
#define DIFFERENCE(this, other) \
	"(SELECT pg_catalog.jsonb_object_agg(j.key, j.value) FROM pg_catalog.jsonb_each(" this ") j " \
	"WHERE CASE WHEN " other " IS NULL THEN pg_catalog.jsonb_typeof(j.value) OPERATOR(pg_catalog.<>) 'null' " \
	"ELSE j.value OPERATOR(pg_catalog.<>) (" other " OPERATOR(pg_catalog.->) j.key) END)"

void
ks_history_log(const char *sink, const char *action, const char *topic,
			   const Jsonb *before, const Jsonb *after)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID, TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(action),
		topic ? CStringGetTextDatum(topic) : (Datum) 0, PointerGetDatum(before), PointerGetDatum(after),
		CStringGetTextDatum(GetUserNameFromId(GetUserId(), false)),
	CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false))};
	char		nulls[] = {' ', ' ', topic ? ' ' : 'n', before ? ' ' : 'n', after ? ' ' : 'n', ' ', ' ', '\0'};

	SPI_connect();
	run("INSERT INTO kafka_sink.sink_history (sink, owner, action, topic, old, new, role, session_role) "
		"SELECT c.sink, c.owner, $2, $3, " DIFFERENCE("$4", "$5") ", " DIFFERENCE("$5", "$4") ", $6, $7 "
		"FROM (SELECT s.sink, s.owner FROM kafka_sink.sink_catalog s UNION ALL "
		"SELECT f.feed, f.owner FROM kafka_sink.feed_catalog f) c WHERE c.sink OPERATOR(pg_catalog.=) $1",
		lengthof(types), types, values, nulls);
	SPI_finish();
}

void
ks_history_stamp(const char *sink, bool created)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))};

	SPI_connect();
	run(created ?
		"UPDATE kafka_sink.sink_catalog c SET created_by = $2, created_at = pg_catalog.clock_timestamp() "
		"WHERE c.sink OPERATOR(pg_catalog.=) $1" :
		"UPDATE kafka_sink.sink_catalog c SET altered_by = $2, altered_at = pg_catalog.clock_timestamp() "
		"WHERE c.sink OPERATOR(pg_catalog.=) $1",
		lengthof(types), types, values, NULL);
	/* or a feed's, of which there is none if there is such a sink */
	run(created ?
		"UPDATE kafka_sink.feed_catalog c SET created_by = $2, created_at = pg_catalog.clock_timestamp() "
		"WHERE c.feed OPERATOR(pg_catalog.=) $1" :
		"UPDATE kafka_sink.feed_catalog c SET altered_by = $2, altered_at = pg_catalog.clock_timestamp() "
		"WHERE c.feed OPERATOR(pg_catalog.=) $1",
		lengthof(types), types, values, NULL);
	SPI_finish();
}

void
ks_history_log_change(const char *sink, const char *action, const char *topic, const Jsonb *before)
{
	ks_history_log(sink, action, topic, before, ks_history_definition(sink, topic));
	ks_history_stamp(sink, strcmp(action, "create_sink") == 0 || strcmp(action, "create_feed") == 0);
}

#define SINCE_IT_EXISTS \
	"h.sink OPERATOR(pg_catalog.=) $1 AND h.at OPERATOR(pg_catalog.>) ALL " \
	"(SELECT d.at FROM kafka_sink.sink_history d WHERE d.sink OPERATOR(pg_catalog.=) $1 " \
	"AND d.action OPERATOR(pg_catalog.=) ANY ('{drop_sink,drop_feed}'::pg_catalog.text[]))"

void
ks_history_follow(const char *sink, const char *new_name, Oid new_owner)
{
	Oid			types[] = {TEXTOID, TEXTOID, REGROLEOID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(new_name), ObjectIdGetDatum(new_owner)};
	const char *nulls = OidIsValid(new_owner) ? "   " : "  n";

	SPI_connect();
	run("UPDATE kafka_sink.sink_history h SET sink = $2, owner = COALESCE($3, h.owner) WHERE " SINCE_IT_EXISTS,
		lengthof(types), types, values, nulls);
	run("UPDATE kafka_sink.offset_history h SET sink = $2, owner = COALESCE($3, h.owner) WHERE " SINCE_IT_EXISTS,
		lengthof(types), types, values, nulls);
	run("UPDATE kafka_sink.ddl_history h SET sink = $2, owner = COALESCE($3, h.owner) WHERE " SINCE_IT_EXISTS,
		lengthof(types), types, values, nulls);
	SPI_finish();
}
