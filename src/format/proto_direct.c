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

/* A number; behind it, or NULL. */
static inline const uint8 *
take_number(const KsProtoReader *r, const uint8 *p, const uint8 *end, uint64 *result)
{
	int			n;

	if (p < end && *p < 0x80)
	{
		*result = *p;
		return p + 1;
	}
	n = ks_proto_word(p, r->limit, result);
	return n > 0 && n <= end - p ? p + n : NULL;
}

/* The same behind a tag of one byte, or none of it. */
static inline const uint8 *
take_field(const KsProtoReader *r, const uint8 *p, const uint8 *end, int number, uint64 *result)
{
	*result = 0;
	if (p == NULL || p >= end || *p != (number << 3 | KS_PROTO_WIRE_VARINT))
		return p;
	return take_number(r, p + 1, end, result);
}

bool
ks_proto_direct_timestamp(const KsProtoReader *r, const KsProtoValue *value, Datum *result)
{
	const uint8 *end = value->p + value->len;
	uint64		seconds;
	uint64		nanos;
	int64		us;
	const uint8 *p = take_field(r, value->p, end, 1, &seconds);

	p = take_field(r, p, end, 2, &nanos);
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
	const uint8 *p = value->p;
	const uint8 *digits;
	int			len;
	uint64		precision;
	uint64		scale;

	if (end - p < 2 || p[0] != (1 << 3 | KS_PROTO_WIRE_BYTES) || p[1] > 8 || end - p < 2 + p[1])
		return false;
	len = p[1];
	digits = p + 2;
	p = take_field(r, digits + len, end, 2, &precision);
	p = take_field(r, p, end, 3, &scale);
	return p == end && scale <= 17 &&
		ks_scalar_decimal((const char *) digits, len, (int) scale, c->base->typmod, result);
}
