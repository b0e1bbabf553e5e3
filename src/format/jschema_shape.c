/*
 * jschema_shape.c
 *	  What a table for records of a JSON schema looks like.
 *
 * It has a column (jschema_column.c) for each property, of all that "allOf" has, too; of
 * what has no properties one for the value as a whole.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#include "format/jschema_shape_int.h"

#define BUDGET			20000	/* schemas that are looked at for all columns, */
#define BUDGET_OF_LIST	2000	/* and to find out which there are */
#define MAX_PROPERTIES	2000	/* more than a table has columns */

typedef struct Schema
{
	KsDocuments *docs;
	KsWalkPlace root;
	const char *name;
} Schema;

typedef struct Property
{
	KsText		name;
	KsWalkPlace place;
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
add_own(KsWalk *w, KsWalkPlace p, Properties *all)
{
	const KsTree *own = ks_walk_member(p.tree, "properties", KS_JSON_OBJECT);
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
		all->list[all->n++] = (Property) {*name, ks_walk_inside(w, p, &own->u.items[i])};
	}
	if (all->n > before)
		qsort(all->list + before, all->n - before, sizeof(Property), compare_nth);
}

/* Something is done with a schema, and with all that it is, too. */
typedef void (*Visit) (KsWalk *w, KsWalkPlace p, void *arg);

static void
visit_all(KsWalk *w, KsWalkPlace p, Visit visit, void *arg, int depth)
{
	bool		nullable = false;
	const KsTree *list;

	if (--w->budget < 0 || depth > KS_WALK_MAX_DEPTH)
		return;
	CHECK_FOR_INTERRUPTS();
	p = ks_walk_follow(w, p, &nullable);
	visit(w, p, arg);
	list = ks_walk_member(p.tree, "allOf", KS_JSON_ARRAY);
	for (int i = 0; list && i < list->n; i++)
		visit_all(w, ks_walk_inside(w, p, &list->u.items[i]), visit, arg, depth + 1);
}

static void
visit_properties(KsWalk *w, KsWalkPlace p, void *arg)
{
	add_own(w, p, arg);
}

static Properties
properties_of(const Schema *s, KsWalkPlace p)
{
	KsWalk		w = {s->docs, BUDGET_OF_LIST};
	Properties	all = {0};

	visit_all(&w, p, visit_properties, &all, 0);
	return all;
}

/* What has no member of that name is not by the schema. */
static void
visit_required(KsWalk *w, KsWalkPlace p, void *arg)
{
	KsShape    *shape = arg;
	const KsTree *list = ks_walk_member(p.tree, "required", KS_JSON_ARRAY);

	for (int i = 0; list && i < list->n; i++)
	{
		char	   *name = list->u.items[i].type == KS_JSON_STRING ?
			ks_walk_text(list->u.items[i].u.s, list->u.items[i].n) : NULL;
		int			col = name ? ks_names_find(shape->row, name, strlen(name)) : -1;

		if (col >= 0)
			shape->cols[col].required = true;
	}
}

static int
find(const KsShape *shape, const char *name, int len)
{
	return shape->row ? ks_names_find(shape->row, name, len) : -1;
}

/* Most types read what JSON has; whether they can is each value's affair. */
static bool
fits(const KsShapeColumn *col, KsType *type, KsUnit unit, bool connect)
{
	int			bits = *(const int *) col->node;
	const KsType *base = ks_type_base(type);
	bool		number = base->kind >= KS_TYPE_INT2 && base->kind <= KS_TYPE_NUMERIC;

	/* null alone is a value of any */
	if (bits != 0 && (bits & ~(KS_WALK_ARRAY | KS_WALK_OBJECT)) == 0)
		return !number && base->kind != KS_TYPE_BOOL && base->kind != KS_TYPE_UUID && !ks_type_is_time(base);
	return bits != KS_WALK_BOOLEAN || (!number && !ks_type_is_time(base));
}

static const KsShapeOps ops = {.find = find, .fits = fits};

/* A name, which cannot be left out; it has no character of code 0. */
static char *
name_of(const KsText *name)
{
	char	   *text = ks_walk_text(name->s, name->len);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("a property's name has characters that a database in %s cannot hold", GetDatabaseEncodingName()),
				 errhint("Use a database in UTF8, or give the schema without the property: kafka_sink.add_schema().")));
	return text;
}

/* A column for each property. */
static void
set_columns(const Schema *s, KsShape *shape, KsWalkPlace p, const Properties *all)
{
	KsWalk		w = {s->docs, BUDGET_OF_LIST};
	int			left = BUDGET;
	KsField    *fields = palloc(all->n * sizeof(KsField));
	KsNames    *names = palloc(sizeof(KsNames));

	shape->n = all->n;
	shape->cols = palloc0(all->n * sizeof(KsShapeColumn));
	for (int i = 0; i < all->n; i++)
	{
		const KsText *name = &all->list[i].name;
		char	   *text = name_of(name);

		CHECK_FOR_INTERRUPTS();
		ks_jschema_column(s->docs, &shape->cols[i], all->list[i].place, &left);
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
is_change(const Schema *s, const Properties *all, KsWalkPlace *row)
{
	KsWalk		w = {s->docs, 1};
	const Property *after = find_property(all, "after");
	bool		nullable;

	if (after == NULL || !find_property(all, "op") || !find_property(all, "before"))
		return false;
	*row = ks_walk_follow(&w, after->place, &nullable);
	return ks_tree_member(row->tree, "properties") != NULL;
}

static KsShape *
make_shape(const void *type, bool changes)
{
	const Schema *s = type;
	KsShape    *shape = palloc0(sizeof(KsShape));
	KsWalkPlace p = s->root;
	Properties	all = properties_of(s, p);
	int			left = BUDGET;

	shape->ops = &ops;
	shape->name = s->name ? pstrdup(s->name) : NULL;
	if (changes && is_change(s, &all, &p))
	{
		shape->envelope = KS_DEBEZIUM;
		all = properties_of(s, p);
	}
	shape->comment = ks_walk_text_member(p.tree, "description");
	if (all.n > 0)
		set_columns(s, shape, p, &all);
	else
	{
		shape->n = 1;
		shape->cols = palloc0(sizeof(KsShapeColumn));
		ks_jschema_column(s->docs, &shape->cols[0], p, &left);
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
	s->root = (KsWalkPlace) {root->root, root};
	s->name = ks_jschema_name_of(text->text);
	/* what its references do not lead to is found now */
	(void) make_shape(s, false);
	return s;
}

const KsShaper ks_jschema_shaper = {.parse = parse, .has_null = true, .shape = make_shape};
