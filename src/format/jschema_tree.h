/*
 * jschema_tree.h
 *	  JSON as a tree, for what has to look at a value more than once.
 *
 * All of it is UTF-8, whatever the server's encoding is, and is counted: a string may
 * have characters of code 0.  Members stand in the order of their names' bytes; of a
 * name given twice the last counts.
 */
#ifndef KS_JSCHEMA_TREE_H
#define KS_JSCHEMA_TREE_H

#include "postgres.h"

#include "format/json.h"

typedef struct KsText
{
	const char *s;
	int			len;
	int			nth;			/* of names: as the text has them */
} KsText;

typedef struct KsTree
{
	KsJsonType	type;
	int			n;				/* elements, members, or bytes */
	union
	{
		const char *s;			/* of strings, unescaped, and numbers */
		struct KsTree *items;	/* of arrays and objects */
	}			u;
	KsText	   *names;			/* of objects */
} KsTree;

/* In the current context; strings without escapes are slices of the text. */
extern KsTree *ks_tree_parse(const char *s, int len, int max_depth);

/* The place of a name among sorted ones; -1: it is not there. */
extern int	ks_text_find(const KsText *names, int n, const char *s, int len);
extern int	ks_text_compare(const KsText *a, const KsText *b);

/* A member's value, or NULL. */
extern const KsTree *ks_tree_member(const KsTree *object, const char *name);

/* An order of all values; 0: they are equal as JSON Schema has it (1 is 1.0). */
extern int	ks_tree_compare(const KsTree *a, const KsTree *b);

static inline KsText
ks_tree_text(const KsTree *string)
{
	return (KsText) {string->u.s, string->n, 0};
}

/* A decimal number: +-0.ddd * 10^top, without the digits being copied. */
typedef struct KsDecimal
{
	int			sign;			/* -1, 0, 1 */
	const char *p;				/* from its first digit that is not 0 ... */
	const char *end;			/* ... to the last; a point may be among them */
	int64		top;			/* the power of ten of the first one */
	int64		low;			/* and of the last */
} KsDecimal;

extern KsDecimal ks_decimal_parse(const char *s, int len);
extern int	ks_decimal_compare(const KsDecimal *a, const KsDecimal *b);

/* A number that others are divided by. */
typedef struct KsDivisor
{
	uint64		digits;			/* the number is digits * 10^low */
	int64		low;
} KsDivisor;

/* False: not greater than 0, or with more than 18 digits that count. */
extern bool ks_decimal_divisor(const KsDecimal *d, KsDivisor *result);
extern bool ks_decimal_divides(const KsDivisor *by, const KsDecimal *d);

#endif
