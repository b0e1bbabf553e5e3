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

typedef enum KsSlotKind
{
	KS_SLOT_IS_MISSING,
	KS_SLOT_IS_FOREIGN,			/* of another database, or plugin */
	KS_SLOT_IS_INVALID,			/* the WAL that it needs is gone */
	KS_SLOT_IS_USABLE
} KsSlotKind;

typedef struct KsSlotInfo
{
	KsSlotKind	kind;
	int			active_pid;		/* 0: nobody has it */
	bool		follows;		/* to standbys */
	XLogRecPtr	restart_lsn;	/* WAL is kept from here on */
	XLogRecPtr	confirmed_lsn;	/* commits that begin before it are not needed */
} KsSlotInfo;

/* How the slot of a feed is called. */
extern char *ks_wal_slot_name(int64 feed_id);

extern void ks_wal_read_slot(const char *slot, KsSlotInfo *info);

/* The same of a slot of any feed, by its number below max_replication_slots; false
 * if there is none, or it is not one of this database's feeds. */
extern bool ks_wal_feed_slot(int i, NameData *name, bool *active);

/*
 * Makes a slot, of messages alone or of tables, too, in place of one of that name, which
 * must not be in use.  Waits for transactions that are open now, serving interrupts.
 * Returns the place in the WAL from which on commits are decoded.
 */
extern XLogRecPtr ks_wal_make_slot(const char *slot, bool tables, bool follows);

/* Is it to follow to standbys?  Nobody must have it, or errors (55006). */
extern void ks_wal_set_follows(const char *slot, bool follows);

/* Does a process hold the slot of a feed of that database? */
extern bool ks_wal_any_slot_is_held(Oid dbid);

/* Errors (55006) if somebody has it. */
extern void ks_wal_drop_slot(const char *slot);

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
