/*
 * avro_text.c
 *	  Avro's values as texts: of one value, and of any as JSON.
 *
 * In JSON, bytes are what the server writes for a bytea (\x00ff), dates and times
 * are ISO 8601, decimals are numbers, and what JSON has no number for is a string
 * (NaN).  A union is the value of its branch.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/float.h"

#include "format/avro_read.h"
#include "format/envelope_text.h"
#include "format/scalar.h"

/* A number with so many digits and bits at most; longer ones are cut before. */
static void
set_decimal(KsAvroReader *r, const KsAvroNode *node, const char *s, int len, KsJsonToken *tok)
{
	uint8	   *copy;
	char	   *text;

	/* what only repeats the sign */
	while (len > 1 && (uint8) (s[0] ^ (s[1] & 0x80 ? 0xff : 0)) == 0)
		s++, len--;
	/* those of 8 bytes numeric columns take as they are (ks_scalar_decimal()) */
	if (len > Max(node->precision / 2 + 1, (int) sizeof(int64)))
		ks_avro_bad(r, "A decimal has more digits than its schema says");
	copy = palloc(len + 1);
	memcpy(copy, s, len);
	text = ks_text_decimal_bytes(copy, len, node->scale);
	ks_scalar_set(tok, KS_JSON_NUMBER, text, strlen(text));
}

static void
set_duration(KsAvroReader *r, const uint8 *p, KsJsonToken *tok)
{
	uint32		v[3];
	char	   *text;

	for (int i = 0; i < 3; i++)
		v[i] = p[i * 4] | p[i * 4 + 1] << 8 | p[i * 4 + 2] << 16 | (uint32) p[i * 4 + 3] << 24;
	text = psprintf("P%uM%uDT%u.%03uS", v[0], v[1], v[2] / 1000, v[2] % 1000);
	ks_scalar_set(tok, KS_JSON_STRING, text, strlen(text));
}

static void
set_uuid(const uint8 *p, KsJsonToken *tok)
{
	char	   *out = palloc(37);
	char	   *q = out;

	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*q++ = '-';
		q += hex_encode((const char *) p + i, 1, q);
	}
	ks_scalar_set(tok, KS_JSON_STRING, out, q - out);
}

static void
set_bytes(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok)
{
	int			len = node->size;
	const char *s = node->type == KS_AVRO_FIXED ? (const char *) ks_avro_take(r, len) :
		ks_avro_bytes(r, &len);

	switch (node->logical)
	{
		case KS_AVRO_DECIMAL:
			set_decimal(r, node, s, len, tok);
			break;
		case KS_AVRO_DURATION:
			set_duration(r, (const uint8 *) s, tok);
			break;
		case KS_AVRO_UUID:
			set_uuid((const uint8 *) s, tok);
			break;
		case KS_AVRO_BITS:
			s = ks_text_bits_of((const uint8 *) s, len, node->precision, Max(r->padded_bits, KS_PADDED_BITS));
			ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
			break;
		default:
			ks_scalar_set_hex(tok, s, len);
			break;
	}
}

/* ISO 8601, but for years before 1. */
static void
set_timestamp(const KsAvroNode *node, int64 v, KsJsonToken *tok)
{
	char	   *s = pstrdup(ks_text_timestamp(v, node->unit, node->infinite));
	char	   *zone = strchr(s, 'Z');
	char	   *space = strchr(s, ' ');

	if (zone && node->logical == KS_AVRO_LOCAL_TIMESTAMP)
		memmove(zone, zone + 1, strlen(zone));
	if (space && strchr(space + 1, ' ') == NULL)
		*space = 'T';
	ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
}

static void
set_integer(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok)
{
	int64		v = node->type == KS_AVRO_INT ? ks_avro_int(r) : ks_avro_long(r);
	char	   *s;

	switch (node->logical)
	{
		case KS_AVRO_DATE:
			s = ks_text_date(v, node->infinite);
			ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
			break;
		case KS_AVRO_TIME:
			s = ks_text_time(v, node->unit, false);
			ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
			break;
		case KS_AVRO_TIMESTAMP:
		case KS_AVRO_LOCAL_TIMESTAMP:
			set_timestamp(node, v, tok);
			break;
		case KS_AVRO_MICROSECONDS:
			s = ks_text_duration(v);
			ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
			break;
		default:
			ks_scalar_set(tok, KS_JSON_NUMBER, r->buf, pg_lltoa(v, r->buf));
			break;
	}
}

static void
set_float(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok)
{
	bool		single = node->type == KS_AVRO_FLOAT;
	double		v = single ? ks_avro_float(r) : ks_avro_double(r);

	ks_scalar_set_float(tok, v, single, r->buf);
}

void
ks_avro_variable_decimal(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok)
{
	int64		scale = 0;
	const char *s = NULL;
	int			len = 0;
	uint8	   *copy;
	char	   *text;

	for (int i = 0; i < node->n; i++)
	{
		if (strcmp(node->names[i].name, "scale") == 0 && node->types[i]->type == KS_AVRO_INT)
			scale = ks_avro_int(r);
		else if (strcmp(node->names[i].name, "value") == 0 && node->types[i]->type == KS_AVRO_BYTES)
			s = ks_avro_bytes(r, &len);
		else
			ks_avro_skip(r, node->types[i]);
	}
	if (s == NULL)
		ks_value_bad("a decimal with its scale");
	/* what only repeats the sign, so that the rest can be judged by its length */
	while (len > 1 && (uint8) (s[0] ^ (s[1] & 0x80 ? 0xff : 0)) == 0)
		s++, len--;
	copy = palloc(len + 1);
	memcpy(copy, s, len);
	text = ks_text_decimal_bytes(copy, len, scale);
	ks_scalar_set(tok, KS_JSON_NUMBER, text, strlen(text));
}

void
ks_avro_point(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok)
{
	double		at[2] = {0, 0};
	int			found = 0;
	char	   *text;

	for (int i = 0; i < node->n; i++)
	{
		const char *name = node->names[i].name;

		if ((strcmp(name, "x") == 0 || strcmp(name, "y") == 0) && node->types[i]->type == KS_AVRO_DOUBLE)
		{
			at[*name - 'x'] = ks_avro_double(r);
			found |= 1 << (*name - 'x');
		}
		else
			ks_avro_skip(r, node->types[i]);
	}
	if (found != 3)
		ks_value_bad("a point");
	text = psprintf("(%s,%s)", float8out_internal(at[0]), float8out_internal(at[1]));
	ks_scalar_set(tok, KS_JSON_STRING, text, strlen(text));
}

void
ks_avro_scalar(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok)
{
	const char *s;
	int			len;

	switch (node->type)
	{
		case KS_AVRO_NULL:
			ks_scalar_set(tok, KS_JSON_NULL, "null", 4);
			break;
		case KS_AVRO_BOOLEAN:
			if (ks_avro_bool(r))
				ks_scalar_set(tok, KS_JSON_TRUE, "true", 4);
			else
				ks_scalar_set(tok, KS_JSON_FALSE, "false", 5);
			break;
		case KS_AVRO_INT:
		case KS_AVRO_LONG:
			set_integer(r, node, tok);
			break;
		case KS_AVRO_FLOAT:
		case KS_AVRO_DOUBLE:
			set_float(r, node, tok);
			break;
		case KS_AVRO_STRING:
			s = ks_avro_bytes(r, &len);
			ks_scalar_to_server(r->d, &s, &len);
			ks_scalar_set(tok, KS_JSON_STRING, s, len);
			break;
		case KS_AVRO_ENUM:
			{
				const KsField *symbol = &node->names[ks_avro_choice(r, node)];

				ks_scalar_set(tok, KS_JSON_STRING, symbol->name, symbol->len);
				break;
			}
		default:
			set_bytes(r, node, tok);
			break;
	}
}

/* --- JSON --- */

static void
append_scalar(KsAvroReader *r, const KsAvroNode *node, StringInfo out)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	KsJsonToken tok;

	if (node->type == KS_AVRO_RECORD)
		ks_avro_variable_decimal(r, node, &tok);
	else
		ks_avro_scalar(r, node, &tok);
	MemoryContextSwitchTo(old);
	ks_scalar_append(out, &tok);
	MemoryContextReset(r->scratch);
}

static void
append_record(KsAvroReader *r, const KsAvroNode *node, StringInfo out)
{
	appendStringInfoChar(out, '{');
	for (int i = 0; i < node->n; i++)
	{
		if (i)
			appendStringInfoChar(out, ',');
		ks_scalar_append_string(out, node->names[i].name, node->names[i].len);
		appendStringInfoChar(out, ':');
		ks_avro_append_json(r, node->types[i], out);
	}
	appendStringInfoChar(out, '}');
}

static void
append_key(KsAvroReader *r, StringInfo out)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	int			len;
	const char *s = ks_avro_bytes(r, &len);

	ks_scalar_to_server(r->d, &s, &len);
	MemoryContextSwitchTo(old);
	ks_scalar_append_string(out, s, len);
	MemoryContextReset(r->scratch);
	appendStringInfoChar(out, ':');
}

static void
append_blocks(KsAvroReader *r, const KsAvroNode *node, StringInfo out)
{
	bool		map = node->type == KS_AVRO_MAP;
	bool		first = true;
	int64		size;

	appendStringInfoChar(out, map ? '{' : '[');
	for (;;)
	{
		int64		n = ks_avro_block(r, node, &size);
		const uint8 *begin = r->p;

		if (n == 0)
			break;
		for (; n > 0; n--, first = false)
		{
			CHECK_FOR_INTERRUPTS();
			if (!first)
				appendStringInfoChar(out, ',');
			if (map)
				append_key(r, out);
			ks_avro_append_json(r, node->types[0], out);
		}
		ks_avro_block_end(r, begin, size);
	}
	appendStringInfoChar(out, map ? '}' : ']');
}

void
ks_avro_append_json(KsAvroReader *r, const KsAvroNode *node, StringInfo out)
{
	if (node->type == KS_AVRO_UNION)
		node = node->types[ks_avro_choice(r, node)];
	if (node->width == 0)
		ks_avro_spend(r);
	if (ks_avro_is_scalar(node) || node->logical == KS_AVRO_VARIABLE_DECIMAL)
	{
		append_scalar(r, node, out);
		return;
	}
	check_stack_depth();
	ks_avro_enter(r);
	if (node->type == KS_AVRO_RECORD)
		append_record(r, node, out);
	else
		append_blocks(r, node, out);
	r->depth--;
}
