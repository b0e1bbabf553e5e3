/*
 * proto_parts.c
 *	  What stands in .proto texts and has no messages in it: enums, services,
 *	  numbers and names that are reserved.
 */
#include "postgres.h"

#include "format/proto_literals.h"
#include "format/proto_parts.h"

KS_NORETURN static void bad(const KsProtoTokens *t, int line, const char *detail);

static void
bad(const KsProtoTokens *t, int line, const char *detail)
{
	ks_proto_bad(t->file, line, detail);
}

void
ks_proto_append_name(KsProtoNameList *list, KsProtoWord name)
{
	KsProtoNameDecl *decl = palloc0(sizeof(KsProtoNameDecl));

	decl->name = name;
	KS_PROTO_APPEND(list, decl);
}

/* --- reserved, extensions --- */

/* A number of an enum may be below 0. */
static int32
take_bound(KsProtoTokens *t, bool of_enum)
{
	int			line = t->word.line;
	bool		minus = of_enum && ks_proto_accept(t, "-");
	uint64		value = ks_proto_take_integer(t, of_enum ? "a number or a name" : "a field number");

	if (value > (uint64) PG_INT32_MAX + (minus ? 1 : 0))
		bad(t, line, "A number is out of range.");
	if (value == 0 && !of_enum)
		bad(t, line, "Field numbers begin with 1.");
	return (int32) (minus ? -(int64) value : (int64) value);
}

static void
take_range(KsProtoTokens *t, KsProtoReserved *reserved, bool of_enum, bool extensions)
{
	KsProtoRange *range = palloc0(sizeof(KsProtoRange));

	range->extensions = extensions;
	range->line = t->word.line;
	range->from = range->to = take_bound(t, of_enum);
	if (ks_proto_accept(t, "to"))
		range->to = ks_proto_accept(t, "max") ? PG_INT32_MAX : take_bound(t, of_enum);
	if (range->to < range->from)
		bad(t, range->line, "A range ends before it begins.");
	KS_PROTO_APPEND(&reserved->ranges, range);
}

/* "a", or in editions a */
static void
take_reserved_name(KsProtoTokens *t, KsProtoReserved *reserved)
{
	KsProtoWord name = t->word;

	if (t->type == KS_PROTO_TOKEN_NAME)
		ks_proto_next(t);
	else
		name.p = ks_proto_take_string(t, "a name", &name.len);
	ks_proto_append_name(&reserved->names, name);
}

void
ks_proto_parse_reserved(KsProtoTokens *t, KsProtoReserved *reserved, bool of_enum)
{
	bool		names = t->type == KS_PROTO_TOKEN_STRING || t->type == KS_PROTO_TOKEN_NAME;

	do
	{
		if (names)
			take_reserved_name(t, reserved);
		else
			take_range(t, reserved, of_enum, false);
	} while (ks_proto_accept(t, ","));
	ks_proto_expect(t, ";");
}

void
ks_proto_parse_extensions(KsProtoTokens *t, KsProtoMessageDecl *m)
{
	KsProtoFeatures ignored = {0};

	do
		take_range(t, &m->reserved, false, true);
	while (ks_proto_accept(t, ","));
	ks_proto_take_list(t, NULL, NULL, &ignored);
	ks_proto_expect(t, ";");
}

/* --- enums --- */

static void
parse_value(KsProtoTokens *t, KsProtoEnumDecl *e)
{
	KsProtoValueDecl *value = palloc0(sizeof(KsProtoValueDecl));
	KsProtoFeatures ignored = {0};

	value->name = ks_proto_take_name(t, "the name of a value");
	ks_proto_expect(t, "=");
	value->number = take_bound(t, true);
	ks_proto_take_list(t, NULL, NULL, &ignored);
	ks_proto_expect(t, ";");
	KS_PROTO_APPEND(&e->values, value);
}

void
ks_proto_parse_enum(KsProtoTokens *t, KsProtoMessageDecl *scope)
{
	KsProtoEnumDecl *e = palloc0(sizeof(KsProtoEnumDecl));
	KsProtoOption option;

	e->name = ks_proto_take_name(t, "the name of an enum");
	ks_proto_expect(t, "{");
	while (!ks_proto_accept(t, "}"))
	{
		if (ks_proto_take_option(t, &option, &e->features))
			e->allow_alias |= ks_proto_option_is_true(&option, "allow_alias");
		else if (ks_proto_accept(t, "reserved"))
			ks_proto_parse_reserved(t, &e->reserved, true);
		else if (!ks_proto_accept(t, ";"))
			parse_value(t, e);
	}
	if (e->values.n == 0)
		bad(t, e->name.line, psprintf("The enum \"%s\" has no value.", pnstrdup(e->name.p, e->name.len)));
	KS_PROTO_APPEND(&scope->enums, e);
}

/* --- messages and maps --- */

KsProtoMessageDecl *
ks_proto_new_message(KsProtoMessageDecl *scope, KsProtoWord name)
{
	KsProtoMessageDecl *m = palloc0(sizeof(KsProtoMessageDecl));

	m->name = name;
	KS_PROTO_APPEND(&scope->messages, m);
	return m;
}

/* some_map -> SomeMapEntry, as protoc has it */
static KsProtoWord
entry_name(const KsProtoWord *field)
{
	char	   *name = palloc(field->len + 6);
	int			len = 0;
	bool		capital = true;

	for (int i = 0; i < field->len; i++)
	{
		char		c = field->p[i];

		if (c != '_')
			name[len++] = capital && c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c;
		capital = c == '_';
	}
	memcpy(name + len, "Entry", 6);
	return (KsProtoWord) {name, len + 5, field->line};
}

static void
add_entry_field(KsProtoMessageDecl *entry, const char *name, int number, KsProtoWord type)
{
	KsProtoFieldDecl *field = palloc0(sizeof(KsProtoFieldDecl));

	field->name = (KsProtoWord) {name, strlen(name), type.line};
	field->number = number;
	field->type = type;
	field->oneof = -1;
	KS_PROTO_APPEND(&entry->fields, field);
}

static const char *const key_types[] = {
	"int32", "int64", "uint32", "uint64", "sint32", "sint64",
	"fixed32", "fixed64", "sfixed32", "sfixed64", "bool", "string"
};

bool
ks_proto_may_be_key(const KsProtoWord *type)
{
	for (int i = 0; i < (int) lengthof(key_types); i++)
		if (ks_proto_word_is(type, key_types[i]))
			return true;
	return false;
}

void
ks_proto_parse_map_types(KsProtoTokens *t, KsProtoWord *key, KsProtoWord *value)
{
	ks_proto_expect(t, "<");
	*key = ks_proto_take_path(t, true, "a type");
	if (!ks_proto_may_be_key(key))
		bad(t, key->line, "The key of a map is a string, a bool or an integer.");
	ks_proto_expect(t, ",");
	*value = ks_proto_take_path(t, true, "a type");
	ks_proto_expect(t, ">");
}

void
ks_proto_add_entry(KsProtoMessageDecl *scope, KsProtoFieldDecl *field, KsProtoWord key, KsProtoWord value)
{
	field->message = ks_proto_new_message(scope, entry_name(&field->name));
	field->message->map_entry = true;
	add_entry_field(field->message, "key", 1, key);
	add_entry_field(field->message, "value", 2, value);
}

/* --- services --- */

static void
parse_method_type(KsProtoTokens *t)
{
	ks_proto_expect(t, "(");
	(void) ks_proto_accept(t, "stream");
	(void) ks_proto_take_path(t, true, "the name of a message");
	ks_proto_expect(t, ")");
}

static void
parse_method(KsProtoTokens *t)
{
	KsProtoFeatures ignored = {0};
	KsProtoOption option;

	(void) ks_proto_take_name(t, "the name of a method");
	parse_method_type(t);
	ks_proto_expect(t, "returns");
	parse_method_type(t);
	if (!ks_proto_accept(t, "{"))
	{
		ks_proto_expect(t, ";");
		return;
	}
	while (!ks_proto_accept(t, "}"))
		if (!ks_proto_accept(t, ";") && !ks_proto_take_option(t, &option, &ignored))
			ks_proto_unexpected(t, "an option");
}

void
ks_proto_parse_service(KsProtoTokens *t, KsProtoMessageDecl *scope)
{
	KsProtoFeatures ignored = {0};
	KsProtoOption option;

	ks_proto_append_name(&scope->services, ks_proto_take_name(t, "the name of a service"));
	ks_proto_expect(t, "{");
	while (!ks_proto_accept(t, "}"))
	{
		if (ks_proto_accept(t, "rpc"))
			parse_method(t);
		else if (!ks_proto_accept(t, ";") && !ks_proto_take_option(t, &option, &ignored))
			ks_proto_unexpected(t, "\"rpc\"");
	}
}
