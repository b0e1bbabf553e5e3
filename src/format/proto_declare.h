/*
 * proto_declare.h
 *	  Messages and enums of a .proto text as nodes with names, numbers and fields,
 *	  whose types are not known yet.
 */
#ifndef KS_PROTO_DECLARE_H
#define KS_PROTO_DECLARE_H

#include "format/proto_symbols.h"

/* Nodes go to that context, the rest to the current one. */
extern void ks_proto_declare(KsProtoSymbols *symbols, KsProtoFileDecl *file, MemoryContext keep);

#endif
