/*
 * proto_resolve.h
 *	  The types of fields, by their names.
 */
#ifndef KS_PROTO_RESOLVE_H
#define KS_PROTO_RESOLVE_H

#include "format/proto_symbols.h"

/* Of a file whose names, and those of all that it imports, are known; its number is above 0. */
extern void ks_proto_resolve(const KsProtoSymbols *symbols, KsProtoFileDecl *file, int number, MemoryContext keep);

/* What is so called in all files; NULL: nothing. */
extern KsProtoSymbol *ks_proto_walk(const KsProtoSymbols *symbols, KsProtoSymbol *from, const char *name, int len);

/* The scalar type of that name, or 0. */
extern KsProtoType ks_proto_scalar(const KsProtoWord *name);

#endif
