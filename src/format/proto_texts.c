/*
 * proto_texts.c
 *	  Protobuf schemas as registries and sinks give them, and which message is meant.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "format/proto_descriptor.h"
#include "format/proto_texts.h"

/* Those that can be meant, for a hint. */
static char *
list_messages(const KsProtoFile *file)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < file->nmessages && names.len < 200; i++)
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "", file->messages[i]->name);
	return names.data;
}

const KsProtoMessage *
ks_proto_choose_message(const KsProtoFile *file, const char *name, bool of_keys)
{
	const KsProtoMessage *message;

	if (file->nmessages == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the Protobuf schema has no message")));
	if (name && !of_keys)
	{
		message = ks_proto_find_message(file, name, strlen(name));
		if (message == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the Protobuf schema has no message \"%s\"", name),
					 errdetail("Its messages: %s.", list_messages(file)),
					 errhint("message_type is the full name: with the package, and with the messages around it.")));
		return message;
	}
	if (file->nmessages > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the Protobuf schema has several messages"),
				 errdetail("Its messages: %s.", list_messages(file)),
				 of_keys ? errhint("Nothing tells which the keys are of: leave that one alone at the top of key_schema.") :
				 errhint("Say in the setting message_type which the values are of.")));
	return file->messages[0];
}

/* Texts that a schema consists of, the one that is meant last. */
typedef struct Texts
{
	int			n;
	KsProtoText *texts;
} Texts;

/* A .proto text, which may be given as what protoc makes of it, with what it imports. */
static void
add_texts(Texts *t, const char *name, const char *text)
{
	KsProtoText one = {name, text};
	KsProtoText *more = &one;
	int			n = 1;

	if (ks_proto_is_descriptor(text))
	{
		more = ks_proto_descriptor_texts(text, &n);
		more[n - 1].name = name;
	}
	t->texts = t->texts ? repalloc(t->texts, (t->n + n) * sizeof(KsProtoText)) : palloc(n * sizeof(KsProtoText));
	memcpy(t->texts + t->n, more, n * sizeof(KsProtoText));
	t->n += n;
}

KsProtoFile *
ks_proto_read_schema(const KsSchemaText *text)
{
	Texts		t = {0};

	if (strcmp(text->type, "PROTOBUF") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the schema is not a Protobuf schema"),
				 errdetail("Its type is %s.", text->type)));
	for (int i = 0; i < text->nrefs; i++)
		if (ks_schema_ref_counts(text, i))
			add_texts(&t, text->ref_names[i], text->refs[i]);
	add_texts(&t, NULL, text->text);
	return ks_proto_parse(t.texts, t.n);
}
