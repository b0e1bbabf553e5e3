/*
 * envelope_value.c
 *	  Values in an envelope, to what the column's type reads.
 *
 * With a schema its logical type says what a value means: it is written as the
 * text of a decimal, a date, and so on.  A column of an integer type takes
 * numbers as they are.  Without a schema the column's type says it where it
 * leaves no doubt; a number for a time or a timestamp is in units that nothing
 * tells, and refused.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "format/envelope_schema.h"
#include "format/envelope_text.h"

static void
set_text(KsJsonToken *tok, const char *s)
{
	tok->type = KS_JSON_STRING;
	tok->escaped = false;
	tok->p = s;
	tok->len = strlen(s);
}

static void
set_number(KsJsonToken *tok, const char *s)
{
	set_text(tok, s);
	tok->type = KS_JSON_NUMBER;
}

static void
set_variable_decimal(KsJsonToken *tok)
{
	KsJsonToken scale,
				value;

	if (!ks_schema_member(tok, "scale", &scale) || !ks_schema_member(tok, "value", &value))
		ks_value_bad("a decimal with its scale");
	set_number(tok, ks_text_decimal(&value, ks_value_int(&scale, "a scale")));
}

/* A number, or what stands for one that JSON does not have: "NaN". */
static bool
is_number(const KsJsonToken *tok)
{
	return tok->type == KS_JSON_NUMBER || (tok->type == KS_JSON_STRING && !tok->escaped);
}

static void
set_point(KsJsonToken *tok)
{
	KsJsonToken x,
				y;

	if (!ks_schema_member(tok, "x", &x) || !ks_schema_member(tok, "y", &y) ||
		!is_number(&x) || !is_number(&y))
		ks_value_bad("a point");
	set_text(tok, psprintf("(%.*s,%.*s)", x.len, x.p, y.len, y.p));
}

/*
 * A string that holds JSON: that JSON.  It is a value, null too.  Backslashes are the
 * string's own, and not of JSON around it, where the string comes from elsewhere.
 */
static void
set_json(KsJsonToken *tok, bool strip_nul)
{
	StringInfoData buf;
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};

	if (tok->escaped)
	{
		initStringInfo(&buf);
		ks_json_unescape(tok, strip_nul, &buf);
		json = (KsJson) {.start = buf.data, .end = buf.data + buf.len};
	}
	ks_json_document(&json, tok);
	if (tok->type == KS_JSON_NULL)
		tok->type = KS_JSON_NUMBER; /* its text as it is */
}

static void
append_quoted(StringInfo out, const KsJsonToken *tok, bool strip_nul)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (tok->type == KS_JSON_STRING)
		ks_json_unescape(tok, strip_nul, &buf);
	else
		appendBinaryStringInfo(&buf, tok->p, tok->len);
	appendStringInfoChar(out, '"');
	for (int i = 0; i < buf.len; i++)
	{
		if (buf.data[i] == '"' || buf.data[i] == '\\')
			appendStringInfoChar(out, '\\');
		appendStringInfoChar(out, buf.data[i]);
	}
	appendStringInfoChar(out, '"');
	pfree(buf.data);
}

/* Strings that hold JSON to the text of an array, where null is a value too. */
static void
set_json_array(KsJsonToken *tok, bool strip_nul)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken value;
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoChar(&out, '{');
	for (;;)
	{
		p = ks_json_next_element(&json, p, &value);
		if (value.p == NULL)
			break;
		if (out.len > 1)
			appendStringInfoChar(&out, ',');
		if (value.type == KS_JSON_NULL)
			appendStringInfoString(&out, "NULL");
		else
			append_quoted(&out, &value, strip_nul);
	}
	appendStringInfoChar(&out, '}');
	set_text(tok, out.data);
}

/* An object to the text of a hstore. */
static void
set_hstore(KsJsonToken *tok, bool strip_nul)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken name,
				value;
	StringInfoData out;

	initStringInfo(&out);
	for (;;)
	{
		p = ks_json_next_member(&json, p, &name, &value);
		if (value.p == NULL)
			break;
		if (out.len > 0)
			appendStringInfoChar(&out, ',');
		append_quoted(&out, &name, strip_nul);
		appendStringInfoString(&out, "=>");
		if (value.type == KS_JSON_NULL)
			appendStringInfoString(&out, "NULL");
		else
			append_quoted(&out, &value, strip_nul);
	}
	set_text(tok, out.data);
}

static bool
is_hstore(const KsType *type)
{
	HeapTuple	tup;
	bool		yes;

	if (type->kind != KS_TYPE_GENERIC || type->typid < FirstNormalObjectId)
		return false;
	tup = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type->typid));
	yes = HeapTupleIsValid(tup) && strcmp(NameStr(((Form_pg_type) GETSTRUCT(tup))->typname), "hstore") == 0;
	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	return yes;
}

static bool
is(const KsJsonToken *tok, const char *s)
{
	return tok->len == (int) strlen(s) && memcmp(tok->p, s, tok->len) == 0;
}

void
ks_value_set_odd(const KsDecoder *d, const KsType *type, KsJsonToken *tok)
{
	switch (type->typid)
	{
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			if (tok->type == KS_JSON_STRING && !tok->escaped)
			{
				char	   *s = ks_text_iso(tok->p, tok->len, type->typid == DATEOID);

				if (s)
					set_text(tok, s);
			}
			return;
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			if (tok->type == KS_JSON_STRING && is(tok, "POSITIVE_INFINITY"))
				set_text(tok, "Infinity");
			else if (tok->type == KS_JSON_STRING && is(tok, "NEGATIVE_INFINITY"))
				set_text(tok, "-Infinity");
			return;
	}
	if ((tok->type == KS_JSON_OBJECT || (tok->type == KS_JSON_STRING && tok->len > 0 && *tok->p == '{')) &&
		is_hstore(type))
	{
		if (tok->type == KS_JSON_STRING)
			set_json(tok, d->cv.strip_nul);
		if (tok->type == KS_JSON_OBJECT)
			set_hstore(tok, d->cv.strip_nul);
	}
}

static bool
is_json_array(const KsType *type)
{
	return type->kind == KS_TYPE_ARRAY && type->elem->kind == KS_TYPE_JSON;
}

/* An array or a row as JSON, as feeds write those that Connect has no type for; the texts of
 * both begin otherwise. */
static bool
is_nested(const KsType *type, const KsJsonToken *tok)
{
	return tok->len > 0 && ((type->kind == KS_TYPE_ARRAY && *tok->p == '[') ||
							(type->kind == KS_TYPE_COMPOSITE && *tok->p == '{'));
}

static void set_list(const KsDecoder *d, const KsType *type, const KsSchema *items, KsJsonToken *tok);

static void
set_by_schema(const KsDecoder *d, const KsType *type, const KsSchema *schema, KsJsonToken *tok)
{
	if (tok->type == KS_JSON_NUMBER &&
		(type->kind == KS_TYPE_INT2 || type->kind == KS_TYPE_INT4 || type->kind == KS_TYPE_INT8))
		return;
	switch (schema->kind)
	{
		case KS_TEXT:
			if (type->typid == BYTEAOID && d->settings.envelope == KS_DEBEZIUM)
				ks_value_unclear("Bytes can be a string in hex or in base64.",
							  "Set binary.handling.mode=bytes for the connector.");
			break;
		case KS_BYTES:
			if (tok->type != KS_JSON_STRING)
				break;
			if (type->typid == BYTEAOID)
				set_text(tok, ks_text_hex(tok));
			else if (!type->is_string && type->kind != KS_TYPE_JSON)
				set_text(tok, ks_text_of_bytes(tok));
			break;
		case KS_BITS:
			if (type->typid == VARBITOID)
				ks_value_unclear("Debezium does not write how many bits a bit string of variable length has.",
							  "Exclude the column from the connector, or map it to null in \"columns\".");
			set_text(tok, ks_text_bits(tok, schema->unit, Max(type->typmod, KS_PADDED_BITS)));
			break;
		case KS_DECIMAL:
			if (tok->type == KS_JSON_STRING && schema->unit == KS_NO_SCALE)
				ks_value_bad("a number whose scale is told");
			if (tok->type == KS_JSON_STRING)
				set_number(tok, ks_text_decimal(tok, schema->unit));
			break;
		case KS_VARIABLE_DECIMAL:
			set_variable_decimal(tok);
			break;
		case KS_DAYS:
			set_text(tok, ks_text_date(ks_value_int(tok, "a number of days"), true));
			break;
		case KS_TIME:
			set_text(tok, ks_text_time(ks_value_int(tok, "a time"), schema->unit,
									   type->typid == TIMEOID || type->typid == TIMETZOID));
			break;
		case KS_TIMESTAMP:
			set_text(tok, ks_text_timestamp(ks_value_int(tok, "a timestamp"), schema->unit, true));
			break;
		case KS_DURATION:
			set_text(tok, ks_text_duration(ks_value_int(tok, "a duration")));
			break;
		case KS_JSON_TEXT:
			if (tok->type == KS_JSON_STRING && (type->kind == KS_TYPE_JSON || is_nested(type, tok)))
				set_json(tok, d->cv.strip_nul);
			break;
		case KS_POINT:
			set_point(tok);
			break;
		case KS_LIST:
			if (tok->type == KS_JSON_ARRAY && is_json_array(type) && schema->items->kind == KS_JSON_TEXT)
				set_json_array(tok, d->cv.strip_nul);
			else if (tok->type == KS_JSON_ARRAY)
				set_list(d, type->kind == KS_TYPE_ARRAY ? type->elem : type, schema->items, tok);
			break;
		default:
			break;
	}
}

/* No schema: what the column's type leaves no doubt about. */
static void
set_by_type(const KsDecoder *d, const KsType *type, KsJsonToken *tok)
{
	bool		debezium = d->settings.envelope == KS_DEBEZIUM;

	/* what it counts the column says */
	if (tok->type == KS_JSON_NUMBER && d->cv.unit != KS_UNIT_NONE && type->has_time)
		return;
	if (type->typid == DATEOID && tok->type == KS_JSON_NUMBER)
		set_text(tok, ks_text_date(ks_value_int(tok, "a number of days"), true));
	else if (type->typid == BYTEAOID && tok->type == KS_JSON_STRING && (debezium || !tok->escaped))
		set_text(tok, ks_text_hex(tok));
	else if (debezium && is_json_array(type) && tok->type == KS_JSON_ARRAY)
		set_json_array(tok, d->cv.strip_nul);
	else if (type->kind == KS_TYPE_ARRAY && tok->type == KS_JSON_ARRAY)
		set_list(d, type->elem, NULL, tok);
	if (!debezium)
		return;
	if (type->kind == KS_TYPE_JSON && tok->type == KS_JSON_STRING)
		set_json(tok, d->cv.strip_nul);
	switch (type->typid)
	{
		case TIMEOID:
		case TIMETZOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case INTERVALOID:
			if (tok->type == KS_JSON_NUMBER)
				ks_value_unclear("Without a schema, a number can be in milliseconds, microseconds or nanoseconds.",
							  "Turn schemas.enable on for the connector's converter, set time.precision.mode=isostring (for intervals, interval.handling.mode=string), give the column a unit in \"columns\", or use a bigint column.");
			break;
		case NUMERICOID:
			if (tok->type == KS_JSON_OBJECT)
				set_variable_decimal(tok);
			break;
		case POINTOID:
			if (tok->type == KS_JSON_OBJECT)
				set_point(tok);
			break;
		case BITOID:
			if (tok->type == KS_JSON_STRING)
				set_text(tok, ks_text_bits(tok, type->typmod, type->typmod));
			break;
		case VARBITOID:
			if (tok->type == KS_JSON_STRING)
				ks_value_unclear("Debezium does not write how many bits a bit string of variable length has.",
							  "Exclude the column from the connector, or map it to null in \"columns\".");
			break;
	}
}

/* Without a schema: is a value of the type what JSON has, whoever wrote it? */
static inline bool
is_as_json(const KsType *type, const KsJsonToken *tok)
{
	switch (type->kind)
	{
		case KS_TYPE_INT2:
		case KS_TYPE_INT4:
		case KS_TYPE_INT8:
		case KS_TYPE_TEXT:
		case KS_TYPE_UUID:
			return tok->type == KS_JSON_NUMBER || tok->type == KS_JSON_STRING;
		case KS_TYPE_NUMERIC:
		case KS_TYPE_FLOAT:
			return tok->type == KS_JSON_NUMBER;
		default:
			return false;
	}
}

/* A token that ks_convert_json() reads, in the current context. */
static void
set_readable(const KsDecoder *d, const KsType *type, const KsSchema *schema, KsJsonToken *tok)
{
	type = ks_type_base(unconstify(KsType *, type));
	if (tok->type == KS_JSON_NULL)
		return;
	if ((tok->type == KS_JSON_TRUE || tok->type == KS_JSON_FALSE) &&
		(type->typid == BITOID || type->typid == VARBITOID))
		set_text(tok, tok->type == KS_JSON_TRUE ? "1" : "0");
	else if (schema)
		set_by_schema(d, type, schema, tok);
	else
		set_by_type(d, type, tok);
	if (d->settings.envelope == KS_DEBEZIUM)
		ks_value_set_odd(d, type, tok);
}

/* What is to become of a list: one copy, however many lists are in it. */
typedef struct ListCopy
{
	const KsDecoder *d;
	const KsType *type;			/* of what is not a list, or a domain over one */
	StringInfoData out;
	MemoryContext scratch;		/* an element may be two bytes, and cost much more */
} ListCopy;

static void
append_element(ListCopy *copy, const KsSchema *items, KsJsonToken *v)
{
	const char *was = v->p;
	MemoryContext old;

	MemoryContextReset(copy->scratch);
	old = MemoryContextSwitchTo(copy->scratch);
	set_readable(copy->d, copy->type, items, v);
	if (v->type == KS_JSON_STRING && !v->escaped && v->p != was)
		escape_json(&copy->out, pnstrdup(v->p, v->len));
	else
		ks_json_append_raw(v, copy->d->cv.strip_nul, &copy->out);
	MemoryContextSwitchTo(old);
}

/* Each list is walked over once for each level above it, of which there are few. */
static void
append_list(ListCopy *copy, const KsSchema *items, const KsJsonToken *tok, int level)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken v;
	bool		nested = copy->type->kind != KS_TYPE_ARRAY &&
		(items ? items->kind == KS_LIST : copy->type->kind != KS_TYPE_JSON);
	const char *separator = "";

	/* a schema has a limit of its own */
	if (items == NULL && level > MAXDIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("number of array dimensions exceeds the maximum allowed (%d)", MAXDIM)));
	appendStringInfoChar(&copy->out, '[');
	for (;;)
	{
		p = ks_json_next_element(&json, p, &v);
		if (v.p == NULL)
			break;
		appendStringInfoString(&copy->out, separator);
		separator = ",";
		if (nested && v.type == KS_JSON_ARRAY)
			append_list(copy, items ? items->items : NULL, &v, level + 1);
		else
			append_element(copy, items, &v);
	}
	appendStringInfoChar(&copy->out, ']');
}

static void
set_list(const KsDecoder *d, const KsType *type, const KsSchema *items, KsJsonToken *tok)
{
	ListCopy	copy = {.d = d};

	type = copy.type = ks_type_base(unconstify(KsType *, type));
	if ((items == NULL || items->kind == KS_PLAIN || items->kind == KS_TEXT) &&
		(type->kind == KS_TYPE_BOOL || type->kind == KS_TYPE_INT2 || type->kind == KS_TYPE_INT4 ||
		 type->kind == KS_TYPE_INT8 || type->kind == KS_TYPE_TEXT))
		return;
	copy.scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink list", ALLOCSET_SMALL_SIZES);
	initStringInfo(&copy.out);
	append_list(&copy, items, tok, 1);
	MemoryContextDelete(copy.scratch);
	tok->p = copy.out.data;
	tok->len = copy.out.len;
	tok->escaped = memchr(copy.out.data, '\\', copy.out.len) != NULL;
}

Datum
ks_schema_convert(KsDecoder *d, KsColumn *col, const KsSchema *schema,
				  const KsJsonToken *tok, bool *isnull)
{
	KsJsonToken t;

	if (likely(schema == NULL && is_as_json(&col->type, tok)))
		return ks_convert_json(&d->cv, &col->type, tok, isnull);
	/* bytes need not become text first */
	if (tok->type == KS_JSON_STRING && ks_type_base(&col->type)->typid == BYTEAOID &&
		(schema ? schema->kind == KS_BYTES : !tok->escaped))
	{
		int			len;
		uint8	   *b = ks_value_bytes(tok, &len);
		Datum		value = PointerGetDatum(cstring_to_text_with_len((char *) b, len));

		*isnull = false;
		ks_type_check(&col->type, value, false);
		return value;
	}
	t = *tok;
	set_readable(d, &col->type, schema, &t);
	return ks_convert_json(&d->cv, &col->type, &t, isnull);
}
