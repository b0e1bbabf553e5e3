/*
 * describe.h
 *	  A table for records of schemas, as describe() finds and writes it.
 */
#ifndef KS_DESCRIBE_H
#define KS_DESCRIBE_H

#include "nodes/pg_list.h"

#include "format/shape.h"
#include "kafka/options.h"

/* Of values, or of keys. */
typedef struct KsDescribedPart
{
	KsShape    *shape;			/* NULL: no schema */
	const char *format;			/* as the setting has it */
	const char *from;			/* where the schema was found, in words */
	const char *schema;			/* as given; NULL: a registry has it */
	const char *message_type;	/* that was asked for, or NULL */
	List	   *notes;			/* lines on the versions before it that were not looked at */
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

/*
 * describe_versions.c: the columns take what records by the versions before the newest one
 * have, and lack.  'type': the registry's word for the format.
 */
extern void ks_describe_versions(KsDescribedPart *part, const KsShaper *shaper, const char *type, const char *server,
								 const KsConf *conf, const char *subject, int newest);

/* SQL that makes it, and how a sink would be made; server and topic NULL: none was given. */
extern char *ks_describe_write(const KsDescribed *table, const char *server, const char *topic);

#endif
