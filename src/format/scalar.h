/*
 * scalar.h
 *	  Single values of binary formats: as text, as JSON, and as Datums of a column's type.
 *
 * What Avro and Protobuf have in common.
 */
#ifndef KS_SCALAR_H
#define KS_SCALAR_H

#include "access/transam.h"
#include "common/int.h"
#include "datatype/timestamp.h"

#include "format/decode.h"

/* --- types --- */

static inline bool
ks_scalar_is_integer(const KsType *type)
{
	return type->kind == KS_TYPE_INT2 || type->kind == KS_TYPE_INT4 || type->kind == KS_TYPE_INT8;
}

/* Types of extensions, and enums, read what they like. */
static inline bool
ks_scalar_is_foreign(const KsType *type)
{
	return type->kind == KS_TYPE_GENERIC && type->typid >= FirstNormalObjectId;
}

/* --- scalar_text.c --- */

static inline void
ks_scalar_set(KsJsonToken *tok, KsJsonType type, const char *s, int len)
{
	tok->type = type;
	tok->escaped = false;
	tok->p = s;
	tok->len = len;
}

/* \x and two digits for each byte, as the server reads a bytea; in the current context. */
extern void ks_scalar_set_hex(KsJsonToken *tok, const char *s, int len);

/* A number, or the word for what JSON has none for; buf has room for 32 bytes. */
extern void ks_scalar_set_float(KsJsonToken *tok, double v, bool single, char *buf);

/* Verified text in the server's encoding, from UTF-8; in the current context. */
extern void ks_scalar_to_server(KsDecoder *d, const char **s, int *len);

/* A string that holds JSON: that JSON.  It is a value, null too. */
extern void ks_scalar_set_json(KsDecoder *d, KsJsonToken *tok, const char *s, int len);

/* In JSON. */
extern void ks_scalar_append_string(StringInfo out, const char *s, int len);
extern void ks_scalar_append(StringInfo out, const KsJsonToken *tok);

/* --- scalar.c --- */

/* An integer for an integer type or numeric; what the type cannot hold is the type's to refuse. */
extern Datum ks_scalar_from_int(KsConvert *cv, KsType *base, int64 v, bool *isnull);

/* A number for a float type. */
extern Datum ks_scalar_from_float(KsConvert *cv, KsType *base, double v, bool *isnull);

/* Is a float a whole number of 64 bits, which an integer type has, too? */
static inline bool
ks_scalar_whole(double v, int64 *result)
{
	if (!FLOAT8_FITS_IN_INT64(v))
		return false;
	*result = (int64) v;
	return (double) *result == v;
}

/* Microseconds since 1970 as the server's timestamp; false if it has no such one. */
static inline bool
ks_scalar_timestamp(int64 us, int64 *result)
{
	return !pg_sub_s64_overflow(us, (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY, result) &&
		IS_VALID_TIMESTAMP(*result);
}

/* The number of big-endian bytes, if it has at most 17 digits and the column's precision leaves them. */
extern bool ks_scalar_decimal(const char *s, int len, int scale, int32 typmod, Datum *result);

/* Elements of an array, as they come; the arrays grow. */
typedef struct KsElements
{
	int			n;
	int			max;
	Datum	   *values;
	bool	   *nulls;
} KsElements;

extern void ks_elements_grow(KsElements *e);

/* One more: where it is to be written. */
static inline int
ks_elements_add(KsElements *e)
{
	if (unlikely(e->n >= e->max))
		ks_elements_grow(e);
	return e->n++;
}

/* Of the array type; frees the elements. */
extern Datum ks_elements_array(KsElements *e, const KsType *type);

#endif
