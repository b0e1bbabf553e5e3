/*
 * feed_worker_wait.c
 *	  What others want of a feed's worker, while it waits for Kafka.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/guc.h"

#include "base/memory.h"
#include "process/feed_worker_int.h"

void
ks_feed_serve(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	/* what is being committed is waited for, or asked for by the next process */
	if (ks_shmem_stop_requested())
		proc_exit(0);
	/* (the supervisor says so) */
	if (ks_memory_exceeded())
		ereport(FATAL,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("worker of feed \"%s\" exceeded kafka_sink.worker_memory_limit", ks_feed.feed->name),
				 errdetail_internal("%s", ks_memory_describe()),
				 errhint("It begins anew.  Raise the limit if it is met again, or publish smaller messages and rows.")));
	if (ks_feed.publisher.state == KS_PUBLISHER_OPEN)
		ks_feed_tell_waiting();
}
