/*
 * avro_convert.h
 *	  Avro's values to Datums of a column's type.
 *
 * How that is done is found once for a type of the schema and one of the column.
 * Where both have the same values they are copied; the rest takes the way of JSON's
 * values, through the text that the column's type reads.
 */
#ifndef KS_AVRO_CONVERT_H
#define KS_AVRO_CONVERT_H

#include "format/avro_read.h"
#include "format/convert.h"

typedef enum KsAvroAction
{
	KS_AVRO_REFUSE,				/* the column's type has no such values */
	KS_AVRO_AS_NULL,
	KS_AVRO_AS_TOKEN,			/* by ks_avro_scalar() */
	KS_AVRO_AS_JSON,			/* by ks_avro_append_json() */
	KS_AVRO_AS_BOOL,
	KS_AVRO_AS_INT,
	KS_AVRO_AS_WHOLE,			/* a float that is a whole number, for an integer type */
	KS_AVRO_AS_FLOAT,
	KS_AVRO_AS_TEXT,
	KS_AVRO_AS_STRING,			/* bytes as text, for types that read it */
	KS_AVRO_AS_BYTEA,
	KS_AVRO_AS_NUMERIC,			/* a decimal */
	KS_AVRO_AS_DATE,
	KS_AVRO_AS_TIME,
	KS_AVRO_AS_TIMESTAMP,
	KS_AVRO_AS_UUID,
	KS_AVRO_AS_ARRAY,
	KS_AVRO_AS_DIMENSIONS,		/* arrays in arrays: an array of so many dimensions */
	KS_AVRO_AS_COMPOSITE,		/* a record or a map */
	KS_AVRO_AS_BRANCH,
	KS_AVRO_AS_JSON_TEXT,		/* a string that is JSON */
	KS_AVRO_AS_VARIABLE_DECIMAL,
	KS_AVRO_AS_POINT
} KsAvroAction;

typedef struct KsAvroConvert
{
	KsAvroAction action;
	const KsAvroNode *node;
	KsType	   *type;			/* the column's, domain and all */
	KsType	   *base;			/* what is underneath */
	struct KsAvroConvert *inner;	/* by branch; of elements */
	struct KsAvroComposite *composite;
} KsAvroConvert;

/* A record or a map to a composite type: once in a plan, since either may be in itself. */
typedef struct KsAvroComposite
{
	const KsAvroNode *node;
	KsComposite *type;
	int		   *atts;			/* of a record's fields: which attribute, -1: none */
	KsAvroConvert *inner;		/* of a record's fields, or of a map by attribute */
	struct KsAvroComposite *next;
} KsAvroComposite;

/*
 * NULL: no value but null fits.  'unit': the column says what numbers count.  'connect':
 * as Kafka Connect writes them: bytes may be the text of a value whose type Debezium does not know.
 */
extern KsAvroConvert *ks_avro_convert_plan(const KsAvroNode *node, KsType *type, KsUnit unit, bool connect);

/* --- avro_by_text.c: one value each, in the current context --- */

extern Datum ks_avro_from_token(KsAvroReader *r, KsAvroConvert *c, KsJsonToken *tok, bool *isnull);
extern Datum ks_avro_from_scalar(KsAvroReader *r, KsAvroConvert *c, bool *isnull);
extern Datum ks_avro_from_json(KsAvroReader *r, KsAvroConvert *c, bool *isnull);

/* A string that holds JSON: that JSON.  It is a value, null too. */
extern Datum ks_avro_from_json_text(KsAvroReader *r, KsAvroConvert *c, bool *isnull);

/* A record that is one value. */
extern Datum ks_avro_from_record(KsAvroReader *r, KsAvroConvert *c, bool *isnull);

/* --- avro_convert.c --- */

/* In the current context. */
extern Datum ks_avro_convert(KsAvroReader *r, KsAvroConvert *c, bool *isnull);

#endif
