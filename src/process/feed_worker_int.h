/*
 * feed_worker_int.h
 *	  What the files feed_worker*.c share: the process's one feed.
 *
 * From above to below:
 *
 *	feed_worker.c		the process: read, publish, wait, end
 *	feed_worker_start.c	from the rows of the catalog to the first read
 *	feed_worker_copy.c	the rows that are there before, meanwhile
 *	feed_worker_chunk.c	so many of them at a time
 *	feed_worker_tables.c	which tables it may publish
 *	feed_worker_wait.c	what others want meanwhile
 *	feed_worker_state.c	what is written of the feed
 */
#ifndef KS_FEED_WORKER_INT_H
#define KS_FEED_WORKER_INT_H

#include "postgres.h"

#include "storage/condition_variable.h"
#include "storage/latch.h"

#include "base/compat.h"
#include "catalog/feed_copies.h"
#include "catalog/feeds.h"
#include "feed/copy.h"
#include "feed/publisher.h"
#include "feed/wal.h"
#include "kafka/producer.h"
#include "process/shmem.h"

typedef struct KsFeedWorker
{
	KsWorkerSlot *slot;
	ConditionVariable *progress;	/* of the feed */
	MemoryContext cxt;			/* as long as the process */
	KsFeed	   *feed;
	KsConf	   *conf;
	uint64		conf_fingerprint;
	KsPublisher publisher;
	KsDefinition defined;		/* the feed's, of its tables */
	XLogRecPtr	former_until;	/* it publishes by former ones, here at the latest no more; 0: it does not */
	KsWal	   *wal;
	const char *state;			/* as last written; NULL: nothing yet */
	char		said[256];		/* the message with it */
	TimestampTz trouble_since;	/* while Kafka is waited for, 0: it is not */
	bool		row_refused;	/* that is copied: the next process sends them one by one */
	XLogRecPtr	stopped_at;		/* the transaction that ends the process, by its commit; 0: none, or not known */
} KsFeedWorker;

extern KsFeedWorker ks_feed;

/* --- feed_worker_state.c --- */

/*
 * A transaction of our own between those of the WAL, by caches of now, and none of what it
 * has read is left to theirs.  Returns its error, or NULL.
 */
extern ErrorData *ks_feed_try(void (*step) (void *arg), void *arg);

/* The same, and raises its error. */
extern void ks_feed_run(void (*step) (void *arg), void *arg);

/* In a transaction of its own; a failure is logged, and it is written again. */
extern void ks_feed_write_state(const char *state, const KsStateError *error);

/* Writes that the feed is halted, and ends the process; begins anew if it was changed. */
extern void ks_feed_halt(const KsStateError *error) KS_NORETURN;

/* As feed_state has it; shares what edata points to.  Not within a transaction. */
extern void ks_feed_state_error(const ErrorData *edata, KsStateError *error);

/* Of the producer's error, if it has one.  'refused', if it is not NULL: a message, or its
 * topic, may be what is wrong. */
extern bool ks_feed_producer_error(KsStateError *error, bool *halts, bool *refused);

/* Kafka is waited for: tells so if it takes long.  Not within a transaction. */
extern void ks_feed_tell_waiting(void);

/* Standbys are waited for: tells so if it takes long. */
extern void ks_feed_tell_held(void);

/* What was to be skipped is behind; 'skipped': it is not in Kafka.  Errors. */
extern void ks_feed_end_skip(bool skipped);

/* What was waited for has come. */
extern void ks_feed_tell_running(void);

/* Ends the process to be started again at once. */
extern void ks_feed_respawn(void) KS_NORETURN;

/* --- feed_worker_wait.c --- */

/* What others want of this process, while it waits; may end it. */
extern void ks_feed_serve(void);

/* --- feed_worker_tables.c --- */

/* Which tables the owner may read; in a transaction. */
extern void ks_feed_find_tables(void *unused);

/* Between transactions: finds them again if privileges may have changed. */
extern void ks_feed_look_after_tables(void);

/* The clock was set back: they are looked for as soon as before. */
extern void ks_feed_tables_set_back(TimestampTz now);

/* Those of the publication, as they were found; without the extension's own. */
extern List *ks_feed_tables(void);

/* Errors (42501) if the owner may not read all of it; in a transaction of our own. */
extern void ks_feed_check_readable_now(Oid relid, const char *schema, const char *table);

/* The extension's own are nobody's business; as they were found. */
extern bool ks_feed_is_own(Oid relid);

/* False of those that are not published any more and that the owner could not read then.
 * Errors (42501) if he may not read it; begins anew if that is not known. */
extern bool ks_feed_check_table(void *unused, const KsWalTransaction *txn, Oid relid, const char *schema, const char *table);

/* --- feed_worker_chunk.c --- */

/* Rows of a table in memory, from CHUNK to SEND. */
typedef struct KsFeedChunk
{
	MemoryContext cxt;			/* of all of it */
	KsHorizon	horizon;		/* of the snapshot that has seen them */
	KsChunk    *chunk;			/* NULL: there is none */
	KsRowTable *table;
	XLogRecPtr	until;			/* what the snapshot sees has committed before it */
	bool		anew;			/* the first of its table */
	bool		is_last;
	int64		nrows;
	bool		skipped;		/* one of them is not to be published */
	char	   *last_row;		/* the place of the last, NULL: there is none */
	char	   *place;			/* behind it, for the progress; NULL: it is the last chunk */
} KsFeedChunk;

#define KS_FEED_CHUNK_ROWS	10000	/* at most */

/*
 * Locks a table, and its partitions, until the end of the transaction.  A snapshot that is
 * taken behind that sees what has rewritten it; to one that is older it would be empty.
 * Errors (55P03) if somebody else has it locked for long.
 */
extern void ks_feed_lock_table(Oid relid);

/* Reads up to 'most' rows behind a place (NULL: the first), by the active snapshot, which
 * the horizon is of; without the one at 'skip_at', unless it is NULL.  The table is
 * locked. */
extern void ks_feed_read_chunk(KsFeedChunk *to, const KsCopyPlan *plan, const char *place, const char *skip_at, int most);

/* --- feed_worker_copy.c --- */

/* Before the first read of the WAL, which 'receiver' is for.  Not within a transaction. */
extern void ks_feed_copy_start(KsWalReceiver *receiver);

/* Between two records of the WAL: looks at the publication, or reads the next chunk. */
extern void ks_feed_copy_next(void);

/* Sends what is left of a chunk, if it is time; then it is to be committed.  'more': there
 * is something left to read. */
extern bool ks_feed_copy_release(bool more);

/* And when it is. */
extern void ks_feed_copy_committed(void);

/* Nothing else is to be read: a chunk of one row has a transaction of Kafka to itself. */
extern bool ks_feed_copy_is_due(void);

/* Before it is told how far the WAL has been read: is something to be copied? */
extern void ks_feed_copy_tell(void);

/* There is something to do now. */
extern bool ks_feed_copy_is_busy(void);

/* Are rows of it in the transaction of Kafka that has failed? */
extern bool ks_feed_copy_has_sent(void);

/* Is it the row that was refused, and nothing else?  Then it is told, with 'error'.  Else
 * the next process reads fewer rows at a time.  Not within a transaction. */
extern bool ks_feed_copy_blame(KsStateError *error);

/* The clock was set back: what is to be tried again is tried as soon as before. */
extern void ks_feed_copy_set_back(TimestampTz now);

/* For how long to sleep, ms, of so long. */
extern long ks_feed_copy_patience(long timeout);

/* --- feed_worker_start.c --- */

/* All up to the first read; false if the feed is not to run.  Errors, or does not
 * return. */
extern bool ks_feed_start(int64 generation);

#endif
