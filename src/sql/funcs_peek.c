/*
 * funcs_peek.c
 *	  peek(): records of a partition, as they are.
 *
 * It reads a range that the log has reached when it begins, bounded by a timeout,
 * with a handle that is closed before it returns.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"

#include "kafka/reader.h"
#include "sql/arguments.h"
#include "sql/funcs.h"

#define CHUNK_BYTES		(4 * 1024 * 1024)

PG_FUNCTION_INFO_V1(kafka_sink_peek);

enum
{
	PEEK_SERVER, PEEK_TOPIC, PEEK_PART, PEEK_FROM, PEEK_UNTIL, PEEK_MAX, PEEK_TIMEOUT
};

/* The attributes of kafka_sink.record. */
enum
{
	REC_TOPIC, REC_PART, REC_OFF, REC_TS, REC_KEY, REC_VALUE, REC_HEADERS, REC_NATTS
};

static Datum
bytes_datum(const char *p, int len)
{
	return PointerGetDatum(cstring_to_text_with_len(p, len));
}

static Datum
headers_datum(const KsRecord *rec, Oid elemtype, TupleDesc desc)
{
	Datum	   *elems = palloc((rec->nheaders + 1) * sizeof(Datum));

	for (int i = 0; i < rec->nheaders; i++)
	{
		const KsHeader *h = &rec->headers[i];
		char	   *name = pg_any_to_server(h->name, strlen(h->name), PG_UTF8);
		Datum		values[2] = {CStringGetTextDatum(name), (Datum) 0};
		bool		nulls[2] = {false, h->value == NULL || h->valuelen < 0};

		if (!nulls[1])
			values[1] = bytes_datum(h->value, h->valuelen);
		elems[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
	}
	return PointerGetDatum(construct_array(elems, rec->nheaders, elemtype, -1, false,
										   TYPALIGN_DOUBLE));
}

static void
put_record(ReturnSetInfo *rsinfo, const KsRecord *rec, const KsPartition *p,
		   Oid headertype, TupleDesc headerdesc)
{
	Datum		values[REC_NATTS] = {0};
	bool		nulls[REC_NATTS] = {false};

	if (rec->ts_ms >= END_TIMESTAMP / 1000 + KS_EPOCH_MS)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of the record at offset " INT64_FORMAT " is out of range", rec->off),
				 errdetail("It is " INT64_FORMAT " milliseconds after 1970.", rec->ts_ms)));
	values[REC_TOPIC] = CStringGetTextDatum(p->topic);
	values[REC_PART] = Int32GetDatum(p->part);
	values[REC_OFF] = Int64GetDatum(rec->off);
	nulls[REC_TS] = rec->ts_ms < 0;
	if (rec->ts_ms >= 0)
		values[REC_TS] = TimestampTzGetDatum((rec->ts_ms - KS_EPOCH_MS) * 1000);
	nulls[REC_KEY] = rec->keylen < 0;
	if (rec->keylen >= 0)
		values[REC_KEY] = bytes_datum(rec->key, rec->keylen);
	nulls[REC_VALUE] = rec->valuelen < 0;
	if (rec->valuelen >= 0)
		values[REC_VALUE] = bytes_datum(rec->value, rec->valuelen);
	values[REC_HEADERS] = headers_datum(rec, headertype, headerdesc);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* The partition must exist; the range becomes what the log has of it. */
static void
settle_range(KsSource *src, KsPartition *p, int64 from, int64 until, const char *server,
			 TimestampTz deadline)
{
	int			count = ks_source_partition_count(src, p->topic, ks_reader_remaining_ms(deadline));
	int64		low,
				end;

	if (count < 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("topic \"%s\" does not exist on server \"%s\"", p->topic, server),
				 errhint("kafka_sink.topics(%s) lists them.", quote_literal_cstr(server))));
	if (p->part < 0 || p->part >= count)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" has no partition %d", p->topic, p->part),
				 errdetail("Its partitions are 0 to %d.", count - 1)));
	ks_reader_query_offsets(src, p, 1, KS_OFFSET_EARLIEST, deadline, &low);
	ks_reader_query_offsets(src, p, 1, KS_OFFSET_LATEST, deadline, &end);
	p->off = Max(low, from);
	p->until = until < 0 ? end : Min(until, end);
	p->until = Max(p->until, p->off);
}

/* kafka_sink.peek(server, topic, part, from_off, until_off, max_records, timeout) */
Datum
kafka_sink_peek(PG_FUNCTION_ARGS)
{
	KsSourceOptions opts = {.client_id = "kafka_sink/peek", .want_headers = true};
	KsPartition part = {.last_off = -1};
	ReturnSetInfo *rsinfo;
	MemoryContext cxt,
				chunk_cxt,
				old;
	TimestampTz deadline;
	KsSource   *src;
	KsReader   *reader;
	KsRecord   *recs;
	char	   *server;
	int64		from,
				until;
	int			remaining,
				n;
	Size		bytes;
	Oid			headertype;
	TupleDesc	headerdesc;

	for (int i = 0; i < PG_NARGS(); i++)
		if (i != PEEK_FROM && i != PEEK_UNTIL)
			ks_refuse_null(fcinfo, i);
	server = text_to_cstring(PG_GETARG_TEXT_PP(PEEK_SERVER));
	part.topic = text_to_cstring(PG_GETARG_TEXT_PP(PEEK_TOPIC));
	part.part = PG_GETARG_INT32(PEEK_PART);
	from = ks_optional_number(fcinfo, PEEK_FROM);
	until = ks_optional_number(fcinfo, PEEK_UNTIL);
	if (until >= 0 && until < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("until_off must not be below from_off")));
	remaining = PG_GETARG_INT32(PEEK_MAX);
	ks_look_check_count("max_records", remaining);
	opts.answer_bytes = ks_look_answer_bytes(remaining);
	deadline = ks_look_deadline(PG_GETARG_INTERVAL_P(PEEK_TIMEOUT));
	rsinfo = ks_materialize(fcinfo);

	cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink peek", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	chunk_cxt = AllocSetContextCreate(cxt, "kafka_sink peek records", ALLOCSET_DEFAULT_SIZES);
	headertype = get_element_type(TupleDescAttr(rsinfo->setDesc, REC_HEADERS)->atttypid);
	headerdesc = lookup_rowtype_tupdesc_copy(headertype, -1);
	recs = palloc(KS_LOOK_CHUNK * sizeof(KsRecord));
	src = ks_source_open(ks_options_load(server, GetUserId()), &opts, cxt);
	settle_range(src, &part, from, until, server, deadline);
	reader = ks_reader_start(src, &part, 1, false, deadline);
	MemoryContextSwitchTo(chunk_cxt);
	while (remaining > 0 &&
		   (n = ks_reader_next(reader, recs, Min(remaining, KS_LOOK_CHUNK), CHUNK_BYTES, &bytes)) > 0)
	{
		for (int i = 0; i < n; i++)
			put_record(rsinfo, &recs[i], &part, headertype, headerdesc);
		ks_source_release(recs, n);
		remaining -= n;
		MemoryContextReset(chunk_cxt);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the source */
	return (Datum) 0;
}
