/*
 * avro_registry.c
 *	  Schemas that records name: each is asked for, parsed and compiled once.
 *
 * Whether a schema is known is asked before a batch is decoded
 * (ks_avro_registry_knows()), so that decoding never has to wait for one.  What is
 * wrong with a schema is kept and said for each record that is by it: it is these
 * records that cannot be read, others can.
 *
 * Writers that alternate between schemas are common, so the entries met last stand
 * in a small table before the hash.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "format/avro_registry.h"

#define RECENT		64			/* a power of two */

struct KsAvroRegistry
{
	KsDecoder  *d;
	bool		of_keys;
	MemoryContext cxt;
	HTAB	   *entries;
	KsAvroEntry *recent[RECENT];
};

KsAvroRegistry *
ks_avro_registry_create(KsDecoder *d, bool of_keys)
{
	KsAvroRegistry *reg = palloc0(sizeof(KsAvroRegistry));
	HASHCTL		ctl = {.keysize = sizeof(KsSchemaId), .entrysize = sizeof(KsAvroEntry)};

	reg->d = d;
	reg->of_keys = of_keys;
	reg->cxt = ctl.hcxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink schemas",
												ALLOCSET_SMALL_SIZES);
	reg->entries = hash_create("kafka_sink schemas", 16, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return reg;
}

static inline KsAvroEntry *
find_entry(KsAvroRegistry *reg, const KsSchemaId *id)
{
	int			slot = (id->id >= 0 ? (int) id->id : id->guid.data[UUID_LEN - 1]) & (RECENT - 1);
	KsAvroEntry *entry = reg->recent[slot];
	bool		found;

	if (likely(entry && ks_schema_id_equal(&entry->id, id)))
		return entry;
	entry = hash_search(reg->entries, id, HASH_ENTER, &found);
	if (!found)
		memset((char *) entry + sizeof(KsSchemaId), 0, sizeof(KsAvroEntry) - sizeof(KsSchemaId));
	reg->recent[slot] = entry;
	return entry;
}

/* Its text into a context of the entry's. */
static void
ask(KsAvroRegistry *reg, KsAvroEntry *entry)
{
	const KsFormatSettings *set = &reg->d->settings;
	MemoryContext cxt = AllocSetContextCreate(reg->cxt, "kafka_sink schema", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsSchemaState state = set->find_schema(set->server, &entry->id, &entry->text);

	MemoryContextSwitchTo(old);
	if (entry->cxt)
		MemoryContextDelete(entry->cxt);
	entry->cxt = cxt;
	entry->state = state;
}

bool
ks_avro_registry_knows(KsAvroRegistry *reg, const KsSchemaId *id, uint32 pass)
{
	KsAvroEntry *entry = find_entry(reg, id);

	if (likely(entry->state == KS_SCHEMA_KNOWN) || entry->pass == pass)
		return true;
	/* what was absent may be there by now */
	entry->pass = pass;
	ask(reg, entry);
	return entry->state != KS_SCHEMA_UNKNOWN;
}

KsAvroNode *
ks_avro_parse_text(const KsSchemaText *text)
{
	const char **texts = palloc((text->nrefs + 1) * sizeof(char *));

	if (strcmp(text->type, "AVRO") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the schema is not an Avro schema"),
				 errdetail("Its type is %s.", text->type)));
	for (int i = 0; i < text->nrefs; i++)
		texts[i] = text->refs[i];
	texts[text->nrefs] = text->text;
	return ks_avro_parse_all(texts, text->nrefs + 1);
}

void
ks_avro_decode_json(const KsSchemaText *text, const char *s, int len, StringInfo out)
{
	KsDecoder	d = {.encoding = GetDatabaseEncoding()};
	KsAvroReader r = {
		.start = (const uint8 *) s, .p = (const uint8 *) s, .end = (const uint8 *) s + len,
		.spare = KS_AVRO_SPARE + (int64) len, .d = &d
	};

	r.scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink avro", ALLOCSET_SMALL_SIZES);
	ks_avro_append_json(&r, ks_avro_parse_text(text), out);
	if (r.p != r.end)
		ks_avro_bad(&r, "More bytes follow than the schema has values for");
	MemoryContextDelete(r.scratch);
}

/* In the entry's context. */
static void
compile(KsAvroRegistry *reg, KsAvroEntry *entry)
{
	KsDecoder  *d = reg->d;
	KsAvroNode *schema = ks_avro_parse_text(&entry->text);

	if (reg->of_keys)
		entry->key = schema;
	else if (d->settings.envelope == KS_DEBEZIUM)
	{
		entry->change = ks_avro_change_compile(d, schema);
		entry->program = ks_avro_change_row(entry->change);
	}
	else
	{
		KsAvroProgram *program = ks_avro_compile(&d->settings, d->target, schema, KS_AVRO_VALUE);

		ks_avro_check_matched(d, program);
		entry->program = program;
	}
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

/* What is thrown on the way is released with the record's subtransaction. */
static void
compile_once(KsAvroRegistry *reg, KsAvroEntry *entry)
{
	MemoryContext old = MemoryContextSwitchTo(entry->cxt);

	PG_TRY();
	{
		compile(reg, entry);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		if (!is_lasting(geterrcode()))
			PG_RE_THROW();
		MemoryContextSwitchTo(entry->cxt);
		edata = CopyErrorData();
		FlushErrorState();
		/* what is kept of an error may be no more than its message */
		edata->message = psprintf("schema %s of the registry: %s", ks_schema_id_text(&entry->id), edata->message);
		entry->error = edata;
		MemoryContextSwitchTo(old);
		ReThrowError(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

KsAvroEntry *
ks_avro_registry_get(KsAvroRegistry *reg, const KsSchemaId *id)
{
	KsAvroEntry *entry = find_entry(reg, id);

	if (likely(entry->program != NULL || entry->key != NULL))
		return entry;
	if (entry->state == KS_SCHEMA_UNKNOWN)
		ask(reg, entry);
	if (entry->state != KS_SCHEMA_KNOWN)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("schema %s is not in the registry of server \"%s\"", ks_schema_id_text(id),
						reg->d->settings.server),
				 entry->state == KS_SCHEMA_ABSENT ? errdetail_internal("%s", entry->text.text) : 0,
				 errhint("Is the option schema_registry_url that of the registry which the record was written with?")));
	if (entry->error)
		ReThrowError(entry->error);
	compile_once(reg, entry);
	return entry;
}
