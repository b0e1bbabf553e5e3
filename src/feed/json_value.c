/*
 * json_value.c
 *	  Values as to_json() writes them, out of their texts.
 *
 * No code runs here that is not the server's own: no check of a domain, no cast.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "common/jsonapi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "feed/json_value.h"

/* Of the server's own elements, or written as arrays of texts are. */
static bool
is_plain_array(Oid type)
{
	Oid			element = get_element_type(type);
	int16		len;
	bool		byval;
	char		align,
				delim;
	Oid			io,
				func;

	get_type_io_data(element, IOFunc_output, &len, &byval, &align, &delim, &io, &func);
	return element < FirstNormalObjectId || delim == ',';
}

static KsJsonForm
form_of_array(Oid type, bool debezium)
{
	if (!is_plain_array(type))
		return KS_JSON_STRING;
	if (debezium)
		switch (ks_json_form(getBaseType(get_element_type(type)), true))
		{
			case KS_JSON_JSON_TEXT:
			case KS_JSON_BASE64:
			case KS_JSON_BITS:
				return KS_JSON_DEBEZIUM_ARRAY;
			default:
				break;
		}
	return KS_JSON_ARRAY;
}

KsJsonForm
ks_json_form(Oid type, bool debezium)
{
	switch (type)
	{
		case BOOLOID:
			return KS_JSON_BOOL;
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			return KS_JSON_NUMBER;
		case JSONOID:
		case JSONBOID:
			return debezium ? KS_JSON_JSON_TEXT : KS_JSON_JSON;
		case BYTEAOID:
			return debezium ? KS_JSON_BASE64 : KS_JSON_STRING;
		case BITOID:
			return debezium ? KS_JSON_BITS : KS_JSON_STRING;
		case TIMESTAMPOID:
			return KS_JSON_TIMESTAMP;
		case TIMESTAMPTZOID:
			return KS_JSON_TIMESTAMPTZ;
		default:
			break;
	}
	if (OidIsValid(get_element_type(type)))
		return form_of_array(type, debezium);
	return type_is_rowtype(type) ? KS_JSON_COMPOSITE : KS_JSON_STRING;
}

/* "2026-01-02 03:04:05+00" as XML Schema and JSON have it; infinity as it is. */
static void
append_timestamp(StringInfo buf, const char *s, bool zone)
{
	const char *space = strchr(s, ' ');
	const char *bc = strstr(s, " BC");
	int			len = bc ? (int) (bc - s) : (int) strlen(s);

	appendStringInfoChar(buf, '"');
	if (space == NULL || space == bc)
		appendStringInfoString(buf, s);
	else
	{
		appendBinaryStringInfo(buf, s, space - s);
		appendStringInfoChar(buf, 'T');
		appendBinaryStringInfo(buf, space + 1, len - (space + 1 - s));
		/* the session's zone is UTC: +00 */
		if (zone && len >= 3 && s[len - 3] == '+')
			appendStringInfoString(buf, ":00");
		if (bc)
			appendStringInfoString(buf, bc);
	}
	appendStringInfoChar(buf, '"');
}

/* Lines are for people. */
static void
append_base64(StringInfo buf, Datum bytes)
{
	char	   *s = TextDatumGetCString(DirectFunctionCall2(binary_encode, bytes, CStringGetTextDatum("base64")));

	appendStringInfoChar(buf, '"');
	for (; *s; s++)
		if (*s != '\n')
			appendStringInfoChar(buf, *s);
	appendStringInfoChar(buf, '"');
}

void
ks_json_append_base64(StringInfo buf, char *s)
{
	append_base64(buf, DirectFunctionCall1(byteain, CStringGetDatum(s)));
}

static void
append_bits(StringInfo buf, const char *s)
{
	int			n = strlen(s);
	Size		size = VARHDRSZ + (n + 7) / 8;
	bytea	   *bits = palloc0(size);

	if (n == 1)
	{
		appendStringInfoString(buf, *s == '1' ? "true" : "false");
		return;
	}
	SET_VARSIZE(bits, size);
	for (int i = 0; i < n; i++)
		if (s[n - 1 - i] == '1')
			VARDATA(bits)[i / 8] |= 1 << (i % 8);
	append_base64(buf, PointerGetDatum(bits));
}

/* What to_json() makes of arrays of the server's own types, which texts do not tell. */
static void
append_own_array(StringInfo buf, Oid type, char *s)
{
	Oid			input,
				param;
	Datum		value;

	getTypeInputInfo(type, &input, &param);
	value = DirectFunctionCall1(array_to_json, OidInputFunctionCall(input, s, param, -1));
	appendStringInfoString(buf, TextDatumGetCString(value));
}

/* One dimension of an array of texts, from element *at on. */
static void
append_dimension(StringInfo buf, ArrayType *array, int dim, const Datum *elems, const bool *nulls, int *at, Oid type, KsJsonForm form)
{
	appendStringInfoChar(buf, '[');
	for (int i = 0; i < ARR_DIMS(array)[dim]; i++)
	{
		if (i > 0)
			appendStringInfoChar(buf, ',');
		if (dim + 1 < ARR_NDIM(array))
		{
			append_dimension(buf, array, dim + 1, elems, nulls, at, type, form);
			continue;
		}
		if (nulls[*at])
			appendStringInfoString(buf, "null");
		else
			ks_json_append(buf, type, form, TextDatumGetCString(elems[*at]));
		(*at)++;
	}
	appendStringInfoChar(buf, ']');
}

/*
 * Types that somebody has made can have domains and casts, whose functions are not to
 * be run here, with the rights of the feed's owner and in the past of the catalogs.  So
 * an array is taken apart as one of texts, and a row as one of columns of texts.
 */
static void
append_array(StringInfo buf, Oid type, char *s, bool debezium)
{
	Oid			element = get_element_type(type);
	ArrayType  *array;
	Datum	   *elems;
	bool	   *nulls;
	int			n,
				at = 0;

	if (element < FirstNormalObjectId && !debezium)
	{
		append_own_array(buf, type, s);
		return;
	}
	array = DatumGetArrayTypeP(OidInputFunctionCall(F_ARRAY_IN, s, TEXTOID, -1));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	element = getBaseType(element);
	if (n == 0)
		appendStringInfoString(buf, "[]");
	else
		append_dimension(buf, array, 0, elems, nulls, &at, element, ks_json_form(element, debezium));
}

/* The columns of a row type as texts; names and types are those of 'of', in 'kept'. */
static TupleDesc
texts_of_row(TupleDesc of, Form_pg_attribute *kept)
{
	int			n = 0;
	TupleDesc	texts;

	for (int i = 0; i < of->natts; i++)
		if (!TupleDescAttr(of, i)->attisdropped)
			kept[n++] = TupleDescAttr(of, i);
	texts = CreateTemplateTupleDesc(n);
	for (int i = 0; i < n; i++)
		TupleDescInitEntry(texts, i + 1, NULL, TEXTOID, -1, 0);
	return BlessTupleDesc(texts);
}

static void
append_composite(StringInfo buf, Oid type, char *s)
{
	TupleDesc	of = lookup_rowtype_tupdesc_copy(type, -1);
	Form_pg_attribute *kept = palloc(Max(of->natts, 1) * sizeof(*kept));
	TupleDesc	texts = texts_of_row(of, kept);
	HeapTupleHeader row = DatumGetHeapTupleHeader(OidInputFunctionCall(F_RECORD_IN, s, RECORDOID, texts->tdtypmod));
	HeapTupleData tup = {.t_len = HeapTupleHeaderGetDatumLength(row), .t_data = row};
	Datum	   *values = palloc(Max(texts->natts, 1) * sizeof(Datum));
	bool	   *nulls = palloc(Max(texts->natts, 1) * sizeof(bool));

	heap_deform_tuple(&tup, texts, values, nulls);
	appendStringInfoChar(buf, '{');
	for (int i = 0; i < texts->natts; i++)
	{
		Oid			base = getBaseType(kept[i]->atttypid);

		if (i > 0)
			appendStringInfoChar(buf, ',');
		escape_json(buf, NameStr(kept[i]->attname));
		appendStringInfoChar(buf, ':');
		if (nulls[i])
			appendStringInfoString(buf, "null");
		else
			ks_json_append(buf, base, ks_json_form(base, false), TextDatumGetCString(values[i]));
	}
	appendStringInfoChar(buf, '}');
}

void
ks_json_append(StringInfo buf, Oid type, KsJsonForm form, char *s)
{
	check_stack_depth();
	switch (form)
	{
		case KS_JSON_BOOL:
			appendStringInfoString(buf, *s == 't' ? "true" : "false");
			return;
		case KS_JSON_NUMBER:
			if (IsValidJsonNumber(s, strlen(s)))
				appendStringInfoString(buf, s);
			else
				escape_json(buf, s);
			return;
		case KS_JSON_JSON:
			appendStringInfoString(buf, s);
			return;
		case KS_JSON_TIMESTAMP:
		case KS_JSON_TIMESTAMPTZ:
			append_timestamp(buf, s, form == KS_JSON_TIMESTAMPTZ);
			return;
		case KS_JSON_ARRAY:
		case KS_JSON_DEBEZIUM_ARRAY:
			append_array(buf, type, s, form == KS_JSON_DEBEZIUM_ARRAY);
			return;
		case KS_JSON_COMPOSITE:
			append_composite(buf, type, s);
			return;
		case KS_JSON_BASE64:
			ks_json_append_base64(buf, s);
			return;
		case KS_JSON_BITS:
			append_bits(buf, s);
			return;
		case KS_JSON_STRING:
		case KS_JSON_JSON_TEXT:
			escape_json(buf, s);
			return;
	}
}
