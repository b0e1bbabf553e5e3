/*
 * error.h
 *	  Errors that were caught, to be thrown again.
 */
#ifndef KS_ERROR_H
#define KS_ERROR_H

#include "postgres.h"

#include "base/compat.h"

/* Like ReThrowError(), but whatever holds the copy may go before the error is reported. */
KS_NORETURN extern void ks_error_rethrow(ErrorData *edata);

#endif
