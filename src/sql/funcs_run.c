/*
 * funcs_run.c
 *	  CALL run(): consume in the caller's session.
 *
 * It commits between steps and waits without snapshot or transaction id, so
 * it needs to be called outside a transaction block.  What a transaction was
 * allowed the next one need not be (SET LOCAL ROLE has ended with it): each
 * asks anew whether it may run the owner's code, and how (owner.h).  Memory hangs on the
 * portal's context: an error closes the source with it.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/memory.h"
#include "catalog/offsets.h"
#include "catalog/owner.h"
#include "catalog/schemas.h"
#include "process/consumer.h"
#include "process/lock_watch.h"
#include "process/transaction.h"
#include "sql/funcs.h"

#define PROGRESS_MS			1000

PG_FUNCTION_INFO_V1(kafka_sink_run);

/* The call that is under way; there is one at a time: nothing in it may commit. */
static const KsSink *run_sink;
static KsOwnerUser run_user;

static void
begin(void)
{
	PushActiveSnapshot(GetTransactionSnapshot());
	ks_owner_enter(run_sink, &run_user);
}

static void
commit(void)
{
	ks_owner_leave(&run_user);
	PopActiveSnapshot();
	SPI_commit();
}

/* Bounds given by the caller, or the last stable offsets as of now. */
static void
set_bounds(KsConsumer *c, Jsonb *until)
{
	if (until)
	{
		int			n;
		KsPartition *bounds = ks_offsets_parse(until, &n);

		for (int i = 0; i < c->nparts; i++)
			c->states[i].bound = c->parts[i].off;	/* not named: nothing */
		for (int j = 0; j < n; j++)
		{
			bool		found = false;

			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < c->nparts; i++)
				if (c->parts[i].part == bounds[j].part &&
					strcmp(c->parts[i].topic, bounds[j].topic) == 0)
				{
					c->states[i].bound = bounds[j].off;
					found = true;
				}
			if (!found)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("sink \"%s\" does not consume topic \"%s\" partition %d",
								c->sink->name, bounds[j].topic, bounds[j].part)));
		}
	}
	else
	{
		KsOffsetQuery *q = palloc0(Max(c->nparts, 1) * sizeof(KsOffsetQuery));

		for (int i = 0; i < c->nparts; i++)
		{
			q[i].topic = c->parts[i].topic;
			q[i].part = c->parts[i].part;
			q[i].ts = KS_OFFSET_LATEST;
		}
		ks_source_query_offsets(c->source, q, c->nparts, c->timeout_ms);
		for (int i = 0; i < c->nparts; i++)
			c->states[i].bound = q[i].off;
	}
}

static int64
remaining_records(KsConsumer *c)
{
	int64		remaining = 0;

	for (int i = 0; i < c->nparts; i++)
		remaining += Max(0, c->states[i].bound - c->parts[i].off);
	return remaining;
}

static void
raise_consumer_error(KsConsumer *c, bool halt)
{
	KsStateError *e = &c->error;

	if (halt)
		ereport(ERROR,
				(errcode(e->sqlstate),
				 errmsg("sink \"%s\": %s", c->sink->name, e->message),
				 e->detail ? errdetail_internal("%s", e->detail) : 0,
				 e->hint ? errhint("%s", e->hint) : 0,
				 e->topic ? errcontext("topic \"%s\", partition %d, offset " INT64_FORMAT,
									   e->topic, e->part, e->off) : 0));
	if (e->message && !c->halt && !c->reported)
		ereport(WARNING,
				(errcode(e->sqlstate),
				 errmsg("sink \"%s\": %s", c->sink->name, e->message),
				 e->hint ? errhint("%s", e->hint) : 0));
	c->reported = true;
}

static void
raise_record_error(KsConsumer *c, const KsRecordError *err)
{
	KsStateError e;

	ks_consumer_describe(c, err, &e);
	ereport(ERROR,
			(errcode(e.sqlstate),
			 errmsg("%s", e.message),
			 e.detail ? errdetail_internal("%s", e.detail) : 0,
			 c->apply->done < err->index ?
			 errhint("Mend the cause.  Records before it need what is behind it, so it cannot be passed over; what is before those is committed.") :
			 err->exceeded ?
			 errhint("Everything before the record is committed.  CALL kafka_sink.run(%s) again goes on with it and counts anew.",
					 quote_literal_cstr(c->sink->name)) :
			 errhint("Everything before the record is committed.  Mend the cause, or pass over it with kafka_sink.skip(%s, %s, %d, " INT64_FORMAT ").",
					 quote_literal_cstr(c->sink->name), quote_literal_cstr(e.topic), e.part, e.off),
			 errcontext("sink \"%s\", topic \"%s\", partition %d, offset " INT64_FORMAT "%s",
						c->sink->name, e.topic, e.part, e.off,
						e.column ? psprintf(", column \"%s\"", e.column) : "")));
}

KS_NORETURN static void
refuse_changed(const KsSink *sink)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("sink \"%s\" was changed by another session", sink->name),
			 errhint("CALL kafka_sink.run(%s) again.", quote_literal_cstr(sink->name))));
}

/* --- locks --- */

/* A lock that the batch at hand waits for; of one attempt after the other. */
typedef struct LockWait
{
	int			session_ms;		/* the session's lock_timeout, 0: none */
	TimestampTz deadline;		/* of the call, 0: none */
	TimestampTz since;			/* 0: it waits for none */
	char	   *detail;			/* what for, in the consumer's context */
} LockWait;

static LockWait lock_wait;

/* How long an attempt may wait for it: as a worker's would, within what the caller wants. */
static int
attempt_lock_ms(const KsSink *sink)
{
	TimestampTz now = GetCurrentTimestamp();
	int64		ms[] = {ks_sink_lock_ms(sink), lock_wait.session_ms, 0};
	int64		least = 0;

	/* the session's is for the whole wait */
	if (lock_wait.session_ms > 0 && lock_wait.since != 0)
		ms[1] = Max(1, lock_wait.session_ms - (now - lock_wait.since) / 1000);
	if (lock_wait.deadline != 0)
		ms[2] = Max(1, (lock_wait.deadline - now) / 1000);
	for (int i = 0; i < (int) lengthof(ms); i++)
		if (ms[i] > 0 && (least == 0 || ms[i] < least))
			least = ms[i];
	return (int) Min(least, PG_INT32_MAX);
}

/*
 * An attempt has not got its lock: true if there is to be another.  What is waited for
 * is told once.
 */
static bool
note_lock_wait(KsConsumer *c, ErrorData *edata)
{
	KsStateError error = {.message = edata->message};
	bool		first = lock_wait.since == 0;
	char	   *detail;

	ks_lock_watch_describe(edata, &error);
	detail = psprintf("It %s.%s%s", error.message, error.detail ? "  " : "", error.detail ? error.detail : "");
	if (first)
		lock_wait.since = error.since;
	if (lock_wait.session_ms > 0 &&
		TimestampDifferenceExceeds(lock_wait.since, GetCurrentTimestamp(), lock_wait.session_ms - 1))
	{
		edata->detail = detail;
		return false;
	}
	if (lock_wait.detail)
		pfree(lock_wait.detail);
	lock_wait.detail = MemoryContextStrdup(c->cxt, detail);
	if (first)
		ereport(WARNING,
				(errcode(edata->sqlerrcode),
				 errmsg("sink \"%s\": %s", c->sink->name, error.message),
				 error.detail ? errdetail_internal("%s", error.detail) : 0,
				 errhint("%s", error.hint)));
	return true;
}

/* --- the batch --- */

/* While a schema registry is asked. */
static void
check_end(void)
{
	CHECK_FOR_INTERRUPTS();
	ks_call_check_deadline(lock_wait.deadline, run_sink->name, "A schema of its records is asked for, and its registry has not answered yet.");
}

typedef struct Attempt
{
	KsConsumer *c;
	KsApplyResult result;
	KsRecordError err;
} Attempt;

static void
apply(void *arg)
{
	Attempt    *attempt = arg;

	attempt->result = ks_consumer_apply(attempt->c, &attempt->err);
}

/* In a transaction: false if a lock was not to be had, and the batch is to be tried again. */
static bool
try_apply(Attempt *attempt)
{
	KsConsumer *c = attempt->c;
	ErrorData  *edata;

	ks_lock_watch_begin(c->apply);
	edata = ks_transaction_attempt(apply, attempt, attempt_lock_ms(c->sink));
	ks_lock_watch_end();
	if (edata == NULL)
	{
		lock_wait.since = 0;
		return true;
	}
	if (edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE || !note_lock_wait(c, edata))
		ks_error_rethrow(edata);
	ks_consumer_retry(c, true);
	return false;
}

/* Applies the batch and commits; returns its number of records, 0 if it is still to be applied. */
static int64
run_batch(KsConsumer *c)
{
	const char *name = quote_literal_cstr(c->sink->name);
	Attempt		attempt = {.c = c};
	KsApplyResult result;
	int64		n;

	begin();
	if (!try_apply(&attempt))
	{
		/* nothing is held while it rests */
		commit();
		return 0;
	}
	result = attempt.result;
	if (result == KS_APPLY_CHANGED)
		refuse_changed(c->sink);
	if (result == KS_APPLY_MISMATCH)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("offsets of sink \"%s\" were moved by another session", c->sink->name),
				 errdetail("The batch was rolled back; the batches before it are committed."),
				 errhint("Let one consume at a time, then CALL kafka_sink.run(%s) again.", name)));
	commit();
	if (result == KS_APPLY_SCHEMAS)
	{
		ks_consumer_fetch_schemas(c, check_end);
		return 0;
	}
	if (result == KS_APPLY_EVOLVE)
		return 0;
	n = c->nrecs;				/* without those that wait */
	if (result == KS_APPLY_STOPPED)
		raise_record_error(c, &attempt.err);
	ks_consumer_committed(c);
	return n;
}

/* The next call fetches less at a time; the partition where that will not help. */
static const KsPartition *
note_memory_exit(const KsConsumer *c)
{
	int64		off;
	int			pidx = ks_source_unpacking(c->source, &off);
	const KsPartition *p = pidx >= 0 && c->parts[pidx].off == off ? &c->parts[pidx] : NULL;
	int			exits = ks_shmem_note_memory_exit(c->sink->name, -1, false, p ? p->topic : NULL,
												  p ? p->part : -1, p ? p->off : -1);

	return exits >= KS_MEMORY_EXITS ? p : NULL;
}

/*
 * At the limit of memory what is at hand is applied first, if it is (true), and
 * then it is an error: the next call fetches less at a time.
 */
static bool
check_memory(const KsConsumer *c)
{
	const KsPartition *p;

	if (!ks_memory_exceeded())
		return false;
	if (c->nrecs > 0)
		return true;
	p = note_memory_exit(c);
	if (p)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("a batch of records cannot be unpacked within kafka_sink.worker_memory_limit"),
				 errdetail_internal("%s", ks_memory_describe()),
				 errhint("Raise the limit, or pass over the record with kafka_sink.skip(%s, %s, %d, " INT64_FORMAT
						 "), and over others of its batch with kafka_sink.accept_gap().",
						 quote_literal_cstr(c->sink->name), quote_literal_cstr(p->topic), p->part, p->off),
				 errcontext("topic \"%s\", partition %d, offset " INT64_FORMAT, p->topic, p->part, p->off)));
	ks_memory_check_session();
	return false;
}

Datum
kafka_sink_run(PG_FUNCTION_ARGS)
{
	char	   *name = ks_call_sink(fcinfo);
	Jsonb	   *until = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P_COPY(1);
	int64		max_records = PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2);
	TimestampTz deadline;
	TimestampTz last_progress;
	MemoryContext cxt;
	KsSink	   *sink;
	KsConsumer *c;
	int64		total = 0;
	pid_t		worker;
	int			quiet_s;

	ks_call_require_nonatomic(fcinfo, "run");
	if (max_records < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must not be negative")));
	deadline = ks_call_deadline(fcinfo, 3);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	cxt = AllocSetContextCreate(PortalContext, "kafka_sink run", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(cxt);
	name = pstrdup(name);
	if (until)
		until = DatumGetJsonbPCopy(JsonbPGetDatum(until));

	sink = ks_catalog_sink(name, false);
	ks_catalog_check_owner(sink, true);
	worker = ks_shmem_worker_pid(name);
	if (worker != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("sink \"%s\" is being consumed by a background worker", name),
				 errdetail("Its process ID is %d.", (int) worker),
				 errhint("SELECT kafka_sink.pause(%s) first.", quote_literal_cstr(name))));
	if (sink->suspended)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" is suspended", name),
				 errdetail("Its offsets were written in another database or server."),
				 errhint("SELECT kafka_sink.resume(%s) to go on from them here.", quote_literal_cstr(name))));
	/* as a worker that is new */
	ks_schemas_forget_absent();
	run_sink = sink;
	lock_wait = (LockWait)
	{
		.session_ms = LockTimeout, .deadline = deadline
	};
	c = ks_consumer_create(sink, false, begin, commit, cxt);
	SPI_commit();
	MemoryContextSwitchTo(cxt);
	c->timeout_ms = ks_call_broker_timeout(deadline);
	c->memory_level = ks_shmem_memory_level(name, -1, &quiet_s, &c->single);
	ks_consumer_open(c);
	if (c->stale)
		refuse_changed(sink);
	PG_TRY();
	{
		set_bounds(c, until);
	}
	PG_CATCH();
	{
		if (ks_memory_refused())
			(void) note_memory_exit(c);
		PG_RE_THROW();
	}
	PG_END_TRY();
	last_progress = GetCurrentTimestamp();

	while (remaining_records(c) > 0 && total < max_records)
	{
		long		timeout;
		KsStep		step;

		MemoryContextSwitchTo(cxt);
		CHECK_FOR_INTERRUPTS();
		step = check_memory(c) ? KS_STEP_APPLY : ks_consumer_step(c, &timeout);
		if (step == KS_STEP_APPLY || (c->nrecs >= max_records - total && c->retry_at == 0))
		{
			if (c->nrecs > max_records - total)
				ks_consumer_truncate_batch(c, (int) (max_records - total));
			total += run_batch(c);
			MemoryContextSwitchTo(cxt);
			if (TimestampDifferenceExceeds(last_progress, GetCurrentTimestamp(), PROGRESS_MS))
			{
				ereport(INFO,
						(errmsg("sink \"%s\": " INT64_FORMAT " records, " INT64_FORMAT " offsets to go",
								name, total, remaining_records(c))));
				last_progress = GetCurrentTimestamp();
			}
			continue;
		}
		raise_consumer_error(c, step == KS_STEP_HALT);
		ks_call_check_deadline(deadline, name, lock_wait.since != 0 ? lock_wait.detail : NULL);
		if (deadline != 0)
		{
			long		remaining = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

			timeout = timeout < 0 ? remaining : Min(timeout, remaining);
		}
		(void) WaitLatchOrSocket(MyLatch,
								 WL_LATCH_SET | WL_SOCKET_READABLE | WL_EXIT_ON_PM_DEATH |
								 (timeout >= 0 ? WL_TIMEOUT : 0),
								 ks_source_fd(c->source), timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	ks_shmem_lower_memory_level(name, -1);
	ereport(INFO,
			(errmsg("sink \"%s\": " INT64_FORMAT " records, " INT64_FORMAT " offsets to go",
					name, total, remaining_records(c))));
	MemoryContextSwitchTo(PortalContext);
	MemoryContextDelete(cxt);	/* closes the source */
	SPI_finish();
	PG_RETURN_VOID();
}
