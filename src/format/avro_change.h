/*
 * avro_change.h
 *	  Debezium's changes in Avro.
 */
#ifndef KS_AVRO_CHANGE_H
#define KS_AVRO_CHANGE_H

#include "format/avro_program.h"

typedef struct KsAvroChange KsAvroChange;

/* In the current context.  Errors (22023, 42804) if the schema is not that of changes, or of
 * rows that the target cannot take. */
extern KsAvroChange *ks_avro_change_compile(const KsDecoder *d, const KsAvroNode *schema);

/* Reads a change, behind what tells its schema: what is to be done, and the row. */
extern KsRowOp ks_avro_change_open(KsAvroChange *c, KsAvroReader *r);

/* The row's values, by column: after open. */
extern KsAvroProgram *ks_avro_change_row(const KsAvroChange *c);

/* Of a delete: the key column's value as it was; false if the change does not tell it. */
extern bool ks_avro_change_key(const KsAvroChange *c, int col, Datum *value, bool *isnull);

#endif
