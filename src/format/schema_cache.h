/*
 * schema_cache.h
 *	  Schemas that records name: each is asked for and compiled once.
 */
#ifndef KS_SCHEMA_CACHE_H
#define KS_SCHEMA_CACHE_H

#include "format/decode.h"
#include "format/schemas.h"
#include "format/shape.h"

/* What a format makes of something, in the current context; errors if it cannot. */
typedef void *(*KsCompile) (void *arg);

/* What came of that, once. */
typedef struct KsCompiled
{
	void	   *made;			/* NULL: nothing yet, or ... */
	ErrorData  *error;			/* ... this */
} KsCompiled;

/*
 * Compiles, in that context.  What is wrong with a schema is kept, and raised each time;
 * what is wrong with the moment is only raised.  id: names it in the error, or NULL.
 */
extern void *ks_compile_once(KsCompiled *c, MemoryContext cxt, const KsSchemaId *id,
							 KsCompile compile, void *arg);

/* The same, but NULL for what is kept. */
extern void *ks_compile_try(KsCompiled *c, MemoryContext cxt, const KsSchemaId *id,
							KsCompile compile, void *arg);

typedef struct KsSchemaCache KsSchemaCache;

/* What a format makes of the schema of values, or of keys; never NULL. */
typedef void *(*KsCompileSchema) (KsDecoder *d, const KsSchemaText *text, bool of_keys);

/* In the current context, which it lives as long as. */
extern KsSchemaCache *ks_schema_cache_create(KsDecoder *d, bool of_keys, KsCompileSchema compile);

/*
 * Is the schema known, or known to be absent?  Asks where it is not, once in each pass:
 * false only then.
 */
extern bool ks_schema_cache_knows(KsSchemaCache *cache, const KsSchemaId *id, const KsSchemaPass *pass);

/* Is it neither, as of the last pass? */
extern bool ks_schema_cache_lacks(KsSchemaCache *cache, const KsSchemaId *id);

/*
 * Where the target is to be ready for schemas: were any met that have types which it has
 * not been compared with?  What the table looks like that records of one need, in the
 * current context; NULL: that is known, or there is no such type.  And: the target is ready
 * for that; it need not be, for no row is made of such; it is for all.
 */
extern bool ks_schema_cache_has_unsettled(const KsSchemaCache *cache);
extern KsShape *ks_schema_cache_unsettled(KsSchemaCache *cache, const KsSchemaId *id,
										  const KsMessagePath *path);
extern void ks_schema_cache_settle(KsSchemaCache *cache);
extern void ks_schema_cache_leave_out(KsSchemaCache *cache);
extern void ks_schema_cache_all_settled(KsSchemaCache *cache);

/* Of the schema that was settled last, the type of that name, if it has several; NULL: none. */
extern KsShape *ks_schema_cache_settled(KsSchemaCache *cache, const char *name, KsSchemaId *id);

/* What was made of it, for a record; errors (42704, and what is wrong with it) if there is none. */
extern void *ks_schema_cache_get(KsSchemaCache *cache, const KsSchemaId *id);

/* The same; records by the schema of the one before are most. */
static inline void *
ks_schema_get(KsSchemaPart *part, const KsSchemaId *id)
{
	if (likely(part->last && ks_schema_id_equal(&part->last_id, id)))
		return part->last;
	part->last = NULL;
	part->last_id = *id;
	return part->last = ks_schema_cache_get(part->cache, id);
}

/* It is absent because the database cannot hold its text (22P05). */
extern void ks_schema_refuse_unreadable(const KsSchemaId *id, const KsSchemaText *text) KS_NORETURN;

#endif
