/*
 * server.c
 *	  What the files source*.c need of a server.
 */
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "lib/ilist.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "base/guc.h"
#include "base/memory.h"

sigjmp_buf	fuzz_error;			/* (for memory.c) */
int			fuzz_sqlstate;
sigjmp_buf *PG_exception_stack;
ErrorContextCallback *error_context_stack;
volatile sig_atomic_t InterruptPending;
volatile sig_atomic_t ProcDiePending;
bool		proc_exit_inprogress;
struct Latch *MyLatch;

int			unit_sqlstate;
char		unit_message[1024];
char		unit_log[1024];
bool		unit_interrupt;
TimestampTz unit_now = 1000000;
int64		unit_step = 1;
int			unit_no_memory;
bool		unit_no_thread;
int			unit_left;
static volatile bool refused;
static int	wakes = -1;			/* to be written to when it is */
static int	level;
static char words[1024];

bool
errstart(int elevel, const char *domain)
{
	level = elevel;
	words[0] = '\0';
	unit_sqlstate = 0;
	return true;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *file, int line, const char *func)
{
	if (level < ERROR)
	{
		strcpy(unit_log, words);
		if (!unit_interrupt)
			return;
		/* as CHECK_FOR_INTERRUPTS() in the server's errfinish() */
		unit_interrupt = false;
		strcpy(words, "interrupt");
	}
	strcpy(unit_message, words);
	FUZZ_CHECK(PG_exception_stack != NULL);
	siglongjmp(*PG_exception_stack, 1);
}

void
pg_re_throw(void)
{
	siglongjmp(*PG_exception_stack, 1);
}

int
errcode(int sqlstate)
{
	unit_sqlstate = sqlstate;
	return 0;
}

#define SAYS(name, keep) \
int \
name(const char *fmt,...) \
{ \
	char		buf[1024]; \
	va_list		args; \
\
	va_start(args, fmt); \
	vsnprintf(buf, sizeof(buf), fmt, args); \
	va_end(args); \
	if (keep) \
		strcpy(words, buf); \
	return 0; \
}

SAYS(errmsg, true)
SAYS(errmsg_internal, true)
SAYS(errdetail, false)
SAYS(errdetail_internal, false)
SAYS(errhint, false)

int errcode_for_file_access(void) { return 0; }
int errhidestmt(bool hide) { return 0; }
int errhidecontext(bool hide) { return 0; }
bool message_level_is_interesting(int elevel) { return true; }

void
#if PG16_GE
ExceptionalCondition(const char *condition, const char *file, int line)
#else
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
#endif
{
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, condition);
	abort();
}

bool
unit_try(void (*f) (void *), void *arg)
{
	sigjmp_buf	here;
	sigjmp_buf *before = PG_exception_stack;
	MemoryContext cxt = CurrentMemoryContext;
	volatile bool fine = false;

	if (sigsetjmp(here, 0) == 0)
	{
		PG_exception_stack = &here;
		f(arg);
		fine = true;
	}
	PG_exception_stack = before;
	/* as whoever catches an error does */
	if (!fine)
		CurrentMemoryContext = cxt;
	return fine;
}

/* --- the rest --- */

void ProcessInterrupts(void) {}
bool AcquireExternalFD(void) { return true; }
void ReleaseExternalFD(void) {}

TimestampTz
GetCurrentTimestamp(void)
{
	TimestampTz now = unit_now;

	unit_now += unit_step;
	return now;
}

void ks_memory_guard_begin(bool ours) {}
void ks_memory_guard_end(void) {}
void ks_memory_watch_thread(void) {}
void ks_memory_check_session(void) {}
bool ks_memory_refused(void) { return refused; }
const char *ks_memory_describe(void) { return ""; }
void ks_memory_wake_by(int fd) { wakes = fd; }
void ks_memory_stop_waking_by(int fd) { wakes = -1; }
void ks_session_end_without_destructors(void) { unit_left++; }
volatile uint32 ks_memory_library_calls;

void
unit_refuse(bool yes)
{
	refused = yes;
	if (yes && wakes >= 0)
		FUZZ_CHECK(write(wakes, "", 1) == 1);
}

/* (by the linker, see run) */
extern void *__real_calloc(size_t n, size_t size);
extern void *__wrap_calloc(size_t n, size_t size);
extern int	__real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*f) (void *), void *arg);
extern int	__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*f) (void *), void *arg);

void *
__wrap_calloc(size_t n, size_t size)
{
	return unit_no_memory > 0 && --unit_no_memory == 0 ? NULL : __real_calloc(n, size);
}

int
__wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*f) (void *), void *arg)
{
	return unit_no_thread ? EAGAIN : __real_pthread_create(thread, attr, f, arg);
}

/* Time is what has happened. */
int
clock_gettime(clockid_t clock, struct timespec *ts)
{
	TimestampTz now = unit_now++;

	ts->tv_sec = now / USECS_PER_SEC;
	ts->tv_nsec = now % USECS_PER_SEC * 1000;
	return 0;
}

int
WaitLatch(Latch *latch, int wakeEvents, long timeout, uint32 wait_event_info)
{
	return WL_TIMEOUT;
}

static MemoryContextCallback *callback;
static pg_on_exit_callback at_exit;

void
MemoryContextRegisterResetCallback(MemoryContext cxt, MemoryContextCallback *cb)
{
	callback = cb;
}

void
before_shmem_exit(pg_on_exit_callback function, Datum arg)
{
	at_exit = function;
}

void
unit_reset(MemoryContext cxt)
{
	callback->func(callback->arg);
}

void
unit_exit(void)
{
	at_exit(0, (Datum) 0);
}

char *
MemoryContextStrdup(MemoryContext cxt, const char *s)
{
	return strcpy(MemoryContextAlloc(cxt, strlen(s) + 1), s);
}
