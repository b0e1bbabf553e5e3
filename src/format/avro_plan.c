/*
 * avro_plan.c
 *	  How values of a type of an Avro schema become values of a column's type.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "format/avro_convert.h"
#include "format/scalar.h"

static KsAvroAction
plan_string(const KsAvroNode *node, const KsType *type)
{
	if (node->logical == KS_AVRO_JSON && type->kind == KS_TYPE_JSON)
		return KS_AVRO_AS_JSON_TEXT;
	return type->typid == BYTEAOID ? KS_AVRO_AS_BYTEA :
		type->kind == KS_TYPE_TEXT ? KS_AVRO_AS_TEXT : KS_AVRO_AS_TOKEN;
}

static bool
is_structure(const KsType *type)
{
	return type->kind == KS_TYPE_ARRAY || type->kind == KS_TYPE_COMPOSITE ||
		type->kind == KS_TYPE_RANGE || type->kind == KS_TYPE_MULTIRANGE;
}

/* bytes and fixed */
static KsAvroAction
plan_bytes(const KsAvroNode *node, const KsType *type, bool debezium)
{
	if (type->typid == BYTEAOID)
		return KS_AVRO_AS_BYTEA;
	switch (node->logical)
	{
		case KS_AVRO_DECIMAL:
			return type->kind == KS_TYPE_NUMERIC ? KS_AVRO_AS_NUMERIC :
				ks_scalar_is_integer(type) || type->kind == KS_TYPE_FLOAT || type->is_string || type->typid == MONEYOID ||
				ks_scalar_is_foreign(type) ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
		case KS_AVRO_DURATION:
			return type->typid == INTERVALOID || type->is_string ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
		case KS_AVRO_UUID:
			return type->typid == UUIDOID ? KS_AVRO_AS_UUID :
				type->is_string || ks_scalar_is_foreign(type) ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
		case KS_AVRO_BITS:
			/* how many bits one of variable length has is not told */
			return type->typid == BITOID || type->is_string ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
		default:
			return type->kind == KS_TYPE_TEXT ? KS_AVRO_AS_TEXT :
				type->is_string || (debezium && (type->kind == KS_TYPE_GENERIC || is_structure(type))) ?
				KS_AVRO_AS_STRING : KS_AVRO_REFUSE;
	}
}

static KsAvroAction
plan_number(const KsAvroNode *node, const KsType *type, KsUnit unit)
{
	bool		integer = node->type == KS_AVRO_INT || node->type == KS_AVRO_LONG;

	if (ks_scalar_is_integer(type))
		return integer ? KS_AVRO_AS_INT : KS_AVRO_AS_TOKEN;
	if (type->kind == KS_TYPE_FLOAT)
		return KS_AVRO_AS_FLOAT;
	if (type->kind == KS_TYPE_NUMERIC)
		return integer ? KS_AVRO_AS_INT : KS_AVRO_AS_TOKEN;
	if (ks_type_is_time(type))
		return unit == KS_UNIT_NONE ? KS_AVRO_REFUSE : KS_AVRO_AS_TOKEN;
	if (type->kind == KS_TYPE_BOOL)
		return integer ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
	return type->kind == KS_TYPE_GENERIC && type->typid != BYTEAOID && type->typid != UUIDOID ?
		KS_AVRO_AS_TOKEN : type->is_string ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
}

/* Does a type of dates and times have what a logical type has? */
static bool
has_parts(const KsAvroNode *node, const KsType *type)
{
	if (!ks_type_is_time(type))
		return type->is_string || ks_scalar_is_foreign(type);
	switch (node->logical)
	{
		case KS_AVRO_DATE:
			return type->typid == DATEOID || type->typid == TIMESTAMPOID || type->typid == TIMESTAMPTZOID;
		case KS_AVRO_TIME:
			return type->typid == TIMEOID || type->typid == TIMETZOID || type->typid == INTERVALOID;
		default:
			return type->typid == DATEOID || type->typid == TIMESTAMPOID || type->typid == TIMESTAMPTZOID;
	}
}

static KsAvroAction
plan_time(const KsAvroNode *node, const KsType *type)
{
	bool		whole = node->unit <= 1000000 && type->typmod < 0;

	/* numbers as they are */
	if (ks_scalar_is_integer(type) || type->kind == KS_TYPE_NUMERIC)
		return KS_AVRO_AS_INT;
	if (type->kind == KS_TYPE_FLOAT)
		return KS_AVRO_AS_FLOAT;
	if (node->logical == KS_AVRO_MICROSECONDS)
		return type->typid == INTERVALOID || type->is_string ? KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
	if (!has_parts(node, type))
		return KS_AVRO_REFUSE;
	if (node->logical == KS_AVRO_DATE && type->typid == DATEOID)
		return KS_AVRO_AS_DATE;
	if (node->logical == KS_AVRO_TIME && type->typid == TIMEOID && whole)
		return KS_AVRO_AS_TIME;
	if (whole && ((node->logical == KS_AVRO_TIMESTAMP && (type->typid == TIMESTAMPTZOID || type->typid == TIMESTAMPOID)) ||
				  (node->logical == KS_AVRO_LOCAL_TIMESTAMP && type->typid == TIMESTAMPOID)))
		return KS_AVRO_AS_TIMESTAMP;
	return KS_AVRO_AS_TOKEN;
}

static KsAvroAction
plan_scalar(const KsAvroNode *node, const KsType *type, KsUnit unit, bool debezium)
{
	switch (node->type)
	{
		case KS_AVRO_STRING:
			return plan_string(node, type);
		case KS_AVRO_ENUM:
			return type->typid == BYTEAOID ? KS_AVRO_REFUSE : KS_AVRO_AS_TOKEN;
		case KS_AVRO_BYTES:
		case KS_AVRO_FIXED:
			return plan_bytes(node, type, debezium);
		case KS_AVRO_BOOLEAN:
			return type->kind == KS_TYPE_BOOL ? KS_AVRO_AS_BOOL :
				type->is_string || ks_scalar_is_foreign(type) || type->typid == BITOID || type->typid == VARBITOID ?
				KS_AVRO_AS_TOKEN : KS_AVRO_REFUSE;
		default:
			if (is_structure(type))
				return KS_AVRO_REFUSE;
			return node->logical != KS_AVRO_PLAIN ? plan_time(node, type) : plan_number(node, type, unit);
	}
}

/* Records that are one value. */
static KsAvroAction
plan_record(const KsAvroNode *node, const KsType *type)
{
	if (node->logical == KS_AVRO_VARIABLE_DECIMAL &&
		(type->kind == KS_TYPE_NUMERIC || type->kind == KS_TYPE_FLOAT || type->is_string))
		return KS_AVRO_AS_VARIABLE_DECIMAL;
	if (node->logical == KS_AVRO_POINT && (type->typid == POINTOID || type->is_string))
		return KS_AVRO_AS_POINT;
	return KS_AVRO_REFUSE;
}

/* The type of what is no null: of unions of null and another, that one. */
static const KsAvroNode *
without_null(const KsAvroNode *node)
{
	if (node->type == KS_AVRO_UNION && node->n == 2)
		for (int i = 0; i < 2; i++)
			if (node->types[i]->type == KS_AVRO_NULL)
				return node->types[1 - i];
	return node;
}

static bool
plan(KsAvroConvert *c, const KsAvroNode *node, KsType *type, KsUnit unit, bool debezium)
{
	bool		some = false;

	c->node = node;
	c->type = type;
	c->base = ks_type_base(type);
	c->inner = NULL;
	switch (node->type)
	{
		case KS_AVRO_NULL:
			c->action = KS_AVRO_AS_NULL;
			return true;
		case KS_AVRO_UNION:
			c->action = KS_AVRO_AS_BRANCH;
			c->inner = palloc((node->n + 1) * sizeof(KsAvroConvert));
			for (int i = 0; i < node->n; i++)
				some |= plan(&c->inner[i], node->types[i], type, unit, debezium) &&
					(node->types[i]->type != KS_AVRO_NULL || node->n == 1);
			return some;
		case KS_AVRO_ARRAY:
		case KS_AVRO_MAP:
		case KS_AVRO_RECORD:
			c->action = plan_record(node, c->base);
			if (c->action != KS_AVRO_REFUSE)
				return true;
			if (node->type == KS_AVRO_ARRAY && c->base->kind == KS_TYPE_ARRAY)
			{
				const KsAvroNode *item = without_null(node->types[0]);

				c->action = KS_AVRO_AS_JSON;	/* dimensions */
				if (item->type == KS_AVRO_ARRAY && ks_type_base(c->base->elem)->kind != KS_TYPE_JSON)
					return true;
				c->action = KS_AVRO_AS_ARRAY;
				c->inner = palloc(sizeof(KsAvroConvert));
				return plan(c->inner, node->types[0], c->base->elem, unit, debezium);
			}
			c->action = c->base->kind == KS_TYPE_JSON || c->base->is_string || ks_scalar_is_foreign(c->base) ||
				(node->type != KS_AVRO_ARRAY && c->base->kind == KS_TYPE_COMPOSITE) ?
				KS_AVRO_AS_JSON : KS_AVRO_REFUSE;
			break;
		default:
			c->action = c->base->kind == KS_TYPE_JSON && node->logical != KS_AVRO_JSON ?
				KS_AVRO_AS_JSON : plan_scalar(node, c->base, unit, debezium);
			break;
	}
	return c->action != KS_AVRO_REFUSE;
}

KsAvroConvert *
ks_avro_convert_plan(const KsAvroNode *node, KsType *type, KsUnit unit, bool debezium)
{
	KsAvroConvert *c = palloc(sizeof(KsAvroConvert));

	return plan(c, node, type, unit, debezium) ? c : NULL;
}
