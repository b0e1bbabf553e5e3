/*
 * watcher_int.h
 *	  What the files watcher*.c share.
 *
 * From above to below:
 *
 *	watcher.c			the process: its loop, and the states that it writes
 *	watcher_parked.c	who is parked, and what is known of each
 *	watcher_client.c	connections, and waiting for them
 *	watcher_parts.c		partitions: starting them, what is heard of them, and
 *						whom that wakes
 */
#ifndef KS_WATCHER_INT_H
#define KS_WATCHER_INT_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/hsearch.h"

#include "catalog/sinks.h"
#include "kafka/source.h"
#include "process/shmem_int.h"

/* One kind of work for many sinks goes on so long, and then all else has its turn. */
#define KS_WATCH_STEP_MS	250

typedef struct KsWatchPart KsWatchPart;

/* A connection: sinks of one server and one owner share it. */
typedef struct KsWatchClient
{
	dlist_node	node;
	char	   *server;
	Oid			owner;
	bool		read_uncommitted;
	uint64		fingerprint;	/* of its properties */
	MemoryContext cxt;
	KsSource   *source;
	HTAB	   *parts;			/* of KsWatchPart, by topic and number */
	KsWatchPart **by_pidx;
	int			nparts;
	int			statistics_ms;	/* between librdkafka's statistics */
	bool		busy;			/* the source has more, or is to be called again */
	TimestampTz published;
	int			trouble;		/* no broker, or none that lets us in: its number; 0: none */
	int			ntroubles;		/* so many were told */
	bool		heard;			/* what brokers say of a partition, at least once */
	KsStateError error;			/* in error_cxt */
	MemoryContext error_cxt;
} KsWatchClient;

typedef struct KsWatchKey
{
	char		topic[KS_MAX_TOPIC_LEN + 1];
	int32		part;
} KsWatchKey;

/* A partition, whoever wants to hear of it. */
struct KsWatchPart
{
	KsWatchKey	key;
	int			pidx;
	KsWatchClient *client;
	dlist_head	users;
	bool		dirty;			/* users have changed: start it anew */
	bool		started;
	int			failures;
	TimestampTz restart_at;		/* an error that passes; 0: none */
};

/* A worker's interest in a partition. */
typedef struct KsWatchUser
{
	dlist_node	node;			/* of the partition */
	struct KsWatched *watched;
	KsWatchPart *part;
	KsPartition row;			/* as stored */
	KsPartitionSlot *slot;		/* live figures, or NULL */
} KsWatchUser;

/* A topic of a parked worker. */
typedef struct KsWatchTopic
{
	const KsTopic *topic;
	int			settled;		/* partitions that have a row, by the highest number */
} KsWatchTopic;

/* A parked worker; lives in cxt, as all that hangs on it. */
typedef struct KsWatched
{
	dlist_node	node;
	MemoryContext cxt;
	int			slot;
	KsParkedSlot parked;		/* as it was when we took it */
	bool		woken;
	KsWatchClient *client;		/* NULL: not yet loaded */
	KsWatchUser *users;
	int			nusers;
	KsWatchTopic *topics;
	int			ntopics;
	int			reported_trouble;	/* its row says waiting, because of that one; */
#define KS_TROUBLE_BEFORE (-1)		/* or by a watcher that was there before us; 0: it does not */
	int			failures;		/* to load it, or to write its state */
	TimestampTz next_try;
} KsWatched;

/* --- watcher_parked.c --- */

extern dlist_head ks_watched;	/* of KsWatched */

/* Takes over who is parked, if that has changed. */
extern void ks_watched_take_over(KsDatabase *database);

/* Has it, since?  Without taking it over. */
extern bool ks_watched_is_changed(const KsDatabase *database);

/* Reads what is not yet known of them; returns when what failed is tried again. */
extern TimestampTz ks_watched_load(void);

/*
 * Runs 'step' for a parked worker, in a transaction of its own.  False if that
 * fails, or has failed and is not due again.
 */
extern bool ks_watched_try(KsWatched *w, void (*step) (void *arg));

/* --- watcher_client.c --- */

extern MemoryContext ks_watcher_cxt;
extern dlist_head ks_watch_clients;	/* of KsWatchClient */

/* The client of a sink's connection, made when first needed. */
extern KsWatchClient *ks_watch_client(const KsSink *sink);

/*
 * Retires the clients whose properties have changed, and wakes those who use them.
 * False if so many are retired by now that the process is better begun anew.
 */
extern bool ks_watch_check_connections(dlist_head *watched);

/*
 * Has a client got so many more partitions than it was made for that its statistics are
 * too much work?  That is mended by beginning the process anew.
 */
extern bool ks_watch_outgrown(void);

/* Until the latch, any client, or for that many milliseconds (-1: no limit). */
extern void ks_watch_wait(long timeout);

/* --- watcher_parts.c --- */

/* Wakes a parked worker: its supervisor starts it. */
extern void ks_watcher_wake(KsWatched *w, const char *why);

extern KsWatchPart *ks_watch_part(KsWatchClient *client, const char *topic, int32 part);
extern void ks_watch_add_user(KsWatchPart *part, KsWatchUser *user);
extern void ks_watch_remove_user(KsWatchUser *user);

/* Starts and stops partitions whose users have changed, or whose back-off is
 * over; returns when the next is. */
extern TimestampTz ks_watch_start_parts(KsWatchClient *client);

/* Back-offs are over. */
extern void ks_watch_hurry(KsWatchClient *client);

/* Takes what the source has to tell, without waiting. */
extern void ks_watch_poll(KsWatchClient *client, dlist_head *watched);

#endif
