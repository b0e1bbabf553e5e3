/*
 * utility_hook.h
 *	  Commands that need a database without our processes.
 */
#ifndef KS_UTILITY_HOOK_H
#define KS_UTILITY_HOOK_H

extern void ks_utility_hook_init(void);

#endif
