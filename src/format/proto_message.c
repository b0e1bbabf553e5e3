/*
 * proto_message.c
 *	  What is asked of the graph of a Protobuf schema.
 */
#include "postgres.h"

#include "format/proto_schema.h"

KsProtoMessage *
ks_proto_message_at(const KsProtoFile *file, const int *path, int n)
{
	KsProtoMessage *const *messages = file->messages;
	int			nmessages = file->nmessages;
	KsProtoMessage *message = NULL;

	for (int i = 0; i < n; i++)
	{
		if (path[i] < 0 || path[i] >= nmessages)
			return NULL;
		message = messages[path[i]];
		messages = message->messages;
		nmessages = message->nmessages;
	}
	return message;
}

static const char *const scalars[] = {
	[KS_PROTO_DOUBLE] = "double", [KS_PROTO_FLOAT] = "float",
	[KS_PROTO_INT64] = "int64", [KS_PROTO_UINT64] = "uint64", [KS_PROTO_INT32] = "int32",
	[KS_PROTO_FIXED64] = "fixed64", [KS_PROTO_FIXED32] = "fixed32",
	[KS_PROTO_BOOL] = "bool", [KS_PROTO_STRING] = "string", [KS_PROTO_BYTES] = "bytes",
	[KS_PROTO_UINT32] = "uint32", [KS_PROTO_SFIXED32] = "sfixed32", [KS_PROTO_SFIXED64] = "sfixed64",
	[KS_PROTO_SINT32] = "sint32", [KS_PROTO_SINT64] = "sint64"
};

const char *
ks_proto_scalar_name(KsProtoType type)
{
	return scalars[type];
}

const KsProtoField *
ks_proto_find_number(const KsProtoMessage *message, uint32 number)
{
	int			low = 0;
	int			high = message->nfields;

	/* mostly they are 1, 2, 3, ... */
	if (number - 1 < (uint32) high && (uint32) message->fields[message->by_number[number - 1]].number == number)
		return &message->fields[message->by_number[number - 1]];
	while (low < high)
	{
		int			middle = (low + high) / 2;
		const KsProtoField *field = &message->fields[message->by_number[middle]];

		if ((uint32) field->number == number)
			return field;
		if ((uint32) field->number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Without what says how often. */
static const char *
single_type_name(const KsProtoField *field)
{
	switch (field->type)
	{
		case KS_PROTO_MESSAGE:
			return psprintf("message %s", field->message->name);
		case KS_PROTO_GROUP:
			return psprintf("group %s", field->message->name);
		case KS_PROTO_ENUM:
			return psprintf("enum %s", field->enumeration->name);
		default:
			return ks_proto_scalar_name(field->type);
	}
}

const char *
ks_proto_type_name(const KsProtoField *field)
{
	const char *name;

	if (field->map)
		return psprintf("map<%s, %s>", single_type_name(&field->message->fields[0]),
						single_type_name(&field->message->fields[1]));
	name = single_type_name(field);
	return field->repeated ? psprintf("repeated %s", name) : name;
}
