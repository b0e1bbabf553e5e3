/*
 * transaction.c
 *	  Transactions of a background process, each with a snapshot of its own; and
 *	  subtransactions of any process.
 *
 * A process has no session that would begin and end them, tell what it does, or
 * catch an error: this is the one place where it is done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "base/session.h"
#include "process/shmem.h"
#include "process/transaction.h"

void
ks_transaction_begin(void)
{
	/* the last one may have ended in an error */
	ks_shmem_note_commit(false);
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, NULL);
}

void
ks_transaction_commit(void)
{
	PopActiveSnapshot();
	ks_shmem_note_commit(true);
	CommitTransactionCommand();
	ks_shmem_note_commit(false);
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
ks_transaction_attempt(void (*step) (void *arg), void *arg, int lock_ms)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char		timeout[12];
	ErrorData  *volatile edata = NULL;

	snprintf(timeout, sizeof(timeout), "%d", lock_ms);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		int			nestlevel = NewGUCNestLevel();

		(void) set_config_option("lock_timeout", timeout, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		step(arg);
		AtEOXact_GUC(true, nestlevel);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		edata = ks_session_catch_subtransaction(owner, cxt);
	}
	PG_END_TRY();
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
