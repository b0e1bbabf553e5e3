/*
 * funcs_dump.c
 *	  Sinks in a dump.
 *
 * pg_dump reads the tables of an extension as whoever runs it, without row
 * security, and writes OIDs of what is gone as numbers.  So none of our tables
 * is dumped.  There is one, kafka_sink.dump, that is always empty: the condition
 * it is registered with reads dumped(), which shows each role what it may see, row
 * by row as JSON; and what is restored into it goes by a trigger where it came
 * from.  (A view will not do: pg_dump lets itself read none.)  Columns that a row
 * lacks get their defaults, and those that the table lacks are left out, so versions
 * may differ.
 *
 * Roles, tables and types are restored by name only.  What has none here, or had
 * none when it was dumped, becomes KS_GONE, which can never be anybody's.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "catalog/needs.h"
#include "catalog/sinks.h"
#include "process/shmem.h"

PG_FUNCTION_INFO_V1(kafka_sink_restore_dump);
PG_FUNCTION_INFO_V1(kafka_sink_dumped);

/*
 * The columns of a table that a row has, in their order, and the OID that a
 * name stands for here: not a number, which from PostgreSQL 16 on is one as well.
 */
#define COLUMNS_OF_ROW \
	"SELECT a.attname, n.name, pg_catalog.format_type(a.atttypid, NULL), " \
	"CASE WHEN n.name OPERATOR(pg_catalog.~) '^[-0-9]' THEN NULL " \
	"WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.regrole'::pg_catalog.regtype THEN pg_catalog.to_regrole(n.name)::pg_catalog.oid " \
	"WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.regclass'::pg_catalog.regtype THEN pg_catalog.to_regclass(n.name)::pg_catalog.oid " \
	"WHEN a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.regtype'::pg_catalog.regtype THEN pg_catalog.to_regtype(n.name)::pg_catalog.oid END, " \
	"n.named " \
	"FROM pg_catalog.pg_attribute a " \
	"CROSS JOIN LATERAL (SELECT a.atttypid OPERATOR(pg_catalog.=) ANY " \
	"('{pg_catalog.regrole,pg_catalog.regclass,pg_catalog.regtype}'::pg_catalog.regtype[]::pg_catalog.oid[]) AS named) r " \
	"CROSS JOIN LATERAL (SELECT r.named, CASE WHEN r.named THEN $2 OPERATOR(pg_catalog.->>) a.attname::pg_catalog.text END AS name) n " \
	"WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped " \
	"AND a.attname::pg_catalog.text OPERATOR(pg_catalog.=) ANY (SELECT pg_catalog.json_object_keys($2)) " \
	"ORDER BY a.attnum"

/* A row that says that rows are missing; no table is called so. */
#define PARTIAL		"not all"

/* --- what is restored --- */

/* Runs a statement with the row as $2, and a table or its name as $1. */
static void
execute(const char *sql, Oid type, Datum first, Datum row)
{
	Oid			types[] = {type, JSONOID};
	Datum		values[] = {first, row};

	if (SPI_execute_with_args(sql, 2, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not restore a row of kafka_sink");
}

/* Of what was dumped by a name that means nothing here. */
static void
warn_of_gone(const char *relation, const char *column, const char *name)
{
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("%s %s of a row of kafka_sink.%s does not exist", column, name, relation),
			 errhint("The sink is restored without it, and cannot run. Restore roles and tables first, or name another with kafka_sink.alter_sink() or alter_topic().")));
}

/* The row goes into its table. */
static void
restore_row(Oid relid, const char *relation, Datum row)
{
	StringInfoData columns,
				values,
				named;

	execute(COLUMNS_OF_ROW, OIDOID, ObjectIdGetDatum(relid), row);
	initStringInfo(&columns);
	initStringInfo(&values);
	initStringInfo(&named);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		char	   *column = SPI_getvalue(tup, desc, 1);
		char	   *name = SPI_getvalue(tup, desc, 2);
		char	   *oid = SPI_getvalue(tup, desc, 4);
		const char *comma = i > 0 ? ", " : "";

		appendStringInfo(&columns, "%s%s", comma, quote_identifier(column));
		if (strcmp(SPI_getvalue(tup, desc, 5), "t") != 0)
		{
			appendStringInfo(&values, "%sr.%s", comma, quote_identifier(column));
			continue;
		}
		appendStringInfo(&named, " OPERATOR(pg_catalog.-) %s::pg_catalog.text", quote_literal_cstr(column));
		if (name == NULL)
			appendStringInfo(&values, "%sNULL", comma);
		else
			appendStringInfo(&values, "%s%s::pg_catalog.%s", comma, oid ? oid : CppAsString2(KS_GONE), SPI_getvalue(tup, desc, 3));
		/* that of the history may well be gone */
		if (name && oid == NULL && strstr(relation, "_catalog"))
			warn_of_gone(relation, column, name);
	}
	/* jsonb holds less, and is needed only where something is taken out */
	execute(psprintf("INSERT INTO kafka_sink.%s (%s) OVERRIDING SYSTEM VALUE "
					 "SELECT %s FROM pg_catalog.%s(NULL::kafka_sink.%s, %s%s) r WHERE $1 IS NOT NULL",
					 quote_identifier(relation), columns.data, values.data,
					 named.len > 0 ? "jsonb_populate_record" : "json_populate_record",
					 quote_identifier(relation), named.len > 0 ? "$2::pg_catalog.jsonb" : "$2", named.data),
			OIDOID, ObjectIdGetDatum(relid), row);
}

static void
restore_sequence(Oid relid, Datum row)
{
	execute("SELECT pg_catalog.setval($1, ($2 OPERATOR(pg_catalog.->>) 'last_value')::pg_catalog.int8, "
			"($2 OPERATOR(pg_catalog.->>) 'is_called')::pg_catalog.bool)", REGCLASSOID, ObjectIdGetDatum(relid), row);
}

/* A row of the dump is put where it came from, and not into the table. */
Datum
kafka_sink_restore_dump(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	KsCatalogUser save;
	char	   *relation;
	Datum		row;
	Oid			relid;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		elog(ERROR, "kafka_sink.restore_dump() must be called before a row is inserted");
	/* what it writes to the tables, the caller may not: only by this one */
	if (RelationGetRelid(trigger->tg_relation) != ks_extension_relation(KS_DUMP))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to restore from table \"%s\"", RelationGetRelationName(trigger->tg_relation)),
				 errdetail("Rows of a dump are restored through kafka_sink.dump.")));
	/* whoever may write to all tables may not make sinks for others by it */
	if (!superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to restore sinks"),
				 errhint("Only superusers restore what CREATE EXTENSION kafka_sink has made.")));
	relation = SPI_getvalue(trigger->tg_trigtuple, trigger->tg_relation->rd_att, 1);
	row = SPI_getbinval(trigger->tg_trigtuple, trigger->tg_relation->rd_att, 2, &isnull);
	if (relation == NULL || isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a row of kafka_sink.dump must not have NULLs")));
	if (strcmp(relation, PARTIAL) == 0)
	{
		ereport(WARNING,
				(errmsg("the dump does not have all sinks and feeds"),
				 errdetail("Whoever made it could not see those of other roles: %s", TextDatumGetCString(row))));
		return PointerGetDatum(NULL);
	}
	relid = get_relname_relid(relation, ks_extension_schema());
	if (!OidIsValid(relid) || !ks_extension_has_relation(relid) || relid == RelationGetRelid(trigger->tg_relation) ||
		(get_rel_relkind(relid) != RELKIND_RELATION && get_rel_relkind(relid) != RELKIND_SEQUENCE))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("a dump of kafka_sink has rows of \"%s\", which this version does not know", relation),
				 errhint("Install the version of the extension that the dump was made with, or a newer one.")));

	SPI_connect();
	ks_catalog_enter(&save);
	if (get_rel_relkind(relid) == RELKIND_SEQUENCE)
		restore_sequence(relid, row);
	else
		restore_row(relid, relation, row);
	ks_catalog_leave(&save);
	SPI_finish();
	/* its sinks start at the commit */
	ks_shmem_note_change();
	return PointerGetDatum(NULL);
}

/* --- what is dumped --- */

/*
 * The extension's tables and sequences, those first that others refer to, and
 * whose a row is: its own owner's, its sink's, or its feed's.  (Secrets of feeds are for
 * nobody's eyes; others are made.  What they have copied is of no use elsewhere, nor
 * are the numbers of columns.)
 */
#define DUMPED_RELATIONS \
	"SELECT c.relname, c.relkind OPERATOR(pg_catalog.=) 'S', EXISTS (SELECT FROM pg_catalog.pg_attribute a " \
	"WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attname OPERATOR(pg_catalog.=) 'owner' " \
	"AND a.atttypid OPERATOR(pg_catalog.=) 'pg_catalog.regrole'::pg_catalog.regtype AND NOT a.attisdropped), " \
	"EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid OPERATOR(pg_catalog.=) c.oid " \
	"AND a.attname OPERATOR(pg_catalog.=) 'feed' AND NOT a.attisdropped) " \
	"FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_depend d " \
	"ON d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass " \
	"AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e' " \
	"AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass " \
	"JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.objid " \
	"WHERE e.extname OPERATOR(pg_catalog.=) 'kafka_sink' AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,S}') " \
	"AND c.relname OPERATOR(pg_catalog.<>) ALL ('{dump,schemas,filled_columns,feed_secrets,feed_copies}') " \
	"ORDER BY c.relname OPERATOR(pg_catalog.<>) ALL ('{sink_catalog,feed_catalog}'), c.relname OPERATOR(pg_catalog.<>) 'topic_catalog', " \
	"c.relkind OPERATOR(pg_catalog.=) 'S', c.relname"

/* May the role see what is of that owner? */
#define SEES(owner) \
	"(pg_catalog.pg_has_role($1, " owner "::pg_catalog.oid, 'USAGE') OR pg_catalog.pg_has_role($1, 'pg_read_all_data', 'USAGE'))"

/* Schemas are nobody's, and can be fetched again, but for those that were given. */
#define GIVEN_SCHEMAS \
	"SELECT 'schemas'::pg_catalog.text, pg_catalog.row_to_json(t) FROM kafka_sink.schemas t " \
	"WHERE t.registry OPERATOR(pg_catalog.=) '' AND (pg_catalog.pg_has_role($1, 'pg_read_all_data', 'USAGE') " \
	"OR EXISTS (SELECT FROM pg_catalog.pg_foreign_server f WHERE f.srvname OPERATOR(pg_catalog.=) t.server " \
	"AND pg_catalog.has_server_privilege($1, f.oid, 'USAGE')))"

#define FETCH_ROWS	100

/* All rows of a query, whose $1 is the role, go to the result. */
static void
add_rows(ReturnSetInfo *rsinfo, const char *sql, Oid role)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(role)};
	Portal		portal = SPI_cursor_open_with_args(NULL, sql, 1, types, values, NULL, true, 0);

	for (;;)
	{
		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			Datum		row[2];
			bool		nulls[2];

			heap_deform_tuple(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, row, nulls);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, row, nulls);
		}
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
}

static char *
rows_of_relation(const char *name, bool is_sequence, bool has_owner, bool of_feed)
{
	const char *quoted = quote_identifier(name);

	if (is_sequence)
		return psprintf("SELECT %s::pg_catalog.text, pg_catalog.json_build_object('last_value', q.last_value, 'is_called', q.is_called) "
						"FROM kafka_sink.%s q WHERE $1 IS NOT NULL", quote_literal_cstr(name), quoted);
	return psprintf("SELECT %s::pg_catalog.text, pg_catalog.row_to_json(t) FROM kafka_sink.%s t WHERE %s",
					quote_literal_cstr(name), quoted,
					has_owner ? SEES("t.owner") : of_feed ?
					"t.feed OPERATOR(pg_catalog.=) ANY (SELECT c.feed FROM kafka_sink.feed_catalog c WHERE " SEES("c.owner") ")" :
					"t.sink OPERATOR(pg_catalog.=) ANY (SELECT c.sink FROM kafka_sink.sink_catalog c WHERE " SEES("c.owner") ")");
}

/* pg_dump shows warnings with --verbose only; so the dump says it, too. */
static void
warn_of_others(ReturnSetInfo *rsinfo, Oid role)
{
	Oid			types[] = {OIDOID};
	Datum		values[] = {ObjectIdGetDatum(role)};

	if (SPI_execute_with_args("SELECT FROM (SELECT s.owner FROM kafka_sink.sink_catalog s UNION ALL "
							  "SELECT f.owner FROM kafka_sink.feed_catalog f) c WHERE NOT " SEES("c.owner") " LIMIT 1",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	if (SPI_processed == 0)
		return;
	ereport(WARNING,
			(errmsg("sinks and feeds of other roles are not in this dump"),
			 errdetail("It has those whose owner's privileges role \"%s\" has.", GetUserNameFromId(role, false)),
			 errhint("Members of pg_read_all_data dump all of them.")));
	add_rows(rsinfo, "SELECT '" PARTIAL "', pg_catalog.json_build_object('role', pg_catalog.pg_get_userbyid($1))", role);
}

Datum
kafka_sink_dumped(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Oid			role = GetUserId();
	KsCatalogUser save;
	SPITupleTable *relations;
	uint64		n;

	ks_init_materialized_srf(fcinfo);
	SPI_connect();
	ks_catalog_enter(&save);
	warn_of_others(rsinfo, role);
	if (SPI_execute(DUMPED_RELATIONS, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	relations = SPI_tuptable;
	n = SPI_processed;
	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = SPI_getvalue(relations->vals[i], relations->tupdesc, 1);
		char	   *is_sequence = SPI_getvalue(relations->vals[i], relations->tupdesc, 2);
		char	   *has_owner = SPI_getvalue(relations->vals[i], relations->tupdesc, 3);
		char	   *of_feed = SPI_getvalue(relations->vals[i], relations->tupdesc, 4);

		add_rows(rsinfo, rows_of_relation(name, *is_sequence == 't', *has_owner == 't', *of_feed == 't'), role);
	}
	add_rows(rsinfo, GIVEN_SCHEMAS, role);
	ks_catalog_leave(&save);
	SPI_finish();
	return (Datum) 0;
}
