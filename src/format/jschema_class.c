/*
 * jschema_class.c
 *	  Regular expressions of ECMA 262: characters, escapes and brackets.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "format/jschema_int.h"
#include "format/jschema_pattern_int.h"

#define MAX_OUTPUT	(1024 * 1024)

void
ks_pattern_refuse(const KsPattern *p, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_REGULAR_EXPRESSION),
			 errmsg("the pattern of a JSON schema cannot be used"),
			 errdetail("\"%s\": %s.", ks_jschema_shown(p->text, p->text_len), why)));
}

void
ks_pattern_put(KsPattern *p, uint32 c)
{
	if (p->len == p->room)
	{
		if (p->room >= MAX_OUTPUT)
			ks_pattern_refuse(p, "it is too long");
		p->room *= 2;
		p->out = repalloc(p->out, p->room * sizeof(uint32));
	}
	p->out[p->len++] = c;
}

void
ks_pattern_put_text(KsPattern *p, const char *s)
{
	while (*s)
		ks_pattern_put(p, (unsigned char) *s++);
}

/* A character as such, wherever it stands. */
void
ks_pattern_put_literal(KsPattern *p, uint32 c)
{
	if (c == 0)
	{
		ks_pattern_put_text(p, "\\u0000");
		return;
	}
	if (c < 128 && !isalnum((int) c) && c > ' ')
		ks_pattern_put(p, '\\');
	ks_pattern_put(p, c);
}

/* --- escapes --- */

#define SPACES	"\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"

static uint32
take_hex(KsPattern *p, int digits)
{
	uint32		v = 0;

	for (int i = 0; i < digits; i++, p->at++)
	{
		uint32		c = ks_pattern_peek(p, 0);

		if (c >= 128 || !isxdigit((int) c))
			ks_pattern_refuse(p, "an escape lacks digits");
		v = v * 16 + (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

/* Behind \u: 4 digits, a pair of such, or any number in braces. */
static uint32
take_code_point(KsPattern *p)
{
	uint32		c;

	if (ks_pattern_have(p, '{'))
	{
		int			end = p->at + 1;

		while (end < p->n && p->in[end] != '}')
			end++;
		if (end == p->n || end == p->at + 1 || end - p->at > 9)
			ks_pattern_refuse(p, "an escape lacks digits");
		p->at++;
		c = take_hex(p, end - p->at);
		p->at++;
	}
	else
	{
		c = take_hex(p, 4);
		if (is_utf16_surrogate_first(c) && ks_pattern_peek(p, 0) == '\\' && ks_pattern_peek(p, 1) == 'u')
		{
			p->at += 2;
			c = surrogate_pair_to_codepoint(c, take_hex(p, 4));
		}
	}
	if (c > 0x10ffff)
		ks_pattern_refuse(p, "a code point is out of range");
	return c;
}

/* The character that an escape stands for, behind its backslash and letter. */
uint32
ks_pattern_character(KsPattern *p, uint32 letter)
{
	switch (letter)
	{
		case 't':
			return '\t';
		case 'n':
			return '\n';
		case 'v':
			return '\v';
		case 'f':
			return '\f';
		case 'r':
			return '\r';
		case 'x':
			return take_hex(p, 2);
		case 'u':
			return take_code_point(p);
		case 'c':
			{
				uint32		c = ks_pattern_peek(p, 0);

				if (c >= 128 || !isalpha((int) c))
					ks_pattern_refuse(p, "\\c is not followed by a letter");
				p->at++;
				return c & 31;
			}
		case '0':
			if (ks_pattern_peek(p, 0) >= '0' && ks_pattern_peek(p, 0) <= '9')
				ks_pattern_refuse(p, "it has an octal escape");
			return 0;
		default:
			if (letter < 128 && isalnum((int) letter))
				ks_pattern_refuse(p, psprintf("\\%c is not known", (char) letter));
			return letter;
	}
}

/* --- brackets --- */

/* What \d, \w and \s are in brackets; NULL: none of them. */
const char *
ks_pattern_class(uint32 letter)
{
	return letter == 'd' ? "0-9" : letter == 'w' ? "A-Za-z0-9_" : letter == 's' ? SPACES : NULL;
}

/* One end of a range, or all of a class: false. */
static bool
take_member(KsPattern *p, uint32 *c)
{
	uint32		letter;

	*c = p->in[p->at++];
	if (*c != '\\')
		return true;
	if (p->at == p->n)
		ks_pattern_refuse(p, "it ends with a backslash");
	letter = p->in[p->at++];
	if (ks_pattern_class(letter))
	{
		ks_pattern_put_text(p, ks_pattern_class(letter));
		return false;
	}
	if (letter == 'D' || letter == 'W' || letter == 'S')
		ks_pattern_refuse(p, psprintf("\\%c in brackets is not supported", (char) letter));
	if (letter == 'p' || letter == 'P')
		ks_pattern_refuse(p, "properties of Unicode are not supported");
	*c = letter == 'b' ? '\b' : letter == '-' ? '-' : ks_pattern_character(p, letter);
	return true;
}

/* Is all of it \D, \W or \S, or the reverse of one of these? */
static bool
take_single_class(KsPattern *p, bool negated)
{
	uint32		letter = ks_pattern_peek(p, 1);
	const char *name;

	if (ks_pattern_peek(p, 0) != '\\' || ks_pattern_peek(p, 2) != ']' || (letter != 'D' && letter != 'W' && letter != 'S'))
		return false;
	name = ks_pattern_class(letter + 'a' - 'A');
	ks_pattern_put_text(p, negated ? "[" : "[^");
	ks_pattern_put_text(p, name);
	ks_pattern_put(p, ']');
	p->at += 3;
	return true;
}

/* [\s\S] and the like: anything. */
static bool
take_all(KsPattern *p)
{
	uint32		a = ks_pattern_peek(p, 1);
	uint32		b = ks_pattern_peek(p, 3);

	if (ks_pattern_peek(p, 0) != '\\' || ks_pattern_peek(p, 2) != '\\' || ks_pattern_peek(p, 4) != ']' || a == b || (a | 0x20) != (b | 0x20) ||
		ks_pattern_class(a | 0x20) == NULL)
		return false;
	ks_pattern_put(p, '.');
	p->at += 5;
	return true;
}

/* Behind the bracket. */
void
ks_pattern_brackets(KsPattern *p)
{
	bool		negated = ks_pattern_have(p, '^');

	p->at += negated;
	if (ks_pattern_have(p, ']'))
	{
		/* nothing, or anything */
		p->at++;
		ks_pattern_put_text(p, negated ? "." : "(?!)");
		return;
	}
	if (take_single_class(p, negated) || (!negated && take_all(p)))
		return;
	ks_pattern_put_text(p, negated ? "[^" : "[");
	for (;;)
	{
		uint32		low,
					high;

		if (p->at >= p->n)
			ks_pattern_refuse(p, "a bracket is not closed");
		if (ks_pattern_have(p, ']'))
			break;
		if (!take_member(p, &low))
			continue;
		ks_pattern_put_literal(p, low);
		if (!ks_pattern_have(p, '-') || ks_pattern_peek(p, 1) == ']' || p->at + 1 >= p->n)
			continue;
		p->at++;
		ks_pattern_put(p, '-');
		if (!take_member(p, &high))
			ks_pattern_refuse(p, "a range ends with a class");
		if (high < low)
			ks_pattern_refuse(p, "a range is out of order");
		ks_pattern_put_literal(p, high);
	}
	p->at++;
	ks_pattern_put(p, ']');
}
