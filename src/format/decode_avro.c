/*
 * decode_avro.c
 *	  Values and keys in Avro's binary encoding, by schemas that the sink gives.
 *
 * Values go straight to the columns that take them.  Keys, which are asked for by
 * columns of their own and by deletes, are written as JSON, and read as that.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "format/avro_program.h"
#include "format/decode_format.h"

typedef struct KsAvro
{
	KsAvroProgram *program;		/* of values; NULL: they have another format */
	KsAvroNode *key;			/* NULL: keys have another format */
	uint64		value_print;	/* fingerprints, where the framing has one */
	uint64		key_print;
	MemoryContext scratch;
	StringInfoData key_text;
} KsAvro;

static KsAvroNode *
parse(const char *text)
{
	return ks_avro_parse(text, strlen(text));
}

/* In the current context. */
struct KsAvro *
ks_avro_create(KsDecoder *d)
{
	const KsFormatSettings *set = &d->settings;
	KsAvro	   *avro = palloc0(sizeof(KsAvro));

	avro->scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink avro", ALLOCSET_SMALL_SIZES);
	if (set->format == KS_FORMAT_AVRO)
	{
		KsAvroNode *schema = parse(set->value_schema);

		if (set->framing == KS_FRAMING_SINGLE_OBJECT)
			avro->value_print = ks_avro_fingerprint(schema);
		avro->program = ks_avro_compile(set, d->target, schema);
		if (d->must_match && avro->program->nmatched == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the Avro schema has no field that a column takes"),
					 errhint("Fields and columns go together by their names, aliases of fields included; \"columns\" says what has another one.")));
	}
	if (set->key_format == KS_FORMAT_AVRO)
	{
		avro->key = parse(set->key_schema);
		if (set->framing == KS_FRAMING_SINGLE_OBJECT)
			avro->key_print = ks_avro_fingerprint(avro->key);
		initStringInfo(&avro->key_text);
	}
	return avro;
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

/* 00, and the schema's id in a registry. */
static void
take_confluent(KsAvroReader *r, int64 *id)
{
	const uint8 *p = r->p;

	if (r->end - p < 5 || p[0] != 0)
		no_frame("It does not begin with a zero byte and the id of a schema",
				 "If it is not written by a serializer that uses a registry, set framing => 'none'.");
	*id = (uint32) p[1] << 24 | p[2] << 16 | p[3] << 8 | p[4];
	r->p += 5;
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

/* *id: -1, if nothing tells one */
static void
begin(KsDecoder *d, KsAvroReader *r, const char *s, int len, uint64 print, int64 *id)
{
	*id = -1;
	r->start = r->p = (const uint8 *) s;
	r->end = r->p + len;
	r->depth = 0;
	r->spare = KS_AVRO_SPARE + (int64) len;
	r->d = d;
	r->scratch = d->avro->scratch;
	MemoryContextReset(r->scratch);
	if (d->settings.framing == KS_FRAMING_CONFLUENT)
		take_confluent(r, id);
	else if (d->settings.framing == KS_FRAMING_SINGLE_OBJECT)
		take_single_object(r, print);
}

static KsRowOp
open_avro(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsAvro	   *avro = d->avro;
	KsAvroReader r;

	begin(d, &r, s, len, avro->value_print, &d->schema_id);
	if (!avro->program->unused)
		ks_avro_run(avro->program, &r);
	return KS_ROW_WRITE;
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
	/* all that is left of a whole value is a bytea */
	if (col->source == KS_FROM_VALUE)
	{
		Datum		value = PointerGetDatum(cstring_to_text_with_len(d->record->value, d->record->valuelen));

		ks_type_check(&col->type, value, false);
		return value;
	}
	return ks_decode_missing(d, col, isnull);
}

void
ks_avro_key(KsDecoder *d, const char *s, int len, const char **json, int *jsonlen)
{
	KsAvro	   *avro = d->avro;
	KsAvroReader r;
	int64		id;

	begin(d, &r, s, len, avro->key_print, &id);
	resetStringInfo(&avro->key_text);
	ks_avro_append_json(&r, avro->key, &avro->key_text);
	if (r.p != r.end)
		ks_avro_bad(&r, "More bytes follow than the schema has values for");
	*json = avro->key_text.data;
	*jsonlen = avro->key_text.len;
}

const KsFormatOps ks_avro_ops = {.open = open_avro, .field = avro_field, .binary = true};
