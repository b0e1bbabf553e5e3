/*
 * jschema_uri.h
 *	  URIs of schemas, and JSON pointers.
 */
#ifndef KS_JSCHEMA_URI_H
#define KS_JSCHEMA_URI_H

#include "lib/stringinfo.h"

/* What a reference means where the base is this URI (RFC 3986), in the current context. */
extern char *ks_uri_resolve(const char *base, const char *ref);

/* Cuts the fragment off; it, without the #, and decoded; "" if there is none. */
extern char *ks_uri_take_fragment(char *uri);

/* Appends a step to a JSON pointer, escaped. */
extern void ks_pointer_append(StringInfo pointer, const char *name, int len);

/* The next step of a pointer, decoded, behind its slash; to what follows. */
extern const char *ks_pointer_step(const char *p, StringInfo step);

#endif
