/*
 * jschema_shape.c
 *	  What a table for records of a JSON schema looks like.
 *
 * A schema says what values are allowed, and seldom how large they are: an integer is a
 * bigint unless it says more, a number numeric, and a string what its format says.  What
 * has parts, or may be of several types, becomes jsonb; lists of what has a type of its
 * own are arrays.  Properties of all that "allOf" has are the row's.
 *
 * Schemas may refer to themselves, and to one part many times: so a walk has a budget,
 * and what is beyond is anything.  They are UTF-8 here, and shapes in the server's encoding.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "format/jschema_int.h"
#include "format/shape.h"

#define BUDGET			20000	/* schemas that are looked at for all columns, */
#define BUDGET_OF_ONE	500		/* for one, */
#define BUDGET_OF_LIST	2000	/* and to find out which there are */
#define MAX_FOLLOWED	32		/* references, one after another */
#define MAX_DEPTH		16		/* of schemas in schemas */
#define MAX_LISTS		4		/* in lists, that are looked into */
#define MAX_PROPERTIES	2000	/* more than a table has columns */
#define MAX_WORDS		200		/* bytes of an enum's words that are shown, about */

/* Types of values, as bits. */
#define T_NULL		0x01
#define T_BOOLEAN	0x02
#define T_INTEGER	0x04
#define T_NUMBER	0x08
#define T_STRING	0x10
#define T_ARRAY		0x20
#define T_OBJECT	0x40
#define T_ANY		0x7f

typedef struct Place
{
	const KsTree *tree;
	KsResource *resource;
} Place;

typedef struct Schema
{
	KsDocuments *docs;
	Place		root;
	const char *name;
} Schema;

typedef struct Walk
{
	const Schema *s;
	int			budget;
} Walk;

static const struct
{
	const char *word;
	int			bit;
}			types[] = {
	{"null", T_NULL}, {"boolean", T_BOOLEAN}, {"integer", T_INTEGER}, {"number", T_NUMBER},
	{"string", T_STRING}, {"array", T_ARRAY}, {"object", T_OBJECT}
};

/* --- texts --- */

/* In the server's encoding; NULL: it has a character of code 0, or nothing. */
static char *
server_text(const char *s, int len)
{
	char	   *text;

	if (len == 0 || memchr(s, '\0', len))
		return NULL;
	text = pnstrdup(s, len);
	return pg_any_to_server(text, len, PG_UTF8);
}

static const KsTree *
member_of_type(const KsTree *tree, const char *name, KsJsonType type)
{
	const KsTree *v = ks_tree_member(tree, name);

	return v && v->type == type ? v : NULL;
}

static char *
text_member(const KsTree *tree, const char *name)
{
	const KsTree *v = member_of_type(tree, name, KS_JSON_STRING);

	return v ? server_text(v->u.s, v->n) : NULL;
}

static bool
is_word(const KsTree *v, const char *word)
{
	return v->type == KS_JSON_STRING && v->n == (int) strlen(word) && memcmp(v->u.s, word, v->n) == 0;
}

/* --- where a schema is --- */

static Place
inside(const Walk *w, Place of, const KsTree *tree)
{
	return (Place) {tree, ks_documents_resource(w->s->docs, of.resource, tree)};
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
		const KsTree *list = member_of_type(tree, keywords[k], KS_JSON_ARRAY);
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

/* Where references and choices that are none lead. */
static Place
follow(const Walk *w, Place p, bool *nullable)
{
	for (int i = 0; i < MAX_FOLLOWED; i++)
	{
		const KsTree *ref = member_of_type(p.tree, "$ref", KS_JSON_STRING);
		const KsTree *only;
		KsFound		found;

		if (ref)
		{
			ks_documents_find(w->s->docs, p.resource, ks_jschema_string(ref), &found);
			p = (Place) {found.tree, found.resource};
			continue;
		}
		only = only_branch(p.tree, nullable);
		if (only == NULL)
			break;
		p = inside(w, p, only);
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
	return T_ANY;
}

static int
type_of_value(const KsTree *v)
{
	switch (v->type)
	{
		case KS_JSON_NULL:
			return T_NULL;
		case KS_JSON_TRUE:
		case KS_JSON_FALSE:
			return T_BOOLEAN;
		case KS_JSON_STRING:
			return T_STRING;
		case KS_JSON_ARRAY:
			return T_ARRAY;
		case KS_JSON_OBJECT:
			return T_OBJECT;
		default:
			return (int) strspn(v->u.s, "-0123456789") >= v->n ? T_INTEGER : T_NUMBER;
	}
}

static int	types_of(Walk *w, Place p, int depth);

/* Of any of its branches; 0: it has none. */
static int
types_of_branches(Walk *w, Place p, const char *keyword, int depth)
{
	const KsTree *list = member_of_type(p.tree, keyword, KS_JSON_ARRAY);
	int			result = 0;

	for (int i = 0; list && i < list->n; i++)
	{
		bool		nullable = false;
		Place		branch = follow(w, inside(w, p, &list->u.items[i]), &nullable);

		result |= types_of(w, branch, depth + 1) | (nullable ? T_NULL : 0);
	}
	return result;
}

static int
types_of(Walk *w, Place p, int depth)
{
	const KsTree *type = ks_tree_member(p.tree, "type");
	const KsTree *v;
	int			result = 0;

	if (--w->budget < 0 || depth > MAX_DEPTH)
		return T_ANY;
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
		return type_of_value(v);
	if ((v = member_of_type(p.tree, "enum", KS_JSON_ARRAY)) != NULL)
	{
		for (int i = 0; i < v->n; i++)
			result |= type_of_value(&v->u.items[i]);
		return result;
	}
	if (ks_tree_member(p.tree, "properties"))
		return T_OBJECT;
	result = types_of_branches(w, p, "oneOf", depth) | types_of_branches(w, p, "anyOf", depth);
	/* what all of them are */
	if (result == 0 && (v = member_of_type(p.tree, "allOf", KS_JSON_ARRAY)) != NULL)
	{
		result = T_ANY;
		for (int i = 0; i < v->n; i++)
		{
			bool		nullable = false;

			result &= types_of(w, follow(w, inside(w, p, &v->u.items[i]), &nullable), depth + 1);
		}
	}
	return result ? result : T_ANY;
}

/* --- types of columns --- */

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
	char	   *word = text_member(tree, "connect.type");

	return word ? word : text_member(tree, "format");
}

/* Which is its name for what stands for something else, such as a date. */
static void
append_word(Choice *c, const KsTree *tree, const char *word)
{
	char	   *title = ks_tree_member(tree, "connect.type") ? text_member(tree, "title") : NULL;

	if (word)
		appendStringInfo(&c->reason, ", %s", word);
	if (title)
		appendStringInfo(&c->reason, ", %s", title);
}

/* A limit of numbers, as the schema writes it; NULL: it has none. */
static const KsTree *
limit_of(const KsTree *tree, const char *name, const char *exclusive, double *value)
{
	const KsTree *v = member_of_type(tree, name, KS_JSON_NUMBER);

	if (v == NULL)
		v = member_of_type(tree, exclusive, KS_JSON_NUMBER);
	if (v)
		*value = strtod(pnstrdup(v->u.s, v->n), NULL);
	return v;
}

static bool
is_one_of(const char *word, const char *a, const char *b, const char *c)
{
	return word && (strcmp(word, a) == 0 || strcmp(word, b) == 0 || (c && strcmp(word, c) == 0));
}

static void
choose_integer(const KsTree *tree, Choice *c)
{
	char	   *word = word_of(tree);
	double		low = 0;
	double		high = 0;
	const KsTree *from = limit_of(tree, "minimum", "exclusiveMinimum", &low);
	const KsTree *to = limit_of(tree, "maximum", "exclusiveMaximum", &high);

	append_word(c, tree, word);
	if (from && to)
		appendStringInfo(&c->reason, ", %.*s to %.*s", from->n, from->u.s, to->n, to->u.s);
	if (low < -9.2e18 || high > 9.2e18)
		c->typid = NUMERICOID;
	else if (is_one_of(word, "int8", "int16", "int32") || (from && to && low >= PG_INT32_MIN && high <= PG_INT32_MAX))
		c->typid = INT4OID;
	else
		c->typid = INT8OID;
}

static void
choose_number(const KsTree *tree, Choice *c)
{
	char	   *word = word_of(tree);

	append_word(c, tree, word);
	c->typid = is_one_of(word, "float", "float32", NULL) ? FLOAT4OID :
		is_one_of(word, "double", "float64", NULL) ? FLOAT8OID : NUMERICOID;
}

static void
append_enum(Choice *c, const KsTree *list)
{
	int			begin = c->reason.len;

	for (int i = 0; i < list->n; i++)
	{
		char	   *word = list->u.items[i].type == KS_JSON_STRING ?
			server_text(list->u.items[i].u.s, list->u.items[i].n) : NULL;

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
	const KsTree *list = member_of_type(tree, "enum", KS_JSON_ARRAY);

	append_word(c, tree, word);
	c->typid = TEXTOID;
	for (int i = 0; word && i < (int) lengthof(known); i++)
		if (strcmp(known[i].format, word) == 0)
			c->typid = known[i].typid;
	if (list)
		append_enum(c, list);
}

static void choose(Walk *w, Place p, Choice *c, int depth);

static void
choose_array(Walk *w, Place p, Choice *c, int depth)
{
	const KsTree *items = ks_tree_member(p.tree, "items");
	Oid			array = InvalidOid;
	Choice		item;

	c->typid = JSONBOID;
	/* a list of schemas is one for each place */
	if (items == NULL || items->type != KS_JSON_OBJECT || ks_tree_member(p.tree, "prefixItems") || depth >= MAX_LISTS)
		return;
	choose(w, inside(w, p, items), &item, depth + 1);
	appendStringInfo(&c->reason, " of %s", item.reason.data);
	if (item.typid != JSONBOID && !OidIsValid(get_element_type(item.typid)))
		array = get_array_type(item.typid);
	if (OidIsValid(array))
		c->typid = array;
}

/* The words of types. */
static void
append_types(Choice *c)
{
	if (c->types == (T_ANY & ~T_NULL & ~T_INTEGER))
		appendStringInfoString(&c->reason, "anything");
	else
		for (int i = 0; i < (int) lengthof(types); i++)
			if (c->types & types[i].bit)
				appendStringInfo(&c->reason, "%s%s", c->reason.len > 0 ? " or " : "", types[i].word);
}

static void
choose(Walk *w, Place p, Choice *c, int depth)
{
	memset(c, 0, sizeof(Choice));
	initStringInfo(&c->reason);
	p = follow(w, p, &c->nullable);
	c->types = types_of(w, p, depth);
	c->nullable |= (c->types & T_NULL) != 0;
	c->types &= ~T_NULL;
	if (c->types & T_NUMBER)
		c->types &= ~T_INTEGER;
	append_types(c);
	switch (c->types)
	{
		case 0:
			appendStringInfoString(&c->reason, "null, and nothing else");
			c->typid = TEXTOID;
			break;
		case T_BOOLEAN:
			c->typid = BOOLOID;
			break;
		case T_INTEGER:
			choose_integer(p.tree, c);
			break;
		case T_NUMBER:
			choose_number(p.tree, c);
			break;
		case T_STRING:
			choose_string(p.tree, c);
			break;
		case T_ARRAY:
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
			return type_of_value(v) != T_BOOLEAN ? NULL : pstrdup(v->type == KS_JSON_TRUE ? "true" : "false");
		case INT4OID:
		case INT8OID:
			/* so few digits that it has all of them */
			return type_of_value(v) == T_INTEGER && v->n <= (typid == INT4OID ? 9 : 18) ? pnstrdup(v->u.s, v->n) : NULL;
		case NUMERICOID:
			return v->type == KS_JSON_NUMBER && v->n <= 100 && !memchr(v->u.s, 'e', v->n) && !memchr(v->u.s, 'E', v->n) ?
				pnstrdup(v->u.s, v->n) : NULL;
		case TEXTOID:
			if (v->type != KS_JSON_STRING)
				return NULL;
			return v->n == 0 ? pstrdup("") : server_text(v->u.s, v->n);
		default:
			return NULL;
	}
}

/* --- the table --- */

typedef struct Property
{
	KsText		name;
	Place		place;
} Property;

typedef struct Properties
{
	int			n;
	int			room;
	Property   *list;
} Properties;

static bool
is_listed(const Properties *all, int n, const KsText *name)
{
	for (int i = 0; i < n; i++)
		if (ks_text_compare(&all->list[i].name, name) == 0)
			return true;
	return false;
}

static int
compare_nth(const void *a, const void *b)
{
	return ((const Property *) a)->name.nth - ((const Property *) b)->name.nth;
}

/* In the order of the text, those that are not there yet. */
static void
add_own(Walk *w, Place p, Properties *all)
{
	const KsTree *own = member_of_type(p.tree, "properties", KS_JSON_OBJECT);
	int			before = all->n;

	if (own == NULL)
		return;
	for (int i = 0; i < own->n && all->n < MAX_PROPERTIES; i++)
	{
		const KsText *name = &own->names[i];

		if (name->len == 0 || memchr(name->s, '\0', name->len) || is_listed(all, before, name))
			continue;
		if (all->n == all->room)
		{
			all->room = all->room ? 2 * all->room : 16;
			all->list = all->list ? repalloc(all->list, all->room * sizeof(Property)) : palloc(all->room * sizeof(Property));
		}
		all->list[all->n++] = (Property) {*name, inside(w, p, &own->u.items[i])};
	}
	if (all->n > before)
		qsort(all->list + before, all->n - before, sizeof(Property), compare_nth);
}

/* Something is done with a schema, and with all that it is, too. */
typedef void (*Visit) (Walk *w, Place p, void *arg);

static void
visit_all(Walk *w, Place p, Visit visit, void *arg, int depth)
{
	bool		nullable = false;
	const KsTree *list;

	if (--w->budget < 0 || depth > MAX_DEPTH)
		return;
	CHECK_FOR_INTERRUPTS();
	p = follow(w, p, &nullable);
	visit(w, p, arg);
	list = member_of_type(p.tree, "allOf", KS_JSON_ARRAY);
	for (int i = 0; list && i < list->n; i++)
		visit_all(w, inside(w, p, &list->u.items[i]), visit, arg, depth + 1);
}

static void
visit_properties(Walk *w, Place p, void *arg)
{
	add_own(w, p, arg);
}

static Properties
properties_of(const Schema *s, Place p)
{
	Walk		w = {s, BUDGET_OF_LIST};
	Properties	all = {0};

	visit_all(&w, p, visit_properties, &all, 0);
	return all;
}

/* What has no member of that name is not by the schema. */
static void
visit_required(Walk *w, Place p, void *arg)
{
	KsShape    *shape = arg;
	const KsTree *list = member_of_type(p.tree, "required", KS_JSON_ARRAY);

	for (int i = 0; list && i < list->n; i++)
	{
		char	   *name = list->u.items[i].type == KS_JSON_STRING ?
			server_text(list->u.items[i].u.s, list->u.items[i].n) : NULL;
		int			col = name ? ks_names_find(shape->row, name, strlen(name)) : -1;

		if (col >= 0)
			shape->cols[col].required = true;
	}
}

/* People's words for it, here or where it leads. */
static char *
comment_of(const Walk *w, Place p)
{
	bool		nullable;
	Place		q = follow(w, p, &nullable);
	char	   *text = text_member(p.tree, "description");

	if (text == NULL)
		text = text_member(q.tree, "description");
	if (text == NULL && ks_tree_member(q.tree, "connect.type") == NULL)
		text = text_member(q.tree, "title");
	return text;
}

/* Out of what is left for all of them. */
static void
set_column(const Schema *s, KsShapeColumn *col, Place p, int *left)
{
	int			budget = Min(*left, BUDGET_OF_ONE);
	Walk		w = {s, budget};
	bool		nullable;
	int		   *node = palloc(sizeof(int));
	Choice		c;

	choose(&w, p, &c, 0);
	*left -= budget - Max(w.budget, 0);
	col->typid = c.typid;
	col->typmod = -1;
	col->nullable = c.nullable;
	col->reason = c.reason.data;
	col->comment = comment_of(&w, p);
	col->default_text = default_of(p.tree, c.typid);
	if (col->default_text == NULL)
		col->default_text = default_of(follow(&w, p, &nullable).tree, c.typid);
	*node = c.types;
	col->node = node;
}

static int
find(const KsShape *shape, const char *name, int len)
{
	return shape->row ? ks_names_find(shape->row, name, len) : -1;
}

/* Most types read what JSON has; whether they can is each value's affair. */
static bool
fits(const KsShapeColumn *col, KsType *type, KsUnit unit, bool debezium)
{
	int			bits = *(const int *) col->node;
	const KsType *base = ks_type_base(type);
	bool		number = base->kind >= KS_TYPE_INT2 && base->kind <= KS_TYPE_NUMERIC;

	if ((bits & ~(T_ARRAY | T_OBJECT)) == 0)
		return !number && base->kind != KS_TYPE_BOOL && base->kind != KS_TYPE_UUID && !ks_type_is_time(base);
	return bits != T_BOOLEAN || (!number && !ks_type_is_time(base));
}

static const KsShapeOps ops = {.find = find, .fits = fits};

/* A column for each property. */
static void
set_columns(const Schema *s, KsShape *shape, Place p, const Properties *all)
{
	Walk		w = {s, BUDGET_OF_LIST};
	int			left = BUDGET;
	KsField    *fields = palloc(all->n * sizeof(KsField));
	KsNames    *names = palloc(sizeof(KsNames));

	shape->n = all->n;
	shape->cols = palloc0(all->n * sizeof(KsShapeColumn));
	for (int i = 0; i < all->n; i++)
	{
		const KsText *name = &all->list[i].name;
		char	   *text = server_text(name->s, name->len);

		CHECK_FOR_INTERRUPTS();
		set_column(s, &shape->cols[i], all->list[i].place, &left);
		shape->cols[i].field = fields[i] = (KsField) {text, (int) strlen(text)};
	}
	ks_names_init(names, fields, all->n);
	shape->row = names;
	visit_all(&w, p, visit_required, shape, 0);
	for (int i = 0; i < all->n; i++)
		shape->cols[i].nullable |= !shape->cols[i].required;
}

static const Property *
find_property(const Properties *all, const char *name)
{
	KsText		wanted = {name, (int) strlen(name), 0};

	for (int i = 0; i < all->n; i++)
		if (ks_text_compare(&all->list[i].name, &wanted) == 0)
			return &all->list[i];
	return NULL;
}

/* Of Debezium's changes: the row as it is; false: it is no such schema. */
static bool
is_change(const Schema *s, const Properties *all, Place *row)
{
	Walk		w = {s, 1};
	const Property *after = find_property(all, "after");
	bool		nullable;

	if (after == NULL || !find_property(all, "op") || !find_property(all, "before"))
		return false;
	*row = follow(&w, after->place, &nullable);
	return ks_tree_member(row->tree, "properties") != NULL;
}

static KsShape *
make_shape(const void *type, bool changes)
{
	const Schema *s = type;
	KsShape    *shape = palloc0(sizeof(KsShape));
	Place		p = s->root;
	Properties	all = properties_of(s, p);
	int			left = BUDGET;

	shape->ops = &ops;
	shape->name = s->name ? pstrdup(s->name) : NULL;
	if (changes && is_change(s, &all, &p))
	{
		shape->envelope = KS_DEBEZIUM;
		all = properties_of(s, p);
	}
	shape->comment = text_member(p.tree, "description");
	if (all.n > 0)
		set_columns(s, shape, p, &all);
	else
	{
		shape->n = 1;
		shape->cols = palloc0(sizeof(KsShapeColumn));
		set_column(s, &shape->cols[0], p, &left);
	}
	return shape;
}

/* --- the schema --- */

static const void *
parse(const KsSchemaText *text)
{
	Schema	   *s = palloc0(sizeof(Schema));
	KsResource *root;

	if (strcmp(text->type, "JSON") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the schema is not a JSON schema"),
				 errdetail("Its type is %s.", text->type)));
	s->docs = ks_documents_load(text, &root);
	s->root = (Place) {root->root, root};
	s->name = ks_jschema_name_of(text->text);
	/* what its references do not lead to is found now */
	(void) make_shape(s, false);
	return s;
}

const KsShaper ks_jschema_shaper = {.parse = parse, .shape = make_shape};
