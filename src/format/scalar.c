/*
 * scalar.c
 *	  Single values of binary formats as Datums of a column's type.
 *
 * Types are those underneath domains.  Where a type has the value it is copied; the
 * rest, errors included, takes the way of JSON's values.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "common/int.h"
#include "common/shortest_dec.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "format/numeric.h"
#include "format/scalar.h"

Datum
ks_scalar_from_int(KsConvert *cv, KsType *base, int64 v, bool *isnull)
{
	char		buf[MAXINT8LEN + 1];
	KsJsonToken tok;

	switch (base->kind)
	{
		case KS_TYPE_INT8:
			return Int64GetDatum(v);
		case KS_TYPE_INT4:
			if (likely(v == (int32) v))
				return Int32GetDatum((int32) v);
			break;
		case KS_TYPE_INT2:
			if (likely(v == (int16) v))
				return Int16GetDatum((int16) v);
			break;
		default:
			if (base->typmod < (int32) VARHDRSZ)
				return NumericGetDatum(ks_numeric_make(v, 0));
			break;
	}
	/* digits, and the error, are the type's own */
	ks_scalar_set(&tok, KS_JSON_NUMBER, buf, pg_lltoa(v, buf));
	return ks_convert_json(cv, base, &tok, isnull);
}

/* A float8 as a float4; what that cannot hold is the type's to refuse. */
static Datum
to_float4(KsConvert *cv, KsType *base, double v, bool *isnull)
{
	float		f = (float) v;
	char		buf[32];
	KsJsonToken tok;

	if (likely((isinf(f) == isinf(v)) && (f != 0 || v == 0)))
		return Float4GetDatum(f);
	ks_scalar_set(&tok, KS_JSON_NUMBER, buf, double_to_shortest_decimal_bufn(v, buf));
	return ks_convert_json(cv, base, &tok, isnull);
}

Datum
ks_scalar_from_float(KsConvert *cv, KsType *base, double v, bool *isnull)
{
	if (cv->refuse_nonfinite && !isfinite(v))
		ks_finite_check(base, base->typid == FLOAT4OID ? Float4GetDatum((float) v) : Float8GetDatum(v));
	return base->typid == FLOAT4OID ? to_float4(cv, base, v, isnull) : Float8GetDatum(v);
}

/* Does a numeric column's precision leave so many digits as they are? */
static bool
fits_typmod(int64 n, int scale, int32 typmod)
{
	static const int64 pow10[] = {
		INT64CONST(1), INT64CONST(10), INT64CONST(100), INT64CONST(1000), INT64CONST(10000),
		INT64CONST(100000), INT64CONST(1000000), INT64CONST(10000000), INT64CONST(100000000),
		INT64CONST(1000000000), INT64CONST(10000000000), INT64CONST(100000000000),
		INT64CONST(1000000000000), INT64CONST(10000000000000), INT64CONST(100000000000000),
		INT64CONST(1000000000000000), INT64CONST(10000000000000000), INT64CONST(100000000000000000)
	};
	int			precision = ((typmod - VARHDRSZ) >> 16) & 0xffff;
	int64		limit;

	if (typmod < (int32) VARHDRSZ)
		return true;
	if (((typmod - VARHDRSZ) & 0x7ff) != scale)
		return false;
	limit = pow10[Min(precision, 17)];
	return n > -limit && n < limit;
}

bool
ks_scalar_decimal(const char *s, int len, int scale, int32 typmod, Datum *result)
{
	uint64		v = len > 0 && (s[0] & 0x80) ? ~UINT64CONST(0) : 0;
	int64		n;

	for (int i = 0; i < len && len <= 8; i++)
		v = v << 8 | (uint8) s[i];
	n = (int64) v;
	if (len > 8 || scale < 0 || scale > 17 || n > INT64CONST(99999999999999999) || n < -INT64CONST(99999999999999999) ||
		!fits_typmod(n, scale, typmod))
		return false;
	*result = NumericGetDatum(ks_numeric_make(n, scale));
	return true;
}

void
ks_elements_grow(KsElements *e)
{
	if (e->max == 0)
	{
		e->max = 16;
		e->values = palloc(e->max * sizeof(Datum));
		e->nulls = palloc(e->max * sizeof(bool));
		return;
	}
	e->max *= 2;
	e->values = repalloc_huge(e->values, e->max * sizeof(Datum));
	e->nulls = repalloc_huge(e->nulls, e->max * sizeof(bool));
}

Datum
ks_elements_array(KsElements *e, const KsType *type)
{
	int			lb = 1;
	Datum		d;

	if (e->n == 0)
		return PointerGetDatum(construct_empty_array(type->elem->typid));
	d = PointerGetDatum(construct_md_array(e->values, e->nulls, 1, &e->n, &lb, type->elem->typid, type->elemlen,
										   type->elembyval, type->elemalign));
	pfree(e->values);
	pfree(e->nulls);
	return d;
}
