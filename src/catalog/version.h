/*
 * version.h
 *	  Is the extension of this database the one that this library belongs to?
 */
#ifndef KS_VERSION_H
#define KS_VERSION_H

#include "postgres.h"

/* The version of the extension in this database; NULL if there is none. */
extern const char *ks_version_installed(void);

/* Is it the library's?  Then the tables are those that the library knows. */
extern bool ks_version_is_ours(void);

/* Errors (55000) if it is another; does nothing if there is none. */
extern void ks_version_check(void);

/* What to do about another one, for a hint. */
#define KS_VERSION_HINT		"ALTER EXTENSION kafka_sink UPDATE."

/*
 * For a database whose extension is another: writes to the states of sinks that
 * would run that they wait for the update, as far as every version's tables allow;
 * returns how many they are.  In a transaction of the caller's.
 */
extern int	ks_version_report(const char *installed);

#endif
