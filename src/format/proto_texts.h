/*
 * proto_texts.h
 *	  Protobuf schemas as registries and sinks give them, and which message is meant.
 */
#ifndef KS_PROTO_TEXTS_H
#define KS_PROTO_TEXTS_H

#include "format/proto_schema.h"
#include "format/schemas.h"

/* The schema, with those that it imports; errors (42804, and those of ks_proto_parse()) if it is none. */
extern KsProtoFile *ks_proto_read_schema(const KsSchemaText *text);

/*
 * The message of a schema whose records do not tell it.  NULL: the only one.  Errors (22023)
 * if there is none, or several.
 */
extern const KsProtoMessage *ks_proto_choose_message(const KsProtoFile *file, const char *name, bool of_keys);

#endif
