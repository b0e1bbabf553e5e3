/*
 * json.c
 *	  A validating JSON scanner that hands out slices of its input.
 *
 * The walk over a record's members is one pass: each member's value is
 * validated as it is passed over.  Nested values are validated by an explicit
 * loop with a depth counter and a bit stack, so that no input can exhaust the
 * C stack.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "format/json_scan.h"

void
ks_json_error(const KsJson *json, const char *p)
{
	if (p >= json->end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid JSON"),
				 errdetail("The input ends unexpectedly after %d bytes.",
						   (int) (json->end - json->start))));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("invalid JSON"),
			 errdetail("Unexpected byte 0x%02x at position %d.",
					   (unsigned char) *p, (int) (p - json->start) + 1)));
}

void
ks_json_word_error(const KsJson *json, const char *p, const char *word)
{
	while (p < json->end && *p == *word)
		p++, word++;
	ks_json_error(json, p);
}

const char *
ks_json_scan_escaped(const KsJson *json, const char *p)
{
	const char *end = json->end;

	for (;; p = ks_json_find_special(json, p))
	{
		if (p >= end)
			ks_json_error(json, p);
		if (*p == '"')
			return p + 1;
		if (*p != '\\')
			ks_json_error(json, p);
		if (++p >= end)
			ks_json_error(json, p);
		switch (*p)
		{
			case '"':
			case '\\':
			case '/':
			case 'b':
			case 'f':
			case 'n':
			case 'r':
			case 't':
				p++;
				break;
			case 'u':
				p++;
				for (int i = 0; i < 4; i++, p++)
					if (p >= end || !isxdigit((unsigned char) *p))
						ks_json_error(json, p);
				break;
			default:
				ks_json_error(json, p);
		}
	}
}

KS_NORETURN static void too_deep(void);

static void
too_deep(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
			 errmsg("JSON is nested too deeply"),
			 errdetail("The limit is %d levels.", KS_JSON_MAX_DEPTH)));
}

/* Validated; p is at the opening bracket. */
const char *
ks_json_scan_nested(const KsJson *json, const char *p, bool *escaped)
{
	const char *end = json->end;
	uint64		outer[KS_JSON_MAX_DEPTH / 64];	/* what the levels around had, by 64 */
	uint64		objects = 0;	/* by level, the innermost is bit 0: is it an object? */
	int			depth = 0;
	bool		any = false;
	KsJsonToken t;

	for (;;)
	{
		char		close;

		CHECK_FOR_INTERRUPTS();
		/* here p is at the beginning of a value */
		if (unlikely(p >= end))
			ks_json_error(json, p);
		if (*p == '{' || *p == '[')
		{
			close = *p + 2;
			if (unlikely(depth >= KS_JSON_MAX_DEPTH))
				too_deep();
			if (unlikely(depth % 64 == 0 && depth > 0))
				outer[depth / 64 - 1] = objects;
			objects = objects << 1 | (*p == '{');
			depth++;
			p = ks_json_skip_space(p + 1, end);
			if (likely(p >= end || *p != close))
				goto member;
		}
		else
		{
			p = ks_json_scan_scalar(json, p, &t);
			any |= t.escaped;
			close = (objects & 1) ? '}' : ']';
			p = ks_json_after_value(json, p, close);
		}
		while (p < end && *p == close)
		{
			p++;
			objects >>= 1;
			if (--depth == 0)
			{
				*escaped = any;
				return p;
			}
			if (unlikely(depth % 64 == 0))
				objects = outer[depth / 64 - 1];
			close = (objects & 1) ? '}' : ']';
			p = ks_json_after_value(json, p, close);
		}
member:
		if (objects & 1)
		{
			p = ks_json_scan_name(json, p, &t);
			any |= t.escaped;
		}
	}
}

void
ks_json_document(const KsJson *json, KsJsonToken *tok)
{
	const char *p = ks_json_skip_space(json->start, json->end);

	ks_json_finish(json, ks_json_scan_value(json, p, tok));
}

void
ks_json_finish(const KsJson *json, const char *p)
{
	p = ks_json_skip_space(p, json->end);
	if (p != json->end)
		ks_json_error(json, p);
}

/* Behind the opening bracket. */
const char *
ks_json_begin(const KsJson *json, const char *p)
{
	return ks_json_skip_space(p + 1, json->end);
}

/*
 * At the closing bracket it sets value->p to NULL and returns the position
 * behind it, for ks_json_finish().
 */
const char *
ks_json_next_member(const KsJson *json, const char *p, KsJsonToken *name,
					KsJsonToken *value)
{
	const char *end = json->end;

	CHECK_FOR_INTERRUPTS();
	if (p >= end)
		ks_json_error(json, p);
	if (*p == '}')
	{
		value->p = NULL;
		return p + 1;
	}
	p = ks_json_scan_value(json, ks_json_scan_name(json, p, name), value);
	return ks_json_after_value(json, p, '}');
}

const char *
ks_json_next_element(const KsJson *json, const char *p, KsJsonToken *value)
{
	CHECK_FOR_INTERRUPTS();
	if (p >= json->end)
		ks_json_error(json, p);
	if (*p == ']')
	{
		value->p = NULL;
		return p + 1;
	}
	p = ks_json_scan_value(json, p, value);
	return ks_json_after_value(json, p, ']');
}

static unsigned int
hex4(const char *p)
{
	unsigned int v = 0;

	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];

		v = v * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

static void
nul_error(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
			 errmsg("unsupported Unicode escape sequence"),
			 errdetail("\\u0000 cannot be stored in a column of this type."),
			 errhint("The sink's setting on_nul => 'strip' leaves such characters out.")));
}

/*
 * One \u escape, p behind the u; returns the code point, and the position
 * behind a surrogate pair in *next.
 */
static pg_wchar
scan_unicode(const char *p, const char *end, const char **next)
{
	pg_wchar	c = hex4(p);

	*next = p + 4;
	if (is_utf16_surrogate_first(c) && end - p >= 10 && p[4] == '\\' && p[5] == 'u')
	{
		pg_wchar	second = hex4(p + 6);

		if (is_utf16_surrogate_second(second))
		{
			*next = p + 10;
			return surrogate_pair_to_codepoint(c, second);
		}
	}
	if (is_utf16_surrogate_first(c) || is_utf16_surrogate_second(c))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid JSON"),
				 errdetail("A Unicode surrogate is not part of a pair.")));
	return c;
}

/* What is before the next escape, which is returned; or the end. */
static const char *
append_plain(const char *p, const char *end, StringInfo out)
{
	const char *q = memchr(p, '\\', end - p);

	if (q == NULL)
		q = end;
	appendBinaryStringInfo(out, p, q - p);
	return q;
}

bool
ks_json_unescape(const KsJsonToken *tok, bool strip_nul, StringInfo out)
{
	const char *p = tok->p;
	const char *end = p + tok->len;
	bool		stripped = false;

	while (p < end)
	{
		const char *q = append_plain(p, end, out);

		if (q == end)
			break;
		p = q + 2;
		switch (q[1])
		{
			case 'b':
				appendStringInfoChar(out, '\b');
				break;
			case 'f':
				appendStringInfoChar(out, '\f');
				break;
			case 'n':
				appendStringInfoChar(out, '\n');
				break;
			case 'r':
				appendStringInfoChar(out, '\r');
				break;
			case 't':
				appendStringInfoChar(out, '\t');
				break;
			case 'u':
				{
					pg_wchar	c = scan_unicode(p, end, &p);
					unsigned char buf[MAX_UNICODE_EQUIVALENT_STRING + 1];

					if (c == 0)
					{
						if (!strip_nul)
							nul_error();
						stripped = true;
						break;
					}
					pg_unicode_to_server(c, buf);
					appendStringInfoString(out, (char *) buf);
					break;
				}
			default:
				appendStringInfoChar(out, q[1]);
				break;
		}
	}
	return stripped;
}

bool
ks_json_plain_name(const KsJsonToken *name, StringInfo buf, KsJsonToken *plain)
{
	if (buf->data == NULL)
		initStringInfo(buf);
	resetStringInfo(buf);
	if (ks_json_unescape(name, true, buf))
		return false;
	plain->type = KS_JSON_STRING;
	plain->escaped = false;
	plain->p = buf->data;
	plain->len = buf->len;
	return true;
}

bool
ks_json_name_is(const KsJsonToken *name, const char *s, int len)
{
	StringInfoData buf = {.data = NULL};
	KsJsonToken plain;
	bool		same;

	if (!name->escaped)
		return name->len == len && memcmp(name->p, s, len) == 0;
	same = ks_json_plain_name(name, &buf, &plain) && plain.len == len && memcmp(plain.p, s, len) == 0;
	pfree(buf.data);
	return same;
}

void
ks_json_append_raw(const KsJsonToken *tok, bool strip_nul, StringInfo out)
{
	const char *p = tok->p;
	const char *end = p + tok->len;

	if (tok->type == KS_JSON_STRING)
		appendStringInfoChar(out, '"');
	if (!tok->escaped)
		appendBinaryStringInfo(out, p, tok->len);
	else
	{
		while (p < end)
		{
			const char *q = append_plain(p, end, out);

			if (q == end)
				break;
			p = q + 2;
			if (q[1] == 'u')
			{
				if (scan_unicode(q + 2, end, &p) == 0)
				{
					if (!strip_nul)
						nul_error();
					continue;
				}
			}
			appendBinaryStringInfo(out, q, p - q);
		}
	}
	if (tok->type == KS_JSON_STRING)
		appendStringInfoChar(out, '"');
}
