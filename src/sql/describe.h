/*
 * describe.h
 *	  A table for records of schemas, as describe() finds and writes it.
 */
#ifndef KS_DESCRIBE_H
#define KS_DESCRIBE_H

#include "format/shape.h"

/* Of values, or of keys. */
typedef struct KsDescribedPart
{
	KsShape    *shape;			/* NULL: no schema */
	const char *format;			/* as the setting has it */
	const char *from;			/* where the schema was found, in words */
	const char *schema;			/* as given; NULL: a registry has it */
	const char *message_type;	/* that was asked for, or NULL */
} KsDescribedPart;

typedef struct KsDescribedColumn
{
	const KsShapeColumn *shape;
	char	   *name;
	char	   *source;			/* NULL: the field of its name */
	bool		of_key;
} KsDescribedColumn;

typedef struct KsDescribed
{
	char	   *name;			/* as SQL has it */
	char	   *bare;			/* without its schema */
	KsDescribedPart value;
	KsDescribedPart key;
	int			n;
	KsDescribedColumn *cols;
	const char *no_key;			/* why the key's columns are no primary key, or NULL */
} KsDescribed;

/* SQL that makes it, and how a sink would be made; server and topic NULL: none was given. */
extern char *ks_describe_write(const KsDescribed *table, const char *server, const char *topic);

#endif
