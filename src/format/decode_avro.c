/*
 * decode_avro.c
 *	  Values and keys in Avro's binary encoding, by schemas that the sink gives, or that
 *	  records tell and a registry has.
 *
 * Values go straight to the columns that take them.  Keys, which are asked for by
 * columns of their own and by deletes, are written as JSON, and read as that.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "format/avro_change.h"
#include "format/avro_registry.h"
#include "format/decode_format.h"
#include "format/framing.h"

/* Of values, or of keys. */
typedef struct AvroPart
{
	bool		used;			/* else they have another format */
	KsFraming	framing;
	KsAvroRegistry *registry;	/* NULL: the sink has the schema */
	uint64		print;			/* fingerprint, where the framing has one */
} AvroPart;

typedef struct KsAvro
{
	AvroPart	values;
	AvroPart	keys;
	KsAvroProgram *program;		/* of the value at hand, */
	KsAvroChange *change;		/* which may be in an envelope */
	KsAvroNode *key;			/* of the key at hand */
	MemoryContext scratch;
	StringInfoData key_text;
} KsAvro;

/* The schema that the sink gives; NULL: records tell it. */
static KsAvroNode *
begin_part(KsDecoder *d, AvroPart *part, const char *text)
{
	KsAvroNode *schema;

	part->used = true;
	part->framing = ks_framing_of(&d->settings, text);
	if (text == NULL)
	{
		part->registry = ks_avro_registry_create(d, part == &d->avro->keys);
		return NULL;
	}
	schema = ks_avro_parse(text, strlen(text));
	if (part->framing == KS_FRAMING_SINGLE_OBJECT)
		part->print = ks_avro_fingerprint(schema);
	return schema;
}

/* In the current context. */
void
ks_avro_create(KsDecoder *d)
{
	const KsFormatSettings *set = &d->settings;
	KsAvro	   *avro = d->avro = palloc0(sizeof(KsAvro));

	avro->scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink avro", ALLOCSET_SMALL_SIZES);
	if (set->format == KS_FORMAT_AVRO)
	{
		KsAvroNode *schema = begin_part(d, &avro->values, set->value_schema);

		if (schema && set->envelope == KS_DEBEZIUM)
			avro->change = ks_avro_change_compile(d, schema);
		else if (schema)
		{
			avro->program = ks_avro_compile(set, d->target, schema, KS_AVRO_VALUE);
			ks_avro_check_matched(d, avro->program);
		}
	}
	if (set->key_format == KS_FORMAT_AVRO)
	{
		avro->key = begin_part(d, &avro->keys, set->key_schema);
		initStringInfo(&avro->key_text);
	}
}

KS_NORETURN static void no_frame(const char *what, const char *hint);

static void
no_frame(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid Avro"),
			 errdetail("%s.", what),
			 errhint("%s", hint)));
}

/* C3 01, and the schema's fingerprint. */
static void
take_single_object(KsAvroReader *r, uint64 print)
{
	const uint8 *p = r->p;
	uint64		v = 0;

	if (r->end - p < 10 || p[0] != 0xc3 || p[1] != 0x01)
		no_frame("It is not in Avro's single-object encoding",
				 "If it is written without one, set framing => 'none'.");
	for (int i = 9; i >= 2; i--)
		v = v << 8 | p[i];
	if (v != print)
		no_frame("Its schema has another fingerprint than the sink's",
				 "Is it written with the sink's schema?");
	r->p += 10;
}

/* Begins behind what tells the schema; *id is -1 if nothing does, or no number. */
static KsAvroEntry *
begin(KsDecoder *d, AvroPart *part, KsAvroReader *r, const char *s, int len, int64 *id)
{
	KsSchemaId	schema = {.id = -1};
	int			skip = 0;
	const char *wrong;

	r->start = r->p = (const uint8 *) s;
	r->end = r->p + len;
	r->depth = 0;
	r->spare = KS_AVRO_SPARE + (int64) len;
	r->d = d;
	r->scratch = d->avro->scratch;
	MemoryContextReset(r->scratch);
	if (part->framing == KS_FRAMING_SINGLE_OBJECT)
		take_single_object(r, part->print);
	else if (part->framing != KS_FRAMING_NONE)
	{
		wrong = ks_framing_read(part->framing, d->record, part == &d->avro->keys, &schema, &skip);
		if (unlikely(wrong != NULL))
			no_frame(wrong, "If it is not written by a serializer that uses a registry, set framing => 'none'.");
		r->p += skip;
	}
	*id = schema.id;
	return part->registry ? ks_avro_registry_get(part->registry, &schema) : NULL;
}

static KsRowOp
open_avro(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsAvro	   *avro = d->avro;
	KsAvroReader r;
	KsAvroEntry *entry = begin(d, &avro->values, &r, s, len, &d->schema_id);

	if (entry)
		avro->program = entry->program;
	if (!avro->program->unused)
		ks_avro_run(avro->program, &r);
	return KS_ROW_WRITE;
}

static KsRowOp
open_change(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsAvro	   *avro = d->avro;
	KsAvroReader r;
	KsAvroEntry *entry = begin(d, &avro->values, &r, s, len, &d->schema_id);

	if (entry)
		avro->change = entry->change;
	avro->program = ks_avro_change_row(avro->change);
	return ks_avro_change_open(avro->change, &r);
}

static Datum
avro_field(KsDecoder *d, KsColumn *col, bool *isnull)
{
	const KsAvroProgram *program = d->avro->program;
	int			i = col - d->target->cols;

	*isnull = false;
	if (likely(program->found[i]))
	{
		*isnull = program->isnull[i];
		return program->values[i];
	}
	if (unlikely(program->unavailable != NULL && program->unavailable[i]))
		return ks_decode_unavailable(d, isnull);
	/* all that is left of a whole value is a bytea */
	if (col->source == KS_FROM_VALUE)
	{
		Datum		value = PointerGetDatum(cstring_to_text_with_len(d->record->value, d->record->valuelen));

		ks_type_check(&col->type, value, false);
		return value;
	}
	return ks_decode_missing(d, col, isnull);
}

/* A key column of a delete, from the row as it was. */
static bool
change_key(KsDecoder *d, KsColumn *col, Datum *value, bool *isnull)
{
	return ks_avro_change_key(d->avro->change, col - d->target->cols, value, isnull);
}

void
ks_avro_key(KsDecoder *d, const char *s, int len, const char **json, int *jsonlen)
{
	KsAvro	   *avro = d->avro;
	KsAvroReader r;
	int64		id;
	KsAvroEntry *entry = begin(d, &avro->keys, &r, s, len, &id);

	if (entry)
		avro->key = entry->key;
	resetStringInfo(&avro->key_text);
	ks_avro_append_json(&r, avro->key, &avro->key_text);
	if (r.p != r.end)
		ks_avro_bad(&r, "More bytes follow than the schema has values for");
	*json = avro->key_text.data;
	*jsonlen = avro->key_text.len;
}

/* --- what is not known yet --- */

bool
ks_avro_asks(const KsDecoder *d)
{
	return d->avro && (d->avro->values.registry || d->avro->keys.registry);
}

bool
ks_avro_wants_headers(const KsDecoder *d)
{
	const KsAvro *avro = d->avro;

	return avro && ((avro->values.used && ks_framing_has_headers(avro->values.framing)) ||
					(avro->keys.used && ks_framing_has_headers(avro->keys.framing)));
}

/* What is wrong with the bytes is said when they are decoded. */
static void
list_unknown(AvroPart *part, const KsRecord *rec, bool is_key, uint32 pass, List **unknown)
{
	KsSchemaId	id;
	int			skip;

	if (ks_framing_read(part->framing, rec, is_key, &id, &skip) == NULL &&
		unlikely(!ks_avro_registry_knows(part->registry, &id, pass)))
	{
		KsSchemaId *copy = palloc(sizeof(KsSchemaId));

		*copy = id;
		*unknown = lappend(*unknown, copy);
	}
}

void
ks_avro_list_unknown(KsDecoder *d, const KsRecord *rec, uint32 pass, List **unknown)
{
	KsAvro	   *avro = d->avro;

	if (avro->values.registry && rec->valuelen >= 0)
		list_unknown(&avro->values, rec, false, pass, unknown);
	if (avro->keys.registry && rec->keylen >= 0)
		list_unknown(&avro->keys, rec, true, pass, unknown);
}

const KsFormatOps ks_avro_ops = {.open = open_avro, .field = avro_field, .binary = true};
const KsFormatOps ks_avro_change_ops = {
	.open = open_change, .field = avro_field, .key = change_key, .binary = true
};
