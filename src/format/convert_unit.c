/*
 * convert_unit.c
 *	  Numbers for dates and times: what they count.
 *
 * The input functions of these types read digits as a date or a time of day
 * without its punctuation: 120000 is noon, and 240513 a day in May.  What a
 * number in a record counts nothing tells but the unit in the sink's "columns".
 * Then it is exact: the number's own digits, to the microsecond.
 */
#include "postgres.h"

#include <ctype.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "format/convert.h"

#define EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/* So many digits fit whatever they are. */
#define MAX_DIGITS		18

static const struct
{
	const char *name;
	int			factor;			/* times a power of ten: microseconds */
	int			power;
}			units[] = {
	[KS_UNIT_DAYS] = {"days", 864, 8},
	[KS_UNIT_SECONDS] = {"seconds", 1, 6},
	[KS_UNIT_MILLISECONDS] = {"milliseconds", 1, 3},
	[KS_UNIT_MICROSECONDS] = {"microseconds", 1, 0},
	[KS_UNIT_NANOSECONDS] = {"nanoseconds", 1, -3}
};

bool
ks_unit_parse(const char *name, KsUnit *unit)
{
	for (int i = KS_UNIT_DAYS; i < (int) lengthof(units); i++)
		if (strcmp(name, units[i].name) == 0)
		{
			*unit = (KsUnit) i;
			return true;
		}
	return false;
}

/* A decimal number: digits times a power of ten. */
typedef struct Decimal
{
	bool		neg;
	int64		digits;
	int			power;
} Decimal;

/* By JSON's grammar; digits that cannot matter are left out. */
static bool
parse_decimal(const char *s, int len, Decimal *dec)
{
	const char *end = s + len;
	int			ndigits = 0;
	bool		point = false;
	const char *first;

	memset(dec, 0, sizeof(Decimal));
	if (s < end && *s == '-')
	{
		dec->neg = true;
		s++;
	}
	first = s;
	for (; s < end && (isdigit((unsigned char) *s) || (*s == '.' && !point && s > first)); s++)
	{
		if (*s == '.')
			point = true;
		else if (ndigits < MAX_DIGITS)
		{
			dec->digits = dec->digits * 10 + (*s - '0');
			ndigits += dec->digits != 0;
			dec->power -= point;
		}
		else
			dec->power += !point;
	}
	if (s == first || s[-1] == '.')
		return false;
	if (s < end && (*s == 'e' || *s == 'E'))
	{
		bool		neg;
		int			exponent = 0;

		s++;
		neg = s < end && *s == '-';
		if (s < end && (*s == '-' || *s == '+'))
			s++;
		if (s == end)
			return false;
		for (; s < end && isdigit((unsigned char) *s); s++)
			exponent = Min(exponent * 10 + (*s - '0'), 10000);
		dec->power += neg ? -exponent : exponent;
	}
	return s == end;
}

/* Rounded half away from zero, as the server rounds; false: out of range. */
static bool
to_int64(const Decimal *dec, int factor, int power, int64 *result)
{
	int64		digits = dec->digits;
	int64		v;

	power += dec->power;
	if (digits == 0)
		power = 0;
	/* of 17 digits of days the last are next to nothing */
	for (; pg_mul_s64_overflow(digits, factor, &v); digits /= 10, power++)
		if (power >= 0)
			return false;
	for (; power > 0; power--)
		if (pg_mul_s64_overflow(v, 10, &v))
			return false;
	for (; power < -1 && v != 0; power++)
		v /= 10;
	if (power < 0)
		v = (v + 5) / 10;
	*result = dec->neg ? -v : v;
	return true;
}

static void
out_of_range(const KsType *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("number is out of range for type %s", format_type_be(type->typid))));
}

static void
no_unit(const KsType *type)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_DATETIME_FORMAT),
			 errmsg("a number is no value of type %s", format_type_be(type->typid)),
			 errdetail("Nothing tells what it counts."),
			 errhint("Give the column a unit in \"columns\", such as {\"at\": {\"source\": \"at\", \"unit\": \"milliseconds\"}}; units are days, seconds, milliseconds, microseconds, nanoseconds.")));
}

/* A day, whatever of it has passed. */
static Datum
as_date(const KsType *type, const Decimal *dec, KsUnit unit)
{
	int64		v;

	if (unit == KS_UNIT_DAYS && dec->power >= 0)
	{
		if (!to_int64(dec, 1, 0, &v))
			out_of_range(type);
	}
	else
	{
		int64		us;

		if (!to_int64(dec, units[unit].factor, units[unit].power, &us))
			out_of_range(type);
		v = us / USECS_PER_DAY - (us % USECS_PER_DAY < 0);
	}
	if (v < -UNIX_EPOCH_JDATE || v >= DATE_END_JULIAN - UNIX_EPOCH_JDATE)
		out_of_range(type);
	return DateADTGetDatum((DateADT) (v - EPOCH_DAYS));
}

static Datum
as_interval(const KsType *type, const Decimal *dec, KsUnit unit, int64 us)
{
	Interval   *v = palloc0(sizeof(Interval));

	v->time = us;
	if (unit == KS_UNIT_DAYS)
	{
		v->day = (int32) (us / USECS_PER_DAY);
		v->time = us % USECS_PER_DAY;
	}
	return IntervalPGetDatum(v);
}

static Datum
as_type(const KsType *type, const Decimal *dec, KsUnit unit)
{
	int64		us;

	if (!to_int64(dec, units[unit].factor, units[unit].power, &us))
		out_of_range(type);
	switch (type->typid)
	{
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			if (pg_sub_s64_overflow(us, EPOCH_DAYS * USECS_PER_DAY, &us) || !IS_VALID_TIMESTAMP(us))
				out_of_range(type);
			return TimestampTzGetDatum(us);
		case TIMEOID:
			if (us < 0 || us > USECS_PER_DAY)
				out_of_range(type);
			return TimeADTGetDatum(us);
		case TIMETZOID:
			{
				TimeTzADT  *v = palloc0(sizeof(TimeTzADT));

				if (us < 0 || us > USECS_PER_DAY)
					out_of_range(type);
				v->time = us;
				return TimeTzADTPGetDatum(v);
			}
		default:
			Assert(type->typid == INTERVALOID);
			return as_interval(type, dec, unit, us);
	}
}

/* The type's own precision. */
static Datum
scale(const KsType *type, Datum value)
{
	PGFunction	fn = type->typid == TIMESTAMPOID ? timestamp_scale :
		type->typid == TIMESTAMPTZOID ? timestamptz_scale :
		type->typid == TIMEOID ? time_scale :
		type->typid == TIMETZOID ? timetz_scale : interval_scale;

	return type->typmod < 0 || type->typid == DATEOID ? value :
		DirectFunctionCall2(fn, value, Int32GetDatum(type->typmod));
}

bool
ks_unit_convert(const KsConvert *cv, const KsType *type, const char *s, int len,
				bool is_number, Datum *value)
{
	Decimal		dec;

	if (!ks_type_is_time(type))
		return false;
	if (cv->unit == KS_UNIT_NONE && is_number)
		no_unit(type);
	if (cv->unit == KS_UNIT_NONE || !parse_decimal(s, len, &dec))
		return false;
	*value = scale(type, type->typid == DATEOID ? as_date(type, &dec, cv->unit) :
				   as_type(type, &dec, cv->unit));
	return true;
}
