/*
 * target_sql.c
 *	  The statements that write to a target, over the relation "batch".
 *
 * None says ONLY: rows may be in partitions, in children to which a trigger or
 * another extension has brought them, or in children that are tables of their own.
 */
#include "postgres.h"

#include "catalog/pg_attribute.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/error.h"
#include "write/accumulate.h"
#include "write/command.h"
#include "write/target_int.h"

/* update_if is the owner's SQL: what is wrong with it should be said at once. */
static void
check_update_if(KsTarget *target, const KsSink *sink)
{
	MemoryContext cxt = CurrentMemoryContext;

	PG_TRY();
	{
		EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));

		ks_filter_parse(sink->update_if, "update_if");
		SPI_connect();
		enr->md.name = "batch";
		enr->md.reliddesc = InvalidOid;
		enr->md.tupdesc = target->rowdesc;
		enr->md.enrtype = ENR_NAMED_TUPLESTORE;
		if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER ||
			SPI_prepare(target->insert_sql, 0, NULL) == NULL)
			elog(ERROR, "could not prepare \"%s\"", target->insert_sql);
		SPI_finish();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		edata->cursorpos = 0;
		edata->detail = psprintf("%s%sIt is the setting update_if of sink \"%s\".",
								 edata->detail ? edata->detail : "", edata->detail ? "  " : "",
								 sink->name);
		if (edata->hint == NULL)
			edata->hint = psprintf("The row that is there is %s, the record's is excluded: for example %s.seen_at < excluded.seen_at.",
								   quote_identifier(get_rel_name(target->relid)),
								   quote_identifier(get_rel_name(target->relid)));
		ks_error_rethrow(edata);
	}
	PG_END_TRY();
}

/* What an update writes to the columns that are not of the key; patch: if the record has them. */
static char *
build_set(const KsTarget *target, Relation rel, bool patch)
{
	const char *table = quote_identifier(RelationGetRelationName(rel));
	StringInfoData set;

	initStringInfo(&set);
	for (int i = 0; i < target->ncols; i++)
	{
		const KsColumn *col = &target->cols[i];
		const char *quoted = quote_identifier(col->name);

		if (col->keyno >= 0 || col->insert_only)
			continue;
		appendStringInfo(&set, "%s%s = ", set.len ? ", " : "", quoted);
		if (patch)
			appendStringInfo(&set, "CASE pg_catalog.get_byte(excluded.%s, %d) WHEN 1 THEN excluded.%s ELSE %s.%s END",
							 quote_identifier(target->given), i, quoted, table, quoted);
		else if (target->accumulate)
			appendStringInfoString(&set, ks_accumulate_sql(target->accumulate, i, table, quoted));
		else
			appendStringInfo(&set, "EXCLUDED.%s", quoted);
	}
	return set.len > 0 ? set.data : NULL;
}

/*
 * A statement that changes rows by the key.  Where rows are in children of the
 * table, of which each has keys of its own, one record may change several rows,
 * and the records that did are counted.
 */
static char *
count_keys(const KsTarget *target, Relation rel, const char *sql, const char *batch)
{
	StringInfoData keys;

	if (rel->rd_rel->relkind != RELKIND_RELATION || !rel->rd_rel->relhassubclass)
		return pstrdup(sql);
	initStringInfo(&keys);
	for (int i = 0; i < target->nkeys; i++)
	{
		const KsColumn *col = &target->cols[target->keycols[i]];

		appendStringInfo(&keys, "%s%s.%s%s", i ? ", " : "", batch, quote_identifier(col->name),
						 col->compared);
	}
	return psprintf("WITH changed AS (%s RETURNING %s) SELECT DISTINCT * FROM changed", sql, keys.data);
}

static char *
build_update(const KsTarget *target, const KsSink *sink, Relation rel, const char *set)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "UPDATE %s SET %s FROM batch excluded WHERE %s",
					 target->qualified_name, set, target->same_key.data);
	if (sink->update_if)
		appendStringInfo(&sql, " AND (%s\n)", sink->update_if);
	return count_keys(target, rel, sql.data, "excluded");
}

static char *
build_insert(const KsTarget *target, const KsSink *sink, Relation rel, const char *set)
{
	StringInfoData sql;
	StringInfoData cols;
	bool		overriding = false;

	initStringInfo(&cols);
	for (int i = 0; i < target->ncols; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), target->cols[i].attnum - 1);

		appendStringInfo(&cols, "%s%s", i ? ", " : "", quote_identifier(target->cols[i].name));
		overriding |= att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
	}
	initStringInfo(&sql);
	appendStringInfo(&sql, "INSERT INTO %s (%s)%s SELECT %s FROM batch", target->qualified_name,
					 cols.data, overriding ? " OVERRIDING SYSTEM VALUE" : "", cols.data);
	if (target->conflict && set)
		appendStringInfo(&sql, " ON CONFLICT %s DO UPDATE SET %s", target->conflict, set);
	else if (target->conflict)
		appendStringInfo(&sql, " ON CONFLICT %s DO NOTHING", target->conflict);
	else if (sink->insert_mode == KS_IGNORE)
		appendStringInfoString(&sql, " ON CONFLICT DO NOTHING");
	if (sink->update_if)
		appendStringInfo(&sql, " WHERE (%s\n)", sink->update_if);
	return sql.data;
}

void
ks_target_build_sql(KsTarget *target, const KsSink *sink, Relation rel, const char *deletes)
{
	bool		update = sink->insert_mode == KS_UPDATE;
	char	   *set = build_set(target, rel, update);

	if (update && set == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column of \"%s\" is left to update", RelationGetRelationName(rel)),
				 errdetail("All that are filled from records belong to the key.")));
	target->insert_sql = update ? build_update(target, sink, rel, set) :
		build_insert(target, sink, rel, set);
	if (ks_sink_patches(sink) && set)
		target->patch_sql = build_update(target, sink, rel, build_set(target, rel, true));
	if (target->deletes)
	{
		target->empty_sql = psprintf("DELETE FROM %s", target->qualified_name);
		target->delete_sql = count_keys(target, rel,
										psprintf("DELETE FROM %s t USING batch b WHERE %s",
												 target->qualified_name, deletes), "b");
	}
	target->rows_may_vanish = target->rows_may_vanish ||
		sink->insert_mode == KS_IGNORE || update || sink->update_if ||
		(sink->insert_mode != KS_INSERT && set == NULL);
	if (sink->update_if)
		check_update_if(target, sink);
}
