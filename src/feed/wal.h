/*
 * wal.h
 *	  What transactions of this database have committed, out of the WAL.
 *
 * A replication slot keeps the WAL; this process decodes it by itself.  Of messages
 * alone this library is the output plugin; what is published of tables is the
 * server's own plugin's business (pgoutput), whose words are handed out as they are.
 * Only what is flushed is read, and nothing is waited for: who reads is told that there
 * is no more.  Of a slot that follows to standbys, neither is read what those do not have
 * that the server is to wait for (synchronized_standby_slots): Kafka must not have it when
 * one of them is promoted.
 *
 * No transaction must be open while it is read: each transaction of the WAL is
 * handed out within one of its own, which is rolled back.
 */
#ifndef KS_FEED_WAL_H
#define KS_FEED_WAL_H

#include "postgres.h"

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "lib/stringinfo.h"
#include "utils/timestamp.h"

/* A committed transaction. */
typedef struct KsWalTransaction
{
	FullTransactionId xid;
	XLogRecPtr	commit_lsn;		/* where its commit begins */
	XLogRecPtr	end_lsn;		/* and ends */
	TimestampTz committed_at;
	uint64		change;			/* the one at hand, of all that it has, published or not; counted from 1 */
} KsWalTransaction;

/* Who is told, in the order of commits.  Errors end the reading for good. */
typedef struct KsWalReceiver
{
	void		(*begin) (void *arg, const KsWalTransaction *txn);
	void		(*message) (void *arg, const KsWalTransaction *txn, const char *data, Size len);
	bool		(*is_own) (Oid relid);	/* a table of which nothing is to be handed out, whoever publishes it */
	void		(*change) (void *arg, const KsWalTransaction *txn, StringInfo words);	/* of pgoutput */
	void		(*commit) (void *arg, const KsWalTransaction *txn);
	void		(*skipped) (void *arg, XLogRecPtr commit_lsn);	/* in place of all that it had */
	void		(*passed) (void *arg, XLogRecPtr commit_lsn, uint64 changes);	/* now and then within a transaction,
																				 * also one of which nothing is handed
																				 * out; so many are behind, 0: it is
																				 * about to begin, and that can take long */
	void	   *arg;
} KsWalReceiver;

typedef struct KsWal KsWal;

/*
 * Takes the slot, for the life of the process.  Commits that begin before 'from' are
 * left out, and so is what the transaction has whose commit begins at 'skip' (0: none).
 * 'publication' tells which changes of tables are handed out; NULL: none.  In 'cxt'.
 */
extern KsWal *ks_wal_open(const char *slot, XLogRecPtr from, XLogRecPtr skip, const char *publication,
						  const KsWalReceiver *receiver, MemoryContext cxt);

/* Decodes one record of the WAL; false if there is none that may be read. */
extern bool ks_wal_next(KsWal *wal);

/* How far it may be read now. */
extern XLogRecPtr ks_wal_readable(KsWal *wal);

/* Is more flushed, and standbys do not have it? */
extern bool ks_wal_is_held(const KsWal *wal);

/* All that commits before it has been handed out, or was left out.  It never goes back. */
extern XLogRecPtr ks_wal_position(const KsWal *wal);

/* Where the commit begins of the transaction that is handed out, or was when an error was
 * raised; 0: none. */
extern XLogRecPtr ks_wal_at(const KsWal *wal);

/* Where the WAL ends that has been inserted, flushed or not. */
extern XLogRecPtr ks_wal_end(void);

/* What commits before it is not needed any more. */
extern void ks_wal_confirm(KsWal *wal, XLogRecPtr lsn);

/* Before and behind each transaction of our own: what the caches know is of another time. */
extern void ks_wal_forget_caches(void);

/* For callbacks of the caches: that is all, and nothing has changed. */
extern bool ks_wal_is_forgetting(void);

#endif
