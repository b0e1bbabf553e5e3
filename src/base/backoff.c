/*
 * backoff.c
 *	  How long to wait before the next try.
 */
#include "postgres.h"

#include "base/backoff.h"
#include "base/compat.h"

#define MAX_DOUBLINGS	20
#define SET_BACK_US		USECS_PER_SEC	/* less is no matter */

long
ks_backoff_ms(int failures, int first_ms, int max_ms)
{
	double		ms = (double) first_ms * (1 << Max(0, Min(failures, MAX_DOUBLINGS)));

	ms = Min(ms, max_ms) * (0.5 + 0.5 * ks_random_double());
	return Max(1, (long) ms);
}

TimestampTz
ks_backoff_until(TimestampTz now, int failures, int first_ms, int max_ms)
{
	return TimestampTzPlusMilliseconds(now, ks_backoff_ms(failures, first_ms, max_ms));
}

bool
ks_backoff_is_set_back(TimestampTz *last)
{
	TimestampTz now = GetCurrentTimestamp();
	bool		is_set_back = now < *last - SET_BACK_US;

	*last = now;
	return is_set_back;
}
