/*
 * reject_limit.h
 *	  The settings on_error and reject_limit: what becomes of records that cannot
 *	  be applied, and how many there may be.
 */
#ifndef KS_REJECT_LIMIT_H
#define KS_REJECT_LIMIT_H

#include "postgres.h"

typedef enum KsOnError
{
	KS_ON_ERROR_STOP,
	KS_ON_ERROR_DEAD_LETTER,
	KS_ON_ERROR_IGNORE
} KsOnError;

/* The setting reject_limit: 'n', or 'p% of n'. */
typedef struct KsRejectLimit
{
	char	   *text;			/* as given, or NULL */
	int64		max;			/* so many may be rejected, -1: any number */
	int64		window;			/* among so many records, 0: since the start */
} KsRejectLimit;

/* NULL: no limit.  Errors (22023) if it is neither 'n' nor 'p% of n'. */
extern void ks_reject_limit_parse(const char *text, KsRejectLimit *limit);

#endif
