/*
 * describe_versions.c
 *	  What the versions of a subject before the newest one ask of the table.
 *
 * Their records are in the topic, too, or may be.  A record by a version that lacks a field
 * leaves the column to its DEFAULT, and one by a version in which it could be null may say
 * that: then the column cannot be NOT NULL.  Where the format knows what a record without
 * the field is read as (Protobuf: an empty list, 0), that is the DEFAULT.
 */
#include "postgres.h"

#include "format/schema_cache.h"
#include "sql/describe.h"
#include "sql/funcs_schema.h"

#define MAX_VERSIONS	100		/* each is a request, and what it refers to are more */

typedef struct Older
{
	KsDescribedPart *part;
	const KsShaper *shaper;
	const char *type;			/* a registry's word for the format */
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

static void
compare(const Older *o, const KsShape *older, int version)
{
	KsShape    *shape = o->part->shape;

	for (int i = 0; i < shape->n; i++)
	{
		KsShapeColumn *col = &shape->cols[i];
		const KsShapeColumn *was = col->field.name ? ks_shape_find(older, col->field.name, col->field.len) :
			older->n > 0 && older->cols[0].field.name == NULL ? &older->cols[0] : NULL;

		if (col->nullable)
			continue;
		if (was == NULL || (was->nullable && !o->shaper->has_null))
			take_absent(col, was != NULL, version);
		else if (was->nullable)
		{
			col->nullable = true;
			explain(col, psprintf("can be null in version %d", version));
		}
	}
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

void
ks_describe_versions(KsDescribedPart *part, const KsShaper *shaper, const char *type, const char *server,
					 const KsConf *conf, const char *subject, int newest)
{
	Older		o = {part, shaper, type, NULL};

	if (!ks_schemas_before(server, conf, subject, newest, MAX_VERSIONS, take_version, &o))
		note(part, psprintf("Of the versions before it, only the newest %d were looked at.", MAX_VERSIONS));
}
