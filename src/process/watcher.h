/*
 * watcher.h
 *	  Looks after the partitions of workers that have nothing to do.
 */
#ifndef KS_WATCHER_H
#define KS_WATCHER_H

#include "postgres.h"

extern PGDLLEXPORT void ks_watcher_main(Datum arg);

#endif
