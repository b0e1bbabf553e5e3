/*
 * jschema_load.c
 *	  The texts of a JSON schema: their resources, anchors, and where references lead.
 *
 * A resource is what has a URI: a text as a whole, by the name that it is referred to
 * by, and each part of one that has an $id.  Parts are those that are schemas by the
 * keywords of their draft, so that an "$id" among the values of an enum is none.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "base/compat.h"
#include "format/jschema_int.h"
#include "format/jschema_uri.h"

#define MAX_URI		2000		/* bytes: one is said once, and those of all in it begin with it */
#define MAX_NAMES	10000		/* resources and anchors, which are looked for one by one */

/* A schema that others refer to by this name. */
typedef struct Named
{
	const char *name;
	KsResource *resource;
	struct Named *next;
} Named;

struct KsDocuments
{
	KsResource *resources;
	Named	   *named;
	KsDraft		draft;			/* of texts that do not say */
	int			nnames;			/* resources and anchors */
	const char *const *texts;	/* those of references, for their metaschemas, too */
	const KsTree **trees;		/* of these, NULL: not parsed yet */
	int			ntexts;
};

KS_NORETURN static void no_schema(const char *ref);

void
ks_jschema_bad(const char *place, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid JSON schema"),
			 errdetail("At %s: %s.", ks_jschema_shown(place, strlen(place)), what)));
}

const char *
ks_jschema_shown(const char *s, int len)
{
	if (len > KS_JSCHEMA_SHOWN)
		len = pg_encoding_mbcliplen(PG_UTF8, s, len, KS_JSCHEMA_SHOWN);
	s = pnstrdup(s, len);
	return pg_any_to_server(s, strlen(s), PG_UTF8);
}

static void
no_schema(const char *ref)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the JSON schema refers to \"%s\", which is not there", ks_jschema_shown(ref, strlen(ref))),
			 errhint("Nothing is fetched from elsewhere: what a schema of a registry refers to must be among its references.")));
}

/* A URI or a name: no character of code 0 is in it. */
char *
ks_jschema_string(const KsTree *string)
{
	if (string->type != KS_JSON_STRING || memchr(string->u.s, '\0', string->n))
		ks_jschema_bad("#", "a reference or an identifier is not a string");
	return pnstrdup(string->u.s, string->n);
}

/* --- drafts --- */

static const struct
{
	const char *uri;
	KsDraft		draft;
}			drafts[] = {
	{"json-schema.org/draft-04/schema", KS_DRAFT4},
	{"json-schema.org/draft-06/schema", KS_DRAFT6},
	{"json-schema.org/draft-07/schema", KS_DRAFT7},
	{"json-schema.org/draft/2019-09/schema", KS_DRAFT2019},
	{"json-schema.org/draft/2020-12/schema", KS_DRAFT2020}
};

static const KsTree *find_metaschema(KsDocuments *docs, const char *uri);

/* By a $schema; a metaschema of somebody's own is by one of these itself. */
static void
set_draft(KsDocuments *docs, const char *schema, KsResource *res, int depth)
{
	const char *uri = strncmp(schema, "http://", 7) == 0 ? schema + 7 : strncmp(schema, "https://", 8) == 0 ? schema + 8 : schema;
	int			len = strcspn(uri, "#");
	const KsTree *meta;
	const KsTree *v;

	for (int i = 0; i < (int) lengthof(drafts); i++)
		if ((int) strlen(drafts[i].uri) == len && memcmp(drafts[i].uri, uri, len) == 0)
		{
			res->draft = drafts[i].draft;
			return;
		}
	meta = depth < 5 ? find_metaschema(docs, schema) : NULL;
	if (meta == NULL || (v = ks_tree_member(meta, "$schema")) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the $schema of a JSON schema is not known"),
				 errdetail("It is \"%s\".", ks_jschema_shown(schema, strlen(schema))),
				 errhint("Drafts 4, 6, 7, 2019-09 and 2020-12 are known, such as \"http://json-schema.org/draft-07/schema#\".")));
	set_draft(docs, ks_jschema_string(v), res, depth + 1);
	v = ks_tree_member(meta, "$vocabulary");
	if (v && v->type == KS_JSON_OBJECT)
		res->asserts = ks_tree_member(v, "https://json-schema.org/draft/2019-09/vocab/validation") != NULL ||
			ks_tree_member(v, "https://json-schema.org/draft/2020-12/vocab/validation") != NULL;
}

/* --- resources --- */

static KsTree *
parse_text(const char *text)
{
	char	   *utf8 = pg_server_to_any(text, strlen(text), PG_UTF8);

	return ks_tree_parse(utf8, strlen(utf8), KS_JSON_MAX_DEPTH);
}

static const KsTree *
tree_of_reference(KsDocuments *docs, int i)
{
	if (docs->trees[i] == NULL)
		docs->trees[i] = parse_text(docs->texts[i]);
	return docs->trees[i];
}

static const KsTree *
find_metaschema(KsDocuments *docs, const char *uri)
{
	for (int i = 0; i < docs->ntexts; i++)
	{
		const KsTree *t = tree_of_reference(docs, i);
		const KsTree *id = ks_tree_member(t, "$id");

		if (id && id->type == KS_JSON_STRING && (int) strlen(uri) == id->n && memcmp(uri, id->u.s, id->n) == 0)
			return t;
	}
	return NULL;
}

static KsResource *
find_resource(KsDocuments *docs, const char *uri)
{
	for (KsResource *r = docs->resources; r; r = r->next)
		if (strcmp(r->uri, uri) == 0)
			return r;
	return NULL;
}

/* The one that a tree is; of a text as a whole by its $id. */
static KsResource *
resource_of(const KsDocuments *docs, const KsTree *tree)
{
	for (KsResource *r = docs->resources; r; r = r->next)
		if (r->root == tree)
			return r;
	return NULL;
}

static void
count_name(KsDocuments *docs)
{
	if (++docs->nnames > MAX_NAMES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the JSON schema is too large"),
				 errdetail("The limit is %d identifiers and anchors.", MAX_NAMES)));
}

static KsResource *
add_resource(KsDocuments *docs, const char *uri, const KsTree *root, const KsResource *within)
{
	KsResource *r = palloc0(sizeof(KsResource));
	const KsTree *schema = ks_tree_member(root, "$schema");

	if (strlen(uri) > MAX_URI)
		ks_jschema_bad(uri, psprintf("an identifier has more than %d bytes", MAX_URI));
	count_name(docs);
	r->uri = uri;
	r->root = root;
	r->draft = within ? within->draft : docs->draft;
	r->asserts = within ? within->asserts : true;
	if (schema && schema->type == KS_JSON_STRING)
		set_draft(docs, ks_jschema_string(schema), r, 0);
	r->next = docs->resources;
	docs->resources = r;
	return r;
}

static void
add_anchor(KsDocuments *docs, KsResource *res, const char *name, const KsTree *tree, bool dynamic)
{
	KsAnchor   *a = palloc0(sizeof(KsAnchor));

	count_name(docs);
	a->name = name;
	a->tree = tree;
	a->dynamic = dynamic;
	a->next = res->anchors;
	res->anchors = a;
}

/* Where schemas stand in schemas. */
typedef enum Holds
{
	HOLDS_SCHEMA,				/* or an array of them */
	HOLDS_MEMBERS				/* an object of them */
} Holds;

static const struct
{
	const char *name;
	Holds		holds;
	KsDraft		first;
	KsDraft		last;
}			keywords[] = {
	{"$defs", HOLDS_MEMBERS, KS_DRAFT2019, KS_DRAFT2020},
	{"additionalItems", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2019},
	{"additionalProperties", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2020},
	{"allOf", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2020},
	{"anyOf", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2020},
	{"contains", HOLDS_SCHEMA, KS_DRAFT6, KS_DRAFT2020},
	{"contentSchema", HOLDS_SCHEMA, KS_DRAFT2019, KS_DRAFT2020},
	{"definitions", HOLDS_MEMBERS, KS_DRAFT4, KS_DRAFT2020},
	{"dependencies", HOLDS_MEMBERS, KS_DRAFT4, KS_DRAFT2020},
	{"dependentSchemas", HOLDS_MEMBERS, KS_DRAFT2019, KS_DRAFT2020},
	{"else", HOLDS_SCHEMA, KS_DRAFT7, KS_DRAFT2020},
	{"if", HOLDS_SCHEMA, KS_DRAFT7, KS_DRAFT2020},
	{"items", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2020},
	{"not", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2020},
	{"oneOf", HOLDS_SCHEMA, KS_DRAFT4, KS_DRAFT2020},
	{"patternProperties", HOLDS_MEMBERS, KS_DRAFT4, KS_DRAFT2020},
	{"prefixItems", HOLDS_SCHEMA, KS_DRAFT2020, KS_DRAFT2020},
	{"properties", HOLDS_MEMBERS, KS_DRAFT4, KS_DRAFT2020},
	{"propertyNames", HOLDS_SCHEMA, KS_DRAFT6, KS_DRAFT2020},
	{"then", HOLDS_SCHEMA, KS_DRAFT7, KS_DRAFT2020},
	{"unevaluatedItems", HOLDS_SCHEMA, KS_DRAFT2019, KS_DRAFT2020},
	{"unevaluatedProperties", HOLDS_SCHEMA, KS_DRAFT2019, KS_DRAFT2020}
};

static const KsTree *
string_member(const KsTree *tree, const char *name)
{
	const KsTree *v = ks_tree_member(tree, name);

	return v && v->type == KS_JSON_STRING ? v : NULL;
}

/* The $id that counts, NULL: none does. */
static const KsTree *
id_of(const KsTree *tree, KsDraft draft)
{
	if (draft <= KS_DRAFT7 && string_member(tree, "$ref"))
		return NULL;
	return string_member(tree, draft == KS_DRAFT4 ? "id" : "$id");
}

static void register_parts(KsDocuments *docs, const KsTree *tree, KsResource *res);

/* The names that a schema gives itself; the resource that it is in, or is. */
static KsResource *
register_names(KsDocuments *docs, const KsTree *tree, KsResource *res)
{
	const KsTree *id = id_of(tree, res->draft);
	const KsTree *v;

	if (id)
	{
		char	   *uri = ks_jschema_string(id);
		char	   *fragment;

		if (uri[0] != '#')
		{
			uri = ks_uri_resolve(res->uri, uri);
			fragment = ks_uri_take_fragment(uri);
			if (strcmp(uri, res->uri) != 0 || tree != res->root)
				res = add_resource(docs, uri, tree, res);
		}
		else
			fragment = ks_uri_take_fragment(uri);
		if (*fragment)
			add_anchor(docs, res, fragment, tree, false);
	}
	if (res->draft >= KS_DRAFT2019 && (v = string_member(tree, "$anchor")) != NULL)
		add_anchor(docs, res, ks_jschema_string(v), tree, false);
	if (res->draft == KS_DRAFT2020 && (v = string_member(tree, "$dynamicAnchor")) != NULL)
		add_anchor(docs, res, ks_jschema_string(v), tree, true);
	v = ks_tree_member(tree, "$recursiveAnchor");
	if (res->draft == KS_DRAFT2019 && v && v->type == KS_JSON_TRUE && tree == res->root)
		res->recursive = true;
	return res;
}

static void
register_parts(KsDocuments *docs, const KsTree *tree, KsResource *res)
{
	if (tree->type != KS_JSON_OBJECT)
		return;
	check_stack_depth();
	res = register_names(docs, tree, res);
	for (int i = 0; i < (int) lengthof(keywords); i++)
	{
		const KsTree *v = ks_tree_member(tree, keywords[i].name);

		if (v == NULL || res->draft < keywords[i].first || res->draft > keywords[i].last)
			continue;
		if (v->type == KS_JSON_ARRAY || (v->type == KS_JSON_OBJECT && keywords[i].holds == HOLDS_MEMBERS))
			for (int k = 0; k < v->n; k++)
				register_parts(docs, &v->u.items[k], res);
		else if (keywords[i].holds == HOLDS_SCHEMA)
			register_parts(docs, v, res);
	}
}

/* A text that is found at a URI. */
static KsResource *
add_document(KsDocuments *docs, const char *uri, const KsTree *tree)
{
	KsResource *res = add_resource(docs, uri, tree, NULL);

	register_parts(docs, tree, res);
	return res;
}

/* With all that it refers to. */
static void
check_size(const KsSchemaText *text)
{
	Size		bytes = strlen(text->text);

	for (int i = 0; i < text->nrefs; i++)
		bytes += strlen(text->refs[i]);
	if (bytes > KS_JSCHEMA_MAX_TEXT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the JSON schema is too large"),
				 errdetail("It has %zu bytes, the limit is %d.", bytes, KS_JSCHEMA_MAX_TEXT)));
}

KsDocuments *
ks_documents_load(const KsSchemaText *text, KsResource **root)
{
	KsDocuments *docs = palloc0(sizeof(KsDocuments));
	const KsTree *tree;
	const KsTree *id;
	const char *base = "";

	check_size(text);
	tree = parse_text(text->text);
	docs->draft = KS_DRAFT7;
	docs->texts = text->refs;
	docs->trees = palloc0((text->nrefs + 1) * sizeof(KsTree *));
	docs->ntexts = text->nrefs;
	*root = add_document(docs, "", tree);
	docs->draft = (*root)->draft;
	id = id_of(tree, docs->draft);
	if (id && id->n > 0 && id->u.s[0] != '#')
	{
		char	   *uri = ks_uri_resolve("", ks_jschema_string(id));

		(void) ks_uri_take_fragment(uri);
		base = uri;
		*root = resource_of(docs, tree);
	}
	for (int i = 0; i < text->nrefs; i++)
	{
		Named	   *named;
		char	   *name;
		char	   *uri;

		if (!ks_schema_ref_counts(text, i))
			continue;
		named = palloc(sizeof(Named));
		name = pg_server_to_any(text->ref_names[i], strlen(text->ref_names[i]), PG_UTF8);
		uri = ks_uri_resolve(base, name);
		(void) ks_uri_take_fragment(uri);
		named->name = name;
		named->resource = add_document(docs, uri, tree_of_reference(docs, i));
		named->next = docs->named;
		docs->named = named;
	}
	return docs;
}

KsResource *
ks_documents_first(const KsDocuments *docs)
{
	return docs->resources;
}

/* --- references --- */

/* By its URI, by the name it has in the registry, or because everybody knows it. */
static KsResource *
get_resource(KsDocuments *docs, const char *uri, const char *ref)
{
	KsResource *res = find_resource(docs, uri);
	const char *meta;
	int			len = strcspn(ref, "#");

	if (res)
		return res;
	for (Named *n = docs->named; n; n = n->next)
		if (len > 0 && (int) strlen(n->name) == len && memcmp(n->name, ref, len) == 0)
			return n->resource;
	meta = ks_metaschema(uri);
	if (meta == NULL)
		no_schema(uri);
	return add_document(docs, pstrdup(uri), ks_tree_parse(meta, strlen(meta), KS_JSON_MAX_DEPTH));
}

KsResource *
ks_documents_resource(KsDocuments *docs, KsResource *of, const KsTree *tree)
{
	KsResource *res;

	if (tree == of->root || tree->type != KS_JSON_OBJECT || (!string_member(tree, "$id") && !string_member(tree, "id")))
		return of;
	res = resource_of(docs, tree);
	return res ? res : of;
}

static const KsTree *
step_into(const KsTree *tree, const StringInfoData *step)
{
	char	   *end;
	long		n;
	int			i;

	if (tree->type == KS_JSON_OBJECT)
	{
		i = ks_text_find(tree->names, tree->n, step->data, step->len);
		return i < 0 ? NULL : &tree->u.items[i];
	}
	if (tree->type != KS_JSON_ARRAY || !isdigit((unsigned char) step->data[0]))
		return NULL;
	errno = 0;
	n = strtol(step->data, &end, 10);
	return errno == 0 && *end == '\0' && n < tree->n ? &tree->u.items[n] : NULL;
}

/* Through parts that have an $id, too. */
static void
follow_pointer(KsDocuments *docs, const char *pointer, KsFound *found)
{
	const char *p = pointer;
	StringInfoData step;

	initStringInfo(&step);
	while (found->tree && *p == '/')
	{
		p = ks_pointer_step(p, &step);
		found->tree = step_into(found->tree, &step);
		if (found->tree && found->tree->type == KS_JSON_OBJECT)
			found->resource = ks_documents_resource(docs, found->resource, found->tree);
	}
}

void
ks_documents_find(KsDocuments *docs, const KsResource *from, const char *ref, KsFound *found)
{
	char	   *uri = ks_uri_resolve(from->uri, ref);
	char	   *fragment = ks_uri_take_fragment(uri);
	int			shown = pg_encoding_mbcliplen(PG_UTF8, fragment, strlen(fragment), KS_JSCHEMA_SHOWN);

	found->resource = ref[0] == '#' ? unconstify(KsResource *, from) : get_resource(docs, uri, ref);
	found->tree = found->resource->root;
	found->anchor = NULL;
	found->place = psprintf("%s#%.*s", found->resource->uri, shown, fragment);
	if (*fragment == '/')
		follow_pointer(docs, fragment, found);
	else if (*fragment)
	{
		found->tree = NULL;
		for (KsAnchor *a = found->resource->anchors; a && found->tree == NULL; a = a->next)
			if (strcmp(a->name, fragment) == 0)
			{
				found->anchor = a;
				found->tree = a->tree;
			}
	}
	if (found->tree == NULL)
		no_schema(ref);
	pfree(fragment);
	pfree(uri);
}
