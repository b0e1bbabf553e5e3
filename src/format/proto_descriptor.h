/*
 * proto_descriptor.h
 *	  Protobuf schemas as descriptors, which are what protoc makes of a .proto text.
 */
#ifndef KS_PROTO_DESCRIPTOR_H
#define KS_PROTO_DESCRIPTOR_H

#include "postgres.h"

/* Is it one in base64, and no text? */
extern bool ks_proto_is_descriptor(const char *text);

/* The text that it is of, but for what does not count here.  In the current context;
 * errors (22P02, 22P03, 22023, 54000, 54001) if it is none. */
extern char *ks_proto_descriptor_text(const char *base64);

#endif
