/*
 * full.c
 *	  A disk that is full, for a server that has this library in LD_PRELOAD.
 *
 * While the file exists whose path is in KAFKA_SINK_DISK_FULL, no file of a
 * directory "base" grows, nor one into which logical decoding writes a
 * transaction: writes beyond its end fail with ENOSPC, or get as far
 * as a part of the block, in turns.  Real file systems do both.  The log of the
 * server's changes is elsewhere and goes on: without room for it, it is the
 * server that stops.
 *
 * It takes no rights and no file system to make, so it works wherever the tests
 * do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* Is the disk full for a file that is to have 'end' bytes at least? */
static bool
is_full(int fd, off_t end)
{
	const char *flag = getenv("KAFKA_SINK_DISK_FULL");
	char		proc[32];
	char		path[PATH_MAX];
	struct stat st;
	ssize_t		len;

	if (flag == NULL || access(flag, F_OK) != 0)
		return false;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end <= st.st_size)
		return false;
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
	len = readlink(proc, path, sizeof(path) - 1);
	if (len < 0)
		return false;
	path[len] = '\0';
	return strstr(path, "/base/") != NULL || strstr(path, "/xid-") != NULL;
}

/* How much is written of what does not fit; 0: nothing, and that is an error. */
static size_t
part_of(size_t len)
{
	static unsigned turn;

	return turn++ % 2 ? len / 3 : 0;
}

typedef ssize_t (*PWrite) (int, const void *, size_t, off_t);
typedef ssize_t (*PWriteV) (int, const struct iovec *, int, off_t);
typedef ssize_t (*Write) (int, const void *, size_t);

static ssize_t
pwrite_as(PWrite real, int fd, const void *buf, size_t len, off_t off)
{
	size_t		part;

	if (!is_full(fd, off + len))
		return real(fd, buf, len, off);
	part = part_of(len);
	if (part > 0)
		return real(fd, buf, part, off);
	errno = ENOSPC;
	return -1;
}

static ssize_t
pwritev_as(PWriteV real, int fd, const struct iovec *iov, int n, off_t off)
{
	size_t		len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (!is_full(fd, off + len))
		return real(fd, iov, n, off);
	errno = ENOSPC;
	return -1;
}

#define REAL(type, name) ((type) dlsym(RTLD_NEXT, name))

ssize_t
write(int fd, const void *buf, size_t len)
{
	static Write real;
	off_t		off;

	if (!real)
		real = REAL(Write, "write");
	off = lseek(fd, 0, SEEK_CUR);
	if (off < 0 || !is_full(fd, off + len))
		return real(fd, buf, len);
	errno = ENOSPC;
	return -1;
}

ssize_t
pwrite(int fd, const void *buf, size_t len, off_t off)
{
	static PWrite real;

	if (!real)
		real = REAL(PWrite, "pwrite");
	return pwrite_as(real, fd, buf, len, off);
}

ssize_t
pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
	static PWrite real;

	if (!real)
		real = REAL(PWrite, "pwrite64");
	return pwrite_as(real, fd, buf, len, off);
}

ssize_t
pwritev(int fd, const struct iovec *iov, int n, off_t off)
{
	static PWriteV real;

	if (!real)
		real = REAL(PWriteV, "pwritev");
	return pwritev_as(real, fd, iov, n, off);
}

ssize_t
pwritev64(int fd, const struct iovec *iov, int n, off64_t off)
{
	static PWriteV real;

	if (!real)
		real = REAL(PWriteV, "pwritev64");
	return pwritev_as(real, fd, iov, n, off);
}

typedef int (*Allocate) (int, off_t, off_t);

int
posix_fallocate(int fd, off_t off, off_t len)
{
	static Allocate real;

	if (!real)
		real = REAL(Allocate, "posix_fallocate");
	return is_full(fd, off + len) ? ENOSPC : real(fd, off, len);
}

int
posix_fallocate64(int fd, off64_t off, off64_t len)
{
	static Allocate real;

	if (!real)
		real = REAL(Allocate, "posix_fallocate64");
	return is_full(fd, off + len) ? ENOSPC : real(fd, off, len);
}
