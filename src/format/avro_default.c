/*
 * avro_default.c
 *	  Defaults of an Avro schema's fields as the defaults of columns.
 *
 * In a schema a default is JSON: bytes are a string whose characters are their codes,
 * dates and times are numbers.  That of a union is of one of its branches: the first
 * one that has such values.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/lsyscache.h"

#include "format/avro_default.h"
#include "format/envelope_text.h"

#define MAX_DIGITS	18			/* that an int64 has for sure */
#define MAX_DAYS	1000000		/* since 1970: what is beyond is no default */

/* Four digits at p, -1: they are not. */
static int
code_at(const char *p, const char *end)
{
	int			c = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		d = p[i];

		if (!isxdigit((unsigned char) d))
			return -1;
		c = c * 16 + (d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
	}
	return c;
}

/* Can the server's encoding have what is escaped?  Halves of a character are none. */
static bool
can_unescape(const KsJsonToken *tok)
{
	const char *end = tok->p + tok->len;

	for (const char *p = tok->p; tok->escaped && p < end; p++)
	{
		int			c;

		if (*p != '\\')
			continue;
		p++;
		c = p < end && *p == 'u' ? code_at(p + 1, end) : 0;
		if (c < 0 || c >= 0xd800 || (c > 0x7f && GetDatabaseEncoding() != PG_UTF8))
			return false;
	}
	return true;
}

char *
ks_avro_word(const KsJsonToken *tok)
{
	StringInfoData buf;

	if (!can_unescape(tok))
		return pnstrdup(tok->p, tok->len);
	initStringInfo(&buf);
	ks_json_unescape(tok, true, &buf);
	return buf.data;
}

/* A whole number, if it has no more digits than that. */
static bool
integer_of(const KsJsonToken *tok, int64 *v)
{
	int			i = 0;

	if (tok->type != KS_JSON_NUMBER)
		return false;
	if (tok->p[0] == '-')
		i++;
	if (tok->len - i < 1 || tok->len - i > MAX_DIGITS)
		return false;
	for (; i < tok->len; i++)
		if (tok->p[i] < '0' || tok->p[i] > '9')
			return false;
	*v = strtoll(pnstrdup(tok->p, tok->len), NULL, 10);
	return true;
}

static bool
is_near(int64 days)
{
	return days > -MAX_DAYS && days < MAX_DAYS;
}

static char *
default_of_integer(const KsAvroNode *node, const KsJsonToken *tok)
{
	int64		v;

	if (!integer_of(tok, &v) || (node->type == KS_AVRO_INT && (v < PG_INT32_MIN || v > PG_INT32_MAX)))
		return NULL;
	switch (node->logical)
	{
		case KS_AVRO_PLAIN:
			return psprintf(INT64_FORMAT, v);
		case KS_AVRO_DATE:
			return is_near(v) ? ks_text_date(v, false) : NULL;
		case KS_AVRO_TIME:
			return v >= 0 && v < INT64CONST(86400) * node->unit ? ks_text_time(v, node->unit, true) : NULL;
		case KS_AVRO_TIMESTAMP:
		case KS_AVRO_LOCAL_TIMESTAMP:
			return is_near(v / node->unit / 86400) ? ks_text_timestamp(v, node->unit, false) : NULL;
		default:
			return NULL;
	}
}

/* The character at *p, which is passed; -1: it is none of a byte. */
static int
byte_at(const char **p, const char *end)
{
	static const char escapes[] = "bfnrt";
	static const char meant[] = "\b\f\n\r\t";
	const char *at = *p;
	const char *found;
	int			step;

	if (*at != '\\')
	{
		step = pg_utf_mblen((const unsigned char *) at);
		*p += step;
		return *p > end ? -1 : (int) utf8_to_unicode((const unsigned char *) at);
	}
	*p += 2;
	if (*p > end)
		return -1;
	if (at[1] == 'u')
	{
		*p += 4;
		return code_at(at + 2, end);
	}
	found = strchr(escapes, at[1]);
	return found ? meant[found - escapes] : at[1];
}

/* Characters as their codes; NULL: some are none of bytes. */
static uint8 *
bytes_of(const KsJsonToken *tok, int *len)
{
	char	   *s = pnstrdup(tok->p, tok->len);
	const char *p = pg_server_to_any(s, tok->len, PG_UTF8);
	const char *end = p + strlen(p);
	uint8	   *out = palloc(tok->len + 1);

	*len = 0;
	while (p < end)
	{
		int			c = byte_at(&p, end);

		if (c < 0 || c > 255)
			return NULL;
		out[(*len)++] = (uint8) c;
	}
	return out;
}

static char *
default_of_bytes(const KsAvroNode *node, const KsJsonToken *tok, Oid typid)
{
	StringInfoData buf;
	int			len;
	uint8	   *bytes = bytes_of(tok, &len);

	if (bytes == NULL || (node->type == KS_AVRO_FIXED && len != node->size))
		return NULL;
	if (node->logical == KS_AVRO_DECIMAL)
		return len > 0 && len <= node->precision / 2 + 1 ? ks_text_decimal_bytes(bytes, len, node->scale) : NULL;
	if (node->logical != KS_AVRO_PLAIN || typid != BYTEAOID)
		return NULL;
	initStringInfo(&buf);
	appendStringInfoString(&buf, "\\x");
	for (int i = 0; i < len; i++)
		appendStringInfo(&buf, "%02x", bytes[i]);
	return buf.data;
}

/* What is JSON in the column too. */
static char *
default_of_structure(const KsAvroNode *node, const KsJsonToken *tok, Oid typid)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	KsJsonToken first;
	StringInfoData buf;

	if (typid == JSONBOID)
	{
		if (!can_unescape(tok))
			return NULL;
		initStringInfo(&buf);
		ks_json_append_raw(tok, true, &buf);
		return buf.data;
	}
	if (node->type != KS_AVRO_ARRAY || tok->type != KS_JSON_ARRAY || !OidIsValid(get_element_type(typid)))
		return NULL;
	(void) ks_json_next_element(&json, ks_json_begin(&json, tok->p), &first);
	return first.p == NULL ? pstrdup("{}") : NULL;
}

/* Has a type such values, as far as JSON tells? */
static bool
is_of(const KsAvroNode *node, const KsJsonToken *tok)
{
	switch (node->type)
	{
		case KS_AVRO_NULL:
			return tok->type == KS_JSON_NULL;
		case KS_AVRO_BOOLEAN:
			return tok->type == KS_JSON_TRUE || tok->type == KS_JSON_FALSE;
		case KS_AVRO_INT:
		case KS_AVRO_LONG:
		case KS_AVRO_FLOAT:
		case KS_AVRO_DOUBLE:
			return tok->type == KS_JSON_NUMBER;
		case KS_AVRO_STRING:
		case KS_AVRO_BYTES:
		case KS_AVRO_FIXED:
		case KS_AVRO_ENUM:
			return tok->type == KS_JSON_STRING;
		case KS_AVRO_ARRAY:
			return tok->type == KS_JSON_ARRAY;
		case KS_AVRO_MAP:
		case KS_AVRO_RECORD:
			return tok->type == KS_JSON_OBJECT;
		default:
			return false;
	}
}

char *
ks_avro_default(const KsAvroNode *node, const KsJsonToken *tok, Oid typid)
{
	if (node->type == KS_AVRO_UNION)
	{
		for (int i = 0; i < node->n; i++)
			if (is_of(node->types[i], tok))
				return ks_avro_default(node->types[i], tok, typid);
		return NULL;
	}
	if (tok->type == KS_JSON_NULL || !is_of(node, tok))
		return NULL;
	/* a union of several types, and what has none of its own */
	if (typid == JSONBOID && node->logical == KS_AVRO_PLAIN && node->type != KS_AVRO_BYTES && node->type != KS_AVRO_FIXED)
		return default_of_structure(node, tok, typid);
	switch (node->type)
	{
		case KS_AVRO_BOOLEAN:
			return pstrdup(tok->type == KS_JSON_TRUE ? "true" : "false");
		case KS_AVRO_INT:
		case KS_AVRO_LONG:
			return default_of_integer(node, tok);
		case KS_AVRO_FLOAT:
		case KS_AVRO_DOUBLE:
			return pnstrdup(tok->p, tok->len);
		case KS_AVRO_STRING:
		case KS_AVRO_ENUM:
			return ks_avro_word(tok);
		case KS_AVRO_BYTES:
		case KS_AVRO_FIXED:
			return default_of_bytes(node, tok, typid);
		default:
			return node->logical == KS_AVRO_PLAIN ? default_of_structure(node, tok, typid) : NULL;
	}
}
