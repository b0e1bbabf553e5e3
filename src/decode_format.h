/*
 * decode_format.h
 *	  The formats of records besides plain JSON objects, for decode.c.
 */
#ifndef KS_DECODE_FORMAT_H
#define KS_DECODE_FORMAT_H

#include "compat.h"
#include "decode.h"

extern const KsFormatOps ks_csv_ops;

/* In the current context. */
extern struct KsCsv *ks_csv_create(void);

/* A key column's value from a key of one line of CSV. */
extern Datum ks_csv_key(KsDecoder *d, KsColumn *col, const char *s, int len, bool *isnull);

#endif
