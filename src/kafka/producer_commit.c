/*
 * producer_commit.c
 *	  A commit, for which a thread of its own waits.
 *
 * librdkafka wants to be called again when rd_kafka_commit_transaction() has timed out.
 * But if it was its own thread that was late, it forgets which call that was, and takes an
 * answer of the broker that comes between two calls for the end of an abort, which ends
 * the process by an assertion (rd_kafka_txn_endtxn_complete(), 2.0 to 2.14 at least).  So
 * there is one call for a commit, without a time-out, and who waits for it goes on serving
 * meanwhile.
 *
 * The thread stays for the next commit.  It calls nothing of the server's, and takes no
 * signals.
 */
#include "postgres.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "base/memory.h"
#include "kafka/producer_int.h"

struct KsCommitter
{
	pthread_mutex_t lock;
	pthread_cond_t changed;
	rd_kafka_t *rk;
	bool		asked;			/* a commit is to be made, or is being made, */
	bool		done;			/* or has come to an end that nobody has taken yet, */
	rd_kafka_error_t *error;	/* which is this */
};

/* The body of the thread. */
static void *
run_commits(void *arg)
{
	KsCommitter *c = arg;

	ks_memory_watch_thread();
	(void) pthread_mutex_lock(&c->lock);
	for (;;)
	{
		rd_kafka_error_t *error;

		while (!c->asked || c->done)
			(void) pthread_cond_wait(&c->changed, &c->lock);
		(void) pthread_mutex_unlock(&c->lock);
		error = rd_kafka_commit_transaction(c->rk, -1);
		(void) pthread_mutex_lock(&c->lock);
		c->error = error;
		c->done = true;
		(void) pthread_cond_signal(&c->changed);
	}
	return NULL;
}

static int
start_thread(KsCommitter *c)
{
	sigset_t	all,
				before;
	pthread_t	thread;
	int			err;

	sigfillset(&all);
	err = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (err != 0)
		return err;
	err = pthread_create(&thread, NULL, run_commits, c);
	(void) pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err == 0)
		(void) pthread_detach(thread);
	return err;
}

KsCommitter *
ks_committer_start(rd_kafka_t *rk)
{
	KsCommitter *c = palloc0(sizeof(KsCommitter));
	pthread_condattr_t attr;
	int			err;

	c->rk = rk;
	(void) pthread_mutex_init(&c->lock, NULL);
	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(&c->changed, &attr);
	(void) pthread_condattr_destroy(&attr);
	err = start_thread(c);
	/* (not reached by tests: the system has room for a thread) */
	if (err != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not create a thread: %s", strerror(err))));
	return c;
}

bool
ks_committer_is_busy(KsCommitter *c)
{
	bool		busy;

	(void) pthread_mutex_lock(&c->lock);
	busy = c->asked;
	(void) pthread_mutex_unlock(&c->lock);
	return busy;
}

static struct timespec
time_in(int ms)
{
	struct timespec t;

	(void) clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L)
	{
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

bool
ks_committer_commit(KsCommitter *c, int timeout_ms, rd_kafka_error_t **error)
{
	struct timespec until = time_in(timeout_ms);
	bool		done;

	(void) pthread_mutex_lock(&c->lock);
	if (!c->asked)
	{
		c->asked = true;
		(void) pthread_cond_signal(&c->changed);
	}
	while (!c->done && pthread_cond_timedwait(&c->changed, &c->lock, &until) == 0)
		;
	done = c->done;
	if (done)
	{
		*error = c->error;
		c->error = NULL;
		c->asked = c->done = false;
	}
	(void) pthread_mutex_unlock(&c->lock);
	return done;
}
