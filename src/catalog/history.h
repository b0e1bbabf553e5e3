/*
 * history.h
 *	  Who has changed a sink, when, and how: rows of sink_history.
 */
#ifndef KS_HISTORY_H
#define KS_HISTORY_H

#include "postgres.h"

#include "utils/jsonb.h"

/* The definition of a sink, or with a topic of that topic of it, as it is now;
 * NULL if there is none. */
extern Jsonb *ks_history_definition(const char *sink, const char *topic);

/*
 * Writes that the current user has done this, and from what to what (NULL: there
 * was, or is, nothing): of two definitions, what differs.  The sink must be there.
 */
extern void ks_history_log(const char *sink, const char *action, const char *topic,
						   const Jsonb *before, const Jsonb *after);

/* The same for an action that changes the sink, whose row tells it, too. */
extern void ks_history_log_change(const char *sink, const char *action, const char *topic,
								  const Jsonb *before);

/* The sink's row tells that the current user has changed it now, or created it. */
extern void ks_history_stamp(const char *sink, bool created);

/* What is told of the sink goes with it to a new name, or owner (InvalidOid: the
 * same); what is told of another of that name, dropped before, stays. */
extern void ks_history_follow(const char *sink, const char *new_name, Oid new_owner);

#endif
