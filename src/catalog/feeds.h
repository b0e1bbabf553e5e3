/*
 * feeds.h
 *	  Rows of the extension's tables about feeds, as structs.
 *
 * Feeds and sinks share their names: whatever names one names the other, or nothing.
 */
#ifndef KS_FEEDS_H
#define KS_FEEDS_H

#include "postgres.h"

#include "access/xlogdefs.h"

#include "catalog/sinks.h"

typedef struct KsFeed
{
	char	   *name;
	int64		id;				/* given when it was created, and no other's */
	Oid			owner;
	char	   *server;
	char	   *publication;	/* NULL: messages alone */
	char	   *topic;			/* of tables, with {schema} and {table} */
	char	   *envelope;
	bool		debezium;		/* which is this; else none */
	bool		with_schema;	/* each record of that */
	char	   *progress_topic;
	int			batch_records;
	int			batch_bytes;
	int			max_message_bytes;
	int64		transaction_timeout_us;
	bool		failover;		/* its slot follows to standbys */
	bool		copy_data;		/* rows that are there before it begins are published, too */
	bool		enabled;
	int64		generation;		/* +1 by each change that its worker must see */
	bool		suspended;		/* stored identity is not this database's */
	XLogRecPtr	start_lsn;		/* commits from here on are published; 0: there is no slot yet */
	XLogRecPtr	skip_lsn;		/* of the transaction that is not to be published, by its commit; 0: none */
	char	   *state;			/* of its worker, NULL: none */
	bool		halted;
	XLogRecPtr	state_lsn;		/* of the transaction that could not be published; 0: none, or not known */
	XLogRecPtr	one_by_one;		/* up to this one each is published alone; 0: it need not be;
								 * KS_FEED_ROWS: each row that is copied */
} KsFeed;

#define KS_FEED_ROWS	PG_UINT64_MAX

/* Is there a feed of this name? */
extern bool ks_feeds_exists(const char *name);

/* NULL if there is none and missing_ok; in the current context. */
extern KsFeed *ks_feeds_get(const char *name, bool missing_ok);

/* The envelope, and what follows from its name, which is not copied. */
extern void ks_feeds_use_envelope(KsFeed *feed, char *envelope);

/*
 * Takes a name for a feed, or a sink: nobody else can until the end of the
 * transaction.  Errors (42710) if there is one of the other kind.
 */
extern void ks_feeds_take_name(const char *name, bool for_feed);

/* Errors (42501) unless the current user has the privileges of the feed's owner. */
extern void ks_feeds_check_owner(const KsFeed *feed);

/* Is it where feeds say how far they are?  What others write there they would take for theirs. */
extern bool ks_feeds_have_progress_in(const char *topic);

/* The secret by which the feed's messages are known; KS_MESSAGE_SECRET_LEN bytes. */
extern void ks_feeds_secret(const char *name, uint8 *secret, Size len);

/* The slot is there, and messages are taken from here on: in a transaction of the
 * caller's.  False if the feed has been changed, or is another one by now. */
extern bool ks_feeds_set_started(const KsFeed *feed, XLogRecPtr lsn);

/* Where the feed's progress in Kafka was, as it was read; for people. */
extern void ks_feeds_set_progress(const KsFeed *feed, XLogRecPtr lsn, uint32 xid, int64 transactions, int64 records);

/* What was to be skipped is behind: skipped, or published before.  Likewise. */
extern void ks_feeds_end_skip(const KsFeed *feed, XLogRecPtr lsn, bool skipped);

/*
 * Writes what a feed's worker is in: starting, running, waiting, backoff, halted.  In a
 * transaction of the caller's.  'lsn': where the commit begins of the transaction that
 * could not be published, 0: none; up to 'one_by_one' each is to be published alone.
 */
extern void ks_feeds_set_state(const char *name, const char *state, const KsStateError *error,
							   XLogRecPtr lsn, XLogRecPtr one_by_one);

/* The same, halted, if the feed is still the one that was read; false if it is not. */
extern bool ks_feeds_halt(const KsFeed *feed, const KsStateError *error, XLogRecPtr lsn);

/* Forgets a state that only a running worker can be in. */
extern void ks_feeds_clear_state(const char *name);

/* --- emit() --- */

/* What a session knows of a feed that it emits to. */
typedef struct KsEmitter
{
	char		name[NAMEDATALEN];	/* the key */
	int64		id;
	Oid			owner;
	Oid		   *roles;			/* who may emit, beside those with the owner's privileges */
	int			nroles;
	int			max_message_bytes;
	bool		started;
	bool		suspended;		/* a copy: what is emitted here would never be published */
	uint8		secret[32];
	char	   *progress_topics;	/* of all feeds here: one behind the other, and an empty one */
} KsEmitter;

/*
 * Errors (42704, 42501, 55000) unless the current user may emit to the feed, and it
 * takes messages.  What is found is kept until the feed is changed.
 */
extern const KsEmitter *ks_feeds_emitter(const char *name);

/* Is it where feeds have their progress?  Who could write there would say how far they are. */
extern bool ks_feeds_is_progress_topic(const KsEmitter *emitter, const char *topic);

/* All of these, texts in 'cxt'; with SPI connected. */
extern List *ks_feeds_progress_topics(MemoryContext cxt);

/* Has to be called by whoever changes what sessions keep: at the commit they hear of it. */
extern void ks_feeds_note_change(void);

#endif
