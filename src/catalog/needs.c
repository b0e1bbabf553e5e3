/*
 * needs.c
 *	  What sinks need of what is dropped, reassigned, or owned.
 *
 * The server keeps no dependencies of rows: this is what stands in for them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "catalog/extension.h"
#include "catalog/feeds.h"
#include "catalog/history.h"
#include "catalog/limits.h"
#include "catalog/needs.h"
#include "catalog/sinks.h"
#include "catalog/version.h"

#define NAMES	"pg_catalog.string_agg(pg_catalog.format('\"%s\"', s.sink), ', ' ORDER BY s.sink)"

/* A statement as the tables' owner, whose result is one text, or NULL. */
static char *
select_text(const char *sql, int nargs, Oid *types, Datum *values)
{
	MemoryContext cxt = CurrentMemoryContext;
	char	   *result = NULL;

	if (!ks_extension_is_sound() || !ks_version_is_ours())
		return NULL;
	SPI_connect();
	ks_catalog_execute(sql, nargs, types, values, NULL);
	if (SPI_processed == 1 && SPI_tuptable)
		result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (result)
		result = MemoryContextStrdup(cxt, result);
	SPI_finish();
	return result;
}

static char *
select_by_oid(const char *sql, Oid oid)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(oid)};

	return select_text(sql, 1, types, values);
}

/* Sinks and feeds, which share their names. */
#define ALL \
	"(SELECT c.sink, c.owner, c.server FROM kafka_sink.sink_catalog c UNION ALL " \
	"SELECT f.feed, f.owner, f.server FROM kafka_sink.feed_catalog f) s "

char *
ks_needs_of_owner(Oid role)
{
	return select_by_oid("SELECT " NAMES " FROM " ALL
						 "WHERE s.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1", role);
}

List *
ks_needs_of_tables(const List *relids)
{
	MemoryContext cxt = CurrentMemoryContext;
	Datum	   *oids = palloc(list_length(relids) * sizeof(Datum));
	Oid			types[] = {OIDARRAYOID};
	Datum		values[1];
	List	   *result = NIL;
	ListCell   *lc;

	if (relids == NIL || !ks_extension_is_sound() || !ks_version_is_ours())
		return NIL;
	foreach(lc, relids)
		oids[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	values[0] = PointerGetDatum(construct_array(oids, list_length(relids), OIDOID,
												sizeof(Oid), true, TYPALIGN_INT));
	SPI_connect();
	ks_catalog_execute("SELECT s.relid, " NAMES " FROM (SELECT c.target::pg_catalog.oid AS relid, c.sink "
					   "FROM kafka_sink.sink_catalog c "
					   "UNION SELECT t.target::pg_catalog.oid, t.sink FROM kafka_sink.topic_catalog t) s "
					   "WHERE s.relid OPERATOR(pg_catalog.=) ANY ($1) GROUP BY s.relid ORDER BY s.relid",
					   1, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		KsNeededTable *t = MemoryContextAlloc(cxt, sizeof(KsNeededTable));
		MemoryContext old;
		bool		isnull;

		t->relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		t->sinks = MemoryContextStrdup(cxt, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2));
		old = MemoryContextSwitchTo(cxt);
		result = lappend(result, t);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

char *
ks_needs_of_server(const char *server)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(server)};

	return select_text("SELECT " NAMES " FROM " ALL
					   "WHERE s.server OPERATOR(pg_catalog.=) $1", 1, types, values);
}

/* Names of a role's sinks, or by another statement feeds, in their order, in the
 * current context. */
static List *
names_of(const char *sql, Oid role)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(role)};
	List	   *result = NIL;

	if (!ks_extension_is_sound() || !ks_version_is_ours())
		return NIL;
	SPI_connect();
	ks_catalog_execute(sql, 1, types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *name = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		result = lappend(result, pstrdup(name));
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

static List *
sinks_of(Oid role)
{
	return names_of("SELECT s.sink FROM kafka_sink.sink_catalog s "
					"WHERE s.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1 ORDER BY s.sink FOR UPDATE", role);
}

static List *
feeds_of(Oid role)
{
	return names_of("SELECT f.feed FROM kafka_sink.feed_catalog f "
					"WHERE f.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1 ORDER BY f.feed FOR UPDATE", role);
}

/* Feeds get another owner, whom their workers run as. */
static void
reassign_feeds(Oid from, Oid to)
{
	ListCell   *lc;

	foreach(lc, feeds_of(from))
	{
		const char *feed = lfirst(lc);
		Jsonb	   *before = ks_history_definition(feed, NULL);
		Oid			types[] = {TEXTOID, OIDOID};
		Datum		values[] = {CStringGetTextDatum(feed), ObjectIdGetDatum(to)};

		ks_limits_check_feeds(to);
		(void) select_text("UPDATE kafka_sink.feed_catalog c SET owner = $2::pg_catalog.regrole, "
						   "generation = c.generation OPERATOR(pg_catalog.+) 1 "
						   "WHERE c.feed OPERATOR(pg_catalog.=) $1", 2, types, values);
		ks_feeds_note_change();
		ks_history_log_change(feed, "REASSIGN OWNED", NULL, before);
	}
}

char *
ks_needs_reassign(Oid from, Oid to)
{
	Oid			types[] = {OIDOID, OIDOID};
	Datum		values[] = {ObjectIdGetDatum(from), ObjectIdGetDatum(to)};
	char	   *names = ks_needs_of_owner(from);
	ListCell   *lc;

	foreach(lc, sinks_of(from))
	{
		const char *sink = lfirst(lc);
		Jsonb	   *before = ks_history_definition(sink, NULL);
		Oid			sink_types[] = {TEXTOID, OIDOID};
		Datum		sink_values[] = {CStringGetTextDatum(sink), ObjectIdGetDatum(to)};

		ks_limits_check_sinks(to);
		ks_limits_check_topics(to, list_length(ks_catalog_topics(sink)));
		(void) select_text("UPDATE kafka_sink.sink_catalog c SET owner = $2::pg_catalog.regrole, "
						   "generation = c.generation OPERATOR(pg_catalog.+) 1 "
						   "WHERE c.sink OPERATOR(pg_catalog.=) $1", 2, sink_types, sink_values);
		ks_history_log_change(sink, "REASSIGN OWNED", NULL, before);
	}
	reassign_feeds(from, to);
	(void) select_text("UPDATE kafka_sink.offset_history h SET owner = $2::pg_catalog.regrole "
					   "WHERE h.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1", 2, types, values);
	(void) select_text("UPDATE kafka_sink.sink_history h SET owner = $2::pg_catalog.regrole "
					   "WHERE h.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1", 2, types, values);
	(void) select_text("UPDATE kafka_sink.ddl_history h SET owner = $2::pg_catalog.regrole "
					   "WHERE h.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1", 2, types, values);
	return names;
}

char *
ks_needs_drop_owned(Oid role)
{
	ListCell   *lc;

	foreach(lc, sinks_of(role))
		ks_history_log(lfirst(lc), "DROP OWNED", NULL, ks_history_definition(lfirst(lc), NULL), NULL);
	foreach(lc, feeds_of(role))
		ks_history_log(lfirst(lc), "DROP OWNED", NULL, ks_history_definition(lfirst(lc), NULL), NULL);
	/* as drop_sink(): the sink's row first, so that its workers let go of the rest */
	(void) select_by_oid("UPDATE kafka_sink.sink_catalog c SET generation = c.generation OPERATOR(pg_catalog.+) 1 "
						 "WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1", role);
	(void) select_by_oid("DELETE FROM kafka_sink.txn_offsets o WHERE o.sink OPERATOR(pg_catalog.=) ANY "
						 "(SELECT c.sink FROM kafka_sink.sink_catalog c "
						 "WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1)", role);
	(void) select_by_oid("DELETE FROM kafka_sink.feed_grants g WHERE g.role::pg_catalog.oid OPERATOR(pg_catalog.=) $1", role);
	if (ks_extension_is_sound() && ks_version_is_ours())
		ks_feeds_note_change();
	return select_by_oid("WITH s AS (DELETE FROM kafka_sink.sink_catalog c "
						 "WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1 RETURNING c.sink), "
						 "f AS (DELETE FROM kafka_sink.feed_catalog c "
						 "WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1 RETURNING c.feed) "
						 "SELECT " NAMES " FROM (SELECT s.sink FROM s UNION ALL SELECT f.feed FROM f) s", role);
}
