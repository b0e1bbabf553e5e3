/*
 * decode_format.h
 *	  The formats of records besides plain JSON objects, for decode.c.
 */
#ifndef KS_DECODE_FORMAT_H
#define KS_DECODE_FORMAT_H

#include "base/compat.h"
#include "format/decode.h"

/* decode_fields.c: the column is to be evaluated, or checked, in the attempt. */
extern void ks_decode_later(KsDecoder *d, const KsColumn *col, bool check);

extern const KsFormatOps ks_csv_ops;

/* In the current context. */
extern struct KsCsv *ks_csv_create(void);

/* A key column's value from a key of one line of CSV. */
extern Datum ks_csv_key(KsDecoder *d, KsColumn *col, const char *s, int len, bool *isnull);

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
