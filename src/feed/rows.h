/*
 * rows.h
 *	  Changes of tables as records.
 *
 * What is published, and of it which rows and columns, is a publication's matter: the
 * server's own plugin (pgoutput) says it, in the words of its replication protocol.
 * Here these words become keys and values in JSON.
 */
#ifndef KS_FEED_ROWS_H
#define KS_FEED_ROWS_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/pg_list.h"
#include "replication/logicalproto.h"

#include "feed/wal.h"
#include "kafka/producer.h"

typedef enum KsRowEnvelope
{
	KS_ROW_PLAIN,				/* none: the row; a delete is a tombstone */
	KS_ROW_DEBEZIUM,
	KS_ROW_DEBEZIUM_SCHEMA		/* and with each record its schema */
} KsRowEnvelope;

/* Who is told of each record; it borrows its bytes. */
typedef void (*KsRowSend) (void *arg, const KsWalTransaction *txn, KsProducerRecord *rec);

/* Who is asked, before the first change of a table: is it for others at all?  Errors if it
 * must not be published. */
typedef bool (*KsRowCheck) (void *arg, const KsWalTransaction *txn, Oid relid, const char *schema, const char *table);

/*
 * Who copies a table is told of each change of it, before it is sent: its key, and whether
 * it has all of the row, or deletes it.  Without a key: the table is another by now.
 */
typedef void (*KsRowWatch) (void *arg, const KsWalTransaction *txn, const char *key, bool whole);

typedef struct KsRows KsRows;
typedef struct KsRowTable KsRowTable;

/* 'topic' has {schema} and {table} where the table's are to be, and is never the one of
 * progress; 'feed' and 'database' are named by the envelope.  In 'cxt'. */
extern KsRows *ks_rows_create(KsRowEnvelope envelope, const char *topic, const char *progress_topic, const char *feed,
							  const char *database, KsRowCheck check, KsRowSend send, void *arg, MemoryContext cxt);

/* One message of the protocol, of the transaction at hand. */
extern void ks_rows_take(KsRows *rows, const KsWalTransaction *txn, StringInfo message);

/* Each table is asked for again, before its next change; and these topics, of the caller's, are
 * not for tables either. */
extern void ks_rows_check_again(KsRows *rows, List *progress_topics);

/* A table, described by who reads it; in the current context. */
extern KsRowTable *ks_rows_describe(KsRows *rows, LogicalRepRelation *rel);

/*
 * A row of it that was read, as a record, and its key in the server's encoding; in the
 * current context.  'at' has the place and time.
 */
extern void ks_rows_make_copied(KsRows *rows, const KsRowTable *table, LogicalRepTupleData *row, const KsWalTransaction *at,
								KsProducerRecord *rec, char **key);

/* Who is told of changes of this table, as long as it is this one; NULL: nobody. */
extern void ks_rows_watch(KsRows *rows, const KsRowTable *table, KsRowWatch watch, void *arg);

/* Errors (22023) unless it is a pattern of topics; for create_feed(). */
extern void ks_rows_check_topic(const char *topic);

#endif
