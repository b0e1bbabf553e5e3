/*
 * jschema_int.h
 *	  The graph of a JSON schema, for the files that make and use it.
 */
#ifndef KS_JSCHEMA_INT_H
#define KS_JSCHEMA_INT_H

#include "postgres.h"

#include "base/compat.h"
#include "format/jschema.h"
#include "format/jschema_regex.h"
#include "format/jschema_tree.h"

typedef enum KsDraft
{
	KS_DRAFT4,
	KS_DRAFT6,
	KS_DRAFT7,
	KS_DRAFT2019,
	KS_DRAFT2020
} KsDraft;

/* A name that a place in a resource has. */
typedef struct KsAnchor
{
	const char *name;
	bool		dynamic;
	const KsTree *tree;
	struct KsNode *node;		/* of dynamic ones, once all is compiled */
	struct KsAnchor *next;
} KsAnchor;

/* What has a URI of its own: a text, or a part of one that has an $id. */
typedef struct KsResource
{
	const char *uri;			/* without a fragment */
	const KsTree *root;
	KsDraft		draft;
	bool		asserts;		/* its metaschema has the vocabulary of validation */
	bool		recursive;		/* $recursiveAnchor */
	bool		used;			/* some node is of it */
	KsAnchor   *anchors;
	struct KsNode *node;		/* of the root, where it is recursive */
	struct KsResource *next;
} KsResource;

typedef struct KsPatternNode
{
	KsRegex    *pattern;
	struct KsNode *node;
} KsPatternNode;

typedef struct KsDependency
{
	KsText		name;
	const char *keyword;
	struct KsNode *node;		/* or */
	int			n;
	KsText	   *names;
} KsDependency;

typedef struct KsNodes
{
	int			n;
	struct KsNode **nodes;
} KsNodes;

typedef enum KsVerdict
{
	KS_ASKS,
	KS_ALLOWS_ALL,
	KS_ALLOWS_NOTHING
} KsVerdict;

/* A schema; limits that it does not have are -1. */
typedef struct KsNode
{
	KsResource *resource;
	const char *place;			/* for messages: a URI with a JSON pointer, or its beginning */
	KsVerdict	verdict;

	/* any value */
	int			types;			/* bits of KsJsonType; 0: all */
	bool		integers;		/* of numbers, integers only */
	const KsTree *constant;
	int			nchoices;		/* -1: any; in order */
	const KsTree **choices;
	struct KsNode *ref;
	struct KsNode *dynamic;		/* where it leads, if nothing outside says otherwise */
	const char *dynamic_name;	/* of its anchor; NULL: $recursiveRef; "": nothing does */
	KsNodes		all;
	KsNodes		any;
	KsNodes		one;
	struct KsNode *not;
	struct KsNode *condition;
	struct KsNode *then;
	struct KsNode *otherwise;

	/* numbers */
	KsDecimal  *least;
	KsDecimal  *above;
	KsDecimal  *most;
	KsDecimal  *below;
	KsDivisor  *multiple_of;

	/* strings */
	int64		min_length;
	int64		max_length;
	KsRegex    *pattern;

	/* arrays */
	int64		min_items;
	int64		max_items;
	bool		unique;
	KsNodes		prefix;
	const char *items_keyword;
	struct KsNode *items;		/* those behind */
	struct KsNode *contains;
	int64		min_contains;
	int64		max_contains;
	struct KsNode *unevaluated_items;

	/* objects */
	int64		min_properties;
	int64		max_properties;
	int			nrequired;
	KsText	   *required;
	int			nproperties;
	const KsText *property_names;
	struct KsNode **properties;
	int			npatterns;
	KsPatternNode *patterns;
	struct KsNode *additional;
	struct KsNode *names;
	int			ndependencies;
	KsDependency *dependencies;
	struct KsNode *unevaluated_properties;
} KsNode;

struct KsJsonSchema
{
	KsNode	   *root;
	const char *name;
};

/* --- jschema_load.c: texts, their resources and anchors --- */

typedef struct KsDocuments KsDocuments;

/* All texts; the root's resource in *root. */
extern KsDocuments *ks_documents_load(const KsSchemaText *text, KsResource **root);

/*
 * What a reference means in a resource: a tree, the resource it is of, and its place
 * for messages.  *anchor is the anchor it names, or NULL.
 */
typedef struct KsFound
{
	const KsTree *tree;
	KsResource *resource;
	const char *place;
	KsAnchor   *anchor;
} KsFound;

extern void ks_documents_find(KsDocuments *docs, const KsResource *from, const char *ref, KsFound *found);
extern KsResource *ks_documents_first(const KsDocuments *docs);

/* The resource of a part of one: it may have an $id. */
extern KsResource *ks_documents_resource(KsDocuments *docs, KsResource *of, const KsTree *tree);

/* 22023; in words of the schema's place. */
KS_NORETURN extern void ks_jschema_bad(const char *place, const char *what);

/* Bytes of a text of a schema or a record that messages tell. */
#define KS_JSCHEMA_SHOWN	200

/* The beginning of such a text, in UTF-8; in the server's encoding. */
extern const char *ks_jschema_shown(const char *s, int len);

extern char *ks_jschema_string(const KsTree *string);

/* --- jschema_nodes.c --- */

/* A schema of the text, and its node. */
typedef struct KsMade
{
	const KsTree *tree;
	KsNode	   *node;
} KsMade;

typedef struct KsCompiler
{
	KsDocuments *docs;
	KsMade	   *made;			/* in the order they were met; */
	int			n;
	int			room;
	int		   *slots;			/* and by the tree's address: index + 1 */
	int			nslots;			/* a power of two */
	int64		regex_left;		/* see ks_regex_compile() */
} KsCompiler;

/* The node of a schema, which is to be filled if it was not met before. */
extern KsNode *ks_jschema_node(KsCompiler *c, const KsTree *tree, KsResource *res, const char *place);

/* --- jschema_keywords.c --- */

/* A node that was made, by the schema's keywords; errors as ks_jschema_compile()'s. */
extern void ks_jschema_fill(KsCompiler *c, const KsTree *tree, KsNode *node);

/* --- jschema_value.c --- */

/* The keyword that a value is not by, of those that ask for nothing in it; NULL: there is none. */
extern const char *ks_jschema_fails(const KsNode *node, const KsTree *v);

/* --- jschema_meta.c --- */

/* The text of a metaschema, NULL: it is none. */
extern const char *ks_metaschema(const char *uri);

#endif
