/*
 * shmem_int.h
 *	  The layout of shared memory, for launcher, supervisor and views.
 */
#ifndef KS_SHMEM_INT_H
#define KS_SHMEM_INT_H

#include "postgres.h"

#include "storage/lwlock.h"

#include "shmem.h"

#define KS_MAX_DATABASES	256
#define KS_MOVED_CVS		64

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
	bool		changed;		/* sinks have, since the supervisor looked last */
	int			blockers;		/* commands that need it without us */
	int			failures;		/* of its supervisor, in a row */
	TimestampTz next_start;

	/* bits of the tables that sinks write to, by hash of their OID; of a
	 * supervisor that is about to read them, all */
	uint64		targets[KS_TARGET_BITS / 64];
} KsDatabase;

typedef struct KsShared
{
	LWLock	   *lock;			/* everything but counters and atomics */
	pid_t		launcher;
	bool		rescan;			/* the table of databases was full */
	ConditionVariable left;		/* a process of ours has ended */
	ConditionVariable moved[KS_MOVED_CVS];	/* a sink has, by hash of its name */
	KsDatabase	databases[KS_MAX_DATABASES];
	int			nworkers;
	int			npartitions;
} KsShared;

extern KsShared *ks_shared;
extern KsWorkerSlot *ks_worker_slots;
extern KsPartitionSlot *ks_partition_slots;

/* Wakes a process of ours; 0 is nobody. */
extern void ks_shmem_wake(pid_t pid);

/* The entry of a database, made if it is missing and 'create'; the lock is
 * held exclusively.  NULL if missing, or full. */
extern KsDatabase *ks_shmem_database(Oid dbid, bool create);

/* The only way from one state to another; the lock is held exclusively. */
extern void ks_shmem_move_database(KsDatabase *db, KsDatabaseState to);

/* Sinks have changed: wakes whoever looks at them; takes the lock. */
extern void ks_shmem_mark_changed(Oid dbid);

/* The same for all databases that are looked at. */
extern void ks_shmem_mark_all_changed(void);

/* The bit of a table in 'targets'. */
extern int	ks_shmem_target_bit(Oid relid);

/* The only way from one state to another; the lock is held exclusively. */
extern void ks_shmem_move_slot(KsWorkerSlot *slot, KsSlotState to);

/* A free slot for one of the sink's workers, or -1; takes the lock. */
extern int	ks_shmem_alloc_worker(Oid dbid, const char *sink, int worker, Oid owner,
								  int64 definition);

/* How many workers of this server are on their way up, and began to be less
 * than 'ms' ago? */
extern int	ks_shmem_count_starting(int ms);

/* Asks a worker to leave at the end of its batch, or with 'now' by SIGTERM. */
extern void ks_shmem_stop_worker(int slot, uint32 generation, bool now);

/* Frees a slot whose process never attached, or whose end was noticed. */
extern void ks_shmem_free_worker(int slot, uint32 generation);

#endif
