/*
 * shmem.c
 *	  Shared memory: its tables, made when the server starts.
 *
 * One lock covers the tables of databases (shmem_database.c), workers (shmem_slot.c),
 * partitions (shmem_partition.c), parked workers (shmem_parked.c), and of who has met
 * the limit of memory (shmem_memory.c); it is held for moments only.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "base/compat.h"
#include "base/guc.h"
#include "process/shmem_int.h"

KsShared   *ks_shared = NULL;
KsWorkerSlot *ks_worker_slots = NULL;
int			ks_my_slot = -1;
KsPartitionSlot *ks_partition_slots = NULL;

static shmem_startup_hook_type prev_startup_hook = NULL;
#if PG15_GE
static shmem_request_hook_type prev_request_hook = NULL;
#endif

static Size
shared_size(void)
{
	Size		size = MAXALIGN(sizeof(KsShared));

	size = add_size(size, mul_size(ks_guc_max_workers, sizeof(KsWorkerSlot)));
	size = add_size(MAXALIGN(size), mul_size(ks_guc_max_partitions, sizeof(KsPartitionSlot)));
	return size;
}

static void
request(void)
{
#if PG15_GE
	if (prev_request_hook)
		prev_request_hook();
#endif
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("kafka_sink", 1);
}

static void
startup(void)
{
	bool		found;
	char	   *p;

	if (prev_startup_hook)
		prev_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	p = ShmemInitStruct("kafka_sink", shared_size(), &found);
	ks_shared = (KsShared *) p;
	ks_worker_slots = (KsWorkerSlot *) (p + MAXALIGN(sizeof(KsShared)));
	ks_partition_slots = (KsPartitionSlot *)
		(p + MAXALIGN(MAXALIGN(sizeof(KsShared)) + ks_guc_max_workers * sizeof(KsWorkerSlot)));
	if (!found)
	{
		memset(p, 0, shared_size());
		ks_shared->lock = &(GetNamedLWLockTranche("kafka_sink"))->lock;
		ks_shared->nworkers = ks_guc_max_workers;
		ks_shared->npartitions = ks_guc_max_partitions;
		ConditionVariableInit(&ks_shared->process_exited);
		for (int i = 0; i < KS_PROGRESS_CVS; i++)
			ConditionVariableInit(&ks_shared->sink_progress[i]);
		for (int i = 0; i < KS_SLEEPERS; i++)
			pg_atomic_init_u32(&ks_shared->sleepers[i], 0);
		for (int i = 0; i < ks_guc_max_workers; i++)
		{
			KsWorkerSlot *slot = &ks_worker_slots[i];
			pg_atomic_uint64 *counter = (pg_atomic_uint64 *) &slot->counters;

			for (int j = 0; j < (int) (sizeof(KsWorkerCounters) / sizeof(pg_atomic_uint64)); j++)
				pg_atomic_init_u64(&counter[j], 0);
			counter = (pg_atomic_uint64 *) &slot->feed;
			for (int j = 0; j < (int) (sizeof(KsFeedCounters) / sizeof(pg_atomic_uint64)); j++)
				pg_atomic_init_u64(&counter[j], 0);
			pg_atomic_init_u32(&slot->asleep, 0);
			pg_atomic_init_u32(&slot->writes_to, InvalidOid);
			pg_atomic_init_u64(&slot->commits_since, 0);
		}
		for (int i = 0; i < ks_guc_max_partitions; i++)
		{
			KsPartitionSlot *slot = &ks_partition_slots[i];

			pg_atomic_init_u64(&slot->low, 0);
			pg_atomic_init_u64(&slot->high, 0);
			pg_atomic_init_u64(&slot->lso, 0);
			pg_atomic_init_u64(&slot->as_of, 0);
			pg_atomic_init_u64(&slot->redelivered, 0);
			pg_atomic_init_u32(&slot->tail, 0);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

void
ks_shmem_init(void)
{
#if PG15_GE
	prev_request_hook = shmem_request_hook;
	shmem_request_hook = request;
#else
	request();
#endif
	prev_startup_hook = shmem_startup_hook;
	shmem_startup_hook = startup;
}

bool
ks_shmem_available(void)
{
	return ks_shared != NULL;
}

void
ks_shmem_wake(pid_t pid)
{
	/* sets the latch of the process; one that is gone meanwhile needs none */
	if (pid != 0)
		kill(pid, SIGUSR1);
}
