/*
 * feed_worker.h
 *	  The background worker of a feed.
 */
#ifndef KS_FEED_WORKER_H
#define KS_FEED_WORKER_H

#include "postgres.h"

/* Started with the same arguments as a sink's worker (KsWorkerArgs). */
extern PGDLLEXPORT void ks_feed_main(Datum arg);

#endif
