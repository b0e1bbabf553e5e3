/*
 * format.h
 *	  How records become rows: what of a sink's settings that depends on.
 */
#ifndef KS_FORMAT_H
#define KS_FORMAT_H

#include "postgres.h"

#include "format/schemas.h"

typedef enum KsInsertMode
{
	KS_INSERT,
	KS_IGNORE,
	KS_UPSERT,
	KS_UPDATE,
	KS_ACCUMULATE
} KsInsertMode;

/* How bytes of a key or a value become fields. */
typedef enum KsFormat
{
	KS_FORMAT_JSON,
	KS_FORMAT_RAW,
	KS_FORMAT_CSV,
	KS_FORMAT_AVRO,
	KS_FORMAT_PROTOBUF,
	KS_FORMAT_JSON_SCHEMA,
	KS_FORMAT_NONE				/* of keys only */
} KsFormat;

/* Has it fields by name, and values in values, as JSON has? */
#define ks_format_has_names(format) (ks_format_is_json(format) || ks_format_has_schema(format))

/* Is it JSON, whatever stands before it? */
#define ks_format_is_json(format) ((format) == KS_FORMAT_JSON || (format) == KS_FORMAT_JSON_SCHEMA)

/* Does something tell the schema of its values? */
#define ks_format_names_schema(format) (ks_format_has_schema(format) || (format) == KS_FORMAT_JSON_SCHEMA)

/* Are its values read by schemas? */
#define ks_format_has_schema(format) ((format) == KS_FORMAT_AVRO || (format) == KS_FORMAT_PROTOBUF)

/* What stands before a value that a schema describes. */
typedef enum KsFraming
{
	KS_FRAMING_NONE,
	KS_FRAMING_CONFLUENT,
	KS_FRAMING_SINGLE_OBJECT,
	KS_FRAMING_HEADER,
	KS_FRAMING_APICURIO8,
	KS_FRAMING_GLUE,
	KS_FRAMING_AUTO				/* by whoever gives the schema, see framing.h */
} KsFraming;

/* What stands around a row in a value. */
typedef enum KsEnvelope
{
	KS_NO_ENVELOPE,
	KS_CONNECT,
	KS_DEBEZIUM
} KsEnvelope;

/* What a decoder has to know; texts are borrowed. */
typedef struct KsFormatSettings
{
	KsInsertMode insert_mode;	/* what is to be done without a field's value */
	KsFormat	format;
	KsFormat	key_format;
	KsEnvelope	envelope;
	bool		strict;			/* a field that no column takes is an error */
	bool		strip_nul;
	bool		refuse_nonfinite;
	bool		delete_enabled;
	bool		tombstone_ignore;
	int			max_record_bytes;
	char		csv_delimiter;
	char		csv_quote;		/* '\0': none */
	const char *csv_null;		/* what stands for NULL, if not quoted */
	KsFraming	framing;
	bool		validate;		/* of KS_FORMAT_JSON_SCHEMA */
	const char *value_schema;	/* of formats by schemas; NULL: records tell which */
	const char *key_schema;
	const char *message_type;	/* of KS_FORMAT_PROTOBUF: the message of value_schema, or NULL */
	const char *server;			/* whose registry has those */
	KsFindSchema find_schema;
	bool		evolves;		/* the target is to be ready for schemas of records */
} KsFormatSettings;

#endif
