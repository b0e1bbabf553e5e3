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
 * So it is with attributes of the columns' composite types, by members of objects, and
 * with fields of CSV, which go to columns by their places, when a column has gone.
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

KS_NORETURN static void moved(const KsSink *sink, const KsTarget *target, const KsColumn *col, const char *was);

static void
moved(const KsSink *sink, const KsTarget *target, const KsColumn *col, const char *was)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of \"%s\" would take field $%d, and has taken %s", col->name,
					get_rel_name(target->relid), col->position + 1, was),
			 errdetail("Other columns stand before it now."),
			 errhint("Say in \"columns\" which fields columns take (\"%s\": \"%s\") or let records have those that there are; then kafka_sink.resume(%s).",
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

static bool
is_unmapped(const KsColumn *col)
{
	return col->by_name || col->by_order;
}

/* What such a column takes, in the words of "columns". */
static const char *
field_of(const KsColumn *col)
{
	return col->by_name ? col->name : psprintf("$%d", col->position + 1);
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
	if (col == NULL || !is_unmapped(col))
		return false;			/* dropped, or mapped */
	if (strcmp(was, field_of(col)) != 0)
	{
		if (col->by_order)
			moved(sink, target, col, was);
		renamed(sink, target, col, was);
	}
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

		if (is_unmapped(was) && was->filled)
			follow(sink, target, target->relid, was->attnum, field_of(was), was->stored);
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

/* Is it to be stored? */
static bool
is_new(const KsTarget *target, bool filled, bool stored)
{
	return filled && (!stored || target->filled_stale);
}

static KsFilledColumn *
make_filled(Oid relid, AttrNumber attnum, const char *name)
{
	KsFilledColumn *filled = palloc(sizeof(KsFilledColumn));

	filled->relid = relid;
	filled->attnum = attnum;
	filled->name = unconstify(char *, name);
	return filled;
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

		if (!is_unmapped(col) || !is_new(target, col->filled, col->stored))
			continue;
		columns = lappend(columns, make_filled(target->relid, col->attnum, field_of(col)));
		col->stored = true;
	}
	foreach(lc, target->types.composites)
	{
		KsComposite *c = lfirst(lc);

		for (int i = 0; OidIsValid(c->relid) && i < c->tupdesc->natts; i++)
		{
			if (!is_new(target, c->filled[i], c->stored[i]))
				continue;
			columns = lappend(columns, make_filled(c->relid, i + 1, c->fields[i].name));
			c->stored[i] = true;
		}
	}
	if (columns == NIL && !target->filled_stale)
		return false;
	ks_filled_write(sink->name, topic, columns, target->filled_stale);
	target->filled_stale = false;
	return true;
}
