/*
 * interval.c
 *	  Intervals as lengths of time.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/interval.h"

int64
ks_interval_us(const Interval *interval)
{
	int64		days = (int64) interval->month * DAYS_PER_MONTH + interval->day;
	int64		us;

	/* infinite ones have the largest of all three */
	if (pg_mul_s64_overflow(days, USECS_PER_DAY, &us))
		return days < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	if (pg_add_s64_overflow(us, interval->time, &us))
		return interval->time < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	return us;
}

int64
ks_interval_check(const Interval *interval, const char *what, int64 min, int64 max,
				  const char *range, const char *hint)
{
	int64		us = ks_interval_us(interval);

	if (us < min || us > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is outside the valid range for %s",
						DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(interval))), what),
				 hint ? errhint("Valid values: %s.  %s", range, hint) : errhint("Valid values: %s.", range)));
	return us;
}
