/*
 * names.h
 *	  A fixed set of names, to find one of them by its bytes.
 *
 * Records choose which names are looked for and how often, definitions how many
 * there are to be found: a look costs the same whether there are ten or a
 * thousand.
 */
#ifndef KS_NAMES_H
#define KS_NAMES_H

#include "postgres.h"

/* A name need not be NUL-terminated. */
typedef struct KsField
{
	const char *name;
	int			len;
} KsField;

typedef struct KsNames
{
	int			n;
	const KsField *names;
	int		   *slots;			/* by hash, -1: none; NULL: so few that all are compared */
	uint32		mask;
} KsNames;

/* Those of a length below 0 are none.  Borrows them, allocates in the current context. */
extern void ks_names_init(KsNames *set, const KsField *names, int n);

/* The first one of that name, or -1. */
extern int	ks_names_find(const KsNames *set, const char *name, int len);

static inline bool
ks_name_is(const KsField *f, const char *name, int len)
{
	return f->len == len && memcmp(f->name, name, len) == 0;
}

#endif
