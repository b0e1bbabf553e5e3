/*
 * proto_json.h
 *	  Protobuf's values as JSON.
 */
#ifndef KS_PROTO_JSON_H
#define KS_PROTO_JSON_H

#include "format/convert.h"
#include "format/proto_read.h"

/*
 * A value as JSON.  shape: of the type that the JSON is for, or NULL.  A composite type
 * has absent fields as they are read; others are told what there is, unless the reader
 * says so.
 */
extern void ks_proto_append_json(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *value,
								 const KsType *shape, StringInfo out);

/* A message as a whole; of its fields those that are not left out, which may be NULL. */
extern void ks_proto_append_message(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
									const bool *left_out, const KsType *shape, StringInfo out);

/* All values of a field, repeated or not, of which there are runs between; nothing lies there, if it is absent. */
extern void ks_proto_append_field(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end,
								  const KsType *shape, StringInfo out);

#endif
