/*
 * proto_descriptor_parts.c
 *	  What descriptors of files and messages consist of: fields and enums.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/proto_descriptor_int.h"

/* --- reading --- */

bool
ks_proto_next_part(KsProtoReader *r, int *number, KsProtoValue *value)
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

static void
too_large(const char *what, int64 max)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("Protobuf schema is too large"),
			 errdetail("The limit is " INT64_FORMAT " %s.", max, what)));
}

void
ks_proto_count_work(const KsProtoPrinter *p, int64 amount)
{
	if (p->before + p->out.len > KS_PROTO_MAX_SCHEMA)
		too_large("bytes", KS_PROTO_MAX_SCHEMA);
	*p->work += amount;
	if (*p->work > KS_PROTO_MAX_WORK)
		too_large("bytes that are looked at", KS_PROTO_MAX_WORK);
}

KsProtoReader
ks_proto_inside(const KsProtoPrinter *p, const KsProtoValue *value)
{
	KsProtoReader r = p->r;

	ks_proto_count_work(p, value->len);
	r.p = value->p;
	r.end = value->p + value->len;
	return r;
}

bool
ks_proto_find_part(const KsProtoPrinter *p, const KsProtoValue *message, int number, KsProtoValue *result)
{
	KsProtoReader r = ks_proto_inside(p, message);
	KsProtoValue value;
	bool		found = false;
	int			n;

	while (ks_proto_next_part(&r, &n, &value))
		if (n == number)
		{
			*result = value;
			found = true;
		}
	return found;
}

KsProtoFieldParts
ks_proto_read_field(const KsProtoPrinter *p, const KsProtoValue *descriptor)
{
	KsProtoReader r = ks_proto_inside(p, descriptor);
	KsProtoValue empty = {.p = (const uint8 *) "", .len = 0};
	KsProtoFieldParts f = {.name = empty, .type_name = empty, .fallback = {.len = -1}, .json_name = {.len = -1},
	.options = empty, .oneof = -1};
	KsProtoValue v;
	int			n;

	while (ks_proto_next_part(&r, &n, &v))
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
		else if (n == 8)
			f.options = v;
		else if (n == 9)
			f.oneof = (int) v.v.bits;
		else if (n == 10)
			f.json_name = v;
		else if (n == 17)
			f.optional = v.v.bits != 0;
	}
	if (f.optional)
		f.oneof = -1;			/* one of its own */
	return f;
}

/* --- writing --- */

void
ks_proto_put(KsProtoPrinter *p, const KsProtoValue *text)
{
	appendBinaryStringInfo(&p->out, (const char *) text->p, text->len);
}

void
ks_proto_put_type(KsProtoPrinter *p, const KsProtoFieldParts *f)
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
		ks_proto_put(p, &f->type_name);
}

/* Whatever is in it. */
static void
put_quoted(KsProtoPrinter *p, const KsProtoValue *text)
{
	appendStringInfoChar(&p->out, '"');
	for (int i = 0; i < text->len; i++)
	{
		uint8		c = text->p[i];

		if (c >= ' ' && c < 0x7f && c != '"' && c != '\\')
			appendStringInfoChar(&p->out, (char) c);
		else
			appendStringInfo(&p->out, "\\%03o", c);
	}
	appendStringInfoChar(&p->out, '"');
}

/* In quotes if it is a text: of a string as it is, of bytes with escapes already. */
static void
put_default(KsProtoPrinter *p, const KsProtoFieldParts *f)
{
	appendStringInfoString(&p->out, "default = ");
	if (f->type == KS_PROTO_STRING)
		put_quoted(p, &f->fallback);
	else if (f->type == KS_PROTO_BYTES)
	{
		appendStringInfoChar(&p->out, '"');
		ks_proto_put(p, &f->fallback);
		appendStringInfoChar(&p->out, '"');
	}
	else
		ks_proto_put(p, &f->fallback);
}

/* --- features of editions, as far as they change what bytes mean --- */

#define OF_FIELDS		21
#define OF_ENUMS		7

typedef struct Feature
{
	int			number;			/* of FeatureSet */
	const char *name;
	const char *values[4];		/* from 1 on */
} Feature;

static const Feature features[] = {
	{1, "field_presence", {NULL, "EXPLICIT", "IMPLICIT", "LEGACY_REQUIRED"}},
	{2, "enum_type", {NULL, "OPEN", "CLOSED", NULL}},
	{5, "message_encoding", {NULL, "LENGTH_PREFIXED", "DELIMITED", NULL}}
};

/* The word for what options say of a feature; NULL: nothing. */
static const char *
find_feature(const KsProtoPrinter *p, const KsProtoValue *options, int number, const Feature *feature)
{
	KsProtoValue set;
	KsProtoValue v;

	if (!p->edition || !ks_proto_find_part(p, options, number, &set) || !ks_proto_find_part(p, &set, feature->number, &v))
		return NULL;
	return v.v.bits < lengthof(feature->values) ? feature->values[v.v.bits] : NULL;
}

void
ks_proto_put_features(KsProtoPrinter *p, const KsProtoValue *options, int number)
{
	for (int i = 0; i < (int) lengthof(features); i++)
	{
		const char *value = find_feature(p, options, number, &features[i]);

		if (value)
			appendStringInfo(&p->out, "option features.%s = %s;\n", features[i].name, value);
	}
}

/* --- Confluent's options, see proto_meta.c --- */

#define META	1088			/* in the options of fields and messages */

/* One part of a parameter in quotes. */
static void
put_text(KsProtoPrinter *p, const char *name, const KsProtoValue *parameter, int number)
{
	KsProtoValue v = {.p = (const uint8 *) "", .len = 0};

	(void) ks_proto_find_part(p, parameter, number, &v);
	appendStringInfo(&p->out, " %s: ", name);
	put_quoted(p, &v);
}

static void
put_meta(KsProtoPrinter *p, const KsProtoValue *meta)
{
	KsProtoReader r = ks_proto_inside(p, meta);
	KsProtoValue v;
	int			n;

	appendStringInfoChar(&p->out, '{');
	while (ks_proto_next_part(&r, &n, &v))
	{
		if (n == 1)
		{
			appendStringInfoString(&p->out, " doc: ");
			put_quoted(p, &v);
		}
		else if (n == 2)
		{
			appendStringInfoString(&p->out, " params {");
			put_text(p, "key", &v, 1);
			put_text(p, "value", &v, 2);
			appendStringInfoString(&p->out, " }");
		}
	}
	appendStringInfoString(&p->out, " }");
}

void
ks_proto_put_message_meta(KsProtoPrinter *p, const KsProtoValue *options)
{
	KsProtoValue meta;

	if (!ks_proto_find_part(p, options, META, &meta))
		return;
	appendStringInfoString(&p->out, "option (confluent.message_meta) = ");
	put_meta(p, &meta);
	appendStringInfoString(&p->out, ";\n");
}

void
ks_proto_put_options(KsProtoPrinter *p, const KsProtoFieldParts *f)
{
	const char *separator = " [";
	KsProtoValue meta;

	/* proto3 has none, and Connect's converter sets them all the same */
	if (f->fallback.len >= 0 && !p->proto3)
	{
		appendStringInfoString(&p->out, separator);
		separator = ", ";
		put_default(p, f);
	}
	if (f->json_name.len >= 0)
	{
		appendStringInfo(&p->out, "%sjson_name = ", separator);
		separator = ", ";
		put_quoted(p, &f->json_name);
	}
	for (int i = 0; i < (int) lengthof(features); i++)
	{
		const char *value = find_feature(p, &f->options, OF_FIELDS, &features[i]);

		if (value == NULL)
			continue;
		appendStringInfo(&p->out, "%sfeatures.%s = %s", separator, features[i].name, value);
		separator = ", ";
	}
	if (ks_proto_find_part(p, &f->options, META, &meta))
	{
		appendStringInfo(&p->out, "%s(confluent.field_meta) = ", separator);
		separator = ", ";
		put_meta(p, &meta);
	}
	if (*separator == ',')
		appendStringInfoChar(&p->out, ']');
}

void
ks_proto_put_enum(KsProtoPrinter *p, const KsProtoValue *descriptor)
{
	KsProtoReader r = ks_proto_inside(p, descriptor);
	KsProtoValue v;
	KsProtoValue part;
	int			n;

	appendStringInfoString(&p->out, "enum ");
	if (ks_proto_find_part(p, descriptor, 1, &part))
		ks_proto_put(p, &part);
	appendStringInfoString(&p->out, " {\n");
	if (ks_proto_find_part(p, descriptor, 3, &v))
	{
		if (ks_proto_find_part(p, &v, 2, &part) && part.v.bits != 0)
			appendStringInfoString(&p->out, "option allow_alias = true;\n");
		ks_proto_put_features(p, &v, OF_ENUMS);
	}
	while (ks_proto_next_part(&r, &n, &v))
		if (n == 2)
		{
			if (ks_proto_find_part(p, &v, 1, &part))
				ks_proto_put(p, &part);
			appendStringInfo(&p->out, " = %d;\n", ks_proto_find_part(p, &v, 2, &part) ? (int) part.v.bits : 0);
		}
	appendStringInfoString(&p->out, "}\n");
}
