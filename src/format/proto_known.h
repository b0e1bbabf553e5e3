/*
 * proto_known.h
 *	  The .proto texts that need not be given, and the messages that mean more than
 *	  their fields.
 */
#ifndef KS_PROTO_KNOWN_H
#define KS_PROTO_KNOWN_H

#include "format/proto_schema.h"

/* By the name that it is imported by; NULL: it has to be given. */
extern const char *ks_proto_known_text(const char *name);

/* Which of them is it, by its name and by what its fields are? */
extern KsProtoKnown ks_proto_known_of(const KsProtoMessage *message);

#endif
