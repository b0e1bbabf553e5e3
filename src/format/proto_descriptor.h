/*
 * proto_descriptor.h
 *	  Protobuf schemas as descriptors, which are what protoc makes of .proto texts.
 */
#ifndef KS_PROTO_DESCRIPTOR_H
#define KS_PROTO_DESCRIPTOR_H

#include "format/proto_schema.h"

/* Is it one in base64, and no text? */
extern bool ks_proto_is_descriptor(const char *text);

/*
 * The texts that it is of, but for what does not count here: of a FileDescriptorProto one,
 * of a FileDescriptorSet all that are not built in, of which the last is meant and the
 * others may be imported by it.  In the current context; errors (22P02, 22P03, 22023,
 * 54000, 54001) if it is neither.
 */
extern KsProtoText *ks_proto_descriptor_texts(const char *base64, int *n);

#endif
