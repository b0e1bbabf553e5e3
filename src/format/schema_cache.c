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
 * in a table before the hash, which grows with their number.  Of ids that the registry
 * does not have, which records can tell as many as they like, few are remembered.
 *
 * Where the target is to be ready for schemas (settings.evolves), types of values are
 * settled one by one, see schema_cache.h.  One that cannot be parsed, or that a schema does
 * not have, has nothing to settle: what is wrong is said when records are decoded.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/error.h"
#include "format/schema_cache.h"

#define RECENT_MIN	64			/* powers of two */
#define RECENT_MAX	4096

#define MAX_ABSENT	10000		/* beyond a batch */

/* One schema, for values or for keys. */
typedef struct Entry
{
	KsSchemaId	id;				/* the hash key */
	KsSchemaState state;
	KsSchemaPass asked;			/* in which it was asked for last */
	MemoryContext cxt;			/* what follows; NULL: nothing yet */
	KsSchemaText text;
	KsCompiled	compiled;
	KsCompiled	types;			/* the same, as the shaper has it */
	bool		settled;		/* all of its types */
	const void *ready;			/* of these, the one that was met last */
} Entry;

struct KsSchemaCache
{
	KsDecoder  *d;
	bool		of_keys;
	KsCompileSchema compile;
	MemoryContext cxt;
	HTAB	   *entries;
	uint32		batch;			/* at hand */
	int			nabsent;		/* found so since these were forgotten */
	Entry	  **recent;
	uint32		mask;			/* of places in it */

	/* what the target is to be ready for */
	const KsShaper *shaper;		/* NULL: it need not be */
	bool		unsettled;		/* an entry was met that is not settled */
	HTAB	   *ready;			/* types, where schemas have several */
	Entry	   *at_hand;		/* of ks_schema_cache_unsettled() */
	const void *type;
	Entry	   *settled;		/* last, or NULL */
};

static void
clear_recent(KsSchemaCache *cache, uint32 size)
{
	if (cache->mask + 1 != size || cache->recent == NULL)
	{
		if (cache->recent)
			pfree(cache->recent);
		cache->recent = MemoryContextAlloc(cache->cxt, size * sizeof(Entry *));
		cache->mask = size - 1;
	}
	memset(cache->recent, 0, size * sizeof(Entry *));
}

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
	clear_recent(cache, RECENT_MIN);
	if (d->settings.evolves && !of_keys)
		cache->shaper = ks_shaper(d->settings.format);
	if (cache->shaper && cache->shaper->at)
	{
		ctl.keysize = ctl.entrysize = sizeof(const void *);
		cache->ready = hash_create("kafka_sink types", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return cache;
}

/* One that is not where it was met last. */
static pg_noinline Entry *
look_up(KsSchemaCache *cache, const KsSchemaId *id, uint32 place)
{
	Entry	   *entry;
	bool		found;

	entry = hash_search(cache->entries, id, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) entry + sizeof(KsSchemaId), 0, sizeof(Entry) - sizeof(KsSchemaId));
		if (hash_get_num_entries(cache->entries) > cache->mask / 2 && cache->mask + 1 < RECENT_MAX)
			clear_recent(cache, 2 * (cache->mask + 1));
	}
	cache->recent[place & cache->mask] = entry;
	return entry;
}

static inline Entry *
find_entry(KsSchemaCache *cache, const KsSchemaId *id)
{
	uint32		place = id->id >= 0 ? (uint32) id->id :
		(uint32) id->guid.data[UUID_LEN - 2] << 8 | id->guid.data[UUID_LEN - 1];
	Entry	   *entry = cache->recent[place & cache->mask];

	if (likely(entry && ks_schema_id_equal(&entry->id, id)))
		return entry;
	return look_up(cache, id, place);
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

/* What is not known, as if it had not been met. */
static void
forget_absent(KsSchemaCache *cache)
{
	HASH_SEQ_STATUS status;
	Entry	   *entry;

	hash_seq_init(&status, cache->entries);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->state == KS_SCHEMA_KNOWN)
			continue;
		if (entry->cxt)
			MemoryContextDelete(entry->cxt);
		(void) hash_search(cache->entries, &entry->id, HASH_REMOVE, NULL);
	}
	cache->nabsent = 0;
	clear_recent(cache, cache->mask + 1);
}

bool
ks_schema_cache_knows(KsSchemaCache *cache, const KsSchemaId *id, const KsSchemaPass *pass)
{
	Entry	   *entry;

	if (unlikely(cache->batch != pass->batch))
	{
		cache->batch = pass->batch;
		if (cache->nabsent > MAX_ABSENT)
			forget_absent(cache);
	}
	entry = find_entry(cache, id);
	if (unlikely(entry->state != KS_SCHEMA_KNOWN))
	{
		if (entry->asked.nth == pass->nth ||
			(entry->state == KS_SCHEMA_ABSENT && entry->asked.batch == pass->batch))
			return true;
		/* what was absent may be there by now */
		entry->asked = *pass;
		ask(cache, entry);
		cache->nabsent += entry->state == KS_SCHEMA_ABSENT;
	}
	cache->unsettled |= entry->state == KS_SCHEMA_KNOWN && !entry->settled;
	return entry->state != KS_SCHEMA_UNKNOWN;
}

bool
ks_schema_cache_lacks(KsSchemaCache *cache, const KsSchemaId *id)
{
	return find_entry(cache, id)->state == KS_SCHEMA_UNKNOWN;
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
		ks_error_rethrow(c->error);
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

void
ks_schema_refuse_unreadable(const KsSchemaId *id, const KsSchemaText *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
			 errmsg("schema %s cannot be kept in this database", ks_schema_id_text(id)),
			 errdetail_internal("%s", text->text)));
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
	if (entry->state == KS_SCHEMA_ABSENT && entry->text.unreadable)
		ks_schema_refuse_unreadable(id, &entry->text);
	if (entry->state != KS_SCHEMA_KNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema %s is not in the registry of server \"%s\"", ks_schema_id_text(id),
						cache->d->settings.server),
				 entry->state == KS_SCHEMA_ABSENT ? errdetail_internal("%s", entry->text.text) : 0,
				 errhint("Is the option schema_registry_url that of the registry which the record was written with?")));
	return ks_compile_once(&entry->compiled, entry->cxt, id, compile, &c);
}

/* --- what the target is to be ready for --- */

typedef struct Parsing
{
	const KsShaper *shaper;
	const KsSchemaText *text;
} Parsing;

static void *
parse(void *arg)
{
	Parsing    *p = arg;

	return unconstify(void *, p->shaper->parse(p->text));
}

/* The type of a record; NULL: there is none. */
static const void *
find_type(KsSchemaCache *cache, Entry *entry, const KsMessagePath *path)
{
	Parsing		p = {cache->shaper, &entry->text};
	const void *types = ks_compile_try(&entry->types, entry->cxt, &entry->id, parse, &p);

	if (types == NULL)
		entry->settled = true;
	return types && cache->shaper->at ? cache->shaper->at(types, path) : types;
}

static bool
is_ready(KsSchemaCache *cache, Entry *entry, const void *type)
{
	if (type != entry->ready && cache->ready && hash_search(cache->ready, &type, HASH_FIND, NULL))
		entry->ready = type;
	return type == entry->ready;
}

static void
make_ready(KsSchemaCache *cache, Entry *entry, const void *type)
{
	entry->ready = type;
	if (cache->ready)
		(void) hash_search(cache->ready, &type, HASH_ENTER, NULL);
	else
		entry->settled = true;
}

bool
ks_schema_cache_has_unsettled(const KsSchemaCache *cache)
{
	return cache->shaper && cache->unsettled;
}

KsShape *
ks_schema_cache_unsettled(KsSchemaCache *cache, const KsSchemaId *id, const KsMessagePath *path)
{
	Entry	   *entry = find_entry(cache, id);
	bool		changes = cache->d->settings.envelope == KS_DEBEZIUM;
	const void *type;
	KsShape    *shape;

	if (entry->settled || entry->state != KS_SCHEMA_KNOWN)
		return NULL;
	type = find_type(cache, entry, path);
	if (type == NULL || is_ready(cache, entry, type))
		return NULL;
	shape = cache->shaper->shape(type, changes);
	/* what is not that of changes is no schema of rows */
	if (changes && shape->envelope != KS_DEBEZIUM)
	{
		make_ready(cache, entry, type);
		return NULL;
	}
	cache->at_hand = entry;
	cache->type = type;
	return shape;
}

void
ks_schema_cache_settle(KsSchemaCache *cache)
{
	make_ready(cache, cache->at_hand, cache->type);
	cache->settled = cache->at_hand;
}

void
ks_schema_cache_leave_out(KsSchemaCache *cache)
{
	make_ready(cache, cache->at_hand, cache->type);
}

void
ks_schema_cache_all_settled(KsSchemaCache *cache)
{
	cache->unsettled = false;
}

KsShape *
ks_schema_cache_settled(KsSchemaCache *cache, const char *name, KsSchemaId *id)
{
	const KsShaper *shaper = cache->shaper;
	const void *type;

	if (cache->settled == NULL)
		return NULL;
	*id = cache->settled->id;
	type = cache->settled->types.made;
	if (shaper->named)
		type = name ? shaper->named(type, name) : NULL;
	return type ? shaper->shape(type, cache->d->settings.envelope == KS_DEBEZIUM) : NULL;
}
