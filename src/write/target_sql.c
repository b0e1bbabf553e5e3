/*
 * target_sql.c
 *	  The statements that write to a target, over the relation "batch".
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "write/accumulate.h"
#include "write/command.h"
#include "write/target_build.h"

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
		ReThrowError(edata);
	}
	PG_END_TRY();
}

void
ks_target_build_sql(KsTarget *target, const KsSink *sink, Relation rel, const char *deletes)
{
	bool		partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	const char *table = quote_identifier(RelationGetRelationName(rel));
	StringInfoData sql,
				cols,
				set,
				patch;

	initStringInfo(&cols);
	initStringInfo(&set);
	initStringInfo(&patch);
	for (int i = 0; i < target->ncols; i++)
	{
		const char *quoted = quote_identifier(target->cols[i].name);

		appendStringInfo(&cols, "%s%s", i ? ", " : "", quoted);
		if (target->cols[i].keyno >= 0)
			continue;
		if (target->given)
			appendStringInfo(&patch, "%s%s = CASE pg_catalog.get_byte(excluded.%s, %d) WHEN 1 THEN excluded.%s ELSE %s.%s END",
							 patch.len ? ", " : "", quoted, quote_identifier(target->given), i,
							 quoted, table, quoted);
		if (sink->insert_mode == KS_UPDATE)
			continue;
		appendStringInfo(&set, "%s%s = ", set.len ? ", " : "", quoted);
		if (target->accumulate)
			appendStringInfoString(&set, ks_accumulate_sql(target->accumulate, i, table, quoted));
		else
			appendStringInfo(&set, "EXCLUDED.%s", quoted);
	}
	if (sink->insert_mode == KS_UPDATE)
		set = patch;
	initStringInfo(&sql);
	if (sink->insert_mode == KS_UPDATE && set.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column of \"%s\" is left to update", RelationGetRelationName(rel)),
				 errdetail("All that are filled from records belong to the key.")));
	if (sink->insert_mode == KS_UPDATE)
		appendStringInfo(&sql, "UPDATE %s%s SET %s FROM batch excluded WHERE %s",
						 partitioned ? "" : "ONLY ", target->qualified_name, set.data,
						 target->same_key.data);
	else
		appendStringInfo(&sql, "INSERT INTO %s (%s) SELECT %s FROM batch",
					 target->qualified_name, cols.data, cols.data);
	if (sink->insert_mode == KS_UPSERT || sink->insert_mode == KS_ACCUMULATE)
	{
		appendStringInfoString(&sql, " ON CONFLICT (");
		for (int i = 0; i < target->nkeys; i++)
			appendStringInfo(&sql, "%s%s", i ? ", " : "",
							 quote_identifier(target->cols[target->keycols[i]].name));
		if (set.len)
			appendStringInfo(&sql, ") DO UPDATE SET %s", set.data);
		else
			appendStringInfoString(&sql, ") DO NOTHING");
	}
	else if (sink->insert_mode == KS_IGNORE)
		appendStringInfoString(&sql, " ON CONFLICT DO NOTHING");
	if (sink->update_if)
		appendStringInfo(&sql, " %s (%s\n)", sink->insert_mode == KS_UPDATE ? "AND" : "WHERE",
						 sink->update_if);
	target->insert_sql = sql.data;
	if (ks_sink_patches(sink) && patch.len)
	{
		initStringInfo(&sql);
		appendStringInfo(&sql, "UPDATE %s%s SET %s FROM batch excluded WHERE %s",
						 partitioned ? "" : "ONLY ", target->qualified_name, patch.data,
						 target->same_key.data);
		if (sink->update_if)
			appendStringInfo(&sql, " AND (%s\n)", sink->update_if);
		target->patch_sql = sql.data;
	}

	if (target->deletes)
		target->empty_sql = psprintf("DELETE FROM %s%s", partitioned ? "" : "ONLY ", target->qualified_name);
	if (target->deletes)
		/* inserts leave inheritance children alone, and so do deletes */
		target->delete_sql = psprintf("DELETE FROM %s%s t USING batch b WHERE %s",
									  partitioned ? "" : "ONLY ", target->qualified_name, deletes);
	target->rows_may_vanish = target->rows_may_vanish ||
		sink->insert_mode == KS_IGNORE || sink->insert_mode == KS_UPDATE || sink->update_if ||
		(sink->insert_mode != KS_INSERT && set.len == 0);
	if (sink->update_if)
		check_update_if(target, sink);
}
