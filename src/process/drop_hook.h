/*
 * drop_hook.h
 *	  Tells a database's supervisor that a table is gone that a sink may write to.
 */
#ifndef KS_DROP_HOOK_H
#define KS_DROP_HOOK_H

extern void ks_drop_hook_init(void);	/* from _PG_init: installs the hook */

/* A prepared transaction, which may have dropped anything, was committed. */
extern void ks_drop_hook_prepared(void);

#endif
