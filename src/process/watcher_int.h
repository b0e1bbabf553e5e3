/*
 * watcher_int.h
 *	  What watcher.c and watcher_parts.c share.
 *
 *	watcher.c		the process: whom to watch, waiting, states
 *	watcher_parts.c	partitions: starting them, and what is heard of them
 */
#ifndef KS_WATCHER_INT_H
#define KS_WATCHER_INT_H

#include "postgres.h"

#include "lib/ilist.h"
#include "utils/hsearch.h"

#include "catalog/sinks.h"
#include "kafka/source.h"
#include "process/shmem_int.h"

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
	bool		busy;			/* the source has more, or is to be called again */
	TimestampTz published;
	bool		trouble;		/* no broker, or none that lets us in */
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
	int			known;			/* partitions that have a row, by the highest number */
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
	bool		told_trouble;	/* its row says waiting, by us */
	int			failures;		/* to load it, or to write its state */
	TimestampTz next_try;
} KsWatched;

/* Wakes a parked worker: its supervisor starts it. */
extern void ks_watcher_wake(KsWatched *w, const char *why);

extern KsWatchPart *ks_watch_part(KsWatchClient *client, const char *topic, int32 part);
extern void ks_watch_add_user(KsWatchPart *part, KsWatchUser *user);
extern void ks_watch_remove_user(KsWatchUser *user);

/* Starts and stops partitions whose users have changed, or whose back-off is
 * over; returns when the next is. */
extern TimestampTz ks_watch_start_parts(KsWatchClient *client);

/* Takes what the source has to tell, without waiting. */
extern void ks_watch_poll(KsWatchClient *client, dlist_head *watched);

extern void ks_watch_publish(KsWatchClient *client);

#endif
