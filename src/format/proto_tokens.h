/*
 * proto_tokens.h
 *	  The words, numbers, strings and signs of a .proto text, one after the other.
 *
 * A token is a piece of the text; it is looked at before it is taken.  Errors are
 * 22023 with the line.
 */
#ifndef KS_PROTO_TOKENS_H
#define KS_PROTO_TOKENS_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/compat.h"

typedef enum KsProtoTokenType
{
	KS_PROTO_TOKEN_START,		/* none has been read */
	KS_PROTO_TOKEN_END,
	KS_PROTO_TOKEN_NAME,
	KS_PROTO_TOKEN_INTEGER,
	KS_PROTO_TOKEN_REAL,
	KS_PROTO_TOKEN_STRING,		/* with its quotes */
	KS_PROTO_TOKEN_SIGN			/* any other byte */
} KsProtoTokenType;

/* A piece of the text, and where it stands; p NULL: none. */
typedef struct KsProtoWord
{
	const char *p;
	int			len;
	int			line;
} KsProtoWord;

/* One block of comments; begin NULL: none. */
typedef struct KsProtoComment
{
	const char *begin;
	const char *end;
} KsProtoComment;

typedef struct KsProtoTokens
{
	const char *file;			/* for errors; NULL: the text that is read */
	bool		editions;		/* its features count */
	KsProtoTokenType type;		/* of the token that comes next */
	KsProtoWord word;
	KsProtoComment before;		/* what stands before that token, and belongs to it */
	KsProtoComment behind;		/* and what belongs to the one that was taken last */
	const char *at;				/* behind that token */
	int			line;
	unsigned int count;
	StringInfoData buf;			/* for values that are not as the text has them */
} KsProtoTokens;

/* What is wrong, and where. */
KS_NORETURN extern void ks_proto_bad(const char *file, int line, const char *detail);

/* There is another token than this. */
KS_NORETURN extern void ks_proto_unexpected(const KsProtoTokens *t, const char *what);

/* The text is borrowed. */
extern void ks_proto_tokens_begin(KsProtoTokens *t, const char *file, const char *text);

/* Takes the token, whatever it is. */
extern void ks_proto_next(KsProtoTokens *t);

static inline bool
ks_proto_word_is(const KsProtoWord *word, const char *s)
{
	return word->p && (int) strlen(s) == word->len && memcmp(word->p, s, word->len) == 0;
}

/* Is this word or sign next? */
static inline bool
ks_proto_at(const KsProtoTokens *t, const char *s)
{
	return ks_proto_word_is(&t->word, s);
}

/* Takes it if it is next. */
extern bool ks_proto_accept(KsProtoTokens *t, const char *s);

/* Takes it, or an error. */
extern void ks_proto_expect(KsProtoTokens *t, const char *s);

/* Takes a name, or an error, which says of what. */
extern KsProtoWord ks_proto_take_name(KsProtoTokens *t, const char *what);

static inline bool
ks_proto_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

/* -1: it is none. */
static inline int
ks_proto_hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

#endif
