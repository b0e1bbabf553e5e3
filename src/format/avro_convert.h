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

#include <math.h>

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "format/avro_read.h"
#include "format/convert.h"
#include "format/decode_format.h"
#include "format/scalar.h"

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

/* Values that are the Datum, or nearly so; not of domains. */
typedef enum KsAvroDirect
{
	KS_AVRO_NOT_DIRECT,
	KS_AVRO_LONG_TO_INT8,
	KS_AVRO_INT_TO_INT8,
	KS_AVRO_TO_INT4,			/* if it has so many bits */
	KS_AVRO_TO_FLOAT8,			/* if it is finite, or need not be */
	KS_AVRO_TO_BOOL,
	KS_AVRO_TO_TEXT,			/* if it is ASCII, and short enough */
	KS_AVRO_TO_TIMESTAMP,		/* of microseconds or milliseconds that are no infinity */
	KS_AVRO_TO_NUMERIC			/* of bytes, if these are few */
} KsAvroDirect;

typedef struct KsAvroConvert
{
	KsAvroAction action;
	KsAvroDirect direct;
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

/* From here on, in microseconds since 1970, what a timestamp means is asked for. */
#define KS_AVRO_MAYBE_INFINITE	INT64CONST(9223000000000000000)

/* A value, if it is not that easy: */
extern Datum ks_avro_convert(KsAvroReader *r, KsAvroConvert *c, bool *isnull);

/* It is; else the reader is anywhere. */
static inline bool
ks_avro_direct(KsAvroReader *r, const KsAvroConvert *c, Datum *result)
{
	const char *s;
	int			len;
	int64		v;
	double		f;

	switch (c->direct)
	{
		case KS_AVRO_LONG_TO_INT8:
			*result = Int64GetDatum(ks_avro_wide_long(r));
			return true;
		case KS_AVRO_INT_TO_INT8:
			*result = Int64GetDatum(ks_avro_int(r));
			return true;
		case KS_AVRO_TO_INT4:
			v = ks_avro_long(r);
			*result = Int32GetDatum((int32) v);
			return likely(v == (int32) v);
		case KS_AVRO_TO_FLOAT8:
			f = ks_avro_double(r);
			*result = Float8GetDatum(f);
			return likely(!r->d->cv.refuse_nonfinite || isfinite(f));
		case KS_AVRO_TO_BOOL:
			*result = BoolGetDatum(ks_avro_bool(r));
			return true;
		case KS_AVRO_TO_TEXT:
			s = ks_avro_bytes(r, &len);
			if (unlikely(len > c->base->max_len || !ks_is_ascii(s, len)))
				return false;
			*result = PointerGetDatum(cstring_to_text_with_len(s, len));
			return true;
		case KS_AVRO_TO_TIMESTAMP:
			v = ks_avro_wide_long(r);
			if (unlikely((c->node->unit == 1000 && pg_mul_s64_overflow(v, 1000, &v)) ||
						 (c->node->infinite && v >= KS_AVRO_MAYBE_INFINITE) || !ks_scalar_timestamp(v, &v)))
				return false;
			*result = TimestampTzGetDatum(v);
			return true;
		case KS_AVRO_TO_NUMERIC:
			s = ks_avro_bytes(r, &len);
			return ks_scalar_decimal(s, len, c->node->scale, c->base->typmod, result);
		default:
			return false;
	}
}

/* One value.  In the current context. */
static inline Datum
ks_avro_value(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	const uint8 *begin;
	Datum		d;

	if (c->action == KS_AVRO_AS_BRANCH)
		c = &c->inner[ks_avro_choice(r, c->node)];
	begin = r->p;
	*isnull = false;
	if (likely(ks_avro_direct(r, c, &d)))
		return d;
	r->p = begin;
	return ks_avro_convert(r, c, isnull);
}

#endif
