/*
 * stubs.h
 *	  What the decoding modules need of a server, for fuzzing them outside one.
 */
#ifndef KS_FUZZ_STUBS_H
#define KS_FUZZ_STUBS_H

#include "postgres.h"

#include <setjmp.h>

/* The C library's, not the server's. */
#undef fprintf

/* Where ereport(ERROR) goes, and what it said last. */
extern sigjmp_buf fuzz_error;
extern int	fuzz_sqlstate;

/* True unless the statement raised an error. */
#define FUZZ_TRY(statement) \
	(sigsetjmp(fuzz_error, 0) == 0 ? ((statement), true) : false)

/* A copy of exactly that size, so that every byte read beyond it is found. */
extern char *fuzz_copy(const void *data, size_t len);

/* Frees what palloc() gave since the last call. */
extern void fuzz_reset(void);

/* A failed check ends the process, as the sanitizers do. */
#define FUZZ_CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			fprintf(stderr, "%s:%d: check failed: %s\n", __FILE__, __LINE__, #condition); \
			abort(); \
		} \
	} while (0)

/* Fast numerics are handed out as these. */
typedef struct FuzzNumeric
{
	int64		value;
	int			scale;
} FuzzNumeric;

/* Set by InputFunctionCall(): the type's own input function was asked. */
extern bool fuzz_input_called;

extern volatile Datum fuzz_read;

#endif
