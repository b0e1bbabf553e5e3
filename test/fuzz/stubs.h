/*
 * stubs.h
 *	  What the decoding modules need of a server, for fuzzing them outside one.
 */
#ifndef KS_FUZZ_STUBS_H
#define KS_FUZZ_STUBS_H

#include "postgres.h"

#include <setjmp.h>

#include "base/compat.h"

/* The C library's, not the server's. */
#undef fprintf
#undef sprintf
#undef vsnprintf

/* Where ereport(ERROR) goes, and what it said last. */
extern sigjmp_buf fuzz_error;
extern int	fuzz_sqlstate;
extern char fuzz_message[1024];
extern char fuzz_detail[1024];

/* True unless the statement raised an error. */
#define FUZZ_TRY(statement) \
	(sigsetjmp(fuzz_error, 0) == 0 ? ((statement), true) : false)

/* A copy of exactly that size, so that every byte read beyond it is found. */
extern char *fuzz_copy(const void *data, size_t len);

/* The context of one record, which is the current one at first; fuzz_reset()
 * frees what is in it, and makes it current again. */
extern MemoryContext fuzz_record_context;
extern void fuzz_reset(void);

/* Bytes of all contexts: now, and the most since somebody set it. */
extern size_t fuzz_held;
extern size_t fuzz_peak;

/* Says what a table for records of that type looks like, which is always text. */
struct KsShaper;
extern void fuzz_describe(const struct KsShaper *shaper, const void *type);

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
extern const char *fuzz_input_text;	/* the last text it was given */

/* An input function with this fn_oid must be given JSON. */
#define FUZZ_JSON_INPUT	1
extern bool fuzz_is_json(const char *s);

/* Elements of the array that was built last. */
extern int	fuzz_elements;

extern volatile Datum fuzz_read;

#endif
