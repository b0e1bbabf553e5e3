/*
 * funcs_lag.c
 *	  Ends of partitions, asked of the broker: for wait_for() and lag().
 *
 * The broker is asked with the connection of the sink's owner, and never for
 * longer than the caller has.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/message.h"
#include "catalog/extension.h"
#include "catalog/partition_ends.h"
#include "catalog/sinks.h"
#include "kafka/reader.h"
#include "sql/arguments.h"
#include "sql/funcs.h"

PG_FUNCTION_INFO_V1(kafka_sink_lag);

KsSource *
ks_lag_open_source(const KsSink *sink, const KsConf *conf, bool read_uncommitted, MemoryContext cxt)
{
	KsSourceOptions opts = {
		.client_id = psprintf("kafka_sink/%s", sink->name),
		.read_uncommitted = read_uncommitted,
		.max_record_bytes = sink->max_record_bytes
	};

	return ks_source_open(conf, &opts, cxt);
}

/* The partitions that the sink has offsets for, by topic, in the current context. */
static KsPartitionEnds *
stored_partitions(const char *sink, int *n)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(sink)};
	MemoryContext cxt = CurrentMemoryContext;
	KsCatalogUser save;
	KsPartitionEnds *ends;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT o.topic, o.part FROM kafka_sink.txn_offsets o "
						  "WHERE o.sink OPERATOR(pg_catalog.=) $1 ORDER BY o.topic, o.part",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	*n = (int) SPI_processed;
	ends = MemoryContextAllocZero(cxt, Max(*n, 1) * sizeof(KsPartitionEnds));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		bool		isnull;
		char	   *topic = SPI_getvalue(tup, SPI_tuptable->tupdesc, 1);

		ends[i].topic = i > 0 && strcmp(ends[i - 1].topic, topic) == 0 ?
			ends[i - 1].topic : MemoryContextStrdup(cxt, topic);
		ends[i].part = DatumGetInt32(SPI_getbinval(tup, SPI_tuptable->tupdesc, 2, &isnull));
	}
	SPI_finish();
	return ends;
}

/* Leaves out partitions that Kafka does not have, and says so. */
static int
keep_existing(KsSource *src, const KsSink *sink, KsPartitionEnds *ends, int n, TimestampTz deadline)
{
	int			m = 0;
	int			count = -1;
	const char *topic = NULL;

	for (int i = 0; i < n; i++)
	{
		if (ends[i].topic != topic)
		{
			topic = ends[i].topic;
			count = ks_source_partition_count(src, topic, ks_reader_remaining_ms(deadline));
			if (count < 0)
				ereport(WARNING,
						(errcode(ERRCODE_UNDEFINED_OBJECT),
						 errmsg("topic \"%s\" does not exist on server \"%s\"", topic, sink->server),
						 errdetail("What is known of its ends is from before.")));
		}
		if (ends[i].part < count)
			ends[m++] = ends[i];
	}
	return m;
}

/* One kind of end of all of them, into the field at that place. */
static void
ask(KsSource *src, KsPartitionEnds *ends, int n, int64 which, Size field, TimestampTz deadline)
{
	KsOffsetQuery *q = palloc0(Max(n, 1) * sizeof(KsOffsetQuery));

	for (int i = 0; i < n; i++)
	{
		q[i].topic = ends[i].topic;
		q[i].part = ends[i].part;
		q[i].ts = which;
	}
	ks_source_query_offsets(src, q, n, ks_reader_remaining_ms(deadline));
	for (int i = 0; i < n; i++)
		*(int64 *) ((char *) &ends[i] + field) = q[i].off;
	pfree(q);
}

/* Asks Kafka for the ends of all partitions of the sink, and stores them. */
static void
refresh(const KsSink *sink, TimestampTz deadline)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink ends", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	const KsConf *conf = ks_options_load(sink->server, sink->owner);
	KsSource   *src = ks_lag_open_source(sink, conf, sink->read_uncommitted, cxt);
	TimestampTz now = GetCurrentTimestamp();
	int			n;
	KsPartitionEnds *ends = stored_partitions(sink->name, &n);

	n = keep_existing(src, sink, ends, n, deadline);
	ask(src, ends, n, KS_OFFSET_EARLIEST, offsetof(KsPartitionEnds, low), deadline);
	ask(src, ends, n, KS_OFFSET_LATEST, offsetof(KsPartitionEnds, last_stable), deadline);
	/* a client sees one of the two ends, by its isolation level */
	if (!sink->read_uncommitted)
		src = ks_lag_open_source(sink, conf, true, cxt);
	ask(src, ends, n, KS_OFFSET_LATEST, offsetof(KsPartitionEnds, high), deadline);
	for (int i = 0; i < n; i++)
		ends[i].as_of = now;
	ks_catalog_store_partition_ends(sink->name, ends, n);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the sources */
}

Datum
kafka_sink_lag(PG_FUNCTION_ARGS)
{
	KsSink	   *sink;
	bool		fresh;
	int			timeout;
	ReturnSetInfo *rsinfo;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	ks_refuse_nulls(fcinfo);
	sink = ks_catalog_sink(text_to_cstring(PG_GETARG_TEXT_PP(0)), false);
	fresh = PG_GETARG_BOOL(1);
	timeout = ks_timeout_ms(PG_GETARG_INTERVAL_P(2));
	rsinfo = ks_materialize(fcinfo);
	ks_catalog_check_owner(sink, false);
	if (fresh)
	{
		if (sink->server == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("sink \"%s\" has no server to ask for offsets", sink->name),
					 errhint("SELECT kafka_sink.alter_sink(%s, server => ...).", quote_literal_cstr(sink->name))));
		refresh(sink, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout));
	}
	ks_extension_check();
	SPI_connect();
	/* not read only for SPI: it sees what has been stored just now */
	SPI_execute_with_args("SELECT l.sink, l.topic, l.part, l.off, l.end_offset, l.lag, l.high_watermark, "
						  "l.open_transaction_lag, l.updated_at, l.as_of FROM kafka_sink.lag l "
						  "WHERE l.sink OPERATOR(pg_catalog.=) $1 ORDER BY l.topic, l.part",
						  lengthof(types), types, values, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
	SPI_finish();
	return (Datum) 0;
}
