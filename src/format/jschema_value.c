/*
 * jschema_value.c
 *	  What a JSON schema asks of a value by itself: its type, its size, its bounds.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/merge.h"
#include "format/jschema_int.h"

static bool
is_of_type(const KsNode *node, const KsTree *v)
{
	if ((node->types == 0 && !node->integers) || (node->types & 1 << v->type) != 0)
		return true;
	if (node->integers && v->type == KS_JSON_NUMBER)
	{
		KsDecimal	d = ks_decimal_parse(v->u.s, v->n);

		/* 1.0 is an integer since draft 6 */
		if (d.sign == 0 || d.low >= 0)
			if (node->resource->draft > KS_DRAFT4 || memchr(v->u.s, '.', v->n) == NULL)
				return true;
	}
	return false;
}

static bool
is_choice(const KsNode *node, const KsTree *v)
{
	int			low = 0;
	int			high = node->nchoices;

	while (low < high)
	{
		int			mid = (low + high) / 2;
		int			order = ks_tree_compare(node->choices[mid], v);

		if (order == 0)
			return true;
		if (order < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* Of each kind: the keyword that a value is not by, or NULL. */
static const char *
fails_as_number(const KsNode *node, const KsTree *v)
{
	KsDecimal	d;

	if (!node->least && !node->most && !node->above && !node->below && !node->multiple_of)
		return NULL;
	d = ks_decimal_parse(v->u.s, v->n);
	if (node->least && ks_decimal_compare(&d, node->least) < 0)
		return "minimum";
	if (node->most && ks_decimal_compare(&d, node->most) > 0)
		return "maximum";
	if (node->above && ks_decimal_compare(&d, node->above) <= 0)
		return "exclusiveMinimum";
	if (node->below && ks_decimal_compare(&d, node->below) >= 0)
		return "exclusiveMaximum";
	if (node->multiple_of && !ks_decimal_divides(node->multiple_of, &d))
		return "multipleOf";
	return NULL;
}

/* In characters. */
static int64
length_of(const KsTree *v)
{
	int64		n = 0;

	for (int i = 0; i < v->n; i++)
		n += ((unsigned char) v->u.s[i] & 0xc0) != 0x80;
	return n;
}

static const char *
fails_as_string(const KsNode *node, const KsTree *v)
{
	if (node->min_length >= 0 || node->max_length >= 0)
	{
		int64		n = length_of(v);

		if (n < node->min_length)
			return "minLength";
		if (node->max_length >= 0 && n > node->max_length)
			return "maxLength";
	}
	if (node->pattern && !ks_regex_matches(node->pattern, v->u.s, v->n))
		return "pattern";
	return NULL;
}

static int
compare_items(const void *a, const void *b)
{
	CHECK_FOR_INTERRUPTS();
	return ks_tree_compare(*(const KsTree *const *) a, *(const KsTree *const *) b);
}

/* In order, equal ones are beside each other. */
static bool
is_unique(const KsTree *v)
{
	const KsTree **items;
	bool		result = true;

	if (v->n < 2)
		return true;
	items = MemoryContextAllocHuge(CurrentMemoryContext, v->n * sizeof(KsTree *));
	for (int i = 0; i < v->n; i++)
		items[i] = &v->u.items[i];
	ks_merge_sort(items, v->n, sizeof(KsTree *), compare_items);
	for (int i = 1; i < v->n && result; i++)
		result = ks_tree_compare(items[i - 1], items[i]) != 0;
	pfree(items);
	return result;
}

static const char *
fails_as_array(const KsNode *node, const KsTree *v)
{
	if (v->n < node->min_items)
		return "minItems";
	if (node->max_items >= 0 && v->n > node->max_items)
		return "maxItems";
	if (node->unique && !is_unique(v))
		return "uniqueItems";
	return NULL;
}

static const char *
fails_as_object(const KsNode *node, const KsTree *v)
{
	if (v->n < node->min_properties)
		return "minProperties";
	if (node->max_properties >= 0 && v->n > node->max_properties)
		return "maxProperties";
	return NULL;
}

const char *
ks_jschema_fails(const KsNode *node, const KsTree *v)
{
	if (!is_of_type(node, v))
		return "type";
	if (node->constant && ks_tree_compare(node->constant, v) != 0)
		return "const";
	if (node->nchoices >= 0 && !is_choice(node, v))
		return "enum";
	switch (v->type)
	{
		case KS_JSON_NUMBER:
			return fails_as_number(node, v);
		case KS_JSON_STRING:
			return fails_as_string(node, v);
		case KS_JSON_ARRAY:
			return fails_as_array(node, v);
		case KS_JSON_OBJECT:
			return fails_as_object(node, v);
		default:
			return NULL;
	}
}
