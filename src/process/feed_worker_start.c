/*
 * feed_worker_start.c
 *	  A feed's worker, from the rows of the catalog to the first read.
 *
 * The order is what the guarantee rests on:
 *
 *	1. The slot is looked at.  A feed that has begun and has none is halted before
 *	   anything is asked of Kafka: so a copy of the server, which has none, does not
 *	   fence the original.
 *	2. Whoever published before is fenced, and what it had open is aborted.
 *	3. The progress is read, up to an end of the topic that is asked for after that.
 *	4. It is compared with the slot and with the history of this server.
 *	5. The WAL is read from the progress on.
 *
 * A feed that has not begun makes its slot between 2 and 3, writes its first progress,
 * and then says in its row that messages are taken.  If it does not come so far, all
 * of that is done anew: nobody has been promised anything.
 */
#include "postgres.h"

#include "access/timeline.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "feed/steps.h"
#include "feed/wal_slot.h"
#include "kafka/options.h"
#include "process/feed_worker_int.h"
#include "process/transaction.h"

#define SLICE_MS			100		/* of a wait for Kafka */
#define ANSWER_MS			30000	/* of patience with questions */
#define COMMIT_PATIENCE_MS	30000	/* beyond what a transaction may take */
#define MISSING_MS			30000	/* for the topic of progress to come back */
#define CHECK_MS			1000	/* between questions for it */

#define HINT_GAP "kafka_sink.accept_gap(%s) goes on from now on; what was committed in between is not published."

/* --- what stands in the way --- */

KS_NORETURN static void
halt(int sqlstate, const char *message, const char *detail, const char *hint)
{
	KsStateError error = {
		.sqlstate = sqlstate,
		.message = message,
		.detail = detail,
		.hint = hint,
		.part = -1,
		.off = -1
	};

	/* no transaction by itself is the reason */
	ks_feed.stopped_at = InvalidXLogRecPtr;
	ks_feed_halt(&error);
}

static const char *
gap_hint(void)
{
	return psprintf(HINT_GAP, quote_literal_cstr(ks_feed.feed->name));
}

static void
check_slot(KsSlotInfo *slot)
{
	const char *name = ks_wal_slot_name(ks_feed.feed->id);

	ks_wal_read_slot(name, slot);
	switch (slot->kind)
	{
		case KS_SLOT_IS_USABLE:
			return;
		case KS_SLOT_IS_MISSING:
			halt(ERRCODE_UNDEFINED_OBJECT, "the feed's replication slot does not exist",
				 psprintf("It was called \"%s\". Slots can be dropped, and do not come along to copies of the server; a standby that is promoted has it from PostgreSQL 17 on only, with the feed's setting failover.", name),
				 gap_hint());
		case KS_SLOT_IS_FOREIGN:
			halt(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the feed's replication slot is another one",
				 psprintf("Slot \"%s\" is of another database or plugin.", name), gap_hint());
		case KS_SLOT_IS_INVALID:
			halt(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the feed's replication slot has lost WAL that it needs",
				 psprintf("Slot \"%s\" was invalidated, as when it holds more than max_slot_wal_keep_size.", name),
				 gap_hint());
	}
}

/*
 * Was all that Kafka has of this feed committed in the history of this server?  Its
 * timeline is that of who published, which may be later than the one that was published: a
 * server that was promoted goes on with what is left of the one before.  So that timeline
 * must be part of our history, and not have been left before the place.
 */
static void
check_history(const KsProgress *progress)
{
	TimeLineID	timeline = ks_timeline();
	List	   *history = readTimeLineHistory(timeline);
	bool		same = tliInHistory(progress->timeline, history);
	XLogRecPtr	left = same ? tliSwitchPoint(progress->timeline, history, NULL) : InvalidXLogRecPtr;

	if (!same || (!XLogRecPtrIsInvalid(left) && progress->lsn > left) || progress->lsn > ks_flushed_lsn())
		halt(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "Kafka has transactions of this feed that this server does not have",
			 psprintf("The last one ended at %X/%X on timeline %u; this server is on timeline %u, at %X/%X. It may have been promoted, or restored, before it had them.",
					  LSN_FORMAT_ARGS(progress->lsn), progress->timeline, timeline, LSN_FORMAT_ARGS(ks_flushed_lsn())),
			 gap_hint());
}

static void
check_progress(bool found, const KsProgress *progress, const KsSlotInfo *slot)
{
	const char *topic = ks_feed.feed->progress_topic;

	if (!found || progress->feed_id != ks_feed.feed->id || progress->system_identifier != GetSystemIdentifier())
		halt(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "the feed's progress is not in Kafka any more",
			 psprintf("Topic \"%s\" has no record of the feed that could be read. It may have been deleted, or made without cleanup.policy compact.", topic),
			 gap_hint());
	if (progress->start_lsn != ks_feed.feed->start_lsn)
		halt(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "another server has begun this feed anew",
			 psprintf("Its progress in Kafka is of a feed that began at %X/%X, and here it began at %X/%X. A copy of this server, or of what it was, publishes it, or has done so.",
					  LSN_FORMAT_ARGS(progress->start_lsn), LSN_FORMAT_ARGS(ks_feed.feed->start_lsn)),
			 gap_hint());
	check_history(progress);
	/* the slot is confirmed behind Kafka's commit only */
	if (progress->lsn < slot->confirmed_lsn)
		halt(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, "Kafka has lost transactions of this feed",
			 psprintf("Its progress is %X/%X, and the replication slot has been confirmed up to %X/%X. Topic \"%s\" has lost its end, or somebody else has moved the slot.",
					  LSN_FORMAT_ARGS(progress->lsn), LSN_FORMAT_ARGS(slot->confirmed_lsn), topic),
			 gap_hint());
}

/* --- Kafka --- */

static void
open_producers(void)
{
	KsFeed	   *feed = ks_feed.feed;
	int64		timeout_ms = feed->transaction_timeout_us / 1000;
	KsProducerOptions opts = {
		.client_id = psprintf("kafka_sink/%s", feed->name),
		.transaction_timeout_ms = (int) timeout_ms,
		.max_message_bytes = feed->max_message_bytes,
		.one_by_one = feed->one_by_one != 0
	};

	ks_feed.publisher = (KsPublisher)
	{
		.name = ks_progress_name(feed->name),
			.progress_topic = feed->progress_topic,
			.feed_id = feed->id,
			.batch_records = feed->batch_records,
			.batch_bytes = feed->batch_bytes,
			.cut_ms = (int) timeout_ms / 2,
			.patience_ms = (int) timeout_ms + COMMIT_PATIENCE_MS,
			.one_by_one = feed->one_by_one == KS_FEED_ROWS ? InvalidXLogRecPtr : feed->one_by_one,
			.serve = ks_feed_serve
	};
	for (int i = 0; i < KS_PUBLISHER_PRODUCERS; i++)
	{
		opts.transactional_id = ks_progress_transactional_id(feed->name, i);
		ks_feed.publisher.producers[i] = ks_producer_open(ks_feed.conf, &opts, ks_feed.cxt);
	}
}

/* Between two slices of a wait. */
static void
wait_more(void)
{
	ks_feed_serve();
	ks_feed_tell_waiting();
	(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 ks_producer_fd(ks_publisher_producer(&ks_feed.publisher)), SLICE_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/* What the producer says is raised as an error. */
KS_NORETURN static void
raise_producer_error(void)
{
	KsStateError error = {.sqlstate = ERRCODE_CONNECTION_EXCEPTION, .message = "the producer has failed"};
	bool		halts = false;

	if (ks_feed_producer_error(&error, &halts, NULL) && halts)
		ks_feed_halt(&error);
	/* whoever catches it asks the producer what it means */
	ks_feed.publisher.state = KS_PUBLISHER_FAILED;
	ereport(ERROR,
			(errcode(error.sqlstate),
			 errmsg("%s", error.message),
			 error.detail ? errdetail_internal("%s", error.detail) : 0,
			 error.hint ? errhint("%s", error.hint) : 0));
}

static void
fence(void)
{
	KsPublisher *p = &ks_feed.publisher;
	KsProducerResult result;

	for (p->turn = KS_PUBLISHER_PRODUCERS - 1; p->turn >= 0; p->turn--)
	{
		while ((result = ks_producer_init(ks_publisher_producer(p), SLICE_MS)) == KS_PRODUCER_AGAIN)
			wait_more();
		if (result != KS_PRODUCER_DONE)
			raise_producer_error();
	}
	p->turn = 0;
	ks_feed.trouble_since = 0;
	ks_feed_step("fenced");
}

static TimestampTz
deadline(void)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ANSWER_MS);
}

static void
make_topic(void)
{
	const char *topic = ks_feed.feed->progress_topic;
	KsProducerResult result;

	if (ks_progress_has_topic(ks_feed.conf, topic, deadline()))
		return;
	while ((result = ks_producer_make_compacted(ks_publisher_producer(&ks_feed.publisher), topic, 10 * SLICE_MS)) == KS_PRODUCER_AGAIN)
		wait_more();
	if (result != KS_PRODUCER_DONE)
		raise_producer_error();
}

/* --- the feed's row --- */

static void
set_started(void *started)
{
	*(bool *) started = ks_feeds_set_started(ks_feed.feed, ks_feed.feed->start_lsn);
	ks_shmem_note_change();
}

static void
set_progress(void *arg)
{
	const KsProgress *p = &ks_feed.publisher.progress;

	ks_feeds_set_progress(ks_feed.feed, p->lsn, p->xid, p->transactions, p->records);
}

static void
make_rows(void *arg)
{
	KsFeed	   *feed = ks_feed.feed;

	ks_feed.publisher.rows = ks_rows_create(feed->with_schema ? KS_ROW_DEBEZIUM_SCHEMA :
											feed->debezium ? KS_ROW_DEBEZIUM : KS_ROW_PLAIN,
											feed->topic, feed->progress_topic, feed->name, get_database_name(MyDatabaseId),
											ks_feed_check_table, ks_publisher_send_row, &ks_feed.publisher, ks_feed.cxt);
}

/* What the feed's row says. */
static void
note_definition(void)
{
	KsFeed	   *feed = ks_feed.feed;
	KsDefinition *as = &ks_feed.defined;

	memset(as, 0, sizeof(KsDefinition));
	if (feed->publication == NULL)
		return;
	strlcpy(as->publication, feed->publication, sizeof(as->publication));
	strlcpy(as->topic, feed->topic, sizeof(as->topic));
	strlcpy(as->envelope, feed->envelope, sizeof(as->envelope));
}

/* Up to the commit that has changed them, the former settings hold. */
static void
take_definition(KsProgress *progress)
{
	KsFeed	   *feed = ks_feed.feed;

	/* written before progress had them */
	if (progress->as.publication[0] == '\0')
		progress->as = ks_feed.defined;
	if (memcmp(&ks_feed.defined, &progress->as, sizeof(KsDefinition)) == 0)
		return;
	feed->publication = MemoryContextStrdup(ks_feed.cxt, progress->as.publication);
	feed->topic = MemoryContextStrdup(ks_feed.cxt, progress->as.topic);
	ks_feeds_use_envelope(feed, MemoryContextStrdup(ks_feed.cxt, progress->as.envelope));
	ks_feed.former_until = ks_wal_end();
}

static void
look_for_open(void *open)
{
	*(bool *) open = GetActiveSnapshot()->xcnt > 0;
}

/* What was waited for has come; it is as before, if nothing else was wrong then. */
static void
tell_state_of_before(const char *before)
{
	if (before && strcmp(before, "starting") == 0 && strcmp(ks_feed.state ? ks_feed.state : "", "waiting") == 0)
		ks_feed_write_state("starting", NULL);
}

/* A slot is made when all have ended that have written, in whatever database: that can take
 * long, and nothing can be told meanwhile. */
static void
tell_open(void)
{
	KsStateError error = {
		.sqlstate = ERRCODE_OBJECT_IN_USE,
		.message = "transactions are open that the feed's replication slot waits for",
		.hint = "Those of pg_stat_activity with a backend_xid, of whatever database, and pg_prepared_xacts.",
		.part = -1,
		.off = -1,
		.waits_for = "transaction"
	};
	bool		open;

	ks_feed_run(look_for_open, &open);
	if (open)
		ks_feed_write_state("waiting", &error);
}

/* The first start: slot, progress, and then the promise. */
static void
begin_feed(void)
{
	KsFeed	   *feed = ks_feed.feed;
	const char *before = ks_feed.state;
	bool		started = false;

	make_topic();
	tell_open();
	feed->start_lsn = ks_wal_make_slot(ks_wal_slot_name(feed->id), feed->publication != NULL, feed->failover);
	tell_state_of_before(before);
	ks_feed_step("slot_made");
	ks_feed.publisher.progress = (KsProgress)
	{
		.feed_id = feed->id,
			.system_identifier = GetSystemIdentifier(),
			.timeline = ks_timeline(),
			.start_lsn = feed->start_lsn,
			.lsn = feed->start_lsn
	};
	ks_feed.publisher.progress.as = ks_feed.defined;
	ks_publisher_init(&ks_feed.publisher);
	ks_publisher_commit(&ks_feed.publisher, feed->start_lsn);
	ks_feed_run(set_started, &started);
	/* what has changed it may have come before the slot */
	if (!started)
		ks_feed_respawn();
	ks_feed_step("started");
}

/* It was deleted, unless the brokers have only just started and do not know all of their
 * topics yet: so it is looked for for some time. */
static void
await_topic(void)
{
	const char *topic = ks_feed.feed->progress_topic;
	const char *before = ks_feed.state;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), MISSING_MS);
	KsStateError error = {
		.sqlstate = ERRCODE_UNDEFINED_OBJECT,
		.message = psprintf("topic \"%s\", which has the feed's progress, does not exist", topic),
		.topic = topic,
		.part = -1,
		.off = -1,
		.waits_for = "topic"
	};

	while (!ks_progress_has_topic(ks_feed.conf, topic, deadline()))
	{
		if (GetCurrentTimestamp() >= until)
			halt(error.sqlstate, error.message, NULL, gap_hint());
		ks_feed_write_state("waiting", &error);
		for (int ms = 0; ms < CHECK_MS; ms += SLICE_MS)
			wait_more();
	}
	tell_state_of_before(before);
}

static void
continue_feed(const KsSlotInfo *slot)
{
	KsFeed	   *feed = ks_feed.feed;
	KsProgress	progress;
	bool		found;

	await_topic();
	found = ks_progress_read(ks_feed.conf, feed->progress_topic, ks_feed.publisher.name, deadline(), &progress);
	check_progress(found, &progress, slot);
	take_definition(&progress);
	progress.timeline = ks_timeline();
	ks_feed.publisher.progress = progress;
	ks_publisher_init(&ks_feed.publisher);
	if (slot->follows != feed->failover)
		ks_wal_set_follows(ks_wal_slot_name(feed->id), feed->failover);
	if (feed->skip_lsn != 0 && feed->skip_lsn < progress.lsn)
		ks_feed_end_skip(progress.skipped == feed->skip_lsn);
}

/* The feed as the process was started for; false if it is not to run. */
static bool
load_feed(int64 generation)
{
	ks_transaction_begin();
	MemoryContextSwitchTo(ks_feed.cxt);
	ks_feed.feed = ks_feeds_get(ks_feed.slot->sink, true);
	if (ks_feed.feed && ks_feed.feed->generation != generation)
	{
		ks_transaction_commit();
		ks_feed_respawn();
	}
	if (ks_feed.feed == NULL || !ks_feed.feed->enabled || ks_feed.feed->suspended || ks_feed.feed->halted ||
		ks_feed.feed->owner != GetUserId())
	{
		ks_transaction_commit();
		return false;
	}
	SetConfigOption("application_name", psprintf("kafka_sink %s", ks_feed.feed->name), PGC_USERSET, PGC_S_SESSION);
	/* while it tries again, what went wrong is what people want to see */
	if (ks_feed.feed->state && (strcmp(ks_feed.feed->state, "backoff") == 0 || strcmp(ks_feed.feed->state, "waiting") == 0))
	{
		ks_feed.state = ks_feed.feed->state;
		ks_feed.stopped_at = ks_feed.feed->state_lsn;
	}
	ks_transaction_commit();
	return true;
}

static void
load_connection(void)
{
	uint8		secret[KS_MESSAGE_SECRET_LEN];

	ks_transaction_begin();
	MemoryContextSwitchTo(ks_feed.cxt);
	ks_feed.conf = ks_options_load(ks_feed.feed->server, ks_feed.feed->owner);
	ks_feed.conf_fingerprint = ks_options_fingerprint(ks_feed.conf);
	open_producers();
	ks_feeds_secret(ks_feed.feed->name, secret, sizeof(secret));
	ks_message_make_key(secret, &ks_feed.publisher.key);
	explicit_bzero(secret, sizeof(secret));
	ks_transaction_commit();
	MemoryContextSwitchTo(ks_feed.cxt);
}

bool
ks_feed_start(int64 generation)
{
	KsSlotInfo	slot;
	KsWalReceiver receiver;
	bool		begins;

	if (!load_feed(generation))
		return false;
	if (ks_feed.state == NULL)
		ks_feed_write_state("starting", NULL);
	begins = XLogRecPtrIsInvalid(ks_feed.feed->start_lsn);
	if (!begins)
		check_slot(&slot);
	note_definition();
	load_connection();
	fence();
	if (begins)
		begin_feed();
	else
		continue_feed(&slot);
	ks_feed_run(set_progress, NULL);
	if (ks_feed.feed->publication)
	{
		ks_feed_run(make_rows, NULL);
		ks_feed_run(ks_feed_find_tables, NULL);
	}
	receiver = ks_publisher_receiver(&ks_feed.publisher);
	receiver.is_own = ks_feed_is_own;
	ks_feed_copy_start(&receiver);
	ks_feed.wal = ks_wal_open(ks_wal_slot_name(ks_feed.feed->id), ks_feed.publisher.progress.lsn,
							  ks_feed.feed->skip_lsn, ks_feed.feed->publication, &receiver, ks_feed.cxt);
	return true;
}
