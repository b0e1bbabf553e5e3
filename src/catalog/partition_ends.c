/*
 * partition_ends.c
 *	  Ends of partitions as last seen: rows of partition_ends.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "catalog/partition_ends.h"
#include "catalog/sinks.h"

static Datum
array_of(Datum *elems, bool *nulls, int n, Oid type, int len, bool byval, char align)
{
	int			dims[] = {n};
	int			lbs[] = {1};

	return PointerGetDatum(construct_md_array(elems, nulls, 1, dims, lbs, type, len, byval, align));
}

/* One of the three offsets of each. */
static Datum
offsets_array(const KsPartitionEnds *const *ends, int n, Size field)
{
	Datum	   *elems = palloc(n * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		int64		off = *(const int64 *) ((const char *) ends[i] + field);

		elems[i] = Int64GetDatum(off);
		nulls[i] = off < 0;
	}
	return array_of(elems, nulls, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

void
ks_catalog_store_partition_ends(const char *sink, const KsPartitionEnds *ends, int n)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
	INT8ARRAYOID, TIMESTAMPTZARRAYOID};
	Datum		values[lengthof(types)];
	const KsPartitionEnds **known = palloc(Max(n, 1) * sizeof(KsPartitionEnds *));
	Datum	   *topics,
			   *parts,
			   *as_of;
	int			m = 0;
	KsCatalogUser save;

	for (int i = 0; i < n; i++)
		if (ends[i].as_of != 0)
			known[m++] = &ends[i];
	if (m == 0)
		return;
	topics = palloc(m * sizeof(Datum));
	parts = palloc(m * sizeof(Datum));
	as_of = palloc(m * sizeof(Datum));
	for (int i = 0; i < m; i++)
	{
		topics[i] = CStringGetTextDatum(known[i]->topic);
		parts[i] = Int32GetDatum(known[i]->part);
		as_of[i] = TimestampTzGetDatum(known[i]->as_of);
	}
	values[0] = CStringGetTextDatum(sink);
	values[1] = array_of(topics, NULL, m, TEXTOID, -1, false, TYPALIGN_INT);
	values[2] = array_of(parts, NULL, m, INT4OID, 4, true, TYPALIGN_INT);
	values[3] = offsets_array(known, m, offsetof(KsPartitionEnds, low));
	values[4] = offsets_array(known, m, offsetof(KsPartitionEnds, high));
	values[5] = offsets_array(known, m, offsetof(KsPartitionEnds, last_stable));
	values[6] = array_of(as_of, NULL, m, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);

	SPI_connect();
	ks_catalog_enter(&save);
	/* the sink may be dropped meanwhile: its row is held, or there is nothing to
	 * say; in one order for all, so that two of its workers do not deadlock */
	SPI_execute_with_args("WITH s AS MATERIALIZED (SELECT c.sink FROM kafka_sink.sink_catalog c "
						  "WHERE c.sink OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF c) "
						  "INSERT INTO kafka_sink.partition_ends AS k "
						  "(sink, topic, part, low, high, last_stable, as_of) "
						  "SELECT s.sink, e.topic, e.part, e.low, e.high, e.last_stable, e.as_of "
						  "FROM s CROSS JOIN ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
						  "pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) "
						  "e (topic, part, low, high, last_stable, as_of) "
						  "JOIN kafka_sink.txn_offsets o ON o.sink OPERATOR(pg_catalog.=) s.sink "
						  "AND o.topic OPERATOR(pg_catalog.=) e.topic AND o.part OPERATOR(pg_catalog.=) e.part "
						  "ORDER BY e.topic, e.part "
						  "ON CONFLICT (sink, topic, part) DO UPDATE SET low = excluded.low, high = excluded.high, "
						  "last_stable = excluded.last_stable, as_of = excluded.as_of "
						  /* of a clock that has been set back since */
						  "WHERE excluded.as_of OPERATOR(pg_catalog.>) k.as_of "
						  "OR k.as_of OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp()",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}

void
ks_catalog_forget_partition_ends(const char *sink, const char *topic, int32 part)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		values[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic), Int32GetDatum(part)};
	KsCatalogUser save;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("DELETE FROM kafka_sink.partition_ends k WHERE k.sink OPERATOR(pg_catalog.=) $1 "
						  "AND k.topic OPERATOR(pg_catalog.=) $2 "
						  "AND ($3 OPERATOR(pg_catalog.<) 0 OR k.part OPERATOR(pg_catalog.=) $3)",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}
