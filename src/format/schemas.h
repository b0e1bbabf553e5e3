/*
 * schemas.h
 *	  Schemas that records name, and where they are found.
 */
#ifndef KS_SCHEMAS_H
#define KS_SCHEMAS_H

#include "postgres.h"

#include "utils/uuid.h"

/* As a record tells it. */
typedef struct KsSchemaId
{
	int64		id;				/* -1: it is told by ... */
	int64		global;			/* 1: it is Apicurio's global id, else 0 */
	pg_uuid_t	guid;			/* ... this; else zeros */
} KsSchemaId;

static inline bool
ks_schema_id_equal(const KsSchemaId *a, const KsSchemaId *b)
{
	return a->id == b->id && a->global == b->global && (a->id >= 0 || memcmp(&a->guid, &b->guid, sizeof(pg_uuid_t)) == 0);
}

/* As people write it; in the current context. */
extern char *ks_schema_id_text(const KsSchemaId *id);

typedef struct KsSchemaText
{
	const char *type;			/* AVRO, ... */
	const char *text;
	int			nrefs;			/* schemas that it refers to: each stands */
	const char **refs;			/* behind those that it refers to itself */
	const char **ref_names;		/* by which it does: of Protobuf, what it imports */
	bool		unreadable;		/* of one that is absent: it is there, and cannot be kept */
} KsSchemaText;

/*
 * Schemas may refer to several versions of one by the same name, each by way of others: the one
 * that is met first counts then, as it does for serializers.
 */
static inline bool
ks_schema_ref_counts(const KsSchemaText *text, int ref)
{
	for (int i = 0; i < ref; i++)
		if (strcmp(text->ref_names[i], text->ref_names[ref]) == 0 && *text->ref_names[i])
			return false;
	return true;
}

typedef enum KsSchemaState
{
	KS_SCHEMA_UNKNOWN,			/* it has not been asked for */
	KS_SCHEMA_KNOWN,
	KS_SCHEMA_ABSENT			/* the registry has said that there is none, or the database cannot hold it */
} KsSchemaState;

/*
 * A look at the schemas of a batch.  What is said to be absent is believed until the
 * batch is done, so that it is, however many there are and however long they take.
 */
typedef struct KsSchemaPass
{
	uint32		batch;			/* numbers from 1 */
	uint32		nth;
} KsSchemaPass;

/*
 * What is known of a schema of that server's registry.  A text in the current
 * context: the schema, or for one that is absent in 'text' why.
 */
typedef KsSchemaState (*KsFindSchema) (const char *server, const KsSchemaId *id, KsSchemaText *result);

#endif
