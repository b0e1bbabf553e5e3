/*
 * transaction.c
 *	  Transactions of a background process, each with a snapshot of its own.
 *
 * A process has no session that would begin and end them, tell what it does, or
 * catch an error: this is the one place where it is done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "process/transaction.h"

void
ks_transaction_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
}

void
ks_transaction_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

ErrorData *
ks_transaction_catch(MemoryContext cxt)
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

ErrorData *
ks_transaction_try(void (*step) (void *arg), void *arg)
{
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		ks_transaction_begin();
		step(arg);
		ks_transaction_commit();
	}
	PG_CATCH();
	{
		edata = ks_transaction_catch(cxt);
		pgstat_report_stat(false);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	return edata;
}
