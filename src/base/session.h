/*
 * session.h
 *	  Settings that decide what values mean, fixed while records are applied.
 */
#ifndef KS_SESSION_H
#define KS_SESSION_H

#include "postgres.h"

#include "utils/resowner.h"

#include "base/compat.h"

/* In a worker, for good. */
extern void ks_session_fix(void);

/* In a worker: room for n events to wait for.  Where the system has none that is an error of
 * class 53, which passes; the server calls it an internal one. */
extern struct WaitEventSet *ks_session_wait_events(int n);

/* In a client's session: until ks_session_leave() or the (sub)transaction's end. */
extern int	ks_session_enter(void);
extern void ks_session_leave(int nestlevel);

/*
 * In PG_CATCH(), within an internal subtransaction: rolls that back; the error, in 'cxt'.
 * owner is the resource owner from before it.
 */
extern ErrorData *ks_session_catch_subtransaction(ResourceOwner owner, MemoryContext cxt);

/* The same, and throws the error again, so that it does not reach the top with the
 * subtransaction open. */
KS_NORETURN extern void ks_session_leave_subtransaction(ResourceOwner owner, MemoryContext cxt);

/* The process ends without the destructors of libraries, which could meet the
 * threads of librdkafka.  Called before any other callback of proc_exit(). */
extern void ks_session_end_by_exit(void);

/* The same for a client's session, which has callbacks already: they run. */
extern void ks_session_end_without_destructors(void);

#endif
