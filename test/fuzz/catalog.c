/*
 * catalog.c
 *	  What only ks_type_init() calls: the harnesses make their types by hand, and
 *	  are not interrupted.
 *
 * No header of the server is included, so the signatures do not matter.
 */
#include <stdio.h>
#include <stdlib.h>

#define NOT_CALLED(name) \
void name(void); \
void name(void) \
{ \
	fprintf(stderr, "%s was called\n", #name); \
	abort(); \
}

NOT_CALLED(CreateTupleDescCopy)
NOT_CALLED(DecrTupleDescRefCount)
NOT_CALLED(fmgr_info_cxt)
NOT_CALLED(getBaseTypeAndTypmod)
NOT_CALLED(getTypeInputInfo)
NOT_CALLED(get_element_type)
NOT_CALLED(get_type_category_preferred)
NOT_CALLED(get_typlenbyval)
NOT_CALLED(get_typlenbyvalalign)
NOT_CALLED(get_typtype)
NOT_CALLED(ProcessInterrupts)
NOT_CALLED(lookup_rowtype_tupdesc)
