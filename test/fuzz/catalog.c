/*
 * catalog.c
 *	  What the harnesses do not come to: their types have no precision and no catalog,
 *	  and nothing interrupts them.
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

NOT_CALLED(DirectFunctionCall2Coll)
NOT_CALLED(DirectFunctionCall3Coll)
NOT_CALLED(ProcessInterrupts)
NOT_CALLED(interval_scale)
NOT_CALLED(ks_finite_check)
NOT_CALLED(numeric_cash)
NOT_CALLED(numeric_in)
NOT_CALLED(time_scale)
NOT_CALLED(timestamp_scale)
NOT_CALLED(timestamptz_scale)
NOT_CALLED(timetz_scale)
