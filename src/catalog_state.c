/*
 * catalog_state.c
 *	  What workers say of themselves: rows of sink_state.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"

#include "catalog.h"

void
ks_catalog_set_state(const char *sink, int worker, const char *state,
					 const KsStateError *error)
{
	Oid			types[] = {TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, INT4OID, INT8OID, TEXTOID, TEXTOID};
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
		SET_TEXT(11, error->waits_for);
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
						  "(sink, worker, state, since, sqlstate, message, detail, hint, topic, part, off, column_name, waits_for) "
						  "SELECT c.sink, $2, $3, pg_catalog.clock_timestamp(), $4, $5, $6, $7, $8, $9, $10, $11, $12 "
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
