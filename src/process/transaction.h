/*
 * transaction.h
 *	  Transactions of a background process, each with a snapshot of its own; and
 *	  subtransactions of any process.
 */
#ifndef KS_TRANSACTION_H
#define KS_TRANSACTION_H

#include "postgres.h"

extern void ks_transaction_begin(void);
extern void ks_transaction_commit(void);

/* After PG_CATCH: the error in 'cxt', which is current then; all is rolled back. */
extern ErrorData *ks_transaction_catch(MemoryContext cxt);

/*
 * Runs 'step' in a transaction of its own.  NULL if that is committed, else the
 * error, in the context of the caller, which is current again either way.
 */
extern ErrorData *ks_transaction_try(void (*step) (void *arg), void *arg);

/*
 * Within a transaction: runs 'step' in a subtransaction, in which no lock is waited for
 * longer than lock_ms (0: as long as it takes).  NULL, or the error by which that was
 * rolled back, in the context of the caller, which is current again either way.
 */
extern ErrorData *ks_transaction_attempt(void (*step) (void *arg), void *arg, int lock_ms);

#endif
