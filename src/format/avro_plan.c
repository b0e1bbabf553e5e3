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
plan_bytes(const KsAvroNode *node, const KsType *type, bool connect)
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
				type->is_string || (connect && (type->kind == KS_TYPE_GENERIC || is_structure(type))) ?
				KS_AVRO_AS_STRING : KS_AVRO_REFUSE;
	}
}

static KsAvroAction
plan_number(const KsAvroNode *node, const KsType *type, KsUnit unit)
{
	bool		integer = node->type == KS_AVRO_INT || node->type == KS_AVRO_LONG;

	if (ks_scalar_is_integer(type))
		return integer ? KS_AVRO_AS_INT : KS_AVRO_AS_WHOLE;
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
plan_scalar(const KsAvroNode *node, const KsType *type, KsUnit unit, bool connect)
{
	switch (node->type)
	{
		case KS_AVRO_STRING:
			return plan_string(node, type);
		case KS_AVRO_ENUM:
			return type->typid == BYTEAOID ? KS_AVRO_REFUSE : KS_AVRO_AS_TOKEN;
		case KS_AVRO_BYTES:
		case KS_AVRO_FIXED:
			return plan_bytes(node, type, connect);
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
		(type->kind == KS_TYPE_NUMERIC || type->kind == KS_TYPE_FLOAT || ks_scalar_is_integer(type) ||
		 type->typid == MONEYOID || type->is_string))
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

/* Can the Datum be made of the bytes? */
static KsAvroDirect
plan_direct(const KsAvroConvert *c)
{
	const KsAvroNode *node = c->node;

	if (c->type != c->base)
		return KS_AVRO_NOT_DIRECT;
	if (c->action == KS_AVRO_AS_INT && c->base->kind == KS_TYPE_INT8)
		return node->type == KS_AVRO_INT ? KS_AVRO_INT_TO_INT8 : KS_AVRO_LONG_TO_INT8;
	if (c->action == KS_AVRO_AS_INT && c->base->kind == KS_TYPE_INT4)
		return KS_AVRO_TO_INT4;
	if (c->action == KS_AVRO_AS_FLOAT && c->base->typid == FLOAT8OID && node->type == KS_AVRO_DOUBLE)
		return KS_AVRO_TO_FLOAT8;
	if (c->action == KS_AVRO_AS_BOOL)
		return KS_AVRO_TO_BOOL;
	if (c->action == KS_AVRO_AS_TEXT && node->type != KS_AVRO_FIXED)
		return KS_AVRO_TO_TEXT;
	if (c->action == KS_AVRO_AS_TIMESTAMP && (node->unit == 1000000 || node->unit == 1000))
		return KS_AVRO_TO_TIMESTAMP;
	return c->action == KS_AVRO_AS_NUMERIC && node->type == KS_AVRO_BYTES ? KS_AVRO_TO_NUMERIC : KS_AVRO_NOT_DIRECT;
}

/* What holds for all of a value. */
typedef struct Planner
{
	KsUnit		unit;
	bool		connect;
	KsAvroComposite *composites;	/* that are planned, or about to be */
} Planner;

static bool plan(Planner *p, KsAvroConvert *c, const KsAvroNode *node, KsType *type);

/* What does not fit is told where it is met, in the words of JSON's values. */
static void
plan_inner(Planner *p, KsAvroConvert *c, const KsAvroNode *node, KsType *type)
{
	if (!plan(p, c, node, type))
		c->action = KS_AVRO_AS_JSON;
}

static KsAvroComposite *
plan_composite(Planner *p, const KsAvroNode *node, KsComposite *type)
{
	KsAvroComposite *k;
	int			n = node->type == KS_AVRO_RECORD ? node->n : type->tupdesc->natts;

	check_stack_depth();
	for (k = p->composites; k; k = k->next)
		if (k->node == node && k->type == type)
			return k;
	k = palloc(sizeof(KsAvroComposite));
	k->node = node;
	k->type = type;
	k->atts = palloc((n + 1) * sizeof(int));
	k->inner = palloc0((n + 1) * sizeof(KsAvroConvert));
	k->next = p->composites;
	p->composites = k;
	for (int i = 0; i < n; i++)
	{
		if (node->type == KS_AVRO_RECORD)
			k->atts[i] = ks_names_find(&type->names, node->names[i].name, node->names[i].len);
		else
			k->atts[i] = type->fields[i].len >= 0 ? i : -1;
		if (k->atts[i] >= 0)
			plan_inner(p, &k->inner[i], node->types[node->type == KS_AVRO_RECORD ? i : 0], &type->attrs[k->atts[i]]);
	}
	return k;
}

/* An array in an array is a dimension, but for elements that are arrays themselves. */
static bool
has_dimensions(const KsAvroNode *node, const KsType *type)
{
	KsTypeKind	kind = ks_type_base(type->elem)->kind;

	return without_null(node->types[0])->type == KS_AVRO_ARRAY && kind != KS_TYPE_JSON && kind != KS_TYPE_ARRAY;
}

static bool
plan_dimension(Planner *p, KsAvroConvert *c, const KsAvroNode *node, KsType *type)
{
	bool		some = false;

	c->node = node;
	c->type = c->base = type;
	c->inner = NULL;
	c->direct = KS_AVRO_NOT_DIRECT;
	switch (node->type)
	{
		case KS_AVRO_UNION:
			c->action = KS_AVRO_AS_BRANCH;
			c->inner = palloc((node->n + 1) * sizeof(KsAvroConvert));
			for (int i = 0; i < node->n; i++)
				some |= plan_dimension(p, &c->inner[i], node->types[i], type) && node->types[i]->type != KS_AVRO_NULL;
			return some;
		case KS_AVRO_ARRAY:
			c->action = KS_AVRO_AS_DIMENSIONS;
			c->inner = palloc(sizeof(KsAvroConvert));
			return plan_dimension(p, c->inner, node->types[0], type);
		default:
			return plan(p, c, node, type->elem);
	}
}

static bool
plan(Planner *p, KsAvroConvert *c, const KsAvroNode *node, KsType *type)
{
	bool		some = false;

	c->node = node;
	c->type = type;
	c->base = ks_type_base(type);
	c->inner = NULL;
	c->direct = KS_AVRO_NOT_DIRECT;
	switch (node->type)
	{
		case KS_AVRO_NULL:
			c->action = KS_AVRO_AS_NULL;
			return true;
		case KS_AVRO_UNION:
			c->action = KS_AVRO_AS_BRANCH;
			c->inner = palloc((node->n + 1) * sizeof(KsAvroConvert));
			for (int i = 0; i < node->n; i++)
				some |= plan(p, &c->inner[i], node->types[i], type) &&
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
				if (has_dimensions(node, c->base))
				{
					KsType	   *given = c->type;
					bool		fits = plan_dimension(p, c, node, c->base);

					c->type = given;
					return fits;
				}
				c->action = KS_AVRO_AS_ARRAY;
				c->inner = palloc(sizeof(KsAvroConvert));
				return plan(p, c->inner, node->types[0], c->base->elem);
			}
			if (node->type != KS_AVRO_ARRAY && c->base->kind == KS_TYPE_COMPOSITE)
			{
				c->action = KS_AVRO_AS_COMPOSITE;
				c->composite = plan_composite(p, node, c->base->composite);
				return true;
			}
			c->action = c->base->kind == KS_TYPE_JSON || c->base->is_string || ks_scalar_is_foreign(c->base) ?
				KS_AVRO_AS_JSON : KS_AVRO_REFUSE;
			break;
		default:
			c->action = c->base->kind == KS_TYPE_JSON && node->logical != KS_AVRO_JSON ?
				KS_AVRO_AS_JSON : plan_scalar(node, c->base, p->unit, p->connect);
			c->direct = plan_direct(c);
			break;
	}
	return c->action != KS_AVRO_REFUSE;
}

KsAvroConvert *
ks_avro_convert_plan(const KsAvroNode *node, KsType *type, KsUnit unit, bool connect)
{
	KsAvroConvert *c = palloc(sizeof(KsAvroConvert));
	Planner		p = {.unit = unit, .connect = connect};

	return plan(&p, c, node, type) ? c : NULL;
}
