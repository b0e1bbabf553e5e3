/*
 * funcs_ingest.c
 *	  ingest(): records from SQL through the same decode and apply path, in the
 *	  caller's transaction.
 *
 * Records with offsets move the rows of txn_offsets under the guard; each
 * partition's first offset is the one that must be stored.  Deferred
 * constraints stay the caller's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "base/error.h"
#include "catalog/offsets.h"
#include "catalog/owner.h"
#include "catalog/sinks.h"
#include "sql/arguments.h"
#include "sql/funcs_schema.h"
#include "write/apply.h"
#include "write/dead_letters.h"
#include "write/partitions.h"

PG_FUNCTION_INFO_V1(kafka_sink_ingest);

/* The attributes of kafka_sink.record. */
enum
{
	REC_TOPIC, REC_PART, REC_OFF, REC_TS, REC_KEY, REC_VALUE, REC_HEADERS, REC_NATTS
};

void
ks_record_bytes(Datum d, bool isnull, const char **p, int32 *len)
{
	struct varlena *v;

	*p = NULL;
	*len = -1;
	if (isnull)
		return;
	v = PG_DETOAST_DATUM_PACKED(d);
	*p = VARDATA_ANY(v);
	*len = VARSIZE_ANY_EXHDR(v);
}

void
ks_record_headers(Datum d, KsRecord *rec)
{
	ArrayType  *array = DatumGetArrayTypeP(d);
	TupleDesc	desc = lookup_rowtype_tupdesc(ARR_ELEMTYPE(array), -1);
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	KsHeader   *headers;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elems, &nulls, &n);
	headers = palloc0((n + 1) * sizeof(KsHeader));
	for (int i = 0; i < n; i++)
	{
		HeapTupleData tup;
		Datum		values[2];
		bool		isnull[2] = {true, true};

		if (!nulls[i])
		{
			tup.t_data = DatumGetHeapTupleHeader(elems[i]);
			tup.t_len = HeapTupleHeaderGetDatumLength(tup.t_data);
			heap_deform_tuple(&tup, desc, values, isnull);
		}
		if (isnull[0])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a header's name must not be null")));
		headers[i].name = TextDatumGetCString(values[0]);
		ks_record_bytes(values[1], isnull[1], &headers[i].value, &headers[i].valuelen);
	}
	ReleaseTupleDesc(desc);
	rec->headers = headers;
	rec->nheaders = n;
}

/* The caller's array as records and partitions; true if they have offsets. */
static bool
read_records(ArrayType *array, KsRecord **recs_p, int *nrecs, KsPartition **parts_p, int *nparts)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(ARR_ELEMTYPE(array), -1);
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	KsRecord   *recs;
	KsPartitionSet set;
	bool		guarded = false;
	int			last = -1;

	deconstruct_array(array, ARR_ELEMTYPE(array), -1, false, TYPALIGN_DOUBLE, &elems, &nulls, &n);
	recs = palloc0((n + 1) * sizeof(KsRecord));
	ks_partition_set_init(&set, n);
	for (int i = 0; i < n; i++)
	{
		HeapTupleData tup;
		Datum		values[REC_NATTS];
		bool		isnull[REC_NATTS];
		KsRecord   *rec = &recs[i];
		KsPartition *p;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("record %d is null", i + 1)));
		tup.t_data = DatumGetHeapTupleHeader(elems[i]);
		tup.t_len = HeapTupleHeaderGetDatumLength(tup.t_data);
		heap_deform_tuple(&tup, desc, values, isnull);
		rec->off = isnull[REC_OFF] ? -1 : DatumGetInt64(values[REC_OFF]);
		if (!isnull[REC_OFF] && (rec->off < 0 || rec->off == PG_INT64_MAX))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid offset of record %d: " INT64_FORMAT, i + 1, rec->off)));
		if (i > 0 && (rec->off >= 0) != guarded)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("record %d has %s offset, the others have %s", i + 1,
							guarded ? "no" : "an", guarded ? "one" : "none"),
					 errhint("Give offsets for all records (they are applied under the guard) or for none.")));
		guarded = rec->off >= 0;
		if (guarded && (isnull[REC_TOPIC] || isnull[REC_PART]))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("record %d has an offset but no topic and partition", i + 1)));
		last = rec->pidx = ks_partition_set_add(&set,
												isnull[REC_TOPIC] ? "" : TextDatumGetCString(values[REC_TOPIC]),
												isnull[REC_PART] ? -1 : DatumGetInt32(values[REC_PART]), last);
		p = &set.parts[rec->pidx];
		if (p->off < 0)
			p->off = rec->off;
		else if (guarded && rec->off < p->until)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("offsets of topic \"%s\" partition %d do not ascend", p->topic, p->part),
					 errdetail("Offset " INT64_FORMAT " comes after " INT64_FORMAT ".",
							   rec->off, p->until - 1)));
		p->until = rec->off + 1;
		p->last_rec = i;
		p->counts.consumed++;
		rec->ts_ms = -1;
		if (!isnull[REC_TS] && TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(values[REC_TS])))
			ereport(ERROR,
					(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
					 errmsg("timestamp of record %d is infinite", i + 1)));
		if (!isnull[REC_TS])
			rec->ts_ms = ks_timestamp_to_ms(DatumGetTimestampTz(values[REC_TS]));
		ks_record_bytes(values[REC_KEY], isnull[REC_KEY], &rec->key, &rec->keylen);
		ks_record_bytes(values[REC_VALUE], isnull[REC_VALUE], &rec->value, &rec->valuelen);
		if (!isnull[REC_HEADERS])
			ks_record_headers(values[REC_HEADERS], rec);
	}
	ReleaseTupleDesc(desc);
	*recs_p = recs;
	*nrecs = n;
	*parts_p = set.parts;
	*nparts = set.n;
	return guarded;
}

/* The record's error, with the place where it stands: its number, from 0. */
static void
throw_record_error(const KsSink *sink, const KsRecord *rec, int number, const KsPartition *p,
				   const KsRecordError *err)
{
	ErrorData  *edata = err->edata;
	StringInfoData where;

	if (err->exceeded)
	{
		edata->detail = psprintf("The limit is %s.  This record would be one too many: %s (%s)",
								 err->exceeded, edata->message, unpack_sql_state(edata->sqlerrcode));
		edata->message = pstrdup("more records cannot be applied than reject_limit allows");
		edata->sqlerrcode = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
		edata->hint = NULL;
	}

	initStringInfo(&where);
	if (edata->context)
		appendStringInfo(&where, "%s\n", edata->context);
	appendStringInfo(&where, "sink \"%s\", record %d", sink->name, number + 1);
	if (rec->off >= 0)
		appendStringInfo(&where, ", topic \"%s\", partition %d, offset " INT64_FORMAT,
						 p->topic, p->part, rec->off);
	if (err->column)
		appendStringInfo(&where, ", column \"%s\"", err->column);
	edata->context = where.data;
	ks_error_rethrow(edata);
}

/* In as many batches as their rows take; they are brought into another order. */
static void
apply_records(KsApply *ap, KsRecord *recs, int n, KsPartition *parts, int nparts)
{
	int			max = ks_apply_max_records(ap);

	for (int from = 0, m; from < n; from += m)
	{
		KsRecord   *batch = recs + from;
		KsRecordError err;
		int		   *order;
		int			n_done;

		m = Min(n - from, max);
		order = ks_apply_order(ap, batch, m, parts, nparts);
		do
		{
			n_done = ks_apply(ap, batch, m, parts, nparts, &err);
			if (ap->unknown != NIL)
				ks_schemas_refuse_unknown(ap);
		} while (ap->evolution.at >= 0 && ks_schemas_evolve(ap, &err));
		if (n_done < m)
			throw_record_error(ap->sink, &batch[err.index], from + (order ? order[err.index] : err.index),
							   &parts[batch[err.index].pidx], &err);
		ks_rejects_committed(&ap->rejects, m);
		MemoryContextReset(ap->batch_cxt);
	}
}

Datum
kafka_sink_ingest(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = ks_catalog_sink(ks_text_argument(fcinfo, 0), false);
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink ingest",
											  ALLOCSET_DEFAULT_SIZES);
	KsApply    *ap;
	KsRecord   *recs;
	KsPartition *parts;
	KsPartition **guarded_parts;
	KsCounts	sum = {0};
	KsOwnerUser user;
	int			nrecs,
				nparts;
	bool		guarded;
	TupleDesc	desc;
	Datum		values[8];
	bool		nulls[8] = {0};

	ks_refuse_nulls(fcinfo);
	ks_catalog_check_owner(sink, true);
	ks_catalog_check_writes(sink);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	guarded = read_records(PG_GETARG_ARRAYTYPE_P(1), &recs, &nrecs, &parts, &nparts);

	ks_owner_enter(sink, &user);
	guarded_parts = palloc((nparts + 1) * sizeof(KsPartition *));
	for (int i = 0; i < nparts; i++)
		guarded_parts[i] = &parts[i];
	if (guarded && !ks_offsets_lock(sink->name, guarded_parts, nparts))
		ks_offsets_mismatch(sink->name, guarded_parts, nparts);
	if (guarded && !ks_catalog_is_unchanged(sink))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" was changed by another session", sink->name),
				 errhint("Roll back, and try again.")));

	ap = ks_apply_create(sink, false, cxt,
						 AllocSetContextCreate(cxt, "kafka_sink rows", ALLOCSET_DEFAULT_SIZES));
	ks_apply_prepare(ap);
	apply_records(ap, recs, nrecs, parts, nparts);

	for (int i = 0; i < nparts; i++)
	{
		KsPartition *p = &parts[i];

		ks_counts_add(&sum, &p->counts);
		/* what the caller gives need not be byte for byte what the log has, so
		 * it does not identify the log's tail */
		p->new_last_off = -1;
		p->counts.gaps = p->until - p->off - p->counts.consumed;
	}
	ks_apply_finish(ap);
	if (guarded && !ks_offsets_move(sink->name, guarded_parts, nparts))
		ks_offsets_mismatch(sink->name, guarded_parts, nparts);
	ks_owner_leave(&user);
	ks_apply_free(ap);

	for (int j = 0; j < (int) lengthof(values); j++)
		values[j] = Int64GetDatum(((int64 *) &sum)[j]);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}
