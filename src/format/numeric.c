/*
 * numeric.c
 *	  Numerics that are an integer and a power of ten.
 *
 * The server's way to one (int64_div_fast_to_numeric()) is by a variable of its arithmetic,
 * which takes longer than all else that is done with a record's number.  So its bytes are
 * written here, as they stand on disk, where all versions read each other's: a header of two
 * bytes, which has the sign, how many decimals are shown, and the weight of the first digit,
 * and digits of the base 10,000 without zeros at either end.  sql/numbers.sql compares them
 * with the server's.
 */
#include "postgres.h"

#include "base/compat.h"
#include "format/numeric.h"

#define BASE			10000
#define BASE_DIGITS		4

/* Of the header. */
#define SHORT			0x8000
#define NEGATIVE		0x2000
#define SCALE_SHIFT		7
#define WEIGHT_NEGATIVE	0x0040
#define WEIGHT_MASK		0x003f

/* In base 10,000, the last digit first; a point stands between digits, not within one. */
static int
split(uint64 v, int scale, int16 *digits)
{
	int			n = 0;

	/* by constants, which is no division */
	switch (scale % BASE_DIGITS)
	{
		case 1:
			digits[n++] = (int16) (v % 10 * 1000);
			v /= 10;
			break;
		case 2:
			digits[n++] = (int16) (v % 100 * 100);
			v /= 100;
			break;
		case 3:
			digits[n++] = (int16) (v % 1000 * 10);
			v /= 1000;
			break;
	}
	for (; v > 0; v /= BASE)
		digits[n++] = (int16) (v % BASE);
	return n;
}

Numeric
ks_numeric_make(int64 n, int scale)
{
	int16		digits[6];		/* 19 decimal ones, in two parts */
	int			top = split(n < 0 ? -(uint64) n : (uint64) n, scale, digits);
	int			low = 0;
	int			weight;
	Size		size;
	char	   *result;
	int16	   *to;

	Assert(scale >= 0 && scale <= KS_NUMERIC_MAX_SCALE);
	while (low < top && digits[low] == 0)
		low++;
	weight = low < top ? top - 1 - (scale + BASE_DIGITS - 1) / BASE_DIGITS : 0;
	size = VARHDRSZ + (1 + top - low) * sizeof(int16);
	result = palloc(size);
	SET_VARSIZE(result, size);
	to = (int16 *) (result + VARHDRSZ);
	*to++ = (int16) (SHORT | (n < 0 ? NEGATIVE : 0) | scale << SCALE_SHIFT |
					 (weight < 0 ? WEIGHT_NEGATIVE : 0) | (weight & WEIGHT_MASK));
	while (top > low)
		*to++ = digits[--top];
	return (Numeric) result;
}
