/*
 * decode_json_schema.c
 *	  Values and keys in JSON behind what tells their schema.
 *
 * That is taken off, and what is left is JSON like any other; no JSON begins as an id
 * does, so where the setting leaves it open there may be none.  The schema is only
 * looked for where values are to be checked by it, a column takes its name, or the target
 * is to be ready for it.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/decode_format.h"
#include "format/jschema.h"
#include "format/schema_cache.h"
#include "format/shape.h"

/* What is made of a schema. */
typedef struct JsonSchema
{
	KsJsonSchema *rules;		/* NULL: nothing is checked by it */
	const char *name;			/* NULL: it has none */
} JsonSchema;

typedef struct KsJsonSchemas
{
	JsonSchema *value;			/* that the sink gives, or of the value at hand */
	JsonSchema *key;
	uint64		checked;		/* the record whose key has been */
	MemoryContext scratch;
} KsJsonSchemas;

/* What no table can be made of is none that the target could follow, and is not passed over. */
static void
check_shape(const KsSchemaText *text)
{
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink JSON schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);

	(void) ks_jschema_shaper.parse(text);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

/* A KsCompileSchema. */
static void *
compile(KsDecoder *d, const KsSchemaText *text, bool of_keys)
{
	JsonSchema *schema = palloc0(sizeof(JsonSchema));

	if (strcmp(text->type, "JSON") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the schema is not a JSON schema"),
				 errdetail("Its type is %s.", text->type)));
	if (d->settings.evolves && !of_keys)
		check_shape(text);
	if (d->settings.validate)
	{
		schema->rules = ks_jschema_compile(text);
		schema->name = ks_jschema_name(schema->rules);
	}
	else
		schema->name = ks_jschema_name_of(text->text);
	return schema;
}

/* Does a column take the name of the schema? */
static bool
is_named(const KsTarget *target)
{
	for (int i = 0; i < target->ncols; i++)
		if (target->cols[i].source == KS_FROM_SCHEMA && !target->cols[i].unused)
			return true;
	return false;
}

/* The schema that the sink gives; NULL: records tell it, or nobody asks. */
static JsonSchema *
begin_part(KsDecoder *d, KsSchemaPart *part, const char *text)
{
	bool		of_keys = part == &d->key_schemas;
	KsSchemaText given = {.type = "JSON", .text = text};
	bool		asks = d->settings.validate || (!of_keys && (is_named(d->target) || d->settings.evolves));

	if (asks)
		ks_schemas_begin(d, part, text, compile);
	part->used = true;
	part->framing = d->settings.framing;
	part->unpacked.cxt = CurrentMemoryContext;
	return asks && text ? compile(d, &given, of_keys) : NULL;
}

void
ks_json_schema_create(KsDecoder *d)
{
	const KsFormatSettings *set = &d->settings;
	KsJsonSchemas *js = d->json_schemas = palloc0(sizeof(KsJsonSchemas));

	js->scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink JSON schema", ALLOCSET_DEFAULT_SIZES);
	if (set->format == KS_FORMAT_JSON_SCHEMA)
		js->value = begin_part(d, &d->value_schemas, set->value_schema);
	if (set->key_format == KS_FORMAT_JSON_SCHEMA)
		js->key = begin_part(d, &d->key_schemas, set->key_schema);
}

KS_NORETURN static void no_frame(const char *what, const char *hint);

static void
no_frame(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("record does not tell its JSON schema"),
			 errdetail("%s.", what),
			 errhint("%s", hint)));
}

/* Takes off what tells the schema; false: nothing does. */
static bool
take_frame(KsDecoder *d, KsSchemaPart *part, const char **s, int *len, KsSchemaId *id)
{
	const char *wrong;
	int			skip;

	if (part->framing == KS_FRAMING_NONE)
		return false;
	wrong = ks_framing_read(part->framing, d->record, part == &d->key_schemas, id, &skip);
	if (wrong == NULL)
	{
		ks_schemas_unpack(d, part, s, len, skip);
		return true;
	}
	/* JSON alone */
	if (part->framing == KS_FRAMING_AUTO && (*len == 0 || (uint8) **s > 1) &&
		!ks_framing_in_header(d->record, part == &d->key_schemas))
		return false;
	no_frame(wrong, "If it is not written by a serializer that uses a registry, set framing => 'none'.");
}

/* What is made on the way is gone with the next value. */
static void
check(KsDecoder *d, const JsonSchema *schema, const char *s, int len)
{
	MemoryContext old;

	MemoryContextReset(d->json_schemas->scratch);
	old = MemoryContextSwitchTo(d->json_schemas->scratch);
	if (!ks_is_ascii(s, len))
		(void) pg_verify_mbstr(PG_UTF8, s, len, false);
	ks_jschema_check(schema->rules, s, len);
	MemoryContextSwitchTo(old);
	MemoryContextReset(d->json_schemas->scratch);
}

static void
open_part(KsDecoder *d, KsSchemaPart *part, JsonSchema **schema, const char **s, int *len, int64 *told)
{
	KsSchemaId	id = {.id = -1};
	bool		framed = take_frame(d, part, s, len, &id);

	*told = id.id;
	if (part->cache)
	{
		if (!framed && d->settings.validate)
			no_frame("Nothing tells it, in a header or before it", "Give the schema in value_schema or key_schema, or set validate => false.");
		*schema = framed ? ks_schema_cache_get(part->cache, &id) : NULL;
	}
	if (*schema && (*schema)->rules && (part == &d->value_schemas || d->json_schemas->checked != d->serial))
		check(d, *schema, *s, *len);
}

void
ks_json_schema_value(KsDecoder *d, const char **s, int *len)
{
	open_part(d, &d->value_schemas, &d->json_schemas->value, s, len, &d->schema_id);
	d->payload = *s;
	d->payload_len = *len;
}

void
ks_json_schema_key(KsDecoder *d, const char **s, int *len)
{
	int64		id;

	open_part(d, &d->key_schemas, &d->json_schemas->key, s, len, &id);
	d->json_schemas->checked = d->serial;
}

void
ks_json_schema_check_key(KsDecoder *d)
{
	const char *s = d->record->key;
	int			len = d->record->keylen;

	ks_json_schema_key(d, &s, &len);
}

const char *
ks_json_schema_name(KsDecoder *d)
{
	return d->json_schemas->value ? d->json_schemas->value->name : NULL;
}
