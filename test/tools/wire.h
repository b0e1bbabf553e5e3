/*
 * wire.h
 *	  Rows of kfk's generator in the binary formats of schema registries: a byte 0, the
 *	  schema's id, and the value.
 *
 * bench/bench has the schemas.
 */
#ifndef KFK_WIRE_H
#define KFK_WIRE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The wire format's own prefix. */
static char *
wire_prefix(char *to, uint32_t id)
{
	*to++ = 0;
	for (int shift = 24; shift >= 0; shift -= 8)
		*to++ = (char) (id >> shift);
	return to;
}

/* Base 128, the lowest first. */
static char *
wire_varint(char *to, uint64_t n)
{
	for (; n >= 0x80; n >>= 7)
		*to++ = (char) (n | 0x80);
	*to++ = (char) n;
	return to;
}

static char *
avro_long(char *to, int64_t n)
{
	return wire_varint(to, ((uint64_t) n << 1) ^ (n < 0 ? UINT64_MAX : 0));
}

static char *
avro_bytes(char *to, const char *s, size_t len)
{
	to = avro_long(to, (int64_t) len);
	memcpy(to, s, len);
	return to + len;
}

static char *
avro_string(char *to, const char *s)
{
	return avro_bytes(to, s, strlen(s));
}

/* The unscaled number of a decimal, not negative, in as few bytes as hold it with its sign. */
static size_t
wire_decimal(char *bytes, int64_t unscaled)
{
	size_t		len = 1;

	while (len < 8 && (uint64_t) unscaled >> (8 * len - 1))
		len++;
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char) ((uint64_t) unscaled >> 8 * (len - 1 - i));
	return len;
}

static char *
avro_decimal(char *to, int64_t unscaled)
{
	char		bytes[8];
	size_t		len = wire_decimal(bytes, unscaled);

	return avro_bytes(to, bytes, len);
}

/* A field that is a number. */
static char *
proto_number(char *to, int field, int64_t n)
{
	return wire_varint(wire_varint(to, (uint64_t) field << 3), (uint64_t) n);
}

/* A field that is a text, bytes or a message. */
static char *
proto_bytes(char *to, int field, const char *s, size_t len)
{
	to = wire_varint(wire_varint(to, (uint64_t) field << 3 | 2), len);
	memcpy(to, s, len);
	return to + len;
}

/* confluent.type.Decimal */
static char *
proto_decimal(char *to, int field, int64_t unscaled, int precision, int scale)
{
	char		message[32];
	char		bytes[8];
	size_t		len = wire_decimal(bytes, unscaled);
	char	   *end = proto_bytes(message, 1, bytes, len);

	end = proto_number(proto_number(end, 2, precision), 3, scale);
	return proto_bytes(to, field, message, (size_t) (end - message));
}

/* google.protobuf.Timestamp */
static char *
proto_timestamp(char *to, int field, int64_t us)
{
	char		message[32];
	char	   *end = proto_number(proto_number(message, 1, us / 1000000), 2, us % 1000000 * 1000);

	return proto_bytes(to, field, message, (size_t) (end - message));
}

#endif
