/*
 * avro_registry.h
 *	  Schemas that records name: each is asked for, parsed and compiled once.
 */
#ifndef KS_AVRO_REGISTRY_H
#define KS_AVRO_REGISTRY_H

#include "format/avro_change.h"
#include "format/schemas.h"

/* Its text and those that it refers to, parsed; errors (42804, 22023) if it is not Avro.
 * In the current context. */
extern KsAvroNode *ks_avro_parse_text(const KsSchemaText *text);

/* One value by it, as JSON. */
extern void ks_avro_decode_json(const KsSchemaText *text, const char *s, int len, StringInfo out);

/* One schema, for values or for keys. */
typedef struct KsAvroEntry
{
	KsSchemaId	id;				/* the hash key */
	KsSchemaState state;
	uint32		pass;			/* in which it was asked for last */
	MemoryContext cxt;			/* what follows; NULL: nothing yet */
	KsSchemaText text;			/* until it is parsed */
	KsAvroProgram *program;		/* of values; NULL: not compiled */
	KsAvroChange *change;		/* of those in an envelope */
	KsAvroNode *key;			/* of keys; NULL: not parsed */
	ErrorData  *error;			/* what came of it instead */
} KsAvroEntry;

typedef struct KsAvroRegistry KsAvroRegistry;

/* In the current context, which it lives as long as. */
extern KsAvroRegistry *ks_avro_registry_create(KsDecoder *d, bool of_keys);

/*
 * Is the schema known, or known to be absent?  Asks where it is not, once in each pass:
 * false only then.  Passes have numbers from 1.
 */
extern bool ks_avro_registry_knows(KsAvroRegistry *reg, const KsSchemaId *id, uint32 pass);

/* The compiled schema, for a record; errors (42704, and what is wrong with it) if there is none. */
extern KsAvroEntry *ks_avro_registry_get(KsAvroRegistry *reg, const KsSchemaId *id);

#endif
