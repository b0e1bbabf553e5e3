/*
 * proto_resolve.c
 *	  The types of fields, by their names.
 *
 * As protoc finds them: the innermost scope that has the first part of a name has
 * all of it, or the name is wrong.  A file sees its own names, those of what it
 * imports, and what these import publicly; names of others are not there.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/proto_default.h"
#include "format/proto_resolve.h"

typedef struct Resolver
{
	const KsProtoSymbols *symbols;
	KsProtoFileDecl *file;
	int			number;			/* of the file */
	MemoryContext keep;
} Resolver;

/* The scalar type of that name, or 0. */
static KsProtoType
scalar_of(const KsProtoWord *name)
{
	for (int type = KS_PROTO_DOUBLE; type <= KS_PROTO_SINT64; type++)
	{
		const char *scalar = ks_proto_scalar_name((KsProtoType) type);

		if (scalar && ks_proto_word_is(name, scalar))
			return (KsProtoType) type;
	}
	return 0;
}

/* --- what a file sees --- */

static void
see_file(const Resolver *r, KsProtoFileDecl *file)
{
	file->seen_by = r->number;
	for (KsProtoSymbol *s = file->symbol; s && s->seen_by != r->number; s = s->parent)
		s->seen_by = r->number;
}

/* With what it imports publicly: imports come before those who import them, so that there is an end. */
static void
see_import(const Resolver *r, KsProtoFileDecl *file)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (file->seen_by == r->number)
		return;
	see_file(r, file);
	for (const KsProtoImport *import = file->imports.first; import; import = import->next)
		if (import->public)
			see_import(r, import->file);
}

static bool
is_seen(const Resolver *r, const KsProtoSymbol *s)
{
	return (s->kind == KS_PROTO_IS_PACKAGE ? s->seen_by : s->file->seen_by) == r->number;
}

/* --- names --- */

static bool
has_names_in_it(const KsProtoSymbol *s)
{
	return s->kind != KS_PROTO_IS_OTHER;
}

static bool
is_type(const KsProtoSymbol *s)
{
	return s->message || s->enumeration;
}

/* What is so called in all files; NULL: nothing. */
static KsProtoSymbol *
find_by_path(const KsProtoSymbols *symbols, KsProtoSymbol *from, const char *name, int len)
{
	while (from && len > 0)
	{
		const char *dot = memchr(name, '.', len);
		int			part = dot ? dot - name : len;

		from = ks_proto_symbol_find(symbols, from, name, part);
		part += dot ? 1 : 0;
		name += part;
		len -= part;
	}
	return from;
}

/* In the innermost scope that has it. */
static KsProtoSymbol *
look_up(const Resolver *r, KsProtoSymbol *scope, const KsProtoWord *name)
{
	const char *dot = memchr(name->p, '.', name->len);
	int			first = dot ? dot - name->p : name->len;

	if (first == 0)
		return find_by_path(r->symbols, unconstify(KsProtoSymbol *, &r->symbols->root), name->p + 1, name->len - 1);
	for (; scope; scope = scope->parent)
	{
		KsProtoSymbol *s = ks_proto_symbol_find(r->symbols, scope, name->p, first);

		if (s == NULL || !is_seen(r, s))
			continue;
		if (dot && has_names_in_it(s))
			return find_by_path(r->symbols, s, dot + 1, name->len - first - 1);
		if (!dot && is_type(s))
			return s;
	}
	return NULL;
}

static KsProtoSymbol *
find_type(const Resolver *r, KsProtoSymbol *scope, const KsProtoWord *name)
{
	KsProtoSymbol *s = look_up(r, scope, name);

	if (s && is_type(s) && is_seen(r, s))
		return s;
	ks_proto_bad(r->file->name, name->line,
				 psprintf("The type \"%s\" is not defined, or not in a file that is imported.",
						  pnstrdup(name->p, name->len)));
}

/* --- fields --- */

static void
set_message(KsProtoField *field, const KsProtoFieldDecl *f, KsProtoMessage *message, bool in_entry)
{
	/* maps and what is in them are never delimited */
	bool		group = f->features.encoding == KS_PROTO_DELIMITED && !message->map_entry && !in_entry;

	field->message = message;
	field->type = group ? KS_PROTO_GROUP : KS_PROTO_MESSAGE;
	field->presence = !field->repeated;
}

static void
resolve_field(const Resolver *r, const KsProtoMessageDecl *m, const KsProtoFieldDecl *f, KsProtoField *field)
{
	KsProtoSymbol *s;

	if (f->message)
	{
		set_message(field, f, f->message->node, m->map_entry);
		if (!f->map)
			field->type = KS_PROTO_GROUP;
	}
	else if ((field->type = scalar_of(&f->type)) == 0)
	{
		s = find_type(r, m->symbol, &f->type);
		if (s->message)
		{
			field->map = field->repeated && s->message->map_entry;
			set_message(field, f, s->message, m->node->map_entry);
		}
		else
		{
			field->type = KS_PROTO_ENUM;
			field->enumeration = s->enumeration;
		}
	}
	if (f->has_default)
		ks_proto_set_default(r->file, f, field, r->keep);
}

static void
resolve_messages(const Resolver *r, const KsProtoMessageDecl *m)
{
	for (; m; m = m->next)
	{
		KsProtoField *field = m->node->fields;

		CHECK_FOR_INTERRUPTS();
		for (const KsProtoFieldDecl *f = m->fields.first; f; f = f->next)
			resolve_field(r, m, f, field++);
		resolve_messages(r, m->messages.first);
	}
}

void
ks_proto_resolve(const KsProtoSymbols *symbols, KsProtoFileDecl *file, int number, MemoryContext keep)
{
	Resolver	r = {symbols, file, number, keep};

	see_file(&r, file);
	for (const KsProtoImport *import = file->imports.first; import; import = import->next)
		see_import(&r, import->file);
	resolve_messages(&r, file->body.messages.first);
}
