/*
 * shmem_int.h
 *	  The layout of shared memory, for launcher, supervisor and views.
 */
#ifndef KS_SHMEM_INT_H
#define KS_SHMEM_INT_H

#include "postgres.h"

#include "storage/lwlock.h"

#include "catalog/partition_ends.h"
#include "process/shmem.h"

#define KS_MAX_DATABASES	256
#define KS_PROGRESS_CVS		64
#define KS_SLEEPERS			64

/*
 * A database that has, or may have, sinks; see src/README.md for who moves it
 * when.  Moves happen in ks_shmem_move_database() alone.
 */
typedef enum KsDatabaseState
{
	KS_DATABASE_NONE,			/* nothing to remember: the entry is free */
	KS_DATABASE_DUE,			/* somebody must look, not before next_start */
	KS_DATABASE_STARTING,		/* a supervisor is registered */
	KS_DATABASE_VISITING,		/* it is there, and has yet to see sinks */
	KS_DATABASE_SETTLED,		/* it has seen some, and stays */
	KS_DATABASE_LEAVING,		/* a command needs the database: it is to go */
	KS_DATABASE_BLOCKED			/* a command needs it, and nobody is there */
} KsDatabaseState;

#define KS_TARGET_BITS		2048

typedef struct KsDatabase
{
	Oid			dbid;			/* InvalidOid: KS_DATABASE_NONE */
	KsDatabaseState state;
	TimestampTz since;
	pid_t		supervisor;		/* visiting, settled, leaving */
	pid_t		watcher;		/* of parked workers, 0: none */
	uint32		parked_changes;	/* +1 whenever one is parked, woken or taken back */
	bool		watcher_begins_anew;	/* it has left by itself: another is to come */
	bool		unwatched;		/* there is no watcher for a while: workers stay */
	bool		changed;		/* sinks have, since the supervisor looked last */
	bool		roles_changed;	/* so have roles; it was woken for the first of them */
	bool		connections_changed;	/* and servers or user mappings, likewise */
	int			blockers;		/* commands that need it without us */
	int			failures;		/* of its supervisor, in a row */
	TimestampTz next_start;
	TimestampTz no_process_since;	/* the server has had none for its supervisor; 0: it has */

	/* bits of the tables that sinks write to, by hash of their OID; of a
	 * supervisor that is about to read them, all */
	uint64		targets[KS_TARGET_BITS / 64];
} KsDatabase;

/*
 * A worker that has nothing to do, and so no process: the watcher of its
 * database looks after its partitions.
 */
typedef enum KsParkedState
{
	KS_PARKED_FREE,
	KS_PARKED_WATCHED,			/* nothing has happened, as far as anybody knows */
	KS_PARKED_WOKEN				/* something has: the supervisor is to start it */
} KsParkedState;

typedef struct KsParkedSlot
{
	KsParkedState state;
	uint32		serial;			/* +1 at each parking */
	Oid			dbid;
	char		sink[NAMEDATALEN];
	int			worker;
	Oid			owner;
	bool		superuser;		/* the owner is: not limited */
	int64		definition;		/* generation of the sink */
} KsParkedSlot;

#define KS_MAX_PARKED		8192	/* half of it at most for a role */

/* A sink's worker, or run(), that has met the limit of memory (shmem_memory.c). */
typedef struct KsMemoryNote
{
	Oid			dbid;			/* InvalidOid: free */
	char		sink[NAMEDATALEN];
	int			worker;			/* -1: run() */
	int			level;			/* of ks_memory_answer_bytes() */
	int			exits;			/* in a row, at this place: */
	char		topic[KS_MAX_TOPIC_LEN + 1];	/* empty: not known */
	int32		part;
	int64		off;
	TimestampTz last_exit;
	int			quiet_s;		/* how long the level holds */
	bool		lowered;		/* it was, since the last exit */
	bool		single;			/* the last exit was when a batch was applied */
} KsMemoryNote;

#define KS_MEMORY_NOTES		256

/* How many slots of partitions a role's sinks have (shmem_partition.c). */
typedef struct KsShare
{
	Oid			owner;
	int			used;			/* 0: the entry is free */
} KsShare;

#define KS_MAX_SHARES	256

typedef struct KsShared
{
	LWLock	   *lock;			/* everything but counters and atomics */
	pid_t		launcher;
	TimestampTz no_launcher_since;	/* of who has looked first; 0: nobody has missed it */
	bool		rescan;			/* the table of databases was full */
	ConditionVariable process_exited;	/* a process of ours has ended */
	ConditionVariable sink_progress[KS_PROGRESS_CVS];	/* a sink has, by hash of its name */
	pg_atomic_uint32 sleepers[KS_SLEEPERS]; /* feeds that any commit wakes, by hash of the database */
	KsDatabase	databases[KS_MAX_DATABASES];
	int			nworkers;
	uint32		worker_ends;	/* +1 whenever a slot may be free again */
	int			npartitions;
	int			npartitions_used;
	KsShare		shares[KS_MAX_SHARES];
	KsParkedSlot parked[KS_MAX_PARKED];
	KsMemoryNote memory_notes[KS_MEMORY_NOTES];
} KsShared;

extern KsShared *ks_shared;
extern KsWorkerSlot *ks_worker_slots;
extern int	ks_my_slot;			/* this process's, -1: it is no worker */
extern KsPartitionSlot *ks_partition_slots;

/* Wakes a process of ours; 0 is nobody. */
extern void ks_shmem_wake(pid_t pid);

/* It sleeps no more; did it? */
extern bool ks_slot_end_sleep(KsWorkerSlot *slot);

/* The entry of a database, made if it is missing and 'create'; the lock is
 * held exclusively.  NULL if missing, or full. */
extern KsDatabase *ks_shmem_database(Oid dbid, bool create);

/* The only way from one state to another; the lock is held exclusively. */
extern void ks_shmem_move_database(KsDatabase *db, KsDatabaseState to);

/* Sinks have changed: wakes whoever looks at them; takes the lock. */
extern void ks_shmem_mark_changed(Oid dbid);

/* The same for all databases that are looked at. */
extern void ks_shmem_mark_roles_changed(void);
extern void ks_shmem_mark_connections_changed(Oid dbid);

/* The bit of a table in 'targets'. */
extern int	ks_shmem_target_bit(Oid relid);

/*
 * May the current user see figures of that owner's sinks?  Who has his privileges,
 * and members of pg_read_all_stats.
 */
extern bool ks_shmem_may_see(Oid owner);

/* Parks a worker; its slot, or -1 if there is no room.  Wakes the watcher. */
extern int	ks_shmem_park(Oid dbid, const char *sink, int worker, Oid owner, bool superuser, int64 definition,
						  uint32 *serial);

/* The supervisor does not want it watched any more; nothing if it is not. */
extern void ks_shmem_unpark(int slot, uint32 serial);

/* Is it still watched, and nothing has happened? */
extern bool ks_shmem_is_watched(int slot, uint32 serial);

/* Nobody is to be watched any more. */
extern void ks_shmem_unpark_all(Oid dbid);

/* Something has happened: the supervisor starts the worker.  Does nothing if it
 * is another parking by now. */
extern void ks_shmem_wake_parked(int slot, uint32 serial);

/* A partition that is watched; freed by ks_shmem_unwatch_partition(). */
extern KsPartitionSlot *ks_shmem_watch_partition(int parked_slot, const KsParkedSlot *parked,
												 const char *topic, int32 part);
extern void ks_shmem_unwatch_partition(KsPartitionSlot *slot);
extern void ks_shmem_unwatch_partitions(Oid dbid);	/* all of a database */

/* Are its figures those of who reads the partition?  The watcher may have it still
 * when the worker has been taken back, and has figures of its own.  The lock is held. */
extern bool ks_shmem_is_reported(const KsPartitionSlot *slot);

/* Those of a worker; the lock is held exclusively. */
extern void ks_shmem_free_partitions(int owner_slot);

/* What a worker that has ended saw of its partitions last, in the current context;
 * nobody else may free its slot meanwhile. */
extern KsPartitionEnds *ks_shmem_read_ends(int owner_slot, int *n);

/*
 * A free slot for one of the sink's workers, or one of these; takes the lock.
 * 'limit': so many can run for the owner at a time in the whole server, 0: any
 * number.
 */
#define KS_SLOT_NONE		(-1)
#define KS_SLOT_OVER_LIMIT	(-2)
extern int	ks_shmem_alloc_worker(Oid dbid, const char *sink, int worker, Oid owner, bool superuser, int limit,
								  int64 definition);

/*
 * Is there a process for one more worker, or watcher, beside those that are left
 * to others (kafka_sink.reserved_worker_processes)?  As of now: what others
 * start at this moment is not seen.
 */
extern bool ks_shmem_has_room(void);

/* Raised whenever a worker of this server has ended, or did not come.  Takes no lock. */
extern uint32 ks_shmem_count_ends(void);

/* How many workers of this server are on their way up, and began to be less
 * than 'ms' ago? */
extern int	ks_shmem_count_starting(int ms);

/* Asks a worker to leave at the end of its batch, or with 'now' by SIGTERM. */
extern void ks_shmem_stop_worker(int slot, uint32 generation, bool now);

/* Frees a slot whose process never attached, or whose end was noticed. */
extern void ks_shmem_free_worker(int slot, uint32 generation);

#endif
