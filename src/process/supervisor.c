/*
 * supervisor.c
 *	  Which sinks of one database should run.
 *
 * Reads the catalog when a commit has changed it, a worker has ended, a role
 * or a table of a sink is gone, and compares what should run with what does:
 *
 *		wanted, not alive, due, and no worker of the sink is of an older
 *		generation of its definition
 *									-> start it for this generation
 *		alive, unwanted or of an older generation
 *									-> ask it to stop at its batch's end,
 *									   SIGTERM if it takes too long
 *		ended on its own wish, or because it was asked
 *									-> due at once
 *		ended otherwise				-> due after a back-off
 *
 * All workers of a sink run by the same generation, which says how many they
 * are and so whose partition is whose: no partition is read by two.  If one of
 * them halts the sink, none of them is wanted until resume().  Workers that a
 * former supervisor left behind stay, if they run by the right generation.
 *
 * Nobody's lock keeps the others waiting: the catalog is read, and each sink's
 * state is written, in transactions of their own with a short lock_timeout,
 * and what fails is tried again after a back-off.  Workers are started and
 * stopped by what is known, before anything is written.  An error ends none of
 * that: until the catalog can be read again, all stays as it was.
 *
 * No transaction is held while it waits.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "base/guc.h"
#include "base/session.h"
#include "process/supervisor.h"
#include "process/supervisor_int.h"
#include "process/transaction.h"

#define LOCK_TIMEOUT		"200ms"
#define READ_RETRY_MAX_MS	10000
#define MAX_SINGLE_READS	16		/* more sinks are read all together */
#define MAX_REST_MS			1000	/* after a reading of all; as long as that took */
#define WRITE_MS			250		/* of writing states at a time */
#define WRITE_HURRY_MS		20		/* the same if something else is to be done */

static MemoryContext pass_cxt;	/* of one pass of the loop */
static bool read_due = true;	/* the whole catalog is to be read */
static bool was_read = false;	/* it was */
static int	read_failures = 0;
static TimestampTz next_read = 0;
static TimestampTz rested = 0;	/* not read before */

/* --- transactions --- */

/* Between statements, of which none can be canceled. */
static void
serve_interrupts(void)
{
	HOLD_CANCEL_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	RESUME_CANCEL_INTERRUPTS();
	QueryCancelPending = false;
}

/* A step of one sink; what fails is tried again after a back-off. */
static bool
try_sink(KsSupervised *s, void (*step) (void *arg))
{
	TimestampTz now = GetCurrentTimestamp();
	int			failures = s->failures; /* the step may have read it anew */
	ErrorData  *edata;

	if (s->next_try > now)
		return false;
	edata = ks_transaction_try(step, s);
	if (edata == NULL)
	{
		s->failures = 0;
		s->next_try = 0;
		return true;
	}
	ereport(failures == 0 ? LOG : DEBUG1,
			(errcode(edata->sqlerrcode),
			 errmsg("kafka_sink supervisor tries sink \"%s\" again: %s", s->name, edata->message)));
	s->next_try = ks_backoff_until(now, s->failures, KS_RETRY_FIRST_MS, KS_RETRY_MAX_MS);
	s->failures++;
	return false;
}

/* --- sinks --- */

static List *due;				/* of KsManaged *, to be started in this pass */

/* A worker that is due: is it to be started now?  Returns when to look, 0: now. */
static TimestampTz
note_due(KsSupervised *s, KsManaged *m)
{
	TimestampTz now = GetCurrentTimestamp();

	if (m->next_start > now && !ks_supervisor_may_have_room(m))
		return m->next_start;
	if (s->owner_trouble != KS_TROUBLE_NONE)
	{
		/* whoever mends it wakes us; and we look by ourselves */
		m->next_start = ks_backoff_until(now, m->failures, KS_RETRY_FIRST_MS, KS_RETRY_MAX_MS);
		m->failures++;
		s->stale = true;
		return m->next_start;
	}
	due = lappend(due, m);
	return 0;
}

/* What its workers should do.  Returns the next moment to look at, 0: none. */
static TimestampTz
reconcile(KsSupervised *s)
{
	bool		run = ks_guc_enabled && s->runs && !ks_supervised_has_dropped_table(s);
	bool		old = false;	/* a worker of another definition is alive */
	TimestampTz next = 0;

	/* nothing is known of it yet, or something has changed since */
	if (!s->loaded)
		return 0;
	for (int i = 0; i < s->nmanaged; i++)
		old |= ks_managed_is_alive(s->managed[i]) && s->managed[i]->definition != s->generation;
	for (int i = 0; i < s->nmanaged; i++)
	{
		KsManaged  *m = s->managed[i];
		bool		wanted = run && m->worker < s->workers && ks_supervised_needs(s, m->worker);

		if (!ks_managed_is_alive(m))
		{
			ks_managed_settle(m, wanted, old);
			if (m->state == KS_MANAGED_DUE && !s->stale)
				next = ks_earlier(next, note_due(s, m));
		}
		else if (!wanted || m->definition != s->generation || m->state == KS_MANAGED_STOPPING)
			next = ks_earlier(next, ks_managed_stop(m));
		else if (m->state == KS_MANAGED_STARTING && m->handle == NULL)
			next = ks_earlier(next, ks_backoff_until(GetCurrentTimestamp(), 0, KS_RETRY_FIRST_MS, KS_RETRY_FIRST_MS));
	}
	return next;
}

static bool
is_forgettable(const KsSupervised *s)
{
	if (!s->loaded || s->workers > 0)
		return false;
	for (int i = 0; i < s->nmanaged; i++)
		if (ks_managed_is_alive(s->managed[i]))
			return false;
	return true;
}

/* --- the loop --- */

/* Those that are to be read again, and may be by now. */
static List *
list_stale(TimestampTz now)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;
	List	   *stale = NIL;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		if (s->stale && s->next_try <= now)
			stale = lappend(stale, s);
	return stale;
}

/*
 * Reads what is to be read; what cannot be read stays as it was.  Returns when
 * to look again, 0: when woken.
 */
static TimestampTz
read_catalog(void)
{
	TimestampTz now = GetCurrentTimestamp();
	List	   *stale;
	ListCell   *lc;
	TimestampTz next;

	if (ks_supervisor_take_changed(&next))
	{
		read_due = true;
		next_read = 0;
	}
	/* many of them are read as fast together */
	stale = list_stale(now);
	read_due |= list_length(stale) > MAX_SINGLE_READS;
	/* whoever changes sinks all the time does not keep us reading all the time */
	rested = Min(rested, TimestampTzPlusMilliseconds(now, MAX_REST_MS));
	next_read = Max(next_read, rested);
	if (read_due && next_read <= now)
	{
		ErrorData  *edata;

		ereport(DEBUG1, (errmsg_internal("kafka_sink supervisor reads its sinks")));
		edata = ks_transaction_try(ks_supervised_read_all, NULL);
		rested = GetCurrentTimestamp();
		rested += Max(0, Min(rested - now, MAX_REST_MS * INT64CONST(1000)));
		stale = NIL;
		if (edata == NULL)
		{
			read_due = false;
			was_read = true;
			read_failures = 0;
		}
		else
		{
			ereport(read_failures == 0 ? LOG : DEBUG1,
					(errcode(edata->sqlerrcode),
					 errmsg("kafka_sink supervisor tries again: %s", edata->message)));
			next_read = ks_backoff_until(now, read_failures, KS_RETRY_FIRST_MS, READ_RETRY_MAX_MS);
			read_failures++;
		}
	}
	if (read_due)
		return ks_earlier(next, next_read);	/* then a single one could not be read either */
	foreach(lc, stale)
	{
		serve_interrupts();
		(void) try_sink(lfirst(lc), ks_supervised_read);
	}
	return next;
}

/* Starts and stops workers.  Returns when to look again. */
static TimestampTz
reconcile_all(bool *any, bool *alive, bool *parked)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;
	TimestampTz next = 0;
	bool		no_room = false;

	*any = *alive = *parked = false;
	due = NIL;
	ks_supervisor_look_for_room();
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		next = ks_earlier(next, reconcile(s));
	ks_supervisor_watch_first();
	next = ks_earlier(next, ks_supervisor_start(due));
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		for (int i = 0; i < s->nmanaged; i++)
		{
			*alive |= ks_managed_is_alive(s->managed[i]);
			*parked |= s->managed[i]->state == KS_MANAGED_PARKED;
			no_room |= ks_managed_has_no_room(s->managed[i]);
		}
		*any |= !s->loaded || s->workers > 0;
		/* the scan allows to remove what it stands at */
		if (is_forgettable(s))
			ks_supervised_forget(s);
	}
	return ks_earlier(next, ks_supervisor_wait_for_room(no_room));
}

/* There is no watcher for them: they are started. */
static void
unpark_all(void)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		for (int i = 0; i < s->nmanaged; i++)
			if (s->managed[i]->state == KS_MANAGED_PARKED)
				ks_managed_unpark(s->managed[i]);
}

/*
 * If a server or user mapping is another one, whoever could not connect tries at
 * once; workers that run look by themselves.  Returns when to look again.
 */
static TimestampTz
retry_connections(void)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;
	TimestampTz next;

	if (!ks_supervisor_take_connections(&next))
		return next;
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		for (int i = 0; i < s->nmanaged; i++)
			ks_managed_retry(s->managed[i]);
	return next;
}

/* If the clock was set back, what was to come by it is due. */
static void
check_clock(void)
{
	static TimestampTz last = 0;
	HASH_SEQ_STATUS scan;
	KsSupervised *s;
	TimestampTz now;

	if (!ks_backoff_is_set_back(&last))
		return;
	now = GetCurrentTimestamp();
	next_read = Min(next_read, now);
	ks_supervisor_watch_set_back(now);
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		s->next_try = Min(s->next_try, now);
		for (int i = 0; i < s->nmanaged; i++)
			ks_managed_set_back(s->managed[i], now);
	}
}

static void
follow_all(void)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		for (int i = 0; i < s->nmanaged; i++)
			ks_managed_follow(s->managed[i]);
}

/* Who has been tried, and did not work, comes last. */
static int
compare_next_try(const ListCell *a, const ListCell *b)
{
	const KsSupervised *sa = lfirst(a);
	const KsSupervised *sb = lfirst(b);

	return (sa->next_try > sb->next_try) - (sa->next_try < sb->next_try);
}

static List *
list_differing(void)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;
	List	   *differing = NIL;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		if (ks_supervised_states_differ(s) || s->stale)
			differing = lappend(differing, s);
	list_sort(differing, compare_next_try);
	return differing;
}

/* The states of one sink; false if they could not be written. */
static bool
write_state(KsSupervised *s)
{
	ConditionVariable *progress = ks_shmem_progress_cv(s->name);

	if (!try_sink(s, ks_supervised_write_states))
	{
		ks_supervised_forget_notes(s);
		return false;
	}
	ConditionVariableBroadcast(progress);
	return true;
}

/*
 * Writes the states that are not what they should be, one sink after the other,
 * for some time, and a commit that asks for something more urgent shortens that:
 * between two such times all else has its turn.  A role that holds one of its
 * sinks is not waited for again, whatever it holds.  Returns when to go on.
 */
static TimestampTz
write_states(void)
{
	List	   *differing = list_differing();
	List	   *holders = NIL;
	TimestampTz begun = GetCurrentTimestamp();
	TimestampTz next = 0;
	ListCell   *lc;

	foreach(lc, differing)
	{
		KsSupervised *s = lfirst(lc);
		TimestampTz now = GetCurrentTimestamp();

		if (now - begun > (ks_supervisor_is_changed() ? WRITE_HURRY_MS : WRITE_MS) * INT64CONST(1000))
			return now;
		serve_interrupts();
		if (s->next_try > now)
			next = ks_earlier(next, s->next_try);
		else if (list_member_oid(holders, s->owner))
			next = ks_earlier(next, TimestampTzPlusMilliseconds(now, WRITE_MS));
		else
		{
			if (ks_supervised_states_differ(s) && !write_state(s))
				holders = lappend_oid(holders, s->owner);
			if (ks_supervised_states_differ(s) || s->stale)
				next = ks_earlier(next, Max(s->next_try, TimestampTzPlusMilliseconds(now, 1)));
		}
	}
	return next;
}

/*
 * What waits for a lock, or for whatever else, resets the latch, and with it what was
 * told meanwhile: a commit, a worker that ended.  Marks are looked at again; the rest a
 * pass finds, so none is the last that may have waited for anything.  Where waits follow
 * one on another, what was missed is found a little later.
 */
#define MAX_PASSES			10
#define MISSED_MS			1000

static bool
may_have_missed(TimestampTz last_transaction, int *passes, TimestampTz *next)
{
	if (GetCurrentTransactionStartTimestamp() == last_transaction)
		*passes = 0;
	else if (++*passes >= MAX_PASSES)
	{
		*passes = 0;
		*next = ks_earlier(*next, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MISSED_MS));
	}
	return *passes > 0 || ks_supervisor_is_marked();
}

/* Is there nothing to supervise, and nothing that has been told and not been read yet? */
static bool
is_done(bool any, bool alive)
{
	return was_read && !read_due && !alive && !(any && ks_guc_enabled) && !ks_supervisor_is_changed();
}

static void
main_loop(void)
{
	int			passes = 0;

	for (;;)
	{
		TimestampTz last_transaction = GetCurrentTransactionStartTimestamp();
		TimestampTz retry;
		TimestampTz due;
		TimestampTz next;
		TimestampTz slots;
		long		timeout = -1;
		bool		any;
		bool		alive;
		bool		parked;
		bool		unwatched;

		serve_interrupts();
		MemoryContextReset(pass_cxt);
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			/* limits may be higher */
			ks_managed_note_room();
		}
		check_clock();
		follow_all();
		retry = retry_connections();
		due = ks_earlier(read_catalog(), retry);
		next = ks_earlier(due, reconcile_all(&any, &alive, &parked));
		slots = ks_supervisor_drop_slots();
		next = ks_earlier(next, slots);
		next = ks_earlier(next, ks_supervisor_watch(parked, &unwatched));
		if (unwatched)
		{
			unpark_all();
			continue;
		}
		if (was_read && any && ks_guc_enabled)
			ks_supervisor_settle();
		next = ks_earlier(next, write_states());
		if (slots == 0 && is_done(any, alive))
		{
			/* a change from here on stays marked, and the launcher is told */
			ks_supervisor_end_watch();
			ks_supervisor_end();
		}
		/* a database that cannot be read takes no process from others */
		if (!was_read && !alive && !parked && read_failures > 0)
			proc_exit(0);

		if (may_have_missed(last_transaction, &passes, &next))
			continue;
		if (next != 0)
			timeout = Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), next));
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout >= 0 ? WL_TIMEOUT : 0),
						 timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

void
ks_supervisor_main(Datum arg)
{
	Oid			dbid = DatumGetObjectId(arg);

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	ks_supervisor_attach(dbid);
	BackgroundWorkerInitializeConnectionByOid(dbid, InvalidOid, 0);
	ks_session_fix();
	SetConfigOption("lock_timeout", LOCK_TIMEOUT, PGC_SUSET, PGC_S_OVERRIDE);
	/* what it writes follows from what it sees: after a crash it is written again */
	SetConfigOption("synchronous_commit", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("application_name", "kafka_sink supervisor", PGC_USERSET, PGC_S_SESSION);
	ks_supervised_init();
	pass_cxt = AllocSetContextCreate(ks_supervisor_cxt, "kafka_sink supervisor pass", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(pass_cxt);
	ks_managed_adopt_all();
	/* what ends the process all the same: the launcher starts another after a while */
	main_loop();
}
