/*
 * session.h
 *	  Settings that decide what values mean, fixed while records are applied.
 */
#ifndef KS_SESSION_H
#define KS_SESSION_H

#include "postgres.h"

/* In a worker, for good. */
extern void ks_session_fix(void);

/* In a client's session: until ks_session_leave() or the (sub)transaction's end. */
extern int	ks_session_enter(void);
extern void ks_session_leave(int nestlevel);

#endif
