/*
 * describe_versions.c
 *	  What the versions of a subject before the newest one ask of the table.
 *
 * Their records are in the topic, too, or may be.  A record by a version that lacks a field
 * leaves the column to its DEFAULT, and one by a version in which it could be null may say
 * that: then the column cannot be NOT NULL.  Where the format knows what a record without
 * the field is read as (Protobuf: an empty list, 0), that is the DEFAULT.
 *
 * A field that was renamed has an alias in the newest version, and that is its name in an
 * older one: so a column that takes its values by the alias takes those of both.  Of all its
 * names the one is taken that the most versions know.
 */
#include "postgres.h"

#include "format/schema_cache.h"
#include "sql/describe.h"
#include "sql/funcs_schema.h"

#define MAX_VERSIONS	100		/* each is a request, and what it refers to are more */

#define MAX_ALIASES		10		/* of a field, that are tried */

/* A name that versions may have a field by. */
typedef struct FieldName
{
	KsField		field;			/* NULL: of a value as a whole */
	KsShapeColumn col;			/* as it is to be, if it takes the field by that name */
	int			nversions;		/* that have it */
} FieldName;

typedef struct FieldNames
{
	int			n;
	FieldName  *list;			/* the newest one first */
} FieldNames;

typedef struct Older
{
	KsDescribedPart *part;
	const KsShaper *shaper;
	const char *type;			/* a registry's word for the format */
	FieldNames *names;			/* by column */
	const KsSchemaText *text;	/* of the one at hand */
} Older;

static void
note(KsDescribedPart *part, const char *words)
{
	part->notes = lappend(part->notes, unconstify(char *, words));
}

/* A KsCompile: the shape; NULL: its records are of other messages. */
static void *
make_shape(void *arg)
{
	const Older *o = arg;
	const void *type = o->shaper->parse(o->text);

	if (o->shaper->named)
		type = o->shaper->named(type, o->part->shape->name);
	return type ? o->shaper->shape(type, true) : NULL;
}

/* For people: what is read. */
static const char *
words_of(const char *absent)
{
	return strlen(absent) == 0 || strcmp(absent, "{}") == 0 || strcmp(absent, "[]") == 0 || strcmp(absent, "\\x") == 0 ?
		"empty" : absent;
}

static void
explain(KsShapeColumn *col, const char *words)
{
	col->reason = psprintf("%s; %s", col->reason, words);
}

/* Records by that version have no such field, or may lack it. */
static void
take_absent(KsShapeColumn *col, bool is_there, int version)
{
	const char *words = psprintf("%s in version %d", is_there ? "can be absent" : "not", version);

	if (col->default_text)
		return;
	col->lacking = true;
	col->nullable = col->absent_text == NULL;
	col->default_text = col->absent_text;
	explain(col, col->nullable ? words : psprintf("%s: %s", words, words_of(col->absent_text)));
}

/* As far as the column takes the field by that name. */
static void
compare_name(const Older *o, FieldName *name, const KsShape *older, int version)
{
	KsShapeColumn *col = &name->col;
	const KsShapeColumn *was = name->field.name ? ks_shape_find(older, name->field.name, name->field.len) :
		older->n > 0 && older->cols[0].field.name == NULL ? &older->cols[0] : NULL;

	name->nversions += was != NULL;
	if (col->nullable)
		return;
	if (was == NULL || (was->nullable && !o->shaper->has_null))
		take_absent(col, was != NULL, version);
	else if (was->nullable)
	{
		col->nullable = true;
		explain(col, psprintf("can be null in version %d", version));
	}
}

static void
compare(const Older *o, const KsShape *older, int version)
{
	for (int i = 0; i < o->part->shape->n; i++)
		for (int k = 0; k < o->names[i].n; k++)
			compare_name(o, &o->names[i].list[k], older, version);
}

/* A KsVersionTaker. */
static void
take_version(int version, const KsSchemaText *text, const char *why, MemoryContext cxt, void *arg)
{
	Older	   *o = arg;
	KsCompiled	made = {0};
	const KsShape *shape;

	if (text && strcmp(text->type, o->type) != 0)
		why = psprintf("Its type is %s.", text->type);
	if (why == NULL)
	{
		o->text = text;
		shape = ks_compile_try(&made, cxt, NULL, make_shape, o);
		if (made.error)
			why = made.error->message;
		else if (shape && shape->envelope != o->part->shape->envelope)
			why = "It is not of Debezium's changes as the newest one is, or the other way around.";
		else if (shape)
			compare(o, shape, version);
	}
	if (why)
		note(o->part, psprintf("Version %d was not looked at: %s", version, why));
}

/* The names that the newest version takes the column's field by. */
static void
list_names(const KsShape *shape, int i, FieldNames *names)
{
	const KsShapeColumn *col = &shape->cols[i];
	int			n = Min(col->naliases, MAX_ALIASES);

	names->list = palloc0((n + 1) * sizeof(FieldName));
	names->list[names->n++] = (FieldName) {col->field, *col, 0};
	for (int a = 0; a < n; a++)
		/* not if another field has it */
		if (ks_shape_find(shape, col->aliases[a].name, col->aliases[a].len) == col)
			names->list[names->n++] = (FieldName) {col->aliases[a], *col, 0};
}

/* The one that the most versions have. */
static void
choose_name(KsShapeColumn *col, const FieldNames *names)
{
	const FieldName *best = &names->list[0];

	for (int k = 1; k < names->n; k++)
		if (names->list[k].nversions > best->nversions)
			best = &names->list[k];
	*col = best->col;
	if (best == &names->list[0])
		return;
	col->taken_by = best->field;
	explain(col, psprintf("\"%.*s\" in older versions", best->field.len, best->field.name));
}

void
ks_describe_versions(KsDescribedPart *part, const KsShaper *shaper, const char *type, const char *server,
					 const KsConf *conf, const char *subject, int newest)
{
	KsShape    *shape = part->shape;
	Older		o = {part, shaper, type, palloc0((shape->n + 1) * sizeof(FieldNames)), NULL};

	for (int i = 0; i < shape->n; i++)
		list_names(shape, i, &o.names[i]);
	if (!ks_schemas_before(server, conf, subject, newest, MAX_VERSIONS, take_version, &o))
		note(part, psprintf("Of the versions before it, only the newest %d were looked at.", MAX_VERSIONS));
	for (int i = 0; i < shape->n; i++)
		choose_name(&shape->cols[i], &o.names[i]);
}
