/*
 * jschema_regex.h
 *	  Regular expressions as JSON Schema has them.
 */
#ifndef KS_JSCHEMA_REGEX_H
#define KS_JSCHEMA_REGEX_H

#include "postgres.h"

typedef struct KsRegex KsRegex;

/* In the current context, and freed with it.  Error 2201B for what is none, or none that
 * the server's engine knows. */
extern KsRegex *ks_regex_compile(const char *s, int len);

/* Does it match anywhere?  UTF-8. */
extern bool ks_regex_matches(KsRegex *re, const char *s, int len);

/* --- jschema_pattern.c --- */

/* What it is for the server's engine; in the current context. */
extern uint32 *ks_regex_translate(const char *s, int len, int *n);

/* The characters of UTF-8; room for as many as there are bytes. */
extern int	ks_regex_characters(const char *s, int len, uint32 *out);

#endif
