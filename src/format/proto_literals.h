/*
 * proto_literals.h
 *	  What tokens of a .proto text stand for: numbers, strings and comments.
 */
#ifndef KS_PROTO_LITERALS_H
#define KS_PROTO_LITERALS_H

#include "format/proto_tokens.h"

/* Takes an integer, or an error, which says of what. */
extern uint64 ks_proto_take_integer(KsProtoTokens *t, const char *what);

/* All string literals that stand side by side, as one, with a NUL behind. */
extern char *ks_proto_take_string(KsProtoTokens *t, const char *what, int *len);

/* The value of an integer token; false: it is too large. */
extern bool ks_proto_integer_of(const KsProtoWord *word, uint64 *value);

/* The value of any number; false: it is none that can be. */
extern bool ks_proto_real_of(const KsProtoWord *word, KsProtoTokenType type, double *value);

/* What a comment says, without its signs and white space around; false: nothing. */
extern bool ks_proto_comment_text(const KsProtoComment *comment, StringInfo s);

#endif
