/*
 * proto_unavailable.c
 *	  What Debezium writes in place of a value that it does not have, in Protobuf.
 */
#include "postgres.h"

#include "format/envelope_change.h"
#include "format/proto_program.h"

static inline bool
is_text(const KsProtoValue *value, const char *text)
{
	return value->len == (int) strlen(text) && memcmp(value->p, text, value->len) == 0;
}

bool
ks_proto_is_unavailable(const KsProtoReader *r, const KsProtoField *field, const KsProtoValue *value)
{
	KsProtoReader inner = *r;
	KsProtoValue wrapped;

	if (field->message && field->message->known == KS_PROTO_WRAPPER)
	{
		field = ks_proto_find_number(field->message, 1);
		if (field->type != KS_PROTO_STRING && field->type != KS_PROTO_BYTES)
			return false;
		ks_proto_find_value(&inner, field, value, &wrapped);
		value = &wrapped;
	}
	if (field->type != KS_PROTO_STRING && field->type != KS_PROTO_BYTES)
		return false;
	return is_text(value, KS_UNAVAILABLE) ||
		(field->type == KS_PROTO_STRING && (is_text(value, KS_UNAVAILABLE_UUID) || is_text(value, KS_UNAVAILABLE_JSON)));
}

/* The only entry of a map. */
static bool
is_entry_unavailable(const KsProtoReader *r, const KsProtoMessage *entry, const KsProtoValue *value)
{
	const KsProtoField *key = ks_proto_find_number(entry, 1);
	const KsProtoField *field = ks_proto_find_number(entry, 2);
	KsProtoReader inner = *r;
	KsProtoValue part;

	if (key->type != KS_PROTO_STRING || field->message)
		return false;
	ks_proto_find_value(&inner, key, value, &part);
	if (!is_text(&part, KS_UNAVAILABLE))
		return false;
	ks_proto_find_value(&inner, field, value, &part);
	return ks_proto_is_unavailable(r, field, &part);
}

/* A list or a map of one such; or the text's bytes as numbers. */
bool
ks_proto_are_unavailable(const KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end)
{
	bool		numbers = field->type == KS_PROTO_INT32 || field->type == KS_PROTO_INT64;
	KsProtoReader inner = *r;
	KsProtoItems items;
	KsProtoValue value;
	KsProtoValue last = {0};
	int			n = 0;

	if (begin == NULL)
		return false;
	ks_proto_items(&items, &inner, field, begin, end);
	for (; ks_proto_next_item(&items, &value); n++)
	{
		if (numbers ? n >= (int) strlen(KS_UNAVAILABLE) || value.v.bits != (uint64) KS_UNAVAILABLE[n] : n > 0)
			return false;
		last = value;
	}
	if (numbers)
		return n == (int) strlen(KS_UNAVAILABLE);
	if (n != 1)
		return false;
	return field->map ? is_entry_unavailable(r, field->message, &last) : ks_proto_is_unavailable(r, field, &last);
}
