/*
 * convert_fast.h
 *	  Text of the common types to Datums, without their input functions.
 *
 * Each takes what it understands completely, whatever the session's settings are,
 * and leaves the rest, errors included, to the server: false.
 */
#ifndef KS_CONVERT_FAST_H
#define KS_CONVERT_FAST_H

#include "postgres.h"

#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "format/numeric.h"

/* --- numbers --- */

/* Decimal integers that fit; others take the input function. */
static inline bool
fast_int(const char *s, int len, int64 *result)
{
	bool		neg = len > 0 && *s == '-';
	uint64		v = 0;

	if (neg)
		s++, len--;
	/* 19 digits cannot overflow the unsigned sum */
	if (len < 1 || len > 19)
		return false;
	for (int i = 0; i < len; i++)
	{
		unsigned char d = s[i] - '0';

		if (d > 9)
			return false;
		v = v * 10 + d;
	}
	if (v > PG_INT64_MAX)
		return false;
	*result = neg ? -(int64) v : (int64) v;
	return true;
}

/*
 * Decimals of at most 15 digits: digits and power of ten are exact as doubles,
 * so one division is rounded correctly, as strtod() is (W. D. Clinger, How to
 * Read Floating Point Numbers Accurately, 1990).
 */
static inline bool
fast_float8(const char *s, int len, Datum *result)
{
	static const double pow10[] = {1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9,
	1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
	const char *end = s + len;
	bool		neg = len > 0 && *s == '-';
	int64		v = 0;
	int			digits = 0,
				frac = -1;
	double		d;

	if (neg)
		s++;
	for (; s < end; s++)
	{
		unsigned char c = *s - '0';

		if (*s == '.' && frac < 0 && digits > 0)
		{
			frac = 0;
			continue;
		}
		if (c > 9 || ++digits > 15)
			return false;
		v = v * 10 + c;
		if (frac >= 0)
			frac++;
	}
	if (digits == 0 || frac == 0)
		return false;
	d = (double) v;
	if (frac > 0)
		d /= pow10[frac];
	*result = Float8GetDatum(neg ? -d : d);
	return true;
}

/*
 * Plain decimals of at most 18 digits after scaling: exactly value * 10^-scale
 * with the column's display scale.
 */
static inline bool
fast_numeric(const char *s, int len, int32 typmod, Datum *result)
{
	static const int64 pow10[] = {
		INT64CONST(1), INT64CONST(10), INT64CONST(100), INT64CONST(1000),
		INT64CONST(10000), INT64CONST(100000), INT64CONST(1000000),
		INT64CONST(10000000), INT64CONST(100000000), INT64CONST(1000000000),
		INT64CONST(10000000000), INT64CONST(100000000000),
		INT64CONST(1000000000000), INT64CONST(10000000000000),
		INT64CONST(100000000000000), INT64CONST(1000000000000000),
		INT64CONST(10000000000000000), INT64CONST(100000000000000000),
		INT64CONST(1000000000000000000)
	};
	const char *end = s + len;
	bool		neg = len > 0 && *s == '-';
	int64		v = 0;
	int			digits = 0,
				frac = -1;

	if (neg)
		s++;
	for (; s < end; s++)
	{
		unsigned char d = *s - '0';

		if (*s == '.' && frac < 0)
		{
			frac = 0;
			continue;
		}
		if (d > 9 || ++digits > 17)
			return false;
		v = v * 10 + d;
		if (frac >= 0)
			frac++;
	}
	if (digits == 0 || frac == 0)
		return false;
	if (frac < 0)
		frac = 0;
	if (typmod >= (int32) VARHDRSZ)
	{
		int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
		int			scale = (typmod - VARHDRSZ) & 0x7ff;

		/* a negative scale, rounding and overflow are the server's */
		if (scale > 18 || frac > scale || digits + scale - frac > 18 ||
			precision > 18 || v * pow10[scale - frac] >= pow10[precision])
			return false;
		v *= pow10[scale - frac];
		frac = scale;
	}
	*result = NumericGetDatum(ks_numeric_make(neg ? -v : v, frac));
	return true;
}

/* --- dates and times: as ISO 8601 has them, all in range --- */

/* Of no digit it is greater than 9. */
static inline unsigned int
digit(char c)
{
	return (unsigned char) c - (unsigned int) '0';
}

/* Two digits; without a look at the locale, which has no others. */
static inline bool
two_digits(const char *s, int *result)
{
	unsigned int tens = digit(s[0]);
	unsigned int ones = digit(s[1]);

	*result = (int) (tens * 10 + ones);
	return (tens <= 9) & (ones <= 9);
}

/* YYYY-MM-DD at the beginning of s, in days of the server's. */
static inline bool
fast_day(const char *s, int len, int32 *days)
{
	int			century,
				year,
				mon,
				day;

	if (len < 10 || !two_digits(s, &century) || !two_digits(s + 2, &year) || s[4] != '-' ||
		!two_digits(s + 5, &mon) || s[7] != '-' || !two_digits(s + 8, &day))
		return false;
	year += century * 100;
	if (year < 1 || mon < 1 || mon > 12 || day < 1 ||
		day > day_tab[isleap(year)][mon - 1])
		return false;
	*days = date2j(year, mon, day) - POSTGRES_EPOCH_JDATE;
	return true;
}

/* HH:MM:SS[.ffffff]; returns what is behind it, or NULL. */
static inline const char *
fast_clock(const char *s, const char *end, int64 *usecs)
{
	static const int pow10[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	int			hour,
				min,
				sec,
				usec = 0;

	if (end - s < 8 || !two_digits(s, &hour) || s[2] != ':' || !two_digits(s + 3, &min) || s[5] != ':' ||
		!two_digits(s + 6, &sec))
		return NULL;
	if (hour > 23 || min > 59 || sec > 59)
		return NULL;
	s += 8;
	if (s < end && *s == '.')
	{
		int			n = 0;

		for (s++; s < end && digit(*s) <= 9; s++)
		{
			if (n++ == 6)
				return NULL;	/* rounding is the server's */
			usec = usec * 10 + (int) digit(*s);
		}
		if (n == 0)
			return NULL;
		usec *= pow10[n];
	}
	*usecs = ((int64) (hour * 60 + min) * 60 + sec) * USECS_PER_SEC + usec;
	return s;
}

/* Z, or +HH[:MM] or -HH[:MM] as seconds to the east; returns what is behind it, or NULL. */
static inline const char *
fast_zone(const char *s, const char *end, int *zone)
{
	int			sign;
	int			min;

	*zone = 0;
	if (s < end && *s == 'Z')
		return s + 1;
	if (end - s < 3 || (*s != '+' && *s != '-') || !two_digits(s + 1, zone))
		return NULL;
	sign = *s == '-' ? -1 : 1;
	*zone *= 3600;
	s += 3;
	if (s < end && *s == ':')
	{
		if (end - s < 3 || !two_digits(s + 1, &min) || min > 59)
			return NULL;
		*zone += min * 60;
		s += 3;
	}
	if (*zone > 14 * 3600)
		return NULL;
	*zone *= sign;
	return s;
}

static inline bool
fast_date(const char *s, int len, Datum *result)
{
	int32		days;

	if (len != 10 || !fast_day(s, len, &days))
		return false;
	*result = DateADTGetDatum(days);
	return true;
}

/* A day and a time, with T or a blank between them, and a zone if there must be one. */
static inline bool
fast_moment(const char *s, int len, bool with_zone, Datum *result)
{
	const char *end = s + len;
	int32		days;
	int64		usecs = 0;
	int			zone = 0;

	if (len < 19 || !fast_day(s, len, &days) || (s[10] != 'T' && s[10] != ' '))
		return false;
	s = fast_clock(s + 11, end, &usecs);
	if (s && with_zone)
		s = fast_zone(s, end, &zone);
	if (s == NULL || s != end)
		return false;
	*result = Int64GetDatum(days * USECS_PER_DAY + usecs - zone * USECS_PER_SEC);
	return true;
}

/* --- uuid --- */

/* Of a hexadecimal digit; greater than 15 if it is none. */
static inline unsigned int
hex_digit(unsigned char c)
{
	unsigned int v = c - (unsigned int) '0';

	if (v <= 9)
		return v;
	v = (c | 0x20) - (unsigned int) 'a';
	return v <= 5 ? v + 10 : 16;
}

/* 8-4-4-4-12 digits. */
static inline bool
fast_uuid(const char *s, int len, Datum *result)
{
	pg_uuid_t  *uuid;

	if (len != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-')
		return false;
	uuid = palloc(sizeof(pg_uuid_t));
	for (int i = 0; i < UUID_LEN; i++)
	{
		unsigned int high,
					low;

		/* not wherever one stands: of others s would not be at its end with the last digit */
		if (i == 4 || i == 6 || i == 8 || i == 10)
			s++;
		high = hex_digit(s[0]);
		low = hex_digit(s[1]);
		if ((high | low) > 15)
			return false;
		uuid->data[i] = high << 4 | low;
		s += 2;
	}
	*result = UUIDPGetDatum(uuid);
	return true;
}

#endif
