/*
 * shape.h
 *	  What a table for records of a schema looks like: a column for each field, in
 *	  the order of the schema.
 *
 * Whatever has a schema says it in these words, so that what makes tables of them
 * (sql/funcs_describe.c, write/evolve*.c) knows no format.
 */
#ifndef KS_SHAPE_H
#define KS_SHAPE_H

#include "postgres.h"

#include "format/convert.h"
#include "format/framing.h"

typedef struct KsShapeColumn
{
	KsField		field;			/* its name; NULL: the value as a whole */
	Oid			typid;			/* that holds all of its values */
	int32		typmod;
	bool		nullable;
	bool		nothing;		/* null alone, for which no column is needed */
	bool		required;		/* the format's own */
	char	   *reason;			/* the schema's type, for people */
	char	   *comment;		/* the schema's documentation, or NULL */
	char	   *default_text;	/* of a default that is not null, for the type to read; NULL: none */
	char	   *absent_text;	/* what the format reads in a record without the field; NULL: nothing */
	bool		lacking;		/* records by other versions of the schema have none */
	int			naliases;		/* names by which a target knows the field, too, unless another one has them */
	const KsField *aliases;
	KsField		taken_by;		/* the one of these by which a column takes it; NULL: its name */
	const void *node;			/* the format's own */
} KsShapeColumn;

typedef struct KsShape
{
	char	   *name;			/* of the schema, or NULL */
	char	   *comment;
	KsEnvelope	envelope;		/* what the schema has around the row */
	int			n;
	KsShapeColumn *cols;
	const void *row;			/* the format's own */
	const struct KsShapeOps *ops;
} KsShape;

typedef struct KsShapeOps
{
	/* Index of the column for the field by which a target knows it, -1: there is none. */
	int			(*find) (const KsShape *shape, const char *name, int len);

	/* Can a column of that type take values of it? */
	bool		(*fits) (const KsShapeColumn *col, KsType *type, KsUnit unit, bool connect);
} KsShapeOps;

/* How a format makes them.  A schema may be of several types, which records choose from. */
typedef struct KsShaper
{
	/* parsed, in the current context; errors if it is none */
	const void *(*parse) (const KsSchemaText *text);

	/* The type of a record; NULL: there is none of that place, or name.  All three NULL:
	 * a schema is one type. */
	const void *(*at) (const void *schema, const KsMessagePath *path);
	const void *(*named) (const void *schema, const char *name);

	/* The same where no record tells it; name NULL: the only one.  Errors (22023) if it does
	 * not know. */
	const void *(*choose) (const void *schema, const char *name, bool of_keys);

	/* Can records say that a field is null?  Else it is only not there. */
	bool		has_null;

	/* In the current context; what is parsed is borrowed.  changes: of Debezium's, the rows. */
	KsShape    *(*shape) (const void *type, bool changes);
} KsShaper;

extern const KsShaper ks_avro_shaper;
extern const KsShaper ks_proto_shaper;
extern const KsShaper ks_jschema_shaper;

/* --- shape.c --- */

/* Of a format by schemas; NULL: it makes none. */
extern const KsShaper *ks_shaper(KsFormat format);

/* The column for the field by which a target knows it; NULL: there is none. */
extern const KsShapeColumn *ks_shape_find(const KsShape *shape, const char *name, int len);

/* shape_default.c: the default, if the column's type reads it. */
extern char *ks_shape_default(const KsShapeColumn *col);

/* What is different in the second one, in words; false: nothing. */
extern bool ks_shape_difference(const KsShape *from, const KsShape *to, StringInfo words);

#endif
