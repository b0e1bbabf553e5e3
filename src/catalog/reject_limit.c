/*
 * reject_limit.c
 *	  The setting reject_limit, as text and as numbers.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/reject_limit.h"

#define MAX_COUNT	1000000000
#define MAX_WINDOW	1000000

/* A whole number from 'min' to 'max', without sign; moves *p behind it. */
static bool
parse_number(const char **p, int64 min, int64 max, int64 *n)
{
	*n = 0;
	if (!isdigit((unsigned char) **p))
		return false;
	for (; isdigit((unsigned char) **p); (*p)++)
		if ((*n = *n * 10 + (**p - '0')) > max)
			return false;
	return *n >= min;
}

/* The fraction behind the point of a percentage, in thousandths. */
static bool
parse_fraction(const char **p, int64 *thousandths)
{
	int			scale = 100;

	*thousandths = 0;
	if (**p != '.')
		return true;
	for ((*p)++; isdigit((unsigned char) **p); (*p)++, scale /= 10)
	{
		if (scale == 0)
			return false;
		*thousandths += (**p - '0') * scale;
	}
	return scale < 100;
}

void
ks_reject_limit_parse(const char *text, KsRejectLimit *limit)
{
	const char *p = text;
	int64		n,
				thousandths;

	memset(limit, 0, sizeof(KsRejectLimit));
	limit->max = -1;
	if (text == NULL)
		return;
	limit->text = unconstify(char *, text);
	if (parse_number(&p, 0, MAX_COUNT, &n))
	{
		if (*p == '\0')
		{
			limit->max = n;
			return;
		}
		if (n < 100 && parse_fraction(&p, &thousandths) && strncmp(p, "% of ", 5) == 0)
		{
			p += 5;
			if (parse_number(&p, 1, MAX_WINDOW, &limit->window) && *p == '\0')
			{
				limit->max = limit->window * (n * 1000 + thousandths) / 100000;
				return;
			}
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for setting \"%s\": \"%s\"", "reject_limit", text),
			 errdetail("A number is from 0 to %d, a percentage is below 100 with at most three decimals, of 1 to %d records.",
					   MAX_COUNT, MAX_WINDOW),
			 errhint("Write a number of records such as 1000, or a percentage of the last records such as 5%% of 10000.")));
}
