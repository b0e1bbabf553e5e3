/*
 * proto_meta.h
 *	  What Kafka Connect, and who documents data, say in options of a .proto text.
 */
#ifndef KS_PROTO_META_H
#define KS_PROTO_META_H

#include "format/proto_tree.h"

/* Is it the name of an option that says such things?  Without the parentheses. */
extern bool ks_proto_is_meta(const KsProtoWord *name);

/* Takes its value; 'part': of that field of it alone, or NULL. */
extern void ks_proto_take_meta(KsProtoTokens *t, const KsProtoWord *part, KsProtoMeta *meta);

/* What the second one says, the first one says, too. */
extern void ks_proto_merge_meta(KsProtoMeta *meta, const KsProtoMeta *other);

#endif
