/*
 * filled.c
 *	  Columns that are renamed after records have filled them.
 *
 * A field goes to the column of its name.  If that has another name now, the field would
 * have no column any more, and the column would get its default, over what upserts find
 * there.  Nobody but the user knows what is meant, so that is an error, whoever is the
 * next to build the target: what this process has seen records fill is in the target, what
 * others have seen is in the catalog (catalog/filled.c).
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

/* Of one that was filled under a name: NULL, if it takes no field of its name now. */
static KsColumn *
find_filled(const KsSink *sink, KsTarget *target, AttrNumber attnum, const char *was)
{
	int			c = ks_target_find_column(target, attnum);
	KsColumn   *col = c >= 0 ? &target->cols[c] : NULL;

	if (col == NULL || !col->by_name)
		return NULL;			/* dropped, or mapped */
	if (strcmp(was, col->name) != 0)
		renamed(sink, target, col, was);
	return col;
}

void
ks_filled_follow(const KsSink *sink, const KsTarget *old, KsTarget *target)
{
	target->filled_stale = old->filled_stale;
	for (int i = 0; i < old->ncols; i++)
	{
		const KsColumn *was = &old->cols[i];
		KsColumn   *col;

		if (!was->by_name || !was->filled)
			continue;
		col = find_filled(sink, target, was->attnum, was->name);
		if (col == NULL)
		{
			target->filled_stale |= was->stored;
			continue;
		}
		col->filled = true;
		col->stored = was->stored;
	}
}

void
ks_filled_load(const KsSink *sink, const char *topic, KsTarget *target)
{
	ListCell   *lc;

	if (!OidIsValid(target->relid))
		return;
	target->filled_stale = false;
	for (int i = 0; i < target->ncols; i++)
		target->cols[i].stored = false;
	foreach(lc, ks_filled_read(sink->name, topic, target->relid))
	{
		const KsFilledColumn *was = lfirst(lc);
		KsColumn   *col = find_filled(sink, target, was->attnum, was->name);

		if (col)
			col->filled = col->stored = true;
		else
			target->filled_stale = true;
	}
}

bool
ks_filled_store(const KsSink *sink, const char *topic, KsTarget *target)
{
	List	   *columns = NIL;

	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];
		KsFilledColumn *filled;

		if (!col->filled || !col->by_name || (col->stored && !target->filled_stale))
			continue;
		filled = palloc(sizeof(KsFilledColumn));
		filled->attnum = col->attnum;
		filled->name = unconstify(char *, col->name);
		columns = lappend(columns, filled);
		col->stored = true;
	}
	if (!OidIsValid(target->relid) || (columns == NIL && !target->filled_stale))
		return false;
	ks_filled_write(sink->name, topic, target->relid, columns, target->filled_stale);
	target->filled_stale = false;
	return true;
}
