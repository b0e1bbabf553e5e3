/*
 * feed_copies.c
 *	  Tables whose rows a feed publishes as they are found, and how they are read.
 *
 * A table is read in the order of the key that its records have, by the operators of the
 * key's index: where these are those of the types' default operator classes, ORDER BY
 * says the same, and no two rows are equal.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "catalog/feed_copies.h"
#include "catalog/history.h"

/* --- the rows --- */

static ArrayType *
oid_array(List *relids)
{
	Datum	   *oids = palloc(Max(list_length(relids), 1) * sizeof(Datum));
	ListCell   *lc;
	int			n = 0;

	foreach(lc, relids)
		oids[n++] = ObjectIdGetDatum(lfirst_oid(lc));
	return construct_array(oids, n, OIDOID, sizeof(Oid), true, TYPALIGN_INT);
}

/* One that is not there any more, or not the feed's, says nothing of its tables. */
#define IS_PUBLICATION \
	"AND c.publication OPERATOR(pg_catalog.=) $4 AND EXISTS (SELECT FROM pg_catalog.pg_publication p " \
	"WHERE p.oid OPERATOR(pg_catalog.=) $5 AND p.pubname::pg_catalog.text OPERATOR(pg_catalog.=) $4) "

bool
ks_feed_copies_match(const KsFeed *feed, Oid publication, List *relids)
{
	Oid			types[] = {TEXTOID, INT8OID, OIDARRAYOID, TEXTOID, OIDOID};
	Datum		values[] = {CStringGetTextDatum(feed->name), Int64GetDatum(feed->id), PointerGetDatum(oid_array(relids)),
	CStringGetTextDatum(feed->publication), ObjectIdGetDatum(publication)};
	bool		added;

	SPI_connect();
	ks_catalog_execute("DELETE FROM kafka_sink.feed_copies f USING kafka_sink.feed_catalog c "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND c.feed OPERATOR(pg_catalog.=) $1 AND c.id OPERATOR(pg_catalog.=) $2 "
					   "AND f.relation::pg_catalog.oid OPERATOR(pg_catalog.<>) ALL ($3) " IS_PUBLICATION,
					   lengthof(types), types, values, NULL);
	ks_catalog_execute("UPDATE kafka_sink.feed_copies f SET state = 'waiting', message = NULL "
					   "FROM kafka_sink.feed_catalog c "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND c.feed OPERATOR(pg_catalog.=) $1 AND c.id OPERATOR(pg_catalog.=) $2 "
					   "AND f.state OPERATOR(pg_catalog.=) 'refused' AND $3 IS NOT NULL", lengthof(types), types, values, NULL);
	ks_catalog_execute("INSERT INTO kafka_sink.feed_copies (feed, relation, id, state, rows, added_at) "
					   "SELECT c.feed, r.oid, 1 OPERATOR(pg_catalog.+) "
					   "pg_catalog.floor(pg_catalog.random() OPERATOR(pg_catalog.*) 9007199254740991)::pg_catalog.int8, "
					   "'waiting', 0, pg_catalog.now() "
					   "FROM kafka_sink.feed_catalog c CROSS JOIN pg_catalog.unnest($3) r(oid) "
					   "WHERE c.feed OPERATOR(pg_catalog.=) $1 AND c.id OPERATOR(pg_catalog.=) $2 "
					   "AND NOT EXISTS (SELECT FROM kafka_sink.feed_copies f WHERE f.feed OPERATOR(pg_catalog.=) $1 "
					   "AND f.relation::pg_catalog.oid OPERATOR(pg_catalog.=) r.oid) FOR KEY SHARE OF c",
					   lengthof(types), types, values, NULL);
	added = SPI_processed > 0;
	SPI_finish();
	return added;
}

List *
ks_feed_copies_unfinished(const KsFeed *feed)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed->name)};
	List	   *result = NIL;
	bool		isnull;

	SPI_connect();
	ks_catalog_execute("SELECT f.id, f.relation::pg_catalog.oid, f.skip_at FROM kafka_sink.feed_copies f "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND f.state OPERATOR(pg_catalog.=) ANY ('{waiting,copying}'::pg_catalog.text[]) "
					   "ORDER BY f.added_at, f.relation::pg_catalog.oid", lengthof(types), types, values, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);
		KsFeedCopy *copy = palloc(sizeof(KsFeedCopy));

		copy->id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull));
		copy->relid = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &isnull));
		copy->skip_at = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 3);
		result = lappend(result, copy);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	return result;
}

void
ks_feed_copies_set(const KsFeed *feed, int64 id, const char *state, int64 rows, const char *message)
{
	Oid			types[] = {TEXTOID, INT8OID, TEXTOID, INT8OID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed->name), Int64GetDatum(id), CStringGetTextDatum(state),
	Int64GetDatum(rows), message ? CStringGetTextDatum(message) : (Datum) 0};

	SPI_connect();
	ks_catalog_execute("UPDATE kafka_sink.feed_copies f SET state = $3, rows = $4, message = $5, stopped_at = NULL, "
					   "copied_at = CASE WHEN $3 OPERATOR(pg_catalog.=) 'copied' THEN pg_catalog.clock_timestamp() END "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND f.id OPERATOR(pg_catalog.=) $2",
					   lengthof(types), types, values, message ? NULL : "    n");
	SPI_finish();
}

void
ks_feed_copies_stop(const KsFeed *feed, int64 id, const char *place)
{
	Oid			types[] = {TEXTOID, INT8OID, TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed->name), Int64GetDatum(id), CStringGetTextDatum(place)};

	SPI_connect();
	ks_catalog_execute("UPDATE kafka_sink.feed_copies f SET stopped_at = $3 "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND f.id OPERATOR(pg_catalog.=) $2",
					   lengthof(types), types, values, NULL);
	SPI_finish();
}

/* With SPI connected: the one value of the one row that a statement has returned, or NULL. */
static Jsonb *
returned_json(MemoryContext cxt)
{
	bool		isnull;
	Jsonb	   *jb;

	if (SPI_processed != 1)
		return NULL;
	jb = DatumGetJsonbP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return (Jsonb *) memcpy(MemoryContextAlloc(cxt, VARSIZE(jb)), jb, VARSIZE(jb));
}

/* For the history. */
#define DESCRIBE_ROW(place) \
	"pg_catalog.jsonb_build_object('relation', f.relation::pg_catalog.text, 'key', " place ") "

Jsonb *
ks_feed_copies_skip(const char *feed)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed)};
	Jsonb	   *row;

	SPI_connect();
	/* there is one at most: tables are copied one by one */
	ks_catalog_execute("UPDATE kafka_sink.feed_copies f SET skip_at = f.stopped_at, stopped_at = NULL "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND f.stopped_at IS NOT NULL "
					   "RETURNING " DESCRIBE_ROW("f.skip_at"), lengthof(types), types, values, NULL);
	row = returned_json(cxt);
	SPI_finish();
	return row;
}

void
ks_feed_copies_end_skip(const KsFeed *feed, int64 id)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		values[] = {CStringGetTextDatum(feed->name), Int64GetDatum(id)};
	Jsonb	   *row;

	SPI_connect();
	ks_catalog_execute("WITH s AS (SELECT f.id, " DESCRIBE_ROW("f.skip_at") "AS told FROM kafka_sink.feed_copies f "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND f.id OPERATOR(pg_catalog.=) $2 AND f.skip_at IS NOT NULL FOR UPDATE) "
					   "UPDATE kafka_sink.feed_copies f SET skip_at = NULL FROM s "
					   "WHERE f.feed OPERATOR(pg_catalog.=) $1 AND f.id OPERATOR(pg_catalog.=) s.id RETURNING s.told",
					   lengthof(types), types, values, NULL);
	row = returned_json(cxt);
	SPI_finish();
	if (row)
		ks_history_log(feed->name, "skipped", NULL, NULL, row);
}

void
ks_feed_copies_forget(const char *feed)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed)};

	SPI_connect();
	ks_catalog_execute("DELETE FROM kafka_sink.feed_copies f WHERE f.feed OPERATOR(pg_catalog.=) $1",
					   lengthof(types), types, values, NULL);
	SPI_finish();
}

/* --- how a table is read --- */

/* Of each column that is published: where in the key it is, and by which operator. */
#define PLAN \
	"SELECT n.nspname, c.relname, c.relkind OPERATOR(pg_catalog.=) 'p', %s, a.attname, a.atttypid, " \
	"k.pos, k.nspname, k.oprname, i.indnkeyatts, c.oid " \
	"FROM pg_catalog.pg_publication_tables p " \
	"JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) p.schemaname " \
	"JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid AND c.relname OPERATOR(pg_catalog.=) p.tablename " \
	"LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid AND a.attnum OPERATOR(pg_catalog.>) 0 " \
	"AND NOT a.attisdropped %s " \
	"LEFT JOIN pg_catalog.pg_index i ON i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisunique AND i.indisvalid " \
	"AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL " \
	"AND CASE WHEN c.relreplident OPERATOR(pg_catalog.=) 'i' THEN i.indisreplident " \
	"ELSE c.relreplident OPERATOR(pg_catalog.<>) 'n' AND i.indisprimary END " \
	"LEFT JOIN LATERAL (SELECT x.pos, s.nspname, o.oprname " \
	"FROM ROWS FROM (pg_catalog.unnest(i.indkey::pg_catalog.int2[]), pg_catalog.unnest(i.indclass::pg_catalog.oid[]), " \
	"pg_catalog.unnest(i.indcollation::pg_catalog.oid[])) WITH ORDINALITY x(attnum, opclass, coll, pos) " \
	"JOIN pg_catalog.pg_opclass oc ON oc.oid OPERATOR(pg_catalog.=) x.opclass AND oc.opcdefault " \
	"AND oc.opcmethod OPERATOR(pg_catalog.=) 403 " \
	"JOIN pg_catalog.pg_amop m ON m.amopfamily OPERATOR(pg_catalog.=) oc.opcfamily AND m.amopstrategy OPERATOR(pg_catalog.=) 5 " \
	"AND m.amoplefttype OPERATOR(pg_catalog.=) oc.opcintype AND m.amoprighttype OPERATOR(pg_catalog.=) oc.opcintype " \
	"JOIN pg_catalog.pg_operator o ON o.oid OPERATOR(pg_catalog.=) m.amopopr " \
	"JOIN pg_catalog.pg_namespace s ON s.oid OPERATOR(pg_catalog.=) o.oprnamespace " \
	"WHERE x.attnum OPERATOR(pg_catalog.=) a.attnum AND x.coll OPERATOR(pg_catalog.=) a.attcollation " \
	"AND x.pos OPERATOR(pg_catalog.<=) i.indnkeyatts) k ON true " \
	"WHERE p.pubname::pg_catalog.text OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR c.oid OPERATOR(pg_catalog.=) $2) " \
	"ORDER BY n.nspname, c.relname, a.attnum"

enum
{
	COL_SCHEMA = 1, COL_TABLE, COL_PARTITIONED, COL_FILTER, COL_COLUMN, COL_TYPE, COL_POS, COL_OPSCHEMA, COL_OPNAME,
	COL_NKEYS, COL_RELID
};

/* With SPI connected; a row a column, table by table. */
static void
execute_plan_query(const char *publication, Oid relid)
{
	Oid			types[] = {TEXTOID, OIDOID};
	Datum		values[] = {CStringGetTextDatum(publication), ObjectIdGetDatum(relid)};
	char	   *sql = psprintf(PLAN, PG15_GE ? "p.rowfilter" : "NULL::pg_catalog.text",
							   PG18_GE ? "AND a.attname OPERATOR(pg_catalog.=) ANY (p.attnames)" :
							   PG15_GE ? "AND a.attname OPERATOR(pg_catalog.=) ANY (p.attnames) AND a.attgenerated OPERATOR(pg_catalog.=) ''" :
							   "AND a.attgenerated OPERATOR(pg_catalog.=) ''");

	if (SPI_execute_with_args(sql, lengthof(types), types, values, OidIsValid(relid) ? NULL : " n", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of a publication");
}

static Datum
value_of(uint64 row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, isnull);
}

static Oid
relid_of(uint64 row)
{
	bool		isnull;

	return DatumGetObjectId(value_of(row, COL_RELID, &isnull));
}

static char *
text_of(uint64 row, int col, MemoryContext cxt)
{
	char	   *s = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);

	return s ? MemoryContextStrdup(cxt, s) : NULL;
}

/*
 * Can a text become a value of the type, and nobody's code runs?  What of a key is in a
 * query is read as a value of the base type, without the domain's checks; but what it is
 * made of may be domains, too.
 */
static bool
is_harmless(Oid type)
{
	Oid			element = get_element_type(type);
	char		kind = get_typtype(OidIsValid(element) ? element : type);

	return kind == TYPTYPE_BASE || kind == TYPTYPE_ENUM;
}

/* A column, and its part in the key. */
static void
take_column(KsCopyPlan *plan, uint64 row, MemoryContext cxt)
{
	KsCopyColumn *c = &plan->columns[plan->ncolumns];
	bool		isnull;
	Datum		pos;

	c->name = text_of(row, COL_COLUMN, cxt);
	/* (a table can do without columns) */
	if (c->name == NULL)
		return;
	c->type = DatumGetObjectId(value_of(row, COL_TYPE, &isnull));
	pos = value_of(row, COL_POS, &isnull);
	if (!isnull && is_harmless(getBaseType(c->type)))
	{
		KsCopyKey  *key = &plan->keys[DatumGetInt64(pos) - 1];

		key->column = plan->ncolumns;
		key->type = MemoryContextStrdup(cxt, format_type_extended(getBaseType(c->type), -1, FORMAT_TYPE_TYPEMOD_GIVEN));
		key->opschema = text_of(row, COL_OPSCHEMA, cxt);
		key->opname = text_of(row, COL_OPNAME, cxt);
		plan->nkeys++;
	}
	plan->ncolumns++;
}

/* Of the rows from 'row' on that are one table's; returns behind the last. */
static uint64
take_table(KsCopyPlan *plan, uint64 row, MemoryContext cxt)
{
	uint64		end = row;
	int			nkeys;
	bool		isnull;

	while (end < SPI_processed && relid_of(end) == relid_of(row))
		end++;
	memset(plan, 0, sizeof(KsCopyPlan));
	plan->relid = relid_of(row);
	plan->schema = text_of(row, COL_SCHEMA, cxt);
	plan->table = text_of(row, COL_TABLE, cxt);
	plan->partitioned = DatumGetBool(value_of(row, COL_PARTITIONED, &isnull));
	plan->filter = text_of(row, COL_FILTER, cxt);
	plan->columns = MemoryContextAllocZero(cxt, (end - row) * sizeof(KsCopyColumn));
	nkeys = DatumGetInt16(value_of(row, COL_NKEYS, &isnull));
	if (isnull)
		nkeys = 0;
	plan->keys = MemoryContextAllocZero(cxt, Max(nkeys, 1) * sizeof(KsCopyKey));
	for (; row < end; row++)
		take_column(plan, row, cxt);
	/* a part of a key is none */
	if (plan->nkeys != nkeys)
		plan->nkeys = 0;
	return end;
}

KsCopyPlan *
ks_copy_plan(const char *publication, Oid relid)
{
	MemoryContext cxt = CurrentMemoryContext;
	KsCopyPlan *plan = NULL;

	SPI_connect();
	execute_plan_query(publication, relid);
	if (SPI_processed > 0)
	{
		plan = MemoryContextAlloc(cxt, sizeof(KsCopyPlan));
		(void) take_table(plan, 0, cxt);
	}
	SPI_finish();
	return plan;
}

#define REFUSAL_DETAIL "Tables are read in the order of the key of their replica identity: an index of columns that are published, " \
	"with default operator classes and the columns' collations, which are of base types, enums, or arrays or domains of them."

char *
ks_copy_refusal(const KsCopyPlan *plan)
{
	return psprintf("table %s has no key by which it could be copied", quote_qualified_identifier(plan->schema, plan->table));
}

void
ks_copy_check(const char *publication)
{
	KsCopyPlan	plan;

	SPI_connect();
	execute_plan_query(publication, InvalidOid);
	for (uint64 row = 0; row < SPI_processed;)
	{
		row = take_table(&plan, row, CurrentMemoryContext);
		if (plan.nkeys == 0 && !ks_extension_has_relation(plan.relid))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s", ks_copy_refusal(&plan)),
					 errdetail(REFUSAL_DETAIL),
					 errhint("Add a primary key, or leave the table out of publication \"%s\".", publication)));
	}
	SPI_finish();
}

/* --- the query --- */

static const char *
key_name(const KsCopyPlan *plan, int i)
{
	return quote_identifier(plan->columns[plan->keys[i].column].name);
}

static void
append_literal(StringInfo sql, const KsCopyPlan *plan, int i, char **after)
{
	appendStringInfo(sql, "%s::%s", quote_literal_cstr(after[i]), plan->keys[i].type);
}

/* Is the operator the same word for all of the key?  Then an index is of use. */
static bool
compares_as_row(const KsCopyPlan *plan)
{
	for (int i = 1; i < plan->nkeys; i++)
		if (strcmp(plan->keys[i].opname, plan->keys[0].opname) != 0 || strcmp(plan->keys[i].opschema, plan->keys[0].opschema) != 0)
			return false;
	return true;
}

/* ROW(a, b) > ROW(1, 2) */
static void
append_row_behind(StringInfo sql, const KsCopyPlan *plan, char **after)
{
	appendStringInfoString(sql, "ROW(");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(sql, "%s%s", i ? ", " : "", key_name(plan, i));
	appendStringInfo(sql, ") OPERATOR(%s.%s) ROW(", quote_identifier(plan->keys[0].opschema), plan->keys[0].opname);
	for (int i = 0; i < plan->nkeys; i++)
	{
		appendStringInfoString(sql, i ? ", " : "");
		append_literal(sql, plan, i, after);
	}
	appendStringInfoChar(sql, ')');
}

/* a > 1 OR (NOT 1 > a AND (b > 2)) */
static void
append_behind(StringInfo sql, const KsCopyPlan *plan, char **after)
{
	for (int i = 0; i < plan->nkeys; i++)
	{
		const KsCopyKey *k = &plan->keys[i];

		appendStringInfo(sql, "(%s OPERATOR(%s.%s) ", key_name(plan, i), quote_identifier(k->opschema), k->opname);
		append_literal(sql, plan, i, after);
		if (i == plan->nkeys - 1)
			break;
		appendStringInfoString(sql, " OR (NOT ");
		append_literal(sql, plan, i, after);
		appendStringInfo(sql, " OPERATOR(%s.%s) %s AND ", quote_identifier(k->opschema), k->opname, key_name(plan, i));
	}
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfoString(sql, i ? "))" : ")");
}

char *
ks_copy_query(const KsCopyPlan *plan, char **after, int limit)
{
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < plan->ncolumns; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", quote_identifier(plan->columns[i].name));
	/* what inherits from a table is a table of its own */
	appendStringInfo(&sql, " FROM %s%s", plan->partitioned ? "" : "ONLY ", quote_qualified_identifier(plan->schema, plan->table));
	if (plan->filter)
		appendStringInfo(&sql, " WHERE (%s)", plan->filter);
	if (after)
	{
		appendStringInfoString(&sql, plan->filter ? " AND " : " WHERE ");
		if (compares_as_row(plan))
			append_row_behind(&sql, plan, after);
		else
			append_behind(&sql, plan, after);
	}
	appendStringInfoString(&sql, " ORDER BY ");
	for (int i = 0; i < plan->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i ? ", " : "", key_name(plan, i));
	appendStringInfo(&sql, " LIMIT %d", limit);
	return sql.data;
}

/* --- places --- */

/* "id integer" */
static char *
key_word(const KsCopyPlan *plan, int i)
{
	return psprintf("%s %s", plan->columns[plan->keys[i].column].name, plan->keys[i].type);
}

char *
ks_copy_place(const KsCopyPlan *plan, char **values)
{
	StringInfoData s;

	initStringInfo(&s);
	for (int i = 0; i < plan->nkeys; i++)
	{
		appendStringInfoString(&s, i ? ", " : "{");
		escape_json(&s, key_word(plan, i));
		appendStringInfoString(&s, ": ");
		escape_json(&s, values[i]);
	}
	appendStringInfoChar(&s, '}');
	return s.data;
}

char **
ks_copy_place_read(const KsCopyPlan *plan, const char *place)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(pg_any_to_server(place, strlen(place), PG_UTF8))};
	char	  **values = palloc0(Max(plan->nkeys, 1) * sizeof(char *));
	bool		same;

	SPI_connect();
	if (SPI_execute_with_args("SELECT j.key, j.value FROM pg_catalog.json_each_text($1::pg_catalog.json) j",
							  lengthof(types), types, args, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the place of a copy");
	same = SPI_processed == (uint64) plan->nkeys;
	for (int i = 0; i < plan->nkeys && same; i++)
	{
		same = strcmp(text_of(i, 1, CurrentMemoryContext), key_word(plan, i)) == 0;
		values[i] = text_of(i, 2, cxt);
	}
	SPI_finish();
	return same ? values : NULL;
}
