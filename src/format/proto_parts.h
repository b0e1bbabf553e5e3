/*
 * proto_parts.h
 *	  What stands in .proto texts and has no messages in it: enums, services,
 *	  numbers and names that are reserved; and what makes maps messages.
 */
#ifndef KS_PROTO_PARTS_H
#define KS_PROTO_PARTS_H

#include "format/proto_options.h"

extern void ks_proto_append_name(KsProtoNameList *list, KsProtoWord name);

/* Each behind the word that it begins with; it is put into the scope. */
extern void ks_proto_parse_reserved(KsProtoTokens *t, KsProtoReserved *reserved, bool of_enum);
extern void ks_proto_parse_extensions(KsProtoTokens *t, KsProtoMessageDecl *m);
extern void ks_proto_parse_enum(KsProtoTokens *t, KsProtoMessageDecl *scope);
extern void ks_proto_parse_service(KsProtoTokens *t, KsProtoMessageDecl *scope);

/* A message of that name in the scope, with nothing in it. */
extern KsProtoMessageDecl *ks_proto_new_message(KsProtoMessageDecl *scope, KsProtoWord name);

/* Can a map have keys of that type? */
extern bool ks_proto_may_be_key(const KsProtoWord *type);

/* "<key, value>" */
extern void ks_proto_parse_map_types(KsProtoTokens *t, KsProtoWord *key, KsProtoWord *value);

/* The message that a map has for each of its entries. */
extern void ks_proto_add_entry(KsProtoMessageDecl *scope, KsProtoFieldDecl *field, KsProtoWord key, KsProtoWord value);

#endif
