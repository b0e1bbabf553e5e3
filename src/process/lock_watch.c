/*
 * lock_watch.c
 *	  Which lock a batch waits for, and who holds it.
 *
 * The timer's handler only copies the tag of the lock that this process waits
 * for: that cannot go away while it does, but whoever grants it takes the
 * pointer to it away.  Who holds the lock is looked up in pg_locks afterwards,
 * when the transaction is gone: who has kept it for the length of a timeout most
 * likely still has it.
 *
 * A row that another transaction has written is waited for by the lock on that
 * transaction's id.  Which table it is in, the context of the error tells.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timeout.h"

#include "process/lock_watch.h"

#define SAMPLE_MS	100

static TimeoutId timer;
static bool registered = false;
static volatile sig_atomic_t watching = false;
static LOCKTAG waited_for;		/* locktag_type LOCKTAG_LAST_TYPE + 1: none */

#define NO_LOCK		(LOCKTAG_LAST_TYPE + 1)

/* In a signal handler. */
static void
sample_lock_wait(void)
{
	LOCK	   *lock;

	/* a process that is leaving has given up its entry */
	if (!watching || MyProc == NULL)
		return;
	lock = *(LOCK *volatile *) &MyProc->waitLock;
	if (lock != NULL)
		waited_for = lock->tag;
	enable_timeout_after(timer, SAMPLE_MS);
}

void
ks_lock_watch_begin(void)
{
	if (!registered)
		timer = RegisterTimeout(USER_TIMEOUT, sample_lock_wait);
	registered = true;
	waited_for.locktag_type = NO_LOCK;
	watching = true;
	enable_timeout_after(timer, SAMPLE_MS);
}

void
ks_lock_watch_end(void)
{
	watching = false;
	if (registered)
		disable_timeout(timer, false);
}

/* "process 42 (AccessExclusiveLock), ...", or NULL: the first who hold the lock. */
static char *
find_holders(const LOCKTAG *tag)
{
	Oid			types[] = {OIDOID, XIDOID};
	Datum		values[] = {ObjectIdGetDatum(tag->locktag_field2), TransactionIdGetDatum(tag->locktag_field1)};
	bool		of_xid = tag->locktag_type == LOCKTAG_TRANSACTION;
	MemoryContext cxt = CurrentMemoryContext;
	char	   *result = NULL;

	SPI_connect();
	if (SPI_execute_with_args(of_xid ?
							  "SELECT pg_catalog.string_agg('process ' || l.pid, ', ') "
							  "FROM (SELECT l.pid FROM pg_catalog.pg_locks l WHERE l.granted AND l.locktype = 'transactionid' "
							  "AND l.transactionid = $2 AND l.pid <> pg_catalog.pg_backend_pid() LIMIT 5) l" :
							  "SELECT pg_catalog.string_agg('process ' || l.pid || ' (' || l.mode || ')', ', ') "
							  "FROM (SELECT l.pid, l.mode FROM pg_catalog.pg_locks l WHERE l.granted AND l.locktype = 'relation' "
							  "AND l.relation = $1 AND l.pid <> pg_catalog.pg_backend_pid() "
							  "AND l.database IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())) "
							  /* those that a writer conflicts with come first */
							  "ORDER BY l.mode IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'), l.pid LIMIT 5) l",
							  lengthof(types), types, values, NULL, true, 0) == SPI_OK_SELECT &&
		SPI_processed == 1)
	{
		char	   *s = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);

		result = s ? MemoryContextStrdup(cxt, s) : NULL;
	}
	SPI_finish();
	return result;
}

/* The part of an error's context that tells of a row, or NULL. */
static char *
row_place(const char *context)
{
	const char *in = context ? strstr(context, " in relation \"") : NULL;
	const char *start = in;

	if (in == NULL)
		return NULL;
	while (start > context && start[-1] != '\n')
		start--;
	return pnstrdup(start, strcspn(start, "\n"));
}

void
ks_lock_watch_describe(const char *context, KsStateError *error)
{
	const LOCKTAG *tag = &waited_for;
	char	   *place = row_place(context);
	char	   *holders = NULL;
	char	   *table = NULL;

	error->waits_for = "lock";
	if (tag->locktag_type == LOCKTAG_RELATION)
		table = get_rel_name(tag->locktag_field2);
	if (table)
		error->message = psprintf("waits for a lock on table \"%s\"", table);
	else if (place)
		error->message = psprintf("waits for a row that another transaction has locked, %s", place);
	else
		error->message = "waits for a lock that another transaction holds";
	if (tag->locktag_type == LOCKTAG_RELATION || tag->locktag_type == LOCKTAG_TRANSACTION)
		holders = find_holders(tag);
	error->detail = holders ? psprintf("It is held by %s.", holders) : NULL;
	error->hint = "The batch is rolled back and tried again until it gets the lock; see pg_locks and pg_stat_activity.";
}
