/*
 * interval.h
 *	  Intervals as lengths of time.
 *
 * A month counts 30 days, as where the server compares intervals.
 */
#ifndef KS_INTERVAL_H
#define KS_INTERVAL_H

#include "postgres.h"

#include "utils/timestamp.h"

#define KS_US_PER_MS	INT64CONST(1000)
#define KS_DAYS(n)		((n) * USECS_PER_DAY)

/* No setting is longer than 1000 years. */
#define KS_INTERVAL_MAX_US	KS_DAYS(360000)

/* Timeouts are milliseconds of an int. */
#define KS_TIMEOUT_MAX_US	KS_DAYS(24)
#define KS_TIMEOUT_MAX		"24 days"

/* In microseconds; what does not fit, or is infinite, is the nearest that does. */
extern int64 ks_interval_us(const Interval *interval);

/*
 * The same, but an error (22023) unless it is one of 'min' to 'max'.  The names
 * of these, and of what it is of, are for people; 'hint' is more to say, or NULL.
 */
extern int64 ks_interval_check(const Interval *interval, const char *what, int64 min, int64 max,
							   const char *range, const char *hint);

#endif
