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
	return wire_varint(to, ((uint64_t) n << 1) ^ (uint64_t) (n >> 63));
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

/* The unscaled number of a decimal, as few bytes as hold it with its sign. */
static char *
avro_decimal(char *to, int64_t unscaled)
{
	char		bytes[8];
	int			len = 0;

	do
		bytes[7 - len++] = (char) unscaled;
	while ((unscaled >>= 8) != 0 && len < 8);
	if (len < 8 && (bytes[8 - len] & 0x80))
		bytes[7 - len++] = 0;
	return avro_bytes(to, bytes + 8 - len, (size_t) len);
}

#endif
