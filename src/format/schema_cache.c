/*
 * schema_cache.c
 *	  Schemas that records name: each is asked for and compiled once.
 *
 * Whether a schema is known is asked before a batch is decoded
 * (ks_schema_cache_knows()), so that decoding never has to wait for one.  What is
 * wrong with a schema is kept and said for each record that is by it: it is these
 * records that cannot be read, others can.
 *
 * Writers that alternate between schemas are common, so the entries met last stand
 * in a small table before the hash.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "format/schema_cache.h"

#define RECENT		64			/* a power of two */

/* One schema, for values or for keys. */
typedef struct Entry
{
	KsSchemaId	id;				/* the hash key */
	KsSchemaState state;
	uint32		pass;			/* in which it was asked for last */
	MemoryContext cxt;			/* what follows; NULL: nothing yet */
	KsSchemaText text;
	KsCompiled	compiled;
} Entry;

struct KsSchemaCache
{
	KsDecoder  *d;
	bool		of_keys;
	KsCompileSchema compile;
	MemoryContext cxt;
	HTAB	   *entries;
	Entry	   *recent[RECENT];
};

KsSchemaCache *
ks_schema_cache_create(KsDecoder *d, bool of_keys, KsCompileSchema compile)
{
	KsSchemaCache *cache = palloc0(sizeof(KsSchemaCache));
	HASHCTL		ctl = {.keysize = sizeof(KsSchemaId), .entrysize = sizeof(Entry)};

	cache->d = d;
	cache->of_keys = of_keys;
	cache->compile = compile;
	cache->cxt = ctl.hcxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink schemas",
												  ALLOCSET_SMALL_SIZES);
	cache->entries = hash_create("kafka_sink schemas", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return cache;
}

static inline Entry *
find_entry(KsSchemaCache *cache, const KsSchemaId *id)
{
	int			slot = (id->id >= 0 ? (int) id->id : id->guid.data[UUID_LEN - 1]) & (RECENT - 1);
	Entry	   *entry = cache->recent[slot];
	bool		found;

	if (likely(entry && ks_schema_id_equal(&entry->id, id)))
		return entry;
	entry = hash_search(cache->entries, id, HASH_ENTER, &found);
	if (!found)
		memset((char *) entry + sizeof(KsSchemaId), 0, sizeof(Entry) - sizeof(KsSchemaId));
	cache->recent[slot] = entry;
	return entry;
}

/* Its text into a context of the entry's. */
static void
ask(KsSchemaCache *cache, Entry *entry)
{
	const KsFormatSettings *set = &cache->d->settings;
	MemoryContext cxt = AllocSetContextCreate(cache->cxt, "kafka_sink schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsSchemaState state = set->find_schema(set->server, &entry->id, &entry->text);

	MemoryContextSwitchTo(old);
	if (entry->cxt)
		MemoryContextDelete(entry->cxt);
	entry->cxt = cxt;
	entry->state = state;
}

bool
ks_schema_cache_knows(KsSchemaCache *cache, const KsSchemaId *id, uint32 pass)
{
	Entry	   *entry = find_entry(cache, id);

	if (likely(entry->state == KS_SCHEMA_KNOWN) || entry->pass == pass)
		return true;
	/* what was absent may be there by now */
	entry->pass = pass;
	ask(cache, entry);
	return entry->state != KS_SCHEMA_UNKNOWN;
}

/* Of the schema, and not of the moment? */
static bool
is_lasting(int sqlstate)
{
	int			category = ERRCODE_TO_CATEGORY(sqlstate);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED);
}

/* What is thrown on the way holds nothing but memory of the context. */
void *
ks_compile_try(KsCompiled *c, MemoryContext cxt, const KsSchemaId *id, KsCompile compile, void *arg)
{
	MemoryContext old;

	if (c->made || c->error)
		return c->made;
	old = MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		c->made = compile(arg);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		if (!is_lasting(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		/* what is kept of an error may be no more than its message */
		if (id)
			edata->message = psprintf("schema %s of the registry: %s", ks_schema_id_text(id), edata->message);
		c->error = edata;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return c->made;
}

void *
ks_compile_once(KsCompiled *c, MemoryContext cxt, const KsSchemaId *id, KsCompile compile, void *arg)
{
	if (ks_compile_try(c, cxt, id, compile, arg) == NULL)
		ReThrowError(c->error);
	return c->made;
}

typedef struct Compiling
{
	KsSchemaCache *cache;
	Entry	   *entry;
} Compiling;

static void *
compile(void *arg)
{
	Compiling  *c = arg;

	return c->cache->compile(c->cache->d, &c->entry->text, c->cache->of_keys);
}

void *
ks_schema_cache_get(KsSchemaCache *cache, const KsSchemaId *id)
{
	Entry	   *entry = find_entry(cache, id);
	Compiling	c = {cache, entry};

	if (likely(entry->compiled.made != NULL))
		return entry->compiled.made;
	if (entry->state == KS_SCHEMA_UNKNOWN)
		ask(cache, entry);
	if (entry->state != KS_SCHEMA_KNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema %s is not in the registry of server \"%s\"", ks_schema_id_text(id),
						cache->d->settings.server),
				 entry->state == KS_SCHEMA_ABSENT ? errdetail_internal("%s", entry->text.text) : 0,
				 errhint("Is the option schema_registry_url that of the registry which the record was written with?")));
	return ks_compile_once(&entry->compiled, entry->cxt, id, compile, &c);
}
