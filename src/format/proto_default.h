/*
 * proto_default.h
 *	  Defaults that a .proto text gives to fields.
 */
#ifndef KS_PROTO_DEFAULT_H
#define KS_PROTO_DEFAULT_H

#include "format/proto_tree.h"

/* Of a field whose type is known. */
extern void ks_proto_set_default(const KsProtoFileDecl *file, const KsProtoFieldDecl *f, KsProtoField *field,
								 MemoryContext keep);

#endif
