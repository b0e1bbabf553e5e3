/*
 * feed_worker.c
 *	  The background worker of a feed: read the WAL, publish, wait.
 *
 *		read what is flushed; until there is enough, or nothing more, or it has been
 *		open for long enough -> commit it to Kafka -> confirm the slot -> ...
 *
 * A commit to Kafka takes some milliseconds, in which others commit here: so under
 * load a transaction of Kafka holds many of PostgreSQL, and alone it holds one.
 *
 * When nothing is left the process sleeps.  A commit that has emitted something wakes
 * it, or if tables are published any that has written (shmem_sleep.c); what is committed
 * without being flushed is looked for a little later, and again and again with longer
 * pauses; and now and then it looks in any case.  What others write to the WAL moves the
 * slot, too, but not each time.
 *
 * The session user is the feed's owner.  The definition is fixed for the life of the
 * process.  Whatever goes wrong ends it: the next one fences it, asks Kafka how far
 * the feed is, and goes on from there (feed_worker_start.c).  The process leaves
 * through _exit() once PostgreSQL's own exit callbacks are done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/backoff.h"
#include "base/memory.h"
#include "base/session.h"
#include "feed/steps.h"
#include "process/feed_worker.h"
#include "process/feed_worker_int.h"
#include "process/transaction.h"
#include "process/worker.h"
#include "write/apply.h"

#define READ_AT_A_TIME		1000	/* records of the WAL, between looks at all else */
/* A transaction of Kafka, while there is more to read: as many times as long as the last commit. */
#define OPEN_TIMES			20
#define MIN_OPEN_MS			50
#define MAX_OPEN_MS			500
#define SLEEP_MIN_MS		10		/* while something is committed and not flushed */
#define SLEEP_MAX_MS		1000
#define MOVE_AFTER_MS		10000	/* the slot, when nothing was published */
#define MOVE_BYTES			(1024 * 1024)	/* and so much was written by others */

static volatile bool connection_changed = false;
static XLogRecPtr confirmed = InvalidXLogRecPtr;	/* of the slot, last */
static TimestampTz moved_at = 0;	/* and when */

static void
connection_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (!ks_wal_is_forgetting())
		connection_changed = true;
}

static void
look_at_connection(void *conf_changed)
{
	KsConf	   *conf = ks_options_load(ks_feed.feed->server, ks_feed.feed->owner);

	*(bool *) conf_changed = ks_options_fingerprint(conf) != ks_feed.conf_fingerprint;
}

/* Between transactions of Kafka: what others want, and whether the connection is what it was. */
static void
check_requests(void)
{
	bool		conf_changed;

	ks_feed_serve();
	AcceptInvalidationMessages();
	ks_feed_look_after_tables();
	if (!connection_changed)
		return;
	connection_changed = false;
	ks_feed_run(look_at_connection, &conf_changed);
	if (conf_changed)
		ks_feed_respawn();
}

/* If the clock was set back, what was to come by it is due.  (Not reached by tests: it is.) */
static void
check_clock(void)
{
	static TimestampTz last = 0;
	TimestampTz now;

	if (!ks_backoff_is_set_back(&last))
		return;
	now = GetCurrentTimestamp();
	moved_at = Min(moved_at, now);
	ks_feed.trouble_since = Min(ks_feed.trouble_since, now);
	ks_publisher_set_back(&ks_feed.publisher, now);
	ks_feed_tables_set_back(now);
	ks_feed_copy_set_back(now);
}

/* --- the loop --- */

static void
tell_counts(void)
{
	KsFeedCounters *n = &ks_feed.slot->feed;
	const KsPublisherCounts *c = &ks_feed.publisher.counts;

	pg_atomic_write_u64(&n->transactions, c->transactions);
	pg_atomic_write_u64(&n->records, c->records);
	pg_atomic_write_u64(&n->bytes, c->bytes);
	pg_atomic_write_u64(&n->forged, c->forged);
	pg_atomic_write_u64(&n->commits, c->commits);
	pg_atomic_write_u64(&n->cuts, c->cuts);
	pg_atomic_write_u64(&n->commit_us, c->commit_us);
	pg_atomic_write_u64(&n->copied, c->copied);
	ks_feed_copy_tell();
	pg_atomic_write_u64(&n->published_lsn, ks_feed.publisher.progress.lsn);
	if (pg_atomic_exchange_u64(&n->decoded_lsn, ks_wal_position(ks_feed.wal)) != ks_wal_position(ks_feed.wal))
		ConditionVariableBroadcast(ks_feed.progress);
}

/* What Kafka has committed is not needed any more. */
static void
confirm(void)
{
	confirmed = ks_feed.publisher.progress.lsn;
	moved_at = GetCurrentTimestamp();
	ks_wal_confirm(ks_feed.wal, confirmed);
}

/* What is open, or the progress alone; and then the slot. */
static void
commit(void)
{
#ifdef KS_BREAK_FEED_CONFIRM
	/* for the tests alone, which must find it out: the slot before Kafka's commit */
	ks_wal_confirm(ks_feed.wal, ks_wal_position(ks_feed.wal));
	ReplicationSlotMarkDirty();
	ReplicationSlotSave();
#endif
	ks_publisher_commit(&ks_feed.publisher, ks_wal_position(ks_feed.wal));
	pg_atomic_write_u64(&ks_feed.slot->feed.last_commit, (uint64) GetCurrentTimestamp());
	confirm();
	ks_feed_step("confirmed");
	if (ks_feed.feed->skip_lsn != 0 && ks_feed.feed->skip_lsn < ks_feed.publisher.progress.lsn)
		ks_feed_end_skip(ks_feed.publisher.progress.skipped == ks_feed.feed->skip_lsn);
	ks_feed_tell_running();
	tell_counts();
	/* what comes behind those that had to be published alone shares batches again */
	if ((ks_feed.publisher.one_by_one != 0 && !ks_publisher_is_careful(&ks_feed.publisher)) ||
		ks_publisher_is_redefined(&ks_feed.publisher))
		ks_feed_respawn();
}

/*
 * Others have written a lot, and nothing of it was for us.  (The progress may have come to
 * the end of it, while a long transaction was passed over, and the slot has not.)
 */
static bool
is_move_due(void)
{
	return ks_wal_position(ks_feed.wal) - confirmed > MOVE_BYTES &&
		TimestampDifferenceExceeds(moved_at, GetCurrentTimestamp(), MOVE_AFTER_MS);
}

/* False if nothing is left to read. */
static bool
read_some(void)
{
	for (int i = 0; i < READ_AT_A_TIME; i++)
	{
		if ((ks_publisher_is_open(&ks_feed.publisher) && ks_publisher_is_full(&ks_feed.publisher)) ||
			ks_publisher_is_due(&ks_feed.publisher) || ks_feed_copy_is_due())
			return true;
		if (!ks_wal_next(ks_feed.wal))
			return false;
	}
	return true;
}

/*
 * The settings by which it was to begin were there when this process began, but the WAL
 * has not told where.  Not reached by tests: whoever changes them writes that there.
 */
static void
end_former_settings(void)
{
	KsPublisher *p = &ks_feed.publisher;

	if (ks_feed.former_until != 0 && ks_wal_position(ks_feed.wal) >= ks_feed.former_until &&
		p->next.inside == 0 && !ks_publisher_is_redefined(p))
		ks_publisher_redefine(p, &ks_feed.defined);
}

/* Who reads a lot that others have written is behind: then the commits may cost a twentieth of the time. */
static bool
has_waited_enough(void)
{
	int			open_ms = Min(Max(ks_feed.publisher.took_us * OPEN_TIMES / 1000, MIN_OPEN_MS), MAX_OPEN_MS);

	return ks_publisher_is_full(&ks_feed.publisher) || ks_publisher_is_due(&ks_feed.publisher) || ks_feed_copy_is_due() ||
		TimestampDifferenceExceeds(ks_feed.publisher.opened_at, GetCurrentTimestamp(), open_ms);
}

/*
 * Until a commit wakes us, or it is time to look; 'seen' is what was flushed when
 * nothing was left (what standbys confirm is looked for as what is flushed is).  Returns for how long at most the next time.
 *
 * Of tables, any commit wakes us that has written, since nobody knows more of it.  If nothing
 * of that was to be published ('*in_vain'), it is not waited for the next one, but for some
 * milliseconds: so others cannot keep us busy.  Set to whether we were woken.
 */
static long
sleep_until_woken(WaitEventSet *events, XLogRecPtr seen, long timeout, bool *in_vain)
{
	bool		tables = ks_feed.feed->publication != NULL;
	bool		nap = tables && *in_vain;
	WaitEvent	event;
	bool		woken = false;

	ks_shmem_begin_sleep(tables && !nap);
	if (nap)
		timeout = SLEEP_MIN_MS;
	else if (ks_wal_end() <= seen)
		timeout = SLEEP_MAX_MS;
	timeout = ks_feed_copy_patience(timeout);
	/* whoever has committed in between did not wake us */
	if (!nap && ks_wal_readable(ks_feed.wal) > seen)
		woken = true;
	else if (WaitEventSetWait(events, timeout, &event, 1, PG_WAIT_EXTENSION) > 0 && event.events & WL_LATCH_SET)
	{
		ResetLatch(MyLatch);
		ks_feed_step("woken");
		woken = true;
	}
	ks_shmem_end_sleep();
	*in_vain = woken;
	return woken ? SLEEP_MIN_MS : Min(timeout * 2, SLEEP_MAX_MS);
}

static void
main_loop(void)
{
	WaitEventSet *events = ks_session_wait_events(2 + KS_PUBLISHER_PRODUCERS);
	long		timeout = SLEEP_MIN_MS;
	bool		in_vain = false;

	AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < KS_PUBLISHER_PRODUCERS; i++)
		AddWaitEventToSet(events, WL_SOCKET_READABLE, ks_producer_fd(ks_feed.publisher.producers[i]), NULL, NULL);
	ks_shmem_worker_runs();
	/* (not told to the slot: what it keeps is still to be read) */
	confirmed = ks_feed.publisher.progress.lsn;
	moved_at = GetCurrentTimestamp();
	for (;;)
	{
		XLogRecPtr	seen = ks_wal_readable(ks_feed.wal);
		bool		more = read_some();
		bool		copied = ks_feed_copy_release(more);

		end_former_settings();
		if (ks_publisher_is_open(&ks_feed.publisher) || copied)
		{
			if (more && !copied && !has_waited_enough())
				continue;
			commit();
			if (copied)
				ks_feed_copy_committed();
			timeout = SLEEP_MIN_MS;
			in_vain = false;
		}
		else if (is_move_due() || ks_publisher_is_due(&ks_feed.publisher))
			commit();
		/* what was waited for is told until it is known to be over */
		if (!more && ks_wal_is_held(ks_feed.wal))
			ks_feed_tell_held();
		else if (!more)
			ks_feed_tell_running();
		check_clock();
		check_requests();
		ks_feed_copy_next();
		for (int i = 0; i < KS_PUBLISHER_PRODUCERS; i++)
			ks_producer_serve(ks_feed.publisher.producers[i]);
		tell_counts();
		if (!more && !ks_feed_copy_is_busy())
			timeout = sleep_until_woken(events, seen, timeout, &in_vain);
	}
}

/* --- the end --- */

/* Readers of committed records need not wait for the transaction's timeout. */
static void
abort_open(int code, Datum arg)
{
	if (!ks_memory_refused())
		ks_publisher_abort(&ks_feed.publisher);
}

/* An error, outside of the server's own handling: what it would release is released. */
static ErrorData *
catch_error(MemoryContext cxt)
{
	ErrorData  *edata;

	LWLockReleaseAll();
	ConditionVariableCancelSleep();
	edata = ks_transaction_catch(cxt);
	if (MyReplicationSlot != NULL)
		ReplicationSlotRelease();
	ks_wal_forget_caches();
	return edata;
}

/*
 * Finds the transaction that cannot be published.  False if that takes another process:
 * one that publishes those ahead of it, and then it alone.
 */
static bool
find_culprit(KsStateError *error, bool refused)
{
	KsPublisher *p = &ks_feed.publisher;
	XLogRecPtr	suspect = InvalidXLogRecPtr;
	bool		found = true;

	if (ks_feed.wal == NULL)
		return true;
	if (p->state != KS_PUBLISHER_FAILED)
	{
		/* it could not be read, and what is open comes before it */
		suspect = ks_wal_at(ks_feed.wal);
		found = suspect == 0 || p->state != KS_PUBLISHER_OPEN || p->open_transactions == 0;
		if (found && suspect != 0)
			ks_feed.stopped_at = suspect;
	}
	else if (refused && (error->topic == NULL || strcmp(error->topic, p->progress_topic) != 0))
	{
		bool		rows = ks_feed_copy_has_sent();

		suspect = p->last;
		found = rows ? ks_feed_copy_blame(error) : suspect == 0 || ks_publisher_is_careful(p);
		ks_feed.row_refused = rows;
		if (found)
			ks_feed.stopped_at = rows ? InvalidXLogRecPtr : p->blamed;
		/* librdkafka does not always tell of what topic it is */
		if (found && !rows && p->blamed != 0 && error->topic == NULL && p->only_topic[0])
			error->topic = p->only_topic;
	}
	if (!found)
		ks_feed.stopped_at = InvalidXLogRecPtr;
	p->one_by_one = Max(p->one_by_one, suspect);
	return found;
}

/* What is missing there is missing for good. */
static bool
is_in_the_past(void)
{
	return ks_feed.wal != NULL && ks_wal_at(ks_feed.wal) != 0;
}

/* What has ended the work, told and acted upon. */
KS_NORETURN static void
end_with(const ErrorData *edata)
{
	KsStateError error;
	bool		halts = false;
	bool		refused = false;
	bool		found;

	/* the producer knows better what its errors mean */
	if (ks_feed.publisher.state != KS_PUBLISHER_FAILED || !ks_feed_producer_error(&error, &halts, &refused))
	{
		ks_feed_state_error(edata, &error);
		halts = error.waits_for == NULL && !ks_error_passes(edata) &&
			(edata->sqlerrcode != ERRCODE_UNDEFINED_OBJECT || is_in_the_past()) && edata->sqlerrcode != ERRCODE_OBJECT_IN_USE &&
			edata->sqlerrcode != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE &&
			edata->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE;
	}
	found = find_culprit(&error, refused);
	abort_open(0, (Datum) 0);
	if (found && halts)
		ks_feed_halt(&error);
	/* with the transaction */
	ks_feed.state = NULL;
	if (!found)
	{
		ks_feed_write_state("backoff", &error);
		ks_feed_respawn();
	}
	ks_feed_write_state(error.waits_for ? "waiting" : "backoff", &error);
	proc_exit(1);
}

void
ks_feed_main(Datum arg)
{
	KsWorkerArgs args;
	ErrorData  *volatile edata = NULL;

	memcpy(&args, MyBgworkerEntry->bgw_extra, sizeof(args));
	ks_session_end_by_exit();
	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	ks_feed.slot = ks_shmem_attach_worker(DatumGetInt32(arg), args.slot_generation);
	ks_shmem_hear_last_words();
	before_shmem_exit(abort_open, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(args.dbid, args.owner, KS_BYPASS_ROLELOGINCHECK);
	ks_feed.progress = ks_shmem_progress_cv(ks_feed.slot->sink);
	ks_session_fix();
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, connection_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, connection_callback, (Datum) 0);

	ks_feed.cxt = AllocSetContextCreate(TopMemoryContext, "kafka_sink feed", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(ks_feed.cxt);
	PG_TRY();
	{
		if (!ks_feed_start(args.generation))
			proc_exit(0);
		main_loop();
	}
	PG_CATCH();
	{
		edata = catch_error(ks_feed.cxt);
	}
	PG_END_TRY();
	if (ks_feed.feed)
		end_with(edata);
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("worker of feed \"%s\" ends: %s", ks_feed.slot->sink, edata->message)));
	proc_exit(1);
}
