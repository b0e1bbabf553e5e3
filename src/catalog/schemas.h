/*
 * schemas.h
 *	  Schemas that have been fetched from registries: rows of kafka_sink.schemas.
 */
#ifndef KS_CATALOG_SCHEMAS_H
#define KS_CATALOG_SCHEMAS_H

#include "utils/jsonb.h"

#include "format/schemas.h"

/* A KsFindSchema.  Errors (55000) if the server has no registry, nor any schema that was given. */
extern KsSchemaState ks_schemas_find(const char *server, const KsSchemaId *id, KsSchemaText *result);

/*
 * What was fetched, from the registry of these URLs; refs: an array of objects, each
 * with the member "schema".  False, and nothing is done, if somebody else was first.
 * By no URLs (""): it is given.
 */
extern bool ks_schemas_store(const char *server, const char *urls, const KsSchemaId *id,
							 const char *type, const char *schema, Jsonb *refs);

/* The same, but if somebody else does so and does not end, this process alone has it. */
extern void ks_schemas_store_fetched(const char *server, const char *urls, const KsSchemaId *id,
									 const char *type, const char *schema, Jsonb *refs);

/* Is that another one than what was fetched from there, by the same id?  False also if nothing was. */
extern bool ks_schemas_differs(const char *server, const char *urls, const KsSchemaId *id, const char *schema);

/* Has the server schemas that were given? */
extern bool ks_schemas_given(const char *server);

/* False: there is no such one that was given. */
extern bool ks_schemas_remove_given(const char *server, const KsSchemaId *id);

/* The server is dropped, or is new: another one of its name begins anew. */
extern void ks_schemas_forget(const char *server);

/* The server is renamed. */
extern void ks_schemas_rename(const char *from, const char *to);

/*
 * The registry has said that there is none, or 'unreadable': the database cannot hold it.
 * This process believes it for a while.
 */
extern void ks_schemas_note_absent(const char *server, const char *urls, const KsSchemaId *id,
								   const char *why, bool unreadable);

/* It believes none of that any more: whoever calls now may know that it has changed. */
extern void ks_schemas_forget_absent(void);

/* The server's schema_registry_url, NULL: it has none. */
extern const char *ks_schemas_registry(const char *server);

#endif
