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

#include "format/proto_text.h"

typedef enum KsProtoAction
{
	KS_PROTO_REFUSE,			/* the column's type has no such values */
	KS_PROTO_AS_TOKEN,			/* by ks_proto_single() */
	KS_PROTO_AS_KNOWN,			/* by ks_proto_known() */
	KS_PROTO_AS_JSON,			/* by ks_proto_append_json() */
	KS_PROTO_AS_BOOL,
	KS_PROTO_AS_INT,
	KS_PROTO_AS_UINT64,
	KS_PROTO_AS_FLOAT,
	KS_PROTO_AS_TEXT,
	KS_PROTO_AS_STRING,			/* bytes as text, for types that read it */
	KS_PROTO_AS_BYTEA,
	KS_PROTO_AS_TIMESTAMP,
	KS_PROTO_AS_INTERVAL,
	KS_PROTO_AS_CLOCK,			/* a duration, for an interval with a precision */
	KS_PROTO_AS_NUMERIC,		/* a decimal */
	KS_PROTO_AS_WRAPPED,
	KS_PROTO_AS_ARRAY
} KsProtoAction;

typedef struct KsProtoConvert
{
	KsProtoAction action;
	const KsProtoField *field;	/* NULL: a message as a whole */
	const KsProtoMessage *message;	/* that it is of, or NULL */
	KsType	   *type;			/* the column's, domain and all */
	KsType	   *base;			/* what is underneath */
	struct KsProtoConvert *inner;	/* of elements; of what is wrapped */
} KsProtoConvert;

/* NULL: no value fits.  'unit': the column says what numbers count. */
extern KsProtoConvert *ks_proto_convert_plan(const KsProtoField *field, KsType *type, KsUnit unit);

/* One value of the field, though it may be repeated; as an item of a list or a map. */
extern KsProtoConvert *ks_proto_convert_plan_item(const KsProtoField *field, KsType *type, KsUnit unit);

/* A message that is no field's. */
extern KsProtoConvert *ks_proto_convert_plan_whole(const KsProtoMessage *message, KsType *type);

/* One value.  In the current context. */
extern Datum ks_proto_convert(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull);

/* All that stands of a field between; lists and maps may be absent. */
extern Datum ks_proto_convert_runs(KsProtoReader *r, KsProtoConvert *c, const uint8 *begin, const uint8 *end,
								   bool *isnull);

#endif
