/*
 * funcs_pause.c
 *	  SQL functions that pause a sink.
 *
 * The function pauses at the commit of its transaction, and cannot wait for what
 * comes after that.  So who wants to wait calls the procedure, which commits and
 * then holds neither locks nor a snapshot: workers end with their batch at hand,
 * which may have to wait for locks of others, but never for the caller.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "catalog/history.h"
#include "catalog/sinks.h"
#include "process/shmem.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/feeds.h"
#include "sql/funcs.h"

#define CHECK_MS		1000		/* at least so often, if nothing wakes us */

PG_FUNCTION_INFO_V1(kafka_sink_pause);
PG_FUNCTION_INFO_V1(kafka_sink_pause_and_wait);

static void
pause_sink(const char *name)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	KsSink	   *sink;

	if (ks_feeds_pause(name))
		return;
	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, false);
	if (!sink->enabled)
		return;
	(void) ks_define_bump_generation(sink);
	ks_define_change("UPDATE kafka_sink.sink_catalog c SET enabled = false "
					 "WHERE c.sink OPERATOR(pg_catalog.=) $1", lengthof(types), types, values, NULL);
	ks_history_log(name, "pause", NULL, NULL, NULL);
}

Datum
kafka_sink_pause(PG_FUNCTION_ARGS)
{
	pause_sink(ks_text_argument(fcinfo, 0));
	PG_RETURN_VOID();
}

/* Errors (57014) after the deadline, 0: none. */
static void
wait_for_workers(const char *name, TimestampTz deadline)
{
	ConditionVariable *cv = ks_shmem_progress_cv(name);

	if (cv == NULL)
		return;
	ConditionVariablePrepareToSleep(cv);
	while (ks_shmem_has_worker(name))
	{
		TimestampTz now = GetCurrentTimestamp();
		long		timeout = CHECK_MS;

		if (deadline != 0 && now >= deadline)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("timed out while waiting for the workers of sink \"%s\" to end", name),
					 errdetail("The sink is paused: they end with the batch at hand."),
					 errhint("The view kafka_sink.stat_sinks shows what they wait for.")));
		if (deadline != 0)
			timeout = Min(timeout, Max(1, TimestampDifferenceMilliseconds(now, deadline)));
		(void) ConditionVariableTimedSleep(cv, timeout, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
}

Datum
kafka_sink_pause_and_wait(PG_FUNCTION_ARGS)
{
	char	   *name = MemoryContextStrdup(PortalContext, ks_call_sink(fcinfo));
	TimestampTz deadline = ks_call_deadline(fcinfo, 2);

	ks_refuse_null(fcinfo, 1);
	if (PG_GETARG_BOOL(1))
		ks_call_require_nonatomic(fcinfo, "pause");
	SPI_connect_ext(PG_GETARG_BOOL(1) ? SPI_OPT_NONATOMIC : 0);
	pause_sink(name);
	if (PG_GETARG_BOOL(1))
	{
		SPI_commit();
		wait_for_workers(name, deadline);
	}
	SPI_finish();
	PG_RETURN_VOID();
}
