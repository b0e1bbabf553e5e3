/*
 * jschema_decimal.c
 *	  Decimal numbers as JSON writes them, compared and divided exactly.
 *
 * They may have any number of digits, and exponents of any size: nothing is computed
 * but with the digits that are there, and the remainder of a power of ten.
 */
#include "postgres.h"

#include "format/jschema_tree.h"

/* Exponents beyond are as good as these, whatever the digits are: records are smaller. */
#define MAX_EXPONENT	INT64CONST(1000000000000)

static int64
parse_exponent(const char *p, const char *end)
{
	bool		negative = p < end && *p == '-';
	int64		v = 0;

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (; p < end; p++)
		v = Min(v * 10 + (*p - '0'), MAX_EXPONENT);
	return negative ? -v : v;
}

KsDecimal
ks_decimal_parse(const char *s, int len)
{
	KsDecimal	d = {0};
	const char *end = s + len;
	const char *e = s;
	const char *point = NULL;
	const char *last = NULL;
	int64		exponent = 0;

	while (e < end && *e != 'e' && *e != 'E')
	{
		if (*e == '.')
			point = e;
		else if (*e >= '1' && *e <= '9')
		{
			if (d.p == NULL)
				d.p = e;
			last = e;
		}
		e++;
	}
	if (d.p == NULL)
		return d;
	if (e < end)
		exponent = parse_exponent(e + 1, end);
	if (point == NULL)
		point = e;
	d.sign = *s == '-' ? -1 : 1;
	d.end = last + 1;
	/* of the digit just before the point, 0 */
	d.top = exponent + (d.p < point ? point - d.p - 1 : point - d.p);
	d.low = exponent + (last < point ? point - last - 1 : point - last);
	return d;
}

/* Digits one by one; 0 for ever after the last. */
static inline int
next_digit(const char **p, const char *end)
{
	if (*p < end && **p == '.')
		(*p)++;
	return *p < end ? *(*p)++ - '0' : 0;
}

static int
compare_magnitude(const KsDecimal *a, const KsDecimal *b)
{
	const char *p = a->p;
	const char *q = b->p;

	if (a->top != b->top)
		return a->top < b->top ? -1 : 1;
	while (p < a->end || q < b->end)
	{
		int			x = next_digit(&p, a->end);
		int			y = next_digit(&q, b->end);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}

int
ks_decimal_compare(const KsDecimal *a, const KsDecimal *b)
{
	if (a->sign != b->sign)
		return a->sign < b->sign ? -1 : 1;
	return a->sign == 0 ? 0 : a->sign * compare_magnitude(a, b);
}

bool
ks_decimal_divisor(const KsDecimal *d, KsDivisor *result)
{
	int			n = 0;

	result->digits = 0;
	result->low = d->low;
	if (d->sign <= 0)
		return false;
	for (const char *p = d->p; p < d->end; n++)
	{
		if (n >= 18)
			return false;
		result->digits = result->digits * 10 + next_digit(&p, d->end);
	}
	return true;
}

static inline uint64
multiply(uint64 a, uint64 b, uint64 by)
{
	return (uint64) ((unsigned __int128) a * b % by);
}

/*
 * Both without zeros behind the last digit: if the divisor's last one stands higher,
 * the other would have to end with a zero.
 */
bool
ks_decimal_divides(const KsDivisor *by, const KsDecimal *d)
{
	uint64		rest = 0;
	uint64		power = 10 % by->digits;

	if (d->sign == 0)
		return true;
	if (d->low < by->low)
		return false;
	for (const char *p = d->p; p < d->end;)
		rest = (multiply(rest, 10, by->digits) + next_digit(&p, d->end)) % by->digits;
	for (uint64 n = d->low - by->low; n > 0; n >>= 1)
	{
		if (n & 1)
			rest = multiply(rest, power, by->digits);
		power = multiply(power, power, by->digits);
	}
	return rest == 0;
}
