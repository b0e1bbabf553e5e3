/*
 * kafka_sink.c
 *	  Loading: settings, shared memory, hooks, the launcher.
 *
 * Without shared_preload_libraries only the settings exist; SQL functions that
 * need the rest say so when they are called.  Nothing of librdkafka is called
 * here: it must not start threads in the postmaster.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "base/guc.h"
#include "process/drop_hook.h"
#include "process/launcher.h"
#include "process/shmem.h"
#include "process/utility_hook.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	ks_guc_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	ks_shmem_init();
	ks_shmem_sleep_init();
	ks_utility_hook_init();
	ks_drop_hook_init();
	if (!IsBinaryUpgrade)
		ks_launcher_register();
}
