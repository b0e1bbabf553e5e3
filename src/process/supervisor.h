/*
 * supervisor.h
 *	  Which sinks of one database should run.
 */
#ifndef KS_SUPERVISOR_H
#define KS_SUPERVISOR_H

#include "postgres.h"

extern PGDLLEXPORT void ks_supervisor_main(Datum arg);

#endif
