/*
 * convert.c
 *	  JSON tokens and strings to Datums of a column's type.
 *
 * The fast paths take what they understand completely and leave everything
 * else, errors included, to the type's own input function, so that messages
 * and corner cases are the server's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/int.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "format/convert.h"
#include "format/convert_fast.h"

uint64		ks_functions_changed = 0;

Datum
ks_convert_text(KsConvert *cv, KsType *type, const char *s, int len)
{
	Datum		d;

	if (s != cv->buf.data)
	{
		resetStringInfo(&cv->buf);
		appendBinaryStringInfo(&cv->buf, s, len);
	}
	if (type->kind == KS_TYPE_TEXT && len <= type->max_len)
		return PointerGetDatum(cstring_to_text_with_len(s, len));
	ks_type_look_up(type);
	d = InputFunctionCall(&type->input, cv->buf.data, type->ioparam, type->typmod);
	if (cv->refuse_nonfinite && type->has_float)
		ks_finite_check(type, d);
	return d;
}

void
ks_type_check_now(KsType *type, Datum value, bool isnull)
{
	if (type->kind != KS_TYPE_DOMAIN)
		return;
	ks_type_look_up(type);
	domain_check(value, isnull, type->typid, &type->domain_cache, type->cxt);
}

void
ks_type_check(KsType *type, Datum value, bool isnull)
{
	if (type->kind == KS_TYPE_DOMAIN && !type->check_later)
		ks_type_check_now(type, value, isnull);
}

Datum
ks_convert_field(KsConvert *cv, KsType *type, const char *s, int len)
{
	KsType	   *base = ks_type_base(type);
	Datum		d;

	if (cv->unit == KS_UNIT_NONE || !base->has_time ||
		!ks_unit_convert(cv, base, s, len, false, &d))
		return ks_convert_text(cv, type, s, len);
	if (base != type)
		ks_type_check(type, d, false);
	return d;
}

/* An array or object whose text happens to be what the type reads otherwise. */
static void
no_structure(const KsType *type, const KsJsonToken *tok)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("a JSON %s is no value of type %s",
					tok->type == KS_JSON_OBJECT ? "object" : "array",
					format_type_extended(type->typid, type->typmod, FORMAT_TYPE_TYPEMOD_GIVEN))));
}

/* Of text lc_monetary says what a point and a comma are; of a number JSON does. */
static Datum
money_of_number(const char *s, int len)
{
	Datum		number;

	if (!fast_numeric(s, len, -1, &number))
		number = DirectFunctionCall3(numeric_in, CStringGetDatum(pnstrdup(s, len)), ObjectIdGetDatum(InvalidOid),
									 Int32GetDatum(-1));
	return DirectFunctionCall1(numeric_cash, number);
}

static Datum convert_array(KsConvert *cv, KsType *type, const KsJsonToken *tok);
static Datum convert_composite(KsConvert *cv, KsType *type, const KsJsonToken *tok);

Datum
ks_convert_json(KsConvert *cv, KsType *type, const KsJsonToken *tok, bool *isnull)
{
	const char *s = tok->p;
	int			len = tok->len;
	Datum		d;
	int64		v;

	if (type->kind == KS_TYPE_DOMAIN)
	{
		d = ks_convert_json(cv, type->elem, tok, isnull);
		ks_type_check(type, d, *isnull);
		return d;
	}

	*isnull = tok->type == KS_JSON_NULL;
	if (*isnull)
		return (Datum) 0;

	if (type->kind == KS_TYPE_JSON)
	{
		resetStringInfo(&cv->buf);
		ks_json_append_raw(tok, cv->strip_nul, &cv->buf);
		return InputFunctionCall(&type->input, cv->buf.data, type->ioparam, type->typmod);
	}
	if (type->kind == KS_TYPE_ARRAY && tok->type == KS_JSON_ARRAY)
		return convert_array(cv, type, tok);
	if (type->kind == KS_TYPE_COMPOSITE && tok->type == KS_JSON_OBJECT)
		return convert_composite(cv, type, tok);

	if (tok->type == KS_JSON_STRING && tok->escaped)
	{
		resetStringInfo(&cv->buf);
		ks_json_unescape(tok, cv->strip_nul, &cv->buf);
		s = cv->buf.data;
		len = cv->buf.len;
	}

	switch (type->kind)
	{
		case KS_TYPE_BOOL:
			if (tok->type == KS_JSON_TRUE || tok->type == KS_JSON_FALSE)
				return BoolGetDatum(tok->type == KS_JSON_TRUE);
			break;
		case KS_TYPE_INT2:
			if (fast_int(s, len, &v) && v >= PG_INT16_MIN && v <= PG_INT16_MAX)
				return Int16GetDatum((int16) v);
			break;
		case KS_TYPE_INT4:
			if (fast_int(s, len, &v) && v >= PG_INT32_MIN && v <= PG_INT32_MAX)
				return Int32GetDatum((int32) v);
			break;
		case KS_TYPE_INT8:
			if (fast_int(s, len, &v))
				return Int64GetDatum(v);
			break;
		case KS_TYPE_FLOAT:
			if (type->typid == FLOAT8OID && fast_float8(s, len, &d))
				return d;
			break;
		case KS_TYPE_NUMERIC:
			if (fast_numeric(s, len, type->typmod, &d))
				return d;
			break;
		case KS_TYPE_UUID:
			if (fast_uuid(s, len, &d))
				return d;
			break;
		case KS_TYPE_DATE:
		case KS_TYPE_TIMESTAMP:
		case KS_TYPE_TIMESTAMPTZ:
			if (tok->type == KS_JSON_STRING &&
				(type->kind == KS_TYPE_DATE ? fast_date(s, len, &d) :
				 fast_moment(s, len, type->kind == KS_TYPE_TIMESTAMPTZ, &d)))
				return d;
			/* FALLTHROUGH */
		case KS_TYPE_DATETIME:
			if ((tok->type == KS_JSON_NUMBER || (tok->type == KS_JSON_STRING && cv->unit != KS_UNIT_NONE)) &&
				ks_unit_convert(cv, type, s, len, tok->type == KS_JSON_NUMBER, &d))
				return d;
			/* FALLTHROUGH */
		case KS_TYPE_RANGE:
		case KS_TYPE_MULTIRANGE:
		case KS_TYPE_ARRAY:
			if (tok->type == KS_JSON_OBJECT || tok->type == KS_JSON_ARRAY)
				no_structure(type, tok);
			break;
		case KS_TYPE_TEXT:
			if (len <= type->max_len)
				return PointerGetDatum(cstring_to_text_with_len(s, len));
			break;
		default:
			if (type->typid == MONEYOID && tok->type == KS_JSON_NUMBER)
				return money_of_number(s, len);
			break;
	}
	return ks_convert_text(cv, type, s, len);
}

/* Nested arrays are dimensions. */
static void
collect_elements(KsConvert *cv, KsType *elem, const KsJsonToken *tok, int level,
				 KsArrayBuild *b)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken value;
	int			count = 0;
	KsTypeKind	kind = ks_type_base(elem)->kind;

	ks_array_enter(b, level);
	for (;;)
	{
		p = ks_json_next_element(&json, p, &value);
		if (value.p == NULL)
			break;
		count++;
		/* an element that is an array is of a domain */
		if (value.type == KS_JSON_ARRAY && kind != KS_TYPE_JSON && kind != KS_TYPE_ARRAY)
			collect_elements(cv, elem, &value, level + 1, b);
		else
		{
			int			i = ks_array_add(b, level);
			Datum		d = ks_convert_json(cv, elem, &value, &b->nulls[i]);

			b->elems[i] = d;
		}
	}
	ks_array_leave(b, level, count);
}

static Datum
convert_array(KsConvert *cv, KsType *type, const KsJsonToken *tok)
{
	KsArrayBuild b;

	ks_array_begin(&b);
	collect_elements(cv, type->elem, tok, 0, &b);
	return ks_array_end(&b, type);
}

/* The attribute of a member's name, or -1; as a rule it is the one expected. */
static int
find_attribute(const KsComposite *c, const KsJsonToken *name, int expected, StringInfo buf)
{
	KsJsonToken plain = *name;

	if (name->escaped && !ks_json_plain_name(name, buf, &plain))
		return -1;
	if (expected < c->names.n && ks_name_is(&c->fields[expected], plain.p, plain.len))
		return expected;
	return ks_names_find(&c->names, plain.p, plain.len);
}

/* Members of an object to their attributes; others are passed over. */
static void
find_members(const KsComposite *c, const KsJsonToken *tok, KsJsonToken *members)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken name,
				value;
	StringInfoData buf = {.data = NULL};
	int			expected = 0;

	for (;;)
	{
		int			i;

		p = ks_json_next_member(&json, p, &name, &value);
		if (value.p == NULL)
			break;
		i = find_attribute(c, &name, expected, &buf);
		if (i >= 0)
		{
			members[i] = value;
			expected = i + 1;
		}
	}
	if (buf.data)
		pfree(buf.data);
}

/* A missing attribute is NULL. */
static Datum
convert_composite(KsConvert *cv, KsType *type, const KsJsonToken *tok)
{
	const KsComposite *c = type->composite;
	int			natts = c->tupdesc->natts;
	Datum	   *values = palloc0(natts * sizeof(Datum));
	bool	   *nulls = palloc(natts * sizeof(bool));
	KsJsonToken *members = palloc(natts * sizeof(KsJsonToken));
	static const KsJsonToken missing = {.type = KS_JSON_NULL};
	Datum		d;

	for (int i = 0; i < natts; i++)
		members[i] = missing;
	find_members(c, tok, members);
	for (int i = 0; i < natts; i++)
	{
		nulls[i] = true;
		c->filled[i] |= members[i].p != NULL;
		if (c->fields[i].len >= 0)
			values[i] = ks_convert_json(cv, &c->attrs[i], &members[i], &nulls[i]);
	}
	d = HeapTupleGetDatum(heap_form_tuple(c->tupdesc, values, nulls));
	/* an array may have one for every three bytes */
	pfree(members);
	pfree(nulls);
	pfree(values);
	return d;
}
