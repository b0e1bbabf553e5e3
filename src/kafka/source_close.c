/*
 * source_close.c
 *	  The end of a handle of librdkafka.
 *
 * In a client's session the handle is destroyed with the memory context it was
 * opened in, or at the latest when the process exits: not before the messages
 * that are still out are given back, or librdkafka would wait for them.  A
 * worker never destroys its handle, which can hang; it leaves by _exit().
 *
 * To destroy a handle is to wait for its threads, and one of them may be in the
 * middle of unpacking a batch of records, for which there may be no memory.  So a
 * thread of its own does it, which runs librdkafka's code only and receives no
 * signals; the session waits for it, but no longer than until a thread is refused
 * memory (base/memory.c), or a while if the session is told to end: a thread may
 * be waiting for a name server.  Then the handle is left to itself, and with it the
 * session ends, as soon as it has told its client why.
 */
#include "postgres.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/memory.h"
#include "base/session.h"
#include "kafka/source_int.h"

#define LOOK_MS		1000		/* a byte in the pipe ends a wait sooner */
#define PATIENCE_US	(10 * USECS_PER_SEC)	/* with threads that do not end, of who is told to */

static dlist_head open_sources = DLIST_STATIC_INIT(open_sources);
static bool exit_registered = false;

/* What must outlive the source's memory context: a handle, being destroyed. */
typedef struct Ending
{
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	rd_kafka_queue_t *mainq;
	int			pipe;			/* its end to write to */
	int			ntopics;
	int			nstarted;
	rd_kafka_topic_t **topics;
	rd_kafka_topic_t **started; /* of a partition that is started ... */
	int32	   *parts;			/* ... and its number */
	pg_atomic_uint32 done;
} Ending;

static void
free_ending(Ending *e)
{
	free(e->topics);
	free(e->started);
	free(e->parts);
	free(e);
}

/* Not by palloc: it may be there when all contexts are gone.  NULL: no memory. */
static Ending *
make_ending(KsSource *src)
{
	Ending	   *e = calloc(1, sizeof(Ending));
	int			ntopics = 0;
	dlist_iter	iter;

	if (e == NULL)
		return NULL;
	dlist_foreach(iter, &src->topics)
		ntopics++;
	e->rk = src->rk;
	e->queue = src->queue;
	e->mainq = src->mainq;
	e->pipe = src->pipe[1];
	e->topics = calloc(Max(ntopics, 1), sizeof(rd_kafka_topic_t *));
	e->started = calloc(Max(src->nparts, 1), sizeof(rd_kafka_topic_t *));
	e->parts = calloc(Max(src->nparts, 1), sizeof(int32));
	if (e->topics == NULL || e->started == NULL || e->parts == NULL)
	{
		free_ending(e);
		return NULL;
	}
	pg_atomic_init_u32(&e->done, 0);
	dlist_foreach(iter, &src->topics)
		e->topics[e->ntopics++] = dlist_container(KsSourceTopic, node, iter.cur)->rkt;
	for (int i = 0; i < src->nparts; i++)
		if (src->parts[i] && src->parts[i]->started)
		{
			e->started[e->nstarted] = src->parts[i]->topic->rkt;
			e->parts[e->nstarted++] = src->parts[i]->part;
		}
	return e;
}

static void
stop_partitions(const Ending *e)
{
	for (int i = 0; i < e->nstarted; i++)
		(void) rd_kafka_consume_stop(e->started[i], e->parts[i]);
	rd_kafka_queue_io_event_enable(e->queue, -1, NULL, 0);
	rd_kafka_queue_io_event_enable(e->mainq, -1, NULL, 0);
}

static void
destroy_handle(const Ending *e)
{
	for (int i = 0; i < e->ntopics; i++)
		rd_kafka_topic_destroy(e->topics[i]);
	rd_kafka_queue_destroy(e->queue);
	rd_kafka_queue_destroy(e->mainq);
	rd_kafka_destroy_flags(e->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

/* The body of the thread. */
static void *
run_ending(void *arg)
{
	Ending	   *e = arg;

	ks_memory_watch_thread();
	stop_partitions(e);
	destroy_handle(e);
	pg_atomic_write_u32(&e->done, 1);
	/* a pipe that is full wakes as well */
	if (write(e->pipe, "", 1) < 0)
		return arg;
	return NULL;
}

static bool
start_ending(Ending *e, pthread_t *thread)
{
	sigset_t	all,
				before;
	int			err;

	sigfillset(&all);
	(void) pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(thread, NULL, run_ending, e);
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err == 0;
}

/* Until the handle is destroyed; false if it never will be. */
static bool
wait_for_ending(KsSource *src, Ending *e)
{
	TimestampTz told = 0;		/* since when the session is to end, or ends */

	while (pg_atomic_read_u32(&e->done) == 0)
	{
		struct pollfd fd = {.fd = src->pipe[0], .events = POLLIN};

		if (told == 0 && (ProcDiePending || proc_exit_inprogress))
			told = GetCurrentTimestamp();
		if (ks_memory_refused() ||
			(told != 0 && GetCurrentTimestamp() - told > PATIENCE_US))
			return false;
		(void) poll(&fd, 1, LOOK_MS);
		ks_source_clear_fd(src);
	}
	return true;
}

/*
 * The handle stays as it is, with its threads, and the pipe that they may write
 * to.  The session ends at the next check for interrupts, when the error at hand
 * has been told.
 */
static void
leave_to_itself(KsSource *src)
{
	src->pipe[0] = src->pipe[1] = -1;
	if (src->in_worker)
		return;
	/* those that stand still must not meet destructors */
	ks_session_end_without_destructors();
	if (proc_exit_inprogress || !ks_memory_refused())
		return;					/* it ends anyway */
	ereport(LOG,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("the session ends: librdkafka was refused memory and cannot go on"),
			 errdetail_internal("%s", ks_memory_describe())));
	InterruptPending = true;
	ProcDiePending = true;
}

/* By a thread, or without one if there is none to be had. */
static void
destroy(KsSource *src)
{
	Ending	   *e = ks_memory_refused() ? NULL : make_ending(src);
	pthread_t	thread;
	bool		ended = e != NULL;

	if (e && start_ending(e, &thread))
	{
		ended = wait_for_ending(src, e);
		if (ended)
			(void) pthread_join(thread, NULL);
		else
			(void) pthread_detach(thread);
	}
	else if (e)
		(void) run_ending(e);
	if (ended)
		free_ending(e);
	else
		leave_to_itself(src);
}

/*
 * Closes the source; what it gave out is invalid afterwards.  In a worker the
 * handle stays, without partitions, until the process ends.
 */
void
ks_source_close(KsSource *src)
{
	if (src->closed)
		return;
	src->closed = true;
	dlist_delete(&src->node);
	if (src->rk && ks_memory_refused())
		leave_to_itself(src);
	else if (src->rk && src->in_worker)
	{
		Ending	   *e = make_ending(src);

		if (e)
		{
			stop_partitions(e);
			free_ending(e);
		}
		else
			leave_to_itself(src);	/* or else it would write to what gets the pipe's number */
		ks_source_release_all(src);
	}
	else if (src->rk)
	{
		ks_source_release_all(src);
		destroy(src);
	}
	src->rk = NULL;
	ks_source_close_pipe(src);
	if (!src->in_worker)
		ks_memory_guard_end();
}

static void
close_on_reset(void *arg)
{
	KsSource   *src = arg;

	if (!src->in_worker || !proc_exit_inprogress)
		ks_source_close(src);
}

/* A session may end without its memory contexts being reset. */
static void
close_on_exit(int code, Datum arg)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &open_sources)
		close_on_reset(dlist_container(KsSource, node, iter.cur));
}

/* The source, which is being opened, is closed with its context at the latest. */
void
ks_source_close_later(KsSource *src)
{
	dlist_push_tail(&open_sources, &src->node);
	src->on_reset.func = close_on_reset;
	src->on_reset.arg = src;
	MemoryContextRegisterResetCallback(src->cxt, &src->on_reset);
	if (!exit_registered)
	{
		before_shmem_exit(close_on_exit, (Datum) 0);
		exit_registered = true;
	}
}
