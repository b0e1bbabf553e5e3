/*
 * filled.c
 *	  Columns that are renamed after records have filled them.
 *
 * A field goes to the column of its name.  If that has another name now, the field would
 * have no column any more, and the column would get its default, over what upserts find
 * there.  Nobody but the user knows what is meant, so that is an error, whoever is the
 * next to build the target: what this process has seen records fill is in the target, what
 * others have seen is in the catalog (catalog/filled.c).
 *
 * So it is with attributes of the columns' composite types, by members of objects.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "catalog/filled.h"
#include "write/target_int.h"

KS_NORETURN static void renamed(const KsSink *sink, const KsTarget *target, const KsColumn *col, const char *was);

static void
renamed(const KsSink *sink, const KsTarget *target, const KsColumn *col, const char *was)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of \"%s\" has been renamed to \"%s\"", was,
					get_rel_name(target->relid), col->name),
			 errdetail("Records have filled it from their field \"%s\".", was),
			 errhint("Map the field in \"columns\" (\"%s\": \"%s\") or let records have one of the new name; then kafka_sink.resume(%s).",
					 col->name, was, quote_literal_cstr(sink->name))));
}

KS_NORETURN static void renamed_attribute(const KsSink *sink, const KsComposite *c, int i, const char *was);

static void
renamed_attribute(const KsSink *sink, const KsComposite *c, int i, const char *was)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("attribute \"%s\" of type %s has been renamed to \"%s\"", was, format_type_be(c->typid), c->fields[i].name),
			 errdetail("Records have filled it from the member \"%s\" of objects.", was),
			 errhint("Let records have the new name, or give the attribute the old one; then kafka_sink.resume(%s).",
					 quote_literal_cstr(sink->name))));
}

/* What is known of a column, or of an attribute. */
typedef struct Known
{
	bool	   *filled;
	bool	   *stored;
} Known;

static KsComposite *
find_composite(const KsTarget *target, Oid relid)
{
	ListCell   *lc;

	foreach(lc, target->types.composites)
	{
		KsComposite *c = lfirst(lc);

		if (c->relid == relid)
			return c;
	}
	return NULL;
}

static bool
find_attribute(const KsSink *sink, const KsTarget *target, Oid relid, AttrNumber attnum, const char *was, Known *known)
{
	KsComposite *c = find_composite(target, relid);
	int			i = attnum - 1;

	if (c == NULL || i >= c->tupdesc->natts || c->fields[i].len < 0)
		return false;			/* no column has the type any more, or dropped */
	if (strcmp(was, c->fields[i].name) != 0)
		renamed_attribute(sink, c, i, was);
	known->filled = &c->filled[i];
	known->stored = &c->stored[i];
	return true;
}

/* Of one that was filled under a name: false, if it takes no field of its name now. */
static bool
find_filled(const KsSink *sink, KsTarget *target, Oid relid, AttrNumber attnum, const char *was, Known *known)
{
	int			i;
	KsColumn   *col;

	if (relid != target->relid)
		return find_attribute(sink, target, relid, attnum, was, known);
	i = ks_target_find_column(target, attnum);
	col = i >= 0 ? &target->cols[i] : NULL;
	if (col == NULL || !col->by_name)
		return false;			/* dropped, or mapped */
	if (strcmp(was, col->name) != 0)
		renamed(sink, target, col, was);
	known->filled = &col->filled;
	known->stored = &col->stored;
	return true;
}

static void
follow(const KsSink *sink, KsTarget *target, Oid relid, AttrNumber attnum, const char *was, bool stored)
{
	Known		known;

	if (find_filled(sink, target, relid, attnum, was, &known))
	{
		*known.filled = true;
		*known.stored = stored;
	}
	else
		target->filled_stale |= stored;
}

void
ks_filled_follow(const KsSink *sink, const KsTarget *old, KsTarget *target)
{
	ListCell   *lc;

	target->filled_stale = old->filled_stale;
	for (int i = 0; i < old->ncols; i++)
	{
		const KsColumn *was = &old->cols[i];

		if (was->by_name && was->filled)
			follow(sink, target, target->relid, was->attnum, was->name, was->stored);
	}
	foreach(lc, old->types.composites)
	{
		const KsComposite *was = lfirst(lc);

		for (int i = 0; OidIsValid(was->relid) && i < was->tupdesc->natts; i++)
			if (was->filled[i])
				follow(sink, target, was->relid, i + 1, was->fields[i].name, was->stored[i]);
	}
}

void
ks_filled_load(const KsSink *sink, const char *topic, KsTarget *target)
{
	List	   *relids = list_make1_oid(target->relid);
	ListCell   *lc;

	if (!OidIsValid(target->relid))
		return;
	target->filled_stale = false;
	for (int i = 0; i < target->ncols; i++)
		target->cols[i].stored = false;
	foreach(lc, target->types.composites)
	{
		KsComposite *c = lfirst(lc);

		memset(c->stored, 0, c->tupdesc->natts * sizeof(bool));
		if (OidIsValid(c->relid))
			relids = lappend_oid(relids, c->relid);
	}
	foreach(lc, ks_filled_read(sink->name, topic, relids))
	{
		const KsFilledColumn *was = lfirst(lc);
		Known		known;

		if (find_filled(sink, target, was->relid, was->attnum, was->name, &known))
			*known.filled = *known.stored = true;
		else
			target->filled_stale = true;
	}
}

/* To what is to be stored, unless it is. */
static List *
add_filled(List *columns, const KsTarget *target, Oid relid, AttrNumber attnum, const char *name, Known known)
{
	KsFilledColumn *filled;

	if (!*known.filled || (*known.stored && !target->filled_stale))
		return columns;
	filled = palloc(sizeof(KsFilledColumn));
	filled->relid = relid;
	filled->attnum = attnum;
	filled->name = unconstify(char *, name);
	*known.stored = true;
	return lappend(columns, filled);
}

bool
ks_filled_store(const KsSink *sink, const char *topic, KsTarget *target)
{
	List	   *columns = NIL;
	ListCell   *lc;

	if (!OidIsValid(target->relid))
		return false;
	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		if (col->by_name)
			columns = add_filled(columns, target, target->relid, col->attnum, col->name, (Known) {&col->filled, &col->stored});
	}
	foreach(lc, target->types.composites)
	{
		KsComposite *c = lfirst(lc);

		for (int i = 0; OidIsValid(c->relid) && i < c->tupdesc->natts; i++)
			columns = add_filled(columns, target, c->relid, i + 1, c->fields[i].name, (Known) {&c->filled[i], &c->stored[i]});
	}
	if (columns == NIL && !target->filled_stale)
		return false;
	ks_filled_write(sink->name, topic, columns, target->filled_stale);
	target->filled_stale = false;
	return true;
}
