/*
 * proxy.c
 *	  A TCP proxy for one port, which does to connections what networks do.
 *
 *	proxy LISTEN_PORT TARGET_PORT
 *
 * Both on 127.0.0.1.  Commands come on stdin, one a line, each answered by one
 * line; the end of stdin ends the proxy:
 *
 *	pass				no fault from now on; what was held back goes on
 *	cut					all connections are reset, now
 *	cut-after N			each connection is reset when at most N more bytes have
 *						gone to its client, and so is each new one
 *	delay MS			what the target says comes that much later
 *	throttle BYTES		what the target says comes so slowly, each connection,
 *						in a second
 *	stall				nothing is passed, either way; connections stay
 *	refuse				new connections are reset at once
 *	seed N				of the numbers of bytes in cut-after
 *	count				CONNECTIONS BYTES ENDS: connections that were asked for,
 *						bytes that went to clients, connections that ended
 *
 * cut-after, delay, throttle, stall and refuse add up until pass.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS	512
#define CHUNK			65536

/* What one end said and the other has not got yet. */
typedef struct
{
	char		bytes[CHUNK];
	int			from;
	int			len;			/* 0: room for more */
	int64_t		due;			/* not to be passed on before */
	bool		ended;			/* the end will say no more */
} Stream;

typedef struct
{
	int			client;
	int			target;
	bool		connecting;
	int64_t		left;			/* bytes to the client before a reset, -1: no limit */
	Stream		up;				/* client to target */
	Stream		down;
	int			client_slot;	/* in the set that is waited for, -1: none */
	int			target_slot;
} Connection;

static Connection *connections[MAX_CONNECTIONS];
static int	nconnections;
static int	target_port;

static int64_t cut_after = -1;
static int64_t delay_us;
static int64_t throttle;		/* bytes/s, 0: none */
static bool stalled;
static bool refusing;
static uint64_t seed = 1;

static int64_t n_asked;
static int64_t n_bytes;
static int64_t n_ended;

static void __attribute__((noreturn))
die(const char *what)
{
	fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t) ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* splitmix64 */
static uint64_t
next_random(void)
{
	uint64_t	x = (seed += 0x9e3779b97f4a7c15ULL);

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

static struct sockaddr_in
local(int port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(port)};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return addr;
}

/* Closes a socket so that its peer gets a reset. */
static void
reset_socket(int fd)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static void
draw_limit(Connection *c)
{
	c->left = cut_after < 0 ? -1 : (int64_t) (next_random() % (cut_after + 1));
}

/* Ends a connection; the last one takes its place. */
static void
cut(int i)
{
	reset_socket(connections[i]->client);
	reset_socket(connections[i]->target);
	free(connections[i]);
	connections[i] = connections[--nconnections];
	n_ended++;
}

static void
accept_client(int listener)
{
	struct sockaddr_in addr = local(target_port);
	int			on = 1;
	int			client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
	Connection *c;

	if (client < 0)
		return;
	n_asked++;
	if (refusing || nconnections == MAX_CONNECTIONS)
	{
		reset_socket(client);
		n_ended++;
		return;
	}
	c = calloc(1, sizeof(Connection));
	if (!c)
		die("calloc");
	c->client = client;
	c->target = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->target < 0)
		die("socket");
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(c->target, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->connecting = true;
	draw_limit(c);
	connections[nconnections++] = c;
	if (connect(c->target, (struct sockaddr *) &addr, sizeof(addr)) < 0 && errno != EINPROGRESS)
		cut(nconnections - 1);
}

/* Reads what there is; false if the connection is broken. */
static bool
take(int fd, Stream *s, bool down)
{
	/* when it is to be slow, little by little */
	int			room = down && throttle > 0 && throttle / 10 < CHUNK ? throttle / 10 + 1 : CHUNK;
	ssize_t		n = read(fd, s->bytes, room);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		s->ended = true;
	s->from = 0;
	s->len = n;
	s->due = 0;
	if (down && (delay_us > 0 || throttle > 0))
		s->due = now_us() + delay_us + (throttle > 0 ? n * 1000000 / throttle : 0);
	return true;
}

/* Writes what can be written; false if the connection is broken. */
static bool
give(int fd, Stream *s, int64_t *left)
{
	int			len = s->len;
	ssize_t		n;

	if (left && *left >= 0 && *left < len)
		len = *left;
	n = len > 0 ? send(fd, s->bytes + s->from, len, MSG_NOSIGNAL) : 0;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	s->from += n;
	s->len -= n;
	if (left)
	{
		n_bytes += n;
		if (*left >= 0 && (*left -= n) == 0)
			return false;
	}
	return true;
}

/*
 * Which events a connection waits for.  Returns when it has something to do by
 * itself, -1 for never.
 */
static int64_t
wanted(const Connection *c, short *client, short *target)
{
	int64_t		now = now_us();
	int64_t		due = -1;

	*client = *target = 0;
	if (c->connecting)
	{
		*target = POLLOUT;
		return -1;
	}
	if (stalled)
		return -1;
	if (c->up.len > 0)
		*target |= POLLOUT;
	else if (!c->up.ended)
		*client |= POLLIN;
	if (c->down.len == 0)
	{
		if (!c->down.ended)
			*target |= POLLIN;
	}
	else if (c->down.due <= now)
		*client |= POLLOUT;
	else
		due = c->down.due;
	return due;
}

/* Does what can be done; false if the connection is over. */
static bool
serve(Connection *c, short client, short target)
{
	int			err = 0;
	socklen_t	size = sizeof(err);

	if (c->connecting)
	{
		if (!target)
			return true;
		if (getsockopt(c->target, SOL_SOCKET, SO_ERROR, &err, &size) < 0 || err)
			return false;
		c->connecting = false;
		return true;
	}
	if (stalled)
		return true;
	if ((client & (POLLIN | POLLHUP | POLLERR)) && c->up.len == 0 && !c->up.ended &&
		!take(c->client, &c->up, false))
		return false;
	if ((target & (POLLIN | POLLHUP | POLLERR)) && c->down.len == 0 && !c->down.ended &&
		!take(c->target, &c->down, true))
		return false;
	if (c->up.len > 0 && !give(c->target, &c->up, NULL))
		return false;
	if (c->down.len > 0 && c->down.due <= now_us() && !give(c->client, &c->down, &c->left))
		return false;
	/* Kafka's connections have no halves */
	return !(c->up.ended && c->up.len == 0) && !(c->down.ended && c->down.len == 0);
}

static void
command(char *line)
{
	char	   *rest;
	char	   *word = strtok_r(line, " \n", &rest);
	char	   *arg = strtok_r(NULL, " \n", &rest);
	int64_t		n = arg ? strtoll(arg, NULL, 10) : -1;
	bool		known = true;

	if (!word)
		known = false;
	else if (strcmp(word, "pass") == 0)
	{
		cut_after = -1;
		delay_us = throttle = 0;
		stalled = refusing = false;
		for (int i = 0; i < nconnections; i++)
		{
			connections[i]->left = -1;
			connections[i]->down.due = 0;
		}
	}
	else if (strcmp(word, "cut") == 0)
		while (nconnections > 0)
			cut(nconnections - 1);
	else if (strcmp(word, "cut-after") == 0 && n > 0)
	{
		cut_after = n;
		for (int i = 0; i < nconnections; i++)
			draw_limit(connections[i]);
	}
	else if (strcmp(word, "delay") == 0 && n >= 0)
		delay_us = n * 1000;
	else if (strcmp(word, "throttle") == 0 && n > 0)
		throttle = n;
	else if (strcmp(word, "stall") == 0)
		stalled = true;
	else if (strcmp(word, "refuse") == 0)
		refusing = true;
	else if (strcmp(word, "seed") == 0 && n >= 0)
		seed = n;
	else if (strcmp(word, "count") == 0)
	{
		printf("%" PRId64 " %" PRId64 " %" PRId64 "\n", n_asked, n_bytes, n_ended);
		fflush(stdout);
		return;
	}
	else
		known = false;
	puts(known ? "OK" : "E unknown command");
	fflush(stdout);
}

/* Takes commands from stdin; false at its end. */
static bool
take_commands(void)
{
	static char lines[1024];
	static int	len;
	ssize_t		n = read(STDIN_FILENO, lines + len, sizeof(lines) - 1 - len);
	char	   *end;

	if (n <= 0)
		return n < 0 && errno == EINTR;
	len += n;
	lines[len] = '\0';
	while ((end = strchr(lines, '\n')) != NULL)
	{
		*end = '\0';
		len -= end + 1 - lines;
		command(lines);
		memmove(lines, end + 1, len + 1);
	}
	return len < (int) sizeof(lines) - 1;
}

int
main(int argc, char **argv)
{
	static struct pollfd set[2 + 2 * MAX_CONNECTIONS];
	struct sockaddr_in addr;
	int			on = 1;
	int			listener;

	if (argc != 3 || atoi(argv[1]) <= 0 || atoi(argv[2]) <= 0)
	{
		fputs("usage: proxy LISTEN_PORT TARGET_PORT\n", stderr);
		return 2;
	}
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	target_port = atoi(argv[2]);
	addr = local(atoi(argv[1]));
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (listener < 0 || bind(listener, (struct sockaddr *) &addr, sizeof(addr)) < 0 ||
		listen(listener, 128) < 0)
		die("cannot listen");
	signal(SIGPIPE, SIG_IGN);

	for (;;)
	{
		int			n = 2;
		int64_t		due = -1;
		int			wait_ms = -1;

		set[0] = (struct pollfd) {.fd = STDIN_FILENO, .events = POLLIN};
		set[1] = (struct pollfd) {.fd = listener, .events = POLLIN};
		for (int i = 0; i < nconnections; i++)
		{
			Connection *c = connections[i];
			short		client,
						target;
			int64_t		at = wanted(c, &client, &target);

			if (at >= 0 && (due < 0 || at < due))
				due = at;
			c->client_slot = c->target_slot = -1;
			if (client)
				set[c->client_slot = n++] = (struct pollfd) {.fd = c->client, .events = client};
			if (target)
				set[c->target_slot = n++] = (struct pollfd) {.fd = c->target, .events = target};
		}
		if (due >= 0)
		{
			int64_t		us = due - now_us();

			wait_ms = us > 0 ? us / 1000 + 1 : 0;
		}
		if (poll(set, n, wait_ms) < 0)
		{
			if (errno != EINTR)
				die("poll");
			continue;
		}

		/* from the end, since one that ends is replaced by the last */
		for (int i = nconnections - 1; i >= 0; i--)
		{
			Connection *c = connections[i];

			if (!serve(c, c->client_slot < 0 ? 0 : set[c->client_slot].revents,
					   c->target_slot < 0 ? 0 : set[c->target_slot].revents))
				cut(i);
		}
		if (set[1].revents)
			accept_client(listener);
		if (set[0].revents && !take_commands())
			return 0;
	}
}
