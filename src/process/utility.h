/*
 * utility.h
 *	  Commands that need a database without our processes.
 */
#ifndef KS_UTILITY_H
#define KS_UTILITY_H

extern void ks_utility_init(void);

#endif
