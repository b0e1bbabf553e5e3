/*
 * jschema.h
 *	  JSON Schema: schemas of drafts 4, 6, 7, 2019-09 and 2020-12, and whether values
 *	  are by them.
 *
 * A schema is compiled once into a graph of nodes, in which every reference is a
 * pointer.  It asks for nothing while it is used: what it may refer to is given with it.
 */
#ifndef KS_JSCHEMA_H
#define KS_JSCHEMA_H

#include "postgres.h"

#include "format/schemas.h"

#define KS_JSCHEMA_MAX_TEXT		(1024 * 1024)	/* bytes of a schema */
#define KS_JSCHEMA_MAX_DEPTH	64	/* of values in values, in schemas and in records */

typedef struct KsJsonSchema KsJsonSchema;

/*
 * In the current context, which it lives as long as.  Errors (22P02, 22023, 42704, 54000,
 * 54001) if it is none, or refers to what is not there.
 */
extern KsJsonSchema *ks_jschema_compile(const KsSchemaText *text);

/*
 * Is the text, in UTF-8, by the schema?  Error 22000 with the first place where it is
 * not; 22P02 if it is no JSON, 54001 if it is nested too deeply.  What it takes on
 * the way is in the current context.
 */
extern void ks_jschema_check(const KsJsonSchema *schema, const char *s, int len);

/* Its title, or else its id; NULL: it has neither.  In the server's encoding. */
extern const char *ks_jschema_name(const KsJsonSchema *schema);

/* The name only, of a schema's text, which need not be one that can be compiled; in the current context. */
extern const char *ks_jschema_name_of(const char *text);

#endif
