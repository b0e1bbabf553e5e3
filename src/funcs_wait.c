/*
 * funcs_wait.c
 *	  CALL wait_for(): wait for the workers.
 *
 * It commits between looks and waits without snapshot or transaction id, so
 * it needs to be called outside a transaction block.  Memory hangs on the
 * portal's context: an error closes the source with it.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "consumer.h"
#include "funcs.h"
#include "offsets.h"

PG_FUNCTION_INFO_V1(kafka_sink_wait_for);

/* The last stable offsets of everything the sink is registered for. */
static KsPartition *
current_ends(KsSink *sink, List *topics, KsConf *conf, TimestampTz deadline,
			 MemoryContext cxt, int *n)
{
	MemoryContext scratch = AllocSetContextCreate(cxt, "kafka_sink ends", ALLOCSET_DEFAULT_SIZES);
	KsSourceOptions opts = {
		.client_id = psprintf("kafka_sink/%s", sink->name),
		.read_uncommitted = sink->read_uncommitted,
		.max_record_bytes = sink->max_record_bytes
	};
	KsSource   *src = ks_source_open(conf, &opts, scratch);
	KsPartition *parts = NULL;
	ListCell   *lc;

	*n = 0;
	foreach(lc, topics)
	{
		KsTopic    *t = lfirst(lc);
		int			count = ks_source_partition_count(src, t->topic, ks_call_broker_timeout(deadline));
		KsOffsetQuery *q = palloc0(Max(count, 1) * sizeof(KsOffsetQuery));
		int			m = 0;

		for (int i = 0; i < count; i++)
			if (ks_topic_has_partition(t, i))
			{
				q[m].topic = t->topic;
				q[m].part = i;
				q[m++].ts = KS_OFFSET_LATEST;
			}
		ks_source_query_offsets(src, q, m, ks_call_broker_timeout(deadline));
		parts = parts ? repalloc(parts, (*n + m + 1) * sizeof(KsPartition)) :
			palloc((m + 1) * sizeof(KsPartition));
		for (int i = 0; i < m; i++)
		{
			memset(&parts[*n], 0, sizeof(KsPartition));
			parts[*n].topic = q[i].topic;
			parts[*n].part = q[i].part;
			parts[(*n)++].until = q[i].off;
		}
	}
	MemoryContextDelete(scratch);
	return parts;
}

/* Has the sink come so far?  Errors if it will not by itself. */
static bool
has_arrived(const char *name, KsPartition *ends, int n)
{
	KsSink	   *sink = ks_catalog_sink(name, false);
	const char *obstacle = !sink->enabled ? "paused" : sink->suspended ? "suspended" :
		sink->halted ? "halted" : NULL;

	for (; n > 0; n--)
	{
		KsPartition p = ends[n - 1];

		if (p.until > 0 && (!ks_offsets_read(name, &p) || p.off < p.until))
			break;
	}
	if (n == 0)
		return true;
	if (obstacle)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" is %s", name, obstacle),
				 errhint("The view kafka_sink.sinks tells why; kafka_sink.resume(%s) lets it go on.",
						 quote_literal_cstr(name))));
	return false;
}

Datum
kafka_sink_wait_for(PG_FUNCTION_ARGS)
{
	char	   *name = ks_call_sink(fcinfo);
	TimestampTz deadline;
	MemoryContext cxt;
	KsSink	   *sink;
	KsPartition *ends;
	int			n;

	ks_call_require_nonatomic(fcinfo, "wait_for");
	deadline = ks_call_deadline(fcinfo, 1);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	cxt = AllocSetContextCreate(PortalContext, "kafka_sink wait_for", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);
	name = pstrdup(name);
	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, false);
	if (!ks_shmem_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there are no background workers to wait for"),
				 errdetail("kafka_sink is not in shared_preload_libraries."),
				 errhint("Add it and restart the server, or consume in a session with CALL kafka_sink.run(%s).",
						 quote_literal_cstr(name))));
	if (!PG_ARGISNULL(2))
	{
		ends = ks_offsets_parse(PG_GETARG_JSONB_P_COPY(2), &n);
		for (int i = 0; i < n; i++)
			ends[i].until = ends[i].off;
		SPI_commit();
	}
	else
	{
		List	   *topics = ks_catalog_topics(name);
		KsConf	   *conf;

		if (sink->server == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("sink \"%s\" has no server to consume from", name),
					 errhint("Give the offsets to wait for in \"until\".")));
		conf = ks_options_load(sink->server, sink->owner);
		SPI_commit();
		MemoryContextSwitchTo(cxt);
		ends = current_ends(sink, topics, conf, deadline, cxt, &n);
	}

	for (;;)
	{
		ConditionVariable *cv = ks_shmem_sink_cv(name);
		long		timeout = 1000;
		MemoryContext scratch = AllocSetContextCreate(cxt, "kafka_sink check", ALLOCSET_SMALL_SIZES);
		bool		arrived;

		/* listen first, then look: no commit goes unnoticed */
		ConditionVariablePrepareToSleep(cv);
		MemoryContextSwitchTo(scratch);
		ks_call_begin();
		arrived = has_arrived(name, ends, n);
		ks_call_commit();
		MemoryContextSwitchTo(cxt);
		MemoryContextDelete(scratch);
		if (arrived)
			break;
		ks_call_check_deadline(deadline, name);
		if (deadline != 0)
			timeout = Min(timeout, Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)));
		ConditionVariableTimedSleep(cv, timeout, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	MemoryContextSwitchTo(PortalContext);
	MemoryContextDelete(cxt);
	SPI_finish();
	PG_RETURN_VOID();
}
