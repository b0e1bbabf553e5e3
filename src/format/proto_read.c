/*
 * proto_read.c
 *	  Protobuf's binary encoding: single values, fields that occur several times, and
 *	  what is wrong with it.
 *
 * A field whose wire's type is not that of its type is an unknown one, as everywhere.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "format/proto_read.h"

#define IS_HERE "Is it written with the sink's schema and framing?"

void
ks_proto_invalid(const KsProtoReader *r, const char *what)
{
	/* what was put together of several parts has no position in the record */
	if (r->p < r->start || r->p > r->limit)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid Protobuf"),
				 errdetail("%s.", what),
				 errhint(IS_HERE)));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid Protobuf"),
			 errdetail("%s, before byte %d.", what, (int) (r->p - r->start) + 1),
			 errhint(IS_HERE)));
}

void
ks_proto_cut_off(const KsProtoReader *r)
{
	ks_proto_invalid(r, r->end == r->limit ? "The input ends unexpectedly" : "A message ends unexpectedly");
}

void
ks_proto_too_deep(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
			 errmsg("Protobuf message is nested too deeply"),
			 errdetail("The limit is %d levels.", KS_PROTO_MAX_DEPTH)));
}

void
ks_proto_too_many(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("Protobuf message has too many fields that are absent"),
			 errdetail("The limit is %d and one for each byte of the record.", KS_PROTO_SPARE)));
}

/* Bits beyond the 64th are left out, as others do. */
uint64
ks_proto_long_varint(KsProtoReader *r)
{
	const uint8 *p = r->p;
	int			size;
	const uint8 *end = Min(r->end, p + 10);
	uint64		v = 0;

	size = ks_varint_word(p, r->end, &v);
	if (likely(size > 0))
	{
		r->p += size;
		return v;
	}
	for (int shift = 0; p < end; shift += 7)
	{
		uint8		b = *p++;

		v |= (uint64) (b & 0x7f) << shift;
		if (b < 0x80)
		{
			r->p = p;
			return v;
		}
	}
	if (r->end - r->p < 10)
		ks_proto_cut_off(r);
	ks_proto_invalid(r, "A number has more than ten bytes");
}

uint32
ks_proto_long_tag(KsProtoReader *r)
{
	const uint8 *begin = r->p;
	uint64		tag = ks_proto_long_varint(r);

	if (tag > PG_UINT32_MAX || tag < 8)
	{
		r->p = begin;
		ks_proto_invalid(r, "A field has no number that fields can have");
	}
	return (uint32) tag;
}

KsProtoWire
ks_proto_wire(KsProtoType type)
{
	switch (type)
	{
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FIXED64:
		case KS_PROTO_SFIXED64:
			return KS_PROTO_WIRE_64;
		case KS_PROTO_FLOAT:
		case KS_PROTO_FIXED32:
		case KS_PROTO_SFIXED32:
			return KS_PROTO_WIRE_32;
		case KS_PROTO_STRING:
		case KS_PROTO_BYTES:
		case KS_PROTO_MESSAGE:
			return KS_PROTO_WIRE_BYTES;
		case KS_PROTO_GROUP:
			return KS_PROTO_WIRE_GROUP;
		default:
			return KS_PROTO_WIRE_VARINT;
	}
}

/* To the tag that ends the group of this number; groups in it are, too. */
static const uint8 *
skip_group(KsProtoReader *r, uint32 number)
{
	check_stack_depth();
	ks_proto_enter(r);
	for (;;)
	{
		const uint8 *begin = r->p;
		uint32		tag = ks_proto_tag(r);

		CHECK_FOR_INTERRUPTS();
		if ((tag & 7) == KS_PROTO_WIRE_END)
		{
			if (tag >> 3 != number)
				ks_proto_invalid(r, "A group ends that has not begun");
			r->depth--;
			return begin;
		}
		ks_proto_skip(r, tag);
	}
}

void
ks_proto_skip(KsProtoReader *r, uint32 tag)
{
	switch (tag & 7)
	{
		case KS_PROTO_WIRE_VARINT:
			(void) ks_proto_varint(r);
			break;
		case KS_PROTO_WIRE_64:
			(void) ks_proto_take(r, 8);
			break;
		case KS_PROTO_WIRE_BYTES:
			(void) ks_proto_take(r, ks_proto_varint(r));
			break;
		case KS_PROTO_WIRE_GROUP:
			(void) skip_group(r, tag >> 3);
			break;
		case KS_PROTO_WIRE_END:
			ks_proto_invalid(r, "A group ends that has not begun");
		case KS_PROTO_WIRE_32:
			(void) ks_proto_take(r, 4);
			break;
		default:
			ks_proto_invalid(r, "A field has a type that there is not");
	}
}

static int64
zigzag(uint64 v)
{
	return (int64) (v >> 1) ^ -(int64) (v & 1);
}

static double
float_of(uint32 bits)
{
	float		f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

void
ks_proto_other_value(KsProtoReader *r, const KsProtoField *field, KsProtoValue *value)
{
	switch (field->type)
	{
		case KS_PROTO_UINT32:
			value->v.bits = (uint32) ks_proto_varint(r);
			break;
		case KS_PROTO_SINT32:
			value->v.bits = (uint64) zigzag((uint32) ks_proto_varint(r));
			break;
		case KS_PROTO_SINT64:
			value->v.bits = (uint64) zigzag(ks_proto_varint(r));
			break;
		case KS_PROTO_BOOL:
			value->v.bits = ks_proto_varint(r) != 0;
			break;
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FIXED64:
		case KS_PROTO_SFIXED64:
			value->v.bits = ks_proto_fixed(r, 8);	/* a double's, too */
			break;
		case KS_PROTO_FIXED32:
			value->v.bits = ks_proto_fixed(r, 4);
			break;
		case KS_PROTO_SFIXED32:
			value->v.bits = (uint64) (int64) (int32) ks_proto_fixed(r, 4);
			break;
		case KS_PROTO_FLOAT:
			value->v.real = float_of((uint32) ks_proto_fixed(r, 4));
			break;
		case KS_PROTO_GROUP:
			value->p = r->p;
			value->len = (int) (skip_group(r, (uint32) field->number) - value->p);
			break;
		default:
			pg_unreachable();
	}
}

const char *
ks_proto_enum_name(const KsProtoEnum *e, int32 number)
{
	int			lo = 0;
	int			hi = e->n;

	/* the first of those that are not smaller */
	while (lo < hi)
	{
		int			mid = (lo + hi) / 2;

		if (e->numbers[e->by_number[mid]] < number)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < e->n && e->numbers[e->by_number[lo]] == number ? e->names[e->by_number[lo]] : NULL;
}

void
ks_proto_items(KsProtoItems *items, KsProtoReader *r, const KsProtoField *field,
			   const uint8 *begin, const uint8 *end)
{
	items->r = r;
	items->field = field;
	items->packed = NULL;
	r->p = begin;
	r->end = end;
}

/* One of those that stand together. */
static bool
next_packed(KsProtoItems *items, KsProtoValue *value)
{
	KsProtoReader *r = items->r;
	const uint8 *end = r->end;

	if (items->packed == items->packed_end)
	{
		items->packed = NULL;
		return false;
	}
	r->end = items->packed_end;
	ks_proto_value(r, items->field, value);
	items->packed = r->p;
	r->end = end;
	return true;
}

bool
ks_proto_next_item(KsProtoItems *items, KsProtoValue *value)
{
	KsProtoReader *r = items->r;
	const KsProtoField *field = items->field;

	for (;;)
	{
		uint32		wire;

		CHECK_FOR_INTERRUPTS();
		if (items->packed)
		{
			if (next_packed(items, value) && !ks_proto_is_unknown(field, value))
				return true;
			continue;
		}
		if (r->p >= r->end)
			return false;
		wire = ks_proto_tag(r) & 7;
		if (wire == KS_PROTO_WIRE_BYTES && ks_proto_is_packable(field->type))
		{
			uint64		len = ks_proto_varint(r);

			items->packed = ks_proto_take(r, len);
			items->packed_end = r->p;
			r->p = items->packed;
			continue;
		}
		ks_proto_value(r, field, value);
		if (!ks_proto_is_unknown(field, value))
			return true;
	}
}

void
ks_proto_default(const KsProtoField *field, KsProtoValue *value)
{
	/* of an enum the first, which is 0 in an open one */
	value->v.bits = field->type == KS_PROTO_ENUM ? (uint64) (int64) field->enumeration->numbers[0] : 0;
	value->p = (const uint8 *) "";
	value->len = 0;
	if (!field->has_default)
		return;
	if (field->type == KS_PROTO_STRING || field->type == KS_PROTO_BYTES)
	{
		value->p = (const uint8 *) field->default_bytes;
		value->len = field->default_len;
	}
	else if (field->type == KS_PROTO_DOUBLE || field->type == KS_PROTO_FLOAT)
		value->v.real = field->default_value.real;
	else
		value->v.bits = field->default_value.bits;
}

/* One more part of a message behind what there is of it; all of them are in the other one. */
static void
append_part(const KsProtoValue *message, const KsProtoValue *part, KsProtoValue *value, uint8 **joined)
{
	if (*joined == NULL)
	{
		*joined = palloc(message->len);
		memcpy(*joined, value->p, value->len);
		value->p = *joined;
	}
	memcpy(*joined + value->len, part->p, part->len);
	value->len += part->len;
}

void
ks_proto_find_value(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *message,
					KsProtoValue *value)
{
	uint32		wanted = (uint32) field->number << 3 | ks_proto_wire(field->type);
	const uint8 *p = r->p;
	const uint8 *end = r->end;
	KsProtoValue found;
	uint8	   *joined = NULL;
	bool		there = false;

	ks_proto_default(field, value);
	found = *value;
	r->p = message->p;
	r->end = message->p + message->len;
	while (r->p < r->end)
	{
		uint32		tag = ks_proto_tag(r);

		CHECK_FOR_INTERRUPTS();
		if (tag != wanted)
		{
			ks_proto_skip(r, tag);
			continue;
		}
		ks_proto_value(r, field, &found);
		if (ks_proto_is_unknown(field, &found))
			continue;
		if (field->message && there)
			append_part(message, &found, value, &joined);
		else
			*value = found;
		there = true;
	}
	r->p = p;
	r->end = end;
}

void
ks_proto_merge(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end,
			   KsProtoValue *value, char **buffer)
{
	KsProtoReader inner = *r;
	KsProtoItems items;
	KsProtoValue more;
	char	   *to;

	*buffer = NULL;
	value->p = end;
	value->len = 0;
	ks_proto_items(&items, &inner, field, begin, end);
	if (!ks_proto_next_item(&items, value) || inner.p == end)
		return;
	*buffer = to = palloc(end - begin);
	memcpy(to, value->p, value->len);
	to += value->len;
	while (ks_proto_next_item(&items, &more))
	{
		memcpy(to, more.p, more.len);
		to += more.len;
	}
	value->p = (const uint8 *) *buffer;
	value->len = (int) (to - *buffer);
}
