/*
 * proto_resolve.h
 *	  The types of fields, by their names.
 */
#ifndef KS_PROTO_RESOLVE_H
#define KS_PROTO_RESOLVE_H

#include "format/proto_symbols.h"

/* Of a file whose names, and those of all that it imports, are known; its number is above 0. */
extern void ks_proto_resolve(const KsProtoSymbols *symbols, KsProtoFileDecl *file, int number, MemoryContext keep);

#endif
