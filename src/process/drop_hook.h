/*
 * drop_hook.h
 *	  What is dropped that sinks need.
 */
#ifndef KS_DROP_HOOK_H
#define KS_DROP_HOOK_H

extern void ks_drop_hook_init(void);	/* from _PG_init: installs the hook */

/*
 * A command has run: says which sinks need what it dropped, and errors (2BP01) if
 * that is their owner.  The schemas of a server go with its name.
 */
extern void ks_drop_hook_tell(void);

/* A prepared transaction, which may have dropped anything, was committed. */
extern void ks_drop_hook_prepared(void);

#endif
