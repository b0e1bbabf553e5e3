/*
 * jschema_pattern.c
 *	  Regular expressions of ECMA 262 in the words of the server's engine (ARE).
 *
 * What both have is passed on; what is written otherwise is translated: \d, \w, \s and
 * \b (of ASCII, as ECMA has them), ".", which is no end of line, code points, named
 * groups, bounds above 255, and a bracket in brackets.  What the engine has no word for
 * is refused: properties of Unicode, \S, \W and \D among others in brackets.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "format/jschema_pattern_int.h"

#define MAX_BOUND	255			/* of the engine's */
#define MAX_REPEAT	(MAX_BOUND * MAX_BOUND)
#define MAX_ATOMS	INT64CONST(1000000000)

/* --- groups --- */

static void take_alternatives(KsPattern *p);

static bool
is_name(uint32 c)
{
	return c == '_' || c == '$' || c >= 128 || isalnum((int) c);
}

/* Behind <: its length; behind > then. */
static int
take_name(KsPattern *p)
{
	int			from = p->at;

	while (p->at < p->n && is_name(p->in[p->at]))
		p->at++;
	if (p->at == from || !ks_pattern_have(p, '>'))
		ks_pattern_refuse(p, "a group's name is not one");
	return p->at++ - from;
}

/* All names, for what refers to a group may stand before it. */
static void
find_groups(KsPattern *p)
{
	bool		brackets = false;

	for (int i = 0; i < p->n; i++)
	{
		if (p->in[i] == '\\')
			i++;
		else if (brackets)
			brackets = p->in[i] != ']';
		else if (p->in[i] == '[')
			brackets = true;
		else if (p->in[i] == '(')
		{
			bool		special = i + 2 < p->n && p->in[i + 1] == '?';
			bool		named = special && i + 3 < p->n && p->in[i + 2] == '<' && p->in[i + 3] != '=' && p->in[i + 3] != '!';

			if (special && !named)
				continue;
			p->groups++;
			if (named)
			{
				p->names[p->groups].from = i + 3;
				for (int k = i + 3; k < p->n && p->in[k] != '>'; k++)
					p->names[p->groups].len++;
			}
		}
	}
}

/* \k<name> */
static int
group_of(KsPattern *p)
{
	int			from;
	int			len;

	if (!ks_pattern_have(p, '<'))
		ks_pattern_refuse(p, "\\k is not followed by a name");
	from = ++p->at;
	len = take_name(p);
	CHECK_FOR_INTERRUPTS();
	for (int g = 1; g <= p->groups; g++)
		if (p->names[g].len == len && memcmp(p->in + p->names[g].from, p->in + from, len * sizeof(uint32)) == 0)
			return g;
	ks_pattern_refuse(p, "it refers to a group that it does not have");
}

/* Behind the parenthesis; true if it can be repeated. */
static bool
take_group(KsPattern *p)
{
	bool		look = false;

	if (++p->depth > 100)
		ks_pattern_refuse(p, "it is nested too deeply");
	ks_pattern_put(p, '(');
	if (ks_pattern_have(p, '?'))
	{
		uint32		c = ks_pattern_peek(p, 1);
		bool		behind = c == '<' && (ks_pattern_peek(p, 2) == '=' || ks_pattern_peek(p, 2) == '!');

		if (c == '<' && !behind)
		{
			p->at += 2;
			(void) take_name(p);
		}
		else
		{
			if (c != ':' && c != '=' && c != '!' && !behind)
				ks_pattern_refuse(p, "a group begins in a way that is not known");
			look = c != ':';
			for (int i = 0; i < (behind ? 3 : 2); i++)
				ks_pattern_put(p, p->in[p->at++]);
		}
	}
	take_alternatives(p);
	if (!ks_pattern_have(p, ')'))
		ks_pattern_refuse(p, "a parenthesis is not closed");
	p->at++;
	ks_pattern_put(p, ')');
	p->depth--;
	return !look;
}

/* --- repetition --- */

/* A copy of the atom that stands at the end of what there is. */
static void
put_copy(KsPattern *p, const uint32 *atom, int len)
{
	for (int i = 0; i < len; i++)
		ks_pattern_put(p, atom[i]);
}

/* So many times; more than the engine counts to are counted in rounds. */
static void
put_times(KsPattern *p, const uint32 *atom, int len, int n, bool or_less)
{
	const char *format = or_less ? "{0,%d}" : "{%d}";
	char		bound[32];

	if (n > MAX_BOUND)
	{
		ks_pattern_put_text(p, "(?:");
		put_copy(p, atom, len);
		snprintf(bound, sizeof(bound), format, MAX_BOUND);
		ks_pattern_put_text(p, bound);
		snprintf(bound, sizeof(bound), "){%d}", n / MAX_BOUND);
		ks_pattern_put_text(p, bound);
		n %= MAX_BOUND;
	}
	if (n > 0)
	{
		put_copy(p, atom, len);
		snprintf(bound, sizeof(bound), format, n);
		ks_pattern_put_text(p, bound);
	}
}

/* Digits; false: there are none. */
static bool
take_number(KsPattern *p, int *v)
{
	int			from = p->at;

	*v = 0;
	for (; ks_pattern_peek(p, 0) >= '0' && ks_pattern_peek(p, 0) <= '9'; p->at++)
		*v = Min(*v * 10 + (int) (ks_pattern_peek(p, 0) - '0'), MAX_REPEAT + 1);
	return p->at > from;
}

/* {n}, {n,} or {n,m}: false if it is none of these. */
static bool
take_bounds(KsPattern *p, int *low, int *high)
{
	int			from = p->at;

	p->at++;
	if (take_number(p, low))
	{
		*high = *low;
		if (ks_pattern_have(p, ','))
		{
			p->at++;
			if (!take_number(p, high))
				*high = -1;
		}
		if (ks_pattern_have(p, '}'))
		{
			p->at++;
			return true;
		}
	}
	p->at = from;
	return false;
}

/* What came behind so many atoms is there so many times. */
static void
repeat_atoms(KsPattern *p, int64 before, int times)
{
	p->atoms = Min(before + (p->atoms - before) * Max(times, 1), MAX_ATOMS);
}

/* What follows an atom that begins at 'from' of the output, behind so many atoms. */
static void
take_quantifier(KsPattern *p, int from, int captures, int64 before)
{
	int			low,
				high;
	uint32		c = ks_pattern_peek(p, 0);
	uint32	   *atom;
	int			len = p->len - from;

	if (p->at >= p->n)
		return;
	if (c == '*' || c == '+' || c == '?')
	{
		p->at++;
		ks_pattern_put(p, c);
	}
	else if (c == '{' && take_bounds(p, &low, &high))
	{
		if (low > MAX_REPEAT || high > MAX_REPEAT)
			ks_pattern_refuse(p, "a bound is too large");
		if (high >= 0 && high < low)
			ks_pattern_refuse(p, "bounds are out of order");
		repeat_atoms(p, before, high < 0 ? low + 1 : high);
		if (low <= MAX_BOUND && high <= MAX_BOUND)
			ks_pattern_put_text(p, high < 0 ? psprintf("{%d,}", low) : psprintf("{%d,%d}", low, high));
		else
		{
			if (captures && p->refers)
				ks_pattern_refuse(p, "a bound above 255 of a group does not go with references to groups");
			atom = palloc((len + 1) * sizeof(uint32));
			memcpy(atom, p->out + from, len * sizeof(uint32));
			p->len = from;
			ks_pattern_put_text(p, "(?:");
			put_times(p, atom, len, low, false);
			if (high < 0)
			{
				put_copy(p, atom, len);
				ks_pattern_put(p, '*');
			}
			else
				put_times(p, atom, len, high - low, true);
			ks_pattern_put(p, ')');
			pfree(atom);
		}
	}
	else
		return;
	/* whether it is greedy does not matter to whether it matches */
	if (ks_pattern_have(p, '?'))
		p->at++;
	if (ks_pattern_have(p, '*') || ks_pattern_have(p, '+') || ks_pattern_have(p, '?') ||
		(ks_pattern_have(p, '{') && take_bounds(p, &low, &high)))
		ks_pattern_refuse(p, "there is nothing to repeat");
}

/* --- the rest --- */

/* Behind a backslash: false if it cannot be repeated. */
static bool
take_escape(KsPattern *p)
{
	uint32		letter;
	int			group = 0;

	if (p->at >= p->n)
		ks_pattern_refuse(p, "it ends with a backslash");
	letter = p->in[p->at++];
	if (letter == 'b' || letter == 'B')
	{
		ks_pattern_put_text(p, letter == 'b' ? "\\y" : "\\Y");
		return false;
	}
	if (ks_pattern_class(letter | 0x20) && letter < 128)
	{
		ks_pattern_put_text(p, letter & 0x20 ? "[" : "[^");
		ks_pattern_put_text(p, ks_pattern_class(letter | 0x20));
		ks_pattern_put(p, ']');
		return true;
	}
	if (letter == 'p' || letter == 'P')
		ks_pattern_refuse(p, "properties of Unicode are not supported");
	if (letter == 'k')
		group = group_of(p);
	else if (letter >= '1' && letter <= '9')
	{
		p->at--;
		(void) take_number(p, &group);
		if (group > p->groups)
			ks_pattern_refuse(p, "it refers to a group that it does not have");
	}
	if (group > 0)
	{
		/* in parentheses, so that no digit follows */
		ks_pattern_put_text(p, psprintf("(?:\\%d)", group));
		p->refers = true;
	}
	else
		ks_pattern_put_literal(p, ks_pattern_character(p, letter));
	return true;
}

static void
take_term(KsPattern *p)
{
	int			from = p->len;
	int			start = p->at;
	int64		before = p->atoms++;
	uint32		c = p->in[p->at++];
	bool		repeats = true;

	switch (c)
	{
		case '(':
			repeats = take_group(p);
			break;
		case '[':
			ks_pattern_brackets(p);
			break;
		case '\\':
			repeats = take_escape(p);
			break;
		case '.':
			ks_pattern_put_text(p, "[^\\n\\r\\u2028\\u2029]");
			break;
		case '^':
		case '$':
			ks_pattern_put(p, c);
			repeats = false;
			break;
		case '*':
		case '+':
		case '?':
			ks_pattern_refuse(p, "there is nothing to repeat");
		default:
			ks_pattern_put_literal(p, c);
	}
	if (repeats)
		take_quantifier(p, from, p->in[start] == '(', before);
	else if (ks_pattern_have(p, '*') || ks_pattern_have(p, '+') || ks_pattern_have(p, '?'))
		ks_pattern_refuse(p, "there is nothing to repeat");
}

static void
take_alternatives(KsPattern *p)
{
	/* the engine knows no empty branch between others */
	ks_pattern_put_text(p, "(?:");
	while (p->at < p->n && !ks_pattern_have(p, ')'))
	{
		if (ks_pattern_have(p, '|'))
		{
			p->at++;
			ks_pattern_put_text(p, ")|(?:");
		}
		else
			take_term(p);
	}
	ks_pattern_put(p, ')');
}

int
ks_regex_characters(const char *s, int len, uint32 *out)
{
	int			n = 0;

	for (int i = 0; i < len;)
	{
		out[n++] = utf8_to_unicode((const unsigned char *) s + i);
		i += pg_utf_mblen((const unsigned char *) s + i);
	}
	return n;
}

uint32 *
ks_regex_translate(const char *s, int len, int *n, int64 *atoms, bool *refers)
{
	KsPattern		p = {.text = s, .text_len = len, .room = 64};

	p.in = palloc((Size) (len + 1) * sizeof(uint32));
	p.n = ks_regex_characters(s, len, p.in);
	p.names = palloc0((Size) (p.n + 2) * sizeof(*p.names));
	p.out = palloc(p.room * sizeof(uint32));
	find_groups(&p);
	take_alternatives(&p);
	if (p.at < p.n)
		ks_pattern_refuse(&p, "a parenthesis is not opened");
	pfree(p.names);
	pfree(p.in);
	*n = p.len;
	*atoms = p.atoms;
	*refers = p.refers;
	return p.out;
}
