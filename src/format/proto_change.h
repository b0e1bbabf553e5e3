/*
 * proto_change.h
 *	  Debezium's changes in Protobuf.
 */
#ifndef KS_PROTO_CHANGE_H
#define KS_PROTO_CHANGE_H

#include "format/proto_program.h"

typedef struct KsProtoChange KsProtoChange;

/* In the current context.  Errors (22023, 42804) if the message is not that of changes, or of
 * rows that the target cannot take. */
extern KsProtoChange *ks_proto_change_compile(const KsDecoder *d, const KsProtoMessage *message);

/* Reads a change, behind what tells its message: what is to be done, and the row. */
extern KsRowOp ks_proto_change_open(KsProtoChange *c, KsProtoReader *r);

/* The row's values, by column: after open. */
extern KsProtoProgram *ks_proto_change_row(const KsProtoChange *c);

/* Of a delete: the key column's value as it was; false if the change does not tell it. */
extern bool ks_proto_change_key(const KsProtoChange *c, int col, Datum *value, bool *isnull);

#endif
