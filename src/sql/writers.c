/*
 * writers.c
 *	  Waiting for who has written before there was a publication.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "utils/syscache.h"

#include "sql/writers.h"

static bool
is_known_to_others(const char *publication)
{
	HeapTuple	tup = SearchSysCache1(PUBLICATIONNAME, CStringGetDatum(publication));
	bool		ours;

	if (!HeapTupleIsValid(tup))
		return false;
	ours = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tup->t_data));
	ReleaseSysCache(tup);
	return !ours;
}

/* (One that is prepared has no process, and is waited for wherever it is.) */
static bool
is_elsewhere(TransactionId xid)
{
	PGPROC	   *proc = BackendPidGetProc(BackendXidGetPid(xid));

	return proc != NULL && proc->databaseId != MyDatabaseId;
}

/* In the current context. */
static TransactionId *
find_running(int *n)
{
	RunningTransactions running = GetRunningTransactionData();
	TransactionId *xids;

	/* what it points to is this process's own */
	LWLockRelease(ProcArrayLock);
	LWLockRelease(XidGenLock);
	*n = running->xcnt;
	xids = palloc(Max(*n, 1) * sizeof(TransactionId));
	memcpy(xids, running->xids, *n * sizeof(TransactionId));
	return xids;
}

void
ks_wait_for_writers_before(const char *publication)
{
	TransactionId *xids;
	int			n;

	/* (a standby refuses what comes next) */
	if (RecoveryInProgress() || !is_known_to_others(publication))
		return;
	xids = find_running(&n);
	for (int i = 0; i < n; i++)
		if (!TransactionIdIsCurrentTransactionId(xids[i]) && !is_elsewhere(xids[i]))
			XactLockTableWait(xids[i], NULL, NULL, XLTW_None);
	pfree(xids);
}
