/*
 * reader.c
 *	  Ranges of partitions read once, for functions that only look.
 *
 * A range is at its end when a record at or behind its last offset was seen,
 * or the end of the partition behind it: between them can be gaps, left by
 * compaction, transaction markers and aborted transactions.
 *
 * What may pass (a leader that moves, a broker that restarts) is tried again
 * until the deadline; what tells that the log is not what it should be is an
 * error at once.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "base/memory.h"
#include "kafka/reader.h"

#define RESTART_FIRST_MS	200
#define RESTART_MAX_MS		2000

int
ks_reader_remaining_ms(TimestampTz deadline)
{
	return (int) Min(Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)),
					 PG_INT32_MAX / 2);
}

void
ks_reader_query_offsets(KsSource *source, const KsPartition *parts, int n, int64 ts,
						TimestampTz deadline, int64 *result)
{
	KsOffsetQuery *q = palloc0(Max(n, 1) * sizeof(KsOffsetQuery));

	for (int i = 0; i < n; i++)
	{
		q[i].topic = parts[i].topic;
		q[i].part = parts[i].part;
		q[i].ts = ts;
	}
	ks_source_query_offsets(source, q, n, ks_reader_remaining_ms(deadline));
	for (int i = 0; i < n; i++)
		result[i] = q[i].off;
	pfree(q);
}

KsReader *
ks_reader_start(KsSource *source, KsPartition *parts, int nparts, bool check_tail,
				TimestampTz deadline)
{
	KsReader   *r = palloc0(sizeof(KsReader));

	r->source = source;
	r->parts = parts;
	r->nparts = nparts;
	r->done = palloc0(Max(nparts, 1) * sizeof(bool));
	r->failed = palloc0(Max(nparts, 1) * sizeof(bool));
	r->deadline = deadline;
	for (int i = 0; i < nparts; i++)
	{
		r->done[i] = parts[i].off == parts[i].until;
		if (r->done[i])
			continue;
		r->nunfinished++;
		ks_source_start(source, i, &parts[i], check_tail);
	}
	return r;
}

static void
finish_partition(KsReader *r, int i)
{
	if (r->done[i])
		return;
	r->done[i] = true;
	r->nunfinished--;
	ks_source_stop(r->source, i);
}

/* Keeps those of n records that are in the ranges. */
static int
drop_out_of_range(KsReader *r, KsRecord *recs, int n)
{
	int			out = 0;

	for (int i = 0; i < n; i++)
	{
		KsPartition *p = &r->parts[recs[i].pidx];
		int			pidx = recs[i].pidx;
		int64		off = recs[i].off;

		if (r->done[pidx] || off >= p->until)
			ks_source_release(&recs[i], 1);
		else
		{
			if (out != i)
				recs[out] = recs[i];
			out++;
			p->off = off + 1;
		}
		if (off >= p->until - 1)
			finish_partition(r, pidx);
	}
	return out;
}

static void
log_error(const KsPartition *p, const char *message, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s", message),
			 errdetail_internal("%s", detail),
			 errcontext("topic \"%s\", partition %d, offset " INT64_FORMAT,
						p->topic, p->part, p->off)));
}

static void
handle_event(KsReader *r, const KsSourceEvent *ev)
{
	switch (ev->type)
	{
		case KS_EVENT_EOF:
			if (ev->off >= r->parts[ev->pidx].until)
				finish_partition(r, ev->pidx);
			break;
		case KS_EVENT_TAIL_OK:
		case KS_EVENT_TAIL_UNCHECKABLE:
		case KS_EVENT_RECOVERED:
		case KS_EVENT_PARTITION_COUNT:
		case KS_EVENT_LEADER_AWAY:
		case KS_EVENT_LEADER_BACK:
			break;
		case KS_EVENT_TAIL_MISMATCH:
			log_error(&r->parts[ev->pidx], "the log is not the one that was read",
					  psprintf("Another record stands at offset " INT64_FORMAT " now.", ev->off));
			break;
		case KS_EVENT_TRUNCATED:
			log_error(&r->parts[ev->pidx], "the log ends before the offset",
					  psprintf("End of the log: " INT64_FORMAT ".", ev->off));
			break;
		case KS_EVENT_OUT_OF_RANGE:
			log_error(&r->parts[ev->pidx], "records were deleted before they were read",
					  psprintf("The log begins at " INT64_FORMAT ".", ev->off));
			break;
		case KS_EVENT_PARTITION_ERROR:
		case KS_EVENT_ERROR:
			if (ev->action == KS_ERROR_HALT)
				ereport(ERROR,
						(errcode(ev->sqlstate),
						 errmsg("%s", ev->message),
						 ev->detail ? errdetail_internal("%s", ev->detail) : 0,
						 ev->hint ? errhint("%s", ev->hint) : 0));
			r->trouble = MemoryContextStrdup(GetMemoryChunkContext(r), ev->message);
			if (ev->type == KS_EVENT_PARTITION_ERROR && !r->done[ev->pidx])
			{
				ks_source_stop(r->source, ev->pidx);
				r->failed[ev->pidx] = true;
				/* those that fail meanwhile are started with the first */
				if (r->restart_at == 0)
					r->restart_at = ks_backoff_until(GetCurrentTimestamp(), r->failures++, RESTART_FIRST_MS, RESTART_MAX_MS);
			}
			break;
	}
}

/* Starts failed partitions again, behind what was handed out, when it is time. */
static void
restart_failed(KsReader *r)
{
	if (r->restart_at == 0 || GetCurrentTimestamp() < r->restart_at)
		return;
	r->restart_at = 0;
	for (int i = 0; i < r->nparts; i++)
		if (r->failed[i])
		{
			r->failed[i] = false;
			ks_source_start(r->source, i, &r->parts[i], false);
		}
}

int
ks_reader_next(KsReader *r, KsRecord *recs, int max, Size max_bytes, Size *bytes)
{
	while (r->nunfinished > 0)
	{
		KsSourceEvent ev;
		int			got;
		int			n;
		int			wait;
		bool		drained;

		CHECK_FOR_INTERRUPTS();
		ks_memory_check_session();
		restart_failed(r);
		ks_source_clear_fd(r->source);
		got = ks_source_poll(r->source, recs, max, max_bytes, bytes, &drained);
		n = drop_out_of_range(r, recs, got);
		while (ks_source_next_event(r->source, &ev))
			handle_event(r, &ev);
		if (n > 0)
		{
			r->failures = 0;
			if (r->patience_ms > 0)
				r->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), r->patience_ms);
			return n;
		}
		if (!drained || r->nunfinished == 0 || ks_source_is_busy(r->source))
			continue;
		if (GetCurrentTimestamp() >= r->deadline)
			ereport(ERROR,
					(errcode(ERRCODE_QUERY_CANCELED),
					 errmsg("timed out while reading from Kafka"),
					 r->trouble ? errdetail("Kafka said: %s.", r->trouble) : 0,
					 errhint("%s", r->hint ? r->hint : "Give a longer timeout, or read less.")));
		wait = ks_reader_remaining_ms(r->deadline);
		if (r->restart_at != 0)
			wait = Min(wait, ks_reader_remaining_ms(r->restart_at));
		(void) WaitLatchOrSocket(MyLatch,
								 WL_LATCH_SET | WL_SOCKET_READABLE | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								 ks_source_fd(r->source), wait, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	*bytes = 0;
	return 0;
}
