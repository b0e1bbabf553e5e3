/*
 * states.c
 *	  What workers say of themselves: rows of sink_state, and of topic_state.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "catalog/extension.h"
#include "catalog/sinks.h"

void
ks_catalog_set_state(const char *sink, int worker, const char *state,
					 const KsStateError *error)
{
	Oid			types[] = {TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, INT4OID, INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];
	KsCatalogUser save;

	memset(nulls, 'n', sizeof(nulls));
	ks_catalog_set_text(values, nulls, 0, sink);
	values[1] = Int32GetDatum(worker);
	nulls[1] = ' ';
	ks_catalog_set_text(values, nulls, 2, state);
	if (error)
	{
		ks_catalog_set_text(values, nulls, 3, unpack_sql_state(error->sqlstate));
		ks_catalog_set_text(values, nulls, 4, error->message);
		ks_catalog_set_text(values, nulls, 5, error->detail);
		ks_catalog_set_text(values, nulls, 6, error->hint);
		ks_catalog_set_text(values, nulls, 7, error->topic);
		ks_catalog_set_text(values, nulls, 10, error->column);
		ks_catalog_set_text(values, nulls, 11, error->waits_for);
		values[12] = TimestampTzGetDatum(error->since);
		nulls[12] = error->since != 0 ? ' ' : 'n';
		if (error->topic)
		{
			values[8] = Int32GetDatum(error->part);
			nulls[8] = error->part >= 0 ? ' ' : 'n';
			values[9] = Int64GetDatum(error->off);
			nulls[9] = error->off >= 0 ? ' ' : 'n';
		}
	}

	SPI_connect();
	ks_catalog_enter(&save);
	/* The sink may have been dropped meanwhile: then there is nothing to say. */
	SPI_execute_with_args("INSERT INTO kafka_sink.sink_state AS s "
						  "(sink, worker, state, since, sqlstate, message, detail, hint, topic, part, off, column_name, waits_for) "
						  "SELECT c.sink, $2, $3, COALESCE($13, pg_catalog.clock_timestamp()), $4, $5, $6, $7, $8, $9, $10, $11, $12 "
						  "FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF c "
						  "ON CONFLICT (sink, worker) DO UPDATE SET "
						  "state = excluded.state, "
						  "since = CASE WHEN s.state OPERATOR(pg_catalog.=) excluded.state "
						  "AND COALESCE(s.waits_for, '') OPERATOR(pg_catalog.=) COALESCE(excluded.waits_for, '') THEN s.since ELSE excluded.since END, "
						  "sqlstate = excluded.sqlstate, message = excluded.message, "
						  "detail = excluded.detail, hint = excluded.hint, "
						  "topic = excluded.topic, part = excluded.part, off = excluded.off, "
						  "column_name = excluded.column_name, waits_for = excluded.waits_for",
						  lengthof(types), types, values, nulls, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
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

/* --- topics --- */

/* The sink's row first, as every change does; false if it is not as it was read. */
static bool
bump_generation_of(const KsSink *sink)
{
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(sink->name), Int64GetDatum(sink->generation)};

	SPI_execute_with_args("UPDATE kafka_sink.sink_catalog c SET "
						  "generation = c.generation OPERATOR(pg_catalog.+) 1 "
						  "WHERE c.sink OPERATOR(pg_catalog.=) $1 "
						  "AND c.generation OPERATOR(pg_catalog.=) $2",
						  lengthof(types), types, values, NULL, false, 0);
	return SPI_processed == 1;
}

static void
insert_topic_state(const KsSink *sink, const KsStateError *error)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, INT8OID, TEXTOID, TEXTOID};
	Datum		values[lengthof(types)] = {0};
	char		nulls[lengthof(types) + 1];

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(sink->name);
	values[1] = CStringGetTextDatum(error->topic);
	values[2] = CStringGetTextDatum(unpack_sql_state(error->sqlstate));
	ks_catalog_set_text(values, nulls, 3, error->message);
	ks_catalog_set_text(values, nulls, 4, error->detail);
	ks_catalog_set_text(values, nulls, 5, error->hint);
	values[6] = Int32GetDatum(error->part);
	values[7] = Int64GetDatum(error->off);
	nulls[6] = error->part >= 0 ? ' ' : 'n';
	nulls[7] = error->off >= 0 ? ' ' : 'n';
	ks_catalog_set_text(values, nulls, 8, error->column);
	ks_catalog_set_text(values, nulls, 9, error->halted_by);
	SPI_execute_with_args("INSERT INTO kafka_sink.topic_state "
						  "(sink, topic, state, since, sqlstate, message, detail, hint, part, off, column_name, halted_by) "
						  "VALUES ($1, $2, 'halted', pg_catalog.clock_timestamp(), $3, $4, $5, $6, $7, $8, $9, $10) "
						  "ON CONFLICT (sink, topic) DO NOTHING",
						  lengthof(types), types, values, nulls, false, 0);
}

/* False if the sink was changed. */
static bool
halt_topics(const KsSink *sink, const KsStateError *errors, int n)
{
	KsCatalogUser save;
	bool		current;

	SPI_connect();
	ks_catalog_enter(&save);
	current = bump_generation_of(sink);
	for (int i = 0; i < n && current; i++)
		insert_topic_state(sink, &errors[i]);
	ks_catalog_leave(&save);
	SPI_finish();
	return current;
}

bool
ks_catalog_halt(const KsSink *sink, int worker, const KsStateError *errors, int n, bool whole)
{
	int			ntopics = whole ? n - 1 : n;
	KsStateError error;

	if (ntopics > 0 ? !halt_topics(sink, errors, ntopics) : !ks_catalog_is_current(sink))
		return false;
	if (whole)
	{
		error = errors[n - 1];
		/* it waits for nothing but resume() */
		error.waits_for = NULL;
		ks_catalog_set_state(sink->name, worker, "halted", &error);
	}
	return true;
}

void
ks_catalog_halt_if_all_topics_are(const char *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink)};
	KsCatalogUser save;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("INSERT INTO kafka_sink.sink_state "
						  "(sink, worker, state, since, sqlstate, message, detail, hint, topic, part, off, column_name) "
						  "SELECT h.sink, 0, h.state, h.since, h.sqlstate, h.message, h.detail, h.hint, "
						  "h.topic, h.part, h.off, h.column_name "
						  "FROM kafka_sink.topic_state h WHERE h.sink OPERATOR(pg_catalog.=) $1 "
						  "AND NOT EXISTS (SELECT FROM kafka_sink.topic_catalog t "
						  "WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.<>) ALL "
						  "(ARRAY(SELECT o.topic FROM kafka_sink.topic_state o WHERE o.sink OPERATOR(pg_catalog.=) $1))) "
						  "ORDER BY h.since DESC LIMIT 1 "
						  "ON CONFLICT (sink, worker) DO UPDATE SET "
						  "state = excluded.state, since = excluded.since, sqlstate = excluded.sqlstate, "
						  "message = excluded.message, detail = excluded.detail, hint = excluded.hint, "
						  "topic = excluded.topic, part = excluded.part, off = excluded.off, "
						  "column_name = excluded.column_name, waits_for = NULL",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}

/* --- reading them --- */

/* A column of the one row that was read, as text in 'cxt'; NULL for NULL. */
static char *
read_text(MemoryContext cxt, int col)
{
	char	   *s = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, col);

	return s ? MemoryContextStrdup(cxt, s) : NULL;
}

/* As the caller, whom the views show what is his.  topic: what is $2, or NULL. */
static KsStateError *
read_error(const char *query, const char *name, const char *topic, const char **state)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name), topic ? CStringGetTextDatum(topic) : (Datum) 0};
	MemoryContext cxt = CurrentMemoryContext;
	KsStateError *error = NULL;

	*state = NULL;
	ks_extension_check();
	SPI_connect();
	SPI_execute_with_args(query, topic ? 2 : 1, types, values, NULL, false, 0);
	if (SPI_processed == 1)
	{
		char	   *sqlstate = read_text(cxt, 2);
		char	   *part = read_text(cxt, 7);
		char	   *off = read_text(cxt, 8);

		*state = read_text(cxt, 1);
		if (read_text(cxt, 3) != NULL)
		{
			error = MemoryContextAllocZero(cxt, sizeof(KsStateError));
			error->sqlstate = sqlstate && strlen(sqlstate) == 5 ?
				MAKE_SQLSTATE(sqlstate[0], sqlstate[1], sqlstate[2], sqlstate[3], sqlstate[4]) :
				ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
			error->message = read_text(cxt, 3);
			error->detail = read_text(cxt, 4);
			error->hint = read_text(cxt, 5);
			error->topic = read_text(cxt, 6);
			error->part = part ? atoi(part) : -1;
			error->off = off ? (int64) strtoll(off, NULL, 10) : -1;
			error->column = read_text(cxt, 9);
			error->waits_for = read_text(cxt, 10);
		}
	}
	SPI_finish();
	return error;
}

KsStateError *
ks_catalog_read_error(const char *sink, const char *topic, const char **state)
{
	return read_error(topic ?
					  "SELECT t.state, t.sqlstate, t.message, t.detail, t.hint, t.topic, t.part, t.off, t.column_name, NULL::pg_catalog.text "
					  "FROM kafka_sink.sink_topics t WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.topic OPERATOR(pg_catalog.=) $2" :
					  "SELECT s.state, s.sqlstate, s.message, s.detail, s.hint, s.topic, s.part, s.off, s.column_name, s.waits_for "
					  "FROM kafka_sink.sinks s WHERE s.sink OPERATOR(pg_catalog.=) $1", sink, topic, state);
}

KsStateError *
ks_catalog_read_feed_error(const char *feed, const char **state)
{
	return read_error("SELECT f.state, f.sqlstate, f.message, f.detail, f.hint, f.topic, NULL::pg_catalog.text, NULL::pg_catalog.text, "
					  "NULL::pg_catalog.text, f.waits_for FROM kafka_sink.feeds f WHERE f.feed OPERATOR(pg_catalog.=) $1", feed, NULL, state);
}

KsStateError *
ks_catalog_halted_places(const char *sink, int *n)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink)};
	MemoryContext cxt = CurrentMemoryContext;
	KsCatalogUser save;
	KsStateError *errors;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT DISTINCT ON (h.topic, h.part, h.off) h.topic, h.part, h.off, h.message, h.hint FROM "
						  "(SELECT s.topic, s.part, s.off, s.message, s.hint FROM kafka_sink.sink_state s "
						  "WHERE s.sink OPERATOR(pg_catalog.=) $1 AND s.state OPERATOR(pg_catalog.=) 'halted' "
						  "UNION ALL "
						  "SELECT t.topic, t.part, t.off, t.message, t.hint FROM kafka_sink.topic_state t "
						  "WHERE t.sink OPERATOR(pg_catalog.=) $1 AND t.state OPERATOR(pg_catalog.=) 'halted') h "
						  "WHERE h.part IS NOT NULL AND h.off IS NOT NULL ORDER BY h.topic, h.part, h.off",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	*n = (int) SPI_processed;
	errors = MemoryContextAllocZero(cxt, Max(*n, 1) * sizeof(KsStateError));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		char	   *message = SPI_getvalue(tup, desc, 4);
		char	   *hint = SPI_getvalue(tup, desc, 5);

		errors[i].topic = MemoryContextStrdup(cxt, SPI_getvalue(tup, desc, 1));
		errors[i].part = DatumGetInt32(SPI_getbinval(tup, desc, 2, &isnull));
		errors[i].off = DatumGetInt64(SPI_getbinval(tup, desc, 3, &isnull));
		errors[i].message = message ? MemoryContextStrdup(cxt, message) : "";
		errors[i].hint = hint ? MemoryContextStrdup(cxt, hint) : NULL;
	}
	SPI_finish();
	return errors;
}
