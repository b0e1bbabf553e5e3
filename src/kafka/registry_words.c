/*
 * registry_words.c
 *	  What a schema registry says of an error, and what of it is shown.
 *
 * The body of an error comes from anybody: a registry, a proxy before it, a web
 * server in its place.  So it is read by a scanner that raises no error, whatever
 * it meets, does not recurse, and knows as much of JSON as it takes to find two
 * fields of an object.  The server's own parsers raise errors for characters
 * that the database's encoding lacks.
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "kafka/registry_words.h"

#define MAX_BODY	65536		/* more than that is no error message */
#define MAX_SHOWN	200

typedef struct Scan
{
	const char *p;
	const char *end;
} Scan;

/* The next character, or NUL at the end. */
static char
peek(const Scan *s)
{
	return s->p < s->end ? *s->p : '\0';
}

static char
peek_token(Scan *s)
{
	while (s->p < s->end && strchr(" \t\r\n", *s->p) != NULL && *s->p != '\0')
		s->p++;
	return peek(s);
}

static bool
take(Scan *s, char c)
{
	if (peek_token(s) != c || c == '\0')
		return false;
	s->p++;
	return true;
}

/* Four digits behind \u.  What is half of a character, or NUL, becomes a '?'. */
static bool
take_unicode(Scan *s, StringInfo out)
{
	pg_wchar	c = 0;
	unsigned char utf8[8];

	for (int i = 0; i < 4; i++, s->p++)
	{
		if (!isxdigit((unsigned char) peek(s)))
			return false;
		c = c * 16 + (isdigit((unsigned char) *s->p) ? *s->p - '0' : (*s->p | 0x20) - 'a' + 10);
	}
	if (c == 0 || (c >= 0xd800 && c < 0xe000))
		c = '?';
	(void) unicode_to_utf8(c, utf8);
	appendBinaryStringInfo(out, (char *) utf8, pg_utf_mblen(utf8));
	return true;
}

/* A string, without its quotes and escapes. */
static bool
take_string(Scan *s, StringInfo out)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";

	resetStringInfo(out);
	if (!take(s, '"'))
		return false;
	for (; s->p < s->end; s->p++)
	{
		const char *escape;

		if (*s->p == '"')
		{
			s->p++;
			return true;
		}
		if (*s->p != '\\')
		{
			appendStringInfoChar(out, *s->p ? *s->p : '?');
			continue;
		}
		s->p++;
		if (peek(s) == 'u')
		{
			s->p++;
			if (!take_unicode(s, out))
				return false;
			s->p--;
			continue;
		}
		escape = peek(s) ? strchr(escapes, *s->p) : NULL;
		if (escape == NULL)
			return false;
		appendStringInfoChar(out, meanings[escape - escapes]);
	}
	return false;
}

/* Any value, whether it is right within or not. */
static bool
skip_value(Scan *s, StringInfo scratch)
{
	int			depth = 0;

	do
	{
		char		c = peek_token(s);

		if (c == '"')
		{
			if (!take_string(s, scratch))
				return false;
			continue;
		}
		if (c == '\0' || (depth == 0 && strchr(",:]}", c)))
			return false;
		if (strchr("{[", c))
			depth++;
		else if (strchr("}]", c))
			depth--;
		if (strchr("{[}],:", c))
			s->p++;
		else
			while (peek(s) && !strchr("{[}],:\" \t\r\n", *s->p))
				s->p++;
	} while (depth > 0);
	return true;
}

static bool
take_code(Scan *s, int *code)
{
	int64		n = 0;

	(void) peek_token(s);
	if (!isdigit((unsigned char) peek(s)))
		return false;
	for (; isdigit((unsigned char) peek(s)); s->p++)
		n = Min(n * 10 + (*s->p - '0'), PG_INT32_MAX);
	*code = (int) n;
	return true;
}

/* Looks for the two fields; false if it is no object. */
static bool
take_object(Scan *s, StringInfo message, int *code)
{
	StringInfoData name;

	initStringInfo(&name);
	if (!take(s, '{'))
		return false;
	do
	{
		if (!take_string(s, &name) || !take(s, ':'))
			return false;
		if (strcmp(name.data, "message") == 0 && peek_token(s) == '"')
		{
			if (!take_string(s, message))
				return false;
		}
		else if (strcmp(name.data, "error_code") == 0 && isdigit((unsigned char) peek_token(s)))
		{
			if (!take_code(s, code))
				return false;
		}
		else if (!skip_value(s, &name))
			return false;
	} while (take(s, ','));
	return take(s, '}') && peek_token(s) == '\0' && s->p == s->end;
}

void
ks_registry_words(const char *body, size_t len, const KsSecrets *secrets, KsRegistryWords *words)
{
	Scan		scan = {body, body + len};
	StringInfoData message;
	int			code = 0;

	words->code = 0;
	words->message = NULL;
	if (len > MAX_BODY)
		return;
	initStringInfo(&message);
	if (take_object(&scan, &message, &code))
	{
		words->code = code;
		words->message = ks_registry_shown(message.data, secrets);
	}
	pfree(message.data);
}

char *
ks_registry_shown(const char *text, const KsSecrets *secrets)
{
	char	   *result;

	for (int i = 0; i < secrets->n; i++)
		if (strstr(text, secrets->texts[i]) != NULL)
			return NULL;
	if (text[0] == '\0')
		return NULL;
	result = pnstrdup(text, MAX_SHOWN);
	for (char *c = result; *c; c++)
		if ((unsigned char) *c < ' ' || (unsigned char) *c > '~')
			*c = '?';
	return result;
}
