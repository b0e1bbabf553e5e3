/*
 * convert_array.c
 *	  Arrays of any number of dimensions out of nested ones.
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/memutils.h"

#include "format/convert.h"

static void
malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("malformed JSON array"),
			 errdetail("Multidimensional arrays must have sub-arrays with matching dimensions.")));
}

void
ks_array_begin(KsArrayBuild *b)
{
	b->n = 0;
	b->max = 16;
	b->ndims = -1;
	b->elems = palloc(b->max * sizeof(Datum));
	b->nulls = palloc(b->max * sizeof(bool));
	for (int i = 0; i < MAXDIM; i++)
		b->dims[i] = -1;
}

void
ks_array_enter(const KsArrayBuild *b, int level)
{
	if (level > 0 && b->ndims >= 0 && level >= b->ndims)
		malformed();
	if (level >= MAXDIM)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("number of array dimensions exceeds the maximum allowed (%d)", MAXDIM)));
}

int
ks_array_add(KsArrayBuild *b, int level)
{
	if (b->ndims < 0)
		b->ndims = level + 1;
	if (b->ndims != level + 1)
		malformed();
	if (b->n >= b->max)
	{
		b->max *= 2;
		b->elems = repalloc_huge(b->elems, b->max * sizeof(Datum));
		b->nulls = repalloc_huge(b->nulls, b->max * sizeof(bool));
	}
	return b->n++;
}

void
ks_array_leave(KsArrayBuild *b, int level, int count)
{
	if (b->dims[level] < 0)
		b->dims[level] = count;
	else if (b->dims[level] != count)
		malformed();
}

Datum
ks_array_end(KsArrayBuild *b, const KsType *type)
{
	int			lbs[MAXDIM];

	if (b->n == 0)
		return PointerGetDatum(construct_empty_array(type->elem->typid));
	/* an empty array beside elements counts, but is none of them */
	if (b->ndims < MAXDIM && b->dims[b->ndims] >= 0)
		malformed();
	for (int i = 0; i < MAXDIM; i++)
		lbs[i] = 1;
	return PointerGetDatum(construct_md_array(b->elems, b->nulls, b->ndims, b->dims, lbs,
											  type->elem->typid, type->elemlen,
											  type->elembyval, type->elemalign));
}
