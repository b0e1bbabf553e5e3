/*
 * avro_read.h
 *	  Avro's binary encoding: where a value is read, and its smallest parts.
 *
 * Nothing at or behind 'end' is ever read.  Every length and count is compared with
 * the bytes that are left before anything is done with it; values that take no bytes
 * are counted.  Errors are 22P03 with the position, never with what stands there.
 */
#ifndef KS_AVRO_READ_H
#define KS_AVRO_READ_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "base/compat.h"
#include "format/avro_schema.h"
#include "format/json.h"
#include "format/varint.h"

struct KsDecoder;

typedef struct KsAvroReader
{
	const uint8 *p;
	const uint8 *end;
	const uint8 *start;			/* for positions */
	int			depth;
	int64		spare;			/* values without bytes that may still come */
	struct KsDecoder *d;
	MemoryContext scratch;		/* of one value's text */
	int			padded_bits;	/* of the column, which a bit string may be filled up to; 0: not told */
	char		buf[32];		/* a number's text */
} KsAvroReader;

/* Of values without bytes, a record may have so many and one for each of its bytes. */
#define KS_AVRO_SPARE	4096

KS_NORETURN extern void ks_avro_bad(const KsAvroReader *r, const char *what);
KS_NORETURN extern void ks_avro_cut_off(const KsAvroReader *r);
KS_NORETURN extern void ks_avro_too_deep(void);
KS_NORETURN extern void ks_avro_too_many(void);

static inline const uint8 *
ks_avro_take(KsAvroReader *r, int64 n)
{
	const uint8 *p = r->p;

	if (unlikely(r->end - p < n))
		ks_avro_cut_off(r);
	r->p += n;
	return p;
}

/* A number of more than two bytes, before zigzag, or none at all. */
extern uint64 ks_avro_long_varint(KsAvroReader *r);

static inline int64
ks_avro_long(KsAvroReader *r)
{
	uint64		v;
	const uint8 *p = ks_varint_short(r->p, r->end, &v);

	if (likely(p != NULL))
		r->p = p;
	else
		v = ks_avro_long_varint(r);
	return (int64) (v >> 1) ^ -(int64) (v & 1);
}

/* The same of one that mostly has several bytes. */
static inline int64
ks_avro_wide_long(KsAvroReader *r)
{
	uint64		v;
	int			size = ks_varint_word(r->p, r->end, &v);

	if (unlikely(size == 0))
		return ks_avro_long(r);
	r->p += size;
	return (int64) (v >> 1) ^ -(int64) (v & 1);
}

static inline int64
ks_avro_int(KsAvroReader *r)
{
	int64		v = ks_avro_long(r);

	if (unlikely(v != (int32) v))
		ks_avro_bad(r, "An int has more than 32 bits");
	return v;
}

static inline bool
ks_avro_bool(KsAvroReader *r)
{
	uint8		b = *ks_avro_take(r, 1);

	if (unlikely(b > 1))
		ks_avro_bad(r, "A boolean is neither 0 nor 1");
	return b;
}

static inline float
ks_avro_float(KsAvroReader *r)
{
	const uint8 *p = ks_avro_take(r, 4);
	uint32		bits = p[0] | p[1] << 8 | p[2] << 16 | (uint32) p[3] << 24;
	float		v;

	memcpy(&v, &bits, 4);
	return v;
}

static inline double
ks_avro_double(KsAvroReader *r)
{
	const uint8 *p = ks_avro_take(r, 8);
	double		v;
#ifndef WORDS_BIGENDIAN
	/* not byte by byte, as compilers have it at -O2 */
	memcpy(&v, p, 8);
#else
	uint64		bits = 0;

	for (int i = 7; i >= 0; i--)
		bits = bits << 8 | p[i];
	memcpy(&v, &bits, 8);
#endif
	return v;
}

/* Of a string or bytes: where they are. */
static inline const char *
ks_avro_bytes(KsAvroReader *r, int *len)
{
	int64		n = ks_avro_long(r);

	if (unlikely(n < 0))
		ks_avro_bad(r, "A length is negative");
	*len = (int) Min(n, PG_INT32_MAX);
	return (const char *) ks_avro_take(r, n);
}

/* Which branch, or which symbol. */
static inline int
ks_avro_choice(KsAvroReader *r, const KsAvroNode *node)
{
	int64		i = ks_avro_long(r);

	if (unlikely(i < 0 || i >= node->n))
		ks_avro_bad(r, node->type == KS_AVRO_UNION ? "A union has no such branch" : "An enum has no such symbol");
	return (int) i;
}

static inline void
ks_avro_enter(KsAvroReader *r)
{
	if (unlikely(++r->depth > KS_AVRO_MAX_DEPTH))
		ks_avro_too_deep();
}

/* A value that took no bytes. */
static inline void
ks_avro_spend(KsAvroReader *r)
{
	if (unlikely(--r->spare < 0))
		ks_avro_too_many();
}

/*
 * Walks an array or a map, block by block: the number of its items, 0 at the end.
 * *size: its bytes, -1 if it does not tell.
 */
extern int64 ks_avro_block(KsAvroReader *r, const KsAvroNode *node, int64 *size);

/* Behind a block's items: did it have as many bytes as it told? */
extern void ks_avro_block_end(const KsAvroReader *r, const uint8 *begin, int64 size);

extern void ks_avro_skip(KsAvroReader *r, const KsAvroNode *node);

/*
 * A value that is made of no others as a token, in the current context or r->buf:
 * numbers, words and texts that the server's types read.
 */
extern void ks_avro_scalar(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok);

/* Debezium's records that are one value: a number, "(x,y)". */
extern void ks_avro_variable_decimal(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok);
extern void ks_avro_point(KsAvroReader *r, const KsAvroNode *node, KsJsonToken *tok);

/* Is it made of others? */
static inline bool
ks_avro_is_scalar(const KsAvroNode *node)
{
	return node->type != KS_AVRO_RECORD && node->type < KS_AVRO_ARRAY;
}

/* Any value as JSON. */
extern void ks_avro_append_json(KsAvroReader *r, const KsAvroNode *node, StringInfo out);

#endif
