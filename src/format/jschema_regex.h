/*
 * jschema_regex.h
 *	  Regular expressions as JSON Schema has them.
 */
#ifndef KS_JSCHEMA_REGEX_H
#define KS_JSCHEMA_REGEX_H

#include "postgres.h"

typedef struct KsRegex KsRegex;

/*
 * In the current context, and freed with it.  Error 2201B for what is none, or none that
 * the server's engine knows.  *left: what all of a schema may take, of which this one
 * takes its share; 54000 if that is too much.
 */
#define KS_REGEX_MAX	1000000

extern KsRegex *ks_regex_compile(const char *s, int len, int64 *left);

/* Does it match anywhere?  UTF-8. */
extern bool ks_regex_matches(KsRegex *re, const char *s, int len);

/* --- jschema_pattern.c --- */

/*
 * What it is for the server's engine; in the current context.  *atoms: how many it has
 * where all is written out that bounds repeat, about.  *refers: if back, to a group.
 */
extern uint32 *ks_regex_translate(const char *s, int len, int *n, int64 *atoms, bool *refers);

/* The characters of UTF-8; room for as many as there are bytes. */
extern int	ks_regex_characters(const char *s, int len, uint32 *out);

#endif
