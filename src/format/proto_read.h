/*
 * proto_read.h
 *	  Protobuf's binary encoding: where a message is read, and its smallest parts.
 *
 * Nothing at or behind 'end' is ever read.  Every length is compared with the bytes
 * that are left before anything is done with it, and every step takes a byte at least.
 * Errors are 22P03 with the position in the record, never with what stands there.
 */
#ifndef KS_PROTO_READ_H
#define KS_PROTO_READ_H

#include "postgres.h"

#include "base/compat.h"
#include "format/proto_schema.h"
#include "format/varint.h"

struct KsDecoder;

typedef enum KsProtoWire
{
	KS_PROTO_WIRE_VARINT,
	KS_PROTO_WIRE_64,
	KS_PROTO_WIRE_BYTES,
	KS_PROTO_WIRE_GROUP,
	KS_PROTO_WIRE_END,			/* of a group */
	KS_PROTO_WIRE_32
} KsProtoWire;

/* A run of one field in a message, each value with its tag. */
typedef struct KsProtoRun
{
	int			field;			/* of the message, -1: it does not count */
	const uint8 *begin;
	const uint8 *end;
} KsProtoRun;

/* Of fields that are absent, JSON may have so many and one for each byte of the record. */
#define KS_PROTO_SPARE	4096

typedef struct KsProtoReader
{
	const uint8 *p;
	const uint8 *end;
	const uint8 *start;			/* of the record's message, for positions */
	const uint8 *limit;			/* its end */
	int			depth;
	struct KsDecoder *d;
	const KsProtoFile *file;	/* whose messages an Any may hold */
	MemoryContext scratch;		/* of one value's text */
	bool		defaults;		/* JSON has absent fields as they are read; */
	int64		spare;			/* so many at most */
	int			nruns;			/* of messages that are being written, the innermost last */
	int			maxruns;
	KsProtoRun *runs;
	char		buf[32];		/* a number's text */
} KsProtoReader;

/*
 * A value: of integers, bool and enums 'bits', sign-extended where the type is signed;
 * of both floating-point types 'real'; of all others the bytes.
 */
typedef struct KsProtoValue
{
	union
	{
		uint64		bits;
		double		real;
	}			v;
	const uint8 *p;
	int			len;
} KsProtoValue;

KS_NORETURN extern void ks_proto_invalid(const KsProtoReader *r, const char *what);
KS_NORETURN extern void ks_proto_cut_off(const KsProtoReader *r);
KS_NORETURN extern void ks_proto_too_deep(void);
KS_NORETURN extern void ks_proto_too_many(void);

/* A number of more than two bytes, or none at all. */
extern uint64 ks_proto_long_varint(KsProtoReader *r);

static inline uint64
ks_proto_varint(KsProtoReader *r)
{
	uint64		v;
	const uint8 *p = ks_varint_short(r->p, r->end, &v);

	if (unlikely(p == NULL))
		return ks_proto_long_varint(r);
	r->p = p;
	return v;
}

extern uint32 ks_proto_long_tag(KsProtoReader *r);

/* The number of a field, times eight, and the wire's type; the number is not 0. */
static inline uint32
ks_proto_tag(KsProtoReader *r)
{
	if (likely(r->p < r->end && *r->p < 0x80 && *r->p >= 8))
		return *r->p++;
	return ks_proto_long_tag(r);
}

static inline const uint8 *
ks_proto_take(KsProtoReader *r, uint64 n)
{
	const uint8 *p = r->p;

	if (unlikely((uint64) (r->end - p) < n))
		ks_proto_cut_off(r);
	r->p += n;
	return p;
}

static inline uint64
ks_proto_fixed(KsProtoReader *r, int size)
{
	const uint8 *p = ks_proto_take(r, size);
	uint64		v = 0;

#ifndef WORDS_BIGENDIAN
	/* not byte by byte, as compilers have it at -O2 */
	memcpy(&v, p, size);
#else
	for (int i = size - 1; i >= 0; i--)
		v = v << 8 | p[i];
#endif
	return v;
}

static inline void
ks_proto_enter(KsProtoReader *r)
{
	if (unlikely(++r->depth > KS_PROTO_MAX_DEPTH))
		ks_proto_too_deep();
}

/* How a type's values stand there. */
extern KsProtoWire ks_proto_wire(KsProtoType type);

/* May values of the type stand together, without tags? */
static inline bool
ks_proto_is_packable(KsProtoType type)
{
	return type != KS_PROTO_STRING && type != KS_PROTO_BYTES && type != KS_PROTO_MESSAGE && type != KS_PROTO_GROUP;
}

/* The same as ks_proto_value(). */
extern void ks_proto_other_value(KsProtoReader *r, const KsProtoField *field, KsProtoValue *value);

/* Behind its tag, a value whose wire's type is that of the type. */
static inline void
ks_proto_value_of(KsProtoReader *r, KsProtoType type, const KsProtoField *field, KsProtoValue *value)
{
	switch (type)
	{
		case KS_PROTO_INT64:
		case KS_PROTO_UINT64:
			value->v.bits = ks_proto_varint(r);
			break;
		case KS_PROTO_INT32:
		case KS_PROTO_ENUM:
			value->v.bits = (uint64) (int64) (int32) ks_proto_varint(r);
			break;
		case KS_PROTO_DOUBLE:
			value->v.bits = ks_proto_fixed(r, 8);
			break;
		case KS_PROTO_STRING:
		case KS_PROTO_MESSAGE:
		case KS_PROTO_BYTES:
			{
				uint64		len = ks_proto_varint(r);

				value->p = ks_proto_take(r, len);
				value->len = (int) len;
				break;
			}
		default:
			ks_proto_other_value(r, field, value);
			break;
	}
}

static inline void
ks_proto_value(KsProtoReader *r, const KsProtoField *field, KsProtoValue *value)
{
	ks_proto_value_of(r, field->type, field, value);
}

/* Behind its tag, a value that nobody wants. */
extern void ks_proto_skip(KsProtoReader *r, uint32 tag);

/* The name of an enum's number; NULL: it has none. */
extern const char *ks_proto_enum_name(const KsProtoEnum *e, int32 number);

/* Is it a number that the field does not have?  Then it is as if nothing stood there. */
static inline bool
ks_proto_is_unknown(const KsProtoField *field, const KsProtoValue *value)
{
	return field->type == KS_PROTO_ENUM && unlikely(field->enumeration->closed) &&
		ks_proto_enum_name(field->enumeration, (int32) value->v.bits) == NULL;
}

/*
 * The values of a field, of which there are runs: next() gives one after the other, packed
 * or not, and leaves out what is unknown.  'inner' is another reader.
 */
typedef struct KsProtoItems
{
	KsProtoReader *r;
	const KsProtoField *field;
	const uint8 *packed;		/* where the next of them stands together, or NULL */
	const uint8 *packed_end;
} KsProtoItems;

/* Of what lies between, which is only of the field; the reader is at its end after the last one. */
extern void ks_proto_items(KsProtoItems *items, KsProtoReader *r, const KsProtoField *field,
						   const uint8 *begin, const uint8 *end);
extern bool ks_proto_next_item(KsProtoItems *items, KsProtoValue *value);

/* What an absent field is read as: of its type, or proto2's [default = ...]. */
extern void ks_proto_default(const KsProtoField *field, KsProtoValue *value);

/* Is an absent field that, or is it not there? */
static inline bool
ks_proto_has_default(const KsProtoField *field)
{
	return !field->repeated && (!field->presence || field->has_default);
}

/*
 * The last value of a singular field of a message that is all there is of it, or its default;
 * of a message that stands there several times all of it, put together in the current context.
 */
extern void ks_proto_find_value(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *message,
								KsProtoValue *value);

/*
 * A singular message that may stand there several times, which are one: where its bytes
 * are, in *buffer (to be freed, NULL if it is not needed) if they had to be put together.
 */
extern void ks_proto_merge(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end,
						   KsProtoValue *value, char **buffer);

#endif
