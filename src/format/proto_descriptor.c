/*
 * proto_descriptor.c
 *	  Protobuf schemas as descriptors: what protoc makes of .proto texts becomes texts again.
 *
 * Confluent's serializers for Python and others register a FileDescriptorProto in base64,
 * protoc writes a FileDescriptorSet, which is a list of these.  Some registries answer with
 * a text, others with what they were given.  Comments, services, extensions, and options but
 * for an edition's features and those that proto_meta.c reads are gone, or left out.
 *
 * Fields and messages keep their order, for records count the messages: entries of maps among
 * them, which serializers that register descriptors count, too.  So these stay messages, with the
 * option that says it.  A descriptor has a
 * list of each, and groups are in both; so a message is written before the first group that
 * is behind it, and the rest at the end.  The fields of a oneof are where the first is.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/envelope_text.h"
#include "format/proto_descriptor.h"
#include "format/proto_descriptor_int.h"
#include "format/proto_known.h"

/* No text is so long without a space. */
#define LEAST	16

/* Of FileDescriptorProto. */
#define EDITION_2023	1000
#define EDITION_2024	1001

/* Where options have features. */
#define OF_FILES		50
#define OF_MESSAGES		12

/* Of a message: one that is in it. */
typedef struct Nested
{
	KsProtoValue descriptor;
	KsProtoValue name;
	bool		group;			/* its field is there, too */
} Nested;

typedef struct Member
{
	KsProtoFieldParts parts;
	int			nested;			/* the message of a group, -1: it is none */
} Member;

/* What a message has, in the order of its lists. */
typedef struct Body
{
	int			nfields;
	Member	   *fields;
	int			nmessages;
	Nested	   *messages;
	int			noneofs;
	KsProtoValue *oneofs;		/* their names */
	bool	   *written;		/* by oneof */
	int			next;			/* message that has not been written */
} Body;

/* --- reading a message --- */

static int
count_parts(const KsProtoPrinter *p, const KsProtoValue *message, int number)
{
	KsProtoReader r = ks_proto_inside(p, message);
	KsProtoValue v;
	int			count = 0;
	int			n;

	while (ks_proto_next_part(&r, &n, &v))
		count += n == number;
	return count;
}

static KsProtoValue
name_of(const KsProtoPrinter *p, const KsProtoValue *descriptor)
{
	KsProtoValue name = {.p = (const uint8 *) "", .len = 0};

	(void) ks_proto_find_part(p, descriptor, 1, &name);
	return name;
}

static bool
is_map_entry(const KsProtoPrinter *p, const KsProtoValue *message)
{
	KsProtoValue options;
	KsProtoValue v;

	return ks_proto_find_part(p, message, 7, &options) && ks_proto_find_part(p, &options, 7, &v) && v.v.bits != 0;
}

/* Is it the name of a message in the one at hand?  Without a dot before, that is looked for there first. */
static bool
is_inside(const KsProtoPrinter *p, const KsProtoValue *type_name, const KsProtoValue *name)
{
	int			before = type_name->len - name->len;

	if (before < 0 || memcmp(type_name->p + before, name->p, name->len) != 0)
		return false;
	if (type_name->len == 0 || *type_name->p != '.')
		return before == 0;
	return before == p->scope.len + 1 && type_name->p[before - 1] == '.' &&
		memcmp(type_name->p, p->scope.data, p->scope.len) == 0;
}

/* The message that comes with a field. */
static int
find_nested(const KsProtoPrinter *p, const Body *b, const KsProtoFieldParts *f)
{
	/* (of editions, none comes with a message) */
	if (f->type != KS_PROTO_GROUP || p->edition)
		return -1;
	for (int i = 0; i < b->nmessages; i++)
		if (is_inside(p, &f->type_name, &b->messages[i].name))
			return i;
	return -1;
}

static void
link_fields(const KsProtoPrinter *p, Body *b)
{
	for (int i = 0; i < b->nfields; i++)
	{
		Member	   *m = &b->fields[i];

		CHECK_FOR_INTERRUPTS();
		ks_proto_count_work(p, b->nmessages);
		m->nested = find_nested(p, b, &m->parts);
		if (m->nested >= 0)
			b->messages[m->nested].group = true;
		if (m->parts.oneof >= b->noneofs || m->parts.oneof < -1)
			ks_proto_invalid(&p->r, "A field is of a oneof that there is not");
	}
}

static Body
read_body(const KsProtoPrinter *p, const KsProtoValue *message)
{
	KsProtoReader r = ks_proto_inside(p, message);
	Body		b = {0};
	KsProtoValue v;
	int			n;

	b.fields = palloc((count_parts(p, message, 2) + 1) * sizeof(Member));
	b.messages = palloc((count_parts(p, message, 3) + 1) * sizeof(Nested));
	b.oneofs = palloc((count_parts(p, message, 8) + 1) * sizeof(KsProtoValue));
	while (ks_proto_next_part(&r, &n, &v))
	{
		if (n == 2)
			b.fields[b.nfields++].parts = ks_proto_read_field(p, &v);
		else if (n == 3)
			b.messages[b.nmessages++] = (Nested) {v, name_of(p, &v), false};
		else if (n == 8)
			b.oneofs[b.noneofs++] = name_of(p, &v);
	}
	b.written = palloc0((b.noneofs + 1) * sizeof(bool));
	link_fields(p, &b);
	return b;
}

static void
free_body(Body *b)
{
	pfree(b->fields);
	pfree(b->messages);
	pfree(b->oneofs);
	pfree(b->written);
}

/* --- writing it --- */

static void put_body(KsProtoPrinter *p, const KsProtoValue *message);

static void
put_message(KsProtoPrinter *p, const Nested *m)
{
	int			before = p->scope.len;

	appendStringInfoChar(&p->scope, '.');
	appendBinaryStringInfo(&p->scope, (const char *) m->name.p, m->name.len);
	put_body(p, &m->descriptor);
	p->scope.len = before;
	p->scope.data[before] = '\0';
}

/* Those that are no field's, up to one. */
static void
put_messages(KsProtoPrinter *p, Body *b, int until)
{
	for (; b->next < until; b->next++)
	{
		const Nested *m = &b->messages[b->next];

		if (m->group)
			continue;
		appendStringInfoString(&p->out, "message ");
		ks_proto_put(p, &m->name);
		put_message(p, m);
	}
}

static void
put_label(KsProtoPrinter *p, const KsProtoFieldParts *f)
{
	if (f->oneof >= 0)
		return;
	if (f->label == 3)
		appendStringInfoString(&p->out, "repeated ");
	else if (f->label == 2)
		appendStringInfoString(&p->out, "required ");
	else if ((!p->proto3 || f->optional) && !p->edition)
		appendStringInfoString(&p->out, "optional ");
}

static void
put_field(KsProtoPrinter *p, Body *b, const Member *m)
{
	const KsProtoFieldParts *f = &m->parts;
	const Nested *nested = m->nested >= 0 ? &b->messages[m->nested] : NULL;

	put_label(p, f);
	if (f->type == KS_PROTO_GROUP && !p->edition)
		appendStringInfoString(&p->out, "group");
	else
		ks_proto_put_type(p, f);
	appendStringInfoChar(&p->out, ' ');
	ks_proto_put(p, nested ? &nested->name : &f->name);
	appendStringInfo(&p->out, " = %d", f->number);
	ks_proto_put_options(p, f);
	if (nested)
		put_message(p, nested);
	else
		appendStringInfoString(&p->out, ";\n");
}

/* The messages before a group. */
static void
put_before(KsProtoPrinter *p, Body *b, const Member *m)
{
	if (m->nested >= 0)
		put_messages(p, b, m->nested);
}

static void
put_oneof(KsProtoPrinter *p, Body *b, int oneof)
{
	b->written[oneof] = true;
	ks_proto_count_work(p, b->nfields);
	/* there is none in it */
	for (int i = 0; i < b->nfields; i++)
		if (b->fields[i].parts.oneof == oneof)
			put_before(p, b, &b->fields[i]);
	appendStringInfoString(&p->out, "oneof ");
	ks_proto_put(p, &b->oneofs[oneof]);
	appendStringInfoString(&p->out, " {\n");
	for (int i = 0; i < b->nfields; i++)
		if (b->fields[i].parts.oneof == oneof)
			put_field(p, b, &b->fields[i]);
	appendStringInfoString(&p->out, "}\n");
}

static void
put_body(KsProtoPrinter *p, const KsProtoValue *message)
{
	KsProtoReader r = ks_proto_inside(p, message);
	Body		b;
	KsProtoValue v;
	int			n;

	check_stack_depth();
	ks_proto_enter(&p->r);
	b = read_body(p, message);
	appendStringInfoString(&p->out, " {\n");
	if (is_map_entry(p, message))
		appendStringInfoString(&p->out, "option map_entry = true;\n");
	if (ks_proto_find_part(p, message, 7, &v))
	{
		ks_proto_put_features(p, &v, OF_MESSAGES);
		ks_proto_put_message_meta(p, &v);
	}
	for (int i = 0; i < b.nfields; i++)
	{
		const Member *m = &b.fields[i];

		if (m->parts.oneof < 0)
		{
			put_before(p, &b, m);
			put_field(p, &b, m);
		}
		else if (!b.written[m->parts.oneof])
			put_oneof(p, &b, m->parts.oneof);
	}
	put_messages(p, &b, b.nmessages);
	while (ks_proto_next_part(&r, &n, &v))
		if (n == 4)
			ks_proto_put_enum(p, &v);
	appendStringInfoString(&p->out, "}\n");
	free_body(&b);
	p->r.depth--;
}

/* --- files --- */

static bool
is_public(const KsProtoPrinter *p, const KsProtoValue *file, int dependency)
{
	KsProtoReader r = ks_proto_inside(p, file);
	KsProtoValue v;
	int			n;

	while (ks_proto_next_part(&r, &n, &v))
		if (n == 10 && (int) v.v.bits == dependency)
			return true;
	return false;
}

/* The word before all others. */
static void
put_syntax(KsProtoPrinter *p, const KsProtoValue *file)
{
	KsProtoValue v;

	p->edition = ks_proto_find_part(p, file, 14, &v);
	if (p->edition && v.v.bits != EDITION_2023 && v.v.bits != EDITION_2024)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a Protobuf descriptor of this edition cannot be read"),
				 errdetail("The editions that are supported are 2023 and 2024, as are proto2 and proto3.")));
	if (p->edition)
	{
		appendStringInfo(&p->out, "edition = \"%d\";\n", v.v.bits == EDITION_2023 ? 2023 : 2024);
		return;
	}
	p->proto3 = ks_proto_find_part(p, file, 12, &v) && v.len == 6 && memcmp(v.p, "proto3", 6) == 0;
	appendStringInfo(&p->out, "syntax = \"%s\";\n", p->proto3 ? "proto3" : "proto2");
}

static void
put_head(KsProtoPrinter *p, const KsProtoValue *file)
{
	KsProtoValue v;

	p->proto3 = false;
	put_syntax(p, file);
	if (ks_proto_find_part(p, file, 8, &v))
		ks_proto_put_features(p, &v, OF_FILES);
	resetStringInfo(&p->scope);
	if (!ks_proto_find_part(p, file, 2, &v))
		return;
	appendStringInfoString(&p->out, "package ");
	ks_proto_put(p, &v);
	appendStringInfoString(&p->out, ";\n");
	appendStringInfoChar(&p->scope, '.');
	appendBinaryStringInfo(&p->scope, (const char *) v.p, v.len);
}

static void
put_file(KsProtoPrinter *p, const KsProtoValue *file)
{
	KsProtoReader r = ks_proto_inside(p, file);
	KsProtoValue v;
	int			dependency = 0;
	int			n;

	put_head(p, file);
	while (ks_proto_next_part(&r, &n, &v))
	{
		if (n == 3)
		{
			appendStringInfo(&p->out, "import %s\"", is_public(p, file, dependency++) ? "public " : "");
			ks_proto_put(p, &v);
			appendStringInfoString(&p->out, "\";\n");
		}
		else if (n == 4)
		{
			Nested		m = {v, name_of(p, &v), false};

			appendStringInfoString(&p->out, "message ");
			ks_proto_put(p, &m.name);
			put_message(p, &m);
		}
		else if (n == 5)
			ks_proto_put_enum(p, &v);
	}
}

/* --- descriptors --- */

static bool
is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_digit(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

bool
ks_proto_is_descriptor(const char *text)
{
	int			digits = 0;
	int			ends = 0;

	for (; *text; text++)
	{
		if (is_space(*text))
			continue;
		if (*text == '=')
			ends++;
		else if (ends == 0 && is_digit(*text))
			digits++;
		else
			return false;
	}
	return digits >= LEAST && (digits + ends) % 4 == 0;
}

/* What stands in base64, which may have lines. */
static KsProtoValue
take_bytes(const char *base64)
{
	KsJsonToken tok = {.type = KS_JSON_STRING};
	KsProtoValue bytes = {0};
	char	   *plain;

	if (strlen(base64) > KS_PROTO_MAX_SCHEMA)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("Protobuf schema is too large"),
				 errdetail("The limit is %d bytes.", KS_PROTO_MAX_SCHEMA)));
	tok.p = plain = palloc(strlen(base64) + 1);
	for (; *base64; base64++)
		if (!is_space(*base64))
			plain[tok.len++] = *base64;
	bytes.p = ks_value_bytes(&tok, &bytes.len);
	pfree(plain);
	return bytes;
}

/* A list of files has nothing but these; a file has more than its name, or nothing in it. */
static bool
is_set(const KsProtoPrinter *p, const KsProtoValue *bytes)
{
	KsProtoReader r = ks_proto_inside(p, bytes);
	KsProtoValue v;
	int			n;

	while (ks_proto_next_part(&r, &n, &v))
		if (n != 1)
			return false;
	return true;
}

static KsProtoText
file_text(KsProtoPrinter *p, const KsProtoValue *file)
{
	KsProtoValue name = name_of(p, file);

	p->before += p->out.len;
	initStringInfo(&p->out);
	put_file(p, file);
	return (KsProtoText) {pnstrdup((const char *) name.p, name.len), p->out.data};
}

KsProtoText *
ks_proto_descriptor_texts(const char *base64, int *n)
{
	int64		work = 0;
	KsProtoPrinter p = {.work = &work};
	KsProtoValue bytes = take_bytes(base64);
	KsProtoReader r;
	KsProtoText *texts;
	KsProtoValue file;
	int			number;

	p.r.start = p.r.p = bytes.p;
	p.r.end = p.r.limit = bytes.p + bytes.len;
	initStringInfo(&p.scope);
	*n = 0;
	if (!is_set(&p, &bytes))
	{
		texts = palloc(sizeof(KsProtoText));
		texts[(*n)++] = file_text(&p, &bytes);
		return texts;
	}
	r = ks_proto_inside(&p, &bytes);
	texts = palloc((count_parts(&p, &bytes, 1) + 1) * sizeof(KsProtoText));
	while (ks_proto_next_part(&r, &number, &file))
	{
		KsProtoValue name = name_of(&p, &file);

		/* what is built in is known better than from here */
		if (r.p < r.end && ks_proto_known_text(pnstrdup((const char *) name.p, name.len)) != NULL)
			continue;
		texts[(*n)++] = file_text(&p, &file);
	}
	if (*n == 0)
		ks_proto_invalid(&p.r, "There is no file in the descriptor");
	return texts;
}
