/*
 * dead_letters.h
 *	  Records that could not be applied, as rows of kafka_sink.dead_letters.
 */
#ifndef KS_DEAD_LETTERS_H
#define KS_DEAD_LETTERS_H

#include "base/message.h"
#include "catalog/sinks.h"
#include "write/reject.h"

/* Writes a row for each item, in the current transaction; SPI is connected. */
extern void ks_dead_letters_write(const KsSink *sink, const KsRecord *recs,
								  const KsPartition *parts, const KsReject *items, int n);

/*
 * Deletes what is older than the sink's dead_letter_retention, in the current
 * transaction.
 */
extern void ks_dead_letters_expire(const KsSink *sink);

/* --- funcs_ingest.c: records from SQL --- */

/* Bytes of a bytea; length -1 for NULL. */
extern void ks_record_bytes(Datum d, bool isnull, const char **p, int32 *len);

/* header[] to rec->headers. */
extern void ks_record_headers(Datum d, KsRecord *rec);

#endif
