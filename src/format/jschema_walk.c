/*
 * jschema_walk.c
 *	  JSON schemas as who makes a table of them walks them: where parts of a schema lead,
 *	  and which types its values have.
 *
 * Schemas may refer to themselves, and to one part many times: so a walk has a budget,
 * and what is beyond is anything.  They are UTF-8 here, and what is told of them is in the
 * server's encoding.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "format/jschema_shape_int.h"

#define MAX_FOLLOWED	32		/* references, one after another */

static const struct
{
	const char *word;
	int			bit;
}			types[] = {
	{"null", KS_WALK_NULL}, {"boolean", KS_WALK_BOOLEAN}, {"integer", KS_WALK_INTEGER}, {"number", KS_WALK_NUMBER},
	{"string", KS_WALK_STRING}, {"array", KS_WALK_ARRAY}, {"object", KS_WALK_OBJECT}
};

/* --- texts --- */

char *
ks_walk_text(const char *s, int len)
{
	int			encoding = GetDatabaseEncoding();
	unsigned char *text;
	Size		room = (Size) len * MAX_CONVERSION_GROWTH + 1;
	Oid			proc;

	if (len == 0 || memchr(s, '\0', len))
		return NULL;
	if (encoding == PG_UTF8 || encoding == PG_SQL_ASCII)
		return pnstrdup(s, len);
	proc = FindDefaultConversionProc(PG_UTF8, encoding);
	if (!OidIsValid(proc))
		return NULL;
	text = palloc(room);
	return pg_do_encoding_conversion_buf(proc, PG_UTF8, encoding, (unsigned char *) unconstify(char *, s), len,
										 text, room, true) == len ? (char *) text : NULL;
}

const KsTree *
ks_walk_member(const KsTree *tree, const char *name, KsJsonType type)
{
	const KsTree *v = ks_tree_member(tree, name);

	return v && v->type == type ? v : NULL;
}

char *
ks_walk_text_member(const KsTree *tree, const char *name)
{
	const KsTree *v = ks_walk_member(tree, name, KS_JSON_STRING);

	return v ? ks_walk_text(v->u.s, v->n) : NULL;
}

static bool
is_word(const KsTree *v, const char *word)
{
	return v->type == KS_JSON_STRING && v->n == (int) strlen(word) && memcmp(v->u.s, word, v->n) == 0;
}

/* --- where a schema is --- */

KsWalkPlace
ks_walk_inside(const KsWalk *w, KsWalkPlace of, const KsTree *tree)
{
	return (KsWalkPlace) {tree, ks_documents_resource(w->docs, of.resource, tree)};
}

static bool
is_null_schema(const KsTree *tree)
{
	const KsTree *type = ks_tree_member(tree, "type");

	return type && is_word(type, "null");
}

/* Of one that is nothing but a choice: its only branch; NULL: it has several, or is no such. */
static const KsTree *
only_branch(const KsTree *tree, bool *nullable)
{
	static const char *const keywords[] = {"oneOf", "anyOf", "allOf"};

	if (ks_tree_member(tree, "type") || ks_tree_member(tree, "properties"))
		return NULL;
	for (int k = 0; k < (int) lengthof(keywords); k++)
	{
		const KsTree *list = ks_walk_member(tree, keywords[k], KS_JSON_ARRAY);
		const KsTree *only = NULL;
		int			n = 0;

		for (int i = 0; list && i < list->n; i++)
		{
			if (is_null_schema(&list->u.items[i]))
				*nullable = true;
			else if (n++ == 0)
				only = &list->u.items[i];
		}
		if (list)
			return n == 1 ? only : NULL;
	}
	return NULL;
}

KsWalkPlace
ks_walk_follow(const KsWalk *w, KsWalkPlace p, bool *nullable)
{
	for (int i = 0; i < MAX_FOLLOWED; i++)
	{
		const KsTree *ref = ks_walk_member(p.tree, "$ref", KS_JSON_STRING);
		const KsTree *only;
		KsFound		found;

		if (ref)
		{
			ks_documents_find(w->docs, p.resource, ks_jschema_string(ref), &found);
			p = (KsWalkPlace) {found.tree, found.resource};
			continue;
		}
		only = only_branch(p.tree, nullable);
		if (only == NULL)
			break;
		p = ks_walk_inside(w, p, only);
	}
	return p;
}

/* --- which types values have --- */

static int
type_of_word(const KsTree *word)
{
	for (int i = 0; i < (int) lengthof(types); i++)
		if (is_word(word, types[i].word))
			return types[i].bit;
	return KS_WALK_ANY;
}

int
ks_walk_type_of_value(const KsTree *v)
{
	switch (v->type)
	{
		case KS_JSON_NULL:
			return KS_WALK_NULL;
		case KS_JSON_TRUE:
		case KS_JSON_FALSE:
			return KS_WALK_BOOLEAN;
		case KS_JSON_STRING:
			return KS_WALK_STRING;
		case KS_JSON_ARRAY:
			return KS_WALK_ARRAY;
		case KS_JSON_OBJECT:
			return KS_WALK_OBJECT;
		default:
			return (int) strspn(v->u.s, "-0123456789") >= v->n ? KS_WALK_INTEGER : KS_WALK_NUMBER;
	}
}

/* Of any of its branches; 0: it has none. */
static int
types_of_branches(KsWalk *w, KsWalkPlace p, const char *keyword, int depth)
{
	const KsTree *list = ks_walk_member(p.tree, keyword, KS_JSON_ARRAY);
	int			result = 0;

	for (int i = 0; list && i < list->n; i++)
	{
		bool		nullable = false;
		KsWalkPlace branch = ks_walk_follow(w, ks_walk_inside(w, p, &list->u.items[i]), &nullable);

		result |= ks_walk_types(w, branch, depth + 1) | (nullable ? KS_WALK_NULL : 0);
	}
	return result;
}

int
ks_walk_types(KsWalk *w, KsWalkPlace p, int depth)
{
	const KsTree *type = ks_tree_member(p.tree, "type");
	const KsTree *v;
	int			result = 0;

	if (--w->budget < 0 || depth > KS_WALK_MAX_DEPTH)
		return KS_WALK_ANY;
	CHECK_FOR_INTERRUPTS();
	if (type && type->type == KS_JSON_ARRAY)
	{
		for (int i = 0; i < type->n; i++)
			result |= type_of_word(&type->u.items[i]);
		return result;
	}
	if (type)
		return type_of_word(type);
	if ((v = ks_tree_member(p.tree, "const")) != NULL)
		return ks_walk_type_of_value(v);
	if ((v = ks_walk_member(p.tree, "enum", KS_JSON_ARRAY)) != NULL)
	{
		for (int i = 0; i < v->n; i++)
			result |= ks_walk_type_of_value(&v->u.items[i]);
		return result;
	}
	if (ks_tree_member(p.tree, "properties"))
		return KS_WALK_OBJECT;
	result = types_of_branches(w, p, "oneOf", depth) | types_of_branches(w, p, "anyOf", depth);
	/* what all of them are */
	if (result == 0 && (v = ks_walk_member(p.tree, "allOf", KS_JSON_ARRAY)) != NULL)
	{
		result = KS_WALK_ANY;
		for (int i = 0; i < v->n; i++)
		{
			bool		nullable = false;

			result &= ks_walk_types(w, ks_walk_follow(w, ks_walk_inside(w, p, &v->u.items[i]), &nullable), depth + 1);
		}
	}
	return result ? result : KS_WALK_ANY;
}

void
ks_walk_append_types(int bits, StringInfo out)
{
	if (bits == (KS_WALK_ANY & ~KS_WALK_NULL & ~KS_WALK_INTEGER))
		appendStringInfoString(out, "anything");
	else
		for (int i = 0; i < (int) lengthof(types); i++)
			if (bits & types[i].bit)
				appendStringInfo(out, "%s%s", out->len > 0 ? " or " : "", types[i].word);
}
