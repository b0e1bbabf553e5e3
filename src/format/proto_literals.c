/*
 * proto_literals.c
 *	  What tokens of a .proto text stand for: numbers, strings and comments.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "format/proto_literals.h"

/* --- values --- */

static int
base_of(const KsProtoWord *word)
{
	if (word->len < 2 || word->p[0] != '0')
		return 10;
	return word->p[1] == 'x' || word->p[1] == 'X' ? 16 : 8;
}

bool
ks_proto_integer_of(const KsProtoWord *word, uint64 *value)
{
	int			base = base_of(word);

	*value = 0;
	for (int i = base == 16 ? 2 : 0; i < word->len; i++)
	{
		int			digit = ks_proto_hex_digit(word->p[i]);

		if (*value > (PG_UINT64_MAX - digit) / base)
			return false;
		*value = *value * base + digit;
	}
	return true;
}

bool
ks_proto_real_of(const KsProtoWord *word, KsProtoTokenType type, double *value)
{
	uint64		integer;

	if (type == KS_PROTO_TOKEN_INTEGER && ks_proto_integer_of(word, &integer))
		*value = (double) integer;
	else if (type == KS_PROTO_TOKEN_REAL || base_of(word) == 10)
		*value = strtod(word->p, NULL);
	else
		return false;
	return true;
}

uint64
ks_proto_take_integer(KsProtoTokens *t, const char *what)
{
	uint64		value;

	if (t->type != KS_PROTO_TOKEN_INTEGER)
		ks_proto_unexpected(t, what);
	/* (who wants less says so) */
	if (!ks_proto_integer_of(&t->word, &value))
		value = PG_UINT64_MAX;
	ks_proto_next(t);
	return value;
}

static pg_wchar
hex_of(KsProtoTokens *t, const char **p, int least, int most)
{
	pg_wchar	value = 0;
	int			n = 0;

	for (; n < most && ks_proto_hex_digit(**p) >= 0; n++)
		value = value << 4 | ks_proto_hex_digit(*(*p)++);
	if (n < least)
		ks_proto_bad(t->file, t->word.line, "An escape in a string has too few hexadecimal digits.");
	return value;
}

/* \u and \U; two \u may be the halves of one character. */
static void
append_character(KsProtoTokens *t, StringInfo s, const char **p, int digits)
{
	pg_wchar	c = hex_of(t, p, digits, digits);
	unsigned char buf[MAX_UNICODE_EQUIVALENT_STRING + 1];

	if (is_utf16_surrogate_first(c) && (*p)[0] == '\\' && (*p)[1] == 'u')
	{
		const char *second = *p + 2;
		pg_wchar	low = hex_of(t, &second, 4, 4);

		if (is_utf16_surrogate_second(low))
		{
			c = surrogate_pair_to_codepoint(c, low);
			*p = second;
		}
	}
	if (c > 0x10ffff || is_utf16_surrogate_first(c) || is_utf16_surrogate_second(c))
		ks_proto_bad(t->file, t->word.line, "An escape in a string is no Unicode character.");
	/* not every encoding has one that is nothing */
	if (c == 0)
	{
		appendStringInfoChar(s, '\0');
		return;
	}
	pg_unicode_to_server(c, buf);
	appendStringInfoString(s, (char *) buf);
}

static void
append_escape(KsProtoTokens *t, StringInfo s, const char **p)
{
	static const char letters[] = "abfnrtv\\?'\"";
	static const char values[] = "\a\b\f\n\r\t\v\\?'\"";
	char		c = *(*p)++;
	const char *letter = strchr(letters, c);
	int			octal = 0;

	if (letter && c != '\0')
		appendStringInfoChar(s, values[letter - letters]);
	else if (c == 'x' || c == 'X')
		appendStringInfoChar(s, (char) hex_of(t, p, 1, 2));
	else if (c == 'u')
		append_character(t, s, p, 4);
	else if (c == 'U')
		append_character(t, s, p, 8);
	else if (c >= '0' && c <= '7')
	{
		(*p)--;
		for (int n = 0; n < 3 && **p >= '0' && **p <= '7'; n++)
			octal = octal * 8 + *(*p)++ - '0';
		appendStringInfoChar(s, (char) octal);
	}
	else
		ks_proto_bad(t->file, t->word.line, "A string has an escape that is unknown.");
}

/* What is between the quotes. */
static void
append_literal(KsProtoTokens *t, StringInfo s)
{
	const char *end = t->word.p + t->word.len - 1;

	for (const char *p = t->word.p + 1; p < end;)
	{
		const char *escape = memchr(p, '\\', end - p);

		if (escape == NULL)
			escape = end;
		appendBinaryStringInfo(s, p, escape - p);
		p = escape;
		if (p < end)
		{
			p++;
			append_escape(t, s, &p);
		}
	}
}

char *
ks_proto_take_string(KsProtoTokens *t, const char *what, int *len)
{
	char	   *copy;

	if (t->type != KS_PROTO_TOKEN_STRING)
		ks_proto_unexpected(t, what);
	resetStringInfo(&t->buf);
	for (; t->type == KS_PROTO_TOKEN_STRING; ks_proto_next(t))
		append_literal(t, &t->buf);
	*len = t->buf.len;
	copy = palloc(*len + 1);
	memcpy(copy, t->buf.data, *len + 1);
	return copy;
}

/* --- comments --- */

/* A line of one, without what makes it one. */
static void
append_line(StringInfo s, const char *p, const char *end, bool of_lines, bool first)
{
	while (p < end && ks_proto_is_blank(*p))
		p++;
	if (of_lines || first)
	{
		p += 2;
		while (p < end && *p == (of_lines ? '/' : '*'))
			p++;
	}
	else if (p < end && *p == '*')
		p++;
	while (p < end && ks_proto_is_blank(*p))
		p++;
	while (p < end && ks_proto_is_blank(end[-1]))
		end--;
	if (s->len > 0)
		appendStringInfoChar(s, '\n');
	if (p < end)
		appendBinaryStringInfo(s, p, end - p);
}

bool
ks_proto_comment_text(const KsProtoComment *comment, StringInfo s)
{
	const char *end = comment->end;
	bool		of_lines;

	resetStringInfo(s);
	if (comment->begin == NULL)
		return false;
	of_lines = comment->begin[1] == '/';
	if (!of_lines)
		end -= 2;
	for (const char *p = comment->begin; p < end;)
	{
		const char *line_end = memchr(p, '\n', end - p);

		if (line_end == NULL)
			line_end = end;
		append_line(s, p, line_end, of_lines, p == comment->begin);
		p = line_end + 1;
	}
	while (s->len > 0 && s->data[s->len - 1] == '\n')
		s->data[--s->len] = '\0';
	return s->len > 0;
}
