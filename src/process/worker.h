/*
 * worker.h
 *	  A background worker of a sink.
 */
#ifndef KS_WORKER_H
#define KS_WORKER_H

#include "postgres.h"

/* bgw_extra of a worker (bgw_main_arg: index of its KsWorkerSlot). */
typedef struct KsWorkerArgs
{
	Oid			dbid;
	Oid			owner;
	uint32		slot_generation;
	int64		generation;		/* of the sink's definition */
} KsWorkerArgs;

extern PGDLLEXPORT void ks_worker_main(Datum arg);

#endif
