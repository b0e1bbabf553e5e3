/*
 * shmem.h
 *	  Shared memory: which processes exist, what they count, who must leave.
 *
 * Pids, flags and numbers, never pointers.  Nothing here is needed for
 * correctness: a crash restart wipes it, and the tables say where to go on.
 * Without shared_preload_libraries there is none, ks_shmem_available() is
 * false, and every function below that says so does nothing.
 */
#ifndef KS_SHMEM_H
#define KS_SHMEM_H

#include "postgres.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "utils/timestamp.h"
#include "base/message.h"

/* Counters of one worker, written by it alone, read by anyone. */
typedef struct KsWorkerCounters
{
	pg_atomic_uint64 batches;		/* committed */
	pg_atomic_uint64 records;		/* consumed by committed batches */
	pg_atomic_uint64 bytes;			/* their keys and values */
	pg_atomic_uint64 fast_batches;	/* batches that the fast path wrote */
	pg_atomic_uint64 retries;		/* batches tried again after an error */
	pg_atomic_uint64 guard_mismatches;
	pg_atomic_uint64 redelivered;	/* dropped: offset below the expected */
	pg_atomic_uint64 wait_us;		/* waiting for records */
	pg_atomic_uint64 fetch_us;		/* taking records from librdkafka */
	pg_atomic_uint64 decode_us;
	pg_atomic_uint64 apply_us;		/* without index_us */
	pg_atomic_uint64 index_us;		/* of the fast path */
	pg_atomic_uint64 commit_us;
	pg_atomic_uint64 first_record;	/* TimestampTz, 0: none */
	pg_atomic_uint64 last_commit;	/* TimestampTz, 0: none */
	pg_atomic_uint64 rss_anon_peak;	/* bytes */
} KsWorkerCounters;

/* The same of a feed's worker; places in the WAL are XLogRecPtr. */
typedef struct KsFeedCounters
{
	pg_atomic_uint64 transactions;	/* of PostgreSQL, published */
	pg_atomic_uint64 records;
	pg_atomic_uint64 bytes;
	pg_atomic_uint64 forged;		/* messages that were dropped */
	pg_atomic_uint64 commits;		/* of Kafka */
	pg_atomic_uint64 cuts;			/* of them in the middle of a transaction */
	pg_atomic_uint64 commit_us;
	pg_atomic_uint64 last_commit;	/* TimestampTz, 0: none */
	pg_atomic_uint64 decoded_lsn;	/* all that is before it has been read, 0: nothing yet */
	pg_atomic_uint64 published_lsn; /* and is in Kafka */
	pg_atomic_uint64 copied;		/* rows that were there before */
	pg_atomic_uint64 copying;		/* 1: there are tables to be copied, or it is not known */
} KsFeedCounters;

/*
 * A worker's slot; see src/README.md for who moves it when.  Moves happen in
 * move_slot() alone.
 */
typedef enum KsSlotState
{
	KS_SLOT_FREE,
	KS_SLOT_REGISTERED,			/* its process has not come yet */
	KS_SLOT_OPENING,			/* it connects, and settles its offsets */
	KS_SLOT_RUNNING,
	KS_SLOT_STOPPING,			/* asked to leave at the next batch boundary */
	KS_SLOT_ENDED				/* gone; its supervisor has yet to hear why */
} KsSlotState;

/* What a worker that leaves says of it. */
typedef enum KsFarewell
{
	KS_FAREWELL_NONE,			/* nothing: an error, or a signal */
	KS_FAREWELL_RESPAWN,		/* begin anew at once */
	KS_FAREWELL_IDLE			/* nothing to do: the watcher will tell when there is */
} KsFarewell;

/* What the server has said as it ended a process (FATAL), cut where it is long. */
typedef struct KsLastWords
{
	int			sqlstate;			/* 0: nothing */
	char		message[256];
	char		detail[256];		/* or empty */
	char		hint[256];			/* or empty */
} KsLastWords;

typedef struct KsWorkerSlot
{
	KsSlotState state;
	uint32		generation;			/* of the slot: +1 at each allocation */
	Oid			dbid;
	char		sink[NAMEDATALEN];
	int			worker;				/* 0 .. workers - 1 */
	Oid			owner;
	bool		superuser;			/* the owner was, when it was started: not limited */
	int64		definition;			/* generation of the sink that it runs by */
	pid_t		pid;				/* 0 until the worker attached */
	TimestampTz started_at;
	KsFarewell	farewell;			/* of KS_SLOT_ENDED */
	KsLastWords last_words;			/* likewise */
	KsWorkerCounters counters;
	KsFeedCounters feed;
	bool		ends_stored;		/* by itself, as it was about to leave */
	pg_atomic_uint32 writes_to;		/* table, while it waits for a lock; InvalidOid: not known */
	pg_atomic_uint64 commits_since;	/* TimestampTz of when its commit began, 0: it is in none */
	pg_atomic_uint32 asleep;		/* of a feed: nothing was left to read, which commit wakes it (shmem_sleep.c) */
} KsWorkerSlot;

/* Is there, or will be, a process?  Under the lock, or as a guess. */
static inline bool
ks_slot_is_alive(const KsWorkerSlot *slot)
{
	return slot->state != KS_SLOT_FREE && slot->state != KS_SLOT_ENDED;
}

/* Live facts about one partition, written by its worker alone. */
typedef struct KsPartitionSlot
{
	bool		in_use;
	int			owner_slot;			/* index of the worker's slot, -1: of the watcher, ... */
	int			parked;			/* ... which has it for the parked worker of that slot, ... */
	uint32		parked_serial;	/* ... as long as that is the same */
	int			share;				/* index of the owner's KsShare, -1: not limited */
	Oid			owner;
	Oid			dbid;
	char		sink[NAMEDATALEN];
	char		topic[KS_MAX_TOPIC_LEN + 1];
	int32		part;
	pg_atomic_uint64 low;			/* (int64) -1: unknown */
	pg_atomic_uint64 high;
	pg_atomic_uint64 lso;
	pg_atomic_uint64 as_of;			/* TimestampTz of these, 0: never */
	pg_atomic_uint64 redelivered;
	pg_atomic_uint32 tail;			/* KsTail */

	/* for the sink's other workers */
	pg_atomic_uint64 off;			/* up to there it is committed */
	pg_atomic_uint64 log_end;		/* where the log has ended for it, (int64) -1: unknown */
	pg_atomic_uint32 standing;		/* KsStanding */
} KsPartitionSlot;

/* How a partition gets on. */
typedef enum KsStanding
{
	KS_STANDING_GOES_ON,
	KS_STANDING_WAITS,			/* a record waits for a row */
	KS_STANDING_FAILS			/* it cannot be read */
} KsStanding;

/* What another worker tells of a partition. */
typedef struct KsPartitionView
{
	const char *topic;
	int32		part;
	bool		known;			/* else it tells nothing */
	int64		off;
	int64		log_end;
	int64		high;
	TimestampTz as_of;
	KsStanding	standing;
} KsPartitionView;

/* Another worker of the sink. */
typedef enum KsPresence
{
	KS_WORKER_AWAY,				/* not there, or not yet */
	KS_WORKER_IDLE,				/* it has nothing to do, and is watched for */
	KS_WORKER_THERE
} KsPresence;

typedef enum KsTail
{
	KS_TAIL_NONE,					/* nothing consumed yet */
	KS_TAIL_PENDING,
	KS_TAIL_OK,
	KS_TAIL_UNCHECKABLE
} KsTail;

extern void ks_shmem_init(void);	/* from _PG_init: installs the hooks */
extern bool ks_shmem_available(void);

/* --- a worker's own slot --- */

/* Called first in a worker: takes the slot it was started for, or exits. */
extern KsWorkerSlot *ks_shmem_attach_worker(int slot, uint32 generation);

/* It is open: the next one may start. */
extern void ks_shmem_worker_runs(void);

/* Is there room for a worker that has nothing to do? */
extern bool ks_shmem_can_park(Oid owner);

/* Is it asked to leave at the next batch boundary?  Takes no lock. */
extern bool ks_shmem_stop_requested(void);

/* Says why it will leave now. */
extern void ks_shmem_say_farewell(KsFarewell farewell);

/* From here on, what the server says as it ends this process is kept. */
extern void ks_shmem_hear_last_words(void);

/* Slots for the worker's partitions; freed with the worker's slot, so that who frees
 * that knows what was seen last.
 * NULL where the table (kafka_sink.max_partitions) is full, or the owner has as many as
 * he may (max_partitions_per_role): no live figures. */
extern KsPartitionSlot *ks_shmem_add_partition(const char *topic, int32 part);

/* What the sink's other workers tell of these partitions, sorted by ks_partition_view_compare(),
 * and whether they are there, by number. */
extern void ks_shmem_view_partitions(KsPartitionView *views, int n, KsPresence *presence, int nworkers);
extern int	ks_partition_view_compare(const void *a, const void *b);

/* A worker's commit begins, or is over: it can wait for a standby.  Nothing in others. */
extern void ks_shmem_note_commit(bool begins);

/* What a worker that leaves has seen of its partitions is in their table. */
extern void ks_shmem_note_ends_stored(void);

/* --- the limit of memory: a worker, or run(), which is -1 --- */

/* So many exits at one place are enough: it cannot be passed. */
#define KS_MEMORY_EXITS		3

/* How much to fetch at a time (base/memory.h), how long to leave it at that, and
 * whether to apply one record at a time. */
extern int	ks_shmem_memory_level(const char *sink, int worker, int *quiet_s, bool *single);

/* It leaves because of it, at this place (topic NULL: not known), when it fetched
 * or when it applied: the level is raised.  Returns the number of exits there, with
 * this one. */
extern int	ks_shmem_note_memory_exit(const char *sink, int worker, bool applying,
									  const char *topic, int32 part, int64 off);

/* It has gone well for a while. */
extern void ks_shmem_lower_memory_level(const char *sink, int worker);

/* --- anybody --- */

/* The CV that is broadcast after each commit and state change of any of the
 * sink's workers (other sinks may share it); NULL without shared memory. */
extern ConditionVariable *ks_shmem_progress_cv(const char *sink);

/* What this feed's worker has read, and published, of the WAL (XLogRecPtr), if it runs by this
 * definition, or a later one; 0: nothing yet, or it does not run. */
extern uint64 ks_shmem_feed_position(const char *feed, int64 generation);

/* Has it tables to copy? */
extern bool ks_shmem_feed_is_copying(const char *feed, int64 generation);

/* A commit has something for this feed: its worker, if it sleeps, wakes up. */
extern void ks_shmem_wake_feed(const char *feed);

/* Of a feed's worker: from now on such a commit sets its latch, once, or one of anybody who
 * has written in this database.  What has been committed before does not. */
extern void ks_shmem_begin_sleep(bool until_written);
extern void ks_shmem_end_sleep(void);

/* When the library is loaded, before there is shared memory. */
extern void ks_shmem_sleep_init(void);

/* Is any worker of this sink in this database alive, or watched for?  Returns
 * its pid, or the watcher's or supervisor's; or 0. */
extern pid_t ks_shmem_worker_pid(const char *sink);

/* The same, but of those that are on their way, too. */
extern bool ks_shmem_has_worker(const char *sink);

/* Since when the server has had no process for the launcher, or for this database's
 * supervisor, 0: it has. */
extern TimestampTz ks_shmem_unsupervised_since(void);

/*
 * Marks that this transaction changed sinks of this database: at commit its
 * supervisor (through the launcher, if there is none yet) looks again.  The
 * transaction cannot be prepared (0A000).  Harmless without shared memory.
 */
extern void ks_shmem_note_change(void);

#endif
