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

/* A database that has, or may have, sinks. */
typedef struct KsDatabase
{
	Oid			dbid;			/* InvalidOid: free */
	pid_t		supervisor;		/* 0: none attached */
	bool		starting;		/* registered, not attached yet */
	bool		settled;		/* it has seen that there are sinks */
	bool		changed;		/* somebody must look at its sinks */
	int			blockers;		/* commands that need it without us */
	int			failures;		/* of its supervisor, in a row */
	TimestampTz started_at;
	TimestampTz next_start;
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

/* Sets 'changed' and wakes whoever looks at it; takes the lock. */
extern void ks_shmem_mark_changed(Oid dbid);

/* A free slot for one of the sink's workers, or -1; takes the lock. */
extern int	ks_shmem_alloc_worker(Oid dbid, const char *sink, int worker, Oid owner);

/* Asks a worker to leave at the end of its batch, or with 'now' by SIGTERM. */
extern void ks_shmem_stop_worker(int slot, uint32 generation, bool now);

/* Frees a slot whose process never attached or is gone. */
extern void ks_shmem_free_worker(int slot, uint32 generation);

#endif
