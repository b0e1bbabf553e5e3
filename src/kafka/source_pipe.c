/*
 * source_pipe.c
 *	  The pipe that tells when there is something to poll.
 *
 * librdkafka's queues write into it, and so does a thread that is refused memory
 * (base/memory.c).
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "base/memory.h"
#include "kafka/source_int.h"

/* not reached by tests: a system that has no pipe, or no room for its ends */
void
ks_source_open_pipe(KsSource *src)
{
	for (int i = 0; i < 2; i++)
	{
		if (!AcquireExternalFD())
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not open a pipe for librdkafka: %m")));
		src->nfds++;
	}
	if (pipe(src->pipe) < 0)
	{
		src->pipe[0] = src->pipe[1] = -1;
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open a pipe for librdkafka: %m")));
	}
	for (int i = 0; i < 2; i++)
		if (fcntl(src->pipe[i], F_SETFL, O_NONBLOCK) < 0 ||
			fcntl(src->pipe[i], F_SETFD, FD_CLOEXEC) < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not set up a pipe for librdkafka: %m")));
	ks_memory_wake_by(src->pipe[1]);
}

void
ks_source_close_pipe(KsSource *src)
{
	ks_memory_stop_waking_by(src->pipe[1]);
	for (int i = 0; i < 2; i++)
		if (src->pipe[i] >= 0)
			close(src->pipe[i]);
	src->pipe[0] = src->pipe[1] = -1;
	for (; src->nfds > 0; src->nfds--)
		ReleaseExternalFD();
}

int
ks_source_fd(KsSource *src)
{
	return src->pipe[0];
}

void
ks_source_clear_fd(KsSource *src)
{
	char		buf[256];

	while (read(src->pipe[0], buf, sizeof(buf)) == sizeof(buf))
		;
}
