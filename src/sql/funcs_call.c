/*
 * funcs_call.c
 *	  What procedures that commit as they go share: arguments, transactions,
 *	  deadlines.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/interval.h"
#include "base/session.h"
#include "sql/arguments.h"
#include "sql/funcs.h"

#define QUERY_TIMEOUT_MS	30000

static int	nestlevel;

void
ks_call_require_nonatomic(FunctionCallInfo fcinfo, const char *name)
{
	if (fcinfo->context == NULL || !IsA(fcinfo->context, CallContext) ||
		castNode(CallContext, fcinfo->context)->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_TERMINATION),
				 errmsg("kafka_sink.%s() cannot be called in a transaction block", name),
				 errdetail("It commits as it goes."),
				 errhint("CALL it on its own.")));
}

void
ks_call_begin(void)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	nestlevel = ks_session_enter();
}

void
ks_call_commit(void)
{
	ks_session_leave(nestlevel);
	PopActiveSnapshot();
	SPI_commit();
}

char *
ks_call_sink(FunctionCallInfo fcinfo)
{
	return ks_text_argument(fcinfo, 0);
}

TimestampTz
ks_call_deadline(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		return 0;
	return GetCurrentTimestamp() +
		ks_interval_check(PG_GETARG_INTERVAL_P(arg), "timeout", 0, KS_TIMEOUT_MAX_US,
						  "0 to " KS_TIMEOUT_MAX, "Without a timeout it waits as long as it takes.");
}

int
ks_call_broker_timeout(TimestampTz deadline)
{
	if (deadline == 0)
		return QUERY_TIMEOUT_MS;
	return (int) Max(1, Min(QUERY_TIMEOUT_MS,
							TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)));
}

void
ks_call_check_deadline(TimestampTz deadline, const char *sink, const char *detail)
{
	if (deadline != 0 && GetCurrentTimestamp() >= deadline)
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("timed out while waiting for sink \"%s\"", sink),
				 detail ? errdetail_internal("%s", detail) : 0,
				 errhint("The views kafka_sink.sinks and kafka_sink.lag show where it stands.")));
}

/* The place of an error, for a human. */
static const char *
describe_place(const KsStateError *e)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (e->topic)
		appendStringInfo(&buf, ": topic \"%s\"", e->topic);
	if (e->topic && e->part >= 0)
		appendStringInfo(&buf, ", partition %d", e->part);
	if (e->topic && e->off >= 0)
		appendStringInfo(&buf, ", offset " INT64_FORMAT, e->off);
	if (e->column)
		appendStringInfo(&buf, ", column \"%s\"", e->column);
	return buf.data;
}

void
ks_call_raise_halted(const char *what, const KsStateError *e)
{
	ereport(ERROR,
			(errcode(e->sqlstate),
			 errmsg_internal("%s", e->message),
			 e->detail ? errdetail_internal("%s", e->detail) : 0,
			 e->hint ? errhint("%s", e->hint) : 0,
			 errcontext("%s is halted%s", what, describe_place(e))));
}
