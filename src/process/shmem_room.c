/*
 * shmem_room.c
 *	  How many background processes of the server are left.
 *
 * The server tells nobody how many of max_worker_processes are in use.  But each
 * that is takes one of so many entries of the process table that only background
 * workers take, from its start to its end; to these come those of ours that are
 * registered, and not yet there.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"

#include "base/guc.h"
#include "process/shmem_int.h"

/* Background workers of any kind that are there. */
static int
count_attached(void)
{
	int			n = 0;

	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		const PGPROC *proc = &ProcGlobal->allProcs[i];

		/* who owns the latch lives; without a lock it is a guess, as of a moment */
		n += proc->procgloballist == &ProcGlobal->bgworkerFreeProcs && proc->procLatch.owner_pid != 0;
	}
	return n;
}

/* Those of ours that are to come. */
static int
count_registered(void)
{
	int			n = 0;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	for (int i = 0; i < ks_shared->nworkers; i++)
		n += ks_slot_is_alive(&ks_worker_slots[i]) && ks_worker_slots[i].pid == 0;
	for (int i = 0; i < KS_MAX_DATABASES; i++)
		n += ks_shared->databases[i].state == KS_DATABASE_STARTING;
	LWLockRelease(ks_shared->lock);
	return n;
}

bool
ks_shmem_has_room(void)
{
	return max_worker_processes - count_attached() - count_registered() > ks_guc_reserved_worker_processes;
}
