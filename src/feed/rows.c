/*
 * rows.c
 *	  Changes of tables as records.
 *
 * A table is described by the protocol before its first change, and again when it has
 * changed; what follows from the description is made once.  Values come as texts, by
 * the types' output functions, and are written as to_json() writes them.
 *
 * All that belongs to one change lives in a context of its own.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "libpq/pqformat.h"
#include "mb/pg_wchar.h"
#include "replication/logicalproto.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/message.h"
#include "feed/json_value.h"
#include "feed/row_key.h"
#include "feed/row_schema.h"
#include "feed/rows.h"

/* Where an update tells what it has of the old row: behind its kind and the table. */
#define OLD_KIND		5

typedef struct Column
{
	const char *name;			/* "name":, escaped */
	int			namelen;
	KsJsonForm	form;
	Oid			type;
	bool		key;
} Column;

typedef struct KsRowTable
{
	uint32		relid;			/* the key */
	MemoryContext cxt;
	const char *topic;
	const char *schema;
	const char *name;
	bool		checked;		/* it may be published */
	bool		told;			/* that it is truncated, and nobody hears of it */
	bool		hidden;			/* it is not for others */
	int			ncolumns;
	Column	   *columns;
	int			nkeys;
	bool		null_keys;		/* a value of the key can be NULL */
	const char *source;			/* of the envelope, as far as it is known before */
	KsRowSchemaColumn *schemas; /* of the columns, if records have them */
	const char *key_schema;		/* what stands before a key, or NULL */
	const char *change_schema;
} Table;

struct KsRows
{
	KsRowEnvelope envelope;
	bool		schemas;		/* and each record has its schema */
	const char *topic;
	const char *progress_topic;
	List	   *other_topics;	/* of progress, of other feeds; not ours */
	const char *feed;			/* escaped */
	const char *database;
	KsRowCheck	check;
	KsRowSend	send;
	void	   *arg;
	MemoryContext cxt;
	MemoryContext change_cxt;	/* reset with each change */
	HTAB	   *tables;

	/* of a table that is copied */
	const Table *watched;		/* NULL: none */
	KsRowWatch	watch;
	void	   *watch_arg;
};

static const char *
escaped(const char *s)
{
	StringInfoData buf;

	initStringInfo(&buf);
	escape_json(&buf, s);
	return buf.data;
}

KsRows *
ks_rows_create(KsRowEnvelope envelope, const char *topic, const char *progress_topic, const char *feed, const char *database,
			   KsRowCheck check, KsRowSend send, void *arg, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	HASHCTL		ctl = {.keysize = sizeof(uint32), .entrysize = sizeof(Table), .hcxt = cxt};
	KsRows	   *rows = palloc0(sizeof(KsRows));

	rows->schemas = envelope == KS_ROW_DEBEZIUM_SCHEMA;
	rows->envelope = rows->schemas ? KS_ROW_DEBEZIUM : envelope;
	rows->topic = pstrdup(topic);
	rows->progress_topic = pstrdup(progress_topic);
	rows->feed = escaped(feed);
	rows->database = escaped(database);
	rows->check = check;
	rows->send = send;
	rows->arg = arg;
	rows->cxt = cxt;
	rows->change_cxt = AllocSetContextCreate(cxt, "kafka_sink change", ALLOCSET_DEFAULT_SIZES);
	rows->tables = hash_create("kafka_sink tables of a feed", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContextSwitchTo(old);
	return rows;
}

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
make_schemas(Table *t, const LogicalRepRelation *rel)
{
	t->schemas = palloc0(Max(t->ncolumns, 1) * sizeof(KsRowSchemaColumn));
	for (int i = 0; i < t->ncolumns; i++)
	{
		const Column *c = &t->columns[i];

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
check_topic(const KsRows *rows, const Table *t)
{
	if (is_progress_topic(rows, t->topic))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the topic of table %s would be \"%s\", which has the progress of feeds",
						quote_qualified_identifier(t->schema, t->name), t->topic),
				 errhint("Set \"topic\" of the feed to another pattern with kafka_sink.alter_feed(), or take the table from the publication.")));
}

/* --- who copies a table --- */

#define is_watched(rows, oid)	((rows)->watched != NULL && (rows)->watched->relid == (oid))

/* Do rows of both have the same keys and values? */
static bool
is_same_table(const Table *a, const Table *b)
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

/* Has the change all that there is of the row? */
static bool
is_whole(const LogicalRepTupleData *tup)
{
	return memchr(tup->colstatus, LOGICALREP_COLUMN_UNCHANGED, tup->ncols) == NULL;
}

/* In the current context. */
static void
fill_table(KsRows *rows, Table *t, LogicalRepRelation *rel)
{
	bool	   *keys = palloc(Max(rel->natts, 1) * sizeof(bool));

	t->topic = topic_of(rows->topic, rel->nspname, rel->relname);
	t->schema = pstrdup(rel->nspname);
	t->name = pstrdup(rel->relname);
	t->checked = t->told = false;
	t->ncolumns = rel->natts;
	t->columns = palloc0(Max(rel->natts, 1) * sizeof(Column));
	t->nkeys = 0;
	t->null_keys = ks_row_key_find(rel, keys);
	for (int i = 0; i < rel->natts; i++)
	{
		Column	   *c = &t->columns[i];

		c->name = psprintf("%s:", escaped(rel->attnames[i]));
		c->namelen = strlen(c->name);
		c->type = getBaseType(rel->atttyps[i]);
		c->form = ks_json_form(c->type, rows->envelope == KS_ROW_DEBEZIUM);
		c->key = keys[i];
		t->nkeys += c->key;
	}
	t->source = psprintf(",\"source\":{\"version\":\"%s\",\"connector\":\"kafka_sink\",\"name\":%s,\"db\":%s,\"schema\":%s,\"table\":%s,",
						 KS_VERSION, rows->feed, rows->database, escaped(t->schema), escaped(t->name));
	t->key_schema = t->change_schema = NULL;
	t->schemas = NULL;
	if (rows->schemas)
		make_schemas(t, rel);
}

/* A message R. */
static void
take_relation(KsRows *rows, StringInfo in)
{
	LogicalRepRelation *rel = logicalrep_read_rel(in);
	bool		found;
	Table	   *t;
	MemoryContext old;

	t = hash_search(rows->tables, &rel->remoteid, HASH_ENTER, &found);
	if (found && t->cxt)
		MemoryContextDelete(t->cxt);
	t->cxt = NULL;
	t->cxt = AllocSetContextCreate(rows->cxt, "kafka_sink table", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(t->cxt);
	fill_table(rows, t, rel);
	MemoryContextSwitchTo(old);
	if (is_watched(rows, rel->remoteid) && !is_same_table(rows->watched, t))
		rows->watch(rows->watch_arg, NULL, NULL, false);
}

void
ks_rows_check_again(KsRows *rows, List *progress_topics)
{
	HASH_SEQ_STATUS seq;
	Table	   *t;

	rows->other_topics = progress_topics;
	hash_seq_init(&seq, rows->tables);
	while ((t = hash_seq_search(&seq)) != NULL)
		t->checked = false;
}

/* Of a change that is to be published; partitions are described as well as their root. */
static Table *
table_of(KsRows *rows, const KsWalTransaction *txn, LogicalRepRelId relid)
{
	Table	   *t = hash_search(rows->tables, &relid, HASH_FIND, NULL);

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

/* --- values --- */

/*
 * What an update leaves as it is and is stored apart is not in the WAL: it is taken from
 * what is known of the row before.  (Of a partition that may be less than its root's
 * replica identity promises; NULL is no value that would be stored apart.)
 */
static void
complete(const Table *t, LogicalRepTupleData *tup, const LogicalRepTupleData *before)
{
	for (int i = 0; i < t->ncolumns && i < tup->ncols && i < before->ncols; i++)
		if (tup->colstatus[i] == LOGICALREP_COLUMN_UNCHANGED && before->colstatus[i] == LOGICALREP_COLUMN_TEXT)
		{
			tup->colstatus[i] = before->colstatus[i];
			tup->colvalues[i] = before->colvalues[i];
		}
}

/* A key that nobody knows cannot be deleted. */
static void
check_old_key(const Table *t, const LogicalRepTupleData *old)
{
	for (int i = 0; i < t->ncolumns && i < old->ncols; i++)
		if (t->columns[i].key && !t->null_keys && old->colstatus[i] != LOGICALREP_COLUMN_TEXT)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("the key of a row of table %s that was deleted or got another key is not in the WAL",
							quote_qualified_identifier(t->schema, t->name)),
					 errdetail("A partition has another replica identity than the table by which it is published."),
					 errhint("ALTER TABLE ... REPLICA IDENTITY of the partitions as it is of the table; kafka_sink.skip() leaves this transaction out.")));
}

/* An object of a row's columns, with 'keys' of those of the key alone; what is not known
 * is told as the envelope does. */
static void
append_row(KsRows *rows, StringInfo buf, const Table *t, LogicalRepTupleData *tup, bool keys)
{
	char		separator = '{';

	for (int i = 0; i < t->ncolumns && i < tup->ncols; i++)
	{
		const Column *c = &t->columns[i];

		if (keys && !c->key)
			continue;
		if (tup->colstatus[i] == LOGICALREP_COLUMN_UNCHANGED && rows->envelope == KS_ROW_PLAIN)
			continue;
		appendStringInfoCharMacro(buf, separator);
		separator = ',';
		appendBinaryStringInfo(buf, c->name, c->namelen);
		if (tup->colstatus[i] == LOGICALREP_COLUMN_UNCHANGED)
			appendStringInfoString(buf, t->schemas ? ks_row_schema_unavailable(&t->schemas[i]) :
								   c->form == KS_JSON_BASE64 ? KS_JSON_UNAVAILABLE_BASE64 : KS_JSON_UNAVAILABLE);
		else if (tup->colstatus[i] == LOGICALREP_COLUMN_NULL)
			appendStringInfoString(buf, "null");
		else if (t->schemas)
			ks_row_schema_append_value(buf, &t->schemas[i], tup->colvalues[i].data);
		else
			ks_json_append(buf, c->type, c->form, tup->colvalues[i].data);
	}
	appendStringInfoString(buf, separator == '{' ? "{}" : "}");
}

/* The key, NULL if the table has none: a single column as it is, or an object. */
static char *
key_of(KsRows *rows, const Table *t, LogicalRepTupleData *tup)
{
	StringInfoData buf;

	if (t->nkeys == 0)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < t->ncolumns && i < tup->ncols && t->nkeys == 1 && rows->envelope == KS_ROW_PLAIN; i++)
		if (t->columns[i].key)
			return tup->colstatus[i] == LOGICALREP_COLUMN_NULL ? NULL : tup->colvalues[i].data;
	append_row(rows, &buf, t, tup, true);
	return buf.data;
}

/* --- records --- */

/* Kafka's texts are UTF-8; a NULL value is a tombstone. */
static void
make_record(KsRows *rows, KsProducerRecord *rec, const Table *t, const char *key, const char *value)
{
	*rec = (KsProducerRecord) {.topic = t->topic, .part = -1, .keylen = -1, .valuelen = -1};
	if (rows->schemas && key)
		key = psprintf("%s%s}", t->key_schema, key);
	if (rows->schemas && value)
		value = psprintf("%s%s}", t->change_schema, value);
	if (key)
	{
		rec->key = pg_server_to_any(key, strlen(key), PG_UTF8);
		rec->keylen = strlen(rec->key);
	}
	if (value)
	{
		rec->value = pg_server_to_any(value, strlen(value), PG_UTF8);
		rec->valuelen = strlen(rec->value);
	}
}

static void
send(KsRows *rows, const KsWalTransaction *txn, const Table *t, const char *key, const char *value)
{
	KsProducerRecord rec;

	make_record(rows, &rec, t, key, value);
	rows->send(rows->arg, txn, &rec);
}

/* Debezium's envelope around a change, or around a row that was read (r). */
static char *
envelope(KsRows *rows, const KsWalTransaction *txn, const Table *t, char op,
		 LogicalRepTupleData *before, LogicalRepTupleData *after)
{
	StringInfoData buf;
	int64		ms = ks_timestamp_to_ms(txn->committed_at);

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"before\":");
	if (before)
		append_row(rows, &buf, t, before, false);
	else
		appendStringInfoString(&buf, "null");
	appendStringInfoString(&buf, ",\"after\":");
	if (after)
		append_row(rows, &buf, t, after, false);
	else
		appendStringInfoString(&buf, "null");
	appendStringInfoString(&buf, t->source);
	appendStringInfo(&buf, "\"snapshot\":\"%s\",\"ts_ms\":" INT64_FORMAT ",\"txId\":", op == 'r' ? "incremental" : "false", ms);
	/* a row that was read is no transaction's */
	if (op == 'r')
		appendStringInfoString(&buf, "null");
	else
		appendStringInfo(&buf, UINT64_FORMAT, U64FromFullTransactionId(txn->xid));
	appendStringInfo(&buf, ",\"lsn\":" UINT64_FORMAT "},\"op\":\"%c\",\"ts_ms\":" INT64_FORMAT "}", (uint64) txn->commit_lsn, op, ms);
	return buf.data;
}

static void
send_insert(KsRows *rows, const KsWalTransaction *txn, const Table *t, LogicalRepTupleData *tup)
{
	StringInfoData buf;

	if (rows->envelope == KS_ROW_DEBEZIUM)
	{
		send(rows, txn, t, key_of(rows, t, tup), envelope(rows, txn, t, 'c', NULL, tup));
		return;
	}
	initStringInfo(&buf);
	append_row(rows, &buf, t, tup, false);
	send(rows, txn, t, key_of(rows, t, tup), buf.data);
}

/* The last record of a key has no value, so that a compacted topic forgets it. */
static void
send_delete(KsRows *rows, const KsWalTransaction *txn, const Table *t, LogicalRepTupleData *old)
{
	char	   *key = key_of(rows, t, old);

	if (rows->envelope == KS_ROW_DEBEZIUM)
		send(rows, txn, t, key, envelope(rows, txn, t, 'd', old, NULL));
	if (key)
		send(rows, txn, t, key, NULL);
}

static bool
same_key(KsRows *rows, const Table *t, LogicalRepTupleData *a, LogicalRepTupleData *b)
{
	char	   *ka = key_of(rows, t, a);
	char	   *kb = key_of(rows, t, b);

	return ka == kb || (ka && kb && strcmp(ka, kb) == 0);
}

/* Of a key that was changed, the old one is deleted.  'full': of the row before, all is
 * known, and not the key alone. */
static void
send_update(KsRows *rows, const KsWalTransaction *txn, const Table *t, LogicalRepTupleData *old, bool full, LogicalRepTupleData *tup)
{
	if (old && !same_key(rows, t, old, tup))
	{
		send_delete(rows, txn, t, old);
		send_insert(rows, txn, t, tup);
	}
	else if (rows->envelope == KS_ROW_DEBEZIUM)
		send(rows, txn, t, key_of(rows, t, tup), envelope(rows, txn, t, 'u', full ? old : NULL, tup));
	else
		send_insert(rows, txn, t, tup);
}

/* Rows without an envelope have no word for it: that the table was emptied is told once. */
static void
send_truncate(KsRows *rows, const KsWalTransaction *txn, Table *t)
{
	if (rows->envelope == KS_ROW_DEBEZIUM)
		send(rows, txn, t, NULL, envelope(rows, txn, t, 't', NULL, NULL));
	else if (!t->told)
		ereport(LOG,
				(errmsg("TRUNCATE of table \"%s.%s\" is not published", t->schema, t->name),
				 errdetail("Records of envelope \"none\" are rows."),
				 errhint("Leave truncate out of the publication, or set envelope to debezium.")));
	t->told = true;
}

static void
send_truncates(KsRows *rows, const KsWalTransaction *txn, StringInfo in)
{
	bool		cascade,
				restart_seqs;
	List	   *relids = logicalrep_read_truncate(in, &cascade, &restart_seqs);
	ListCell   *lc;

	foreach(lc, relids)
	{
		Table	   *t = table_of(rows, txn, lfirst_oid(lc));

		if (!t->hidden)
			send_truncate(rows, txn, t);
	}
}

/* What is published now, of the old row's key and of the new one's. */
static void
tell_watch(KsRows *rows, const KsWalTransaction *txn, const Table *t, LogicalRepTupleData *old, LogicalRepTupleData *tup, bool whole)
{
	if (!is_watched(rows, t->relid))
		return;
	if (old && (tup == NULL || !same_key(rows, t, old, tup)))
		rows->watch(rows->watch_arg, txn, key_of(rows, t, old), true);
	if (tup && is_watched(rows, t->relid))
		rows->watch(rows->watch_arg, txn, key_of(rows, t, tup), whole);
}

/* What was read before is of a table that was emptied, perhaps. */
static void
tell_watch_truncate(KsRows *rows, const KsWalTransaction *txn, StringInfoData in)
{
	bool		cascade,
				restart_seqs;
	ListCell   *lc;

	(void) pq_getmsgbyte(&in);
	foreach(lc, logicalrep_read_truncate(&in, &cascade, &restart_seqs))
		if (is_watched(rows, lfirst_oid(lc)))
			rows->watch(rows->watch_arg, txn, NULL, false);
}

KsRowTable *
ks_rows_describe(KsRows *rows, LogicalRepRelation *rel)
{
	Table	   *t = palloc0(sizeof(Table));

	t->relid = rel->remoteid;
	fill_table(rows, t, rel);
	check_topic(rows, t);
	return t;
}

void
ks_rows_make_copied(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *row, const KsWalTransaction *at,
					KsProducerRecord *rec, char **key)
{
	StringInfoData buf;

	*key = key_of(rows, t, row);
	if (rows->envelope == KS_ROW_DEBEZIUM)
		make_record(rows, rec, t, *key, envelope(rows, at, t, 'r', NULL, row));
	else
	{
		initStringInfo(&buf);
		append_row(rows, &buf, t, row, false);
		make_record(rows, rec, t, *key, buf.data);
	}
	rec->ts_ms = ks_timestamp_to_ms(at->committed_at);
}

void
ks_rows_watch(KsRows *rows, const KsRowTable *table, KsRowWatch watch, void *arg)
{
	rows->watched = table;
	rows->watch = watch;
	rows->watch_arg = arg;
}

void
ks_rows_take(KsRows *rows, const KsWalTransaction *txn, StringInfo message)
{
	MemoryContext old = MemoryContextSwitchTo(rows->change_cxt);
	StringInfoData in = *message;
	LogicalRepTupleData tup,
				before;
	const Table *t;
	bool		has_before;
	bool		full;

	in.cursor = 0;
	if (rows->watched && *in.data == LOGICAL_REP_MSG_TRUNCATE)
		tell_watch_truncate(rows, txn, in);
	switch (pq_getmsgbyte(&in))
	{
		case LOGICAL_REP_MSG_RELATION:
			take_relation(rows, &in);
			break;
		case LOGICAL_REP_MSG_INSERT:
			t = table_of(rows, txn, logicalrep_read_insert(&in, &tup));
			if (t->hidden)
				break;
			tell_watch(rows, txn, t, NULL, &tup, is_whole(&tup));
			send_insert(rows, txn, t, &tup);
			break;
		case LOGICAL_REP_MSG_UPDATE:
			t = table_of(rows, txn, logicalrep_read_update(&in, &has_before, &before, &tup));
			if (t->hidden)
				break;
			full = has_before && message->data[OLD_KIND] == 'O';
			if (has_before)
			{
				check_old_key(t, &before);
				complete(t, &tup, &before);
			}
			tell_watch(rows, txn, t, has_before ? &before : NULL, &tup, is_whole(&tup));
			send_update(rows, txn, t, has_before ? &before : NULL, full, &tup);
			break;
		case LOGICAL_REP_MSG_DELETE:
			t = table_of(rows, txn, logicalrep_read_delete(&in, &before));
			if (t->hidden)
				break;
			check_old_key(t, &before);
			tell_watch(rows, txn, t, &before, NULL, true);
			send_delete(rows, txn, t, &before);
			break;
		case LOGICAL_REP_MSG_TRUNCATE:
			send_truncates(rows, txn, &in);
			break;
		default:
			/* types are the catalog's */
			break;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(rows->change_cxt);
}
