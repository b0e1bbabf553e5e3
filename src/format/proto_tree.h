/*
 * proto_tree.h
 *	  What a .proto text says, before its names are looked for.
 *
 * Borrows the text.  All lists are in the order of the text.
 */
#ifndef KS_PROTO_TREE_H
#define KS_PROTO_TREE_H

#include "format/proto_schema.h"
#include "format/proto_tokens.h"

/* Puts an item at the end of a list; 'last' points to where it goes. */
#define KS_PROTO_APPEND(list, item) \
	(*((list)->last ? (list)->last : &(list)->first) = (item), (list)->last = &(item)->next, (list)->n++)

#define KS_PROTO_LIST(type) \
	struct { type *first; type **last; int n; }

/* Of editions; 0: as what is around it.  proto2 and proto3 are editions with values of their own. */
typedef enum KsProtoPresence
{
	KS_PROTO_EXPLICIT = 1,
	KS_PROTO_IMPLICIT,
	KS_PROTO_LEGACY_REQUIRED
} KsProtoPresence;

typedef enum KsProtoEnumType
{
	KS_PROTO_OPEN = 1,
	KS_PROTO_CLOSED
} KsProtoEnumType;

typedef enum KsProtoEncoding
{
	KS_PROTO_LENGTH_PREFIXED = 1,
	KS_PROTO_DELIMITED
} KsProtoEncoding;

typedef struct KsProtoFeatures
{
	int			presence;
	int			enum_type;
	int			encoding;
} KsProtoFeatures;

/* Of an option. */
typedef struct KsProtoLiteral
{
	KsProtoTokenType type;		/* KS_PROTO_TOKEN_SIGN: { ... } */
	bool		minus;
	KsProtoWord word;
	const char *bytes;			/* of strings */
	int			len;
} KsProtoLiteral;

/* Of the options that proto_meta.c reads. */
typedef struct KsProtoMeta
{
	const char *doc;			/* NULL: none */
	const char *connect_type;	/* "int8" or "int16", or NULL */
	int			precision;		/* of a decimal; 0: not told */
	int			scale;			/* -1: one that cannot be told here */
} KsProtoMeta;

typedef enum KsProtoLabel
{
	KS_PROTO_NO_LABEL,
	KS_PROTO_OPTIONAL,
	KS_PROTO_REQUIRED,
	KS_PROTO_REPEATED
} KsProtoLabel;

typedef struct KsProtoFieldDecl
{
	struct KsProtoFieldDecl *next;
	KsProtoLabel label;
	bool		map;
	KsProtoWord type;			/* ... of which this is the entry, or that stands there */
	KsProtoWord name;			/* as the field is called: a group's in small letters */
	int32		number;
	int			oneof;			/* -1: none */
	struct KsProtoMessageDecl *message;	/* of groups and maps */
	KsProtoFeatures features;
	bool		has_default;
	KsProtoLiteral default_value;
	const char *json_name;		/* NULL: not given */
	KsProtoComment comment;
	KsProtoMeta meta;
} KsProtoFieldDecl;

/* Numbers that fields or values must not have; both ends belong to it. */
typedef struct KsProtoRange
{
	struct KsProtoRange *next;
	bool		extensions;
	int32		from;
	int32		to;
	int			line;
} KsProtoRange;

/* A name of something. */
typedef struct KsProtoNameDecl
{
	struct KsProtoNameDecl *next;
	KsProtoWord name;
} KsProtoNameDecl;

typedef		KS_PROTO_LIST(KsProtoNameDecl) KsProtoNameList;
typedef		KS_PROTO_LIST(KsProtoRange) KsProtoRangeList;

typedef struct KsProtoReserved
{
	KsProtoRangeList ranges;
	KsProtoNameList names;
} KsProtoReserved;

typedef struct KsProtoValueDecl
{
	struct KsProtoValueDecl *next;
	KsProtoWord name;
	int32		number;
} KsProtoValueDecl;

typedef struct KsProtoEnumDecl
{
	struct KsProtoEnumDecl *next;
	KsProtoWord name;
	KsProtoFeatures features;
	bool		allow_alias;
	KsProtoReserved reserved;
	KS_PROTO_LIST(KsProtoValueDecl) values;
} KsProtoEnumDecl;

struct KsProtoSymbol;

/* A message; or a file, whose fields are none, and which has no name. */
typedef struct KsProtoMessageDecl
{
	struct KsProtoMessageDecl *next;
	KsProtoWord name;
	KsProtoComment comment;
	KsProtoMeta meta;
	KsProtoFeatures features;
	bool		map_entry;		/* of a map of the text: no message of it */
	bool		says_entry;		/* the option map_entry: one of it, and a map's all the same */
	KS_PROTO_LIST(KsProtoFieldDecl) fields;
	KS_PROTO_LIST(struct KsProtoMessageDecl) messages;
	KS_PROTO_LIST(KsProtoEnumDecl) enums;
	KsProtoNameList oneofs;
	KsProtoNameList services;
	KsProtoNameList extensions;	/* that are defined there, whatever they extend */
	KsProtoReserved reserved;

	/* when its names are known */
	KsProtoMessage *node;
	struct KsProtoSymbol *symbol;
} KsProtoMessageDecl;

typedef struct KsProtoImport
{
	struct KsProtoImport *next;
	bool		public;
	const char *name;
	int			line;
	struct KsProtoFileDecl *file;	/* when it has been found */
} KsProtoImport;

typedef enum KsProtoSyntax
{
	KS_PROTO_2,
	KS_PROTO_3,
	KS_PROTO_EDITION
} KsProtoSyntax;

typedef struct KsProtoFileDecl
{
	const char *name;			/* NULL: the one that is read */
	const char *text;
	KsProtoSyntax syntax;
	KsProtoNameList package;	/* its parts */
	KS_PROTO_LIST(KsProtoImport) imports;
	KsProtoMessageDecl body;
	struct KsProtoSymbol *symbol;	/* of the package */
	int			seen_by;		/* number of the file whose names are looked for, that sees it */
} KsProtoFileDecl;

/* Reads a text; in the current context. */
extern KsProtoFileDecl *ks_proto_read_text(const char *name, const char *text);

#endif
