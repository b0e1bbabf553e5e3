/*
 * proto_parse.c
 *	  The grammar of .proto texts: proto2, proto3 and editions.
 *
 * Services, extensions and options are read and, but for what reading records
 * depends on, forgotten.  What needs more than the text itself to be judged is
 * judged later.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/proto_literals.h"
#include "format/proto_meta.h"
#include "format/proto_parts.h"

#define MAX_NUMBER		((1 << 29) - 1)	/* of a field */

typedef struct Parser
{
	KsProtoTokens t;
	KsProtoFileDecl *file;
} Parser;

static bool parse_definition(Parser *p, KsProtoMessageDecl *scope, int depth);
static void parse_body(Parser *p, KsProtoMessageDecl *m, int depth);

KS_NORETURN static void bad(const Parser *p, int line, const char *detail);

static void
bad(const Parser *p, int line, const char *detail)
{
	ks_proto_bad(p->t.file, line, detail);
}

static void
check_depth(int depth)
{
	check_stack_depth();
	if (depth > KS_PROTO_MAX_DEPTH)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("Protobuf schema is nested too deeply"),
				 errdetail("The limit is %d levels.", KS_PROTO_MAX_DEPTH)));
}

/* What stands before it or, if there is nothing, behind what has just been taken. */
static KsProtoComment
comment_of(const Parser *p, KsProtoComment before)
{
	return before.begin ? before : p->t.behind;
}

/* --- fields --- */

static KsProtoLabel
take_label(Parser *p)
{
	int			line = p->t.word.line;
	KsProtoLabel label = ks_proto_accept(&p->t, "optional") ? KS_PROTO_OPTIONAL :
		ks_proto_accept(&p->t, "required") ? KS_PROTO_REQUIRED :
		ks_proto_accept(&p->t, "repeated") ? KS_PROTO_REPEATED : KS_PROTO_NO_LABEL;

	if (label == KS_PROTO_REQUIRED && p->file->syntax == KS_PROTO_3)
		bad(p, line, "Fields of proto3 are not \"required\".");
	if ((label == KS_PROTO_REQUIRED || label == KS_PROTO_OPTIONAL) && p->file->syntax == KS_PROTO_EDITION)
		bad(p, line, "Fields of editions are neither \"optional\" nor \"required\": the feature \"field_presence\" says it.");
	return label;
}

static void
take_number(Parser *p, KsProtoFieldDecl *field)
{
	int			line = p->t.word.line;
	uint64		number = ks_proto_take_integer(&p->t, "a field number");

	if (number < 1 || number > MAX_NUMBER)
		bad(p, line, psprintf("Field numbers are from 1 to %d.", MAX_NUMBER));
	if (number >= 19000 && number <= 19999)
		bad(p, line, "The field numbers from 19000 to 19999 are Protobuf's own.");
	field->number = (int32) number;
}

/* Of those in [] after a field. */
static void
take_field_option(const KsProtoTokens *t, const KsProtoOption *option, void *arg)
{
	KsProtoFieldDecl *field = arg;

	ks_proto_merge_meta(&field->meta, &option->meta);
	if (ks_proto_word_is(&option->name, "default"))
	{
		if (field->has_default)
			ks_proto_bad(t->file, option->name.line, "A default is given twice.");
		field->has_default = true;
		field->default_value = option->value;
	}
	else if (ks_proto_word_is(&option->name, "json_name"))
	{
		if (option->value.type != KS_PROTO_TOKEN_STRING || memchr(option->value.bytes, '\0', option->value.len))
			ks_proto_bad(t->file, option->name.line, "The option \"json_name\" is a string.");
		field->json_name = option->value.bytes;
	}
}

/* The field's name is the message's in small letters. */
static void
parse_group(Parser *p, KsProtoMessageDecl *scope, KsProtoFieldDecl *field, int depth)
{
	KsProtoWord name = ks_proto_take_name(&p->t, "the name of a group");
	char	   *small = pnstrdup(name.p, name.len);

	if (p->file->syntax != KS_PROTO_2)
		bad(p, name.line, "Only proto2 has groups.");
	if (*small < 'A' || *small > 'Z')
		bad(p, name.line, "The name of a group begins with a capital letter.");
	for (char *c = small; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c += 'a' - 'A';
	field->name = (KsProtoWord) {small, name.len, name.line};
	ks_proto_expect(&p->t, "=");
	take_number(p, field);
	ks_proto_take_list(&p->t, take_field_option, field, &field->features);
	field->message = ks_proto_new_message(scope, name);
	ks_proto_expect(&p->t, "{");
	field->comment = field->message->comment = comment_of(p, field->comment);
	parse_body(p, field->message, depth + 1);
}

/* "scope" takes the messages that come with it. */
static void
parse_field(Parser *p, KsProtoMessageDecl *scope, KsProtoFieldDecl *field, bool may_be_map, int depth)
{
	KsProtoWord key = {0};
	KsProtoWord value = {0};

	field->type = ks_proto_take_path(&p->t, true, "a type");
	if (ks_proto_word_is(&field->type, "group"))
	{
		parse_group(p, scope, field, depth);
		return;
	}
	field->map = ks_proto_word_is(&field->type, "map") && ks_proto_at(&p->t, "<");
	if (field->map)
	{
		if (!may_be_map || field->label != KS_PROTO_NO_LABEL)
			bad(p, field->type.line, "A map has no label, and is neither in a oneof nor an extension.");
		ks_proto_parse_map_types(&p->t, &key, &value);
	}
	field->name = ks_proto_take_name(&p->t, "the name of a field");
	ks_proto_expect(&p->t, "=");
	take_number(p, field);
	ks_proto_take_list(&p->t, take_field_option, field, &field->features);
	ks_proto_expect(&p->t, ";");
	field->comment = comment_of(p, field->comment);
	if (field->map)
		ks_proto_add_entry(scope, field, key, value);
}

static KsProtoFieldDecl *
new_field(Parser *p)
{
	KsProtoFieldDecl *field = palloc0(sizeof(KsProtoFieldDecl));

	field->oneof = -1;
	field->comment = p->t.before;
	return field;
}

/* proto2 has one at every field that is neither a map nor in a oneof. */
static void
check_label(const Parser *p, const KsProtoFieldDecl *field)
{
	if (p->file->syntax == KS_PROTO_2 && field->label == KS_PROTO_NO_LABEL && !field->map)
		bad(p, field->type.line, "A field of proto2 is \"optional\", \"required\" or \"repeated\".");
}

static void
parse_labeled(Parser *p, KsProtoMessageDecl *m, int depth)
{
	KsProtoFieldDecl *field = new_field(p);

	field->label = take_label(p);
	parse_field(p, m, field, true, depth);
	check_label(p, field);
	KS_PROTO_APPEND(&m->fields, field);
}

static void
parse_oneof(Parser *p, KsProtoMessageDecl *m, int depth)
{
	KsProtoWord name = ks_proto_take_name(&p->t, "the name of a oneof");
	KsProtoFeatures ignored = {0};
	KsProtoOption option;
	int			before = m->fields.n;

	ks_proto_append_name(&m->oneofs, name);
	ks_proto_expect(&p->t, "{");
	while (!ks_proto_accept(&p->t, "}"))
	{
		KsProtoFieldDecl *field;

		if (ks_proto_accept(&p->t, ";") || ks_proto_take_option(&p->t, &option, &ignored))
			continue;
		if (ks_proto_at(&p->t, "optional") || ks_proto_at(&p->t, "required") || ks_proto_at(&p->t, "repeated"))
			bad(p, p->t.word.line, "A field in a oneof has no label.");
		field = new_field(p);
		field->oneof = m->oneofs.n - 1;
		parse_field(p, m, field, false, depth);
		KS_PROTO_APPEND(&m->fields, field);
	}
	if (m->fields.n == before)
		bad(p, name.line, psprintf("The oneof \"%s\" has no field.", pnstrdup(name.p, name.len)));
}

/* Unknown fields to whoever reads the message. */
static void
parse_extend(Parser *p, KsProtoMessageDecl *scope, int depth)
{
	(void) ks_proto_take_path(&p->t, true, "the name of a message");
	ks_proto_expect(&p->t, "{");
	while (!ks_proto_accept(&p->t, "}"))
	{
		KsProtoFieldDecl *field;

		if (ks_proto_accept(&p->t, ";"))
			continue;
		field = new_field(p);
		field->label = take_label(p);
		if (field->label == KS_PROTO_REQUIRED)
			bad(p, p->t.word.line, "Extensions are not \"required\".");
		parse_field(p, scope, field, false, depth);
		check_label(p, field);
		ks_proto_append_name(&scope->extensions, field->name);
	}
}

/* --- messages --- */

static void
parse_message(Parser *p, KsProtoMessageDecl *scope, KsProtoComment comment, int depth)
{
	KsProtoMessageDecl *m = ks_proto_new_message(scope, ks_proto_take_name(&p->t, "the name of a message"));

	ks_proto_expect(&p->t, "{");
	m->comment = comment_of(p, comment);
	parse_body(p, m, depth);
}

/* What stands in messages and outside of them. */
static bool
parse_definition(Parser *p, KsProtoMessageDecl *scope, int depth)
{
	KsProtoComment comment = p->t.before;
	KsProtoOption option;

	if (ks_proto_accept(&p->t, ";"))
		return true;
	if (ks_proto_take_option(&p->t, &option, &scope->features))
	{
		ks_proto_merge_meta(&scope->meta, &option.meta);
		scope->says_entry |= ks_proto_option_is_true(&option, "map_entry");
		return true;
	}
	/* who may use a name is not looked at */
	if (p->file->syntax == KS_PROTO_EDITION && (ks_proto_accept(&p->t, "export") || ks_proto_accept(&p->t, "local")) &&
		!ks_proto_at(&p->t, "message") && !ks_proto_at(&p->t, "enum"))
		ks_proto_unexpected(&p->t, "\"message\" or \"enum\"");
	if (ks_proto_accept(&p->t, "message"))
		parse_message(p, scope, comment, depth + 1);
	else if (ks_proto_accept(&p->t, "enum"))
		ks_proto_parse_enum(&p->t, scope);
	else if (ks_proto_accept(&p->t, "extend"))
		parse_extend(p, scope, depth);
	else
		return false;
	return true;
}

/* Behind its opening brace. */
static void
parse_body(Parser *p, KsProtoMessageDecl *m, int depth)
{
	check_depth(depth);
	while (!ks_proto_accept(&p->t, "}"))
	{
		if (parse_definition(p, m, depth))
			continue;
		if (ks_proto_accept(&p->t, "reserved"))
			ks_proto_parse_reserved(&p->t, &m->reserved, false);
		else if (ks_proto_accept(&p->t, "extensions"))
			ks_proto_parse_extensions(&p->t, m);
		else if (ks_proto_accept(&p->t, "oneof"))
			parse_oneof(p, m, depth);
		else
			parse_labeled(p, m, depth);
	}
}

/* --- files --- */

/* Without it, a text is proto2. */
static void
parse_syntax(Parser *p)
{
	int			line = p->t.word.line;
	int			len;
	char	   *name;

	if (ks_proto_accept(&p->t, "syntax"))
	{
		ks_proto_expect(&p->t, "=");
		name = ks_proto_take_string(&p->t, "\"proto2\" or \"proto3\"", &len);
		if (strcmp(name, "proto3") == 0)
			p->file->syntax = KS_PROTO_3;
		else if (strcmp(name, "proto2") != 0)
			bad(p, line, "The syntax is neither \"proto2\" nor \"proto3\".");
	}
	else if (ks_proto_accept(&p->t, "edition"))
	{
		ks_proto_expect(&p->t, "=");
		name = ks_proto_take_string(&p->t, "an edition", &len);
		if (strcmp(name, "2023") != 0 && strcmp(name, "2024") != 0)
			bad(p, line, "The editions that are supported are 2023 and 2024, as are proto2 and proto3.");
		p->file->syntax = KS_PROTO_EDITION;
		p->t.editions = true;
	}
	else
		return;
	ks_proto_expect(&p->t, ";");
}

static void
parse_import(Parser *p)
{
	KsProtoImport *import = palloc0(sizeof(KsProtoImport));
	bool		of_options = ks_proto_accept(&p->t, "option");
	int			len;

	import->public = ks_proto_accept(&p->t, "public");
	if (!import->public)
		(void) ks_proto_accept(&p->t, "weak");
	import->line = p->t.word.line;
	import->name = ks_proto_take_string(&p->t, "the name of a file", &len);
	ks_proto_expect(&p->t, ";");
	/* (what options need) */
	if (!of_options)
		KS_PROTO_APPEND(&p->file->imports, import);
}

static void
parse_package(Parser *p)
{
	if (p->file->package.n > 0)
		bad(p, p->t.word.line, "The package is given twice.");
	do
		ks_proto_append_name(&p->file->package, ks_proto_take_name(&p->t, "the name of a package"));
	while (ks_proto_accept(&p->t, "."));
	ks_proto_expect(&p->t, ";");
}

KsProtoFileDecl *
ks_proto_read_text(const char *name, const char *text)
{
	Parser		p;

	p.file = palloc0(sizeof(KsProtoFileDecl));
	p.file->name = name;
	p.file->text = text;
	ks_proto_tokens_begin(&p.t, name, text);
	parse_syntax(&p);
	while (p.t.type != KS_PROTO_TOKEN_END)
	{
		if (parse_definition(&p, &p.file->body, 0))
			continue;
		if (ks_proto_accept(&p.t, "import"))
			parse_import(&p);
		else if (ks_proto_accept(&p.t, "package"))
			parse_package(&p);
		else if (ks_proto_accept(&p.t, "service"))
			ks_proto_parse_service(&p.t, &p.file->body);
		else
			ks_proto_unexpected(&p.t, "\"message\", \"enum\", \"import\", \"package\", \"option\", \"extend\" or \"service\"");
	}
	return p.file;
}
