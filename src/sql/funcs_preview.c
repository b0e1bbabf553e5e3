/*
 * funcs_preview.c
 *	  Look before you leap: peek() shows records, preview() shows what a sink
 *	  would make of its next ones.
 *
 * Both read ranges that the log has reached when they begin, bounded by a
 * timeout, with a handle that is closed before they return.
 *
 * preview() takes the path of a worker, record by record, in a subtransaction
 * that is always rolled back.  It reads the stored offsets without locking
 * them, so that it can be called whatever the sink is doing, and it reads from
 * Kafka before it touches the target, so that no lock is held while waiting.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "base/memory.h"
#include "base/session.h"
#include "catalog/offsets.h"
#include "catalog/owner.h"
#include "catalog/sinks.h"
#include "kafka/reader.h"
#include "process/consumer.h"
#include "sql/arguments.h"
#include "sql/funcs.h"
#include "sql/funcs_schema.h"
#include "write/apply.h"

#define MAX_RECORDS		1000000
#define FEW				1000	/* records, which are asked for batch by batch */
#define CHUNK			512
#define CHUNK_BYTES		(4 * 1024 * 1024)

PG_FUNCTION_INFO_V1(kafka_sink_peek);
PG_FUNCTION_INFO_V1(kafka_sink_preview);

static void
check_count(const char *name, int n)
{
	if (n < 1 || n > MAX_RECORDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", name, MAX_RECORDS)));
}

static TimestampTz
deadline_of(const Interval *timeout)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ks_timeout_ms(timeout));
}

/* The offset at a time of each partition. */
static void
query_ends(KsSource *src, const KsPartition *parts, int n, int64 ts, TimestampTz deadline,
		   int64 *result)
{
	KsOffsetQuery *q = palloc0(Max(n, 1) * sizeof(KsOffsetQuery));

	for (int i = 0; i < n; i++)
	{
		q[i].topic = parts[i].topic;
		q[i].part = parts[i].part;
		q[i].ts = ts;
	}
	ks_source_query_offsets(src, q, n, ks_reader_remaining_ms(deadline));
	for (int i = 0; i < n; i++)
		result[i] = q[i].off;
	pfree(q);
}

/* --- peek --- */

enum
{
	PEEK_SERVER, PEEK_TOPIC, PEEK_PART, PEEK_FROM, PEEK_UNTIL, PEEK_MAX, PEEK_TIMEOUT
};

/* The attributes of kafka_sink.record. */
enum
{
	REC_TOPIC, REC_PART, REC_OFF, REC_TS, REC_KEY, REC_VALUE, REC_HEADERS, REC_NATTS
};

/* An offset argument, or -1 for NULL. */
static int64
offset_argument(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		return -1;
	if (PG_GETARG_INT64(arg) < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", name)));
	return PG_GETARG_INT64(arg);
}

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
	query_ends(src, p, 1, KS_OFFSET_EARLIEST, deadline, &low);
	query_ends(src, p, 1, KS_OFFSET_LATEST, deadline, &end);
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
	from = offset_argument(fcinfo, PEEK_FROM, "from_off");
	until = offset_argument(fcinfo, PEEK_UNTIL, "until_off");
	if (until >= 0 && until < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("until_off must not be below from_off")));
	remaining = PG_GETARG_INT32(PEEK_MAX);
	check_count("max_records", remaining);
	opts.answer_bytes = ks_memory_answer_bytes(remaining <= FEW ? 2 : 1);
	deadline = deadline_of(PG_GETARG_INTERVAL_P(PEEK_TIMEOUT));
	rsinfo = ks_materialize(fcinfo);

	cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink peek", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	chunk_cxt = AllocSetContextCreate(cxt, "kafka_sink peek records", ALLOCSET_DEFAULT_SIZES);
	headertype = get_element_type(TupleDescAttr(rsinfo->setDesc, REC_HEADERS)->atttypid);
	headerdesc = lookup_rowtype_tupdesc_copy(headertype, -1);
	recs = palloc(CHUNK * sizeof(KsRecord));
	src = ks_source_open(ks_options_load(server, GetUserId()), &opts, cxt);
	settle_range(src, &part, from, until, server, deadline);
	reader = ks_reader_start(src, &part, 1, false, deadline);
	MemoryContextSwitchTo(chunk_cxt);
	while (remaining > 0 &&
		   (n = ks_reader_next(reader, recs, Min(remaining, CHUNK), CHUNK_BYTES, &bytes)) > 0)
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

/* --- preview --- */

enum
{
	PRE_TOPIC, PRE_PART, PRE_OFF, PRE_OUTCOME, PRE_ROW, PRE_SQLSTATE, PRE_MESSAGE, PRE_DETAIL,
	PRE_COLUMN, PRE_NATTS
};

/* The partitions of a sink, without rows of txn_offsets. */
static KsPartition *
list_partitions(KsSource *src, const KsSink *sink, List *topics, TimestampTz deadline, int *n)
{
	KsPartition *parts = NULL;
	int			max = 0;
	ListCell   *lc;

	*n = 0;
	foreach(lc, topics)
	{
		KsTopic    *t = lfirst(lc);
		int			count = ks_source_partition_count(src, t->topic, ks_reader_remaining_ms(deadline));

		if (count < 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("topic \"%s\" does not exist on server \"%s\"", t->topic, sink->server),
					 errhint("Create it, or kafka_sink.unregister_topic(%s, %s).",
							 quote_literal_cstr(sink->name), quote_literal_cstr(t->topic))));
		max += count;
		parts = parts ? repalloc(parts, max * sizeof(KsPartition)) : palloc(max * sizeof(KsPartition));
		for (int i = 0; i < count; i++)
		{
			KsPartition *p = &parts[*n];

			if (!ks_topic_has_partition(t, i))
				continue;
			memset(p, 0, sizeof(KsPartition));
			p->topic = t->topic;
			p->part = i;
			p->off = p->last_off = -1;
			(*n)++;
		}
	}
	return parts;
}

/* Where a worker would begin: stored offsets, or what start_at says. */
static void
find_offsets(KsSource *src, const KsSink *sink, List *topics, KsPartition *parts, int n,
			 TimestampTz deadline)
{
	ListCell   *lc;

	foreach(lc, topics)
	{
		KsTopic    *t = lfirst(lc);
		bool		under_way = false;

		for (int i = 0; i < n; i++)
			if (parts[i].topic == t->topic)
				under_way |= ks_offsets_read(sink->name, &parts[i]);
		for (int i = 0; i < n; i++)
		{
			int64		ts;

			if (parts[i].topic != t->topic || parts[i].off >= 0)
				continue;
			ts = ks_start_timestamp(t->start_at, t->topic, parts[i].part, &parts[i].off);
			if (parts[i].off < 0)
				query_ends(src, &parts[i], 1, under_way ? KS_OFFSET_EARLIEST : ts, deadline,
						   &parts[i].off);
		}
	}
}

/* Up to max of the next records, at most about a batch's bytes. */
static int
read_next(KsReader *reader, KsRecord *recs, int max, Size max_bytes)
{
	Size		total = 0,
				bytes;
	int			nrecs = 0,
				n;

	while (nrecs < max && total < max_bytes &&
		   (n = ks_reader_next(reader, recs + nrecs, Min(max - nrecs, CHUNK), max_bytes - total,
							   &bytes)) > 0)
	{
		nrecs += n;
		total += bytes;
	}
	return nrecs;
}

/* What was decoded of one record: a row, or the key of a delete. */
static Datum
row_datum(const KsApply *ap)
{
	const KsRoute *route = ks_apply_route_at(ap, 0);
	const KsTarget *target = route->target;
	TupleDesc	desc;
	Datum	   *values;
	bool	   *isnull;
	Datum		json;

	if (ap->ops[0] == KS_ROW_DELETE && target->command == NULL)
	{
		desc = CreateTemplateTupleDesc(target->nkeys);
		values = palloc(target->nkeys * sizeof(Datum));
		isnull = palloc0(target->nkeys * sizeof(bool));
		for (int i = 0; i < target->nkeys; i++)
		{
			TupleDescCopyEntry(desc, i + 1, target->rowdesc, target->keycols[i] + 1);
			values[i] = route->rows.values[target->keycols[i]];
		}
	}
	else
	{
		int			n = 0;

		/* not what nobody reads */
		for (int i = 0; i < target->ncols; i++)
			n += !target->cols[i].unused;
		desc = CreateTemplateTupleDesc(n);
		values = palloc((n + 1) * sizeof(Datum));
		isnull = palloc((n + 1) * sizeof(bool));
		n = 0;
		for (int i = 0; i < target->ncols; i++)
		{
			if (target->cols[i].unused)
				continue;
			values[n] = route->rows.values[i];
			isnull[n] = route->rows.isnull[i];
			TupleDescCopyEntry(desc, ++n, target->rowdesc, i + 1);
		}
	}
	json = DirectFunctionCall1(row_to_json,
							   HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull)));
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json)));
}

static const char *
outcome_of(const KsCounts *counts)
{
	return counts->applied > 0 ? "applied" : counts->deleted > 0 ? "deleted" :
		counts->filtered > 0 ? "filtered" : counts->superseded > 0 ? "superseded" : "unmatched";
}

/* Applies one record, and tells what became of it. */
static void
preview_record(KsApply *ap, const KsRecord *rec, KsPartition *parts, int nparts,
			   ReturnSetInfo *rsinfo)
{
	KsPartition *p = &parts[rec->pidx];
	MemoryContext old = MemoryContextSwitchTo(ap->batch_cxt);
	Datum		values[PRE_NATTS] = {0};
	bool		nulls[PRE_NATTS];
	KsRecordError err;

	memset(&p->counts, 0, sizeof(KsCounts));
	memset(nulls, true, sizeof(nulls));
	nulls[PRE_TOPIC] = nulls[PRE_PART] = nulls[PRE_OFF] = nulls[PRE_OUTCOME] = false;
	values[PRE_TOPIC] = CStringGetTextDatum(p->topic);
	values[PRE_PART] = Int32GetDatum(p->part);
	values[PRE_OFF] = Int64GetDatum(rec->off);
	if (ks_schemas_apply(ap, rec, 1, parts, nparts, &err) == 1)
		values[PRE_OUTCOME] = CStringGetTextDatum(outcome_of(&p->counts));
	else if (!err.of_record)
		ReThrowError(err.edata);
	else
	{
		values[PRE_OUTCOME] = CStringGetTextDatum("error");
		nulls[PRE_SQLSTATE] = nulls[PRE_MESSAGE] = false;
		values[PRE_SQLSTATE] = CStringGetTextDatum(unpack_sql_state(err.edata->sqlerrcode));
		values[PRE_MESSAGE] = CStringGetTextDatum(err.edata->message);
		nulls[PRE_DETAIL] = err.edata->detail == NULL;
		if (err.edata->detail)
			values[PRE_DETAIL] = CStringGetTextDatum(err.edata->detail);
		nulls[PRE_COLUMN] = err.column == NULL;
		if (err.column)
			values[PRE_COLUMN] = CStringGetTextDatum(err.column);
	}
	/* decoded, whatever the table says of it */
	if (ap->decoding < 0 && ap->ops[0] != KS_ROW_FILTERED && ap->ops[0] != KS_ROW_TRUNCATE)
	{
		nulls[PRE_ROW] = false;
		values[PRE_ROW] = row_datum(ap);
	}
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	MemoryContextSwitchTo(old);
	MemoryContextReset(ap->batch_cxt);
}

/* Applies the records in a subtransaction and rolls it back. */
static void
preview_records(const KsSink *sink, KsRecord *recs, int n, KsPartition *parts, int nparts,
				MemoryContext cxt, ReturnSetInfo *rsinfo)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext row_cxt = AllocSetContextCreate(cxt, "kafka_sink preview rows",
												  ALLOCSET_DEFAULT_SIZES);
	KsApply    *ap = ks_apply_create(sink, true, cxt, row_cxt);
	KsOwnerUser user;

	/* shows what is wrong with a record, whatever on_error makes of it */
	memset(&ap->rejects.limit, 0, sizeof(KsRejectLimit));
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		ks_owner_enter(sink, &user);	/* until the rollback */
		ks_constraints_remember();
		ks_apply_prepare(ap);
		(void) ks_apply_order(ap, recs, n, parts, nparts);
		for (int i = 0; i < n; i++)
		{
			CHECK_FOR_INTERRUPTS();
			/* each sees what those before it wrote */
			CommandCounterIncrement();
			PushActiveSnapshot(GetTransactionSnapshot());
			preview_record(ap, &recs[i], parts, nparts, rsinfo);
			PopActiveSnapshot();
		}
		ks_apply_finish(ap);
	}
	PG_CATCH();
	{
		ks_session_leave_subtransaction(owner, cxt);
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	ks_apply_free(ap);
}

/* kafka_sink.preview(sink, n, timeout) */
Datum
kafka_sink_preview(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(ks_text_argument(fcinfo, 0), false);
	int			max = PG_GETARG_INT32(1);
	TimestampTz deadline;
	ReturnSetInfo *rsinfo;
	MemoryContext cxt,
				source_cxt,
				old;
	KsSourceOptions opts = {.want_headers = true, .answer_bytes = ks_memory_answer_bytes(PG_GETARG_INT32(1) <= FEW ? 2 : 1)};
	List	   *topics;
	KsSource   *src;
	KsPartition *parts;
	KsRecord   *recs;
	int64	   *ends;
	int			nparts,
				n;

	ks_refuse_nulls(fcinfo);
	ks_catalog_check_owner(sink, true);
	check_count("n", max);
	deadline = deadline_of(PG_GETARG_INTERVAL_P(2));
	topics = ks_catalog_topics(sink->name);
	ks_catalog_check_consumes(sink, topics);
	rsinfo = ks_materialize(fcinfo);

	cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink preview", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	source_cxt = AllocSetContextCreate(cxt, "kafka_sink source", ALLOCSET_DEFAULT_SIZES);
	opts.client_id = psprintf("kafka_sink/%s", sink->name);
	opts.read_uncommitted = sink->read_uncommitted;
	opts.max_record_bytes = sink->max_record_bytes;
	src = ks_source_open(ks_options_load(sink->server, sink->owner), &opts, source_cxt);
	parts = list_partitions(src, sink, topics, deadline, &nparts);
	find_offsets(src, sink, topics, parts, nparts, deadline);
	ends = palloc(Max(nparts, 1) * sizeof(int64));
	query_ends(src, parts, nparts, KS_OFFSET_LATEST, deadline, ends);
	for (int i = 0; i < nparts; i++)
		parts[i].until = ends[i];
	recs = MemoryContextAllocHuge(cxt, (Size) max * sizeof(KsRecord));
	n = read_next(ks_reader_start(src, parts, nparts, true, deadline), recs, max, sink->batch_bytes);
	if (n > 0)
		preview_records(sink, recs, n, parts, nparts, cxt, rsinfo);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the source */
	return (Datum) 0;
}
