/*
 * jschema_check.c
 *	  Is a value by a JSON schema?
 *
 * The first place where it is not is kept, unless a schema only asks (anyOf, not, if).
 * What keywords have looked at is only noted where some schema around asks for what
 * none has (unevaluatedProperties, unevaluatedItems).
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/jschema_int.h"
#include "format/jschema_uri.h"

#define MAX_NESTED	1000		/* schemas that are being asked, each by the one before */
#define MIN_ASKED	INT64CONST(1000000)	/* so many for any record, and ... */
#define ASKED_BYTE	1000		/* ... for each byte of it */
#define REGEX_COST	50			/* of a regular expression, beside one for each byte */
#define UNIQUE_COST	20			/* of an element that is to be unlike others */
#define MARKS_PER_STEP	16

/* Where a value stands in the record. */
typedef struct Place
{
	const struct Place *up;
	const KsText *name;			/* NULL: ... */
	int			index;			/* ... of an element */
} Place;

/* Which resources one has come through. */
typedef struct Scope
{
	const struct Scope *up;
	const KsResource *resource;
} Scope;

/* Which members or elements of the value at hand have been looked at. */
typedef struct Marks
{
	int			n;
	bool		all;
	bool		seen[FLEXIBLE_ARRAY_MEMBER];
} Marks;

typedef struct Check
{
	int			quiet;			/* it is only asked */
	int			depth;
	int64		left;			/* so many schemas may still be asked, or what takes as long */
	char	   *pointer;		/* where it failed; NULL: it did not */
	const char *keyword;
	const char *schema;			/* the place of the schema */
	const KsText *missing;		/* a member that is not there, or NULL */
} Check;

/* A value before a schema. */
typedef struct Asked
{
	const KsNode *node;
	const KsTree *v;
	const Place *at;
	const Scope *scope;
	Marks	   *marks;			/* NULL: nobody asks */
} Asked;

static bool check(Check *c, const KsNode *node, const KsTree *v, const Place *at, const Scope *scope, Marks *marks);

/* --- failing --- */

static void
append_place(StringInfo buf, const Place *at)
{
	if (at->up == NULL)
		return;
	append_place(buf, at->up);
	if (at->name)
		ks_pointer_append(buf, at->name->s, at->name->len);
	else
		appendStringInfo(buf, "/%d", at->index);
}

static bool
fail(Check *c, const Asked *a, const char *keyword)
{
	StringInfoData buf;

	if (c->quiet > 0 || c->pointer)
		return false;
	initStringInfo(&buf);
	append_place(&buf, a->at);
	c->pointer = buf.data;
	c->keyword = keyword;
	c->schema = a->node->place;
	return false;
}

/* For want of a member. */
static bool
lacks(Check *c, const Asked *a, const char *keyword, const KsText *name)
{
	if (c->quiet == 0 && c->pointer == NULL)
		c->missing = name;
	return fail(c, a, keyword);
}

/* --- what it takes --- */

static inline void
spend(Check *c, int64 steps)
{
	c->left -= steps;
	if (unlikely(c->left < 0))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("value takes too long to be checked by its JSON schema"),
				 errdetail("Its schemas ask others again and again about the same.")));
}

/* Of a value by itself. */
static inline int64
cost_of(const KsNode *node, const KsTree *v)
{
	if (v->type == KS_JSON_STRING && node->pattern)
		return REGEX_COST + v->n;
	return v->type == KS_JSON_ARRAY && node->unique ? (int64) UNIQUE_COST * v->n : 0;
}

/* --- marks --- */

static Marks *
make_marks(Check *c, const KsTree *v)
{
	Marks	   *m;

	spend(c, v->n / MARKS_PER_STEP);
	m = palloc0(offsetof(Marks, seen) + v->n);
	m->n = v->n;
	return m;
}

static void
merge_marks(Marks *into, const Marks *from)
{
	into->all |= from->all;
	for (int i = 0; i < from->n && !into->all; i++)
		into->seen[i] |= from->seen[i];
}

/* Asks without telling; what is looked at counts if it is by the schema. */
static bool
ask(Check *c, const Asked *a, const KsNode *node)
{
	Marks	   *marks = a->marks ? make_marks(c, a->v) : NULL;
	bool		result;

	c->quiet++;
	result = check(c, node, a->v, a->at, a->scope, marks);
	c->quiet--;
	if (result && marks)
		merge_marks(a->marks, marks);
	if (marks)
		pfree(marks);
	return result;
}

/* The same value before another schema, which it must be by. */
static bool
check_same(Check *c, const Asked *a, const KsNode *node)
{
	return check(c, node, a->v, a->at, a->scope, a->marks);
}

/* --- arrays --- */

static bool
check_element(Check *c, const Asked *a, const KsNode *node, int i)
{
	Place		at = {a->at, NULL, i};

	if (a->marks)
		a->marks->seen[i] = true;
	return check(c, node, &a->v->u.items[i], &at, a->scope, NULL);
}

static bool
check_contains(Check *c, const Asked *a)
{
	const KsNode *node = a->node;
	int64		least = node->min_contains >= 0 ? node->min_contains : 1;
	int64		n = 0;

	for (int i = 0; i < a->v->n; i++)
	{
		Place		at = {a->at, NULL, i};
		bool		is;

		/* all of them are only asked where somebody wants to know which */
		if (n >= least && node->max_contains < 0 && a->marks == NULL)
			break;
		c->quiet++;
		is = check(c, node->contains, &a->v->u.items[i], &at, a->scope, NULL);
		c->quiet--;
		if (is && a->marks && node->resource->draft == KS_DRAFT2020)
			a->marks->seen[i] = true;
		n += is;
	}
	if (n < least)
		return fail(c, a, node->min_contains >= 0 ? "minContains" : "contains");
	if (node->max_contains >= 0 && n > node->max_contains)
		return fail(c, a, "maxContains");
	return true;
}

static bool
check_array(Check *c, const Asked *a)
{
	const KsNode *node = a->node;
	int			n = a->v->n;

	for (int i = 0; i < n && i < node->prefix.n; i++)
		if (!check_element(c, a, node->prefix.nodes[i], i))
			return false;
	if (node->items)
		for (int i = node->prefix.n; i < n; i++)
			if (!check_element(c, a, node->items, i))
				return false;
	return node->contains == NULL || check_contains(c, a);
}

/* --- objects --- */

static bool
has_member(const KsTree *v, const KsText *name)
{
	return ks_text_find(v->names, v->n, name->s, name->len) >= 0;
}

static bool
check_member(Check *c, const Asked *a, int i)
{
	const KsNode *node = a->node;
	const KsText *name = &a->v->names[i];
	const KsTree *v = &a->v->u.items[i];
	Place		at = {a->at, name, 0};
	int			p = ks_text_find(node->property_names, node->nproperties, name->s, name->len);
	bool		seen = p >= 0;

	if (p >= 0 && !check(c, node->properties[p], v, &at, a->scope, NULL))
		return false;
	for (p = 0; p < node->npatterns; p++)
	{
		spend(c, REGEX_COST + name->len);
		if (ks_regex_matches(node->patterns[p].pattern, name->s, name->len))
		{
			seen = true;
			if (!check(c, node->patterns[p].node, v, &at, a->scope, NULL))
				return false;
		}
	}
	if (!seen && node->additional)
	{
		seen = true;
		if (!check(c, node->additional, v, &at, a->scope, NULL))
			return false;
	}
	if (seen && a->marks)
		a->marks->seen[i] = true;
	if (node->names)
	{
		KsTree		string = {.type = KS_JSON_STRING, .n = name->len, .u.s = name->s};

		return check(c, node->names, &string, &at, a->scope, NULL);
	}
	return true;
}

static bool
check_dependencies(Check *c, const Asked *a)
{
	for (int i = 0; i < a->node->ndependencies; i++)
	{
		const KsDependency *d = &a->node->dependencies[i];

		if (!has_member(a->v, &d->name))
			continue;
		for (int k = 0; k < d->n; k++)
			if (!has_member(a->v, &d->names[k]))
				return lacks(c, a, d->keyword, &d->names[k]);
		if (d->node && !check_same(c, a, d->node))
			return false;
	}
	return true;
}

static bool
check_object(Check *c, const Asked *a)
{
	const KsNode *node = a->node;
	bool		of_members = node->nproperties || node->npatterns || node->additional || node->names;
	int			n = of_members ? a->v->n : 0;

	spend(c, (int64) n + node->nrequired + node->ndependencies);
	for (int i = 0; i < node->nrequired; i++)
		if (!has_member(a->v, &node->required[i]))
			return lacks(c, a, "required", &node->required[i]);
	for (int i = 0; i < n; i++)
		if (!check_member(c, a, i))
			return false;
	return check_dependencies(c, a);
}

/* --- schemas of schemas --- */

/* The outermost resource that has such an anchor says where it leads. */
static const KsNode *
find_dynamic(const Asked *a)
{
	const KsNode *result = a->node->dynamic;
	const char *name = a->node->dynamic_name;

	for (const Scope *s = a->scope; s && (name == NULL || *name); s = s->up)
	{
		if (name == NULL && s->resource->recursive)
			result = s->resource->node;
		for (const KsAnchor *anchor = s->resource->anchors; anchor && name; anchor = anchor->next)
			if (anchor->dynamic && strcmp(anchor->name, name) == 0)
				result = anchor->node;
	}
	return result;
}

static bool
check_any(Check *c, const Asked *a)
{
	bool		any = false;

	/* all of them where it is asked what they have looked at */
	for (int i = 0; i < a->node->any.n && (!any || a->marks); i++)
		any |= ask(c, a, a->node->any.nodes[i]);
	return any || a->node->any.nodes == NULL || fail(c, a, "anyOf");
}

static bool
check_one(Check *c, const Asked *a)
{
	int			n = 0;

	for (int i = 0; i < a->node->one.n && n < 2; i++)
		n += ask(c, a, a->node->one.nodes[i]);
	return n == 1 || a->node->one.nodes == NULL || fail(c, a, "oneOf");
}

static bool
check_condition(Check *c, const Asked *a)
{
	const KsNode *node = a->node;

	/* without one of both it matters only what it has looked at */
	if (node->condition == NULL || (!node->then && !node->otherwise && !a->marks))
		return true;
	node = ask(c, a, node->condition) ? node->then : node->otherwise;
	return node == NULL || check_same(c, a, node);
}

static bool
check_not(Check *c, const Asked *a)
{
	Asked		apart = *a;

	apart.marks = NULL;
	return !ask(c, &apart, a->node->not) || fail(c, a, "not");
}

static bool
check_applicators(Check *c, const Asked *a)
{
	const KsNode *node = a->node;

	if (node->ref && !check_same(c, a, node->ref))
		return false;
	if (node->dynamic && !check_same(c, a, find_dynamic(a)))
		return false;
	for (int i = 0; i < node->all.n; i++)
		if (!check_same(c, a, node->all.nodes[i]))
			return false;
	return check_any(c, a) && check_one(c, a) && (node->not == NULL || check_not(c, a)) && check_condition(c, a);
}

/* What nothing has looked at, which it has then. */
static bool
check_unevaluated(Check *c, const Asked *a)
{
	const KsNode *node = a->v->type == KS_JSON_ARRAY ? a->node->unevaluated_items : a->node->unevaluated_properties;

	if (node == NULL || a->marks->all)
		return true;
	for (int i = 0; i < a->v->n; i++)
	{
		Place		at = {a->at, a->v->type == KS_JSON_ARRAY ? NULL : &a->v->names[i], i};

		if (!a->marks->seen[i] && !check(c, node, &a->v->u.items[i], &at, a->scope, NULL))
			return false;
	}
	a->marks->all = true;
	return true;
}

/* --- all of it --- */

/* By itself, and what is in it. */
static bool
check_value(Check *c, const Asked *a)
{
	const char *keyword;

	spend(c, cost_of(a->node, a->v));
	keyword = ks_jschema_fails(a->node, a->v);
	if (keyword)
		return fail(c, a, keyword);
	if (a->v->type == KS_JSON_ARRAY)
		return check_array(c, a);
	return a->v->type != KS_JSON_OBJECT || check_object(c, a);
}

/* With marks of its own, if it asks for what is left. */
static bool
check_all(Check *c, const Asked *a)
{
	bool		nested = a->v->type == KS_JSON_ARRAY || a->v->type == KS_JSON_OBJECT;
	bool		collects = (a->v->type == KS_JSON_ARRAY && a->node->unevaluated_items) ||
		(a->v->type == KS_JSON_OBJECT && a->node->unevaluated_properties);
	Asked		own = *a;
	bool		result;

	if (!nested)
		own.marks = NULL;
	if (collects)
		own.marks = make_marks(c, a->v);
	result = check_value(c, &own) && check_applicators(c, &own) &&
		(!collects || check_unevaluated(c, &own));
	if (collects)
	{
		if (result && a->marks)
			merge_marks(a->marks, own.marks);
		pfree(own.marks);
	}
	return result;
}

static bool
check(Check *c, const KsNode *node, const KsTree *v, const Place *at, const Scope *scope, Marks *marks)
{
	Scope		inner = {scope, node->resource};
	Asked		a = {node, v, at, scope && scope->resource == node->resource ? scope : &inner, marks};
	bool		result;

	if (node->verdict == KS_ALLOWS_ALL)
		return true;
	if (node->verdict == KS_ALLOWS_NOTHING)
		return fail(c, &a, NULL);
	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	spend(c, 1);
	if (++c->depth > MAX_NESTED)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("the JSON schema refers to itself without end"),
				 errdetail("More than %d schemas ask each other about one value.", MAX_NESTED)));
	result = check_all(c, &a);
	c->depth--;
	return result;
}

KS_NORETURN static void raise_failure(const Check *c);

static void
raise_failure(const Check *c)
{
	StringInfoData detail;

	initStringInfo(&detail);
	appendStringInfo(&detail, "At \"%s\" ", ks_jschema_shown(c->pointer, strlen(c->pointer)));
	if (c->keyword == NULL)
		appendStringInfoString(&detail, "nothing is allowed");
	else
		appendStringInfo(&detail, "the keyword \"%s\" does not hold", c->keyword);
	if (c->missing)
		appendStringInfo(&detail, ", for want of the member \"%s\"", ks_jschema_shown(c->missing->s, c->missing->len));
	appendStringInfo(&detail, ".  The place in the schema is %s.", ks_jschema_shown(c->schema, strlen(c->schema)));
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("value does not match its JSON schema"),
			 errdetail_internal("%s", detail.data)));
}

void
ks_jschema_check(const KsJsonSchema *schema, const char *s, int len)
{
	Check		c = {.left = MIN_ASKED + ASKED_BYTE * (int64) len};
	Place		root = {0};

	if (!check(&c, schema->root, ks_tree_parse(s, len, KS_JSCHEMA_MAX_DEPTH), &root, NULL, NULL))
		raise_failure(&c);
}
