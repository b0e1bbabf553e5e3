/*
 * paths.c
 *	  The values at many paths into a JSON value, found in one pass over each object or
 *	  array that some of them share.
 *
 * Of names given twice the last counts, so that a value is known when all of the object
 * has been seen.  To see it once for each path would take a time that is the product of
 * the paths, which definitions choose, and the members, which records choose.  So the
 * first path that is asked for in a record finds all that begin at the same value; each
 * object is scanned as often as paths are deep that lead through it.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/json_scan.h"
#include "format/paths.h"

/* --- the tree --- */

KsPaths *
ks_paths_create(void)
{
	return palloc0(sizeof(KsPaths));
}

static bool
is_same_step(const KsPathStep *a, const KsPathStep *b)
{
	if (a->name == NULL || b->name == NULL)
		return a->name == b->name && a->index == b->index;
	return a->len == b->len && memcmp(a->name, b->name, a->len) == 0;
}

static KsPathNode *
add_child(KsPathNode *parent, const KsPathStep *step)
{
	KsPathNode *node;

	for (node = parent->children; node; node = node->next)
		if (is_same_step(&node->step, step))
			return node;
	node = palloc0(sizeof(KsPathNode));
	node->step = *step;
	node->next = parent->children;
	parent->children = node;
	if (step->name)
		parent->nnamed++;
	else
		parent->nindexed++;
	return node;
}

KsPathNode *
ks_paths_add(KsPaths *paths, const KsPathStep *path, int npath)
{
	KsPathNode *node = &paths->root;

	for (int i = 0; i < npath; i++)
		node = add_child(node, &path[i]);
	return node;
}

static int
compare_index(const void *a, const void *b)
{
	int			x = (*(KsPathNode *const *) a)->step.index;
	int			y = (*(KsPathNode *const *) b)->step.index;

	return x < y ? -1 : x > y;
}

static void
finish(KsPathNode *node)
{
	KsField    *fields = palloc((node->nnamed + 1) * sizeof(KsField));
	int			nnamed = 0;
	int			nindexed = 0;

	check_stack_depth();
	node->named = palloc((node->nnamed + 1) * sizeof(KsPathNode *));
	node->indexed = palloc((node->nindexed + 1) * sizeof(KsPathNode *));
	for (KsPathNode *child = node->children; child; child = child->next)
	{
		if (child->step.name)
		{
			fields[nnamed] = (KsField) {child->step.name, child->step.len};
			node->named[nnamed++] = child;
		}
		else
			node->indexed[nindexed++] = child;
		finish(child);
	}
	ks_names_init(&node->names, fields, nnamed);
	qsort(node->indexed, nindexed, sizeof(KsPathNode *), compare_index);
}

void
ks_paths_finish(KsPaths *paths)
{
	finish(&paths->root);
}

/* --- a record --- */

static void
scan_members(KsPathNode *node, const KsJson *json, StringInfo scratch)
{
	const char *p = ks_json_begin(json, node->found.p);
	KsJsonToken name,
				value;

	for (;;)
	{
		int			i;

		CHECK_FOR_INTERRUPTS();
		p = ks_json_next_member(json, p, &name, &value);
		if (value.p == NULL)
			break;
		if (unlikely(name.escaped) && !ks_json_plain_name(&name, scratch, &name))
			continue;
		i = ks_names_find(&node->names, name.p, name.len);
		if (i >= 0)
			node->named[i]->found = value;
	}
}

static void
scan_elements(KsPathNode *node, const KsJson *json)
{
	const char *p = ks_json_begin(json, node->found.p);
	KsJsonToken value;
	int			i = 0;

	for (int n = 0; i < node->nindexed; n++)
	{
		CHECK_FOR_INTERRUPTS();
		p = ks_json_next_element(json, p, &value);
		if (value.p == NULL)
			break;
		if (node->indexed[i]->step.index == n)
			node->indexed[i++]->found = value;
	}
}

/* All that is below a value, which may not be there. */
static void
find_below(KsPathNode *node, StringInfo scratch)
{
	check_stack_depth();
	for (KsPathNode *child = node->children; child; child = child->next)
		child->found.p = NULL;
	if (node->found.p != NULL)
	{
		KsJson		json = {.start = node->found.p, .end = node->found.p + node->found.len};

		if (node->nnamed > 0 && node->found.type == KS_JSON_OBJECT)
			scan_members(node, &json, scratch);
		else if (node->nindexed > 0 && node->found.type == KS_JSON_ARRAY)
			scan_elements(node, &json);
	}
	for (KsPathNode *child = node->children; child; child = child->next)
		if (child->children)
			find_below(child, scratch);
}

bool
ks_paths_find(KsPaths *paths, uint64 serial, const KsPathNode *end, StringInfo scratch, KsJsonToken *tok)
{
	if (paths->serial != serial || paths->at != tok->p)
	{
		paths->root.found = *tok;
		paths->at = NULL;		/* should there be an error */
		find_below(&paths->root, scratch);
		paths->serial = serial;
		paths->at = tok->p;
	}
	*tok = end->found;
	return tok->p != NULL;
}

/* --- paths that others follow --- */

static int
compare_steps(const void *a, const void *b)
{
	const KsStepOf *x = a;
	const KsStepOf *y = b;
	int			order;

	if (x->step.name == NULL)
		order = x->step.index < y->step.index ? -1 : x->step.index > y->step.index;
	else
		order = x->step.len != y->step.len ? x->step.len - y->step.len :
			memcmp(x->step.name, y->step.name, x->step.len);
	return order != 0 ? order : x->col - y->col;
}

void
ks_steps_sort(KsStepOf *list, int n)
{
	qsort(list, n, sizeof(KsStepOf), compare_steps);
}

int
ks_steps_same(const KsStepOf *list, int n)
{
	int			i = 1;

	while (i < n && is_same_step(&list[i].step, &list[0].step))
		i++;
	return i;
}
