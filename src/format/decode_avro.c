/*
 * decode_avro.c
 *	  Values and keys in Avro's binary encoding, by schemas that the sink gives, or that
 *	  records tell and a registry has.
 *
 * Values go straight to the columns that take them.  Keys, which are asked for by
 * columns of their own and by deletes, are written as JSON, and read as that.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/avro_change.h"
#include "format/decode_format.h"
#include "format/framing.h"
#include "format/schema_cache.h"

/* What is made of a schema. */
typedef struct AvroSchema
{
	KsAvroNode *node;
	MemoryContext cxt;			/* of what is made of it for the target, when a value comes: */
	KsCompiled	compiled;		/* a KsAvroProgram, or a KsAvroChange of those in an envelope */
	uint64		print;			/* fingerprint, where the framing has one */
} AvroSchema;

typedef struct KsAvro
{
	AvroSchema *value;			/* of the value at hand */
	AvroSchema *key;			/* of the key at hand */
	KsAvroChange *change;		/* of that value; NULL: as the program */
	KsAvroProgram *program;		/* of it, or of the row in it; NULL: no column takes anything of it */
	const uint8 *begin;			/* of the value, behind what tells the schema */
	int			len;			/* (two pointers are copied as a vector, which waits for the stores of both) */
	MemoryContext scratch;
	StringInfoData key_text;
} KsAvro;

static AvroSchema *
make_schema(KsAvroNode *node)
{
	AvroSchema *schema = palloc0(sizeof(AvroSchema));

	schema->node = node;
	schema->cxt = CurrentMemoryContext;
	return schema;
}

/* A KsCompileSchema. */
static void *
compile_text(KsDecoder *d, const KsSchemaText *text, bool of_keys)
{
	return make_schema(ks_avro_parse_text(text));
}

typedef struct Compiling
{
	KsDecoder  *d;
	const KsAvroNode *node;
} Compiling;

/* A KsCompile: for values. */
static void *
compile(void *arg)
{
	Compiling  *c = arg;
	KsAvroProgram *program;

	if (c->d->settings.envelope == KS_DEBEZIUM)
		return ks_avro_change_compile(c->d, c->node);
	program = ks_avro_compile(&c->d->settings, c->d->target, c->node, KS_AVRO_VALUE);
	ks_avro_check_matched(c->d, program);
	return program;
}

/* The schema that the sink gives; NULL: records tell it. */
static AvroSchema *
begin_part(KsDecoder *d, KsSchemaPart *part, const char *text)
{
	AvroSchema *schema;

	ks_schemas_begin(d, part, text, compile_text);
	if (text == NULL)
		return NULL;
	schema = make_schema(ks_avro_parse(text, strlen(text)));
	if (part != &d->key_schemas)
	{
		Compiling	c = {d, schema->node};

		schema->compiled.made = compile(&c);
	}
	if (part->framing == KS_FRAMING_SINGLE_OBJECT)
		schema->print = ks_avro_fingerprint(schema->node);
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
		avro->value = begin_part(d, &d->value_schemas, set->value_schema);
	if (set->key_format == KS_FORMAT_AVRO)
	{
		avro->key = begin_part(d, &d->key_schemas, set->key_schema);
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

static void
begin_reader(KsDecoder *d, KsAvroReader *r, const char *s, int len)
{
	r->start = r->p = (const uint8 *) s;
	r->end = r->p + len;
	r->depth = 0;
	r->spare = KS_AVRO_SPARE + (int64) len;
	r->padded_bits = 0;
	r->d = d;
	r->scratch = d->avro->scratch;
	if (unlikely(!r->scratch->isReset))
		MemoryContextReset(r->scratch);
}

/* Begins behind what tells the schema; *told is -1 if nothing does. */
static pg_attribute_always_inline AvroSchema *
begin(KsDecoder *d, KsSchemaPart *part, AvroSchema *schema, KsAvroReader *r, const char *s, int len, KsSchemaId *told)
{
	int			skip = 0;
	const char *wrong;

	*told = (KsSchemaId) {.id = -1};
	begin_reader(d, r, s, len);
	if (part->framing == KS_FRAMING_SINGLE_OBJECT)
		take_single_object(r, schema->print);
	else if (part->framing != KS_FRAMING_NONE)
	{
		wrong = ks_framing_read(part->framing, d->record, part == &d->key_schemas, told, &skip);
		if (unlikely(wrong != NULL))
			no_frame(wrong, "If it is not written by a serializer that uses a registry, set framing => 'none'.");
		r->p += skip;
		if (unlikely(part->framing == KS_FRAMING_GLUE))
		{
			ks_schemas_unpack(d, part, &s, &len, skip);
			if ((const uint8 *) s != r->p)
				begin_reader(d, r, s, len);
		}
	}
	return part->cache ? ks_schema_get(part, told) : schema;
}

/* What is made of the schema; NULL: nothing, which is told unless a filter keeps the record. */
static void *
compile_value(KsDecoder *d, AvroSchema *schema, const KsSchemaId *told)
{
	Compiling	c = {d, schema->node};

	if (!d->filters)
		return ks_compile_once(&schema->compiled, schema->cxt, told, compile, &c);
	(void) ks_compile_try(&schema->compiled, schema->cxt, told, compile, &c);
	d->unreadable = schema->compiled.error;
	return schema->compiled.made;
}

/* The same, for the value that begins here. */
static pg_attribute_always_inline void *
begin_value(KsDecoder *d, KsAvroReader *r, const char *s, int len)
{
	KsAvro	   *avro = d->avro;
	KsSchemaId	told;

	avro->value = begin(d, &d->value_schemas, avro->value, r, s, len, &told);
	avro->begin = r->p;
	avro->len = (int) (r->end - r->p);
	d->schema_id = told.id;
	return likely(avro->value->compiled.made != NULL) ? avro->value->compiled.made : compile_value(d, avro->value, &told);
}

/* It will be no row. */
static KsRowOp
take_nothing(KsDecoder *d)
{
	resetStringInfo(&d->rest);
	appendStringInfoString(&d->rest, "{}");
	return KS_ROW_WRITE;
}

/* For ks_decode(). */
static void
set_found(KsDecoder *d)
{
	d->found = d->avro->program->found;
	d->found_values = d->avro->program->values;
	d->found_isnull = d->avro->program->isnull;
}

static KsRowOp
open_avro(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsAvroReader r;
	KsAvroProgram *program = begin_value(d, &r, s, len);

	d->avro->program = program;
	if (unlikely(program == NULL))
		return take_nothing(d);
	d->avro->program = program = ks_avro_program_of(program, d);
	if (program->fills && d->row_values)
	{
		ks_avro_run_row(program, &r, d->row_values, d->row_isnull);
		d->row_is_full = true;
		return KS_ROW_WRITE;
	}
	if (!program->unused)
		ks_avro_run(program, &r);
	set_found(d);
	return KS_ROW_WRITE;
}

static KsRowOp
open_change(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsAvroReader r;
	KsAvroChange *change = d->avro->change = begin_value(d, &r, s, len);

	d->avro->program = NULL;
	if (unlikely(change == NULL))
		return take_nothing(d);
	d->avro->program = ks_avro_program_of(ks_avro_change_row(change), d);
	set_found(d);
	return ks_avro_change_open(change, &r);
}

/* The full name of the value's type; in a union, of its branch's. */
static const char *
avro_schema(KsDecoder *d)
{
	const KsAvroNode *node = d->avro->value->node;

	if (node->type == KS_AVRO_UNION)
	{
		KsAvroReader r;

		begin_reader(d, &r, (const char *) d->avro->begin, d->avro->len);
		node = node->types[ks_avro_choice(&r, node)];
	}
	return node->name ? node->name : ks_avro_type_name(node);
}

/* What was not found. */
static Datum
avro_field(KsDecoder *d, KsColumn *col, bool *isnull)
{
	const KsAvroProgram *program = d->avro->program;
	int			i = ks_column_number(d, col);

	*isnull = false;
	if (unlikely(program && program->unavailable != NULL && program->unavailable[i]))
		return ks_decode_unavailable(d, isnull);
	/* all that is left of a whole value is a bytea */
	if (ks_avro_takes_bytes(col))
		return ks_decode_whole(d, col);
	return ks_decode_missing(d, col, isnull);
}

/* A key column of a delete, from the row as it was. */
static bool
change_key(KsDecoder *d, KsColumn *col, Datum *value, bool *isnull)
{
	return ks_avro_change_key(d->avro->change, col - d->target->cols, value, isnull);
}

/* One value, and nothing behind it. */
static void
append_all(KsAvroReader *r, const KsAvroNode *node, StringInfo out)
{
	ks_avro_append_json(r, node, out);
	if (r->p != r->end)
		ks_avro_bad(r, "More bytes follow than the schema has values for");
}

void
ks_avro_key(KsDecoder *d, const char *s, int len, const char **json, int *jsonlen)
{
	KsAvro	   *avro = d->avro;
	KsAvroReader r;
	KsSchemaId	told;

	avro->key = begin(d, &d->key_schemas, avro->key, &r, s, len, &told);
	resetStringInfo(&avro->key_text);
	append_all(&r, avro->key->node, &avro->key_text);
	*json = avro->key_text.data;
	*jsonlen = avro->key_text.len;
}

void
ks_avro_decode_json(const KsSchemaText *text, const char *s, int len, StringInfo out)
{
	KsAvro		avro = {0};
	KsDecoder	d = {.encoding = GetDatabaseEncoding(), .avro = &avro};
	KsAvroReader r;

	avro.scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink avro", ALLOCSET_SMALL_SIZES);
	begin_reader(&d, &r, s, len);
	append_all(&r, ks_avro_parse_text(text), out);
	MemoryContextDelete(avro.scratch);
}

const KsFormatOps ks_avro_ops = {.open = open_avro, .field = avro_field, .binary = true, .schema = avro_schema};
const KsFormatOps ks_avro_change_ops = {
	.open = open_change, .field = avro_field, .key = change_key, .binary = true, .schema = avro_schema
};
