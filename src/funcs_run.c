/*
 * funcs_run.c
 *	  CALL run(): consume in the caller's session.  CALL wait_for(): wait for
 *	  the workers.
 *
 * Both commit between steps and wait without snapshot or transaction id, so
 * they need to be called outside a transaction block.  Memory hangs on the
 * portal's context: an error closes the source with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "consumer.h"
#include "offsets.h"
#include "session.h"

#define QUERY_TIMEOUT_MS	30000
#define PROGRESS_MS			1000

PG_FUNCTION_INFO_V1(kafka_sink_run);
PG_FUNCTION_INFO_V1(kafka_sink_wait_for);

static int	nestlevel;

static void
require_nonatomic(FunctionCallInfo fcinfo, const char *name)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("kafka_sink.%s() cannot be called in a transaction block", name),
				 errdetail("It commits as it goes."),
				 errhint("CALL it on its own.")));
}

static void
begin(void)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	nestlevel = ks_session_enter();
}

static void
commit(void)
{
	ks_session_leave(nestlevel);
	PopActiveSnapshot();
	SPI_commit();
}

static char *
sink_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the sink's name must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/* The end of a timeout argument; 0: none. */
static TimestampTz
deadline_argument(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		return 0;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()),
												   PG_GETARG_DATUM(arg)));
}

/* For a call that waits for a broker: no longer than the caller wants. */
static int
broker_timeout(TimestampTz deadline)
{
	if (deadline == 0)
		return QUERY_TIMEOUT_MS;
	return (int) Max(1, Min(QUERY_TIMEOUT_MS,
							TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)));
}

static void
check_deadline(TimestampTz deadline, const char *sink)
{
	if (deadline != 0 && GetCurrentTimestamp() >= deadline)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("timed out while waiting for sink \"%s\"", sink),
				 errhint("The views kafka_sink.sinks and kafka_sink.lag show where it stands.")));
}

/* --- run --- */

/* Bounds given by the caller, or the last stable offsets as of now. */
static void
set_bounds(KsConsumer *c, Jsonb *until)
{
	if (until)
	{
		int			n;
		KsPartition *bounds = ks_offsets_parse(until, &n);

		for (int i = 0; i < c->nparts; i++)
			c->states[i].bound = c->parts[i].off;	/* not named: nothing */
		for (int j = 0; j < n; j++)
		{
			bool		found = false;

			for (int i = 0; i < c->nparts; i++)
				if (c->parts[i].part == bounds[j].part &&
					strcmp(c->parts[i].topic, bounds[j].topic) == 0)
				{
					c->states[i].bound = bounds[j].off;
					found = true;
				}
			if (!found)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("sink \"%s\" does not consume topic \"%s\" partition %d",
								c->sink->name, bounds[j].topic, bounds[j].part)));
		}
	}
	else
	{
		KsOffsetQuery *q = palloc0(Max(c->nparts, 1) * sizeof(KsOffsetQuery));

		for (int i = 0; i < c->nparts; i++)
		{
			q[i].topic = c->parts[i].topic;
			q[i].part = c->parts[i].part;
			q[i].ts = KS_OFFSET_LATEST;
		}
		ks_source_query_offsets(c->source, q, c->nparts, c->timeout_ms);
		for (int i = 0; i < c->nparts; i++)
			c->states[i].bound = q[i].off;
	}
}

static int64
left_to_do(KsConsumer *c)
{
	int64		left = 0;

	for (int i = 0; i < c->nparts; i++)
		left += Max(0, c->states[i].bound - c->parts[i].off);
	return left;
}

static void
raise_consumer_error(KsConsumer *c)
{
	KsStateError *e = &c->error;

	if (c->halt)
		ereport(ERROR,
				(errcode(e->sqlstate),
				 errmsg("sink \"%s\": %s", c->sink->name, e->message),
				 e->detail ? errdetail_internal("%s", e->detail) : 0,
				 e->hint ? errhint("%s", e->hint) : 0,
				 e->topic ? errcontext("topic \"%s\", partition %d, offset " INT64_FORMAT,
									   e->topic, e->part, e->off) : 0));
	if (e->message && !c->reported)
		ereport(WARNING,
				(errcode(e->sqlstate),
				 errmsg("sink \"%s\": %s", c->sink->name, e->message),
				 e->hint ? errhint("%s", e->hint) : 0));
	c->reported = true;
}

static void
raise_record_error(KsConsumer *c, const KsRecordError *err)
{
	KsStateError e;

	ks_consumer_describe(c, err, &e);
	ereport(ERROR,
			(errcode(e.sqlstate),
			 errmsg("%s", e.message),
			 e.detail ? errdetail_internal("%s", e.detail) : 0,
			 err->exceeded ?
			 errhint("Everything before the record is committed.  CALL kafka_sink.run(%s) again goes on with it and counts anew.",
					 quote_literal_cstr(c->sink->name)) :
			 errhint("Everything before the record is committed.  Mend the cause, or pass over it with kafka_sink.skip(%s, %s, %d, " INT64_FORMAT ").",
					 quote_literal_cstr(c->sink->name), quote_literal_cstr(e.topic), e.part, e.off),
			 e.column ?
			 errcontext("sink \"%s\", topic \"%s\", partition %d, offset " INT64_FORMAT ", column \"%s\"",
						c->sink->name, e.topic, e.part, e.off, e.column) :
			 errcontext("sink \"%s\", topic \"%s\", partition %d, offset " INT64_FORMAT,
						c->sink->name, e.topic, e.part, e.off)));
}

Datum
kafka_sink_run(PG_FUNCTION_ARGS)
{
	char	   *name = sink_argument(fcinfo);
	Jsonb	   *until = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P_COPY(1);
	int64		max_records = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	TimestampTz deadline;
	TimestampTz last_progress;
	MemoryContext cxt;
	KsSink	   *sink;
	KsConsumer *c;
	int64		total = 0;
	pid_t		worker;

	require_nonatomic(fcinfo, "run");
	if (max_records < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must not be negative")));
	deadline = deadline_argument(fcinfo, 3);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	cxt = AllocSetContextCreate(PortalContext, "kafka_sink run", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);
	name = pstrdup(name);
	if (until)
		until = DatumGetJsonbPCopy(JsonbPGetDatum(until));

	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, true);
	worker = ks_shmem_worker_pid(name);
	if (worker != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sink \"%s\" is being consumed by a background worker", name),
				 errdetail("Its process ID is %d.", (int) worker),
				 errhint("SELECT kafka_sink.pause(%s) first.", quote_literal_cstr(name))));
	if (sink->suspended)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" is suspended", name),
				 errdetail("Its offsets were written in another database or server."),
				 errhint("SELECT kafka_sink.resume(%s) to go on from them here.", quote_literal_cstr(name))));
	c = ks_consumer_create(sink, false, begin, commit, cxt);
	SPI_commit();
	MemoryContextSwitchTo(cxt);
	c->timeout_ms = broker_timeout(deadline);
	ks_consumer_open(c);
	if (c->stale)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" was changed by another session", name),
				 errhint("CALL kafka_sink.run(%s) again.", quote_literal_cstr(name))));
	set_bounds(c, until);
	last_progress = GetCurrentTimestamp();

	while (left_to_do(c) > 0 && total < max_records)
	{
		long		timeout;
		bool		ready;

		MemoryContextSwitchTo(cxt);
		CHECK_FOR_INTERRUPTS();
		ks_consumer_poll(c);
		ready = ks_consumer_ready(c, &timeout);
		if (ready || c->nrecs >= max_records - total || (c->halt && c->nrecs > 0))
		{
			KsRecordError err;
			KsApplyResult result;
			int64		n;

			if (c->nrecs > max_records - total)
				ks_consumer_keep(c, (int) (max_records - total));
			begin();
			result = ks_consumer_apply(c, &err);
			if (result == KS_APPLY_MISMATCH)
				ereport(ERROR,
						(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						 errmsg("offsets of sink \"%s\" were moved by another session", name),
						 errdetail("The batch was rolled back; the batches before it are committed."),
						 errhint("Let one consume at a time, then CALL kafka_sink.run(%s) again.",
								 quote_literal_cstr(name))));
			commit();
			MemoryContextSwitchTo(cxt);
			n = c->nrecs;		/* without those that wait */
			if (result == KS_APPLY_STOPPED)
				raise_record_error(c, &err);
			ks_consumer_committed(c);
			total += n;
			if (TimestampDifferenceExceeds(last_progress, GetCurrentTimestamp(), PROGRESS_MS))
			{
				ereport(INFO,
						(errmsg("sink \"%s\": " INT64_FORMAT " records, " INT64_FORMAT " offsets to go",
								name, total, left_to_do(c))));
				last_progress = GetCurrentTimestamp();
			}
			continue;
		}
		raise_consumer_error(c);
		check_deadline(deadline, name);
		if (deadline != 0)
		{
			long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

			timeout = timeout < 0 ? left : Min(timeout, left);
		}
		(void) WaitLatchOrSocket(MyLatch,
								 WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH |
								 (timeout >= 0 ? WL_TIMEOUT : 0),
								 ks_source_fd(c->source), timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	ereport(INFO,
			(errmsg("sink \"%s\": " INT64_FORMAT " records, " INT64_FORMAT " offsets to go",
					name, total, left_to_do(c))));
	MemoryContextSwitchTo(PortalContext);
	MemoryContextDelete(cxt);	/* closes the source */
	SPI_finish();
	PG_RETURN_VOID();
}

/* --- wait_for --- */

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
		int			count = ks_source_partition_count(src, t->topic, broker_timeout(deadline));
		KsOffsetQuery *q = palloc0(Max(count, 1) * sizeof(KsOffsetQuery));
		int			m = 0;

		for (int i = 0; i < count; i++)
			if (ks_topic_has_partition(t, i))
			{
				q[m].topic = t->topic;
				q[m].part = i;
				q[m++].ts = KS_OFFSET_LATEST;
			}
		ks_source_query_offsets(src, q, m, broker_timeout(deadline));
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
	char	   *name = sink_argument(fcinfo);
	TimestampTz deadline;
	MemoryContext cxt;
	KsSink	   *sink;
	KsPartition *ends;
	int			n;

	require_nonatomic(fcinfo, "wait_for");
	deadline = deadline_argument(fcinfo, 1);
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
		begin();
		arrived = has_arrived(name, ends, n);
		commit();
		MemoryContextSwitchTo(cxt);
		MemoryContextDelete(scratch);
		if (arrived)
			break;
		check_deadline(deadline, name);
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
