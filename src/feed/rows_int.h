/*
 * rows_int.h
 *	  What those share who make records out of changes: tables as they are known, and
 *	  their rows as keys and values.
 */
#ifndef KS_FEED_ROWS_INT_H
#define KS_FEED_ROWS_INT_H

#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/json.h"

#include "feed/json_value.h"
#include "feed/row_schema.h"
#include "feed/rows.h"

typedef struct KsRowColumn
{
	const char *name;			/* "name":, escaped */
	int			namelen;
	KsJsonForm	form;
	Oid			type;
	bool		key;
} KsRowColumn;

struct KsRowTable
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
	KsRowColumn *columns;
	int			nkeys;
	bool		null_keys;		/* a value of the key can be NULL */
	const char *source;			/* of the envelope, as far as it is known before */
	KsRowSchemaColumn *schemas; /* of the columns, if records have them */
	const char *key_schema;		/* what stands before a key, or NULL */
	const char *change_schema;
};

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
	const KsRowTable *watched;	/* NULL: none */
	KsRowWatch	watch;
	void	   *watch_arg;
};

#define ks_rows_is_watched(rows, oid)	((rows)->watched != NULL && (rows)->watched->relid == (oid))

/* --- row_table.c --- */

/* A message R: a table as it is from now on. */
extern void ks_row_table_take(KsRows *rows, StringInfo in);

/* Of a change that is to be published; partitions are described as well as their root. */
extern KsRowTable *ks_row_table_of(KsRows *rows, const KsWalTransaction *txn, LogicalRepRelId relid);

/* --- row_record.c, all in the current context --- */

/* The key, NULL if the table has none: a single column as it is, or an object. */
extern char *ks_row_record_key(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *tup);

/* The row without an envelope. */
extern char *ks_row_record_plain(KsRows *rows, const KsRowTable *t, LogicalRepTupleData *tup);

/* Debezium's envelope around a change, or around a row that was read (r). */
extern char *ks_row_record_envelope(KsRows *rows, const KsWalTransaction *txn, const KsRowTable *t, char op,
									LogicalRepTupleData *before, LogicalRepTupleData *after);

/* Kafka's texts are UTF-8; a NULL value is a tombstone. */
extern void ks_row_record_make(KsRows *rows, KsProducerRecord *rec, const KsRowTable *t, const char *key, const char *value);

/* As a string of JSON. */
static inline char *
ks_row_escaped(const char *s)
{
	StringInfoData buf;

	initStringInfo(&buf);
	escape_json(&buf, s);
	return buf.data;
}

#endif
