/*
 * decode_format.h
 *	  The formats of records besides plain JSON objects, for decode.c.
 */
#ifndef KS_DECODE_FORMAT_H
#define KS_DECODE_FORMAT_H

#include "mb/pg_wchar.h"

#include "base/compat.h"
#include "format/decode.h"
#include "format/framing.h"
#include "format/json_scan.h"

/* --- decode_column.c, decode_key.c --- */

/* Bytes as a whole: a key, a value. */
extern Datum ks_decode_bytes(KsDecoder *d, KsType *type, const char *s, int len, bool json,
							 bool *isnull);

/* The key as a JSON document; false if it is NULL. */
extern bool ks_decode_key_document(KsDecoder *d, const KsRecord *rec, KsJsonToken *tok);

/* A delete: the key columns from the Kafka key, or from the change. */
extern KsRowOp ks_decode_tombstone(KsDecoder *d, const KsRecord *rec, const KsPartition *part,
								   Datum *values, bool *isnull);

/* Nothing but ASCII, and no NUL: the same in every encoding of a server. */
static inline bool
ks_is_ascii(const char *s, int len)
{
	const char *end = s + len;

#ifdef __SSE2__
	__m128i		bad = _mm_setzero_si128();

	for (; end - s >= 16; s += 16)
	{
		__m128i		v = _mm_loadu_si128((const __m128i *) s);

		bad = _mm_or_si128(bad, _mm_or_si128(v, _mm_cmpeq_epi8(v, _mm_setzero_si128())));
	}
	if (_mm_movemask_epi8(bad) != 0)
		return false;
#endif
	for (; end - s >= 8; s += 8)
	{
		uint64		w;

		memcpy(&w, s, 8);
		if ((w & KS_HIGHS) || KS_HAS_ZERO(w))
			return false;
	}
	for (; s < end; s++)
		if (*s == '\0' || IS_HIGHBIT_SET(*s))
			return false;
	return true;
}

/* Bytes of Kafka are UTF-8 where they are text: verified, converted if needed. */
static inline void
ks_to_server(KsDecoder *d, const char **s, int *len)
{
	if (likely(ks_is_ascii(*s, *len)))
		return;
	if (d->encoding == PG_UTF8 || d->encoding == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, *s, *len, false);
	else
	{
		char	   *conv = pg_any_to_server(*s, *len, PG_UTF8);

		if (conv != *s)
			*len = strlen(conv);
		*s = conv;
	}
}

/* The same of a value that is JSON, which is marked on the way. */
static inline void
ks_json_to_server(KsDecoder *d, const char **s, int *len)
{
#ifdef KS_JSON_MARKS
	if (likely(d->marks && *len <= KS_MARKED_BYTES))
	{
		d->marked = *s;
		if (likely(ks_json_mark(*s, *len, d->marks)))
			return;
	}
#endif
	ks_to_server(d, s, len);
	if (d->marked != *s)
		d->marked = NULL;
}

/* The value's text, or one that is anywhere else. */
static inline KsJson
ks_json_of(const KsDecoder *d, const char *s, int len)
{
	return (KsJson) {.start = s, .end = s + len, .marks = d->marked == s ? d->marks : NULL};
}

/* Its index among the target's, also of one that stands for it. */
static inline int
ks_column_number(const KsDecoder *d, const KsColumn *col)
{
	return (col == &d->stand_in ? d->stands_for : col) - d->target->cols;
}

/* decode_fields.c: what is left of the column for the attempt. */
extern void ks_decode_later(KsDecoder *d, const KsColumn *col, KsLaterKind kind);

/* decode_fields.c: no members are guessed yet; where paths of columns lead to; in the current context. */
extern void ks_decode_init_members(KsDecoder *d);
extern void ks_decode_init_paths(KsDecoder *d);

extern const KsFormatOps ks_csv_ops;

/* In the current context. */
extern struct KsCsv *ks_csv_create(void);

/* A key column's value from a key of one line of CSV. */
extern Datum ks_csv_key(KsDecoder *d, KsColumn *col, const char *s, int len, bool *isnull);

/*
 * decode_schema.c: begins with values or keys (a part of the decoder), whose schema the
 * sink gives, or not: then 'compile' makes of each one, once, what the format needs.
 * In the current context.
 */
extern void ks_schemas_begin(KsDecoder *d, KsSchemaPart *part, const char *text,
							 void *(*compile) (KsDecoder *d, const KsSchemaText *text, bool of_keys));

/*
 * Goes behind the bytes that told the schema.  What is packed there is unpacked, and
 * lasts until the next value, or key.
 */
extern void ks_schemas_unpack(KsDecoder *d, KsSchemaPart *part, const char **s, int *len, int skip);

extern const KsFormatOps ks_avro_ops;
extern const KsFormatOps ks_avro_change_ops;

/* In the current context; the decoder's settings and target are known. */
extern void ks_avro_create(KsDecoder *d);

/* A key as JSON, which lasts until the next one. */
extern void ks_avro_key(KsDecoder *d, const char *s, int len, const char **json, int *jsonlen);

/* One value by a schema of a registry, as JSON; errors (42804, 22023) if that is none of Avro. */
extern void ks_avro_decode_json(const KsSchemaText *text, const char *s, int len, StringInfo out);

extern const KsFormatOps ks_proto_ops;
extern const KsFormatOps ks_proto_change_ops;

/* The same for Protobuf. */
extern void ks_proto_create(KsDecoder *d);
extern void ks_proto_key(KsDecoder *d, const char *s, int len, const char **json, int *jsonlen);
extern void ks_proto_decode_json(const KsSchemaText *text, const KsMessagePath *path,
								 const char *s, int len, StringInfo out);

/* Errors (22023, and those of the schema) if this is no schema, or lacks the message, or does not say which. */
extern void ks_proto_check_schema(const char *schema, const char *message_type, bool of_keys, bool told);

/* decode_json_schema.c: in the current context. */
extern void ks_json_schema_create(KsDecoder *d);

/* What tells the schema of a value, or of a key, is taken off; it is checked, if that is asked for. */
extern void ks_json_schema_value(KsDecoder *d, const char **s, int *len);
extern void ks_json_schema_key(KsDecoder *d, const char **s, int *len);

/* The record's key, which nobody may ask for. */
extern void ks_json_schema_check_key(KsDecoder *d);

/* The name of the value's schema, NULL: it has none. */
extern const char *ks_json_schema_name(KsDecoder *d);

extern const KsFormatOps ks_connect_ops;
extern const KsFormatOps ks_debezium_ops;

extern struct KsEnvelopeState *ks_envelope_create(int nfields, MemoryContext cxt);

/* Takes the envelope off a key; its schema, or NULL. */
extern const struct KsSchema *ks_envelope_key(KsDecoder *d, KsJsonToken *key);

/* A key column's value from the row as it was, or from the key; false: neither
 * tells. */
extern bool ks_envelope_key_column(KsDecoder *d, KsColumn *col, const struct KsSchema *schema,
								   const KsJsonToken *key, Datum *value, bool *isnull);

/* The value of a column whose source is (a path into) the key, by the key's schema. */
extern Datum ks_envelope_key_path(KsDecoder *d, KsColumn *col, const KsJsonToken *value,
								  bool *isnull);

#endif
