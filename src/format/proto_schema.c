/*
 * proto_schema.c
 *	  Protobuf schemas: .proto texts (proto2, proto3, editions) as a graph of messages and enums.
 *
 * A text is read (proto_parse.c), its messages become nodes with names
 * (proto_declare.c), and their fields get types (proto_resolve.c), before the next
 * one is looked at.  All but the nodes is forgotten at the end.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "format/proto_declare.h"
#include "format/proto_known.h"
#include "format/proto_resolve.h"

#define MAX_FILES		1000

typedef struct Loader
{
	MemoryContext keep;
	KsProtoSymbols symbols;
	const KsProtoText *texts;	/* that are given: read when somebody imports them */
	KsNames		names;
	KsProtoFileDecl **given;	/* what has become of each of them */
	int			nfiles;
	KsProtoFileDecl *files[MAX_FILES];	/* that have been read, each behind those that it imports */
} Loader;

/* Stands for a file whose imports are being read. */
static KsProtoFileDecl being_read;

KS_NORETURN static void too_large(int max, const char *what);

static void
too_large(int max, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("Protobuf schema is too large"),
			 errdetail("The limit is %d %s.", max, what)));
}

/* --- files --- */

/* Fills in what only the whole graph tells. */
static void
finish_messages(const KsProtoMessageDecl *m)
{
	for (; m; m = m->next)
	{
		m->node->known = ks_proto_known_of(m->node);
		finish_messages(m->messages.first);
	}
}

static KsProtoFileDecl *import_file(Loader *l, const KsProtoFileDecl *by, const KsProtoImport *import);

static KsProtoFileDecl *
load(Loader *l, const char *name, const char *text)
{
	KsProtoFileDecl *file = ks_proto_read_text(name, text);

	check_stack_depth();
	for (KsProtoImport *import = file->imports.first; import; import = import->next)
		import->file = import_file(l, file, import);
	if (l->nfiles >= MAX_FILES)
		too_large(MAX_FILES, "files");
	l->files[l->nfiles++] = file;
	ks_proto_declare(&l->symbols, file, l->keep);
	ks_proto_resolve(&l->symbols, file, l->nfiles, l->keep);
	finish_messages(file->body.messages.first);
	return file;
}

/* One that is built in, if it is. */
static KsProtoFileDecl *
import_known(Loader *l, const char *name)
{
	const char *text = ks_proto_known_text(name);

	for (int i = 0; text && i < l->nfiles; i++)
		if (l->files[i]->text == text)
			return l->files[i];
	return text ? load(l, pstrdup(name), text) : NULL;
}

static KsProtoFileDecl *
import_file(Loader *l, const KsProtoFileDecl *by, const KsProtoImport *import)
{
	int			i = ks_names_find(&l->names, import->name, strlen(import->name));
	KsProtoFileDecl *file;

	CHECK_FOR_INTERRUPTS();
	if (i < 0)
	{
		file = import_known(l, import->name);
		if (file == NULL)
			ks_proto_bad(by->name, import->line, psprintf("The file \"%s\" is imported, but not given.", import->name));
		return file;
	}
	if (l->given[i] == &being_read)
		ks_proto_bad(by->name, import->line, psprintf("The file \"%s\" imports itself.", import->name));
	if (l->given[i] == NULL)
	{
		l->given[i] = &being_read;
		l->given[i] = load(l, l->texts[i].name, l->texts[i].text);
	}
	return l->given[i];
}

/* The same text may come by several ways, but not two by one name. */
static void
index_texts(Loader *l, const KsProtoText *texts, int n)
{
	KsField    *names = palloc((n + 1) * sizeof(KsField));

	for (int i = 0; i < n; i++)
		names[i] = (KsField) {texts[i].name, (int) strlen(texts[i].name)};
	ks_names_init(&l->names, names, n);
	for (int i = 0; i < n; i++)
		if (strcmp(texts[ks_names_find(&l->names, names[i].name, names[i].len)].text, texts[i].text) != 0)
			ks_proto_bad(texts[i].name, 1, "There is another text for this file.");
	l->texts = texts;
	l->given = palloc0((n + 1) * sizeof(KsProtoFileDecl *));
}

/* --- the graph --- */

static void
list_messages(const KsProtoMessageDecl *m, KsProtoFile *file, KsField *names)
{
	for (; m; m = m->next)
	{
		if (m->node->map_entry)
			continue;
		names[file->nall] = (KsField) {m->node->name, (int) strlen(m->node->name)};
		file->all[file->nall++] = m->node;
		list_messages(m->messages.first, file, names);
	}
}

/* In the context of the graph. */
static KsProtoFile *
make_file(const Loader *l, const KsProtoFileDecl *decl)
{
	KsProtoFile *file = palloc0(sizeof(KsProtoFile));
	KsField    *names = palloc((l->symbols.ntypes + 1) * sizeof(KsField));

	file->package = ks_proto_symbol_name(decl->symbol, CurrentMemoryContext);
	file->proto3 = decl->syntax == KS_PROTO_3;
	file->messages = palloc((decl->body.messages.n + 1) * sizeof(KsProtoMessage *));
	for (const KsProtoMessageDecl *m = decl->body.messages.first; m; m = m->next)
		if (!m->map_entry)
			file->messages[file->nmessages++] = m->node;
	file->all = palloc((l->symbols.ntypes + 1) * sizeof(KsProtoMessage *));
	for (int i = 0; i < l->nfiles; i++)
		list_messages(l->files[i]->body.messages.first, file, names);
	ks_names_init(&file->names, names, file->nall);
	return file;
}

KsProtoFile *
ks_proto_parse(const KsProtoText *texts, int n)
{
	MemoryContext keep = CurrentMemoryContext;
	MemoryContext scratch = AllocSetContextCreate(keep, "kafka_sink Protobuf schema", ALLOCSET_DEFAULT_SIZES);
	KsProtoFileDecl *decl;
	KsProtoFile *file;
	Loader	   *l;
	Size		bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += strlen(texts[i].text);
	if (bytes > KS_PROTO_MAX_SCHEMA)
		too_large(KS_PROTO_MAX_SCHEMA, "bytes");
	if (n > MAX_FILES)
		too_large(MAX_FILES, "files");
	MemoryContextSwitchTo(scratch);
	l = palloc0(sizeof(Loader));
	l->keep = keep;
	ks_proto_symbols_init(&l->symbols);
	index_texts(l, texts, n - 1);
	decl = load(l, NULL, texts[n - 1].text);
	MemoryContextSwitchTo(keep);
	file = make_file(l, decl);
	MemoryContextDelete(scratch);
	return file;
}

/* --- messages by name --- */

/* What an Any may have in it though nobody imports it; once for the process. */
static const KsProtoFile *
known_file(void)
{
	static const KsProtoFile *known = NULL;
	static const KsProtoText text = {
		NULL,
		"import 'google/protobuf/any.proto'; import 'google/protobuf/duration.proto';"
		"import 'google/protobuf/empty.proto'; import 'google/protobuf/field_mask.proto';"
		"import 'google/protobuf/struct.proto'; import 'google/protobuf/timestamp.proto';"
		"import 'google/protobuf/wrappers.proto';"
	};
	MemoryContext cxt;
	MemoryContext before;
	const KsProtoFile *file;

	if (known)
		return known;
	cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink Protobuf types", ALLOCSET_SMALL_SIZES);
	before = MemoryContextSwitchTo(cxt);
	file = ks_proto_parse(&text, 1);
	MemoryContextSwitchTo(before);
	MemoryContextSetParent(cxt, TopMemoryContext);
	known = file;
	return known;
}

static KsProtoMessage *
find_in(const KsProtoFile *file, const char *name, int len)
{
	int			i = ks_names_find(&file->names, name, len);

	return i >= 0 ? file->all[i] : NULL;
}

KsProtoMessage *
ks_proto_find_message(const KsProtoFile *file, const char *name, int len)
{
	KsProtoMessage *message = find_in(file, name, len);

	return message ? message : find_in(known_file(), name, len);
}
