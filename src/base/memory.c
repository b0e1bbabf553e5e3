/*
 * memory.c
 *	  Private memory of this process, librdkafka's included, and its bounds.
 *
 * What a compressed batch of records unpacks to is known when it is unpacked, by
 * a thread of librdkafka, at once and whole: 2 kB can become 100 MB, and a
 * megabyte a thousand.  librdkafka's own limits are for records that are
 * unpacked.  And an allocation that fails there aborts the process, and with it
 * all sessions of the server, as does the system that kills one which takes too
 * much.  So there are three bounds, the last of which is for the worst:
 *
 *	- what an answer may hold is chosen before it is asked for
 *	  (ks_memory_answer_bytes(), and who remembers the level);
 *	- who has a handle looks at the memory of the process while it polls, applies
 *	  what is at hand when half of the limit is used, and leaves, or raises an
 *	  error, when all of it is;
 *	- RLIMIT_DATA of the process, beyond that: malloc() fails before the system
 *	  has to kill anybody.  The thread that aborts is caught in the handler of
 *	  SIGABRT, where it wakes the main thread and stands still for ever.  It may
 *	  hold locks of librdkafka, so nobody calls into that handle any more, and the
 *	  process ends in good order without its destructors.  Only a thread that is
 *	  not the main one, and was refused memory (errno), is caught: whatever else
 *	  aborts, does.  If the main thread is found to wait within librdkafka, for
 *	  what must be such a lock, the abort takes its course after a while.
 *
 * The handler calls nothing of PostgreSQL, and nothing that may not be called in
 * one.  malloc() holds no lock when it has failed.  The signal must not be blocked in
 * a thread for it to come there (ks_memory_watch_thread()).
 */
#include "postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/memory.h"

#define LOOK_US			50000
#define MEGABYTE		((int64) 1024 * 1024)
#define SLACK			(64 * MEGABYTE) /* beyond the limit, for what is to be done then */
#define THREADS			16		/* of librdkafka, whose stacks count before they are used */
#define STACK_BYTES		(8 * MEGABYTE)	/* where the system knows no size */
#define ANSWER_RATIO	32768	/* of zstd, for a letter that is repeated */
#define STUCK_LOOKS		100		/* a tenth of a second each */

typedef struct Measured
{
	int64		private;		/* resident and ours alone */
	int64		virtual;		/* what RLIMIT_DATA counts */
	int			threads;
} Measured;

volatile uint32 ks_memory_library_calls = 0;

static int	guards = 0;
static Measured last_measured;
static TimestampTz looked_at = 0;
static int64 base_private = 0;	/* not counted: a session's own */
static int64 base_virtual = 0;
static int64 limited_to = 0;	/* RLIMIT_DATA as set, 0: not */
static struct rlimit original;
static bool handler_set = false;
static struct sigaction old_action;
static pthread_t main_thread;
static volatile sig_atomic_t refused = 0;
static volatile sig_atomic_t wake_fd = -1;

static int64
kilobytes(const char *status, const char *name)
{
	const char *p = strstr(status, name);

	return p ? (int64) strtoll(p + strlen(name), NULL, 10) : 0;
}

/* What the system says of this process; all 0 if it does not. */
static void
measure_process(Measured *result)
{
	char		buf[4096];
	int			fd = open("/proc/self/status", O_RDONLY | PG_BINARY);
	ssize_t		n;

	memset(result, 0, sizeof(Measured));
	if (fd < 0)
		return;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return;
	buf[n] = '\0';
	result->private = kilobytes(buf, "RssAnon:") * 1024;
	result->virtual = kilobytes(buf, "VmData:") * 1024;
	result->threads = (int) kilobytes(buf, "Threads:");
}

static int64
limit_bytes(void)
{
	return ks_guc_worker_memory_limit * MEGABYTE;
}

/* --- the last bound --- */

static bool
set_data_limit(int64 bytes)
{
	struct rlimit limit = original;

	limit.rlim_cur = (rlim_t) bytes;
	if (original.rlim_cur != RLIM_INFINITY && limit.rlim_cur >= original.rlim_cur)
		limit.rlim_cur = original.rlim_cur;
	return setrlimit(RLIMIT_DATA, &limit) == 0;
}

static int64
stack_bytes(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return STACK_BYTES;
	return (int64) limit.rlim_cur;
}

/* Follows the setting, and the number of threads. */
static void
adapt_data_limit(void)
{
	int64		bytes = base_virtual + limit_bytes() + limit_bytes() / 4 + SLACK +
		(last_measured.threads + THREADS) * stack_bytes();

	if (guards == 0 || refused || last_measured.virtual == 0 || bytes == limited_to)
		return;
	if (set_data_limit(bytes))
		limited_to = bytes;
}

/* What the main thread needs, to leave. */
static void
lift_data_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
		return;
	limit.rlim_cur += SLACK;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	(void) setrlimit(RLIMIT_DATA, &limit);
}

/*
 * Stands still, unless the main thread does so, too.  (not reached by tests: that
 * it does)
 */
static void
stand_still(void)
{
	struct timespec tenth = {0, 100000000};
	uint32		calls = ks_memory_library_calls;
	int			stuck = 0;

	while (stuck < STUCK_LOOKS)
	{
		(void) nanosleep(&tenth, NULL);
		if ((calls & 1) != 0 && calls == ks_memory_library_calls)
			stuck++;
		else
			stuck = 0;
		calls = ks_memory_library_calls;
	}
}

/* A pipe that is full wakes as well. */
static void
wake_main_thread(void)
{
	ssize_t		written pg_attribute_unused();

	if (wake_fd >= 0)
		written = write(wake_fd, "", 1);
}

/* SIGABRT: see above. */
static void
handle_abort(int signo, siginfo_t *info, void *context)
{
	if (errno == ENOMEM && info->si_code == SI_TKILL && !pthread_equal(pthread_self(), main_thread))
	{
		refused = 1;
		lift_data_limit();
		wake_main_thread();
		stand_still();
	}
	/* the process ends by the signal, when that is let through again */
	(void) signal(SIGABRT, SIG_DFL);
	(void) raise(SIGABRT);
}

void
ks_memory_watch_thread(void)
{
	sigset_t	set;

	sigemptyset(&set);
	sigaddset(&set, SIGABRT);
	(void) pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void
begin_last_bound(void)
{
	struct sigaction action;

	main_thread = pthread_self();
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = handle_abort;
	action.sa_flags = SA_SIGINFO;
	sigemptyset(&action.sa_mask);
	handler_set = sigaction(SIGABRT, &action, &old_action) == 0;
	limited_to = 0;
	/* without the handler a limit would do harm */
	if (handler_set && getrlimit(RLIMIT_DATA, &original) == 0)
		adapt_data_limit();
}

static void
end_last_bound(void)
{
	if (limited_to != 0)
		(void) setrlimit(RLIMIT_DATA, &original);
	limited_to = 0;
	if (handler_set)
		(void) sigaction(SIGABRT, &old_action, NULL);
	handler_set = false;
}

/* --- the guard --- */

void
ks_memory_guard_begin(bool ours)
{
	if (guards++ > 0)
		return;
	measure_process(&last_measured);
	looked_at = GetCurrentTimestamp();
	base_private = ours ? 0 : last_measured.private;
	base_virtual = last_measured.virtual - (ours ? last_measured.private : 0);
	begin_last_bound();
}

void
ks_memory_guard_end(void)
{
	Assert(guards > 0);
	/* the threads of a handle that was left to itself are still there */
	if (--guards == 0 && !refused)
		end_last_bound();
}

int64
ks_memory_used(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now - looked_at >= LOOK_US || now < looked_at)
	{
		measure_process(&last_measured);
		looked_at = now;
		adapt_data_limit();
	}
	return last_measured.private - base_private;
}

bool
ks_memory_refused(void)
{
	return refused != 0;
}

bool
ks_memory_exceeded(void)
{
	return refused || ks_memory_used() > limit_bytes();
}

bool
ks_memory_is_tight(void)
{
	return refused || ks_memory_used() > limit_bytes() / 2;
}

bool
ks_memory_is_to_be_had(void)
{
	void	   *volatile p; /* or the compiler knows better */

	if (limited_to == 0)
		return false;
	(void) setrlimit(RLIMIT_DATA, &original);
	p = malloc((size_t) limit_bytes());
	free(p);
	(void) set_data_limit(limited_to);
	return p != NULL;
}

const char *
ks_memory_describe(void)
{
	static char words[200];
	int64		megabytes = Max(0, ks_memory_used()) / MEGABYTE;

	if (refused)
		snprintf(words, sizeof(words), "A batch of records asked for more than was left while it was unpacked; "
				 INT64_FORMAT " MB were in use, the limit is %d MB.", megabytes, ks_guc_worker_memory_limit);
	else
		snprintf(words, sizeof(words), "It used " INT64_FORMAT " MB, the limit is %d MB.",
				 megabytes, ks_guc_worker_memory_limit);
	return words;
}

void
ks_memory_check_session(void)
{
	if (ks_memory_exceeded())
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("reading from Kafka takes more memory than kafka_sink.worker_memory_limit"),
				 errdetail_internal("%s", ks_memory_describe()),
				 errhint("Read less at a time, lower batch_bytes of the sink or fetch_max_bytes of the server, or raise the limit.")));
}

void
ks_memory_wake_by(int fd)
{
	wake_fd = fd;
}

void
ks_memory_stop_waking_by(int fd)
{
	if (wake_fd == fd)
		wake_fd = -1;
}

/* --- answers --- */

int32
ks_memory_answer_bytes(int level)
{
	if (level <= 0)
		return 0;
	return level == 1 ? (int32) Max(1024, limit_bytes() / ANSWER_RATIO) : 1;
}
