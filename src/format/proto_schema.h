/*
 * proto_schema.h
 *	  Protobuf schemas: .proto texts (proto2, proto3, editions) as a graph of messages and enums.
 *
 * A message that is used again is the same node, so that recursive messages are
 * circles.  Names in the graph are full ones ("package.Outer.Inner", no dot before).
 * The files of google/protobuf, google/type and confluent need not be given: they are
 * built in (proto_known.c).
 */
#ifndef KS_PROTO_SCHEMA_H
#define KS_PROTO_SCHEMA_H

#include "postgres.h"

#include "format/names.h"

#define KS_PROTO_MAX_SCHEMA	(1024 * 1024)	/* bytes of all texts */
#define KS_PROTO_MAX_DEPTH	64	/* of messages in messages, in schemas and in values */

/* Numbered as descriptor.proto has them. */
typedef enum KsProtoType
{
	KS_PROTO_DOUBLE = 1,
	KS_PROTO_FLOAT,
	KS_PROTO_INT64,
	KS_PROTO_UINT64,
	KS_PROTO_INT32,
	KS_PROTO_FIXED64,
	KS_PROTO_FIXED32,
	KS_PROTO_BOOL,
	KS_PROTO_STRING,
	KS_PROTO_GROUP,
	KS_PROTO_MESSAGE,
	KS_PROTO_BYTES,
	KS_PROTO_UINT32,
	KS_PROTO_ENUM,
	KS_PROTO_SFIXED32,
	KS_PROTO_SFIXED64,
	KS_PROTO_SINT32,
	KS_PROTO_SINT64
} KsProtoType;

/* Messages that are more than their fields: of google/protobuf, and four that Connect uses. */
typedef enum KsProtoKnown
{
	KS_PROTO_NO_KNOWN,
	KS_PROTO_TIMESTAMP,
	KS_PROTO_DURATION,
	KS_PROTO_WRAPPER,			/* DoubleValue ... BytesValue: a field "value", number 1 */
	KS_PROTO_STRUCT,
	KS_PROTO_VALUE,
	KS_PROTO_LIST_VALUE,
	KS_PROTO_ANY,
	KS_PROTO_FIELD_MASK,
	KS_PROTO_EMPTY,
	KS_PROTO_DECIMAL,			/* confluent.type.Decimal: bytes value = 1, uint32 precision = 2, int32 scale = 3 */
	KS_PROTO_DATE,				/* google.type.Date: int32 year = 1, month = 2, day = 3 */
	KS_PROTO_TIME_OF_DAY,		/* google.type.TimeOfDay: int32 hours = 1, minutes, seconds, nanos = 4 */
	KS_PROTO_VARIABLE_DECIMAL	/* Debezium's, in any message: int32 scale = 1; bytes value = 2 */
} KsProtoKnown;

typedef struct KsProtoMessage KsProtoMessage;

typedef struct KsProtoEnum
{
	const char *name;
	bool		closed;			/* proto2: a number that it does not have is an unknown field */
	bool		null_value;		/* google.protobuf.NullValue */
	int			n;				/* in the order of the text; a number may have several names */
	const char **names;
	int32	   *numbers;
	int		   *by_number;		/* indexes into both, ascending by number, then as in the text */
} KsProtoEnum;

typedef struct KsProtoField
{
	KsField		name;			/* as the text has it */
	const char *json_name;		/* lowerCamelCase, or the option json_name */
	int32		number;
	KsProtoType type;
	bool		repeated;		/* maps are repeated messages, as on the wire */
	bool		required;		/* proto2 */
	bool		presence;		/* absent and default differ: proto2's, optional, oneof, messages */
	bool		map;			/* its message is an entry: key (1), value (2) */
	int			oneof;			/* index into the message's, -1: none; not of proto3's optional */
	KsProtoMessage *message;	/* of messages and groups */
	KsProtoEnum *enumeration;
	bool		has_default;	/* proto2's [default = ...] */
	union
	{
		uint64		bits;		/* of integers (sign-extended), bool, enum's number */
		double		real;		/* of double and float */
	}			default_value;
	const char *default_bytes;	/* of string and bytes */
	int			default_len;	/* strings are valid in the server's encoding, but for zero bytes */
	/* what Kafka Connect's converter says beside the language */
	const char *connect_type;	/* "int8" or "int16", or NULL */
	int			precision;		/* of confluent.type.Decimal; 0: not told */
	int			scale;			/* of that; -1: one that numeric cannot say */
} KsProtoField;

struct KsProtoMessage
{
	const char *name;
	KsProtoKnown known;
	bool		map_entry;		/* repeated fields of it are maps */
	int			nfields;		/* in the order of the text, extensions left out */
	KsProtoField *fields;
	int		   *by_number;		/* indexes into fields, ascending by number */
	KsNames		index;			/* to find fields by their name */
	int			noneofs;
	const char **oneofs;
	int			nmessages;		/* nested, in the order of the text: what indexes count. */
	KsProtoMessage **messages;	/* Map entries are none of them; groups are. */
	const char *comment;		/* of the option message_meta, or that stands before it, or NULL */
	const char **comments;		/* of fields; NULL where there is none */
};

typedef struct KsProtoFile
{
	const char *package;		/* "" if there is none */
	bool		proto3;
	int			nmessages;		/* at the top, in the order of the text */
	KsProtoMessage **messages;
	int			nall;			/* of all files, to find them by name; no map entries */
	KsProtoMessage **all;
	KsNames		names;
} KsProtoFile;

/* A text and the name by which others import it (of the one that is read it is not looked at). */
typedef struct KsProtoText
{
	const char *name;
	const char *text;
} KsProtoText;

/*
 * The last of several texts; the others are what it imports, directly or not, in any
 * order.  Errors (22023, 54000, 54001) with the line in the detail; in the current
 * context.
 */
extern KsProtoFile *ks_proto_parse(const KsProtoText *texts, int n);

/* The message at a path of indexes; NULL: there is none. */
extern KsProtoMessage *ks_proto_message_at(const KsProtoFile *file, const int *path, int n);

/* By its full name, in that file and all that it imports, and among the well-known; NULL: none. */
extern KsProtoMessage *ks_proto_find_message(const KsProtoFile *file, const char *name, int len);

/* The field of this number; NULL: it is unknown. */
extern const KsProtoField *ks_proto_find_number(const KsProtoMessage *message, uint32 number);

/* "int32", ...; not of messages, groups and enums. */
extern const char *ks_proto_scalar_name(KsProtoType type);

/* "int32", "message shop.Order", "repeated string", "map<string, int32>", ...; for messages to people. */
extern const char *ks_proto_type_name(const KsProtoField *field);

#endif
