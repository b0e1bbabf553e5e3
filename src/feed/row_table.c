/*
 * row_table.c
 *	  Tables whose changes are published.
 *
 * The protocol describes a table before its first change, and again when it has changed;
 * what follows from the description (topic, key, forms of values, schemas) is made once.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "replication/logicalproto.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/message.h"
#include "feed/row_key.h"
#include "feed/rows_int.h"

/* --- topics --- */

/* The pattern with what stands for names; the characters that topics cannot have are _. */
static char *
topic_of(const char *pattern, const char *schema, const char *table)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = pattern; *p;)
	{
		if (strncmp(p, "{schema}", 8) == 0)
		{
			appendStringInfoString(&buf, schema);
			p += 8;
		}
		else if (strncmp(p, "{table}", 7) == 0)
		{
			appendStringInfoString(&buf, table);
			p += 7;
		}
		else
			appendStringInfoChar(&buf, *p++);
	}
	for (char *c = buf.data; *c; c++)
		if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *c) == NULL)
			*c = '_';
	if (buf.len > KS_MAX_TOPIC_LEN)
		buf.data[KS_MAX_TOPIC_LEN] = '\0';
	return buf.data;
}

void
ks_rows_check_topic(const char *topic)
{
	const char *example = topic_of(topic, "s", "t");

	if (*example == '\0' || strcmp(example, ".") == 0 || strcmp(example, "..") == 0 || strlen(topic) > KS_MAX_TOPIC_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for setting \"topic\": \"%s\"", topic),
				 errhint("It is the name of a topic, in which {schema} and {table} stand for those of a table.")));
	/* what is no name of a topic becomes _ in the names of tables only */
	for (const char *p = topic; *p; p++)
	{
		if (strncmp(p, "{schema}", 8) == 0)
			p += 7;
		else if (strncmp(p, "{table}", 7) == 0)
			p += 6;
		else if (strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p) == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for setting \"topic\": \"%s\"", topic),
					 errdetail("Kafka's topics have letters, digits, dots, underscores and hyphens."),
					 errhint("{schema} and {table} stand for those of a table.")));
	}
}

/* --- tables --- */

/* How many dimensions it is declared to have, if it is an array. */
static int
dimensions_of(Oid relid, const char *column)
{
	HeapTuple	tup = SearchSysCacheAttName(relid, column);
	int			dims = HeapTupleIsValid(tup) ? ((Form_pg_attribute) GETSTRUCT(tup))->attndims : 0;

	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	return dims;
}

static void
make_schemas(KsRowTable *t, const LogicalRepRelation *rel)
{
	t->schemas = palloc0(Max(t->ncolumns, 1) * sizeof(KsRowSchemaColumn));
	for (int i = 0; i < t->ncolumns; i++)
	{
		const KsRowColumn *c = &t->columns[i];

		/* without the colon */
		t->schemas[i].name = pnstrdup(c->name, c->namelen - 1);
		t->schemas[i].type = c->type;
		t->schemas[i].dims = dimensions_of(rel->remoteid, rel->attnames[i]);
		t->schemas[i].key = c->key;
		t->schemas[i].null_key = t->null_keys;
	}
	t->key_schema = ks_row_schema_of_key(t->topic, t->schemas, t->ncolumns);
	t->change_schema = ks_row_schema_of_change(t->topic, t->schemas, t->ncolumns);
}

static bool
is_progress_topic(const KsRows *rows, const char *topic)
{
	ListCell   *lc;

	foreach(lc, rows->other_topics)
		if (strcmp(topic, lfirst(lc)) == 0)
			return true;
	return strcmp(topic, rows->progress_topic) == 0;
}

/* Who wrote there would say how far a feed is. */
static void
check_topic(const KsRows *rows, const KsRowTable *t)
{
	if (is_progress_topic(rows, t->topic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the topic of table %s would be \"%s\", which has the progress of feeds",
						quote_qualified_identifier(t->schema, t->name), t->topic),
				 errhint("Set \"topic\" of the feed to another pattern with kafka_sink.alter_feed(), or take the table from the publication.")));
}

/* Do rows of both have the same keys and values? */
static bool
is_same_table(const KsRowTable *a, const KsRowTable *b)
{
	if (a->ncolumns != b->ncolumns || strcmp(a->topic, b->topic) != 0 || strcmp(a->schema, b->schema) != 0 ||
		strcmp(a->name, b->name) != 0)
		return false;
	for (int i = 0; i < a->ncolumns; i++)
		if (strcmp(a->columns[i].name, b->columns[i].name) != 0 || a->columns[i].type != b->columns[i].type ||
			a->columns[i].key != b->columns[i].key)
			return false;
	return true;
}

/* In the current context. */
static void
fill_table(KsRows *rows, KsRowTable *t, LogicalRepRelation *rel)
{
	bool	   *keys = palloc(Max(rel->natts, 1) * sizeof(bool));

	t->topic = topic_of(rows->topic, rel->nspname, rel->relname);
	t->schema = pstrdup(rel->nspname);
	t->name = pstrdup(rel->relname);
	t->checked = t->told = false;
	t->ncolumns = rel->natts;
	t->columns = palloc0(Max(rel->natts, 1) * sizeof(KsRowColumn));
	t->nkeys = 0;
	t->null_keys = ks_row_key_find(rel, keys);
	for (int i = 0; i < rel->natts; i++)
	{
		KsRowColumn *c = &t->columns[i];

		c->name = psprintf("%s:", ks_row_escaped(rel->attnames[i]));
		c->namelen = strlen(c->name);
		c->type = getBaseType(rel->atttyps[i]);
		c->form = ks_json_form(c->type, rows->envelope == KS_ROW_DEBEZIUM);
		c->key = keys[i];
		t->nkeys += c->key;
	}
	t->source = psprintf(",\"source\":{\"version\":\"%s\",\"connector\":\"kafka_sink\",\"name\":%s,\"db\":%s,\"schema\":%s,\"table\":%s,",
						 KS_VERSION, rows->feed, rows->database, ks_row_escaped(t->schema), ks_row_escaped(t->name));
	t->key_schema = t->change_schema = NULL;
	t->schemas = NULL;
	if (rows->schemas)
		make_schemas(t, rel);
}

void
ks_row_table_take(KsRows *rows, StringInfo in)
{
	LogicalRepRelation *rel = logicalrep_read_rel(in);
	bool		found;
	KsRowTable *t;
	MemoryContext old;

	t = hash_search(rows->tables, &rel->remoteid, HASH_ENTER, &found);
	if (found && t->cxt)
		MemoryContextDelete(t->cxt);
	t->cxt = NULL;
	t->cxt = AllocSetContextCreate(rows->cxt, "kafka_sink table", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(t->cxt);
	fill_table(rows, t, rel);
	MemoryContextSwitchTo(old);
	if (ks_rows_is_watched(rows, rel->remoteid) && !is_same_table(rows->watched, t))
		rows->watch(rows->watch_arg, NULL, NULL, false);
}

void
ks_rows_check_again(KsRows *rows, List *progress_topics)
{
	HASH_SEQ_STATUS seq;
	KsRowTable *t;

	rows->other_topics = progress_topics;
	hash_seq_init(&seq, rows->tables);
	while ((t = hash_seq_search(&seq)) != NULL)
		t->checked = false;
}

KsRowTable *
ks_row_table_of(KsRows *rows, const KsWalTransaction *txn, LogicalRepRelId relid)
{
	KsRowTable *t = hash_search(rows->tables, &relid, HASH_FIND, NULL);

	if (t == NULL)
		elog(ERROR, "a change of table %u came before its description", relid);
	if (t->checked)
		return t;
	t->hidden = !rows->check(rows->arg, txn, relid, t->schema, t->name);
	if (!t->hidden)
		check_topic(rows, t);
	t->checked = true;
	return t;
}

KsRowTable *
ks_rows_describe(KsRows *rows, LogicalRepRelation *rel)
{
	KsRowTable *t = palloc0(sizeof(KsRowTable));

	t->relid = rel->remoteid;
	fill_table(rows, t, rel);
	check_topic(rows, t);
	return t;
}
