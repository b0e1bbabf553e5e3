/*
 * jschema_keywords.c
 *	  The keywords of a JSON schema as its node.
 *
 * Which of them count, and what they mean, is a matter of the draft.  What a keyword
 * holds is checked where it is taken; schemas in it become nodes that are filled later.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "base/merge.h"
#include "format/jschema_int.h"
#include "format/jschema_uri.h"

/* The schema at hand. */
typedef struct Source
{
	KsCompiler *c;
	KsNode	   *node;
	const KsTree *tree;
	KsDraft		draft;
} Source;

/* --- what keywords hold --- */

KS_NORETURN static void bad(const Source *s, const char *keyword, const char *what);

static void
bad(const Source *s, const char *keyword, const char *what)
{
	ks_jschema_bad(s->node->place, psprintf("\"%s\" %s", keyword, what));
}

static const KsTree *
get(const Source *s, const char *keyword, KsDraft first, KsDraft last)
{
	return s->draft < first || s->draft > last ? NULL : ks_tree_member(s->tree, keyword);
}

/*
 * A part: of an array if name is NULL.  No more than messages tell: what is said once in
 * a long name must not be said in all that is below it.
 */
static const char *
place_of(const Source *s, const char *keyword, const KsText *name, int i)
{
	StringInfoData buf;

	if (strlen(s->node->place) >= KS_JSCHEMA_SHOWN)
		return s->node->place;
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s/%s", s->node->place, keyword);
	if (name)
		ks_pointer_append(&buf, name->s, pg_encoding_mbcliplen(PG_UTF8, name->s, name->len, KS_JSCHEMA_SHOWN));
	else if (i >= 0)
		appendStringInfo(&buf, "/%d", i);
	return buf.data;
}

static KsNode *
part(const Source *s, const char *keyword, const KsTree *tree, const KsText *name, int i)
{
	bool		boolean = tree->type == KS_JSON_TRUE || tree->type == KS_JSON_FALSE;

	if (tree->type != KS_JSON_OBJECT && !boolean)
		bad(s, keyword, "is no schema, or holds something that is none");
	return ks_jschema_node(s->c, tree, s->node->resource, place_of(s, keyword, name, i));
}

/* A keyword whose value is a schema. */
static KsNode *
take_schema(const Source *s, const char *keyword, KsDraft first, KsDraft last)
{
	const KsTree *v = get(s, keyword, first, last);

	return v ? part(s, keyword, v, NULL, -1) : NULL;
}

static void
fill_nodes(const Source *s, const char *keyword, const KsTree *v, KsNodes *result)
{
	if (v->type != KS_JSON_ARRAY)
		bad(s, keyword, "is not an array");
	result->nodes = palloc((v->n + 1) * sizeof(KsNode *));
	for (int i = 0; i < v->n; i++)
		result->nodes[result->n++] = part(s, keyword, &v->u.items[i], NULL, i);
}

static void
take_schemas(const Source *s, const char *keyword, KsNodes *result)
{
	const KsTree *v = get(s, keyword, KS_DRAFT4, KS_DRAFT2020);

	if (v)
		fill_nodes(s, keyword, v, result);
}

static KsDecimal *
take_number(const Source *s, const char *keyword)
{
	const KsTree *v = get(s, keyword, KS_DRAFT4, KS_DRAFT2020);
	KsDecimal  *result;

	if (v == NULL)
		return NULL;
	if (v->type != KS_JSON_NUMBER)
		bad(s, keyword, "is not a number");
	result = palloc(sizeof(KsDecimal));
	*result = ks_decimal_parse(v->u.s, v->n);
	return result;
}

/* A number of things; -1: there is none. */
static int64
take_count(const Source *s, const char *keyword, KsDraft first)
{
	const KsTree *v = get(s, keyword, first, KS_DRAFT2020);
	KsDecimal	d;
	int64		result = 0;
	const char *p;

	if (v == NULL)
		return -1;
	d = v->type == KS_JSON_NUMBER ? ks_decimal_parse(v->u.s, v->n) : (KsDecimal) {.sign = -1};
	if (d.sign < 0 || (d.sign > 0 && d.low < 0))
		bad(s, keyword, "is not an integer from 0");
	if (d.sign == 0)
		return 0;
	if (d.top > 15)
		return PG_INT64_MAX;
	p = d.p;
	for (int64 i = d.top; i >= 0; i--)
	{
		if (p < d.end && *p == '.')
			p++;
		result = result * 10 + (p < d.end ? *p++ - '0' : 0);
	}
	return result;
}

static KsText *
take_names(const Source *s, const char *keyword, const KsTree *v, int *n)
{
	KsText	   *result;

	if (v->type != KS_JSON_ARRAY)
		bad(s, keyword, "is not an array of strings");
	result = palloc((v->n + 1) * sizeof(KsText));
	*n = v->n;
	for (int i = 0; i < v->n; i++)
	{
		if (v->u.items[i].type != KS_JSON_STRING)
			bad(s, keyword, "is not an array of strings");
		result[i] = ks_tree_text(&v->u.items[i]);
	}
	return result;
}

static bool
is_true(const Source *s, const char *keyword)
{
	const KsTree *v = get(s, keyword, KS_DRAFT4, KS_DRAFT2020);

	if (v && v->type != KS_JSON_TRUE && v->type != KS_JSON_FALSE)
		bad(s, keyword, "is neither true nor false");
	return v && v->type == KS_JSON_TRUE;
}

/* --- kinds of keywords --- */

static void
add_type(const Source *s, const KsTree *v)
{
	static const struct
	{
		const char *name;
		int			types;
	}			types[] = {
		{"array", 1 << KS_JSON_ARRAY},
		{"boolean", 1 << KS_JSON_TRUE | 1 << KS_JSON_FALSE},
		{"integer", 0},
		{"null", 1 << KS_JSON_NULL},
		{"number", 1 << KS_JSON_NUMBER},
		{"object", 1 << KS_JSON_OBJECT},
		{"string", 1 << KS_JSON_STRING}
	};

	for (int i = 0; v->type == KS_JSON_STRING && i < (int) lengthof(types); i++)
		if ((int) strlen(types[i].name) == v->n && memcmp(types[i].name, v->u.s, v->n) == 0)
		{
			s->node->types |= types[i].types;
			s->node->integers |= types[i].types == 0;
			return;
		}
	bad(s, "type", "is not a type's name, or an array of such");
}

static int
compare_trees(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return ks_tree_compare(*(const KsTree *const *) a, *(const KsTree *const *) b);
}

static void
take_values(const Source *s)
{
	KsNode	   *node = s->node;
	const KsTree *v = get(s, "type", KS_DRAFT4, KS_DRAFT2020);

	if (v && v->type == KS_JSON_ARRAY)
		for (int i = 0; i < v->n; i++)
			add_type(s, &v->u.items[i]);
	else if (v)
		add_type(s, v);
	node->constant = get(s, "const", KS_DRAFT6, KS_DRAFT2020);
	v = get(s, "enum", KS_DRAFT4, KS_DRAFT2020);
	if (v == NULL)
		return;
	if (v->type != KS_JSON_ARRAY)
		bad(s, "enum", "is not an array");
	node->choices = palloc((v->n + 1) * sizeof(KsTree *));
	node->nchoices = v->n;
	for (int i = 0; i < v->n; i++)
		node->choices[i] = &v->u.items[i];
	ks_merge_sort(node->choices, node->nchoices, sizeof(KsTree *), compare_trees);
}

static void
take_numbers(const Source *s)
{
	KsNode	   *node = s->node;
	KsDecimal  *by = take_number(s, "multipleOf");

	node->least = take_number(s, "minimum");
	node->most = take_number(s, "maximum");
	if (s->draft > KS_DRAFT4)
	{
		node->above = take_number(s, "exclusiveMinimum");
		node->below = take_number(s, "exclusiveMaximum");
	}
	else
	{
		if (is_true(s, "exclusiveMinimum"))
			node->above = node->least;
		if (is_true(s, "exclusiveMaximum"))
			node->below = node->most;
	}
	if (by == NULL)
		return;
	node->multiple_of = palloc(sizeof(KsDivisor));
	if (!ks_decimal_divisor(by, node->multiple_of))
		bad(s, "multipleOf", "is not greater than 0, or has more than 18 digits");
}

static void
take_strings(const Source *s)
{
	KsNode	   *node = s->node;
	const KsTree *v = get(s, "pattern", KS_DRAFT4, KS_DRAFT2020);

	node->min_length = take_count(s, "minLength", KS_DRAFT4);
	node->max_length = take_count(s, "maxLength", KS_DRAFT4);
	if (v == NULL)
		return;
	if (v->type != KS_JSON_STRING)
		bad(s, "pattern", "is not a string");
	node->pattern = ks_regex_compile(v->u.s, v->n, &s->c->regex_left);
}

static void
take_items(const Source *s)
{
	KsNode	   *node = s->node;
	const KsTree *v = get(s, "items", KS_DRAFT4, KS_DRAFT2020);

	node->items_keyword = "items";
	if (s->draft == KS_DRAFT2020)
		take_schemas(s, "prefixItems", &node->prefix);
	else if (v && v->type == KS_JSON_ARRAY)
	{
		fill_nodes(s, "items", v, &node->prefix);
		node->items_keyword = "additionalItems";
		node->items = take_schema(s, "additionalItems", KS_DRAFT4, KS_DRAFT2019);
		return;
	}
	if (v)
		node->items = part(s, "items", v, NULL, -1);
}

static void
take_arrays(const Source *s)
{
	KsNode	   *node = s->node;

	take_items(s);
	node->min_items = take_count(s, "minItems", KS_DRAFT4);
	node->max_items = take_count(s, "maxItems", KS_DRAFT4);
	node->unique = is_true(s, "uniqueItems");
	node->contains = take_schema(s, "contains", KS_DRAFT6, KS_DRAFT2020);
	node->min_contains = take_count(s, "minContains", KS_DRAFT2019);
	node->max_contains = take_count(s, "maxContains", KS_DRAFT2019);
	node->unevaluated_items = take_schema(s, "unevaluatedItems", KS_DRAFT2019, KS_DRAFT2020);
}

static const KsTree *
get_object(const Source *s, const char *keyword, KsDraft first, KsDraft last)
{
	const KsTree *v = get(s, keyword, first, last);

	if (v && v->type != KS_JSON_OBJECT)
		bad(s, keyword, "is not an object");
	return v;
}

static void
take_dependencies(const Source *s, const char *keyword, const KsTree *v)
{
	KsNode	   *node = s->node;

	if (v == NULL)
		return;
	node->dependencies = node->dependencies ?
		repalloc(node->dependencies, (node->ndependencies + v->n + 1) * sizeof(KsDependency)) :
		palloc((v->n + 1) * sizeof(KsDependency));
	for (int i = 0; i < v->n; i++)
	{
		KsDependency *d = &node->dependencies[node->ndependencies++];

		memset(d, 0, sizeof(KsDependency));
		d->name = v->names[i];
		d->keyword = keyword;
		if (v->u.items[i].type == KS_JSON_ARRAY)
			d->names = take_names(s, keyword, &v->u.items[i], &d->n);
		else
			d->node = part(s, keyword, &v->u.items[i], &v->names[i], -1);
	}
}

static void
take_properties(const Source *s)
{
	KsNode	   *node = s->node;
	const KsTree *v = get_object(s, "properties", KS_DRAFT4, KS_DRAFT2020);

	if (v)
	{
		node->nproperties = v->n;
		node->property_names = v->names;
		node->properties = palloc((v->n + 1) * sizeof(KsNode *));
		for (int i = 0; i < v->n; i++)
			node->properties[i] = part(s, "properties", &v->u.items[i], &v->names[i], -1);
	}
	v = get_object(s, "patternProperties", KS_DRAFT4, KS_DRAFT2020);
	if (v == NULL)
		return;
	node->patterns = palloc((v->n + 1) * sizeof(KsPatternNode));
	for (int i = 0; i < v->n; i++)
	{
		node->patterns[i].pattern = ks_regex_compile(v->names[i].s, v->names[i].len, &s->c->regex_left);
		node->patterns[i].node = part(s, "patternProperties", &v->u.items[i], &v->names[i], -1);
		node->npatterns++;
	}
}

static void
take_objects(const Source *s)
{
	KsNode	   *node = s->node;
	const KsTree *v = get(s, "required", KS_DRAFT4, KS_DRAFT2020);

	if (v)
		node->required = take_names(s, "required", v, &node->nrequired);
	node->min_properties = take_count(s, "minProperties", KS_DRAFT4);
	node->max_properties = take_count(s, "maxProperties", KS_DRAFT4);
	take_properties(s);
	node->additional = take_schema(s, "additionalProperties", KS_DRAFT4, KS_DRAFT2020);
	node->names = take_schema(s, "propertyNames", KS_DRAFT6, KS_DRAFT2020);
	take_dependencies(s, "dependencies", get_object(s, "dependencies", KS_DRAFT4, KS_DRAFT2020));
	take_dependencies(s, "dependentRequired", get_object(s, "dependentRequired", KS_DRAFT2019, KS_DRAFT2020));
	take_dependencies(s, "dependentSchemas", get_object(s, "dependentSchemas", KS_DRAFT2019, KS_DRAFT2020));
	node->unevaluated_properties = take_schema(s, "unevaluatedProperties", KS_DRAFT2019, KS_DRAFT2020);
}

static KsNode *
refer(const Source *s, const KsTree *ref, KsFound *found)
{
	bool		schema;

	ks_documents_find(s->c->docs, s->node->resource, ks_jschema_string(ref), found);
	schema = found->tree->type == KS_JSON_OBJECT || found->tree->type == KS_JSON_TRUE || found->tree->type == KS_JSON_FALSE;
	if (!schema)
		ks_jschema_bad(found->place, "a reference leads to what is no schema");
	return ks_jschema_node(s->c, found->tree, found->resource, found->place);
}

static void
take_references(const Source *s)
{
	KsNode	   *node = s->node;
	const KsTree *v = get(s, "$ref", KS_DRAFT4, KS_DRAFT2020);
	KsFound		found;

	if (v)
		node->ref = refer(s, v, &found);
	v = get(s, "$recursiveRef", KS_DRAFT2019, KS_DRAFT2019);
	if (v)
	{
		node->dynamic = refer(s, v, &found);
		/* only where it leads to one does it matter from where one came */
		if (!found.resource->recursive || found.tree != found.resource->root)
			node->dynamic_name = "";
	}
	v = get(s, "$dynamicRef", KS_DRAFT2020, KS_DRAFT2020);
	if (v)
	{
		node->dynamic = refer(s, v, &found);
		node->dynamic_name = found.anchor && found.anchor->dynamic ? found.anchor->name : "";
	}
}

static void
take_applicators(const Source *s)
{
	KsNode	   *node = s->node;

	take_schemas(s, "allOf", &node->all);
	take_schemas(s, "anyOf", &node->any);
	take_schemas(s, "oneOf", &node->one);
	node->not = take_schema(s, "not", KS_DRAFT4, KS_DRAFT2020);
	node->condition = take_schema(s, "if", KS_DRAFT7, KS_DRAFT2020);
	node->then = take_schema(s, "then", KS_DRAFT7, KS_DRAFT2020);
	node->otherwise = take_schema(s, "else", KS_DRAFT7, KS_DRAFT2020);
}

/* Nothing is asked for. */
static void
ask_nothing(KsNode *node)
{
	node->nchoices = -1;
	node->min_length = node->max_length = -1;
	node->min_items = node->max_items = -1;
	node->min_contains = node->max_contains = -1;
	node->min_properties = node->max_properties = -1;
}

/* Of a metaschema without the vocabulary of validation. */
static void
forget_assertions(KsNode *node)
{
	ask_nothing(node);
	node->types = 0;
	node->integers = false;
	node->constant = NULL;
	node->least = node->above = node->most = node->below = NULL;
	node->multiple_of = NULL;
	node->pattern = NULL;
	node->unique = false;
	node->nrequired = 0;
}

void
ks_jschema_fill(KsCompiler *c, const KsTree *tree, KsNode *node)
{
	Source		s = {c, node, tree, node->resource->draft};
	const KsTree *ref = ks_tree_member(tree, "$ref");

	ask_nothing(node);
	if (tree->type != KS_JSON_OBJECT)
	{
		node->verdict = tree->type == KS_JSON_TRUE ? KS_ALLOWS_ALL : KS_ALLOWS_NOTHING;
		return;
	}
	take_references(&s);
	/* until 2019 nothing stands beside a reference */
	if (s.draft <= KS_DRAFT7 && ref)
		return;
	take_values(&s);
	take_numbers(&s);
	take_strings(&s);
	take_arrays(&s);
	take_objects(&s);
	take_applicators(&s);
	if (!node->resource->asserts)
		forget_assertions(node);
}
