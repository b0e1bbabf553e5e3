/*
 * arguments.h
 *	  Arguments of SQL functions that are NULL, and must not be.
 */
#ifndef KS_ARGUMENTS_H
#define KS_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"

/* Errors (22004) if this argument, or any, is NULL; says what to write there. */
extern void ks_refuse_null(FunctionCallInfo fcinfo, int arg);
extern void ks_refuse_nulls(FunctionCallInfo fcinfo);

/* An argument that must not be NULL, as a string. */
extern char *ks_text_argument(FunctionCallInfo fcinfo, int arg);

/* A number that may be NULL, and not negative (22023); -1 for NULL. */
extern int64 ks_optional_number(FunctionCallInfo fcinfo, int arg);

/* Is this NULL one that the caller gives, and not the default? */
extern bool ks_null_is_given(FunctionCallInfo fcinfo, int arg);

#endif
