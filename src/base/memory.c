/*
 * memory.c
 *	  Private memory of this process, librdkafka's included.
 *
 * A failed malloc inside librdkafka aborts the process, and with it all sessions
 * of the server.  Limits on its queues do not bound what a compressed record
 * expands to, so whoever has a handle looks at the memory of the process from
 * time to time, and leaves, or raises an error, before it is too late.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "utils/timestamp.h"

#include "base/guc.h"
#include "base/memory.h"

#define CHECK_US		50000

static TimestampTz checked = 0;
static int64 session_base = 0;

int64
ks_memory_private(void)
{
	char		buf[4096];
	int			fd = open("/proc/self/status", O_RDONLY | PG_BINARY);
	ssize_t		n;
	char	   *p;

	if (fd < 0)
		return 0;
	n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	buf[n] = '\0';
	p = strstr(buf, "RssAnon:");
	return p ? (int64) strtoll(p + 8, NULL, 10) * 1024 : 0;
}

bool
ks_memory_due(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now - checked < CHECK_US && now >= checked)
		return false;
	checked = now;
	return true;
}

void
ks_memory_begin_session(void)
{
	session_base = ks_memory_private();
}

void
ks_memory_check_session(void)
{
	int64		bytes;

	if (!ks_memory_due())
		return;
	bytes = ks_memory_private() - session_base;
	if (bytes > (int64) ks_guc_worker_memory_limit * 1024 * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("reading from Kafka takes more memory than kafka_sink.worker_memory_limit"),
				 errdetail("This session has grown by " INT64_FORMAT " MB, the limit is %d MB.",
						   bytes / (1024 * 1024), ks_guc_worker_memory_limit),
				 errhint("Lower batch_bytes of the sink or fetch_max_bytes of the server, or raise the limit.")));
}
