/*
 * filled.h
 *	  Which columns of a target, and attributes of their types, records have filled from
 *	  the fields of their names.
 */
#ifndef KS_FILLED_H
#define KS_FILLED_H

#include "postgres.h"

#include "access/attnum.h"
#include "nodes/pg_list.h"

typedef struct KsFilledColumn
{
	Oid			relid;			/* of the table, or of a composite type */
	AttrNumber	attnum;
	char	   *name;			/* at that time */
} KsFilledColumn;

/*
 * Rows of filled_columns: of a sink's own target (topic NULL), or of a topic's, as far as
 * they are of one of these.  In the current context.
 */
extern List *ks_filled_read(const char *sink, const char *topic, List *relids);

/* Adds some; with 'anew', in place of all that are there. */
extern void ks_filled_write(const char *sink, const char *topic, List *columns, bool anew);

/* Of the sink and all its topics, or of a topic: whatever columns are called is right. */
extern void ks_filled_forget(const char *sink, const char *topic);

#endif
