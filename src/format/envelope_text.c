/*
 * envelope_text.c
 *	  Values in the encodings of Connect and Debezium, as text that the server's
 *	  types read.
 *
 * What stands for infinity is what the connector for PostgreSQL writes, which
 * is not always meant.  Timestamps: the number of milliseconds that the JDBC
 * driver has for it.  Dates: that as a number of days which overflows, or, in
 * records that are not of a snapshot, the server's own number of days, since
 * 2000, counted from 1970 and overflowing too.  As ISO 8601: those dates.
 */
#include "postgres.h"

#include <ctype.h>

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "format/envelope_text.h"

/* Of what numeric can hold: 131072 digits before the point, 16383 behind it. */
#define MAX_DECIMAL_BYTES		61232
#define MAX_DECIMAL_SCALE		16383

/* Of a larger scale, digits are followed by an exponent instead of zeros. */
#define MAX_PLAIN_SCALE			256

/* of a bit string of the server */
#define MAX_BITS				(10 * 1024 * 1024 * 8)

#define INFINITE_MICROS			INT64CONST(9223372036825200000)
#define MINUS_INFINITE_MICROS	INT64CONST(-9223372036832400000)
/* from the driver, one more or less by the zone that the connector runs in */
#define INFINITE_DAYS			INT64CONST(-622191234)
#define MINUS_INFINITE_DAYS		INT64CONST(-625821272)
/* from the log */
#define INFINITE_LOG_DAYS		INT64CONST(-2147472692)
#define MINUS_INFINITE_LOG_DAYS	INT64CONST(-2147472691)
/* what is left of them in nanoseconds: moments of 1969 and 1970 */
#define INFINITE_NANOS			INT64CONST(-29575808000)
#define MINUS_INFINITE_NANOS	INT64CONST(22375808000)

void
ks_value_bad(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("value does not fit its schema"),
			 errdetail("It is not %s.", what)));
}

void
ks_value_unclear(const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("record does not tell what its value means"),
			 errdetail("%s", detail),
			 errhint("%s", hint)));
}

int64
ks_value_int(const KsJsonToken *tok, const char *what)
{
	char	   *end;
	char	   *s = pnstrdup(tok->p, tok->len);
	int64		v;

	errno = 0;
	v = strtoll(s, &end, 10);
	if (tok->type != KS_JSON_NUMBER || *end || errno)
		ks_value_bad(what);
	return v;
}

uint8 *
ks_value_bytes(const KsJsonToken *tok, int *len)
{
	int			max = pg_b64_dec_len(tok->len) + 3;
	uint8	   *out = palloc(max + 1);

	*len = tok->type == KS_JSON_STRING && !tok->escaped ?
		pg_b64_decode(tok->p, tok->len, (void *) out, max) : -1;
	if (*len < 0)
		ks_value_bad("base64");
	return out;
}

/* The digits of a big-endian number, the last one first, by long division. */
static char *
digits_of(const uint8 *b, int len, int *n)
{
	int			nlimbs = (len + 3) / 4;
	uint32	   *limbs = palloc0((nlimbs + 1) * sizeof(uint32));
	char	   *digits = palloc(nlimbs * 10 + 10);

	for (int i = 0; i < len; i++)
		limbs[nlimbs - 1 - i / 4] |= (uint32) b[len - 1 - i] << (i % 4 * 8);
	*n = 0;
	for (int from = 0; from < nlimbs;)
	{
		uint64		rest = 0;

		CHECK_FOR_INTERRUPTS();
		for (int i = from; i < nlimbs; i++)
		{
			uint64		v = rest << 32 | limbs[i];

			limbs[i] = v / 1000000000;
			rest = v % 1000000000;
		}
		for (int i = 0; i < 9; i++, rest /= 10)
			digits[(*n)++] = '0' + rest % 10;
		while (from < nlimbs && limbs[from] == 0)
			from++;
	}
	while (*n > 0 && digits[*n - 1] == '0')
		(*n)--;
	if (*n == 0)
		digits[(*n)++] = '0';
	pfree(limbs);
	return digits;
}

char *
ks_text_decimal_bytes(uint8 *b, int len, int64 scale)
{
	int			n;
	bool		neg = len > 0 && (b[0] & 0x80);
	char	   *digits,
			   *out,
			   *p;

	if (scale < -MAX_DECIMAL_SCALE || scale > MAX_DECIMAL_SCALE)
		ks_value_bad("a number of this scale");
	if (neg)
		for (int i = len - 1, carry = 1; i >= 0; i--)
		{
			int			v = (uint8) ~b[i] + carry;

			b[i] = (uint8) v;
			carry = v >> 8;
		}
	for (; len > 0 && *b == 0; len--)
		b++;
	if (len > MAX_DECIMAL_BYTES)
		ks_value_bad("a number of so many digits");
	digits = digits_of(b, len, &n);
	if (n == 1 && digits[0] == '0')
		scale = Max(scale, 0);
	p = out = palloc(n + MAX_PLAIN_SCALE + 16);
	if (neg)
		*p++ = '-';
	if (scale < -MAX_PLAIN_SCALE || scale > MAX_PLAIN_SCALE)
	{
		while (n > 0)
			*p++ = digits[--n];
		*p++ = 'E';
		pg_lltoa(-scale, p);
	}
	else
	{
		for (int i = Max(n, (int) scale + 1) - 1; i >= 0; i--)
		{
			*p++ = i < n ? digits[i] : '0';
			if (i == scale && i > 0)
				*p++ = '.';
		}
		for (; scale < 0; scale++)
			*p++ = '0';
		*p = '\0';
	}
	pfree(digits);
	return out;
}

char *
ks_text_decimal(const KsJsonToken *tok, int64 scale)
{
	int			len;
	uint8	   *bytes = ks_value_bytes(tok, &len);
	char	   *out = ks_text_decimal_bytes(bytes, len, scale);

	pfree(bytes);
	return out;
}

char *
ks_text_date(int64 days, bool infinite)
{
	int			y,
				m,
				d;

	if (days < -UNIX_EPOCH_JDATE || days >= DATE_END_JULIAN - UNIX_EPOCH_JDATE)
	{
		if (infinite && ((days >= INFINITE_DAYS - 1 && days <= INFINITE_DAYS + 1) || days == INFINITE_LOG_DAYS))
			return "infinity";
		if (infinite && ((days >= MINUS_INFINITE_DAYS - 1 && days <= MINUS_INFINITE_DAYS + 1) ||
						 days == MINUS_INFINITE_LOG_DAYS))
			return "-infinity";
		ks_value_bad("a date");
	}
	j2date((int) (days + UNIX_EPOCH_JDATE), &y, &m, &d);
	return psprintf("%04d-%02d-%02d%s", y > 0 ? y : 1 - y, m, d, y > 0 ? "" : " BC");
}

/* The server's precision is the microsecond; more is cut off. */
static int64
to_micros(int64 v, int64 unit)
{
	int64		q;

	if (unit > 1000000)
	{
		q = v / (unit / 1000000);
		return q * (unit / 1000000) > v ? q - 1 : q;
	}
	q = 1000000 / unit;
	if (v > PG_INT64_MAX / q || v < PG_INT64_MIN / q)
		ks_value_bad("a time");
	return v * q;
}

/* A time, which can be negative, or longer than a day. */
static char *
clock_text(int64 us)
{
	uint64		v = us < 0 ? -(uint64) us : (uint64) us;

	return psprintf("%s%02llu:%02d:%02d.%06d", us < 0 ? "-" : "",
					(unsigned long long) (v / USECS_PER_HOUR),
					(int) (v / USECS_PER_MINUTE % 60), (int) (v / USECS_PER_SEC % 60),
					(int) (v % USECS_PER_SEC));
}

char *
ks_text_timestamp(int64 v, int64 unit, bool infinite)
{
	int64		us = to_micros(v, unit);
	int64		days = us / USECS_PER_DAY;
	char	   *date;
	char	   *bc;

	if (infinite && us == INFINITE_MICROS)
		return "infinity";
	if (infinite && us == MINUS_INFINITE_MICROS)
		return "-infinity";
	if (infinite && unit > 1000000 && (v == INFINITE_NANOS || v == MINUS_INFINITE_NANOS))
		ks_value_unclear("In nanoseconds, infinity has become a moment of 1969 or 1970.",
					  "Use another time.precision.mode for the connector.");
	if (days * USECS_PER_DAY > us)
		days--;
	date = ks_text_date(days, infinite);
	bc = strchr(date, ' ');
	return psprintf("%.*s %sZ%s", bc ? (int) (bc - date) : (int) strlen(date), date,
					clock_text(us - days * USECS_PER_DAY), bc ? bc : "");
}

/* Whole days, and the rest of one. */
char *
ks_text_duration(int64 us)
{
	int64		days = us / USECS_PER_DAY;
	int64		rest = us % USECS_PER_DAY;

	/* that is what longer ones are written as */
	if (us == PG_INT64_MAX || us == PG_INT64_MIN)
		ks_value_bad("a duration that fits into microseconds");
	return psprintf("%lld days %s", (long long) days, clock_text(rest));
}

/* Zero bytes at the end are left out; only so many bits are put back. */
char *
ks_text_bits_of(const uint8 *b, int len, int64 length, int max)
{
	int			n;
	char	   *s;

	if (len > MAX_BITS / 8)
		ks_value_bad("a bit string of the server");
	n = length > 0 && length <= MAX_BITS ? (int) length : len * 8;
	if (n > len * 8 && n > max)
		ks_value_bad("as many bits as its schema says");
	s = palloc(n + 1);
	for (int i = 0; i < n; i++)
		s[n - 1 - i] = i / 8 < len ? '0' + ((b[i / 8] >> (i % 8)) & 1) : '0';
	s[n] = '\0';
	return s;
}

char *
ks_text_bits(const KsJsonToken *tok, int64 length, int max)
{
	int			len;
	uint8	   *b = ks_value_bytes(tok, &len);

	return ks_text_bits_of(b, len, length, max);
}

/* The text of a bytea. */
char *
ks_text_hex(const KsJsonToken *tok)
{
	int			len;
	uint8	   *b = ks_value_bytes(tok, &len);
	char	   *s = palloc(2 * len + 3);

	strcpy(s, "\\x");
	s[hex_encode((char *) b, len, s + 2) + 2] = '\0';
	return s;
}

char *
ks_text_of_bytes(const KsJsonToken *tok)
{
	int			len;
	uint8	   *b = ks_value_bytes(tok, &len);

	b[len] = '\0';
	return pg_any_to_server((char *) b, len, PG_UTF8);
}

char *
ks_text_time(int64 v, int64 unit, bool of_day)
{
	int64		us = to_micros(v, unit);

	if (of_day && (us < 0 || us > USECS_PER_DAY))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("value is not a time of day"),
				 errdetail("It is %s.", clock_text(us)),
				 errhint("A column of type interval takes times that are negative or longer than a day.")));
	return clock_text(us);
}

/* A date, one of whose days may be any digit, and perhaps a zone or a time. */
static bool
is_date(const char *p, int len, const char *s)
{
	int			n = strlen(s);

	if (len < n)
		return false;
	for (int i = 0; i < n; i++)
		if (s[i] == '?' ? !isdigit((unsigned char) p[i]) : s[i] != p[i])
			return false;
	return len == n || p[n] == 'T' || p[n] == 'Z';
}

/* Of Java's years, which have more digits than four. */
static bool
all_digits(const char *p, const char *end)
{
	for (; p < end; p++)
		if (!isdigit((unsigned char) *p))
			return false;
	return true;
}

/*
 * ISO 8601 as Java writes it, for a date or timestamp column: years have a sign
 * before 0 and behind 9999, and year 0 is 1 BC; dates may have a zone.  NULL: the
 * column's type reads it as it is.
 */
char *
ks_text_iso(const char *p, int len, bool date)
{
	const char *end = p + len;
	const char *rest;
	bool		neg;
	int			year;

	if (len < 5 || (*p != '+' && *p != '-' && memcmp(p, "0000-", 5) != 0))
		return date && len > 10 && end[-1] == 'Z' && memchr(p, 'T', len) == NULL ?
			pnstrdup(p, len - 1) : NULL;
	if (is_date(p, len, "+292278994-08-1?") || is_date(p, len, "+294247-01-10T04:00:25.2Z") ||
		is_date(p, len, "-5877611-06-21"))
		return "infinity";
	if (is_date(p, len, "+292269055-12-0?") || is_date(p, len, "-290308-12-21T19:59:27.6Z") ||
		is_date(p, len, "-5877611-06-22"))
		return "-infinity";
	neg = *p == '-';
	if (*p == '+' || *p == '-')
		p++;
	rest = memchr(p, '-', end - p);
	if (rest == NULL || rest - p < 4 || rest - p > 7 || !all_digits(p, rest))
		return NULL;
	year = atoi(pnstrdup(p, rest - p));
	neg |= year == 0;
	if (neg)
		year++;
	p = memchr(rest, 'T', end - rest);
	if (p == NULL && end[-1] == 'Z')
		end--;
	return psprintf("%04d%.*s%s%.*s%s", year, (int) ((p ? p : end) - rest), rest, p ? " " : "",
					p ? (int) (end - p - 1) : 0, p ? p + 1 : "", neg ? " BC" : "");
}
