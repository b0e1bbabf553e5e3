/*
 * worker.c
 *	  A background worker of a sink: wait, poll, apply, report.
 *
 * The session user is the sink's owner.  The sink's definition is fixed for
 * the life of the process, and is the one that the supervisor started it for,
 * so that all workers of a sink agree whose partition is whose: partition p of
 * every topic is of worker p mod workers.  A change of the sink makes the
 * supervisor stop all of them at their next batch boundary and start others; a
 * change of the server or the user mapping makes each leave by itself.
 *
 * A batch that fails for a reason that may pass is applied again after a
 * back-off, from memory (worker_batch.c); until then the loop goes on: librdkafka
 * is served, memory watched, figures published.  A wait for a lock ends with
 * lock_timeout for the same reason.  What will not pass by itself halts the
 * sink: the state is written in a transaction of its own, after the rollback,
 * and the process ends; the supervisor, who sees the state, stops the sink's
 * other workers.
 *
 * librdkafka's threads run in this process; they touch nothing of ours and
 * receive no signals.  The process leaves through _exit() once PostgreSQL's
 * own exit callbacks are done, so that no library destructor races with them.
 */
#include "postgres.h"

#include <malloc.h>
#include <unistd.h>

#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/interval.h"
#include "base/memory.h"
#include "base/session.h"
#include "process/consumer.h"
#include "process/lock_watch.h"
#include "process/transaction.h"
#include "process/worker.h"
#include "process/worker_int.h"
#include "write/dead_letters.h"

#define OPEN_LOCK_TIMEOUT	"2s"
#define MAX_WAIT_MS			5000
#define MEANWHILE_MS		100		/* of steps, between those of a request */
#define UNTOLD_MS			15000	/* between tries to write what could not be written */
#define EXPIRE_MAX_US		(60 * USECS_PER_SEC)

static volatile bool connection_changed = false;

static void
connection_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	connection_changed = true;
}

/* Ends the process to be started again at once. */
static void
respawn(void)
{
	ks_worker_store_partition_ends(false);
	ks_shmem_say_farewell(KS_FAREWELL_RESPAWN);
	proc_exit(0);
}

/* --- waiting --- */

/* Returns at a latch, readable source, or after timeout ms (-1: none). */
static void
wait_event(long timeout)
{
	WaitEvent	event;
	instr_time	start,
				end;

	INSTR_TIME_SET_CURRENT(start);
	if (WaitEventSetWait(ks_worker.events, timeout, &event, 1, PG_WAIT_EXTENSION) > 0 &&
		event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	pg_atomic_fetch_add_u64(&ks_worker.slot->counters.wait_us, INSTR_TIME_GET_MICROSEC(end));
	CHECK_FOR_INTERRUPTS();
}

static void
load_fingerprint(void *arg)
{
	*(uint64 *) arg = ks_options_fingerprint(ks_options_load(ks_worker.sink->server, ks_worker.sink->owner));
}

/* At boundaries: what others want, and whether it is still connected as it should be. */
static void
check_requests(void)
{
	ks_worker_check_stop();
	if (connection_changed)
	{
		uint64		fingerprint;

		connection_changed = false;
		ks_worker_transact(load_fingerprint, &fingerprint);
		if (fingerprint != ks_worker.conf_fingerprint)
			respawn();
	}
}

/* While a schema registry is asked. */
static void
serve_others(void)
{
	ks_worker_check_stop();
	if (ks_memory_exceeded())
		ks_worker_leave_for_memory(NULL);
}

/* See memory.c: a worker leaves in time, when what it has at hand is done. */
static void
check_memory(void)
{
	KsConsumer *c = ks_worker.consumer;
	int64		bytes = ks_memory_used();

	if (bytes > (int64) pg_atomic_read_u64(&ks_worker.slot->counters.rss_anon_peak))
		pg_atomic_write_u64(&ks_worker.slot->counters.rss_anon_peak, bytes);
	if (!ks_memory_exceeded())
		return;
	if (c->nrecs > 0 && c->attempts == 0)
		ks_worker_apply_batch(serve_others);
	ks_worker_leave_for_memory(NULL);
}

/* Deletes dead letters that are too old: one worker does, and not all the time. */
static void
expire_dead_letters(void)
{
	const Interval *keep = ks_worker.sink->dead_letter_retention;
	TimestampTz now = GetCurrentTimestamp();
	MemoryContext cxt = CurrentMemoryContext;
	int64		us;

	if (keep == NULL || ks_worker.slot->worker != 0)
		return;
	us = Max(USECS_PER_SEC, Min(ks_interval_us(keep) / 10, EXPIRE_MAX_US));
	if (now - ks_worker.expired < us && now >= ks_worker.expired)
		return;
	ks_worker.expired = now;
	PG_TRY();
	{
		ks_transaction_begin();
		ks_dead_letters_expire(ks_worker.sink);
		ks_transaction_commit();
	}
	PG_CATCH();
	{
		ErrorData  *edata = ks_transaction_catch(cxt);

		/* somebody holds them, or the like: the next time, then */
		if (!ks_error_passes(edata))
			ks_error_rethrow(edata);
		FreeErrorData(edata);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
}

/* --- the life of a worker --- */

/* 'kafka_sink orders', or 'kafka_sink orders 3' if there are several workers. */
static void
set_application_name(void)
{
	char		name[NAMEDATALEN];
	char		number[16] = "";
	int			len;

	if (ks_worker.sink->workers > 1)
		snprintf(number, sizeof(number), " %d", ks_worker.slot->worker);
	snprintf(name, sizeof(name), "kafka_sink %s", ks_worker.sink->name);
	/* a long name gives way to the number */
	len = pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1 - strlen(number));
	strlcpy(name + len, number, sizeof(name) - len);
	SetConfigOption("application_name", name, PGC_USERSET, PGC_S_SESSION);
}

static void
read_sink(void *cxt)
{
	MemoryContextSwitchTo(cxt);
	ks_worker.sink = ks_catalog_sink(ks_worker.slot->sink, true);
}

/* By the definition that it was read by. */
static void
create_consumer(void *cxt)
{
	KsConsumer *c;

	/* what an attempt before has left */
	MemoryContextReset(cxt);
	c = ks_consumer_create(ks_worker.sink, true, ks_transaction_begin, ks_transaction_commit, cxt);
	c->worker = ks_worker.slot->worker;
	c->workers = ks_worker.sink->workers;
	c->transact = ks_worker_transact;
	ks_worker.conf_fingerprint = ks_options_fingerprint(c->conf);
	ks_worker.consumer = c;
}

static void
apply_settings(void *arg)
{
	set_application_name();
	SetConfigOption("lock_timeout", psprintf("%d", ks_sink_lock_ms(ks_worker.sink)), PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("synchronous_commit", ks_worker.sink->synchronous_commit, PGC_SUSET, PGC_S_OVERRIDE);
}

static bool
open_consumer(int64 generation, MemoryContext cxt)
{
	const char *state;

	ks_worker.error_cxt = AllocSetContextCreate(cxt, "kafka_sink batch error", ALLOCSET_SMALL_SIZES);
	ks_worker_transact(read_sink, cxt);
	/* changed meanwhile: others may still run by the older definition */
	if (ks_worker.sink && ks_worker.sink->generation != generation)
		respawn();
	if (ks_worker.sink == NULL || !ks_worker.sink->enabled || ks_worker.sink->suspended ||
		ks_worker.sink->server == NULL || !ks_sink_writes(ks_worker.sink) ||
		ks_worker.sink->owner != GetUserId() || ks_worker.sink->halted)
		return false;
	ks_worker_transact(apply_settings, NULL);

	/* while it tries again, what went wrong is what people want to see */
	state = ks_sink_worker_state(ks_worker.sink, ks_worker.slot->worker);
	if (state && (strcmp(state, "backoff") == 0 || strcmp(state, "waiting") == 0))
		ks_worker.state = state;
	else
		ks_worker_write_state("starting", NULL);

	ks_worker_transact(create_consumer, AllocSetContextCreate(cxt, "kafka_sink consumer's", ALLOCSET_SMALL_SIZES));
	MemoryContextSwitchTo(cxt);
	ks_worker_begin_memory_level();
	ks_consumer_open(ks_worker.consumer);
	MemoryContextSwitchTo(cxt);
	return true;
}

/*
 * Is there something that could not be told, and may be by now?  What keeps a batch from
 * being applied is told with each attempt.
 */
static bool
is_untold(void)
{
	TimestampTz now = GetCurrentTimestamp();

	return strcmp(ks_worker.state, "unknown") == 0 && ks_worker.consumer->attempts == 0 &&
		(now < ks_worker.untold_at || TimestampDifferenceExceeds(ks_worker.untold_at, now, UNTOLD_MS));
}

/* Tells the consumer's errors to the world, and the end of them. */
static void
report_consumer(void)
{
	KsConsumer *c = ks_worker.consumer;
	bool		again = c->reported;

	/* one that is final is told when the batch before it is committed */
	if (c->halt || (again && !is_untold()))
		return;
	c->reported = true;
	if (c->error.message)
	{
		ereport(again ? DEBUG1 : LOG,
				(errcode(c->error.sqlstate),
				 errmsg("sink \"%s\": %s", ks_worker.sink->name, c->error.message)));
		ks_worker_write_state(c->error.waits_for ? "waiting" : "backoff", &c->error);
	}
	else if (strcmp(ks_worker.state, "running") != 0)
		ks_worker_write_state("running", NULL);
}

/* The next step; false: there is nothing to do but to wait, for at most *timeout ms (-1: no matter). */
static bool
take_step(KsConsumer *c, long *timeout)
{
	KsStep		step = ks_consumer_step(c, timeout);

	if (c->nrecs > 0 && pg_atomic_read_u64(&ks_worker.slot->counters.first_record) == 0)
		pg_atomic_write_u64(&ks_worker.slot->counters.first_record, (uint64) c->batch_since);
	switch (step)
	{
		case KS_STEP_APPLY:
			ks_worker_apply_batch(serve_others);
			report_consumer();
			/* not only when nothing is left to do, which may never be */
			if ((c->stale && c->batch_since == 0) || ks_worker_lower_memory_level())
				respawn();
			return true;
		case KS_STEP_HALT:
			if (c->ndeleted_topics > 0)
				ks_worker_halt(c->deleted_topics, c->ndeleted_topics);
			ks_worker_halt(&c->error, 1);
			break;
		case KS_STEP_WAIT:
			report_consumer();
			/* a batch that is to be tried again can be read again as well */
			if ((c->stale && (c->batch_since == 0 || c->retry_at != 0)) || ks_worker_lower_memory_level())
				respawn();
			break;
	}
	return false;
}

/* A schema registry takes long: steps between those of the request, which are short. */
static void
work_meanwhile(void)
{
	TimestampTz start = GetCurrentTimestamp();
	long		timeout;

	check_requests();
	while (take_step(ks_worker.consumer, &timeout) &&
		   !TimestampDifferenceExceeds(start, GetCurrentTimestamp(), MEANWHILE_MS))
		serve_others();
}

static void
main_loop(void)
{
	KsConsumer *c = ks_worker.consumer;

	c->work = work_meanwhile;
	ks_shmem_worker_runs();
	if (c->error.message == NULL)
	{
		ks_worker_write_state("running", NULL);
		c->reported = true;
	}
	for (;;)
	{
		long		timeout;

		check_requests();
		check_memory();
		expire_dead_letters();
		if (take_step(c, &timeout))
			continue;
		ks_worker_leave_if_idle(&timeout);
		/* nothing else may wake it, and a connection be changed */
		wait_event(timeout < 0 ? MAX_WAIT_MS : Min(timeout, MAX_WAIT_MS));
	}
}

/* Has a question to the brokers ended in what passes, such as a right that is missing? */
static bool
kafka_denies(void)
{
	const KsConsumer *c = ks_worker.consumer;

	return c != NULL && c->source != NULL && ks_source_may_pass(c->source);
}

static void
look_for_server(void *arg)
{
	*(bool *) arg = OidIsValid(get_foreign_server_oid(ks_worker.sink->server, true));
}

/* What does not exist: one of its topics, its server, or NULL: something else. */
static const char *
what_is_undefined(void)
{
	const KsConsumer *c = ks_worker.consumer;
	bool		exists = true;

	(void) ks_transaction_try(look_for_server, &exists);
	if (!exists)
		return "server";
	return (c != NULL && c->missing != NIL) || kafka_denies() ? "topic" : NULL;
}

/*
 * Batches and answers to fetches come and go by the megabyte.  By default the C
 * library gives such memory back to the kernel each time, and takes it again
 * page by page.
 */
static void
keep_memory(void)
{
#ifdef M_MMAP_THRESHOLD
	(void) mallopt(M_MMAP_THRESHOLD, 32 * 1024 * 1024);
	(void) mallopt(M_TRIM_THRESHOLD, 64 * 1024 * 1024);
#endif
}

void
ks_worker_main(Datum arg)
{
	KsWorkerArgs args;
	MemoryContext cxt;
	ErrorData  *volatile edata = NULL;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	keep_memory();
	ks_session_end_by_exit();
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	ks_worker.slot = ks_shmem_attach_worker(DatumGetInt32(arg), args.slot_generation);
	ks_shmem_hear_last_words();
	BackgroundWorkerInitializeConnectionByOid(args.dbid, args.owner, KS_BYPASS_ROLELOGINCHECK);
	ks_worker.progress = ks_shmem_progress_cv(ks_worker.slot->sink);
	ks_session_fix();
	/* until the sink's is known */
	SetConfigOption("lock_timeout", OPEN_LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, connection_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, connection_callback, (Datum) 0);

	cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);

	PG_TRY();
	{
		if (!open_consumer(args.generation, cxt))
			proc_exit(0);
		ks_worker.events = ks_session_wait_events(3);
		AddWaitEventToSet(ks_worker.events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(ks_worker.events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		AddWaitEventToSet(ks_worker.events, WL_SOCKET_READABLE, ks_source_fd(ks_worker.consumer->source), NULL, NULL);
		main_loop();
	}
	PG_CATCH();
	{
		edata = ks_transaction_catch(cxt);
	}
	PG_END_TRY();
	ks_lock_watch_end();

	/* an error outside of a batch: the supervisor starts the worker again */
	if (ks_worker.sink)
	{
		KsStateError error;

		if (ks_memory_refused() && ks_worker.consumer)
			ks_worker_leave_for_memory(NULL);
		ks_worker_state_error(edata, &error);
		if (edata->sqlerrcode == ERRCODE_UNDEFINED_OBJECT)
			error.waits_for = what_is_undefined();
		if (edata->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE && ks_worker.error_cxt)
			ks_worker_describe_lock(edata, &error);
		/*
		 * Access that Kafka denies is given sooner or later, properties that do
		 * not fit together are mended by whoever rotates a key.
		 */
		if (ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_TO_CATEGORY(ERRCODE_FDW_ERROR) ||
			(edata->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE && kafka_denies()))
			error.waits_for = "broker";
		else if (!ks_error_passes(edata) && edata->sqlerrcode != ERRCODE_UNDEFINED_OBJECT &&
				 edata->sqlerrcode != ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION)
			ks_worker_halt(&error, 1);
		ks_worker_write_state(error.waits_for ? "waiting" : "backoff", &error);
	}
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("worker of sink \"%s\" ends: %s", ks_worker.slot->sink, edata->message),
			 edata->detail ? errdetail_internal("%s", edata->detail) : 0,
			 edata->hint ? errhint("%s", edata->hint) : 0));
	proc_exit(1);
}
