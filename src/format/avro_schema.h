/*
 * avro_schema.h
 *	  Avro schemas: their JSON text as a graph of types.
 *
 * Every type of a graph is a node; a name that is used again is the same node, so
 * that recursive schemas are circles.  A record never contains itself but through
 * a union, an array or a map.  Logical types that are unknown or do not fit are
 * left out, as the specification has it.
 */
#ifndef KS_AVRO_SCHEMA_H
#define KS_AVRO_SCHEMA_H

#include "postgres.h"

#include "format/json.h"
#include "format/names.h"
#include "format/schemas.h"

#define KS_AVRO_MAX_SCHEMA	(1024 * 1024)	/* bytes of its text */
#define KS_AVRO_MAX_DEPTH	64	/* of types in types, and of values in values */

typedef enum KsAvroType
{
	KS_AVRO_NULL,
	KS_AVRO_BOOLEAN,
	KS_AVRO_INT,
	KS_AVRO_LONG,
	KS_AVRO_FLOAT,
	KS_AVRO_DOUBLE,
	KS_AVRO_BYTES,
	KS_AVRO_STRING,				/* the last one that is only a word */
	KS_AVRO_RECORD,
	KS_AVRO_ENUM,
	KS_AVRO_FIXED,
	KS_AVRO_ARRAY,
	KS_AVRO_MAP,
	KS_AVRO_UNION
} KsAvroType;

typedef enum KsAvroLogical
{
	KS_AVRO_PLAIN,
	KS_AVRO_DECIMAL,			/* of bytes and fixed */
	KS_AVRO_DATE,
	KS_AVRO_TIME,
	KS_AVRO_TIMESTAMP,			/* a moment */
	KS_AVRO_LOCAL_TIMESTAMP,	/* in whatever zone */
	KS_AVRO_UUID,				/* of string and fixed(16) */
	KS_AVRO_DURATION,			/* of fixed(12) */

	/* Kafka Connect's and Debezium's */
	KS_AVRO_MICROSECONDS,		/* of long: an interval */
	KS_AVRO_JSON,				/* of string: its text */
	KS_AVRO_BITS,				/* of bytes, the lowest first */
	KS_AVRO_VARIABLE_DECIMAL,	/* of a record: scale, value */
	KS_AVRO_POINT				/* of a record: x, y */
} KsAvroLogical;

typedef struct KsAvroNode
{
	KsAvroType	type;
	KsAvroLogical logical;
	int			unit;			/* of times: so many are a second */
	bool		infinite;		/* some numbers stand for infinity */
	int			precision;		/* of decimals: digits; of bits: their number, 0: unknown */
	int			scale;
	int			size;			/* of fixed */
	const char *name;			/* of records, enums and fixed: with its namespace */
	int			n;				/* fields, symbols, or types in it */
	KsField    *names;			/* of fields or symbols */
	KsNames		index;			/* to find fields by */
	struct KsAvroNode **types;	/* of fields or branches; of elements or values */
	int			naliases;		/* of fields */
	KsField    *aliases;
	int		   *alias_of;
	int64		width;			/* bytes of every value, -1: they differ */
	int64		least;			/* no value has fewer */

	/* what is for people, not looked at: tokens of the text, p NULL if there is none */
	KsJsonToken doc;
	KsJsonToken connect_name;	/* what Kafka Connect calls its type, */
	KsJsonToken connect_type;	/* and which one it is */
	KsJsonToken *docs;			/* of fields */
	KsJsonToken *defaults;

	bool		measuring;
	bool		seen;			/* its canonical form has been written */
} KsAvroNode;

/* Errors (22023, 54000, 54001, 22P02) if it is none; in the current context.  Borrows the text. */
extern KsAvroNode *ks_avro_parse(const char *text, int len);

/* The same of a registry's, with those that it refers to; 42804: it is not Avro. */
extern KsAvroNode *ks_avro_parse_text(const KsSchemaText *text);

/* The field of this name or, if there is none, of this alias; -1: none. */
extern int	ks_avro_find_field(const KsAvroNode *record, const char *name, int len);

/* "int", "record", ...; for messages. */
extern const char *ks_avro_type_name(const KsAvroNode *node);

/* The fingerprint (CRC-64-AVRO) of the parsing canonical form. */
extern uint64 ks_avro_fingerprint(KsAvroNode *schema);

#endif
