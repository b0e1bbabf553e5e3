/*
 * worker_state.c
 *	  A worker's transactions, its errors, and what it says of itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "worker_int.h"

KsWorker	ks_worker;

void
ks_worker_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
}

void
ks_worker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

void
ks_worker_write_state(const char *state, const KsStateError *error)
{
	MemoryContext cxt = CurrentMemoryContext;

	PG_TRY();
	{
		ks_worker_begin();
		ks_catalog_set_state(ks_worker.sink->name, ks_worker.slot->worker, state, error);
		ks_worker_commit();
		ks_worker.state = state;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		ks_worker.state = "unknown";
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	ConditionVariableBroadcast(ks_worker.moved);
}

void
ks_worker_halt(const KsStateError *error)
{
	ereport(LOG,
			(errcode(error->sqlstate),
			 errmsg("sink \"%s\" halted: %s", ks_worker.sink->name, error->message),
			 error->topic ? errdetail("Topic \"%s\", partition %d, offset " INT64_FORMAT "%s.",
									  error->topic, error->part, error->off,
									  error->column ? psprintf(", column \"%s\"", error->column) : "") : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
	ks_worker_write_state("halted", error);
	proc_exit(0);
}

bool
ks_worker_error_passes(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_CONNECTION_EXCEPTION:	/* 08 */
		case ERRCODE_TRANSACTION_ROLLBACK:	/* 40 */
		case ERRCODE_INSUFFICIENT_RESOURCES:	/* 53 */
		case ERRCODE_OPERATOR_INTERVENTION:	/* 57 */
			return true;
		default:
			return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE ||
				sqlstate == ERRCODE_OBJECT_IN_USE;
	}
}

ErrorData *
ks_worker_catch_error(MemoryContext cxt)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(cxt);
	HOLD_INTERRUPTS();
	edata = CopyErrorData();
	FlushErrorState();
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(cxt);
	RESUME_INTERRUPTS();
	pgstat_report_activity(STATE_IDLE, NULL);
	return edata;
}

/* What it is that must change before it passes, or NULL. */
static const char *
waits_for(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return "lock";
		case ERRCODE_DISK_FULL:
		case ERRCODE_CONFIGURATION_LIMIT_EXCEEDED:	/* temp_file_limit */
			return "disk";
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
			return "broker";
		case ERRCODE_UNDEFINED_OBJECT:
			return "topic";
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_CONNECTION_EXCEPTION ? "broker" : NULL;
	}
}

void
ks_worker_state_error(const ErrorData *edata, KsStateError *error)
{
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = edata->sqlerrcode;
	error->message = edata->message;
	error->detail = edata->detail;
	error->hint = edata->hint;
	error->column = edata->column_name;
	error->off = -1;
	error->waits_for = waits_for(edata->sqlerrcode);
}
