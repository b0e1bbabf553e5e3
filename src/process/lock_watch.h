/*
 * lock_watch.h
 *	  Which lock is waited for, and who is in the way.
 *
 * When lock_timeout ends a wait, the server does not say what was waited for.
 * While a batch is applied, a timer takes it down.
 */
#ifndef KS_LOCK_WATCH_H
#define KS_LOCK_WATCH_H

#include "catalog/sinks.h"
#include "write/apply.h"

/* Around the statements that may wait; end also after an error.  'ap' tells what is
 * being written, or is NULL. */
extern void ks_lock_watch_begin(const KsApply *ap);
extern void ks_lock_watch_end(void);

/*
 * In a transaction, after an error 55P03 between the two: the wait that it ended,
 * and since when, in the current context.
 */
extern void ks_lock_watch_describe(const ErrorData *edata, KsStateError *error);

#endif
