/*
 * proto_convert.h
 *	  Protobuf's values to Datums of a column's type.
 *
 * How that is done is found once for a field and a column's type (proto_plan.c).  Where
 * both have the same values they are copied; the rest takes the way of JSON's values,
 * through the text that the column's type reads.
 */
#ifndef KS_PROTO_CONVERT_H
#define KS_PROTO_CONVERT_H

#include "utils/builtins.h"

#include "format/decode_format.h"
#include "format/proto_json.h"
#include "format/proto_single.h"

typedef enum KsProtoAction
{
	KS_PROTO_REFUSE,			/* the column's type has no such values */
	KS_PROTO_AS_TOKEN,			/* by ks_proto_single() */
	KS_PROTO_AS_KNOWN,			/* by ks_proto_known() */
	KS_PROTO_AS_JSON,			/* by ks_proto_append_json() */
	KS_PROTO_AS_BOOL,
	KS_PROTO_AS_INT,
	KS_PROTO_AS_UINT64,
	KS_PROTO_AS_WHOLE,			/* a float that is a whole number, for an integer type */
	KS_PROTO_AS_FLOAT,
	KS_PROTO_AS_TEXT,
	KS_PROTO_AS_STRING,			/* bytes as text, for types that read it */
	KS_PROTO_AS_BYTEA,
	KS_PROTO_AS_TIMESTAMP,
	KS_PROTO_AS_INTERVAL,
	KS_PROTO_AS_CLOCK,			/* a duration, for an interval with a precision */
	KS_PROTO_AS_NUMERIC,		/* a decimal */
	KS_PROTO_AS_WRAPPED,
	KS_PROTO_AS_ARRAY,
	/* of Debezium's changes */
	KS_PROTO_AS_DAYS,
	KS_PROTO_AS_BITS,
	KS_PROTO_AS_JSON_TEXT,
	KS_PROTO_AS_POINT
} KsProtoAction;

/* Values that are the Datum, or nearly so; not of domains. */
typedef enum KsProtoDirect
{
	KS_PROTO_NOT_DIRECT,
	KS_PROTO_TO_INT8,
	KS_PROTO_TO_INT4,			/* if it has so many bits */
	KS_PROTO_TO_FLOAT8,			/* if it is finite, or need not be */
	KS_PROTO_TO_BOOL,
	KS_PROTO_TO_TEXT,			/* if it is ASCII, and short enough */
	KS_PROTO_TO_TIMESTAMP,		/* these two as they are mostly written: proto_direct.c */
	KS_PROTO_TO_NUMERIC
} KsProtoDirect;

typedef struct KsProtoConvert
{
	KsProtoAction action;
	KsProtoDirect direct;
	const KsProtoField *field;	/* NULL: a message as a whole */
	const KsProtoMessage *message;	/* that it is of, or NULL */
	KsType	   *type;			/* the column's, domain and all */
	KsType	   *base;			/* what is underneath */
	struct KsProtoConvert *inner;	/* of elements; of what is wrapped */
} KsProtoConvert;

/* NULL: no value fits.  'unit': the column says what numbers count; 'connect': as Kafka Connect writes them. */
extern KsProtoConvert *ks_proto_convert_plan(const KsProtoField *field, KsType *type, KsUnit unit, bool connect);

/* One value of the field, though it may be repeated; as an item of a list or a map. */
extern KsProtoConvert *ks_proto_convert_plan_item(const KsProtoField *field, KsType *type, KsUnit unit, bool connect);

/* A message that is no field's. */
extern KsProtoConvert *ks_proto_convert_plan_whole(const KsProtoMessage *message, KsType *type);

/* proto_direct.c: they never raise an error; what is no such message, or out of range, is false. */
extern bool ks_proto_direct_timestamp(const KsProtoReader *r, const KsProtoValue *value, Datum *result);
extern bool ks_proto_direct_numeric(const KsProtoReader *r, const KsProtoConvert *c, const KsProtoValue *value,
									Datum *result);

/* In the current context the Datum, if it is that easy. */
static pg_attribute_always_inline bool
ks_proto_direct(const KsProtoReader *r, const KsProtoConvert *c, const KsProtoValue *value, Datum *result)
{
	switch (c->direct)
	{
		case KS_PROTO_TO_INT8:
			*result = Int64GetDatum((int64) value->v.bits);
			return true;
		case KS_PROTO_TO_INT4:
			*result = Int32GetDatum((int32) value->v.bits);
			return likely((int64) value->v.bits == (int32) value->v.bits);
		case KS_PROTO_TO_FLOAT8:
			*result = Float8GetDatum(value->v.real);
			return !r->d->cv.refuse_nonfinite;
		case KS_PROTO_TO_BOOL:
			*result = BoolGetDatum(value->v.bits != 0);
			return true;
		case KS_PROTO_TO_TEXT:
			if (unlikely(value->len > c->base->max_len || !ks_is_ascii((const char *) value->p, value->len)))
				return false;
			*result = PointerGetDatum(cstring_to_text_with_len((const char *) value->p, value->len));
			return true;
		case KS_PROTO_TO_TIMESTAMP:
			return ks_proto_direct_timestamp(r, value, result);
		case KS_PROTO_TO_NUMERIC:
			return ks_proto_direct_numeric(r, c, value, result);
		default:
			return false;
	}
}

/* One value.  In the current context. */
extern Datum ks_proto_convert(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull);

/* All that stands of a field between; lists and maps may be absent. */
extern Datum ks_proto_convert_runs(KsProtoReader *r, KsProtoConvert *c, const uint8 *begin, const uint8 *end,
								   bool *isnull);

#endif
