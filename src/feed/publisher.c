/*
 * publisher.c
 *	  Committed transactions become transactions of Kafka.
 *
 * What is counted is what is committed: the counts of what is open replace those when
 * Kafka has said so.  Any error leaves the transaction of Kafka as it is; it is
 * aborted if there is time, and fenced by the next process in any case.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/message.h"
#include "feed/publisher.h"
#include "feed/steps.h"

#define SLICE_MS		100		/* of a wait for Kafka; interrupts are served in between */
#define ABORT_MS		3000	/* of patience with an abort */
#define FULL_MS			2		/* until the queue is tried again */
#define REST_MS			5		/* between two transactions of a producer, see rest() */
#define MANY_RECORDS	64		/* of a transaction; then the clock is read for one in so many: */
#define LOOK_RECORDS	16
#define PASS_MS			50		/* that those which are published wait for one that is not */

/* --- waiting and failing --- */

static void
pause_for(KsPublisher *p, long ms)
{
	p->serve();
	p->has_waited = true;
	(void) WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 ks_producer_fd(ks_publisher_producer(p)), ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	ks_producer_serve(ks_publisher_producer(p));
}

/* Raises what the producer has to say. */
KS_NORETURN static void
fail(KsPublisher *p)
{
	KsProducerError error;

	p->state = KS_PUBLISHER_FAILED;
	if (!ks_producer_error(ks_publisher_producer(p), &error))
		elog(ERROR, "the producer has failed without an error");
	ereport(ERROR,
			(errcode(error.sqlstate),
			 errmsg("%s", error.message),
			 error.detail ? errdetail_internal("%s", error.detail) : 0,
			 error.hint ? errhint("%s", error.hint) : 0));
}

static void
send_record(KsPublisher *p, const KsProducerRecord *rec)
{
	for (;;)
	{
		switch (ks_producer_send(ks_publisher_producer(p), rec))
		{
			case KS_PRODUCER_DONE:
				return;
			case KS_PRODUCER_AGAIN:
				pause_for(p, FULL_MS);
				break;
			case KS_PRODUCER_ABORT:
			case KS_PRODUCER_DEAD:
				fail(p);
		}
	}
}

/*
 * Kafka writes the end of a transaction into its partitions when it has answered the
 * commit, and takes no partition into the producer's next one before; librdkafka asks
 * again after 20 ms.  Hence the other producer; and if the one at hand has committed as
 * lately, a shorter pause (but not until a clock that was set back has come as far again).
 */
static void
rest(KsPublisher *p)
{
	TimestampTz until = TimestampTzPlusMilliseconds(p->committed_at[p->turn], REST_MS);
	long		left;

	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0 && left <= REST_MS)
		pause_for(p, left);
}

static void
begin_kafka(KsPublisher *p)
{
	rest(p);
	if (ks_producer_begin(ks_publisher_producer(p)) != KS_PRODUCER_DONE)
		fail(p);
	p->state = KS_PUBLISHER_OPEN;
	p->opened_at = GetCurrentTimestamp();
	p->open_records = p->open_bytes = p->open_transactions = 0;
	ks_feed_step("begun");
}

static void
send_progress(KsPublisher *p)
{
	StringInfoData value;
	KsProducerRecord rec = {
		.topic = p->progress_topic,
		.part = 0,
		.key = p->name,
		.keylen = strlen(p->name),
		.ts_ms = ks_timestamp_to_ms(GetCurrentTimestamp())
	};

	initStringInfo(&value);
	ks_progress_write(&p->next, &value);
	rec.value = value.data;
	rec.valuelen = value.len;
	send_record(p, &rec);
	pfree(value.data);
}

/* Until Kafka says that it is committed. */
static void
end_kafka(KsPublisher *p)
{
	instr_time	start,
				now;

	INSTR_TIME_SET_CURRENT(start);
	for (;;)
	{
		KsProducerResult result = ks_producer_commit(ks_publisher_producer(p), SLICE_MS);

		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, start);
		if (result == KS_PRODUCER_DONE)
			break;
		/* the next process asks what became of it */
		if (result != KS_PRODUCER_AGAIN || INSTR_TIME_GET_MILLISEC(now) > p->patience_ms)
			fail(p);
		pause_for(p, SLICE_MS);
	}
	p->took_us = INSTR_TIME_GET_MICROSEC(now);
	p->open_counts.commit_us += p->took_us;
}

/* Nobody is blamed for what is refused behind this; if they do not arrive, the commit
 * tells why. */
static void
await_arrival(KsPublisher *p)
{
	KsProducerResult result;

	while ((result = ks_producer_flush(ks_publisher_producer(p), SLICE_MS)) == KS_PRODUCER_AGAIN)
		pause_for(p, 1);
	if (result == KS_PRODUCER_DONE)
		p->blamed = InvalidXLogRecPtr;
}

/* The transaction of Kafka, with the progress 'next'. */
static void
commit_kafka(KsPublisher *p)
{
	ks_feed_step("records_sent");
	if (ks_publisher_is_careful(p) && p->open_records > 0)
		await_arrival(p);
#ifdef KS_BREAK_FEED_PROGRESS
	/* for the tests alone, which must find it out: the progress in a transaction of
	 * its own */
	end_kafka(p);
	ks_feed_step("torn");
	if (ks_producer_begin(ks_publisher_producer(p)) != KS_PRODUCER_DONE)
		fail(p);
#endif
	send_progress(p);
	ks_feed_step("progress_sent");
	end_kafka(p);
	ks_feed_step("committed");
	p->state = KS_PUBLISHER_IDLE;
	p->committed_at[p->turn] = GetCurrentTimestamp();
	p->turn = (p->turn + 1) % KS_PUBLISHER_PRODUCERS;
	p->progress = p->next;
	p->open_counts.commits += p->open_records > 0;
	p->counts = p->open_counts;
}

/* --- what is read --- */

static void
begin_txn(void *arg, const KsWalTransaction *txn)
{
	KsPublisher *p = arg;

	p->txn_lsn = txn->commit_lsn;
	p->txn_records = p->looked_at = 0;
	p->txn_change = 0;
	p->defines = false;
}

/*
 * Kafka would end the transaction by itself: what there is of it is committed, which
 * readers see.  The rest follows in another.  So many of its changes are done: those that
 * nothing is published of count, too, since that may be seen otherwise the next time.
 */
static void
commit_part(KsPublisher *p, XLogRecPtr commit_lsn, uint64 changes)
{
	p->next.lsn = commit_lsn;
	p->next.inside = commit_lsn;
	p->next.inside_changes = (int64) changes;
	p->open_counts.cuts++;
	commit_kafka(p);
	ks_feed_step("cut");
}

/* Has the transaction of Kafka been open for too long?  The clock costs as much as some records do. */
static bool
is_cut_due(KsPublisher *p)
{
	if (p->state != KS_PUBLISHER_OPEN || p->txn_records <= 1 ||
		(p->txn_records > MANY_RECORDS && p->txn_records < p->looked_at + LOOK_RECORDS && !p->has_waited))
		return false;
	p->has_waited = false;
	p->looked_at = p->txn_records;
	return TimestampDifferenceExceeds(p->opened_at, GetCurrentTimestamp(), p->cut_ms);
}

/* One more record of a transaction that is published alone: whose fault can it be? */
static void
suspect(KsPublisher *p, const KsWalTransaction *txn, const char *topic)
{
	p->blamed = txn->commit_lsn;
	if (p->open_records == 0)
		strlcpy(p->only_topic, topic, sizeof(p->only_topic));
	else if (strcmp(p->only_topic, topic) != 0)
		p->only_topic[0] = '\0';
}

/* One record of the transaction at hand.  All that a change has stays together. */
static void
publish(KsPublisher *p, const KsWalTransaction *txn, KsProducerRecord *rec)
{
	int64		bytes = (int64) Max(rec->keylen, 0) + Max(rec->valuelen, 0);
	bool		first = txn->change != p->txn_change;

	p->txn_records++;
	p->txn_change = txn->change;
	if (p->progress.inside == txn->commit_lsn && (int64) txn->change <= p->progress.inside_changes)
		return;
	if (first && is_cut_due(p))
		commit_part(p, txn->commit_lsn, txn->change - 1);
	if (p->state != KS_PUBLISHER_OPEN)
		begin_kafka(p);
	p->last = txn->commit_lsn;
	if (unlikely(ks_publisher_is_careful(p)))
		suspect(p, txn, rec->topic);
	rec->ts_ms = ks_timestamp_to_ms(txn->committed_at);
	send_record(p, rec);
	p->open_records++;
	p->open_bytes += bytes;
	p->open_counts.records++;
	p->open_counts.bytes += bytes;
	p->next.records++;
}

void
ks_publisher_send_row(void *publisher, const KsWalTransaction *txn, KsProducerRecord *rec)
{
	publish(publisher, txn, rec);
}

/* It is nothing that a transaction has published, and does not count as such. */
void
ks_publisher_send_copied(KsPublisher *p, const KsProducerRecord *rec)
{
	int64		bytes = (int64) Max(rec->keylen, 0) + Max(rec->valuelen, 0);

	if (p->state != KS_PUBLISHER_OPEN)
		begin_kafka(p);
	send_record(p, rec);
	p->open_records++;
	p->open_bytes += bytes;
	p->open_counts.records++;
	p->open_counts.copied++;
	p->open_counts.bytes += bytes;
	p->next.records++;
}

static void
take_change(void *arg, const KsWalTransaction *txn, StringInfo words)
{
	KsPublisher *p = arg;

	ks_rows_take(p->rows, txn, words);
}

/* Of tables it is known when they are first met; a message may have been emitted before a
 * feed had its progress there. */
static void
check_topic(const KsPublisher *p, const char *topic)
{
	if (strcmp(topic, p->progress_topic) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" is not for what a feed publishes", topic),
				 errdetail("It says how far feeds are."),
				 errhint("kafka_sink.skip() leaves the transaction out.")));
}

/* A setting that could not have been made is none. */
static void
take_definition(KsPublisher *p, const KsProducerRecord *rec)
{
	KsDefinition *as = &p->definition;

	if (rec->keylen <= 0 || rec->keylen >= (int) sizeof(as->publication) ||
		rec->valuelen <= 0 || rec->valuelen >= (int) sizeof(as->envelope))
		return;
	memset(as, 0, sizeof(KsDefinition));
	memcpy(as->publication, rec->key, rec->keylen);
	strlcpy(as->topic, rec->topic, sizeof(as->topic));
	memcpy(as->envelope, rec->value, rec->valuelen);
	p->defines = true;
}

static void
take_message(void *arg, const KsWalTransaction *txn, const char *data, Size len)
{
	KsPublisher *p = arg;
	KsHeader	headers[KS_PRODUCER_MAX_HEADERS];
	KsProducerRecord rec;

	switch (ks_message_read(data, len, p->feed_id, txn->xid, &p->key, &rec, headers))
	{
		case KS_MESSAGE_OTHERS:
			return;
		case KS_MESSAGE_FORGED:
			/* told at once: there may be nothing else to commit */
			p->counts.forged = ++p->open_counts.forged;
			return;
		case KS_MESSAGE_OURS:
			if (rec.part == KS_MESSAGE_DEFINES)
				take_definition(p, &rec);
			else
			{
				check_topic(p, rec.topic);
				publish(p, txn, &rec);
			}
			return;
	}
}

static void
commit_txn(void *arg, const KsWalTransaction *txn)
{
	KsPublisher *p = arg;

	if (p->defines)
		ks_publisher_redefine(p, &p->definition);
	if (p->txn_records == 0)
		return;
	/* one that was handed out before, to its end */
	p->next.inside = 0;
	p->next.inside_changes = 0;
	p->next.xid = XidFromFullTransactionId(txn->xid);
	p->next.transactions++;
	p->open_counts.transactions++;
	p->open_transactions++;
}

/*
 * A transaction of which little or nothing is published, a load of other tables as it may
 * be, takes as long to be passed over as one that is.  Kafka would end what is open
 * meanwhile, and so it would each time that it is tried again; and what was published
 * before it is not to wait for it.
 */
static void
pass(void *arg, XLogRecPtr commit_lsn, uint64 changes)
{
	KsPublisher *p = arg;
	bool		part = p->txn_lsn == commit_lsn && p->txn_records > 0;

	ks_feed_step("passing");
	p->serve();
	if (p->state != KS_PUBLISHER_OPEN ||
		(changes > 0 && !TimestampDifferenceExceeds(p->opened_at, GetCurrentTimestamp(), part ? p->cut_ms : PASS_MS)))
		return;
	if (part)
		commit_part(p, commit_lsn, changes);
	else
		ks_publisher_commit(p, commit_lsn);
}

/* What there was of it in Kafka stays: it was cut. */
static void
skip_txn(void *arg, XLogRecPtr commit_lsn)
{
	KsPublisher *p = arg;

	p->next.inside = 0;
	p->next.inside_changes = 0;
	p->next.skipped = commit_lsn;
}

/* --- who calls --- */

void
ks_publisher_init(KsPublisher *p)
{
	p->state = KS_PUBLISHER_IDLE;
	p->next = p->progress;
	memset(&p->counts, 0, sizeof(p->counts));
	memset(&p->open_counts, 0, sizeof(p->open_counts));
}

KsWalReceiver
ks_publisher_receiver(KsPublisher *p)
{
	return (KsWalReceiver)
	{
		.begin = begin_txn,
			.message = take_message,
			.change = take_change,
			.commit = commit_txn,
			.skipped = skip_txn,
			.passed = pass,
			.arg = p
	};
}

bool
ks_publisher_is_full(const KsPublisher *p)
{
	return p->open_records >= p->batch_records || p->open_bytes >= p->batch_bytes ||
		ks_publisher_is_careful(p);
}

void
ks_publisher_set_back(KsPublisher *p, TimestampTz now)
{
	p->opened_at = Min(p->opened_at, now);
}

void
ks_publisher_redefine(KsPublisher *p, const KsDefinition *as)
{
	if (memcmp(&p->next.as, as, sizeof(KsDefinition)) == 0)
		return;
	p->next.as = *as;
	p->redefined = true;
}

void
ks_publisher_commit(KsPublisher *p, XLogRecPtr position)
{
	if (p->state != KS_PUBLISHER_OPEN)
		begin_kafka(p);
	/* it has ended, and nothing more of it was to be published */
	if (p->next.inside < position)
		p->next.inside = p->next.inside_changes = 0;
	p->next.lsn = position;
	commit_kafka(p);
}

void
ks_publisher_abort(KsPublisher *p)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ABORT_MS);

	/* what was handed to a commit may be committed: only the next process knows */
	if (p->state == KS_PUBLISHER_IDLE)
		return;
	while (ks_producer_abort(ks_publisher_producer(p), SLICE_MS) == KS_PRODUCER_AGAIN && GetCurrentTimestamp() < deadline)
		;
}
