/*
 * schema_fetch.c
 *	  Fetches schemas from a server's registry into kafka_sink.schemas.
 *
 * A row has all that the schema needs: what it refers to is fetched with it, each
 * before what refers to it.  While the registry is waited for there is no transaction,
 * unless the caller has one of its own.
 *
 * A registry that cannot be asked, or that answers what cannot be understood, is an
 * error, and the caller's to try again.  A schema is absent if the registry says so, of
 * it or of one that it refers to, or if the database cannot hold its text.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "catalog/schemas.h"
#include "kafka/registry.h"
#include "process/schema_fetch_int.h"

#define MAX_REFERENCES	200
#define MAX_DEPTH		32
#define MAX_BYTES		(8 * 1024 * 1024)	/* of answers, when one more is asked for; schemas are smaller */
#define MAX_FAILURES	10		/* of schemas, of which others are none, in a call */
#define LONGEST_MS		10000	/* of a call that has more to fetch, about */

/* --- what a schema refers to --- */

static bool
is_named(const KsFetched *s, const char *name)
{
	ListCell   *lc;

	foreach(lc, s->names)
		if (strcmp(lfirst(lc), name) == 0)
			return true;
	return false;
}

static void
push_text(JsonbParseState **state, const char *name, const char *text)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = unconstify(char *, name);
	v.val.string.len = strlen(name);
	(void) pushJsonbValue(state, WJB_KEY, &v);
	v.val.string.val = unconstify(char *, text);
	v.val.string.len = strlen(text);
	(void) pushJsonbValue(state, WJB_VALUE, &v);
}

static void
add_reference(KsFetched *s, const char *name, const char *subject, const char *version, const char *schema)
{
	(void) pushJsonbValue(&s->refs, WJB_BEGIN_OBJECT, NULL);
	push_text(&s->refs, "name", name);
	push_text(&s->refs, "subject", subject);
	push_text(&s->refs, "version", version);
	push_text(&s->refs, "schema", schema);
	(void) pushJsonbValue(&s->refs, WJB_END_OBJECT, NULL);
}

/* Is it one that was not met before, and are there not too many? */
static bool
may_fetch(KsFetched *s, char *name, int depth)
{
	if (is_named(s, name))
		return false;
	if (depth > MAX_DEPTH || list_length(s->names) >= MAX_REFERENCES)
	{
		s->absent = psprintf("It refers to more than %d schemas, or more than %d deep.", MAX_REFERENCES, MAX_DEPTH);
		return false;
	}
	if (s->bytes > MAX_BYTES)
	{
		s->absent = psprintf("It and what it refers to have more than %d bytes.", MAX_BYTES);
		return false;
	}
	s->names = lappend(s->names, name);
	return true;
}

static void fetch_references(KsFetched *s, Jsonb *answer, int depth);

/*
 * One that was met before is there already; of a circle, whoever began it comes last.
 * In Protobuf, it is the name that is looked for: one schema may be there by several.
 */
static void
fetch_reference(KsFetched *s, JsonbContainer *ref, int depth)
{
	char	   *name = ks_answer_text(ref, "name");
	char	   *subject = ks_answer_text(ref, "subject");
	int64		version = ks_answer_int(ref, "version", PG_INT64_MAX);
	char	   *path;
	char	   *schema;
	char	   *id;
	Jsonb	   *answer;

	if (subject == NULL)
		ks_answer_not_understood("A reference has no subject.");
	id = strcmp(s->type, "PROTOBUF") == 0 && name ? psprintf("%s " INT64_FORMAT " %s", subject, version, name) :
		psprintf("%s " INT64_FORMAT, subject, version);
	if (!may_fetch(s, id, depth))
		return;
	path = psprintf("/subjects/%s/versions/" INT64_FORMAT, ks_answer_encode(s, subject), version);
	answer = ks_answer_ask(s, path);
	/* what was deleted for those who write is there for those who read */
	if (answer == NULL && s->absent == NULL)
		answer = ks_answer_ask(s, psprintf("%s?deleted=true", path));
	if (answer == NULL)
	{
		ks_answer_note_missing(s, psprintf("It refers to subject \"%s\", version " INT64_FORMAT ", which the registry does not have.",
										   subject, version));
		return;
	}
	schema = ks_answer_text(&answer->root, "schema");
	if (schema == NULL)
		ks_answer_not_understood("It has no member \"schema\".");
	fetch_references(s, answer, depth + 1);
	add_reference(s, name ? name : "", subject, psprintf(INT64_FORMAT, version), schema);
}

static void
fetch_references(KsFetched *s, Jsonb *answer, int depth)
{
	JsonbValue	v;
	JsonbContainer *array;

	if (getKeyJsonValueFromContainer(&answer->root, "references", strlen("references"), &v) == NULL ||
		v.type == jbvNull)
		return;
	if (v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
		ks_answer_not_understood("Its references are not an array.");
	array = v.val.binary.data;
	for (uint32 i = 0; i < JsonContainerSize(array) && s->absent == NULL; i++)
	{
		JsonbValue *elem = getIthJsonbValueFromContainer(array, i);

		if (elem->type != jbvBinary || !JsonContainerIsObject(elem->val.binary.data))
			ks_answer_not_understood("A reference is not an object.");
		fetch_reference(s, elem->val.binary.data, depth);
	}
}

/* --- one schema --- */

void
ks_fetch_store(KsFetched *s, const KsSchemaId *id)
{
	KsSchemaFetcher *f = s->f;
	const char *urls = ks_registry_urls(f->conf);
	Jsonb	   *refs = JsonbValueToJsonb(pushJsonbValue(&s->refs, WJB_END_ARRAY, NULL));

	ks_fetch_begin(f);
	ks_schemas_store_fetched(f->server, urls, id, s->type, s->schema, refs);
	ks_fetch_end(f);
}

/* The schema of an answer, and what it refers to. */
void
ks_fetch_read(KsFetched *s, Jsonb *answer)
{
	if (answer == NULL)
	{
		ks_answer_note_missing(s, "The registry has no such schema.");
		return;
	}
	s->type = ks_answer_text(&answer->root, "schemaType");
	s->schema = ks_answer_text(&answer->root, "schema");
	if (s->type == NULL)
		s->type = "AVRO";
	if (s->schema == NULL)
		ks_answer_not_understood("It has no member \"schema\".");
	fetch_references(s, answer, 1);
}

/*
 * Registries know ids of 31 bits, and say of others that they do not know the path: no
 * more may come of what a record tells than that there is no such schema.
 */
static void
fetch_by_id(KsFetched *s, const KsSchemaId *id)
{
	if (id->id > PG_INT32_MAX)
		ks_answer_note_missing(s, "The registry has no such schema.");
	else
		ks_fetch_read(s, ks_answer_ask(s, psprintf("/schemas/ids/" INT64_FORMAT, id->id)));
}

/* The same of GUIDs, which few registries know. */
static void
fetch_by_guid(KsFetched *s, const KsSchemaId *id)
{
	bool		strange;
	Jsonb	   *answer = ks_answer_ask_strange(s, psprintf("/schemas/guids/%s", ks_schema_id_text(id)), &strange);

	if (strange)
	{
		/* an error, if it is no registry at all */
		(void) ks_answer_get(s, "/schemas/ids/0");
		ks_answer_note_missing(s, "The registry knows no schemas by GUIDs.");
		return;
	}
	ks_fetch_read(s, answer);
}

/* --- by Apicurio's global ids, which only its own interface knows --- */

#define CORE	"/apis/registry/v2"

/* The type of a schema, as the registry's list of schemas has it; NULL: it has none. */
static char *
find_type(KsFetched *s, int64 id)
{
	Jsonb	   *answer = ks_answer_ask(s, psprintf(CORE "/search/artifacts?globalId=" INT64_FORMAT, id));
	JsonbValue	v;
	JsonbValue *first;

	if (answer == NULL)
		return NULL;
	if (getKeyJsonValueFromContainer(&answer->root, "artifacts", strlen("artifacts"), &v) == NULL ||
		v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
		ks_answer_not_understood("It has no array \"artifacts\".");
	if (JsonContainerSize(v.val.binary.data) == 0)
		return NULL;
	first = getIthJsonbValueFromContainer(v.val.binary.data, 0);
	if (first->type != jbvBinary || !JsonContainerIsObject(first->val.binary.data))
		ks_answer_not_understood("A schema is not an object.");
	return ks_answer_text(first->val.binary.data, "type");
}

/* The text itself; NULL: the registry has none, or the database cannot hold it. */
static char *
get_content(KsFetched *s, int64 id)
{
	char	   *body = ks_answer_get(s, psprintf(CORE "/ids/globalIds/" INT64_FORMAT, id));

	return body ? ks_answer_to_server(s, body) : NULL;
}

static void fetch_global_references(KsFetched *s, int64 id, int depth);

static void
fetch_global_reference(KsFetched *s, JsonbContainer *ref, int depth)
{
	char	   *name = ks_answer_text(ref, "name");
	char	   *group = ks_answer_text(ref, "groupId");
	char	   *artifact = ks_answer_text(ref, "artifactId");
	char	   *version = ks_answer_text(ref, "version");
	char	   *key;
	char	   *schema;
	Jsonb	   *answer;
	int64		id;

	if (artifact == NULL || version == NULL)
		ks_answer_not_understood("A reference has no artifact or no version.");
	group = group ? group : "default";
	key = psprintf("%s/%s %s", group, artifact, version);
	if (!may_fetch(s, key, depth))
		return;
	answer = ks_answer_ask(s, psprintf(CORE "/groups/%s/artifacts/%s/versions/%s/meta", ks_answer_encode(s, group),
							  ks_answer_encode(s, artifact), ks_answer_encode(s, version)));
	id = answer ? ks_answer_int(&answer->root, "globalId", PG_INT64_MAX) : -1;
	schema = answer ? get_content(s, id) : NULL;
	if (schema == NULL)
	{
		ks_answer_note_missing(s, psprintf("It refers to \"%s\", version %s, which the registry does not have.", artifact, version));
		return;
	}
	fetch_global_references(s, id, depth + 1);
	add_reference(s, name ? name : "", artifact, version, schema);
}

static void
fetch_global_references(KsFetched *s, int64 id, int depth)
{
	char	   *body = ks_answer_get(s, psprintf(CORE "/ids/globalIds/" INT64_FORMAT "/references", id));
	Jsonb	   *array = body ? ks_answer_parse(s, body) : NULL;

	if (array == NULL)
		return;
	if (!JB_ROOT_IS_ARRAY(array))
		ks_answer_not_understood("References are not an array.");
	for (uint32 i = 0; i < JB_ROOT_COUNT(array) && s->absent == NULL; i++)
	{
		JsonbValue *elem = getIthJsonbValueFromContainer(&array->root, i);

		if (elem->type != jbvBinary || !JsonContainerIsObject(elem->val.binary.data))
			ks_answer_not_understood("A reference is not an object.");
		fetch_global_reference(s, elem->val.binary.data, depth);
	}
}

static void
fetch_global(KsFetched *s, int64 id)
{
	s->type = find_type(s, id);
	s->schema = s->type ? get_content(s, id) : NULL;
	if (s->schema == NULL)
		ks_answer_note_missing(s, "The registry has no such schema.");
	else
		fetch_global_references(s, id, 1);
}

static void
fetch_one(KsSchemaFetcher *f, const KsSchemaId *id)
{
	KsFetched	s = {.f = f};

	(void) pushJsonbValue(&s.refs, WJB_BEGIN_ARRAY, NULL);
	if (id->global)
		fetch_global(&s, id->id);
	else if (id->id < 0)
		fetch_by_guid(&s, id);
	else
		fetch_by_id(&s, id);
	if (s.absent)
		ks_schemas_note_absent(f->server, ks_registry_urls(f->conf), id, s.absent, s.unreadable);
	else
		ks_fetch_store(&s, id);
}

void
ks_fetch_open(KsSchemaFetcher *f)
{
	MemoryContext old = MemoryContextSwitchTo(f->cxt);

	/* whose credentials are converted, too */
	ks_fetch_begin(f);
	f->registry = ks_registry_open(f->conf);
	ks_fetch_end(f);
	MemoryContextSwitchTo(old);
	if (f->registry == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("server \"%s\" has no schema registry", f->server),
				 errhint("ALTER SERVER %s OPTIONS (ADD schema_registry_url 'https://...').",
						 quote_identifier(f->server))));
}

/* What is said of one schema, and not of the registry? */
static bool
is_of_schema(int sqlstate)
{
	return sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE || sqlstate == ERRCODE_FDW_ERROR;
}

/* The error, if others may be had for all that; it is thrown if not. */
static ErrorData *
try_one(KsSchemaFetcher *f, const KsSchemaId *id, MemoryContext cxt)
{
	MemoryContext old = CurrentMemoryContext;
	ErrorData  *volatile edata = NULL;

	PG_TRY();
	{
		fetch_one(f, id);
	}
	PG_CATCH();
	{
		if (f->serving || IsTransactionState() || !is_of_schema(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	return edata;
}

/* Values, keys and topics of their own may tell the same. */
static bool
is_repeated(const List *ids, int at)
{
	for (int i = 0; i < at; i++)
		if (ks_schema_id_equal(list_nth(ids, i), list_nth(ids, at)))
			return true;
	return false;
}

void
ks_schemas_fetch(KsSchemaFetcher *f, List *ids)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink fetched schema",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	TimestampTz start = GetCurrentTimestamp();
	ErrorData  *first = NULL;
	int			failures = 0;

	if (f->registry == NULL)
		ks_fetch_open(f);
	for (int i = 0; i < list_length(ids); i++)
	{
		ErrorData  *edata;

		if (is_repeated(ids, i))
			continue;
		edata = try_one(f, list_nth(ids, i), old);
		failures += edata != NULL;
		if (first == NULL)
			first = edata;
		MemoryContextReset(cxt);
		/* what is absent is to be known before that is no longer believed */
		if (failures >= MAX_FAILURES || TimestampDifferenceExceeds(start, GetCurrentTimestamp(), LONGEST_MS))
			break;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	if (first)
		ks_error_rethrow(first);
}

/* --- what is stored, and what the registry has now --- */

/* By a GUID it is always the same: that is made of it. */
static char *
text_now(KsFetched *s, const KsSchemaId *id)
{
	Jsonb	   *answer;

	if (id->global)
		return get_content(s, id->id);
	if (id->id < 0 || id->id > PG_INT32_MAX)
		return NULL;
	answer = ks_answer_ask(s, psprintf("/schemas/ids/" INT64_FORMAT, id->id));
	return answer ? ks_answer_text(&answer->root, "schema") : NULL;
}

bool
ks_fetch_differs(KsSchemaFetcher *f, const KsSchemaId *id, const char *text)
{
	bool		result;

	ks_fetch_begin(f);
	result = ks_schemas_differs(f->server, ks_registry_urls(f->conf), id, text);
	ks_fetch_end(f);
	return result;
}

bool
ks_schemas_fetch_differs(KsSchemaFetcher *f, const KsSchemaId *id)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink fetched schema",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsFetched	s = {.f = f};
	bool		result = false;
	char	   *text;

	if (f->registry == NULL)
		ks_fetch_open(f);
	text = text_now(&s, id);
	if (text)
		result = ks_fetch_differs(f, id, text);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return result;
}
