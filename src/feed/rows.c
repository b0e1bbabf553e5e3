/*
 * rows.c
 *	  Changes of tables as records.
 *
 * All that belongs to one change lives in a context of its own.
 */
#include "postgres.h"

#include "libpq/pqformat.h"
#include "replication/logicalproto.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "base/message.h"
#include "feed/rows_int.h"

/* Where an update tells what it has of the old row: behind its kind and the table. */
#define OLD_KIND		5

KsRows *
ks_rows_create(KsRowEnvelope envelope, const char *topic, const char *progress_topic, const char *feed, const char *database,
			   KsRowCheck check, KsRowSend send, void *arg, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	HASHCTL		ctl = {.keysize = sizeof(uint32), .entrysize = sizeof(KsRowTable), .hcxt = cxt};
	KsRows	   *rows = palloc0(sizeof(KsRows));

	rows->schemas = envelope == KS_ROW_DEBEZIUM_SCHEMA;
	rows->envelope = rows->schemas ? KS_ROW_DEBEZIUM : envelope;
	rows->topic = pstrdup(topic);
	rows->progress_topic = pstrdup(progress_topic);
	rows->feed = ks_row_escaped(feed);
	rows->database = ks_row_escaped(database);
	rows->check = check;
	rows->send = send;
	rows->arg = arg;
	rows->cxt = cxt;
	rows->change_cxt = AllocSetContextCreate(cxt, "kafka_sink change", ALLOCSET_DEFAULT_SIZES);
	rows->tables = hash_create("kafka_sink tables of a feed", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	MemoryContextSwitchTo(old);
	return rows;
}

/* Has the change all that there is of the row? */
static bool
is_whole(const LogicalRepTupleData *tup)
{
	return memchr(tup->colstatus, LOGICALREP_COLUMN_UNCHANGED, tup->ncols) == NULL;
}

/*
 * What an update leaves as it is and is stored apart is not in the WAL: it is taken from
 * what is known of the row before.  (Of a partition that may be less than its root's
 * replica identity promises; NULL is no value that would be stored apart.)
 */
static void
complete(const KsRowTable *t, LogicalRepTupleData *tup, const LogicalRepTupleData *before)
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
check_old_key(const KsRowTable *t, const LogicalRepTupleData *old)
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

static void
send_row(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, const char *key, const char *value)
{
	KsProducerRecord rec;

	ks_row_record_make(rows, &rec, t, key, value);
	rows->send(rows->arg, txn, &rec);
}

static void
send_insert(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, LogicalRepTupleData *tup)
{
	char	   *value = rows->envelope == KS_ROW_DEBEZIUM ? ks_row_record_envelope(rows, txn, t, 'c', NULL, tup) :
		ks_row_record_plain(rows, t, tup);

	send_row(rows, txn, t, ks_row_record_key(rows, t, tup), value);
}

/* The last record of a key has no value, so that a compacted topic forgets it. */
static void
send_delete(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, LogicalRepTupleData *old)
{
	char	   *key = ks_row_record_key(rows, t, old);

	if (rows->envelope == KS_ROW_DEBEZIUM)
		send_row(rows, txn, t, key, ks_row_record_envelope(rows, txn, t, 'd', old, NULL));
	if (key)
		send_row(rows, txn, t, key, NULL);
}

static bool
same_key(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *a, LogicalRepTupleData *b)
{
	char	   *ka = ks_row_record_key(rows, t, a);
	char	   *kb = ks_row_record_key(rows, t, b);

	return ka == kb || (ka && kb && strcmp(ka, kb) == 0);
}

/* Of a key that was changed, the old one is deleted.  'full': of the row before, all is
 * known, and not the key alone. */
static void
send_update(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, LogicalRepTupleData *old, bool full, LogicalRepTupleData *tup)
{
	if (old && !same_key(rows, t, old, tup))
	{
		send_delete(rows, txn, t, old);
		send_insert(rows, txn, t, tup);
	}
	else if (rows->envelope == KS_ROW_DEBEZIUM)
		send_row(rows, txn, t, ks_row_record_key(rows, t, tup), ks_row_record_envelope(rows, txn, t, 'u', full ? old : NULL, tup));
	else
		send_insert(rows, txn, t, tup);
}

/* Rows without an envelope have no word for it: that the table was emptied is told once. */
static void
send_truncate(KsRows *rows, const KsWalTransaction *txn, KsRowTable *t)
{
	if (rows->envelope == KS_ROW_DEBEZIUM)
		send_row(rows, txn, t, NULL, ks_row_record_envelope(rows, txn, t, 't', NULL, NULL));
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
		KsRowTable *t = ks_row_table_of(rows, txn, lfirst_oid(lc));

		if (!t->hidden)
			send_truncate(rows, txn, t);
	}
}

/* What is published now, of the old row's key and of the new one's. */
static void
tell_watch(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, LogicalRepTupleData *old, LogicalRepTupleData *tup, bool whole)
{
	if (!ks_rows_is_watched(rows, t->relid))
		return;
	if (old && (tup == NULL || !same_key(rows, t, old, tup)))
		rows->watch(rows->watch_arg, txn, ks_row_record_key(rows, t, old), true);
	if (tup && ks_rows_is_watched(rows, t->relid))
		rows->watch(rows->watch_arg, txn, ks_row_record_key(rows, t, tup), whole);
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
		if (ks_rows_is_watched(rows, lfirst_oid(lc)))
			rows->watch(rows->watch_arg, txn, NULL, false);
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
	const KsRowTable *t;
	bool		has_before;
	bool		full;

	in.cursor = 0;
	if (rows->watched && *in.data == LOGICAL_REP_MSG_TRUNCATE)
		tell_watch_truncate(rows, txn, in);
	switch (pq_getmsgbyte(&in))
	{
		case LOGICAL_REP_MSG_RELATION:
			ks_row_table_take(rows, &in);
			break;
		case LOGICAL_REP_MSG_INSERT:
			t = ks_row_table_of(rows, txn, logicalrep_read_insert(&in, &tup));
			if (t->hidden)
				break;
			tell_watch(rows, txn, t, NULL, &tup, is_whole(&tup));
			send_insert(rows, txn, t, &tup);
			break;
		case LOGICAL_REP_MSG_UPDATE:
			t = ks_row_table_of(rows, txn, logicalrep_read_update(&in, &has_before, &before, &tup));
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
			t = ks_row_table_of(rows, txn, logicalrep_read_delete(&in, &before));
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
