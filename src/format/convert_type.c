/*
 * convert_type.c
 *	  Descriptions of types: what converting to them needs of the catalog.
 *
 * A composite type is described once for a target, wherever it occurs: types
 * that are made of each other twice over would else be described as often as
 * there are ways through them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "format/convert.h"

static KsComposite *
describe_composite(Oid typid, int32 typmod, KsTypes *types)
{
	ListCell   *lc;
	Oid			relid;
	TupleDesc	shared;
	KsComposite *c;

	foreach(lc, types->composites)
	{
		c = lfirst(lc);
		if (c->typid == typid && c->typmod == typmod)
			return c;
	}
	/* from here on its changes count */
	relid = get_typ_typrelid(typid);
	if (OidIsValid(relid))
		types->relids = lappend_oid(types->relids, relid);
	shared = lookup_rowtype_tupdesc(typid, typmod);
	c = palloc0(sizeof(KsComposite));
	c->typid = typid;
	c->typmod = typmod;
	c->relid = relid;
	c->tupdesc = CreateTupleDescCopy(shared);
	ReleaseTupleDesc(shared);
	c->attrs = palloc0(c->tupdesc->natts * sizeof(KsType));
	c->fields = palloc0(c->tupdesc->natts * sizeof(KsField));
	c->filled = palloc0(c->tupdesc->natts * sizeof(bool));
	c->stored = palloc0(c->tupdesc->natts * sizeof(bool));
	for (int i = 0; i < c->tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(c->tupdesc, i);

		c->fields[i].name = NameStr(att->attname);
		c->fields[i].len = att->attisdropped ? -1 : (int) strlen(NameStr(att->attname));
		if (att->attisdropped)
			continue;
		ks_type_init(&c->attrs[i], att->atttypid, att->atttypmod, types);
		c->has_time |= c->attrs[i].has_time;
		c->has_float |= c->attrs[i].has_float;
	}
	ks_names_init(&c->names, c->fields, c->tupdesc->natts);
	types->composites = lappend(types->composites, c);
	return c;
}

/* Element, bound or base. */
static void
describe_inner(KsType *type, Oid typid, int32 typmod, KsTypes *types)
{
	type->elem = palloc(sizeof(KsType));
	ks_type_init(type->elem, typid, typmod, types);
	type->has_time = type->elem->has_time;
	type->has_float = type->elem->has_float;
}

static KsTypeKind
kind_of_base_type(Oid typid, int32 typmod)
{
	switch (typid)
	{
		case BOOLOID:
			return KS_TYPE_BOOL;
		case INT2OID:
			return KS_TYPE_INT2;
		case INT4OID:
			return KS_TYPE_INT4;
		case INT8OID:
			return KS_TYPE_INT8;
		case FLOAT4OID:
		case FLOAT8OID:
			return KS_TYPE_FLOAT;
		case NUMERICOID:
			return KS_TYPE_NUMERIC;
		case TEXTOID:
		case VARCHAROID:
			return KS_TYPE_TEXT;
		case UUIDOID:
			return KS_TYPE_UUID;
		case DATEOID:
			return KS_TYPE_DATE;
		case TIMESTAMPOID:
			return typmod < 0 || typmod == MAX_TIMESTAMP_PRECISION ? KS_TYPE_TIMESTAMP : KS_TYPE_DATETIME;
		case TIMESTAMPTZOID:
			return typmod < 0 || typmod == MAX_TIMESTAMP_PRECISION ? KS_TYPE_TIMESTAMPTZ : KS_TYPE_DATETIME;
		case TIMEOID:
		case TIMETZOID:
		case INTERVALOID:
			return KS_TYPE_DATETIME;
		case JSONOID:
		case JSONBOID:
			return KS_TYPE_JSON;
		default:
			return KS_TYPE_GENERIC;
	}
}

static bool
is_geometric(Oid typid)
{
	return typid == POINTOID || typid == LINEOID || typid == LSEGOID || typid == BOXOID ||
		typid == PATHOID || typid == POLYGONOID || typid == CIRCLEOID;
}

/*
 * Of an array as all are.  Those that only look like one, int2vector and oidvector, have
 * no other shape than their input function gives them.
 */
static Oid
element_type(Oid typid)
{
	Oid			elem = get_element_type(typid);

	return OidIsValid(elem) && get_array_type(elem) == typid ? elem : InvalidOid;
}

static void
describe(KsType *type, KsTypes *types)
{
	char		typtype = get_typtype(type->typid);
	Oid			elem = element_type(type->typid);

	type->kind = kind_of_base_type(type->typid, type->typmod);
	type->has_time = ks_type_is_time(type);
	type->max_len = type->typid == VARCHAROID && type->typmod >= VARHDRSZ ? type->typmod - VARHDRSZ : INT_MAX;
	type->has_float = type->kind == KS_TYPE_FLOAT || type->kind == KS_TYPE_NUMERIC ||
		is_geometric(type->typid);
	if (type->kind != KS_TYPE_GENERIC)
		return;
	if (typtype == TYPTYPE_DOMAIN)
	{
		int32		basemod = type->typmod;
		Oid			base = getBaseTypeAndTypmod(type->typid, &basemod);

		type->kind = KS_TYPE_DOMAIN;
		describe_inner(type, base, basemod, types);
	}
	else if (OidIsValid(elem))
	{
		type->kind = KS_TYPE_ARRAY;
		describe_inner(type, elem, type->typmod, types);
		get_typlenbyvalalign(elem, &type->elemlen, &type->elembyval, &type->elemalign);
	}
	else if (typtype == TYPTYPE_RANGE)
	{
		type->kind = KS_TYPE_RANGE;
		describe_inner(type, get_range_subtype(type->typid), -1, types);
		type->has_time = false;	/* their text is no number */
	}
	else if (typtype == TYPTYPE_MULTIRANGE)
	{
		type->kind = KS_TYPE_MULTIRANGE;
		describe_inner(type, get_multirange_range(type->typid), -1, types);
	}
	else if (typtype == TYPTYPE_COMPOSITE)
	{
		type->kind = KS_TYPE_COMPOSITE;
		type->composite = describe_composite(type->typid, type->typmod, types);
		type->has_time = type->composite->has_time;
		type->has_float = type->composite->has_float;
	}
}

void
ks_type_init(KsType *type, Oid typid, int32 typmod, KsTypes *types)
{
	MemoryContext old = MemoryContextSwitchTo(types->cxt);
	Oid			infunc;
	char		category;
	bool		preferred;

	check_stack_depth();
	memset(type, 0, sizeof(KsType));
	type->typid = typid;
	type->typmod = typmod;
	type->cxt = types->cxt;
	getTypeInputInfo(typid, &infunc, &type->ioparam);
	fmgr_info_cxt(infunc, &type->input, types->cxt);
	get_typlenbyval(typid, &type->typlen, &type->typbyval);
	get_type_category_preferred(typid, &category, &preferred);
	type->is_string = category == TYPCATEGORY_STRING;
	describe(type, types);
	MemoryContextSwitchTo(old);
}
