/*
 * convert_finite.c
 *	  on_nonfinite => 'error': is NaN or an infinity anywhere in a value?
 *
 * Values that come element by element are looked at one by one; this is for
 * those that a type has read as a whole, whatever they are made of.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/geo_decls.h"
#include "utils/multirangetypes.h"
#include "utils/numeric.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "format/convert.h"

static bool is_finite(const KsType *type, Datum value);

static bool
all_finite(const void *p, int n)
{
	const float8 *v = p;

	for (int i = 0; i < n; i++)
		if (!isfinite(v[i]))
			return false;
	return true;
}

/* They are their coordinates, and nothing else but a header. */
static bool
is_finite_figure(const KsType *type, Datum value)
{
	void	   *p;

	switch (type->typid)
	{
		case PATHOID:
			p = DatumGetPathP(value);
			return all_finite(((PATH *) p)->p, 2 * ((PATH *) p)->npts);
		case POLYGONOID:
			p = DatumGetPolygonP(value);
			return all_finite(((POLYGON *) p)->p, 2 * ((POLYGON *) p)->npts);
		default:
			return all_finite(DatumGetPointer(value), type->typlen / sizeof(float8));
	}
}

static bool
is_finite_array(const KsType *type, Datum value)
{
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	bool		finite = true;

	deconstruct_array(DatumGetArrayTypeP(value), type->elem->typid, type->elemlen,
					  type->elembyval, type->elemalign, &elems, &nulls, &n);
	for (int i = 0; i < n && finite; i++)
	{
		CHECK_FOR_INTERRUPTS();
		finite = nulls[i] || is_finite(type->elem, elems[i]);
	}
	pfree(elems);
	pfree(nulls);
	return finite;
}

static bool
is_finite_row(const KsType *type, Datum value)
{
	const KsComposite *c = type->composite;
	HeapTupleData tup = {0};
	Datum	   *values = palloc(c->tupdesc->natts * sizeof(Datum));
	bool	   *nulls = palloc(c->tupdesc->natts * sizeof(bool));
	bool		finite = true;

	tup.t_data = DatumGetHeapTupleHeader(value);
	tup.t_len = HeapTupleHeaderGetDatumLength(tup.t_data);
	heap_deform_tuple(&tup, c->tupdesc, values, nulls);
	for (int i = 0; i < c->tupdesc->natts && finite; i++)
		finite = nulls[i] || !c->attrs[i].has_float || is_finite(&c->attrs[i], values[i]);
	pfree(values);
	pfree(nulls);
	return finite;
}

static bool
is_finite_range(const KsType *type, RangeType *range)
{
	const KsType *bound = type->elem;
	TypeCacheEntry *cache = lookup_type_cache(type->typid, TYPECACHE_RANGE_INFO);
	RangeBound	lower,
				upper;
	bool		empty;

	range_deserialize(cache, range, &lower, &upper, &empty);
	return empty || ((lower.infinite || is_finite(bound, lower.val)) &&
					 (upper.infinite || is_finite(bound, upper.val)));
}

static bool
is_finite_multirange(const KsType *type, Datum value)
{
	MultirangeType *multi = DatumGetMultirangeTypeP(value);
	TypeCacheEntry *cache = lookup_type_cache(type->elem->typid, TYPECACHE_RANGE_INFO);
	RangeType **ranges;
	int32		n;

	multirange_deserialize(cache, multi, &n, &ranges);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!is_finite_range(type->elem, ranges[i]))
			return false;
	}
	return true;
}

static bool
is_finite(const KsType *type, Datum value)
{
	check_stack_depth();
	switch (type->kind)
	{
		case KS_TYPE_DOMAIN:
			return is_finite(type->elem, value);
		case KS_TYPE_FLOAT:
			return type->typid == FLOAT8OID ? isfinite(DatumGetFloat8(value)) :
				isfinite(DatumGetFloat4(value));
		case KS_TYPE_NUMERIC:
			return !numeric_is_nan(DatumGetNumeric(value)) && !numeric_is_inf(DatumGetNumeric(value));
		case KS_TYPE_ARRAY:
			return is_finite_array(type, value);
		case KS_TYPE_COMPOSITE:
			return is_finite_row(type, value);
		case KS_TYPE_RANGE:
			return is_finite_range(type, DatumGetRangeTypeP(value));
		case KS_TYPE_MULTIRANGE:
			return is_finite_multirange(type, value);
		default:
			return is_finite_figure(type, value);
	}
}

void
ks_finite_check(const KsType *type, Datum value)
{
	if (type->has_float && !is_finite(type, value))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("value is not a finite number"),
				 errhint("The sink's setting on_nonfinite => 'accept' takes NaN and infinities.")));
}
