/*
 * funcs_claim.c
 *	  SQL functions for consumers of one's own: claim(), advance() and where to
 *	  start.
 *
 * They move rows of txn_offsets in the caller's transaction, which writes the
 * results.  None of them locks the sink's row: pause() does not wait for
 * transactions that have claimed before, it refuses the next ones.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "catalog/claim.h"
#include "catalog/offsets.h"
#include "catalog/sinks.h"
#include "process/start_offsets.h"
#include "sql/arguments.h"
#include "sql/funcs.h"

PG_FUNCTION_INFO_V1(kafka_sink_claim);
PG_FUNCTION_INFO_V1(kafka_sink_claim_range);
PG_FUNCTION_INFO_V1(kafka_sink_claim_many);
PG_FUNCTION_INFO_V1(kafka_sink_claim_many_text);
PG_FUNCTION_INFO_V1(kafka_sink_claim_ranges);
PG_FUNCTION_INFO_V1(kafka_sink_claim_ranges_text);
PG_FUNCTION_INFO_V1(kafka_sink_advance);
PG_FUNCTION_INFO_V1(kafka_sink_starting_offsets);

/* --- arguments --- */

enum
{
	ARG_SINK, ARG_TOPIC, ARG_PART, ARG_FROM, ARG_UNTIL, ARG_RECORDS, ARG_START_AT, NARGUMENTS
};

static const char *const argument_names[NARGUMENTS] = {
	"sink", "topic", "part", "from_off", "until_off", "records", "start_at"
};

/* The sink, if the caller may move its offsets, and anybody may at the time. */
static KsSink *
sink_to_move(FunctionCallInfo fcinfo)
{
	KsSink	   *sink;

	sink = ks_catalog_sink(ks_text_argument(fcinfo, ARG_SINK), false);
	ks_catalog_check_owner(sink, false);
	if (!sink->enabled || sink->suspended)
		ereport(ERROR,
				(errcode(KS_ERRCODE_NOT_ENABLED),
				 errmsg("sink \"%s\" is %s", sink->name, sink->enabled ? "suspended" : "paused"),
				 errhint("kafka_sink.resume(%s) lets it go on.", quote_literal_cstr(sink->name))));
	return sink;
}

static int32
partition_argument(FunctionCallInfo fcinfo)
{
	int64		part;

	ks_refuse_null(fcinfo, ARG_PART);
	part = PG_GETARG_INT64(ARG_PART);
	if (part < 0 || part > PG_INT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid partition: " INT64_FORMAT, part)));
	return (int32) part;
}

static void
check_range(const KsRange *r)
{
	ks_offsets_check_range(r->from, r->until);
	if (r->records > r->until - r->from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid number of records: " INT64_FORMAT, r->records),
				 errdetail("From " INT64_FORMAT " until " INT64_FORMAT " there are " INT64_FORMAT " offsets.",
						   r->from, r->until, r->until - r->from)));
}

static void
range_init(KsRange *r, const char *topic, int32 part)
{
	memset(r, 0, sizeof(KsRange));
	r->p.topic = topic;
	r->p.part = part;
	r->p.off = r->p.last_off = r->p.new_last_off = -1;
	r->records = r->start_at = r->apply_from = -1;
}

/* --- claim --- */

/* The range of the arguments, claimed; what it is to be applied from, or -1. */
static int64
claim(FunctionCallInfo fcinfo)
{
	KsSink	   *sink = sink_to_move(fcinfo);
	KsRange		r;

	ks_refuse_null(fcinfo, ARG_FROM);
	ks_refuse_null(fcinfo, ARG_UNTIL);
	range_init(&r, ks_text_argument(fcinfo, ARG_TOPIC), partition_argument(fcinfo));
	r.from = PG_GETARG_INT64(ARG_FROM);
	r.until = PG_GETARG_INT64(ARG_UNTIL);
	r.records = ks_optional_number(fcinfo, ARG_RECORDS);
	r.start_at = ks_optional_number(fcinfo, ARG_START_AT);
	check_range(&r);
	ks_claim(sink->name, &r, 1);
	return r.apply_from;
}

Datum
kafka_sink_claim(PG_FUNCTION_ARGS)
{
	int64		from = claim(fcinfo);

	if (from < 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(from);
}

/* What a procedure returns. */
static Datum
one_row(FunctionCallInfo fcinfo, Datum *values, bool *nulls)
{
	TupleDesc	desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls));
}

/* The same as a procedure. */
Datum
kafka_sink_claim_range(PG_FUNCTION_ARGS)
{
	int64		from = claim(fcinfo);
	Datum		values[] = {Int64GetDatum(from)};
	bool		nulls[] = {from < 0};

	return one_row(fcinfo, values, nulls);
}

/* --- many ranges --- */

KS_NORETURN static void bad_ranges(void);

static void
bad_ranges(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid ranges"),
			 errhint("Write topics, partitions and ranges: {\"orders\": {\"0\": [from_off, until_off]}}, with the number of records as third, or objects of from_off, until_off, records and start_at.")));
}

static int64
range_number(const JsonbValue *v)
{
	int64		number;

	if (!ks_offsets_number(v, &number))
		bad_ranges();
	return number;
}

/* [from, until] or [from, until, records] */
static void
read_array(JsonbContainer *array, KsRange *r)
{
	uint32		n = JsonContainerSize(array);

	if (n < 2 || n > 3)
		bad_ranges();
	r->from = range_number(getIthJsonbValueFromContainer(array, 0));
	r->until = range_number(getIthJsonbValueFromContainer(array, 1));
	if (n == 3)
		r->records = range_number(getIthJsonbValueFromContainer(array, 2));
}

/* {"from_off": 0, "until_off": 10, "records": 9, "start_at": 0} */
static void
read_object(JsonbContainer *object, KsRange *r)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken tok;
	JsonbValue	v;
	const char *key = "";

	r->from = r->until = -1;
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
			key = pnstrdup(v.val.string.val, v.val.string.len);
		if (tok != WJB_VALUE)
			continue;
		if (strcmp(key, argument_names[ARG_FROM]) == 0)
			r->from = range_number(&v);
		else if (strcmp(key, argument_names[ARG_UNTIL]) == 0)
			r->until = range_number(&v);
		else if (strcmp(key, argument_names[ARG_RECORDS]) == 0)
			r->records = v.type == jbvNull ? -1 : range_number(&v);
		else if (strcmp(key, argument_names[ARG_START_AT]) == 0)
			r->start_at = v.type == jbvNull ? -1 : range_number(&v);
		else
			bad_ranges();
	}
	if (r->from < 0 || r->until < 0)
		bad_ranges();
}

/* The ranges of one topic's object, appended. */
static KsRange *
read_topic(const char *topic, const JsonbValue *partitions, KsRange *ranges, int *n)
{
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	v;
	KsRange    *r;

	if (partitions->type != jbvBinary || !JsonContainerIsObject(partitions->val.binary.data))
		bad_ranges();
	ranges = repalloc(ranges, (*n + JsonContainerSize(partitions->val.binary.data) + 1) * sizeof(KsRange));
	r = ranges;
	it = JsonbIteratorInit(partitions->val.binary.data);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
		{
			int32		part;

			if (!ks_offsets_partition(v.val.string.val, v.val.string.len, &part))
				bad_ranges();
			r = &ranges[(*n)++];
			range_init(r, topic, part);
		}
		if (tok != WJB_VALUE)
			continue;
		if (v.type != jbvBinary)
			bad_ranges();
		if (JsonContainerIsArray(v.val.binary.data))
			read_array(v.val.binary.data, r);
		else
			read_object(v.val.binary.data, r);
		check_range(r);
	}
	return ranges;
}

static KsRange *
read_ranges(Jsonb *jb, int *n)
{
	JsonbIterator *it = JsonbIteratorInit(&jb->root);
	JsonbIteratorToken tok;
	JsonbValue	v;
	KsRange    *ranges = palloc(sizeof(KsRange));
	const char *topic = "";

	*n = 0;
	if (!JB_ROOT_IS_OBJECT(jb))
		bad_ranges();
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
			topic = pnstrdup(v.val.string.val, v.val.string.len);
		else if (tok == WJB_VALUE)
			ranges = read_topic(topic, &v, ranges, n);
	}
	return ranges;
}

/* The ranges of a JSON object, claimed, in the order in which they were. */
static KsRange *
claim_ranges(FunctionCallInfo fcinfo, Jsonb *jb, int *n)
{
	KsSink	   *sink = sink_to_move(fcinfo);
	KsRange    *ranges = read_ranges(jb, n);

	ks_claim(sink->name, ranges, *n);
	return ranges;
}

static Datum
claim_many(FunctionCallInfo fcinfo, Jsonb *jb)
{
	ReturnSetInfo *rsinfo = ks_materialize(fcinfo);
	int			n;
	KsRange    *ranges = claim_ranges(fcinfo, jb, &n);

	for (int i = 0; i < n; i++)
	{
		const KsRange *r = &ranges[i];
		Datum		values[] = {CStringGetTextDatum(r->p.topic), Int32GetDatum(r->p.part),
		Int64GetDatum(r->apply_from), Int64GetDatum(r->until)};
		bool		nulls[] = {false, false, r->apply_from < 0, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* The ranges, from jsonb or from text. */
static Jsonb *
ranges_argument(FunctionCallInfo fcinfo, bool is_text)
{
	ks_refuse_null(fcinfo, 0);
	ks_refuse_null(fcinfo, 1);
	return is_text ? ks_offsets_jsonb(text_to_cstring(PG_GETARG_TEXT_PP(1))) : PG_GETARG_JSONB_P(1);
}

Datum
kafka_sink_claim_many(PG_FUNCTION_ARGS)
{
	return claim_many(fcinfo, ranges_argument(fcinfo, false));
}

Datum
kafka_sink_claim_many_text(PG_FUNCTION_ARGS)
{
	return claim_many(fcinfo, ranges_argument(fcinfo, true));
}

/* What each range is to be applied from, as {"topic": {"0": apply_from}}; null: nothing is left. */
static Datum
starts_of_ranges(const KsRange *ranges, int n)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoChar(&s, '{');
	for (int i = 0; i < n; i++)
	{
		const KsRange *r = &ranges[i];
		bool		new_topic = i == 0 || strcmp(r[-1].p.topic, r->p.topic) != 0;

		if (new_topic)
		{
			appendStringInfoString(&s, i == 0 ? "" : "}, ");
			escape_json(&s, r->p.topic);
			appendStringInfoString(&s, ": {");
		}
		appendStringInfo(&s, "%s\"%d\": ", new_topic ? "" : ", ", r->p.part);
		if (r->apply_from < 0)
			appendStringInfoString(&s, "null");
		else
			appendStringInfo(&s, INT64_FORMAT, r->apply_from);
	}
	appendStringInfoString(&s, n > 0 ? "}}" : "}");
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(s.data));
}

/* Many ranges by a procedure, which returns one row. */
static Datum
call_claim_ranges(FunctionCallInfo fcinfo, Jsonb *jb)
{
	int			n;
	KsRange    *ranges = claim_ranges(fcinfo, jb, &n);
	Datum		values[] = {starts_of_ranges(ranges, n)};
	bool		nulls[] = {false};

	return one_row(fcinfo, values, nulls);
}

Datum
kafka_sink_claim_ranges(PG_FUNCTION_ARGS)
{
	return call_claim_ranges(fcinfo, ranges_argument(fcinfo, false));
}

Datum
kafka_sink_claim_ranges_text(PG_FUNCTION_ARGS)
{
	return call_claim_ranges(fcinfo, ranges_argument(fcinfo, true));
}

/* --- advance --- */

Datum
kafka_sink_advance(PG_FUNCTION_ARGS)
{
	KsSink	   *sink = sink_to_move(fcinfo);
	KsRange		r;

	ks_refuse_null(fcinfo, ARG_UNTIL);
	range_init(&r, ks_text_argument(fcinfo, ARG_TOPIC), partition_argument(fcinfo));
	r.until = PG_GETARG_INT64(ARG_UNTIL);
	if (PG_ARGISNULL(ARG_FROM))
	{
		ks_offsets_check_range(r.until, r.until);
		r.p.off = r.until;
		if (!ks_offsets_put(sink->name, &r.p, false))
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("sink \"%s\" has an offset for topic \"%s\" partition %d already",
							sink->name, r.p.topic, r.p.part),
					 errhint("Give the offset that you expect there as from_off.")));
		PG_RETURN_VOID();
	}
	r.from = PG_GETARG_INT64(ARG_FROM);
	ks_offsets_check_range(r.from, r.until);
	r.p.counts.consumed = r.p.counts.applied = r.until - r.from;
	ks_claim_exactly(sink->name, &r.p, r.from, r.until);
	PG_RETURN_VOID();
}

/* --- where to start --- */

/* The offsets of one topic (NULL: of all) in the words of a framework. */
static char *
spell(const KsPartition *parts, int n, bool flink)
{
	StringInfoData s;

	initStringInfo(&s);
	for (int i = 0; i < n; i++)
	{
		const KsPartition *p = &parts[i];
		bool		new_topic = i == 0 || strcmp(p[-1].topic, p->topic) != 0;

		if (flink)
		{
			appendStringInfo(&s, "%spartition:%d,offset:" INT64_FORMAT, i > 0 ? ";" : "", p->part, p->off);
			continue;
		}
		if (new_topic)
		{
			appendStringInfoString(&s, i == 0 ? "{" : "},");
			escape_json(&s, p->topic);
			appendStringInfoString(&s, ":{");
		}
		appendStringInfo(&s, "%s\"%d\":" INT64_FORMAT, new_topic ? "" : ",", p->part, p->off);
	}
	if (!flink)
		appendStringInfoString(&s, "}}");
	return s.data;
}

/* What is stored and, if Kafka is asked, where what has no row would begin. */
static KsPartition *
find_starts(KsSink *sink, const char *topic, bool refresh, int *n)
{
	int			nstored;
	int			nasked = 0;
	KsPartition *stored = ks_offsets_list(sink->name, NULL, &nstored);
	KsPartition *asked = refresh ? ks_start_offsets_query(sink, NULL, stored, nstored, &nasked) : NULL;
	KsPartition *parts = palloc((nstored + nasked + 1) * sizeof(KsPartition));
	int			m = 0;

	*n = 0;
	while (m < nstored)
		parts[(*n)++] = stored[m++];
	for (int i = 0; i < nasked; i++)
		if (bsearch(&asked[i], stored, nstored, sizeof(KsPartition), ks_offsets_compare) == NULL)
			parts[(*n)++] = asked[i];
	if (topic)
	{
		m = 0;
		for (int i = 0; i < *n; i++)
			if (strcmp(parts[i].topic, topic) == 0)
				parts[m++] = parts[i];
		*n = m;
	}
	ks_offsets_sort(parts, *n);
	return parts;
}

Datum
kafka_sink_starting_offsets(PG_FUNCTION_ARGS)
{
	KsSink	   *sink;
	char	   *format;
	char	   *topic = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	KsPartition *parts;
	int			n;
	bool		flink;

	sink = ks_catalog_sink(ks_text_argument(fcinfo, 0), false);
	format = ks_text_argument(fcinfo, 1);
	ks_refuse_null(fcinfo, 3);
	ks_catalog_check_owner(sink, false);
	flink = strcmp(format, "flink") == 0;
	if (!flink && strcmp(format, "spark") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid format: \"%s\"", format),
				 errhint("Valid formats are: spark, flink.")));
	parts = find_starts(sink, topic, PG_GETARG_BOOL(3), &n);
	if (n == 0)
		PG_RETURN_NULL();
	if (flink && strcmp(parts[0].topic, parts[n - 1].topic) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("sink \"%s\" has several topics, and Flink's option is of one", sink->name),
				 errhint("Name it: starting_offsets(..., topic => %s).", quote_literal_cstr(parts[0].topic))));
	PG_RETURN_TEXT_P(cstring_to_text(spell(parts, n, flink)));
}
