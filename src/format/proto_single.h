/*
 * proto_single.h
 *	  Protobuf's values that are one text: of types that are no messages, and messages
 *	  that are one value.
 */
#ifndef KS_PROTO_SINGLE_H
#define KS_PROTO_SINGLE_H

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

#endif
