/*
 * supervisor_rows.h
 *	  The rows of the catalog that a supervisor reads: definitions of sinks and feeds,
 *	  their topics and states.
 */
#ifndef KS_SUPERVISOR_ROWS_H
#define KS_SUPERVISOR_ROWS_H

#include "postgres.h"

/* Of a sink: what a supervisor wants of its definition, and no more. */
typedef struct KsSinkRow
{
	char	   *sink;
	Oid			owner;
	char	   *owner_name;		/* NULL: there is no such role */
	bool		may_login;
	bool		superuser;
	Oid			target;			/* InvalidOid: none */
	char	   *table;			/* its name, NULL: there is no such table */
	bool		has_command;
	bool		has_server;
	bool		enabled;
	bool		suspended;
	bool		parks;
	int64		generation;
	int			workers;
	bool		feed;
	int64		feed_id;
} KsSinkRow;

/* What a row tells of that is no definition. */
typedef enum KsPartKind
{
	KS_PART_OF_TOPIC,			/* one of its topics, with a target or without */
	KS_PART_OF_STATE			/* a row of sink_state */
} KsPartKind;

typedef struct KsPartRow
{
	char	   *sink;
	KsPartKind	kind;
	char	   *name;			/* topic; state */
	Oid			relid;			/* target, InvalidOid: none */
	char	   *table;			/* its name, NULL: there is no such table */
	int			worker;
	char	   *text;			/* the state's message */
	bool		flag;			/* the topic is halted alone */
} KsPartRow;

/* Of one sink, or of all (NULL), in the current context; parts by sink. */
extern KsSinkRow *ks_supervisor_read_sinks(const char *sink, int *n);
extern KsPartRow *ks_supervisor_read_parts(const char *sink, int *n);

#endif
