/*
 * schemas.c
 *	  Schemas that have been fetched from registries: rows of kafka_sink.schemas.
 *
 * What an id means is the registry's affair, so rows are found by its URLs too: with
 * another schema_registry_url all is asked for anew.  Those of the empty URL were given
 * (add_schema()), and count before others.  A schema never changes, and
 * neither does a row.  That there is none is only remembered, by this process and not
 * for long: it may be registered at any time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/session.h"
#include "catalog/schemas.h"
#include "catalog/sinks.h"
#include "catalog/version.h"
#include "kafka/options.h"

#define ABSENT_MS		30000	/* so long "there is none" is believed */
#define MAX_ABSENT		10000	/* of these at a time */
#define MAX_WHY			256
#define MAX_KEPT		100
#define STORE_LOCK_TIMEOUT	"100ms"

/* --- what is absent --- */

typedef struct AbsentKey
{
	uint64		registry;		/* hash of the server and its URLs */
	KsSchemaId	id;
} AbsentKey;

typedef struct Absent
{
	AbsentKey	key;
	TimestampTz until;
	bool		unreadable;
	char		why[MAX_WHY];
} Absent;

static HTAB *absent = NULL;

static AbsentKey
absent_key(const char *server, const char *urls, const KsSchemaId *id)
{
	AbsentKey	key;

	key.registry = hash_bytes_extended((const unsigned char *) server, strlen(server), 0);
	key.registry = hash_bytes_extended((const unsigned char *) urls, strlen(urls), key.registry);
	key.id = *id;
	return key;
}

void
ks_schemas_forget_absent(void)
{
	if (absent)
		hash_destroy(absent);
	absent = NULL;
}

void
ks_schemas_note_absent(const char *server, const char *urls, const KsSchemaId *id, const char *why, bool unreadable)
{
	AbsentKey	key = absent_key(server, urls, id);
	Absent	   *entry;

	if (absent && hash_get_num_entries(absent) >= MAX_ABSENT)
		ks_schemas_forget_absent();
	if (absent == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(AbsentKey), .entrysize = sizeof(Absent), .hcxt = TopMemoryContext};

		absent = hash_create("kafka_sink absent schemas", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(absent, &key, HASH_ENTER, NULL);
	entry->until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ABSENT_MS);
	entry->unreadable = unreadable;
	strlcpy(entry->why, why, sizeof(entry->why));
}

/* Nobody has said so lately: NULL. */
static const Absent *
find_absent(const char *server, const char *urls, const KsSchemaId *id)
{
	AbsentKey	key = absent_key(server, urls, id);
	Absent	   *entry = absent ? hash_search(absent, &key, HASH_FIND, NULL) : NULL;
	TimestampTz now;

	if (entry == NULL)
		return NULL;
	/* what was so when the transaction began is so until it ends: a batch may take that long */
	now = GetCurrentTimestamp();
	if (entry->until > Min(now, GetCurrentTransactionStartTimestamp()) &&
		entry->until <= TimestampTzPlusMilliseconds(now, ABSENT_MS))
		return entry;
	(void) hash_search(absent, &key, HASH_REMOVE, NULL);
	return NULL;
}

/* --- what somebody else has in hand --- */

/* A schema that could not be stored, as a role's transaction that has fetched it goes on. */
typedef struct Kept
{
	AbsentKey	key;
	KsSchemaText text;
} Kept;

static HTAB *kept = NULL;

/* Member 'name' of each; of those that lack it an empty text. */
static const char **
texts_in(Jsonb *refs, const char *name, MemoryContext cxt)
{
	int			n = JB_ROOT_COUNT(refs);
	const char **result = MemoryContextAlloc(cxt, (n + 1) * sizeof(char *));

	for (int i = 0; i < n; i++)
	{
		JsonbValue *ref = getIthJsonbValueFromContainer(&refs->root, i);
		JsonbValue	v = {.type = jbvNull};

		(void) getKeyJsonValueFromContainer(ref->val.binary.data, name, strlen(name), &v);
		result[i] = v.type != jbvString ? "" :
			MemoryContextStrdup(cxt, pnstrdup(v.val.string.val, v.val.string.len));
	}
	return result;
}

static void
keep(const char *server, const char *urls, const KsSchemaId *id, const char *type,
	 const char *schema, Jsonb *refs)
{
	AbsentKey	key = absent_key(server, urls, id);
	MemoryContext cxt = TopMemoryContext;
	KsSchemaText text = {.nrefs = JB_ROOT_COUNT(refs)};

	if (kept == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(AbsentKey), .entrysize = sizeof(Kept), .hcxt = cxt};

		kept = hash_create("kafka_sink kept schemas", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	if (hash_search(kept, &key, HASH_FIND, NULL))
		return;
	text.type = MemoryContextStrdup(cxt, type);
	text.text = MemoryContextStrdup(cxt, schema);
	text.refs = texts_in(refs, "schema", cxt);
	text.ref_names = texts_in(refs, "name", cxt);
	((Kept *) hash_search(kept, &key, HASH_ENTER, NULL))->text = text;
}

/* It stays as it is, so the text is as good as a copy. */
static bool
find_kept(const char *server, const char *urls, const KsSchemaId *id, KsSchemaText *result)
{
	AbsentKey	key = absent_key(server, urls, id);
	Kept	   *entry = kept ? hash_search(kept, &key, HASH_FIND, NULL) : NULL;

	if (entry)
		*result = entry->text;
	return entry != NULL;
}

/* --- what is there --- */

const char *
ks_schemas_registry(const char *server)
{
	return server ? ks_options_of_server(server, "schema.registry.url") : NULL;
}

/* A column of the first row, in cxt. */
static char *
text_of(int column, MemoryContext cxt)
{
	return MemoryContextStrdup(cxt, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column));
}

/* One that is an array. */
static const char **
texts_of(int column, MemoryContext cxt, int *n)
{
	bool		isnull;
	Datum		d = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &isnull);
	Datum	   *elems;
	const char **result;

	deconstruct_array(DatumGetArrayTypeP(d), TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL, n);
	result = MemoryContextAlloc(cxt, (*n + 1) * sizeof(char *));
	for (int i = 0; i < *n; i++)
		result[i] = MemoryContextStrdup(cxt, TextDatumGetCString(elems[i]));
	return result;
}

/* Which row: the parameters from $3 on, of these types, are its ids. */
#define ID_TYPES	INT8OID, INT8OID, UUIDOID
#define ID_IS "(s.id OPERATOR(pg_catalog.=) $3 OR s.global_id OPERATOR(pg_catalog.=) $4 OR s.guid OPERATOR(pg_catalog.=) $5)"

static void
set_id(const KsSchemaId *id, Datum *values, char *nulls)
{
	values[0] = values[1] = Int64GetDatum(id->id);
	values[2] = UUIDPGetDatum(&id->guid);
	memset(nulls, 'n', 3);
	nulls[id->id < 0 ? 2 : id->global ? 1 : 0] = ' ';
}

KS_NORETURN static void no_registry(const char *server);

static void
no_registry(const char *server)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("server \"%s\" has no schema registry", server ? server : ""),
			 errdetail("Records by schemas that the sink does not give need one."),
			 errhint("ALTER SERVER ... OPTIONS (ADD schema_registry_url 'https://...'), or give schemas with kafka_sink.add_schema().")));
}

bool
ks_schemas_given(const char *server)
{
	Oid			types[] = {TEXTOID};
	Datum		values[1];
	bool		result;

	if (server == NULL)
		return false;
	values[0] = CStringGetTextDatum(server);
	SPI_connect();
	ks_catalog_execute("SELECT FROM kafka_sink.schemas s WHERE s.server OPERATOR(pg_catalog.=) $1 "
					   "AND s.registry OPERATOR(pg_catalog.=) '' LIMIT 1", 1, types, values, NULL);
	result = SPI_processed > 0;
	SPI_finish();
	return result;
}

KsSchemaState
ks_schemas_find(const char *server, const KsSchemaId *id, KsSchemaText *result)
{
	MemoryContext cxt = CurrentMemoryContext;
	const char *urls = ks_schemas_registry(server);
	Oid			types[] = {TEXTOID, TEXTOID, ID_TYPES};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1] = "     ";
	const Absent *none;

	memset(result, 0, sizeof(KsSchemaText));
	if (server == NULL)
		no_registry(server);
	values[0] = CStringGetTextDatum(server);
	values[1] = CStringGetTextDatum(urls ? urls : "");
	set_id(id, values + 2, nulls + 2);
	SPI_connect();
	/* what was given comes first */
	ks_catalog_execute("SELECT s.type, s.schema, ARRAY(SELECT r.value OPERATOR(pg_catalog.->>) 'schema' "
					   "FROM pg_catalog.jsonb_array_elements(s.refs) WITH ORDINALITY r(value, n) ORDER BY r.n), "
					   "ARRAY(SELECT COALESCE(r.value OPERATOR(pg_catalog.->>) 'name', '') "
					   "FROM pg_catalog.jsonb_array_elements(s.refs) WITH ORDINALITY r(value, n) ORDER BY r.n) "
					   "FROM kafka_sink.schemas s WHERE s.server OPERATOR(pg_catalog.=) $1 "
					   "AND (s.registry OPERATOR(pg_catalog.=) $2 OR s.registry OPERATOR(pg_catalog.=) '') "
					   "AND " ID_IS " ORDER BY s.registry LIMIT 1",
					   lengthof(types), types, values, nulls);
	if (SPI_processed == 1)
	{
		result->type = text_of(1, cxt);
		result->text = text_of(2, cxt);
		result->refs = texts_of(3, cxt, &result->nrefs);
		result->ref_names = texts_of(4, cxt, &result->nrefs);
	}
	SPI_finish();
	if (result->text)
		return KS_SCHEMA_KNOWN;
	if (urls == NULL)
	{
		if (!ks_schemas_given(server))
			no_registry(server);
		/* there is nobody to ask */
		result->text = pstrdup("Its server has no registry, and kafka_sink.add_schema() has not given it.");
		return KS_SCHEMA_ABSENT;
	}
	if (find_kept(server, urls, id, result))
		return KS_SCHEMA_KNOWN;
	none = find_absent(server, urls, id);
	if (none == NULL)
		return KS_SCHEMA_UNKNOWN;
	result->text = pstrdup(none->why);
	result->unreadable = none->unreadable;
	return KS_SCHEMA_ABSENT;
}

bool
ks_schemas_store(const char *server, const char *urls, const KsSchemaId *id,
				 const char *type, const char *schema, Jsonb *refs)
{
	Oid			types[] = {TEXTOID, TEXTOID, ID_TYPES, TEXTOID, TEXTOID, JSONBOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1] = "        ";
	bool		result;

	values[0] = CStringGetTextDatum(server);
	values[1] = CStringGetTextDatum(urls);
	set_id(id, values + 2, nulls + 2);
	values[5] = CStringGetTextDatum(type);
	values[6] = CStringGetTextDatum(schema);
	values[7] = JsonbPGetDatum(refs);
	SPI_connect();
	ks_catalog_execute("INSERT INTO kafka_sink.schemas (server, registry, id, global_id, guid, type, schema, refs) "
					   "VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
					   lengthof(types), types, values, nulls);
	result = SPI_processed == 1;
	SPI_finish();
	return result;
}

/*
 * Whoever may use the server may have it fetched, in a transaction that lasts as long as
 * he likes: a worker must not wait for that.
 */
void
ks_schemas_store_fetched(const char *server, const char *urls, const KsSchemaId *id,
						 const char *type, const char *schema, Jsonb *refs)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	int			level = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", STORE_LOCK_TIMEOUT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		(void) ks_schemas_store(server, urls, id, type, schema, refs);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE ||
			(kept && hash_get_num_entries(kept) >= MAX_KEPT))
			ks_session_leave_subtransaction(owner, cxt);
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		keep(server, urls, id, type, schema, refs);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	AtEOXact_GUC(true, level);
}

/* Whatever a registry writes between words. */
static bool
is_same_text(const char *a, const char *b)
{
	static const char space[] = " \t\r\n";

	for (;; a++, b++)
	{
		a += strspn(a, space);
		b += strspn(b, space);
		if (*a != *b)
			return false;
		if (*a == '\0')
			return true;
	}
}

bool
ks_schemas_differs(const char *server, const char *urls, const KsSchemaId *id, const char *schema)
{
	Oid			types[] = {TEXTOID, TEXTOID, ID_TYPES};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1] = "     ";
	bool		result;

	values[0] = CStringGetTextDatum(server);
	values[1] = CStringGetTextDatum(urls);
	set_id(id, values + 2, nulls + 2);
	SPI_connect();
	ks_catalog_execute("SELECT s.schema FROM kafka_sink.schemas s WHERE s.server OPERATOR(pg_catalog.=) $1 "
					   "AND s.registry OPERATOR(pg_catalog.=) $2 AND " ID_IS,
					   lengthof(types), types, values, nulls);
	result = SPI_processed == 1 && !is_same_text(text_of(1, CurrentMemoryContext), schema);
	SPI_finish();
	return result;
}

bool
ks_schemas_remove_given(const char *server, const KsSchemaId *id)
{
	Oid			types[] = {TEXTOID, TEXTOID, ID_TYPES};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1] = "     ";
	bool		result;

	values[0] = CStringGetTextDatum(server);
	values[1] = CStringGetTextDatum("");
	set_id(id, values + 2, nulls + 2);
	SPI_connect();
	ks_catalog_execute("DELETE FROM kafka_sink.schemas s WHERE s.server OPERATOR(pg_catalog.=) $1 "
					   "AND s.registry OPERATOR(pg_catalog.=) $2 AND " ID_IS,
					   lengthof(types), types, values, nulls);
	result = SPI_processed == 1;
	SPI_finish();
	return result;
}

void
ks_schemas_forget(const char *server)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(server)};

	if (!ks_version_is_ours())
		return;
	SPI_connect();
	ks_catalog_execute("DELETE FROM kafka_sink.schemas s WHERE s.server OPERATOR(pg_catalog.=) $1",
					   1, types, values, NULL);
	SPI_finish();
}

void
ks_schemas_rename(const char *from, const char *to)
{
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(from), CStringGetTextDatum(to)};

	ks_schemas_forget(to);
	if (!ks_version_is_ours())
		return;
	SPI_connect();
	ks_catalog_execute("UPDATE kafka_sink.schemas s SET server = $2 WHERE s.server OPERATOR(pg_catalog.=) $1",
					   2, types, values, NULL);
	SPI_finish();
}
