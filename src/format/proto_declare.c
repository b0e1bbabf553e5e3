/*
 * proto_declare.c
 *	  Messages and enums of a .proto text as nodes with names, numbers and fields,
 *	  whose types are not known yet.
 *
 * What a text must not say of these is an error here: names and numbers that are
 * given twice, or are reserved.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/proto_declare.h"
#include "format/proto_literals.h"
#include "format/proto_parts.h"

typedef struct Declarer
{
	KsProtoSymbols *symbols;
	KsProtoFileDecl *file;
	MemoryContext keep;
	StringInfoData buf;			/* for comments */
} Declarer;

KS_NORETURN static void bad(const Declarer *d, int line, const char *detail);

static void
bad(const Declarer *d, int line, const char *detail)
{
	ks_proto_bad(d->file->name, line, detail);
}

static void *
keep(const Declarer *d, Size size)
{
	return MemoryContextAllocZero(d->keep, Max(size, 1));
}

static char *
keep_string(const Declarer *d, const char *p, int len)
{
	char	   *s = keep(d, len + 1);

	memcpy(s, p, len);
	return s;
}

static const char *
shown(const KsProtoWord *word)
{
	return pnstrdup(word->p, word->len);
}

static KsProtoFeatures
inherit(const KsProtoFeatures *outer, const KsProtoFeatures *own)
{
	return (KsProtoFeatures) {
		own->presence ? own->presence : outer->presence,
		own->enum_type ? own->enum_type : outer->enum_type,
		own->encoding ? own->encoding : outer->encoding
	};
}

static const char *
keep_comment(Declarer *d, const KsProtoComment *comment)
{
	return ks_proto_comment_text(comment, &d->buf) ? keep_string(d, d->buf.data, d->buf.len) : NULL;
}

/* What options say counts before comments, which are about more than data. */
static const char *
keep_doc(Declarer *d, const KsProtoMeta *meta, const KsProtoComment *comment)
{
	int			len = meta->doc ? strlen(meta->doc) : 0;

	if (len > 0 && pg_verify_mbstr(GetDatabaseEncoding(), meta->doc, len, true))
		return keep_string(d, meta->doc, len);
	return keep_comment(d, comment);
}

/* --- numbers and names that are taken --- */

static int
compare_ranges(const void *a, const void *b)
{
	const KsProtoRange *ra = *(KsProtoRange *const *) a;
	const KsProtoRange *rb = *(KsProtoRange *const *) b;

	return ra->from < rb->from ? -1 : ra->from > rb->from;
}

/* By where they begin; none may reach into another. */
static KsProtoRange **
sort_ranges(const Declarer *d, const KsProtoReserved *reserved)
{
	KsProtoRange **ranges = palloc((reserved->ranges.n + 1) * sizeof(KsProtoRange *));
	int			n = 0;

	for (KsProtoRange *r = reserved->ranges.first; r; r = r->next)
		ranges[n++] = r;
	qsort(ranges, n, sizeof(KsProtoRange *), compare_ranges);
	for (int i = 1; i < n; i++)
		if (ranges[i]->from <= ranges[i - 1]->to)
			bad(d, Max(ranges[i]->line, ranges[i - 1]->line),
				psprintf("The range from %d overlaps with the one from %d.", ranges[i]->from, ranges[i - 1]->from));
	return ranges;
}

typedef struct Numbered
{
	int32		number;
	int			index;
	const KsProtoWord *name;
} Numbered;

static int
compare_numbered(const void *a, const void *b)
{
	const Numbered *na = a;
	const Numbered *nb = b;

	if (na->number != nb->number)
		return na->number < nb->number ? -1 : 1;
	return na->index < nb->index ? -1 : na->index > nb->index;
}

/* Sorts them by number; none may be in a range. */
static void
check_numbers(const Declarer *d, Numbered *items, int n, const KsProtoReserved *reserved, bool may_repeat)
{
	KsProtoRange **ranges = sort_ranges(d, reserved);
	int			r = 0;

	qsort(items, n, sizeof(Numbered), compare_numbered);
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && !may_repeat && items[i].number == items[i - 1].number)
			bad(d, items[i].name->line, psprintf("The number %d of \"%s\" is that of \"%s\".", items[i].number,
												 shown(items[i].name), shown(items[i - 1].name)));
		while (r < reserved->ranges.n && ranges[r]->to < items[i].number)
			r++;
		if (r < reserved->ranges.n && ranges[r]->from <= items[i].number)
			bad(d, items[i].name->line, psprintf("The number %d of \"%s\" is %s.", items[i].number, shown(items[i].name),
												 ranges[r]->extensions ? "one of an extension" : "reserved"));
	}
}

static void
check_reserved_names(const Declarer *d, const Numbered *items, int n, const KsProtoReserved *reserved)
{
	KsField    *names = palloc((reserved->names.n + 1) * sizeof(KsField));
	KsNames		set;
	int			nnames = 0;

	if (reserved->names.n == 0)
		return;
	for (KsProtoNameDecl *name = reserved->names.first; name; name = name->next)
		names[nnames++] = (KsField) {name->name.p, name->name.len};
	ks_names_init(&set, names, nnames);
	for (int i = 0; i < n; i++)
		if (ks_names_find(&set, items[i].name->p, items[i].name->len) >= 0)
			bad(d, items[i].name->line, psprintf("The name \"%s\" is reserved.", shown(items[i].name)));
}

/* --- enums --- */

static void
fill_enum(Declarer *d, KsProtoSymbol *parent, const KsProtoEnumDecl *e, KsProtoEnum *node)
{
	Numbered   *items = palloc(e->values.n * sizeof(Numbered));

	node->names = keep(d, e->values.n * sizeof(char *));
	node->numbers = keep(d, e->values.n * sizeof(int32));
	for (const KsProtoValueDecl *v = e->values.first; v; v = v->next)
	{
		/* values stand beside their enum */
		(void) ks_proto_symbol_add(d->symbols, parent, KS_PROTO_IS_OTHER, d->file, &v->name);
		if (node->n == 0 && v->number != 0 && !node->closed)
			bad(d, v->name.line, psprintf("The first value of enum \"%s\" is not 0.", node->name));
		items[node->n] = (Numbered) {v->number, node->n, &v->name};
		node->names[node->n] = keep_string(d, v->name.p, v->name.len);
		node->numbers[node->n++] = v->number;
	}
	check_numbers(d, items, node->n, &e->reserved, e->allow_alias);
	node->by_number = keep(d, node->n * sizeof(int));
	for (int i = 0; i < node->n; i++)
		node->by_number[i] = items[i].index;
	check_reserved_names(d, items, node->n, &e->reserved);
}

static void
declare_enum(Declarer *d, KsProtoSymbol *parent, const KsProtoEnumDecl *e, const KsProtoFeatures *outer)
{
	KsProtoSymbol *symbol = ks_proto_symbol_add(d->symbols, parent, KS_PROTO_IS_ENUM, d->file, &e->name);
	KsProtoEnum *node = keep(d, sizeof(KsProtoEnum));

	symbol->enumeration = node;
	node->name = ks_proto_symbol_name(symbol, d->keep);
	node->closed = inherit(outer, &e->features).enum_type == KS_PROTO_CLOSED;
	node->null_value = strcmp(node->name, "google.protobuf.NullValue") == 0;
	fill_enum(d, parent, e, node);
}

/* --- fields --- */

/* some_name -> someName */
static const char *
json_name(const Declarer *d, const KsProtoFieldDecl *f, const char *field)
{
	char	   *name;
	int			len = 0;
	bool		capital = false;

	if (f->json_name)
		return keep_string(d, f->json_name, strlen(f->json_name));
	if (strchr(field, '_') == NULL)
		return field;
	name = keep(d, f->name.len + 1);
	for (int i = 0; i < f->name.len; i++)
	{
		char		c = f->name.p[i];

		if (c != '_')
			name[len++] = capital && c >= 'a' && c <= 'z' ? c - ('a' - 'A') : c;
		capital = c == '_';
	}
	return name;
}

/* Is there a difference between a default and nothing?  Messages always have it. */
static bool
has_presence(const KsProtoFileDecl *file, const KsProtoFieldDecl *f, const KsProtoFeatures *features)
{
	if (f->label == KS_PROTO_REPEATED || f->map)
		return false;
	if (f->oneof >= 0 || f->message)
		return true;
	/* (what is an entry's has no label in the text) */
	if (file->syntax == KS_PROTO_3 && f->label == KS_PROTO_OPTIONAL)
		return true;
	return features->presence != KS_PROTO_IMPLICIT;
}

static void
fill_field(Declarer *d, KsProtoFieldDecl *f, KsProtoField *field, const KsProtoFeatures *outer)
{
	f->features = inherit(outer, &f->features);
	field->name.name = keep_string(d, f->name.p, f->name.len);
	field->name.len = f->name.len;
	field->json_name = json_name(d, f, field->name.name);
	field->number = f->number;
	field->map = f->map;
	field->repeated = f->map || f->label == KS_PROTO_REPEATED;
	field->required = !field->repeated && f->oneof < 0 &&
		(f->label == KS_PROTO_REQUIRED || f->features.presence == KS_PROTO_LEGACY_REQUIRED);
	field->presence = has_presence(d->file, f, &f->features);
	field->oneof = f->oneof;
	field->connect_type = f->meta.connect_type;
	field->precision = f->meta.precision;
	field->scale = f->meta.scale;
}

/* What finds them by number and name. */
static void
index_fields(Declarer *d, const KsProtoMessageDecl *m, KsProtoMessage *node)
{
	Numbered   *items = palloc((node->nfields + 1) * sizeof(Numbered));
	KsField    *names = keep(d, node->nfields * sizeof(KsField));
	MemoryContext before;
	int			n = 0;

	for (const KsProtoFieldDecl *f = m->fields.first; f; f = f->next, n++)
	{
		items[n] = (Numbered) {f->number, n, &f->name};
		names[n] = node->fields[n].name;
	}
	check_numbers(d, items, n, &m->reserved, false);
	check_reserved_names(d, items, n, &m->reserved);
	node->by_number = keep(d, n * sizeof(int));
	for (int i = 0; i < n; i++)
		node->by_number[i] = items[i].index;
	before = MemoryContextSwitchTo(d->keep);
	ks_names_init(&node->index, names, n);
	MemoryContextSwitchTo(before);
}

static void
fill_fields(Declarer *d, const KsProtoMessageDecl *m, KsProtoMessage *node)
{
	int			n = 0;

	node->nfields = m->fields.n;
	node->fields = keep(d, m->fields.n * sizeof(KsProtoField));
	node->comments = keep(d, m->fields.n * sizeof(char *));
	for (KsProtoFieldDecl *f = m->fields.first; f; f = f->next, n++)
	{
		(void) ks_proto_symbol_add(d->symbols, m->symbol, KS_PROTO_IS_OTHER, d->file, &f->name);
		fill_field(d, f, &node->fields[n], &m->features);
		node->comments[n] = keep_doc(d, &f->meta, &f->comment);
	}
	index_fields(d, m, node);
}

/* --- messages --- */

static void
declare_names(Declarer *d, KsProtoSymbol *scope, KsProtoKind kind, const KsProtoNameList *list)
{
	for (const KsProtoNameDecl *name = list->first; name; name = name->next)
		(void) ks_proto_symbol_add(d->symbols, scope, kind, d->file, &name->name);
}

static void declare_message(Declarer *d, KsProtoSymbol *parent, KsProtoMessageDecl *m, const KsProtoFeatures *outer);

/* What messages and files have in them. */
static void
declare_body(Declarer *d, KsProtoMessageDecl *m)
{
	for (KsProtoMessageDecl *inner = m->messages.first; inner; inner = inner->next)
		declare_message(d, m->symbol, inner, &m->features);
	for (const KsProtoEnumDecl *e = m->enums.first; e; e = e->next)
		declare_enum(d, m->symbol, e, &m->features);
	declare_names(d, m->symbol, KS_PROTO_IS_OTHER, &m->oneofs);
	declare_names(d, m->symbol, KS_PROTO_IS_SERVICE, &m->services);
	declare_names(d, m->symbol, KS_PROTO_IS_OTHER, &m->extensions);
}

static void
fill_oneofs(Declarer *d, const KsProtoMessageDecl *m, KsProtoMessage *node)
{
	node->oneofs = keep(d, m->oneofs.n * sizeof(char *));
	for (const KsProtoNameDecl *name = m->oneofs.first; name; name = name->next)
		node->oneofs[node->noneofs++] = keep_string(d, name->name.p, name->name.len);
}

/* The list of those that indexes count. */
static KsProtoMessage **
list_messages(Declarer *d, const KsProtoMessageDecl *m, int *n)
{
	KsProtoMessage **list = keep(d, m->messages.n * sizeof(KsProtoMessage *));

	for (const KsProtoMessageDecl *inner = m->messages.first; inner; inner = inner->next)
		if (!inner->map_entry)
			list[(*n)++] = inner->node;
	return list;
}

/*
 * protoc takes no text that says it.  But descriptors have maps so, and what registries
 * make of these, or have been given by serializers that did.
 */
static bool
is_entry(const KsProtoMessageDecl *m)
{
	const KsProtoFieldDecl *key = m->fields.first;
	const KsProtoFieldDecl *value;

	if (!m->says_entry || m->fields.n != 2)
		return false;
	value = key->next;
	return ks_proto_word_is(&key->name, "key") && key->number == 1 && key->label != KS_PROTO_REPEATED &&
		key->message == NULL && ks_proto_may_be_key(&key->type) &&
		ks_proto_word_is(&value->name, "value") && value->number == 2 && value->label != KS_PROTO_REPEATED &&
		value->message == NULL;
}

static void
declare_message(Declarer *d, KsProtoSymbol *parent, KsProtoMessageDecl *m, const KsProtoFeatures *outer)
{
	KsProtoMessage *node = keep(d, sizeof(KsProtoMessage));

	m->node = node;
	m->symbol = ks_proto_symbol_add(d->symbols, parent, KS_PROTO_IS_MESSAGE, d->file, &m->name);
	m->symbol->message = node;
	m->features = inherit(outer, &m->features);
	node->name = ks_proto_symbol_name(m->symbol, d->keep);
	node->map_entry = m->map_entry || is_entry(m);
	node->comment = keep_doc(d, &m->meta, &m->comment);
	declare_body(d, m);
	fill_oneofs(d, m, node);
	fill_fields(d, m, node);
	node->messages = list_messages(d, m, &node->nmessages);
}

void
ks_proto_declare(KsProtoSymbols *symbols, KsProtoFileDecl *file, MemoryContext keep)
{
	static const KsProtoFeatures features[] = {
		[KS_PROTO_2] = {KS_PROTO_EXPLICIT, KS_PROTO_CLOSED, KS_PROTO_LENGTH_PREFIXED},
		[KS_PROTO_3] = {KS_PROTO_IMPLICIT, KS_PROTO_OPEN, KS_PROTO_LENGTH_PREFIXED},
		[KS_PROTO_EDITION] = {KS_PROTO_EXPLICIT, KS_PROTO_OPEN, KS_PROTO_LENGTH_PREFIXED}
	};
	Declarer	d = {.symbols = symbols, .file = file, .keep = keep};
	KsProtoSymbol *scope = &symbols->root;

	initStringInfo(&d.buf);
	for (const KsProtoNameDecl *part = file->package.first; part; part = part->next)
		scope = ks_proto_symbol_add(symbols, scope, KS_PROTO_IS_PACKAGE, file, &part->name);
	file->symbol = file->body.symbol = scope;
	file->body.features = inherit(&features[file->syntax], &file->body.features);
	declare_body(&d, &file->body);
}
