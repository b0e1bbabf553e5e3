/*
 * row_schema.h
 *	  Rows with their schemas, as Kafka Connect's JsonConverter reads them.
 */
#ifndef KS_FEED_ROW_SCHEMA_H
#define KS_FEED_ROW_SCHEMA_H

#include "postgres.h"

#include "lib/stringinfo.h"

typedef struct KsRowSchemaColumn
{
	const char *name;			/* a JSON string */
	Oid			type;			/* no domain */
	int			dims;			/* an array is declared to have */
	bool		key;
	bool		null_key;		/* which can be NULL */
} KsRowSchemaColumn;

/*
 * What stands before a key and a change of a table, up to and with "payload": a brace
 * ends it.  'topic' gives the schemas their names.
 */
extern char *ks_row_schema_of_key(const char *topic, const KsRowSchemaColumn *columns, int ncolumns);
extern char *ks_row_schema_of_change(const char *topic, const KsRowSchemaColumn *columns, int ncolumns);

/* A value of a column by its text, as its schema says.  Errors (0A000) if that cannot say it:
 * an array has more dimensions than the column. */
extern void ks_row_schema_append_value(StringInfo buf, const KsRowSchemaColumn *c, char *text);

/* In place of a value that is not in the WAL: Debezium's. */
extern const char *ks_row_schema_unavailable(const KsRowSchemaColumn *c);

#endif
