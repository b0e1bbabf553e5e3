/*
 * proto_plan.c
 *	  How values of a field of a Protobuf message become values of a column's type.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "format/proto_convert.h"
#include "format/scalar.h"

/* What any type that reads text can take. */
static bool
reads_text(const KsType *type)
{
	return type->is_string || ks_scalar_is_foreign(type);
}

/* What has parts goes to types that take JSON. */
static KsProtoAction
plan_json(const KsType *type, bool object)
{
	return type->kind == KS_TYPE_JSON || reads_text(type) || (object && type->kind == KS_TYPE_COMPOSITE) ?
		KS_PROTO_AS_JSON : KS_PROTO_REFUSE;
}

static KsProtoAction
plan_integer(KsProtoType wire, const KsType *type, KsUnit unit, bool connect)
{
	/* its name of the type, which says so, is not in the schema */
	if (connect && type->typid == DATEOID && unit == KS_UNIT_NONE && wire == KS_PROTO_INT32)
		return KS_PROTO_AS_DAYS;
	if (ks_scalar_is_integer(type) || type->kind == KS_TYPE_NUMERIC)
		return wire == KS_PROTO_UINT64 || wire == KS_PROTO_FIXED64 ? KS_PROTO_AS_UINT64 : KS_PROTO_AS_INT;
	if (type->kind == KS_TYPE_FLOAT)
		return KS_PROTO_AS_FLOAT;
	if (ks_type_is_time(type))
		return unit == KS_UNIT_NONE ? KS_PROTO_REFUSE : KS_PROTO_AS_TOKEN;
	if (type->kind == KS_TYPE_BOOL || type->is_string)
		return KS_PROTO_AS_TOKEN;
	return type->kind == KS_TYPE_GENERIC && type->typid != BYTEAOID ? KS_PROTO_AS_TOKEN : KS_PROTO_REFUSE;
}

static KsProtoAction
plan_real(const KsType *type, KsUnit unit)
{
	if (type->kind == KS_TYPE_FLOAT)
		return KS_PROTO_AS_FLOAT;
	if (ks_type_is_time(type))
		return unit == KS_UNIT_NONE ? KS_PROTO_REFUSE : KS_PROTO_AS_TOKEN;
	if (ks_scalar_is_integer(type))
		return KS_PROTO_AS_WHOLE;
	if (type->kind == KS_TYPE_NUMERIC || type->is_string)
		return KS_PROTO_AS_TOKEN;
	return type->kind == KS_TYPE_GENERIC && type->typid != BYTEAOID ? KS_PROTO_AS_TOKEN : KS_PROTO_REFUSE;
}

/* By its name; for types of numbers by its number. */
static KsProtoAction
plan_enum(const KsProtoField *field, const KsType *type)
{
	if (field->enumeration->null_value)
		return KS_PROTO_AS_TOKEN;
	if (ks_scalar_is_integer(type) || type->kind == KS_TYPE_NUMERIC)
		return KS_PROTO_AS_INT;
	if (type->kind == KS_TYPE_FLOAT)
		return KS_PROTO_AS_FLOAT;
	return reads_text(type) ? KS_PROTO_AS_TOKEN : KS_PROTO_REFUSE;
}

/* Debezium's bit strings, and the text of a value of a type that it does not know. */
static KsProtoAction
plan_bytes(const KsType *type, bool connect)
{
	if (type->typid == BYTEAOID)
		return KS_PROTO_AS_BYTEA;
	if (type->kind == KS_TYPE_TEXT)
		return KS_PROTO_AS_TEXT;
	if (connect && type->typid == BITOID)
		return KS_PROTO_AS_BITS;
	/* how many bits one of variable length has is not told */
	if (connect && type->typid != VARBITOID &&
		(type->kind == KS_TYPE_GENERIC || type->kind == KS_TYPE_ARRAY || type->kind == KS_TYPE_COMPOSITE ||
		 type->kind == KS_TYPE_RANGE || type->kind == KS_TYPE_MULTIRANGE))
		return KS_PROTO_AS_STRING;
	return type->is_string ? KS_PROTO_AS_STRING : KS_PROTO_REFUSE;
}

static KsProtoAction
plan_scalar(const KsProtoField *field, const KsType *type, KsUnit unit, bool connect)
{
	if (type->kind == KS_TYPE_JSON)
		return connect && field->type == KS_PROTO_STRING ? KS_PROTO_AS_JSON_TEXT : KS_PROTO_AS_JSON;
	switch (field->type)
	{
		case KS_PROTO_STRING:
			return type->typid == BYTEAOID ? KS_PROTO_AS_BYTEA :
				type->kind == KS_TYPE_TEXT ? KS_PROTO_AS_TEXT : KS_PROTO_AS_TOKEN;
		case KS_PROTO_BYTES:
			return plan_bytes(type, connect);
		case KS_PROTO_BOOL:
			return type->kind == KS_TYPE_BOOL ? KS_PROTO_AS_BOOL :
				reads_text(type) || (connect && (type->typid == BITOID || type->typid == VARBITOID)) ?
				KS_PROTO_AS_TOKEN : KS_PROTO_REFUSE;
		case KS_PROTO_ENUM:
			return plan_enum(field, type);
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FLOAT:
			return plan_real(type, unit);
		default:
			return plan_integer(field->type, type, unit, connect);
	}
}

/* Messages that are one value. */
static KsProtoAction
plan_known(KsProtoKnown known, const KsType *type)
{
	bool		moment = type->typid == DATEOID || type->typid == TIMESTAMPOID || type->typid == TIMESTAMPTZOID;

	if (type->kind == KS_TYPE_JSON)
		return KS_PROTO_AS_JSON;
	if (reads_text(type))
		return KS_PROTO_AS_KNOWN;
	switch (known)
	{
		case KS_PROTO_TIMESTAMP:
			return type->kind == KS_TYPE_TIMESTAMP || type->kind == KS_TYPE_TIMESTAMPTZ ? KS_PROTO_AS_TIMESTAMP :
				moment ? KS_PROTO_AS_KNOWN : KS_PROTO_REFUSE;
		case KS_PROTO_DATE:
			return moment ? KS_PROTO_AS_KNOWN : KS_PROTO_REFUSE;
		case KS_PROTO_TIME_OF_DAY:
			return type->typid == TIMEOID || type->typid == TIMETZOID || type->typid == INTERVALOID ?
				KS_PROTO_AS_KNOWN : KS_PROTO_REFUSE;
		case KS_PROTO_DURATION:
			return type->typid != INTERVALOID ? KS_PROTO_REFUSE :
				type->typmod < 0 ? KS_PROTO_AS_INTERVAL : KS_PROTO_AS_CLOCK;
		case KS_PROTO_DECIMAL:
		case KS_PROTO_VARIABLE_DECIMAL:
			return type->kind == KS_TYPE_NUMERIC ? KS_PROTO_AS_NUMERIC :
				ks_scalar_is_integer(type) || type->kind == KS_TYPE_FLOAT || type->typid == MONEYOID ?
				KS_PROTO_AS_KNOWN : KS_PROTO_REFUSE;
		default:
			return KS_PROTO_REFUSE;
	}
}

/* Can the Datum be made of the bits? */
static KsProtoDirect
plan_direct(const KsProtoConvert *c)
{
	if (c->type != c->base)
		return KS_PROTO_NOT_DIRECT;
	if (c->action == KS_PROTO_AS_INT && c->base->kind == KS_TYPE_INT8)
		return KS_PROTO_TO_INT8;
	if (c->action == KS_PROTO_AS_INT && c->base->kind == KS_TYPE_INT4)
		return KS_PROTO_TO_INT4;
	if (c->action == KS_PROTO_AS_BOOL)
		return KS_PROTO_TO_BOOL;
	if (c->action == KS_PROTO_AS_TEXT)
		return KS_PROTO_TO_TEXT;
	if (c->action == KS_PROTO_AS_TIMESTAMP)
		return KS_PROTO_TO_TIMESTAMP;
	if (c->action == KS_PROTO_AS_NUMERIC)
		return KS_PROTO_TO_NUMERIC;
	return c->action == KS_PROTO_AS_FLOAT && c->base->typid == FLOAT8OID && c->field->type == KS_PROTO_DOUBLE ?
		KS_PROTO_TO_FLOAT8 : KS_PROTO_NOT_DIRECT;
}

static bool plan_item(KsProtoConvert *c, const KsProtoField *field, const KsProtoMessage *message,
					  KsType *type, KsUnit unit, bool connect);

/* Is it wrapped for the column?  In JSON it is what is wrapped by itself, but for text that is JSON. */
static bool
is_wrapped(const KsProtoConvert *c, const KsProtoMessage *message, bool connect)
{
	return message->known == KS_PROTO_WRAPPER &&
		(c->base->kind != KS_TYPE_JSON || (connect && ks_proto_find_number(message, 1)->type == KS_PROTO_STRING));
}

/* Two numbers that Debezium has a message for. */
static bool
is_point(const KsProtoMessage *message)
{
	const KsProtoField *x = ks_proto_find_number(message, 1);
	const KsProtoField *y = ks_proto_find_number(message, 2);

	return x && y && x->type == KS_PROTO_DOUBLE && y->type == KS_PROTO_DOUBLE && !x->repeated && !y->repeated &&
		strcmp(x->name.name, "x") == 0 && strcmp(y->name.name, "y") == 0;
}

static bool
plan_message(KsProtoConvert *c, const KsProtoMessage *message, KsUnit unit, bool connect)
{
	if (is_wrapped(c, message, connect))
	{
		const KsProtoField *wrapped = ks_proto_find_number(message, 1);

		c->action = KS_PROTO_AS_WRAPPED;
		c->inner = palloc(sizeof(KsProtoConvert));
		return plan_item(c->inner, wrapped, wrapped->message, c->type, unit, connect);
	}
	if (ks_proto_is_text(message->known))
		c->action = plan_known(message->known, c->base);
	else
		c->action = plan_json(c->base, message->known != KS_PROTO_LIST_VALUE);
	if (message->known == KS_PROTO_LIST_VALUE && c->base->kind == KS_TYPE_ARRAY)
		c->action = KS_PROTO_AS_JSON;
	if (connect && c->base->typid == POINTOID && is_point(message))
		c->action = KS_PROTO_AS_POINT;
	return c->action != KS_PROTO_REFUSE;
}

static bool
plan_item(KsProtoConvert *c, const KsProtoField *field, const KsProtoMessage *message, KsType *type, KsUnit unit,
		  bool connect)
{
	c->field = field;
	c->message = message;
	c->type = type;
	c->base = ks_type_base(type);
	c->inner = NULL;
	c->direct = KS_PROTO_NOT_DIRECT;
	if (message == NULL)
		c->action = plan_scalar(field, c->base, unit, connect);
	else if (!plan_message(c, message, unit, connect))
		return false;
	c->direct = plan_direct(c);
	return c->action != KS_PROTO_REFUSE;
}

KsProtoConvert *
ks_proto_convert_plan_item(const KsProtoField *field, KsType *type, KsUnit unit, bool connect)
{
	KsProtoConvert *c = palloc(sizeof(KsProtoConvert));

	return plan_item(c, field, field->message, type, unit, connect) ? c : NULL;
}

KsProtoConvert *
ks_proto_convert_plan_whole(const KsProtoMessage *message, KsType *type)
{
	KsProtoConvert *c = palloc(sizeof(KsProtoConvert));

	return plan_item(c, NULL, message, type, KS_UNIT_NONE, false) ? c : NULL;
}

KsProtoConvert *
ks_proto_convert_plan(const KsProtoField *field, KsType *type, KsUnit unit, bool connect)
{
	KsProtoConvert *c;
	KsType	   *base = ks_type_base(type);

	if (!field->repeated)
		return ks_proto_convert_plan_item(field, type, unit, connect);
	c = palloc(sizeof(KsProtoConvert));
	c->field = field;
	c->message = field->message;
	c->type = type;
	c->base = base;
	c->inner = NULL;
	c->direct = KS_PROTO_NOT_DIRECT;
	c->action = plan_json(base, field->map);
	if (!field->map && base->kind == KS_TYPE_ARRAY)
	{
		c->action = KS_PROTO_AS_ARRAY;
		c->inner = ks_proto_convert_plan_item(field, base->elem, unit, connect);
		return c->inner ? c : NULL;
	}
	return c->action != KS_PROTO_REFUSE ? c : NULL;
}
