/*
 * proto_descriptor.c
 *	  Protobuf schemas as descriptors: a FileDescriptorProto becomes the text that it is of.
 *
 * Confluent's serializers for Python and others register them in base64.  Some registries
 * answer with a text, others with what they were given.  Comments, options, services and
 * extensions are gone, or left out; the order of messages is kept, for records count them.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/envelope_text.h"
#include "format/proto_descriptor.h"
#include "format/proto_read.h"

/* No text is so long without a space. */
#define LEAST	16

/* Of FieldDescriptorProto. */
typedef struct Field
{
	KsProtoValue name;
	KsProtoValue type_name;		/* of messages and enums, with a dot before */
	KsProtoValue fallback;		/* its default */
	int			number;
	int			label;			/* 2: required, 3: repeated */
	int			type;
	int			oneof;			/* -1: none */
	bool		optional;		/* proto3's word */
} Field;

typedef struct Printer
{
	KsProtoReader r;
	StringInfoData out;
	bool		proto3;
} Printer;

/* A number, or bytes; false at the end. */
static bool
next_field(KsProtoReader *r, int *number, KsProtoValue *value)
{
	while (r->p < r->end)
	{
		uint32		tag = ks_proto_tag(r);

		CHECK_FOR_INTERRUPTS();
		*number = (int) (tag >> 3);
		value->v.bits = 0;
		value->p = r->p;
		value->len = 0;
		if ((tag & 7) == KS_PROTO_WIRE_VARINT)
		{
			value->v.bits = ks_proto_varint(r);
			return true;
		}
		if ((tag & 7) == KS_PROTO_WIRE_BYTES)
		{
			uint64		len = ks_proto_varint(r);

			value->p = ks_proto_take(r, len);
			value->len = (int) len;
			return true;
		}
		ks_proto_skip(r, tag);
	}
	return false;
}

/* A reader of what is inside of a value. */
static KsProtoReader
inside(const Printer *p, const KsProtoValue *value)
{
	KsProtoReader r = p->r;

	r.p = value->p;
	r.end = value->p + value->len;
	return r;
}

/* The last value of that number; false if there is none. */
static bool
find(const Printer *p, const KsProtoValue *message, int number, KsProtoValue *result)
{
	KsProtoReader r = inside(p, message);
	KsProtoValue value;
	bool		found = false;
	int			n;

	while (next_field(&r, &n, &value))
		if (n == number)
		{
			*result = value;
			found = true;
		}
	return found;
}

static void
put(Printer *p, const KsProtoValue *text)
{
	appendBinaryStringInfo(&p->out, (const char *) text->p, text->len);
}

static bool
is_same(const KsProtoValue *a, const KsProtoValue *b)
{
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

/* Behind the last dot. */
static KsProtoValue
last_word(KsProtoValue name)
{
	for (int i = name.len - 1; i >= 0; i--)
		if (name.p[i] == '.')
		{
			name.p += i + 1;
			name.len -= i + 1;
			break;
		}
	return name;
}

static Field
read_field(const Printer *p, const KsProtoValue *descriptor)
{
	KsProtoReader r = inside(p, descriptor);
	KsProtoValue none = {.p = (const uint8 *) "", .len = 0};
	Field		f = {.name = none, .type_name = none, .fallback = {.len = -1}, .oneof = -1};
	KsProtoValue v;
	int			n;

	while (next_field(&r, &n, &v))
	{
		if (n == 1)
			f.name = v;
		else if (n == 3)
			f.number = (int) v.v.bits;
		else if (n == 4)
			f.label = (int) v.v.bits;
		else if (n == 5)
			f.type = (int) v.v.bits;
		else if (n == 6)
			f.type_name = v;
		else if (n == 7)
			f.fallback = v;
		else if (n == 9)
			f.oneof = (int) v.v.bits;
		else if (n == 17)
			f.optional = v.v.bits != 0;
	}
	if (f.optional)
		f.oneof = -1;			/* one of its own */
	return f;
}

static void
put_type(Printer *p, const Field *f)
{
	static const char *const names[] = {
		[KS_PROTO_DOUBLE] = "double", [KS_PROTO_FLOAT] = "float", [KS_PROTO_INT64] = "int64",
		[KS_PROTO_UINT64] = "uint64", [KS_PROTO_INT32] = "int32", [KS_PROTO_FIXED64] = "fixed64",
		[KS_PROTO_FIXED32] = "fixed32", [KS_PROTO_BOOL] = "bool", [KS_PROTO_STRING] = "string",
		[KS_PROTO_BYTES] = "bytes", [KS_PROTO_UINT32] = "uint32", [KS_PROTO_SFIXED32] = "sfixed32",
		[KS_PROTO_SFIXED64] = "sfixed64", [KS_PROTO_SINT32] = "sint32", [KS_PROTO_SINT64] = "sint64"
	};

	if (f->type >= 0 && f->type < (int) lengthof(names) && names[f->type])
		appendStringInfoString(&p->out, names[f->type]);
	else
		put(p, &f->type_name);
}

/* In quotes if it is a text: of a string as it is, of bytes with escapes already. */
static void
put_default(Printer *p, const Field *f)
{
	if (f->fallback.len < 0)
		return;
	appendStringInfoString(&p->out, " [default = ");
	if (f->type == KS_PROTO_STRING)
	{
		appendStringInfoChar(&p->out, '"');
		for (int i = 0; i < f->fallback.len; i++)
			appendStringInfo(&p->out, "\\%03o", f->fallback.p[i]);
		appendStringInfoChar(&p->out, '"');
	}
	else if (f->type == KS_PROTO_BYTES)
	{
		appendStringInfoChar(&p->out, '"');
		put(p, &f->fallback);
		appendStringInfoChar(&p->out, '"');
	}
	else
		put(p, &f->fallback);
	appendStringInfoChar(&p->out, ']');
}

/* The message in this one that a field is of, by the last word of its name. */
static bool
find_nested(const Printer *p, const KsProtoValue *message, const Field *f, KsProtoValue *nested)
{
	KsProtoReader r = inside(p, message);
	KsProtoValue word = last_word(f->type_name);
	KsProtoValue v;
	KsProtoValue name;
	int			n;

	while (next_field(&r, &n, &v))
		if (n == 3 && find(p, &v, 1, &name) && is_same(&name, &word))
		{
			*nested = v;
			return true;
		}
	return false;
}

static bool
is_map_entry(const Printer *p, const KsProtoValue *message)
{
	KsProtoValue options;
	KsProtoValue v;

	return find(p, message, 7, &options) && find(p, &options, 7, &v) && v.v.bits != 0;
}

/* A field of an entry: key or value. */
static void
put_part(Printer *p, const KsProtoValue *entry, int number)
{
	KsProtoReader r = inside(p, entry);
	KsProtoValue v;
	int			n;

	while (next_field(&r, &n, &v))
		if (n == 2)
		{
			Field		f = read_field(p, &v);

			if (f.number == number)
				put_type(p, &f);
		}
}

static void put_body(Printer *p, const KsProtoValue *message);

static void
put_label(Printer *p, const Field *f, bool in_oneof)
{
	if (in_oneof)
		return;
	if (f->label == 3)
		appendStringInfoString(&p->out, "repeated ");
	else if (f->label == 2)
		appendStringInfoString(&p->out, "required ");
	else if (!p->proto3 || f->optional)
		appendStringInfoString(&p->out, "optional ");
}

static void
put_field(Printer *p, const KsProtoValue *message, const Field *f, bool in_oneof)
{
	KsProtoValue nested;
	KsProtoValue word = last_word(f->type_name);

	if (f->label == 3 && f->type == KS_PROTO_MESSAGE && find_nested(p, message, f, &nested) && is_map_entry(p, &nested))
	{
		appendStringInfoString(&p->out, "map<");
		put_part(p, &nested, 1);
		appendStringInfoString(&p->out, ", ");
		put_part(p, &nested, 2);
		appendStringInfoString(&p->out, "> ");
	}
	else
	{
		put_label(p, f, in_oneof);
		if (f->type == KS_PROTO_GROUP)
			appendStringInfoString(&p->out, "group");
		else
			put_type(p, f);
		appendStringInfoChar(&p->out, ' ');
	}
	put(p, f->type == KS_PROTO_GROUP ? &word : &f->name);
	appendStringInfo(&p->out, " = %d", f->number);
	put_default(p, f);
	if (f->type == KS_PROTO_GROUP && find_nested(p, message, f, &nested))
		put_body(p, &nested);
	else
		appendStringInfoString(&p->out, ";\n");
}

/* The fields of a oneof, or those of none (-1); groups are where their messages are. */
static int
put_fields(Printer *p, const KsProtoValue *message, int oneof)
{
	KsProtoReader r = inside(p, message);
	KsProtoValue v;
	int			count = 0;
	int			n;

	while (next_field(&r, &n, &v))
		if (n == 2)
		{
			Field		f = read_field(p, &v);

			if (f.oneof != oneof || (oneof < 0 && f.type == KS_PROTO_GROUP))
				continue;
			put_field(p, message, &f, oneof >= 0);
			count++;
		}
	return count;
}

/* The group's field whose message this is; false if it is none's. */
static bool
put_group(Printer *p, const KsProtoValue *message, const KsProtoValue *nested)
{
	KsProtoReader r = inside(p, message);
	KsProtoValue name;
	KsProtoValue v;
	int			n;

	while (find(p, nested, 1, &name) && next_field(&r, &n, &v))
		if (n == 2)
		{
			Field		f = read_field(p, &v);
			KsProtoValue word = last_word(f.type_name);

			if (f.type != KS_PROTO_GROUP || !is_same(&word, &name))
				continue;
			if (f.oneof < 0)
				put_field(p, message, &f, false);
			return true;
		}
	return false;
}

static void
put_enum(Printer *p, const KsProtoValue *descriptor)
{
	KsProtoReader r = inside(p, descriptor);
	KsProtoValue v;
	KsProtoValue part;
	int			n;

	appendStringInfoString(&p->out, "enum ");
	if (find(p, descriptor, 1, &part))
		put(p, &part);
	appendStringInfoString(&p->out, " {\n");
	if (find(p, descriptor, 3, &v) && find(p, &v, 2, &part) && part.v.bits != 0)
		appendStringInfoString(&p->out, "option allow_alias = true;\n");
	while (next_field(&r, &n, &v))
		if (n == 2)
		{
			if (find(p, &v, 1, &part))
				put(p, &part);
			appendStringInfo(&p->out, " = %d;\n", find(p, &v, 2, &part) ? (int) part.v.bits : 0);
		}
	appendStringInfoString(&p->out, "}\n");
}

static void
put_message(Printer *p, const KsProtoValue *descriptor)
{
	KsProtoValue name;

	appendStringInfoString(&p->out, "message ");
	if (find(p, descriptor, 1, &name))
		put(p, &name);
	put_body(p, descriptor);
}

static void
put_oneof(Printer *p, const KsProtoValue *message, const KsProtoValue *descriptor, int oneof)
{
	int			begin = p->out.len;
	KsProtoValue name;

	appendStringInfoString(&p->out, "oneof ");
	if (find(p, descriptor, 1, &name))
		put(p, &name);
	appendStringInfoString(&p->out, " {\n");
	if (put_fields(p, message, oneof) > 0)
		appendStringInfoString(&p->out, "}\n");
	else
	{
		/* that of a field that is optional */
		p->out.len = begin;
		p->out.data[begin] = '\0';
	}
}

static void
put_body(Printer *p, const KsProtoValue *message)
{
	KsProtoReader r = inside(p, message);
	KsProtoValue v;
	int			oneof = 0;
	int			n;

	check_stack_depth();
	ks_proto_enter(&p->r);
	appendStringInfoString(&p->out, " {\n");
	(void) put_fields(p, message, -1);
	while (next_field(&r, &n, &v))
	{
		if (n == 8)
			put_oneof(p, message, &v, oneof++);
		else if (n == 4)
			put_enum(p, &v);
		else if (n == 3 && !is_map_entry(p, &v) && !put_group(p, message, &v))
			put_message(p, &v);
	}
	appendStringInfoString(&p->out, "}\n");
	p->r.depth--;
}

static bool
is_public(const Printer *p, const KsProtoValue *file, int dependency)
{
	KsProtoReader r = inside(p, file);
	KsProtoValue v;
	int			n;

	while (next_field(&r, &n, &v))
		if (n == 10 && (int) v.v.bits == dependency)
			return true;
	return false;
}

static void
put_file(Printer *p, const KsProtoValue *file)
{
	KsProtoReader r = inside(p, file);
	KsProtoValue v;
	int			dependency = 0;
	int			n;

	p->proto3 = find(p, file, 12, &v) && v.len == 6 && memcmp(v.p, "proto3", 6) == 0;
	if (find(p, file, 14, &v))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a Protobuf descriptor of an edition cannot be read"),
				 errhint("Register the schema as a text.")));
	appendStringInfo(&p->out, "syntax = \"%s\";\n", p->proto3 ? "proto3" : "proto2");
	if (find(p, file, 2, &v))
	{
		appendStringInfoString(&p->out, "package ");
		put(p, &v);
		appendStringInfoString(&p->out, ";\n");
	}
	while (next_field(&r, &n, &v))
	{
		if (n == 3)
		{
			appendStringInfo(&p->out, "import %s\"", is_public(p, file, dependency++) ? "public " : "");
			put(p, &v);
			appendStringInfoString(&p->out, "\";\n");
		}
		else if (n == 4)
			put_message(p, &v);
		else if (n == 5)
			put_enum(p, &v);
	}
}

bool
ks_proto_is_descriptor(const char *text)
{
	size_t		len = strlen(text);
	size_t		digits = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");

	return len >= LEAST && len % 4 == 0 && digits + strspn(text + digits, "=") == len;
}

char *
ks_proto_descriptor_text(const char *base64)
{
	KsJsonToken tok = {.type = KS_JSON_STRING, .p = base64, .len = (int) Min(strlen(base64), PG_INT32_MAX)};
	Printer		p = {0};
	KsProtoValue file;

	if (strlen(base64) > KS_PROTO_MAX_SCHEMA)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("Protobuf schema is too large"),
				 errdetail("The limit is %d bytes.", KS_PROTO_MAX_SCHEMA)));
	file.p = ks_value_bytes(&tok, &file.len);
	p.r.start = file.p;
	p.r.limit = file.p + file.len;
	initStringInfo(&p.out);
	put_file(&p, &file);
	return p.out.data;
}
