/*
 * proto_direct.c
 *	  Protobuf's moments and decimals as serializers write them: each part once, in the
 *	  order of the numbers.
 *
 * A message may stand in a record several times, which are one: so it is too early for an
 * error when the first one is met.  Whatever is unusual is false.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "format/proto_convert.h"
#include "format/scalar.h"

/* To where bytes can be read behind a value: what has been put together of parts is no part of the record. */
static inline const uint8 *
readable(const KsProtoReader *r, const KsProtoValue *value)
{
	return value->p >= r->start && value->p < r->limit ? r->limit : value->p + value->len;
}

/* A number; behind it, or NULL. */
static inline const uint8 *
take_number(const uint8 *p, const uint8 *end, const uint8 *limit, uint64 *result)
{
	int			n;

	if (p < end && *p < 0x80)
	{
		*result = *p;
		return p + 1;
	}
	n = ks_varint_word(p, limit, result);
	return n > 0 && n <= end - p ? p + n : NULL;
}

/* The same behind a tag of one byte, or none of it. */
static inline const uint8 *
take_field(const uint8 *p, const uint8 *end, const uint8 *limit, int number, uint64 *result)
{
	*result = 0;
	if (p == NULL || p >= end || *p != (number << 3 | KS_PROTO_WIRE_VARINT))
		return p;
	return take_number(p + 1, end, limit, result);
}

bool
ks_proto_direct_timestamp(const KsProtoReader *r, const KsProtoValue *value, Datum *result)
{
	const uint8 *end = value->p + value->len;
	const uint8 *limit = readable(r, value);
	uint64		seconds;
	uint64		nanos;
	int64		us;
	const uint8 *p = take_field(value->p, end, limit, 1, &seconds);

	p = take_field(p, end, limit, 2, &nanos);
	if (p != end || seconds > KS_PROTO_MAX_SECONDS || nanos > KS_PROTO_MAX_NANOS ||
		!ks_scalar_timestamp((int64) seconds * USECS_PER_SEC + (int64) nanos / 1000, &us))
		return false;
	*result = TimestampTzGetDatum(us);
	return true;
}

bool
ks_proto_direct_numeric(const KsProtoReader *r, const KsProtoConvert *c, const KsProtoValue *value,
						Datum *result)
{
	const uint8 *end = value->p + value->len;
	const uint8 *limit = readable(r, value);
	const uint8 *p = value->p;
	const uint8 *digits;
	int			len;
	uint64		precision;
	uint64		scale;

	if (end - p < 2 || p[0] != (1 << 3 | KS_PROTO_WIRE_BYTES) || p[1] > 8 || end - p < 2 + p[1])
		return false;
	len = p[1];
	digits = p + 2;
	p = take_field(digits + len, end, limit, 2, &precision);
	p = take_field(p, end, limit, 3, &scale);
	return p == end && scale <= 17 &&
		ks_scalar_decimal((const char *) digits, len, (int) scale, c->base->typmod, result);
}
