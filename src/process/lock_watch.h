/*
 * lock_watch.h
 *	  Which lock a batch waits for, and who holds it.
 *
 * When lock_timeout ends a wait, the server does not say what was waited for.
 * While a batch is applied, a timer takes it down.
 */
#ifndef KS_LOCK_WATCH_H
#define KS_LOCK_WATCH_H

#include "catalog/sinks.h"

/* Around the statements that may wait; end also after an error. */
extern void ks_lock_watch_begin(void);
extern void ks_lock_watch_end(void);

/*
 * In a transaction, after an error 55P03: message, detail and hint of the wait
 * that it ended, in the current context.  'context' is that of the error, or
 * NULL.
 */
extern void ks_lock_watch_describe(const char *context, KsStateError *error);

#endif
