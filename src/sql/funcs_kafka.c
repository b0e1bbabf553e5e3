/*
 * funcs_kafka.c
 *	  SQL functions that ask Kafka and touch no sink.
 *
 * They work in any session, with or without shared_preload_libraries, and are
 * bounded by their timeout.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/interval.h"
#include "base/memory.h"
#include "kafka/source.h"
#include "sql/arguments.h"
#include "sql/funcs.h"

#define TOPICS_COLUMNS	4

#define MAX_RECORDS		1000000
#define FEW				1000	/* records, which are asked for batch by batch */

PG_FUNCTION_INFO_V1(kafka_sink_topics);

int
ks_timeout_ms(const Interval *timeout)
{
	int64		us = ks_interval_check(timeout, "timeout", 1, KS_TIMEOUT_MAX_US,
									   "more than 0, to " KS_TIMEOUT_MAX, NULL);

	return (int) ((us + 999) / 1000);
}

ReturnSetInfo *
ks_materialize(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext old;
	TupleDesc	desc;

	if (rsinfo == NULL || !IsA(rsinfo, ReturnSetInfo) ||
		(rsinfo->allowedModes & SFRM_Materialize) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-valued function called in context that cannot accept a set")));
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	old = MemoryContextSwitchTo(rsinfo->econtext->ecxt_per_query_memory);
	rsinfo->returnMode = SFRM_Materialize;
	rsinfo->setDesc = CreateTupleDescCopy(desc);
	rsinfo->setResult = tuplestore_begin_heap((rsinfo->allowedModes & SFRM_Materialize_Random) != 0,
											  false, work_mem);
	MemoryContextSwitchTo(old);
	return rsinfo;
}

void
ks_look_check_count(const char *name, int n)
{
	if (n < 1 || n > MAX_RECORDS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be between 1 and %d", name, MAX_RECORDS)));
}

int32
ks_look_answer_bytes(int n)
{
	return ks_memory_answer_bytes(n <= FEW ? 2 : 1);
}

TimestampTz
ks_look_deadline(const Interval *timeout)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ks_timeout_ms(timeout));
}

/* kafka_sink.topics(server text, timeout interval) */
Datum
kafka_sink_topics(PG_FUNCTION_ARGS)
{
	char	   *server = ks_text_argument(fcinfo, 0);
	int			timeout;
	ReturnSetInfo *rsinfo;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink topics",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsSourceOptions opts = {.client_id = "kafka_sink/topics"};
	KsSource   *src;
	KsTopicInfo *info;
	int			n;

	ks_refuse_null(fcinfo, 1);
	timeout = ks_timeout_ms(PG_GETARG_INTERVAL_P(1));
	rsinfo = ks_materialize(fcinfo);
	src = ks_source_open(ks_options_load(server, GetUserId()), &opts, cxt);
	info = ks_source_list_topics(src, timeout, &n);
	for (int i = 0; i < n; i++)
	{
		Datum		values[TOPICS_COLUMNS];
		bool		nulls[TOPICS_COLUMNS] = {false, false, false, false};

		values[0] = CStringGetTextDatum(info[i].topic);
		values[1] = Int32GetDatum(info[i].partitions);
		values[2] = Int32GetDatum(info[i].replicas);
		nulls[3] = info[i].error == NULL;
		values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(info[i].error);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);	/* closes the source */
	return (Datum) 0;
}
