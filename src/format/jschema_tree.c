/*
 * jschema_tree.c
 *	  JSON as a tree.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "base/merge.h"
#include "format/jschema_tree.h"
#include "format/json_scan.h"

typedef struct Parser
{
	KsJson		json;
	int			depth;
	int			max_depth;
} Parser;

/* --- strings --- */

static pg_wchar
hex4(const char *p)
{
	pg_wchar	v = 0;

	for (int i = 0; i < 4; i++)
		v = v * 16 + (p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return v;
}

/* Of what follows \u; half a pair is no character. */
static const char *
take_unicode(const char *p, const char *end, char **out)
{
	pg_wchar	c = hex4(p);

	p += 4;
	if (is_utf16_surrogate_first(c) && end - p >= 6 && p[0] == '\\' && p[1] == 'u' &&
		is_utf16_surrogate_second(hex4(p + 2)))
	{
		c = surrogate_pair_to_codepoint(c, hex4(p + 2));
		p += 6;
	}
	if (is_utf16_surrogate_first(c) || is_utf16_surrogate_second(c))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid JSON"),
				 errdetail("A Unicode surrogate is not part of a pair.")));
	(void) unicode_to_utf8(c, (unsigned char *) *out);
	*out += pg_utf_mblen((unsigned char *) *out);
	return p;
}

/* No longer than it was. */
static KsText
unescape(const KsJsonToken *tok)
{
	const char *p = tok->p;
	const char *end = p + tok->len;
	char	   *result;
	char	   *out;

	if (!tok->escaped)
		return (KsText) {tok->p, tok->len, 0};
	result = out = palloc(tok->len + 1);
	while (p < end)
	{
		if (*p != '\\')
		{
			*out++ = *p++;
			continue;
		}
		p += 2;
		switch (p[-1])
		{
			case 'b':
				*out++ = '\b';
				break;
			case 'f':
				*out++ = '\f';
				break;
			case 'n':
				*out++ = '\n';
				break;
			case 'r':
				*out++ = '\r';
				break;
			case 't':
				*out++ = '\t';
				break;
			case 'u':
				p = take_unicode(p, end, &out);
				break;
			default:
				*out++ = p[-1];
		}
	}
	return (KsText) {result, out - result, 0};
}

/* --- names --- */

int
ks_text_compare(const KsText *a, const KsText *b)
{
	int			c = memcmp(a->s, b->s, Min(a->len, b->len));

	return c != 0 ? c : a->len - b->len;
}

int
ks_text_find(const KsText *names, int n, const char *s, int len)
{
	KsText		wanted = {s, len, 0};
	int			low = 0;

	while (low < n)
	{
		int			mid = low + (n - low) / 2;
		int			c = ks_text_compare(&names[mid], &wanted);

		if (c == 0)
			return mid;
		if (c < 0)
			low = mid + 1;
		else
			n = mid;
	}
	return -1;
}

const KsTree *
ks_tree_member(const KsTree *object, const char *name)
{
	int			i;

	if (object->type != KS_JSON_OBJECT)
		return NULL;
	i = ks_text_find(object->names, object->n, name, strlen(name));
	return i < 0 ? NULL : &object->u.items[i];
}

/* --- parsing --- */

/* What an object or an array has so far. */
typedef struct Growing
{
	int			n;
	int			room;
	KsTree	   *items;
	KsText	   *names;
} Growing;

typedef struct Member
{
	KsText		name;
	int			at;
} Member;

static KsTree *
grow(Growing *g, bool named)
{
	if (g->n == g->room)
	{
		g->room = g->room ? g->room * 2 : 4;
		g->items = g->items ? repalloc_huge(g->items, (Size) g->room * sizeof(KsTree)) : palloc(g->room * sizeof(KsTree));
		if (named)
			g->names = g->names ? repalloc_huge(g->names, (Size) g->room * sizeof(KsText)) : palloc(g->room * sizeof(KsText));
	}
	return &g->items[g->n++];
}

static int
compare_members(const void *a, const void *b)
{
	const Member *x = a;
	const Member *y = b;
	int			c = ks_text_compare(&x->name, &y->name);

	return c != 0 ? c : x->at - y->at;
}

/* By their names, the last of each. */
static void
sort_members(Growing *g)
{
	Member	   *members;
	KsTree	   *items;
	int			n = 0;
	bool		sorted = true;

	for (int i = 1; i < g->n && sorted; i++)
		sorted = ks_text_compare(&g->names[i - 1], &g->names[i]) < 0;
	if (sorted)
		return;
	members = MemoryContextAllocHuge(CurrentMemoryContext, (Size) g->n * sizeof(Member));
	items = MemoryContextAllocHuge(CurrentMemoryContext, (Size) g->n * sizeof(KsTree));
	for (int i = 0; i < g->n; i++)
		members[i] = (Member) {g->names[i], i};
	ks_merge_sort(members, g->n, sizeof(Member), compare_members);
	for (int i = 0; i < g->n; i++)
	{
		if (i + 1 < g->n && ks_text_compare(&members[i].name, &members[i + 1].name) == 0)
			continue;
		g->names[n] = members[i].name;
		items[n++] = g->items[members[i].at];
	}
	pfree(members);
	pfree(g->items);
	g->items = items;
	g->n = n;
}

static const char *parse_value(Parser *parser, const char *p, KsTree *tree);

static const char *
parse_nested(Parser *parser, const char *p, KsTree *tree)
{
	const KsJson *json = &parser->json;
	bool		object = *p == '{';
	char		close = object ? '}' : ']';
	Growing		g = {0};

	if (++parser->depth > parser->max_depth)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("JSON is nested too deeply"),
				 errdetail("The limit is %d levels.", parser->max_depth)));
	p = ks_json_begin(json, p);
	if (p >= json->end || *p != close)
		for (;;)
		{
			KsTree		value;
			KsJsonToken name = {.p = NULL};
			KsTree	   *at;

			CHECK_FOR_INTERRUPTS();
			if (object)
				p = ks_json_scan_name(json, p, &name);
			p = parse_value(parser, p, &value);
			at = grow(&g, object);
			*at = value;
			if (object)
			{
				g.names[g.n - 1] = unescape(&name);
				g.names[g.n - 1].nth = g.n - 1;
			}
			p = ks_json_after_value(json, p, close);
			if (p < json->end && *p == close)
				break;
		}
	parser->depth--;
	if (object)
		sort_members(&g);
	*tree = (KsTree) {.type = object ? KS_JSON_OBJECT : KS_JSON_ARRAY, .n = g.n, .u.items = g.items, .names = g.names};
	return p + 1;
}

static const char *
parse_value(Parser *parser, const char *p, KsTree *tree)
{
	KsJsonToken tok;
	KsText		text;

	if (p >= parser->json.end)
		ks_json_error(&parser->json, p);
	if (*p == '{' || *p == '[')
		return parse_nested(parser, p, tree);
	p = ks_json_scan_scalar(&parser->json, p, &tok);
	text = tok.type == KS_JSON_STRING ? unescape(&tok) : (KsText) {tok.p, tok.len, 0};
	*tree = (KsTree) {.type = tok.type, .n = text.len, .u.s = text.s};
	return p;
}

KsTree *
ks_tree_parse(const char *s, int len, int max_depth)
{
	Parser		parser = {.json = {s, s + len}, .max_depth = max_depth};
	KsTree	   *tree = palloc(sizeof(KsTree));

	ks_json_finish(&parser.json, parse_value(&parser, ks_json_skip_space(s, s + len), tree));
	return tree;
}

/* --- order --- */

static int
compare_numbers(const KsTree *a, const KsTree *b)
{
	KsDecimal	x = ks_decimal_parse(a->u.s, a->n);
	KsDecimal	y = ks_decimal_parse(b->u.s, b->n);

	return ks_decimal_compare(&x, &y);
}

int
ks_tree_compare(const KsTree *a, const KsTree *b)
{
	int			c = 0;

	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	switch (a->type)
	{
		case KS_JSON_NUMBER:
			return compare_numbers(a, b);
		case KS_JSON_STRING:
			{
				KsText		x = ks_tree_text(a);
				KsText		y = ks_tree_text(b);

				return ks_text_compare(&x, &y);
			}
		case KS_JSON_ARRAY:
		case KS_JSON_OBJECT:
			if (a->n != b->n)
				return a->n < b->n ? -1 : 1;
			for (int i = 0; i < a->n && c == 0; i++)
			{
				if (a->type == KS_JSON_OBJECT)
					c = ks_text_compare(&a->names[i], &b->names[i]);
				if (c == 0)
					c = ks_tree_compare(&a->u.items[i], &b->u.items[i]);
			}
			return c;
		default:
			return 0;
	}
}
