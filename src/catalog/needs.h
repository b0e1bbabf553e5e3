/*
 * needs.h
 *	  What sinks need of what is dropped, reassigned, or owned.
 */
#ifndef KS_NEEDS_H
#define KS_NEEDS_H

#include "postgres.h"

#include "nodes/pg_list.h"

/*
 * What a restored sink has in place of a role, table or type that does not exist.
 * None has this OID: those that initdb gives begin far above.
 */
#define KS_GONE		1

/*
 * Names of the sinks that a role owns, or that consume from a server, with commas
 * between; NULL if there are none, or no extension.
 */
extern char *ks_needs_of_owner(Oid role);
extern char *ks_needs_of_server(const char *server);

/* The tables of these (OIDs) that sinks write to: List of KsNeededTable *. */
typedef struct KsNeededTable
{
	Oid			relid;
	char	   *sinks;
} KsNeededTable;

extern List *ks_needs_of_tables(const List *relids);

/*
 * The sinks of a role get another owner (with their history), or are dropped.
 * Privileges are the caller's concern.  NULL if there are none, else their names.
 */
extern char *ks_needs_reassign(Oid from, Oid to);
extern char *ks_needs_drop_owned(Oid role);

#endif
