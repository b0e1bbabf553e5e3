/*
 * jschema_column.c
 *	  What a column for values of a JSON schema is like: its type, its default, and why.
 *
 * A schema says what values are allowed, and seldom how large they are: an integer is a
 * bigint unless it says more, a number numeric, and a string what its format says.  What
 * has parts, or may be of several types, becomes jsonb; lists of what has a type of its
 * own are arrays.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/lsyscache.h"

#include "format/jschema_shape_int.h"

#define BUDGET_OF_ONE	500		/* schemas that are looked at for one column */
#define MAX_LISTS		4		/* in lists, that are looked into */
#define MAX_WORDS		200		/* bytes of an enum's words that are shown, about */

#define INT4_LOW		"-2147483648"
#define INT4_HIGH		"2147483647"
#define INT8_LOW		"-9223372036854775808"
#define INT8_HIGH		"9223372036854775807"

typedef struct Choice
{
	int			types;			/* bits, without null */
	bool		nullable;
	Oid			typid;
	StringInfoData reason;
} Choice;

/* What Kafka Connect, or the format, calls it; NULL: nothing. */
static char *
word_of(const KsTree *tree)
{
	char	   *word = ks_walk_text_member(tree, "connect.type");

	return word ? word : ks_walk_text_member(tree, "format");
}

/* Which is its name for what stands for something else, such as a date. */
static void
append_word(Choice *c, const KsTree *tree, const char *word)
{
	char	   *title = ks_tree_member(tree, "connect.type") ? ks_walk_text_member(tree, "title") : NULL;

	if (word)
		appendStringInfo(&c->reason, ", %s", word);
	if (title)
		appendStringInfo(&c->reason, ", %s", title);
}

/* A limit of numbers, as the schema writes it; NULL: it has none. */
static const KsTree *
limit_of(const KsTree *tree, const char *name, const char *exclusive)
{
	const KsTree *v = ks_walk_member(tree, name, KS_JSON_NUMBER);

	return v ? v : ks_walk_member(tree, exclusive, KS_JSON_NUMBER);
}

/* Is it at least the one, and at most the other?  Exactly: 2^63 is no bigint any more. */
static bool
is_between(const KsTree *limit, const char *least, const char *most)
{
	KsDecimal	d = ks_decimal_parse(limit->u.s, limit->n);
	KsDecimal	low = ks_decimal_parse(least, strlen(least));
	KsDecimal	high = ks_decimal_parse(most, strlen(most));

	return ks_decimal_compare(&d, &low) >= 0 && ks_decimal_compare(&d, &high) <= 0;
}

static bool
is_one_of(const char *word, const char *a, const char *b)
{
	return word && (strcmp(word, a) == 0 || strcmp(word, b) == 0);
}

static void
choose_integer(const KsTree *tree, Choice *c)
{
	char	   *word = word_of(tree);
	const KsTree *from = limit_of(tree, "minimum", "exclusiveMinimum");
	const KsTree *to = limit_of(tree, "maximum", "exclusiveMaximum");

	append_word(c, tree, word);
	if (from && to)
		appendStringInfo(&c->reason, ", %.*s to %.*s", from->n, from->u.s, to->n, to->u.s);
	if ((from && !is_between(from, INT8_LOW, INT8_HIGH)) || (to && !is_between(to, INT8_LOW, INT8_HIGH)))
		c->typid = NUMERICOID;
	else if (is_one_of(word, "int8", "int16"))
		c->typid = INT2OID;
	else if ((word && strcmp(word, "int32") == 0) ||
			 (from && to && is_between(from, INT4_LOW, INT4_HIGH) && is_between(to, INT4_LOW, INT4_HIGH)))
		c->typid = INT4OID;
	else
		c->typid = INT8OID;
}

static void
choose_number(const KsTree *tree, Choice *c)
{
	char	   *word = word_of(tree);

	append_word(c, tree, word);
	c->typid = is_one_of(word, "float", "float32") ? FLOAT4OID :
		is_one_of(word, "double", "float64") ? FLOAT8OID : NUMERICOID;
}

static void
append_enum(Choice *c, const KsTree *list)
{
	int			begin = c->reason.len;

	for (int i = 0; i < list->n; i++)
	{
		char	   *word = list->u.items[i].type == KS_JSON_STRING ?
			ks_walk_text(list->u.items[i].u.s, list->u.items[i].n) : NULL;

		if (c->reason.len - begin > MAX_WORDS)
		{
			appendStringInfoString(&c->reason, ", ...");
			return;
		}
		if (word)
			appendStringInfo(&c->reason, "%s%s", c->reason.len > begin ? ", " : ": ", word);
	}
}

static void
choose_string(const KsTree *tree, Choice *c)
{
	static const struct
	{
		const char *format;
		Oid			typid;
	}			known[] = {
		{"date", DATEOID}, {"date-time", TIMESTAMPTZOID}, {"time", TIMETZOID}, {"duration", INTERVALOID},
		{"uuid", UUIDOID}, {"ipv4", INETOID}, {"ipv6", INETOID}
	};
	char	   *word = word_of(tree);
	const KsTree *list = ks_walk_member(tree, "enum", KS_JSON_ARRAY);

	append_word(c, tree, word);
	c->typid = TEXTOID;
	for (int i = 0; word && i < (int) lengthof(known); i++)
		if (strcmp(known[i].format, word) == 0)
			c->typid = known[i].typid;
	if (list)
		append_enum(c, list);
}

static void choose(KsWalk *w, KsWalkPlace p, Choice *c, int depth);

static void
choose_array(KsWalk *w, KsWalkPlace p, Choice *c, int depth)
{
	const KsTree *items = ks_tree_member(p.tree, "items");
	Oid			array = InvalidOid;
	Choice		item;

	c->typid = JSONBOID;
	/* a list of schemas is one for each place */
	if (items == NULL || items->type != KS_JSON_OBJECT || ks_tree_member(p.tree, "prefixItems") || depth >= MAX_LISTS)
		return;
	choose(w, ks_walk_inside(w, p, items), &item, depth + 1);
	appendStringInfo(&c->reason, " of %s", item.reason.data);
	if (item.typid != JSONBOID && !OidIsValid(get_element_type(item.typid)))
		array = get_array_type(item.typid);
	if (OidIsValid(array))
		c->typid = array;
}

static void
choose(KsWalk *w, KsWalkPlace p, Choice *c, int depth)
{
	memset(c, 0, sizeof(Choice));
	initStringInfo(&c->reason);
	p = ks_walk_follow(w, p, &c->nullable);
	c->types = ks_walk_types(w, p, depth);
	c->nullable |= (c->types & KS_WALK_NULL) != 0;
	c->types &= ~KS_WALK_NULL;
	if (c->types & KS_WALK_NUMBER)
		c->types &= ~KS_WALK_INTEGER;
	ks_walk_append_types(c->types, &c->reason);
	switch (c->types)
	{
		case 0:
			appendStringInfoString(&c->reason, "null, and nothing else");
			c->typid = TEXTOID;
			break;
		case KS_WALK_BOOLEAN:
			c->typid = BOOLOID;
			break;
		case KS_WALK_INTEGER:
			choose_integer(p.tree, c);
			break;
		case KS_WALK_NUMBER:
			choose_number(p.tree, c);
			break;
		case KS_WALK_STRING:
			choose_string(p.tree, c);
			break;
		case KS_WALK_ARRAY:
			choose_array(w, p, c, depth);
			break;
		default:
			c->typid = JSONBOID;
			break;
	}
}

/* As the type reads it; NULL: it has none that is not null, or none that a column could have. */
static char *
default_of(const KsTree *tree, Oid typid)
{
	const KsTree *v = ks_tree_member(tree, "default");

	if (v == NULL)
		return NULL;
	switch (typid)
	{
		case BOOLOID:
			return ks_walk_type_of_value(v) != KS_WALK_BOOLEAN ? NULL : pstrdup(v->type == KS_JSON_TRUE ? "true" : "false");
		case INT2OID:
		case INT4OID:
		case INT8OID:
			/* so few digits that it has all of them */
			return ks_walk_type_of_value(v) == KS_WALK_INTEGER && v->n <= (typid == INT2OID ? 4 : typid == INT4OID ? 9 : 18) ? pnstrdup(v->u.s, v->n) : NULL;
		case NUMERICOID:
			return v->type == KS_JSON_NUMBER && v->n <= 100 && !memchr(v->u.s, 'e', v->n) && !memchr(v->u.s, 'E', v->n) ?
				pnstrdup(v->u.s, v->n) : NULL;
		case TEXTOID:
			if (v->type != KS_JSON_STRING)
				return NULL;
			return v->n == 0 ? pstrdup("") : ks_walk_text(v->u.s, v->n);
		default:
			return NULL;
	}
}

/* People's words for it, here or where it leads. */
static char *
comment_of(const KsWalk *w, KsWalkPlace p)
{
	bool		nullable;
	KsWalkPlace q = ks_walk_follow(w, p, &nullable);
	char	   *text = ks_walk_text_member(p.tree, "description");

	if (text == NULL)
		text = ks_walk_text_member(q.tree, "description");
	if (text == NULL && ks_tree_member(q.tree, "connect.type") == NULL)
		text = ks_walk_text_member(q.tree, "title");
	return text;
}

void
ks_jschema_column(KsDocuments *docs, KsShapeColumn *col, KsWalkPlace p, int *left)
{
	int			budget = Min(*left, BUDGET_OF_ONE);
	KsWalk		w = {docs, budget};
	bool		nullable;
	int		   *node = palloc(sizeof(int));
	Choice		c;

	choose(&w, p, &c, 0);
	*left -= budget - Max(w.budget, 0);
	col->typid = c.typid;
	col->typmod = -1;
	col->nullable = c.nullable;
	col->nothing = c.types == 0;
	col->reason = c.reason.data;
	col->comment = comment_of(&w, p);
	col->default_text = default_of(p.tree, c.typid);
	if (col->default_text == NULL)
		col->default_text = default_of(ks_walk_follow(&w, p, &nullable).tree, c.typid);
	*node = c.types;
	col->node = node;
}
