/*
 * envelope_text.h
 *	  Values in the encodings of Connect and Debezium, as text that the server's
 *	  types read; in the current context.
 */
#ifndef KS_ENVELOPE_TEXT_H
#define KS_ENVELOPE_TEXT_H

#include "base/compat.h"
#include "format/json.h"

KS_NORETURN extern void ks_value_bad(const char *what);
KS_NORETURN extern void ks_value_unclear(const char *detail, const char *hint);

extern int64 ks_value_int(const KsJsonToken *tok, const char *what);
extern uint8 *ks_value_bytes(const KsJsonToken *tok, int *len);

/* Big-endian two's complement times 10^-scale; the bytes are changed. */
extern char *ks_text_decimal_bytes(uint8 *b, int len, int64 scale);

/* tok: base64 */
extern char *ks_text_decimal(const KsJsonToken *tok, int64 scale);

/* max of what goes to no column that says more */
#define KS_PADDED_BITS	8192

extern char *ks_text_bits(const KsJsonToken *tok, int64 length, int max);
/* the lowest byte first; length: 0 if all bits count; max: so many more than there are may be zeros */
extern char *ks_text_bits_of(const uint8 *b, int len, int64 length, int max);
extern char *ks_text_hex(const KsJsonToken *tok);
extern char *ks_text_of_bytes(const KsJsonToken *tok);

/* v: in units of 1/unit second; infinite: some stand for infinity, as Debezium has it */
extern char *ks_text_date(int64 days, bool infinite);
/* of_day: errors unless it is one */
extern char *ks_text_time(int64 v, int64 unit, bool of_day);
extern char *ks_text_timestamp(int64 v, int64 unit, bool infinite);
extern char *ks_text_duration(int64 us);
extern char *ks_text_iso(const char *p, int len, bool date);

#endif
