/*
 * proto_map.h
 *	  The entries of a Protobuf map.
 */
#ifndef KS_PROTO_MAP_H
#define KS_PROTO_MAP_H

#include "format/proto_read.h"

typedef struct KsProtoMapEntry
{
	KsProtoValue key;
	KsProtoValue entry;			/* the message */
} KsProtoMapEntry;

/* Is it one?  Not if its value is a number that a closed enum does not have.  'value': its field. */
extern bool ks_proto_is_entry(KsProtoReader *r, const KsProtoField *value, const KsProtoValue *entry);

/*
 * Of what lies between, which is only of the map's field: an entry for each key, in
 * the order of the keys, in the current context; to be freed.
 */
extern KsProtoMapEntry *ks_proto_map_entries(KsProtoReader *r, const KsProtoField *field,
											 const uint8 *begin, const uint8 *end, int *n);

#endif
