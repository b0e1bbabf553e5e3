/*
 * dropped.h
 *	  Tells a database's supervisor that a table is gone that a sink may write to.
 */
#ifndef KS_DROPPED_H
#define KS_DROPPED_H

extern void ks_dropped_init(void);	/* from _PG_init: installs the hook */

/* A prepared transaction, which may have dropped anything, was committed. */
extern void ks_dropped_prepared(void);

#endif
