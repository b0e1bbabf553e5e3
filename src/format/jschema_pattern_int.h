/*
 * jschema_pattern_int.h
 *	  A pattern that is being translated.
 */
#ifndef KS_JSCHEMA_PATTERN_INT_H
#define KS_JSCHEMA_PATTERN_INT_H

#include "base/compat.h"
#include "format/jschema_regex.h"

typedef struct KsPattern
{
	const char *text;			/* for messages */
	int			text_len;
	uint32	   *in;
	int			n;
	int			at;
	uint32	   *out;
	int			len;
	int			room;
	int			depth;
	int64		atoms;			/* with what bounds repeat; up to MAX_ATOMS of jschema_pattern.c */
	bool		refers;			/* back, to a group */
	int			groups;
	struct
	{
		int			from;		/* the name, in 'in' */
		int			len;
	}		   *names;			/* by group, from 1 */
} KsPattern;

static inline uint32
ks_pattern_peek(const KsPattern *p, int ahead)
{
	return p->at + ahead < p->n ? p->in[p->at + ahead] : 0;
}

static inline bool
ks_pattern_have(const KsPattern *p, uint32 c)
{
	return p->at < p->n && p->in[p->at] == c;
}

/* --- jschema_class.c: characters and classes of them --- */

KS_NORETURN extern void ks_pattern_refuse(const KsPattern *p, const char *why);

extern void ks_pattern_put(KsPattern *p, uint32 c);
extern void ks_pattern_put_text(KsPattern *p, const char *s);

/* A character as such, wherever it stands. */
extern void ks_pattern_put_literal(KsPattern *p, uint32 c);

/* The character that an escape stands for, behind its backslash and letter. */
extern uint32 ks_pattern_character(KsPattern *p, uint32 letter);

/* What \d, \w and \s are in brackets; NULL: none of them. */
extern const char *ks_pattern_class(uint32 letter);

/* Behind an opening bracket, to behind the closing one. */
extern void ks_pattern_brackets(KsPattern *p);

#endif
