/*
 * backoff.h
 *	  How long to wait before the next try.
 *
 * One rule for launcher, supervisor, workers and partitions: half to all of
 * first * 2^failures milliseconds, at most max.  The jitter keeps those who
 * failed together from trying again together.
 */
#ifndef KS_BACKOFF_H
#define KS_BACKOFF_H

#include "postgres.h"

#include "utils/timestamp.h"

/* In milliseconds, at least 1; 'failures' in a row before this one. */
extern long ks_backoff_ms(int failures, int first_ms, int max_ms);

/* The moment that lies so far behind 'now'. */
extern TimestampTz ks_backoff_until(TimestampTz now, int failures, int first_ms, int max_ms);

/*
 * Has the clock been set back since the call before, whose moment is in *last?  Then what
 * is waited for may be hours away, and is to be had at once.
 */
extern bool ks_backoff_is_set_back(TimestampTz *last);

#endif
