/*
 * wal_int.h
 *	  What the reader of the WAL, its output plugin and its slots share.
 */
#ifndef KS_FEED_WAL_INT_H
#define KS_FEED_WAL_INT_H

#include "postgres.h"

#include "replication/logical.h"
#include "utils/resowner.h"

#include "feed/wal.h"

#define KS_WAL_PLUGIN			"kafka_sink"	/* of messages */
#define KS_WAL_TABLES_PLUGIN	"pgoutput"

struct KsWal
{
	MemoryContext cxt;
	ResourceOwner owner;		/* of what is read between transactions */
	LogicalDecodingContext *ctx;
	KsWalReceiver receiver;
	KsWalTransaction txn;		/* that is handed out */
	OutputPluginCallbacks plugin;	/* what ours are around of */
	XLogRecPtr	from;			/* commits before it are left out */
	XLogRecPtr	at;				/* the transaction at hand, by its commit; 0: none */
	uint64		nchanges;		/* of all transactions: see next_change() */
	XLogRecPtr	skip;			/* the one of which nothing is handed out */
	const char *publication;	/* NULL: messages alone are handed out */
	bool		starved;		/* the last read met the end of what may be read */

	/* of a slot that follows to standbys */
	bool		follows;
	bool		warned;			/* that one of them is not there */
	XLogRecPtr	safe;			/* they have what is before it */
	XLogRecPtr	wanted;			/* and are asked for this */
};

/* The one of this process, or NULL: the plugin is called with nothing that would tell. */
extern KsWal *ks_wal_mine;

/* This process may decode from now on; while it makes a slot, the plugin is called without a reader. */
extern void ks_wal_plugin_allow(bool making_slot);

/* How pgoutput is to work. */
extern List *ks_wal_plugin_options(const char *publication);

/* For the decoding context: what a plugin writes, which for pgoutput is its words. */
extern void ks_wal_plugin_prepare(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write);
extern void ks_wal_plugin_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write);

/* Puts callbacks of ours around the plugin's. */
extern void ks_wal_plugin_wrap(KsWal *wal);

#endif
