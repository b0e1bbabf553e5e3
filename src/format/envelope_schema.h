/*
 * envelope_schema.h
 *	  Schemas of Connect's JsonConverter, and values by their logical types.
 */
#ifndef KS_ENVELOPE_SCHEMA_H
#define KS_ENVELOPE_SCHEMA_H

#include "format/decode.h"

typedef enum KsLogical
{
	KS_PLAIN,					/* as JSON has it */
	KS_TEXT,					/* a string */
	KS_BYTES,					/* base64 */
	KS_BITS,					/* base64, the lowest byte first */
	KS_DECIMAL,					/* base64 of the unscaled number */
	KS_VARIABLE_DECIMAL,		/* {"scale": , "value": } */
	KS_DAYS,
	KS_TIME,					/* number of units since midnight */
	KS_TIMESTAMP,				/* number of units since 1970 */
	KS_DURATION,				/* microseconds */
	KS_JSON_TEXT,				/* a string that holds JSON */
	KS_POINT,
	KS_LIST,
	KS_STRUCT
} KsLogical;

/* A decimal's scale that the schema does not tell. */
#define KS_NO_SCALE	PG_INT64_MAX

typedef struct KsSchema
{
	KsLogical	kind;
	int64		unit;			/* units in a second; decimals: scale; bits: length */
	struct KsSchema *items;
	int			nfields;
	KsField    *fields;
	struct KsSchema **types;	/* of the fields */
	KsNames		names;
} KsSchema;

/* In the current context; tok is an object or null. */
extern KsSchema *ks_schema_parse(const KsJsonToken *tok);

/* NULL if it has no such field.  guess: where it was last time, or NULL. */
extern KsSchema *ks_schema_field(const KsSchema *schema, const char *name, int len, int *guess);

/* The last member of that name; false if there is none, or no object. */
extern bool ks_schema_member(const KsJsonToken *object, const char *name, KsJsonToken *value);

/* What Debezium writes in its own way, with schemas and without, to what the type reads. */
extern void ks_value_set_odd(const KsDecoder *d, const KsType *type, KsJsonToken *tok);

/* One value of a column; schema may be NULL. */
extern Datum ks_schema_convert(KsDecoder *d, KsColumn *col, const KsSchema *schema,
							   const KsJsonToken *tok, bool *isnull);

#endif
