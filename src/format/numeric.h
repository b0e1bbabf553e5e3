/*
 * numeric.h
 *	  Numerics that are an integer and a power of ten.
 */
#ifndef KS_NUMERIC_H
#define KS_NUMERIC_H

#include "postgres.h"

#include "utils/numeric.h"

#define KS_NUMERIC_MAX_SCALE	63

/* n * 10^-scale, which is from 0 to that; in the current context. */
extern Numeric ks_numeric_make(int64 n, int scale);

#endif
