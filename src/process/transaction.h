/*
 * transaction.h
 *	  Transactions of a background process, each with a snapshot of its own.
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

#endif
