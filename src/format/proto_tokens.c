/*
 * proto_tokens.c
 *	  The words, numbers, strings and signs of a .proto text, one after the other.
 *
 * Which comment belongs to which token is protoc's rule: the block that ends right
 * before a token is that one's; one that begins in the line of a token, or right
 * below it with an empty line behind, is that token's; others are nobody's.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "format/proto_tokens.h"

#define MAX_SHOWN	40			/* bytes of a token in an error */

void
ks_proto_bad(const char *file, int line, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid Protobuf schema"),
			 file ? errdetail_internal("Line %d of \"%s\": %s", line, file, detail) :
			 errdetail_internal("Line %d: %s", line, detail)));
}

KS_NORETURN static void bad_here(const KsProtoTokens *t, const char *detail);

static void
bad_here(const KsProtoTokens *t, const char *detail)
{
	ks_proto_bad(t->file, t->line, detail);
}

void
ks_proto_unexpected(const KsProtoTokens *t, const char *what)
{
	int			shown = t->word.len;
	const char *more = "";

	if (t->type == KS_PROTO_TOKEN_END)
		ks_proto_bad(t->file, t->word.line, psprintf("Expected %s, but the text ends.", what));
	if (shown > MAX_SHOWN)
	{
		shown = pg_mbcliplen(t->word.p, t->word.len, MAX_SHOWN);
		more = "...";
	}
	/* strings have quotes of their own */
	ks_proto_bad(t->file, t->word.line,
				 psprintf(t->type == KS_PROTO_TOKEN_STRING ? "Expected %s, but found %s%s." : "Expected %s, but found \"%s%s\".",
						  what, pnstrdup(t->word.p, shown), more));
}

/* --- what stands between tokens --- */

static void
skip_blanks(KsProtoTokens *t)
{
	while (ks_proto_is_blank(*t->at))
		t->at++;
}

/* With the end of its line. */
static void
skip_line_comment(KsProtoTokens *t)
{
	t->at += strcspn(t->at, "\n");
	if (*t->at == '\n')
	{
		t->at++;
		t->line++;
	}
}

static void
skip_block_comment(KsProtoTokens *t)
{
	int			line = t->line;

	for (t->at += 2; *t->at; t->at++)
	{
		if (*t->at == '\n')
			t->line++;
		else if (t->at[0] == '*' && t->at[1] == '/')
		{
			t->at += 2;
			return;
		}
	}
	ks_proto_bad(t->file, line, "The comment that begins there does not end.");
}

typedef struct Gap
{
	KsProtoComment block;		/* the last one */
	bool		of_lines;		/* a block of line comments, which another one may go on */
	bool		same_line;		/* as the token before */
	bool		attached;		/* to that token, if anything is */
	bool		nothing;		/* it is unclear whose comments these are */
} Gap;

/* What comes now is not of the same block. */
static void
end_block(KsProtoTokens *t, Gap *gap)
{
	if (gap->block.begin == NULL)
		return;
	if (gap->attached)
		t->behind = gap->block;
	gap->attached = false;
	gap->block.begin = NULL;
}

static void
take_line_comment(KsProtoTokens *t, Gap *gap)
{
	const char *begin = t->at;

	skip_line_comment(t);
	if (gap->block.begin == NULL || !gap->of_lines)
	{
		end_block(t, gap);
		gap->block.begin = begin;
		gap->of_lines = true;
	}
	gap->block.end = t->at;
	/* nothing of the next line belongs to it */
	if (gap->same_line)
		end_block(t, gap);
	gap->same_line = false;
}

static void
take_block_comment(KsProtoTokens *t, Gap *gap)
{
	end_block(t, gap);
	gap->block.begin = t->at;
	gap->of_lines = false;
	skip_block_comment(t);
	gap->block.end = t->at;
	skip_blanks(t);
	if (*t->at == '\n')
	{
		t->at++;
		t->line++;
		if (gap->same_line)
			end_block(t, gap);
		gap->same_line = false;
	}
	else if (gap->same_line)
		gap->nothing = true;
}

static void
skip_gap(KsProtoTokens *t)
{
	bool		inside = t->type != KS_PROTO_TOKEN_START;
	Gap			gap = {.same_line = inside, .attached = inside};

	t->before.begin = t->behind.begin = NULL;
	for (;;)
	{
		skip_blanks(t);
		if (t->at[0] == '/' && t->at[1] == '/')
			take_line_comment(t, &gap);
		else if (t->at[0] == '/' && t->at[1] == '*')
			take_block_comment(t, &gap);
		else if (*t->at == '\n')
		{
			t->at++;
			t->line++;
			if (!gap.same_line)
			{
				end_block(t, &gap);
				gap.attached = false;
			}
			gap.same_line = false;
		}
		else
			break;
	}
	if (gap.nothing)
		t->behind.begin = NULL;
	/* before the end of something nothing is told of what follows */
	else if (*t->at == '\0' || *t->at == '}' || *t->at == ']' || *t->at == ')')
		end_block(t, &gap);
	else
		t->before = gap.block;
}

/* --- tokens --- */

static inline bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static void
skip_digits(KsProtoTokens *t)
{
	while (is_digit(*t->at))
		t->at++;
}

/* Decimal: with a point, an exponent, or neither. */
static void
scan_decimal(KsProtoTokens *t)
{
	skip_digits(t);
	if (*t->at == '.')
	{
		t->type = KS_PROTO_TOKEN_REAL;
		t->at++;
		skip_digits(t);
	}
	if (*t->at == 'e' || *t->at == 'E')
	{
		t->type = KS_PROTO_TOKEN_REAL;
		t->at++;
		if (*t->at == '+' || *t->at == '-')
			t->at++;
		if (!is_digit(*t->at))
			bad_here(t, "An exponent has no digits.");
		skip_digits(t);
	}
}

static void
scan_number(KsProtoTokens *t)
{
	t->type = KS_PROTO_TOKEN_INTEGER;
	if (t->at[0] == '0' && (t->at[1] == 'x' || t->at[1] == 'X'))
	{
		t->at += 2;
		if (ks_proto_hex_digit(*t->at) < 0)
			bad_here(t, "\"0x\" is followed by no hexadecimal digit.");
		while (ks_proto_hex_digit(*t->at) >= 0)
			t->at++;
	}
	else if (t->at[0] == '0' && is_digit(t->at[1]))
	{
		while (*t->at >= '0' && *t->at <= '7')
			t->at++;
		if (is_digit(*t->at))
			bad_here(t, "A number that begins with 0 is octal, but has other digits.");
	}
	else
		scan_decimal(t);
	if (is_letter(*t->at) || is_digit(*t->at) || *t->at == '.')
		bad_here(t, "A number is followed by what does not belong to it.");
}

static void
scan_string(KsProtoTokens *t)
{
	char		quote = *t->at++;

	t->type = KS_PROTO_TOKEN_STRING;
	while (*t->at != quote)
	{
		if (*t->at == '\0' || *t->at == '\n')
			bad_here(t, "A string does not end in its line.");
		if (*t->at == '\\' && t->at[1] != '\0' && t->at[1] != '\n')
			t->at++;
		t->at++;
	}
	t->at++;
}

void
ks_proto_next(KsProtoTokens *t)
{
	unsigned char c;

	if ((++t->count & 1023) == 0)
		CHECK_FOR_INTERRUPTS();
	skip_gap(t);
	c = *t->at;
	t->word.p = t->at;
	t->word.line = t->line;
	if (c == '\0')
		t->type = KS_PROTO_TOKEN_END;
	else if (is_letter(c))
	{
		t->type = KS_PROTO_TOKEN_NAME;
		while (is_letter(*t->at) || is_digit(*t->at))
			t->at++;
	}
	else if (is_digit(c) || (c == '.' && is_digit(t->at[1])))
		scan_number(t);
	else if (c == '"' || c == '\'')
		scan_string(t);
	else if (c < ' ' || c > '~')
		bad_here(t, psprintf("There is a byte 0x%02x outside of strings and comments.", c));
	else
	{
		t->type = KS_PROTO_TOKEN_SIGN;
		t->at++;
	}
	t->word.len = t->at - t->word.p;
}

void
ks_proto_tokens_begin(KsProtoTokens *t, const char *file, const char *text)
{
	memset(t, 0, sizeof(KsProtoTokens));
	t->file = file;
	t->line = 1;
	initStringInfo(&t->buf);
	/* a byte order mark */
	t->at = strncmp(text, "\xef\xbb\xbf", 3) == 0 ? text + 3 : text;
	ks_proto_next(t);
}

bool
ks_proto_accept(KsProtoTokens *t, const char *s)
{
	if (!ks_proto_at(t, s))
		return false;
	ks_proto_next(t);
	return true;
}

void
ks_proto_expect(KsProtoTokens *t, const char *s)
{
	if (!ks_proto_accept(t, s))
		ks_proto_unexpected(t, psprintf("\"%s\"", s));
}

KsProtoWord
ks_proto_take_name(KsProtoTokens *t, const char *what)
{
	KsProtoWord word = t->word;

	if (t->type != KS_PROTO_TOKEN_NAME)
		ks_proto_unexpected(t, what);
	ks_proto_next(t);
	return word;
}
