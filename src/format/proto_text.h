/*
 * proto_text.h
 *	  Protobuf's values as texts: of one value, and of any as JSON.
 */
#ifndef KS_PROTO_TEXT_H
#define KS_PROTO_TEXT_H

#include "format/convert.h"
#include "format/json.h"
#include "format/proto_read.h"

/* 9999-12-31 23:59:59, since 1970 */
#define KS_PROTO_MAX_SECONDS	INT64CONST(253402300799)
#define KS_PROTO_MAX_NANOS		999999999

/*
 * A value that is no message as a token, in the current context or r->buf: numbers, words
 * and texts that the server's types read.
 */
extern void ks_proto_single(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *value,
							KsJsonToken *tok);

/* Is the message one value that a token can be? */
extern bool ks_proto_is_text(KsProtoKnown known);

/* Of such a message. */
extern void ks_proto_known(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
						   KsJsonToken *tok);

/* Their parts.  Errors (22008, 22P03) if they are out of the range that the type has. */
extern void ks_proto_timestamp(const KsProtoReader *r, const KsProtoValue *value, int64 *seconds, int *nanos);
extern void ks_proto_duration(const KsProtoReader *r, const KsProtoValue *value, int64 *seconds, int *nanos);
extern void ks_proto_decimal(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
							 KsProtoValue *digits, int *scale);

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
