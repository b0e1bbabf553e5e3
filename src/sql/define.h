/*
 * define.h
 *	  What the functions that define sinks and topics share.
 */
#ifndef KS_DEFINE_H
#define KS_DEFINE_H

#include "postgres.h"

/* Errors unless a worker could run the sink as it is defined now. */
extern void ks_define_check(const char *sink);

/* Errors unless the current user may give a sink, or a feed, to this role, and the role
 * may have one: call 'create', which is create_sink or create_feed. */
extern void ks_define_check_new_owner(Oid role, const char *create);

/* Runs a change of the catalog as its owner; returns the rows hit. */
extern uint64 ks_define_change(const char *sql, int nargs, Oid *types, Datum *values,
							   const char *nulls);

/*
 * Locks the sink's row; workers of the old definition are to end.  Errors if the sink
 * has another owner than when it was read and its owner checked; false if somebody
 * else has changed it since then.
 */
extern bool ks_define_bump_generation(const KsSink *sink);

extern void ks_warn_without_workers(const char *sink);

#endif
