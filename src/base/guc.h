/*
 * guc.h
 *	  The extension's settings, each documented in doc/reference.md.
 */
#ifndef KS_GUC_H
#define KS_GUC_H

#include "postgres.h"

extern bool ks_guc_enabled;			/* sighup */
extern bool ks_guc_fast_path;			/* user */
extern int	ks_guc_max_workers;		/* postmaster: worker slots */
extern int	ks_guc_max_workers_per_role;	/* sighup, 0: any number, -1: half of max_workers */
extern int	ks_guc_reserved_worker_processes;	/* sighup: of max_worker_processes */
extern int	ks_guc_max_partitions;	/* postmaster: partitions with live figures */
extern int	ks_guc_max_partitions_per_role;	/* sighup, 0: any number, -1: half of max_partitions */
extern int	ks_guc_worker_memory_limit; /* sighup, MB of RssAnon */
extern int	ks_guc_max_sinks_per_role;	/* superuser, 0: any number */
extern int	ks_guc_max_topics_per_role;
extern int	ks_guc_max_feeds_per_role; /* superuser, 0: any number */
extern int	ks_guc_max_partitions_per_sink; /* superuser, 0: any number */
extern int	ks_guc_max_fetch_memory;	/* superuser, MB: cap of fetch sizes */

extern void ks_guc_init(void);		/* from _PG_init */

#ifdef KS_FEED_STEPS
extern char *ks_guc_feed_stop_at;	/* for tests: a step of a feed's protocol */
#endif

#endif
