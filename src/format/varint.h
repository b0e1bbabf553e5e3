/*
 * varint.h
 *	  Numbers of variable length, seven bits in each byte, the lowest first: Protobuf's
 *	  and, after zigzag, Avro's.
 */
#ifndef KS_VARINT_H
#define KS_VARINT_H

#include "postgres.h"

#include "port/pg_bitutils.h"

/* Seven bits of each byte, the first one lowest, as one number. */
static inline uint64
ks_varint_squeeze(uint64 v)
{
	v = (v & UINT64CONST(0x007f007f007f007f)) | (v & UINT64CONST(0x7f007f007f007f00)) >> 1;
	v = (v & UINT64CONST(0x00003fff00003fff)) | (v & UINT64CONST(0x3fff00003fff0000)) >> 2;
	return (v & UINT64CONST(0x000000000fffffff)) | (v & UINT64CONST(0x0fffffff00000000)) >> 4;
}

/*
 * How many bytes a number has, of up to eight, where so many can be read, whatever they are
 * of; 0: it is not that.
 */
static inline int
ks_varint_word(const uint8 *p, const uint8 *end, uint64 *result)
{
#ifndef WORDS_BIGENDIAN
	uint64		w;
	uint64		stops;
	int			bits;

	if (unlikely(end - p < 8))
		return 0;
	memcpy(&w, p, 8);
	stops = ~w & UINT64CONST(0x8080808080808080);
	if (unlikely(stops == 0))
		return 0;
	bits = pg_rightmost_one_pos64(stops) + 1;
	*result = ks_varint_squeeze(w & (~UINT64CONST(0) >> (64 - bits)));
	return bits / 8;
#else
	return 0;
#endif
}

/* The same of one or two bytes, which most have: behind it, or NULL. */
static inline const uint8 *
ks_varint_short(const uint8 *p, const uint8 *end, uint64 *result)
{
	if (unlikely(end - p < 2))
		return NULL;
	*result = p[0] & 0x7f;
	if (p[0] < 0x80)
		return p + 1;
	*result |= (uint64) p[1] << 7;
	return p[1] < 0x80 ? p + 2 : NULL;
}

#endif
