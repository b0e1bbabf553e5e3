/*
 * launcher.h
 *	  Which databases have sinks.
 */
#ifndef KS_LAUNCHER_H
#define KS_LAUNCHER_H

#include "postgres.h"

extern void ks_launcher_register(void);
extern PGDLLEXPORT void ks_launcher_main(Datum arg);

#endif
