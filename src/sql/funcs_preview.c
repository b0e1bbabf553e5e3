/*
 * funcs_preview.c
 *	  preview(): what a sink would make of its next records.
 *
 * It reads ranges that the log has reached when it begins, bounded by a timeout,
 * with a handle that is closed before it returns.
 *
 * It takes the path of a worker, record by record, in a subtransaction
 * that is always rolled back.  It reads the stored offsets without locking
 * them, so that it can be called whatever the sink is doing, and it reads from
 * Kafka before it touches the target, so that no lock is held while waiting.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/error.h"
#include "base/session.h"
#include "catalog/offsets.h"
#include "catalog/owner.h"
#include "catalog/schemas.h"
#include "catalog/sinks.h"
#include "kafka/reader.h"
#include "process/consumer.h"
#include "sql/arguments.h"
#include "sql/funcs.h"
#include "sql/funcs_schema.h"
#include "write/apply.h"

PG_FUNCTION_INFO_V1(kafka_sink_preview);

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
				ks_reader_query_offsets(src, &parts[i], 1, under_way ? KS_OFFSET_EARLIEST : ts, deadline,
						   &parts[i].off);
		}
	}
}

/*
 * Where each range ends: at the last stable offset.  One that begins behind it has
 * nothing yet if the log goes on with open transactions; if it does not, reading
 * it tells what is wrong.
 */
static void
find_ends(KsSource *src, const KsSink *sink, KsPartition *parts, int n, TimestampTz deadline, MemoryContext cxt)
{
	int64	   *ends = palloc(Max(n, 1) * sizeof(int64));
	KsPartition *behind = palloc(Max(n, 1) * sizeof(KsPartition));
	int			nbehind = 0;

	ks_reader_query_offsets(src, parts, n, KS_OFFSET_LATEST, deadline, ends);
	for (int i = 0; i < n; i++)
	{
		parts[i].until = ends[i];
		if (parts[i].off > parts[i].until && !sink->read_uncommitted)
			behind[nbehind++] = parts[i];
	}
	if (nbehind == 0)
		return;
	/* a client that sees open transactions is another one */
	src = ks_lag_open_source(sink, ks_options_load(sink->server, sink->owner), true, cxt);
	ks_reader_query_offsets(src, behind, nbehind, KS_OFFSET_LATEST, deadline, ends);
	for (int i = 0, j = 0; i < n && j < nbehind; i++)
	{
		if (parts[i].part != behind[j].part || parts[i].topic != behind[j].topic)
			continue;
		if (ends[j++] >= parts[i].off)
			parts[i].until = parts[i].off;
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
		   (n = ks_reader_next(reader, recs + nrecs, Min(max - nrecs, KS_LOOK_CHUNK), max_bytes - total,
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
		ks_error_rethrow(err.edata);
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

	/* whoever looks wants to see what is so now */
	ks_schemas_forget_absent();
	/* shows what is wrong with a record, whatever on_error makes of it */
	memset(&ap->rejects.limit, 0, sizeof(KsRejectLimit));
	ap->more_batches = true;
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
	KsSourceOptions opts = {.want_headers = true, .answer_bytes = ks_look_answer_bytes(PG_GETARG_INT32(1))};
	List	   *topics;
	KsSource   *src;
	KsPartition *parts;
	KsRecord   *recs;
	int			nparts,
				n;

	ks_refuse_nulls(fcinfo);
	ks_catalog_check_owner(sink, true);
	ks_look_check_count("n", max);
	deadline = ks_look_deadline(PG_GETARG_INTERVAL_P(2));
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
	find_ends(src, sink, parts, nparts, deadline, source_cxt);
	recs = MemoryContextAllocHuge(cxt, (Size) max * sizeof(KsRecord));
	n = read_next(ks_reader_start(src, parts, nparts, true, deadline), recs, max, sink->batch_bytes);
	if (n > 0)
		preview_records(sink, recs, n, parts, nparts, cxt, rsinfo);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the source */
	return (Datum) 0;
}
