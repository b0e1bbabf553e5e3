/*
 * guc.c
 *	  The extension's settings.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "base/guc.h"

bool		ks_guc_enabled = true;
bool		ks_guc_fast_path = true;
int			ks_guc_max_workers = 64;
int			ks_guc_max_workers_per_role = -1;
int			ks_guc_reserved_worker_processes = 2;
int			ks_guc_max_partitions = 4096;
int			ks_guc_max_partitions_per_role = -1;
int			ks_guc_worker_memory_limit = 1024;
int			ks_guc_max_fetch_memory = 256;
int			ks_guc_max_sinks_per_role = 1000;
int			ks_guc_max_topics_per_role = 10000;
int			ks_guc_max_feeds_per_role = 4;
int			ks_guc_max_partitions_per_sink = 20000;

#ifdef KS_FEED_STEPS
char	   *ks_guc_feed_stop_at;
#endif

void
ks_guc_init(void)
{
	DefineCustomBoolVariable("kafka_sink.enabled",
							 "Runs the background workers of sinks.",
							 NULL, &ks_guc_enabled, true, PGC_SIGHUP, 0,
							 NULL, NULL, NULL);
	DefineCustomIntVariable("kafka_sink.worker_memory_limit",
							"Private memory at which a worker ends itself and starts again.",
							NULL, &ks_guc_worker_memory_limit, 1024, 64, INT_MAX / 1024,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("kafka_sink.max_fetch_memory",
							"Largest fetch and queue sizes that a server's options may ask for.",
							NULL, &ks_guc_max_fetch_memory, 256, 16, 2000,
							PGC_SUSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("kafka_sink.max_sinks_per_role",
							"Number of sinks in a database that a role can own, 0: any number.",
							"Superusers can own any number.",
							&ks_guc_max_sinks_per_role, 1000, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("kafka_sink.max_topics_per_role",
							"Number of topics that a role's sinks in a database can have, 0: any number.",
							"Superusers' sinks can have any number.",
							&ks_guc_max_topics_per_role, 10000, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("kafka_sink.max_feeds_per_role",
							"Number of feeds in a database that a role can own, 0: any number.",
							"Each has a replication slot.  Superusers can own any number.",
							&ks_guc_max_feeds_per_role, 4, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("kafka_sink.max_partitions_per_sink",
							"Number of partitions that a sink can have offsets of, 0: any number.",
							NULL, &ks_guc_max_partitions_per_sink, 20000, 0, INT_MAX,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("kafka_sink.fast_path",
							 "Writes to plain tables without SQL where that is the same.",
							 NULL, &ks_guc_fast_path, true, PGC_USERSET, 0,
							 NULL, NULL, NULL);
	if (process_shared_preload_libraries_in_progress)
	{
		DefineCustomIntVariable("kafka_sink.max_workers",
								"Number of sink workers that can run at the same time.",
								"They also count against max_worker_processes.",
								&ks_guc_max_workers, 64, 1, 10000,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomIntVariable("kafka_sink.max_workers_per_role",
								"Number of sink workers that can run for a role at the same time.",
								"0: any number; -1: half of kafka_sink.max_workers.  Superusers can have any number.",
								&ks_guc_max_workers_per_role, -1, -1, 10000,
								PGC_SIGHUP, 0, NULL, NULL, NULL);
		DefineCustomIntVariable("kafka_sink.reserved_worker_processes",
								"Number of max_worker_processes that sink workers leave to others.",
								NULL, &ks_guc_reserved_worker_processes, 2, 0, 10000,
								PGC_SIGHUP, 0, NULL, NULL, NULL);
		DefineCustomIntVariable("kafka_sink.max_partitions",
								"Number of partitions whose live figures can be shown.",
								NULL, &ks_guc_max_partitions, 4096, 1, 1000000,
								PGC_POSTMASTER, 0, NULL, NULL, NULL);
		DefineCustomIntVariable("kafka_sink.max_partitions_per_role",
								"Number of partitions of a role's sinks whose live figures can be shown.",
								"0: any number; -1: half of kafka_sink.max_partitions.  Superusers can have any number.",
								&ks_guc_max_partitions_per_role, -1, -1, 1000000,
								PGC_SIGHUP, 0, NULL, NULL, NULL);
	}
#ifdef KS_FEED_STEPS
	DefineCustomStringVariable("kafka_sink.feed_stop_at",
							   "Step of a feed's protocol at which its worker stops itself, for tests.",
							   NULL, &ks_guc_feed_stop_at, "", PGC_SIGHUP, 0, NULL, NULL, NULL);
#endif
	MarkGUCPrefixReserved("kafka_sink");
}
