/*
 * decode_proto.c
 *	  Values and keys in Protobuf, by schemas that the sink gives, or that records tell and
 *	  a registry has.
 *
 * A schema has several messages; the record says which it is, by their places in the
 * schema, or the sink does, by a name.  Each that records say is compiled once.
 *
 * Values go straight to the columns that take them.  Keys, which are asked for by
 * columns of their own and by deletes, are written as JSON, and read as that.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/decode_format.h"
#include "format/framing.h"
#include "format/proto_change.h"
#include "format/proto_program.h"
#include "format/proto_texts.h"
#include "format/schema_cache.h"

#define BUCKETS		64			/* a power of two */

/* A message that records are of, and what is made of it for the target. */
typedef struct Used
{
	const KsProtoMessage *message;
	KsCompiled	program;		/* of values, or of changes */
	struct Used *next;
} Used;

typedef struct ProtoSchema
{
	const KsProtoFile *file;
	MemoryContext cxt;
	const KsProtoMessage *only;	/* the sink says it; NULL: records do */
	Used	   *last;			/* met */
	Used	   *used[BUCKETS];
} ProtoSchema;

typedef struct KsProto
{
	ProtoSchema *values;		/* that the sink gives, or NULL */
	ProtoSchema *keys;
	const KsProtoMessage *message;	/* of the value at hand */
	KsProtoChange *change;		/* of that value, or NULL */
	KsProtoProgram *program;	/* of that value, or of the row in it; NULL: there is none */
	KsProtoReader reader;
	StringInfoData key_text;
} KsProto;

/* --- which message --- */

/* The schema that a sink gives. */
static KsProtoFile *
parse_given(const char *schema)
{
	KsSchemaText text = {.type = "PROTOBUF", .text = schema};

	return ks_proto_read_schema(&text);
}

void
ks_proto_check_schema(const char *schema, const char *message_type, bool of_keys, bool told)
{
	KsProtoFile *file = parse_given(schema);

	if (!told)
		(void) ks_proto_choose_message(file, message_type, of_keys);
}

static ProtoSchema *
make_schema(const KsProtoFile *file)
{
	ProtoSchema *schema = palloc0(sizeof(ProtoSchema));

	schema->file = file;
	schema->cxt = CurrentMemoryContext;
	return schema;
}

/* A KsCompileSchema: messages are compiled when records are of them. */
static void *
compile_text(KsDecoder *d, const KsSchemaText *text, bool of_keys)
{
	return make_schema(ks_proto_read_schema(text));
}

static Used *
find_used(ProtoSchema *schema, const KsProtoMessage *message)
{
	Used	  **bucket = &schema->used[((uintptr_t) message >> 5) & (BUCKETS - 1)];
	Used	   *used = *bucket;

	while (used && used->message != message)
		used = used->next;
	if (used == NULL)
	{
		used = MemoryContextAllocZero(schema->cxt, sizeof(Used));
		used->message = message;
		used->next = *bucket;
		*bucket = used;
	}
	return used;
}

KS_NORETURN static void no_frame(const char *what, const char *hint);

static void
no_frame(const char *what, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid Protobuf"),
			 errdetail("%s.", what),
			 errhint("%s", hint)));
}

/* The message at a place in the schema. */
static const KsProtoMessage *
message_at(const KsProtoFile *file, const KsMessagePath *path)
{
	const KsProtoMessage *message = ks_proto_message_at(file, path->at, path->n);
	StringInfoData text;

	if (likely(message != NULL))
		return message;
	initStringInfo(&text);
	for (int i = 0; i < path->n; i++)
		appendStringInfo(&text, "%s%d", i > 0 ? ", " : "", path->at[i]);
	no_frame(psprintf("The schema has no message with the indexes %s", text.data),
			 "Is the schema the one that the record was written with?");
}

/* --- a part of a record --- */

typedef struct Compiling
{
	KsDecoder  *d;
	const KsProtoMessage *message;
} Compiling;

/* A KsCompile. */
static void *
compile_message(void *arg)
{
	Compiling  *c = arg;
	KsProtoProgram *program;

	if (c->d->settings.envelope == KS_DEBEZIUM)
		return ks_proto_change_compile(c->d, c->message);
	program = ks_proto_compile(c->d, c->message, KS_PROTO_RECORD);
	ks_proto_check_matched(c->d, program);
	return program;
}

/* The schema that the sink gives; NULL: records tell it. */
static ProtoSchema *
begin_part(KsDecoder *d, KsSchemaPart *part, const char *text)
{
	bool		of_keys = part == &d->key_schemas;
	ProtoSchema *schema;

	ks_schemas_begin(d, part, text, compile_text);
	if (text == NULL)
		return NULL;
	schema = make_schema(parse_given(text));
	if (part->framing != KS_FRAMING_NONE)
		return schema;
	schema->only = ks_proto_choose_message(schema->file, d->settings.message_type, of_keys);
	schema->last = find_used(schema, schema->only);
	if (!of_keys)
	{
		Compiling	c = {d, schema->only};

		schema->last->program.made = compile_message(&c);
	}
	return schema;
}

/* In the current context. */
void
ks_proto_create(KsDecoder *d)
{
	const KsFormatSettings *set = &d->settings;
	KsProto    *proto = d->proto = palloc0(sizeof(KsProto));

	proto->reader.scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink protobuf", ALLOCSET_SMALL_SIZES);
	proto->reader.d = d;
	if (set->format == KS_FORMAT_PROTOBUF)
		proto->values = begin_part(d, &d->value_schemas, set->value_schema);
	if (set->key_format == KS_FORMAT_PROTOBUF)
	{
		proto->keys = begin_part(d, &d->key_schemas, set->key_schema);
		initStringInfo(&proto->key_text);
	}
}

static void
begin_reader(KsProtoReader *r, const KsProtoFile *file, const char *s, int len, int skip, bool is_key)
{
	r->start = r->p = (const uint8 *) s;
	r->end = r->limit = r->p + len;
	r->p += skip;
	r->depth = 0;
	r->file = file;
	/* 0 is a key as others are */
	r->defaults = is_key;
	r->spare = KS_PROTO_SPARE + (int64) len;
	/* what was noted of the record before is gone with its memory */
	r->nruns = r->maxruns = 0;
	r->runs = NULL;
	if (unlikely(!r->scratch->isReset))
		MemoryContextReset(r->scratch);
}

/* Begins behind what tells the message; *id is -1 if nothing tells the schema, or no number. */
static ProtoSchema *
begin(KsDecoder *d, KsSchemaPart *part, ProtoSchema *schema, const char *s, int len, int64 *id,
	  const KsProtoMessage **message, KsSchemaId *told)
{
	KsMessagePath path;
	int			skip = 0;
	const char *wrong;

	told->id = -1;
	if (part->framing != KS_FRAMING_NONE)
	{
		wrong = ks_framing_read_message(part->framing, d->record, part == &d->key_schemas, told, &path, &skip);
		if (unlikely(wrong != NULL))
			no_frame(wrong, "If it is not written by a serializer that uses a registry, set framing => 'none'.");
	}
	*id = told->id;
	if (part->cache)
		schema = ks_schema_get(part, told);
	*message = schema->only ? schema->only : message_at(schema->file, &path);
	begin_reader(&d->proto->reader, schema->file, s, len, skip, part == &d->key_schemas);
	return schema;
}

/* What is made of the message; NULL: nothing, which is told unless a filter keeps the record. */
static void *
compile_used(KsDecoder *d, ProtoSchema *schema, Used *used, const KsSchemaId *told)
{
	Compiling	c = {d, used->message};
	const KsSchemaId *id = d->value_schemas.cache ? told : NULL;

	if (!d->filters)
		return ks_compile_once(&used->program, schema->cxt, id, compile_message, &c);
	(void) ks_compile_try(&used->program, schema->cxt, id, compile_message, &c);
	d->unreadable = used->program.error;
	return used->program.made;
}

/* Begins with a value: what is made of its message, or NULL. */
static inline void *
open_message(KsDecoder *d, const char *s, int len)
{
	KsProto    *proto = d->proto;
	KsSchemaId	told;
	ProtoSchema *schema = begin(d, &d->value_schemas, proto->values, s, len, &d->schema_id, &proto->message, &told);
	Used	   *used = schema->last;
	void	   *made;

	if (unlikely(used == NULL || used->message != proto->message))
		schema->last = used = find_used(schema, proto->message);
	made = used->program.made;
	if (unlikely(made == NULL))
		made = compile_used(d, schema, used, &told);
	if (unlikely(made == NULL))
	{
		resetStringInfo(&d->rest);
		appendStringInfoString(&d->rest, "{}");
	}
	return made;
}

static KsRowOp
open_proto(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsProtoProgram *program = open_message(d, s, len);

	if (likely(program != NULL))
		program = ks_proto_program_of(program, d);
	d->proto->program = program;
	if (unlikely(program == NULL) || program->unused)
		return KS_ROW_WRITE;
	if (d->row_values && program->by_column && program->absent == NULL)
	{
		d->row_is_full = ks_proto_run_row(program, &d->proto->reader, d->row_values, d->row_isnull);
		d->found = program->found;
		d->found_values = d->row_values;
		d->found_isnull = d->row_isnull;
		return KS_ROW_WRITE;
	}
	ks_proto_run(program, &d->proto->reader);
	/* (what is null because it is absent is for proto_field() to check) */
	if (program->absent)
		return KS_ROW_WRITE;
	d->found = program->found;
	d->found_values = program->values;
	d->found_isnull = program->isnull;
	return KS_ROW_WRITE;
}

static KsRowOp
open_change(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsProto    *proto = d->proto;

	proto->change = open_message(d, s, len);
	proto->program = proto->change ? ks_proto_program_of(ks_proto_change_row(proto->change), d) : NULL;
	return proto->change ? ks_proto_change_open(proto->change, &proto->reader) : KS_ROW_WRITE;
}

/* What was not found, and all of a change. */
static Datum
proto_field(KsDecoder *d, KsColumn *col, bool *isnull)
{
	const KsProtoProgram *program = d->proto->program;
	int			i = ks_column_number(d, col);

	*isnull = false;
	if (likely(program && program->found[i]))
	{
		*isnull = program->isnull[i];
		/* what a row does not have */
		if (unlikely(*isnull && program->absent && program->absent[i]))
			ks_type_check(&col->type, (Datum) 0, true);
		return program->values[i];
	}
	if (unlikely(program && program->unavailable && program->unavailable[i]))
		return ks_decode_unavailable(d, isnull);
	/* all that is left of a whole value is a bytea */
	if (ks_proto_takes_bytes(col))
		return ks_decode_whole(d, col);
	return ks_decode_missing(d, col, isnull);
}

/* A key column of a delete, from the row as it was. */
static bool
change_key(KsDecoder *d, KsColumn *col, Datum *value, bool *isnull)
{
	return ks_proto_change_key(d->proto->change, col - d->target->cols, value, isnull);
}

/* The full name of the value's message. */
static const char *
proto_schema(KsDecoder *d)
{
	return d->proto->message->name;
}

static void
append_all(KsProtoReader *r, const KsProtoMessage *message, StringInfo out)
{
	KsProtoValue value = {.p = r->p, .len = (int) (r->end - r->p)};

	ks_proto_append_message(r, message, &value, NULL, NULL, out);
}

void
ks_proto_key(KsDecoder *d, const char *s, int len, const char **json, int *jsonlen)
{
	KsProto    *proto = d->proto;
	const KsProtoMessage *message;
	KsProtoReader value = proto->reader;
	KsSchemaId	told;
	int64		id;

	(void) begin(d, &d->key_schemas, proto->keys, s, len, &id, &message, &told);
	resetStringInfo(&proto->key_text);
	append_all(&proto->reader, message, &proto->key_text);
	proto->reader = value;
	*json = proto->key_text.data;
	*jsonlen = proto->key_text.len;
}

void
ks_proto_decode_json(const KsSchemaText *text, const KsMessagePath *path, const char *s, int len, StringInfo out)
{
	KsDecoder	d = {.encoding = GetDatabaseEncoding()};
	KsProtoFile *file = ks_proto_read_schema(text);
	KsProtoReader r = {.d = &d};

	r.scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink protobuf", ALLOCSET_SMALL_SIZES);
	begin_reader(&r, file, s, len, 0, false);
	append_all(&r, message_at(file, path), out);
	MemoryContextDelete(r.scratch);
}

const KsFormatOps ks_proto_ops = {.open = open_proto, .field = proto_field, .binary = true, .schema = proto_schema};
const KsFormatOps ks_proto_change_ops = {
	.open = open_change, .field = proto_field, .key = change_key, .binary = true, .schema = proto_schema
};
