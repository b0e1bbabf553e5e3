/*
 * envelope_schema.c
 *	  Schemas of Connect's JsonConverter, and values by their logical types.
 *
 * A value is written as text that the column's type reads: a decimal as its
 * digits, a number of days as a date.  A column of an integer type takes
 * numbers as they are.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/base64.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "envelope_schema.h"

/* --- schemas --- */

static bool
member(const KsJsonToken *object, const char *name, KsJsonToken *value)
{
	KsJson		json = {object->p, object->p + object->len};
	KsJsonToken n,
				v;
	bool		found = false;
	const char *p;

	if (object->type != KS_JSON_OBJECT)
		return false;
	p = ks_json_begin(&json, object->p);
	for (;;)
	{
		p = ks_json_next_member(&json, p, &n, &v);
		if (v.p == NULL)
			return found;
		if (ks_json_name_is(&n, name, strlen(name)))
		{
			*value = v;
			found = true;
		}
	}
}

static bool
is(const KsJsonToken *tok, const char *s)
{
	return tok->p && tok->len == (int) strlen(s) && memcmp(tok->p, s, tok->len) == 0;
}

static int64
parameter(const KsJsonToken *tok, const char *name)
{
	KsJsonToken params,
				value;

	if (!member(tok, "parameters", &params) || !member(&params, name, &value))
		return 0;
	return strtol(pnstrdup(value.p, value.len), NULL, 10);
}

static void
set_logical(KsSchema *schema, const KsJsonToken *tok, const KsJsonToken *name)
{
	static const struct
	{
		const char *name;
		KsLogical	kind;
		int64		unit;
	}			types[] = {
		{"org.apache.kafka.connect.data.Decimal", KS_DECIMAL, 0},
		{"org.apache.kafka.connect.data.Date", KS_DAYS, 0},
		{"org.apache.kafka.connect.data.Time", KS_TIME, 1000},
		{"org.apache.kafka.connect.data.Timestamp", KS_TIMESTAMP, 1000},
		{"io.debezium.time.Date", KS_DAYS, 0},
		{"io.debezium.time.Time", KS_TIME, 1000},
		{"io.debezium.time.MicroTime", KS_TIME, 1000000},
		{"io.debezium.time.NanoTime", KS_TIME, 1000000000},
		{"io.debezium.time.Timestamp", KS_TIMESTAMP, 1000},
		{"io.debezium.time.MicroTimestamp", KS_TIMESTAMP, 1000000},
		{"io.debezium.time.NanoTimestamp", KS_TIMESTAMP, 1000000000},
		{"io.debezium.time.MicroDuration", KS_DURATION, 1000000},
		{"io.debezium.data.VariableScaleDecimal", KS_VARIABLE_DECIMAL, 0},
		{"io.debezium.data.Json", KS_JSON_TEXT, 0},
		{"io.debezium.data.Bits", KS_BITS, 0},
		{"io.debezium.data.geometry.Point", KS_POINT, 0}
	};

	for (int i = 0; i < (int) lengthof(types); i++)
		if (is(name, types[i].name))
		{
			schema->kind = types[i].kind;
			schema->unit = schema->kind == KS_DECIMAL ? parameter(tok, "scale") :
				schema->kind == KS_BITS ? parameter(tok, "length") : types[i].unit;
		}
}

KsSchema *
ks_schema_parse(const KsJsonToken *tok)
{
	KsSchema   *schema = palloc0(sizeof(KsSchema));
	KsJsonToken type = {.p = NULL},
				name = {.p = NULL},
				list,
				value;

	(void) member(tok, "type", &type);
	(void) member(tok, "name", &name);
	if (is(&type, "bytes"))
		schema->kind = KS_BYTES;
	else if (is(&type, "array") && member(tok, "items", &value))
	{
		schema->kind = KS_LIST;
		schema->items = ks_schema_parse(&value);
	}
	else if (is(&type, "struct"))
		schema->kind = KS_STRUCT;
	set_logical(schema, tok, &name);
	if (schema->kind == KS_STRUCT && member(tok, "fields", &list) && list.type == KS_JSON_ARRAY)
	{
		KsJson		json = {list.p, list.p + list.len};
		const char *p = ks_json_begin(&json, list.p);
		int			max = 0;

		for (;;)
		{
			KsJsonToken field;
			StringInfoData buf;

			p = ks_json_next_element(&json, p, &value);
			if (value.p == NULL)
				break;
			if (!member(&value, "field", &field) || field.type != KS_JSON_STRING)
				continue;
			if (schema->nfields >= max)
			{
				max = max ? 2 * max : 16;
				schema->names = schema->names ? repalloc(schema->names, max * sizeof(char *)) :
					palloc(max * sizeof(char *));
				schema->fields = schema->fields ? repalloc(schema->fields, max * sizeof(KsSchema *)) :
					palloc(max * sizeof(KsSchema *));
			}
			initStringInfo(&buf);
			ks_json_unescape(&field, true, &buf);
			schema->names[schema->nfields] = buf.data;
			schema->fields[schema->nfields++] = ks_schema_parse(&value);
		}
	}
	return schema;
}

KsSchema *
ks_schema_field(const KsSchema *schema, const char *name, int len)
{
	for (int i = 0; schema && i < schema->nfields; i++)
		if ((int) strlen(schema->names[i]) == len && memcmp(schema->names[i], name, len) == 0)
			return schema->fields[i];
	return NULL;
}

/* --- values --- */

static void
bad_value(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("value does not fit its schema"),
			 errdetail("It is not %s.", what)));
}

static int64
number_of(const KsJsonToken *tok, const char *what)
{
	char	   *end;
	char	   *s = pnstrdup(tok->p, tok->len);
	int64		v;

	errno = 0;
	v = strtoll(s, &end, 10);
	if (tok->type != KS_JSON_NUMBER || *end || errno)
		bad_value(what);
	return v;
}

static uint8 *
bytes_of_base64(const KsJsonToken *tok, int *len)
{
	int			max = pg_b64_dec_len(tok->len) + 3;
	uint8	   *out = palloc(max);

	*len = tok->type == KS_JSON_STRING && !tok->escaped ?
		pg_b64_decode(tok->p, tok->len, (void *) out, max) : -1;
	if (*len < 0)
		bad_value("base64");
	return out;
}

/* Big-endian two's complement times 10^-scale, by long division. */
static char *
decimal_of(const KsJsonToken *tok, int64 scale)
{
	int			len;
	uint8	   *b = bytes_of_base64(tok, &len);
	bool		neg = len > 0 && (b[0] & 0x80);
	char	   *digits = palloc(len * 3 + 2);
	int			n = 0;
	StringInfoData out;

	if (neg)
		for (int i = len - 1, carry = 1; i >= 0; i--)
		{
			int			v = (uint8) ~b[i] + carry;

			b[i] = (uint8) v;
			carry = v >> 8;
		}
	for (int from = 0; from < len;)
	{
		int			rest = 0;

		for (int i = from; i < len; i++)
		{
			int			v = rest * 256 + b[i];

			b[i] = v / 10;
			rest = v % 10;
		}
		digits[n++] = '0' + rest;
		while (from < len && b[from] == 0)
			from++;
	}
	initStringInfo(&out);
	if (neg)
		appendStringInfoChar(&out, '-');
	if (n == 0)
		digits[n++] = '0';
	if (scale < -16383 || scale > 16383)
		bad_value("a number of this scale");
	for (int i = Max(n, (int) scale + 1) - 1; i >= 0; i--)
	{
		appendStringInfoChar(&out, i < n ? digits[i] : '0');
		if (i == scale && i > 0)
			appendStringInfoChar(&out, '.');
	}
	for (; scale < 0; scale++)
		appendStringInfoChar(&out, '0');
	return out.data;
}

static char *
date_text(int64 days)
{
	int			y,
				m,
				d;

	if (days < -2440588 || days > INT64CONST(2145042904))
		bad_value("a date");
	j2date((int) (days + UNIX_EPOCH_JDATE), &y, &m, &d);
	return psprintf("%04d-%02d-%02d%s", y > 0 ? y : 1 - y, m, d, y > 0 ? "" : " BC");
}

/* The server's precision is the microsecond; more is cut off. */
static int64
to_micros(int64 v, int64 unit)
{
	int64		q;

	if (unit > 1000000)
	{
		q = v / (unit / 1000000);
		return q * (unit / 1000000) > v ? q - 1 : q;
	}
	q = 1000000 / unit;
	if (v > PG_INT64_MAX / q || v < PG_INT64_MIN / q)
		bad_value("a time");
	return v * q;
}

static char *
clock_text(int64 us)
{
	return psprintf("%02lld:%02d:%02d.%06d", (long long) (us / USECS_PER_HOUR),
					(int) (us / USECS_PER_MINUTE % 60), (int) (us / USECS_PER_SEC % 60),
					(int) (us % USECS_PER_SEC));
}

static char *
timestamp_text(int64 us)
{
	int64		days = us / USECS_PER_DAY;
	char	   *date;
	char	   *bc;

	/* what Debezium writes for infinities */
	if (us >= INT64CONST(9223372036825200000))
		return "infinity";
	if (us <= INT64CONST(-9223372036832400000))
		return "-infinity";
	if (days * USECS_PER_DAY > us)
		days--;
	date = date_text(days);
	bc = strchr(date, ' ');
	return psprintf("%.*s %sZ%s", bc ? (int) (bc - date) : (int) strlen(date), date,
					clock_text(us - days * USECS_PER_DAY), bc ? bc : "");
}

static char *
bits_text(const KsJsonToken *tok, int64 length)
{
	int			len;
	uint8	   *b = bytes_of_base64(tok, &len);
	int			n = length > 0 && length <= len * 8 ? (int) length : len * 8;
	char	   *s = palloc(n + 1);

	for (int i = 0; i < n; i++)
		s[n - 1 - i] = '0' + ((b[i / 8] >> (i % 8)) & 1);
	s[n] = '\0';
	return s;
}

static void
set_text(KsJsonToken *tok, char *s)
{
	tok->type = KS_JSON_STRING;
	tok->escaped = false;
	tok->p = s;
	tok->len = strlen(s);
}

static void rewrite_list(const KsSchema *schema, KsJsonToken *tok);

/* A token whose text the column's type reads, in the current context. */
static void
rewrite(const KsSchema *schema, KsJsonToken *tok)
{
	KsJsonToken a,
				b;

	if (tok->type == KS_JSON_NULL)
		return;
	switch (schema->kind)
	{
		case KS_DECIMAL:
			if (tok->type == KS_JSON_STRING)
			{
				set_text(tok, decimal_of(tok, schema->unit));
				tok->type = KS_JSON_NUMBER;
			}
			break;
		case KS_VARIABLE_DECIMAL:
			if (!member(tok, "scale", &a) || !member(tok, "value", &b))
				bad_value("a decimal with its scale");
			set_text(tok, decimal_of(&b, number_of(&a, "a scale")));
			tok->type = KS_JSON_NUMBER;
			break;
		case KS_DAYS:
			set_text(tok, date_text(number_of(tok, "a number of days")));
			break;
		case KS_TIME:
			set_text(tok, clock_text(to_micros(number_of(tok, "a time"), schema->unit)));
			break;
		case KS_TIMESTAMP:
			set_text(tok, timestamp_text(to_micros(number_of(tok, "a timestamp"), schema->unit)));
			break;
		case KS_DURATION:
			{
				int64		us = number_of(tok, "a duration");

				set_text(tok, psprintf("%s%s", us < 0 ? "-" : "", clock_text(us < 0 ? -us : us)));
				break;
			}
		case KS_BITS:
			set_text(tok, bits_text(tok, schema->unit));
			break;
		case KS_POINT:
			if (!member(tok, "x", &a) || !member(tok, "y", &b))
				bad_value("a point");
			set_text(tok, psprintf("(%.*s,%.*s)", a.len, a.p, b.len, b.p));
			break;
		case KS_LIST:
			if (tok->type == KS_JSON_ARRAY && schema->items->kind != KS_PLAIN)
				rewrite_list(schema->items, tok);
			break;
		default:
			break;
	}
}

static void
rewrite_list(const KsSchema *schema, KsJsonToken *tok)
{
	KsJson		json = {tok->p, tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	StringInfoData out;
	KsJsonToken v;

	initStringInfo(&out);
	appendStringInfoChar(&out, '[');
	for (;;)
	{
		p = ks_json_next_element(&json, p, &v);
		if (v.p == NULL)
			break;
		if (out.len > 1)
			appendStringInfoChar(&out, ',');
		if (schema->kind == KS_BYTES && v.type == KS_JSON_STRING)
		{
			int			len;
			uint8	   *b = bytes_of_base64(&v, &len);

			appendStringInfoString(&out, "\"\\\\x");
			for (int i = 0; i < len; i++)
				appendStringInfo(&out, "%02x", b[i]);
			appendStringInfoChar(&out, '"');
			continue;
		}
		rewrite(schema, &v);
		ks_json_append_raw(&v, true, &out);
	}
	appendStringInfoChar(&out, ']');
	tok->p = out.data;
	tok->len = out.len;
	tok->escaped = memchr(out.data, '\\', out.len) != NULL;
}

Datum
ks_schema_convert(KsDecoder *d, KsColumn *col, const KsSchema *schema,
				  const KsJsonToken *tok, bool *isnull)
{
	KsJsonToken t = *tok;
	KsTypeKind	kind = col->type.kind;

	if (t.type == KS_JSON_STRING && col->type.typid == BYTEAOID &&
		(schema ? schema->kind == KS_BYTES : !t.escaped))
	{
		int			len;
		uint8	   *b = bytes_of_base64(&t, &len);

		*isnull = false;
		return PointerGetDatum(cstring_to_text_with_len((char *) b, len));
	}
	if ((t.type == KS_JSON_TRUE || t.type == KS_JSON_FALSE) &&
		(col->type.typid == BITOID || col->type.typid == VARBITOID))
		set_text(&t, t.type == KS_JSON_TRUE ? "1" : "0");
	if (schema && schema->kind == KS_JSON_TEXT && kind == KS_TYPE_JSON && t.type == KS_JSON_STRING)
	{
		StringInfoData buf;

		initStringInfo(&buf);
		ks_json_unescape(&t, d->cv.strip_nul, &buf);
		*isnull = false;
		return ks_convert_text(&d->cv, &col->type, buf.data, buf.len);
	}
	if (schema == NULL && col->type.typid == DATEOID && t.type == KS_JSON_NUMBER)
		set_text(&t, date_text(number_of(&t, "a number of days")));
	if (schema && schema->kind != KS_PLAIN &&
		!(t.type == KS_JSON_NUMBER &&
		  (kind == KS_TYPE_INT2 || kind == KS_TYPE_INT4 || kind == KS_TYPE_INT8)))
		rewrite(schema, &t);
	return ks_convert_json(&d->cv, &col->type, &t, isnull);
}
