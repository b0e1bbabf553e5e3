/*
 * owner.h
 *	  Running the code of a sink's owner in somebody's session.
 *
 * Triggers, defaults, filters, commands, the types of a target: all of it is the
 * owner's, and runs as the owner.  In a worker nobody else is there.  A session
 * may be somebody else's, who has become the owner by SET ROLE, SET SESSION
 * AUTHORIZATION or a function of the owner's: so between ks_owner_enter() and
 * ks_owner_leave() that code can neither become what the session was before nor
 * leave anything behind that runs later.
 */
#ifndef KS_OWNER_H
#define KS_OWNER_H

#include "postgres.h"

#include "catalog/sinks.h"

typedef struct KsOwnerUser
{
	KsCatalogUser save;
	const KsSink *sink;
	int			nestlevel;		/* of settings */
	bool		restricted;
	uint64		temporary;		/* what was in the session's temporary schema */
} KsOwnerUser;

/*
 * Errors (42501) unless the current user is the sink's owner.  Settings are those
 * of ks_session_enter().  An error, or the end of the (sub)transaction, leaves, too.
 */
extern void ks_owner_enter(const KsSink *sink, KsOwnerUser *user);
extern void ks_owner_leave(const KsOwnerUser *user);	/* errors (42501) if something is left */

/* The same for whoever may make the owner's code run, always with restrictions. */
extern void ks_owner_enter_restricted(const KsSink *sink, KsOwnerUser *user);

/* Are there restrictions?  Constraints cannot be deferred then. */
extern bool ks_owner_is_restricted(void);

/* Tells what to do about an error that comes of restrictions alone. */
extern void ks_owner_explain(const KsSink *sink, ErrorData *edata);

#endif
