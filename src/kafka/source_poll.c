/*
 * source_poll.c
 *	  Records: from librdkafka's queue into the caller's array.
 *
 * What arrives of a partition is judged in this order: it is dropped if it is
 * of an older epoch, or the partition does not receive; an end of partition or
 * an error becomes an event; a record below the expected offset is a redelivery;
 * in CHECKING the first record decides; a record below the floor (the stored
 * offset) was consumed or passed over before; a record below an end that was told
 * since, where none was, is of another log; all others are handed out, unless
 * logs that came before them tell of an interruption (source_watch.c).  What of
 * this is not done for each record is in source_judge.c.
 *
 * librdkafka drops what its queue holds of a partition when that is stopped.
 * What was taken from the queue before, and not judged yet, has the number of
 * its chunk, which is not above the one at which the epoch began.
 */
#include "postgres.h"

#include <unistd.h>

#include "utils/memutils.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define RECHECKS_PER_POLL	32

static inline void
fill_record(KsRecord *rec, const KsSourcePart *part, const rd_kafka_message_t *msg)
{
	rd_kafka_timestamp_type_t type;

	rec->pidx = part->pidx;
	rec->keylen = msg->key ? (int32) msg->key_len : -1;
	rec->valuelen = msg->payload ? (int32) msg->len : -1;
	rec->nheaders = 0;
	rec->key = msg->key;
	rec->value = msg->payload;
	rec->off = msg->offset;
	rec->ts_ms = rd_kafka_message_timestamp(msg, &type);
	rec->headers = NULL;
	rec->msg = NULL;
}

static KsSourcePart *
part_of(KsSource *src, const rd_kafka_message_t *msg, rd_kafka_topic_t **rkt,
		KsSourceTopic **topic)
{
	if (msg->rkt == NULL)
		return NULL;
	if (msg->rkt != *rkt)
	{
		*rkt = msg->rkt;
		*topic = rd_kafka_topic_opaque(msg->rkt);
	}
	if (*topic == NULL || msg->partition < 0 || msg->partition >= (*topic)->nparts)
		return NULL;
	return (*topic)->parts[msg->partition];
}

/* --- headers --- */

/* Returns how many bytes they are. */
static Size
fill_headers(KsRecord *recs, int n)
{
	KsHeader   *all;
	Size		bytes = 0;
	int			count = 0;

	for (int i = 0; i < n; i++)
		count += recs[i].nheaders;
	if (count == 0)
		return 0;
	all = MemoryContextAllocHuge(CurrentMemoryContext, (Size) count * sizeof(KsHeader));
	for (int i = 0; i < n; i++)
	{
		rd_kafka_headers_t *hdrs;

		if (recs[i].nheaders == 0)
			continue;
		recs[i].headers = all;
		if (rd_kafka_message_headers(ks_source_held(&recs[i]), &hdrs) != RD_KAFKA_RESP_ERR_NO_ERROR)
			elog(ERROR, "headers of a record are gone");
		for (int j = 0; j < recs[i].nheaders; j++, all++)
		{
			const void *value = NULL;
			size_t		size = 0;

			rd_kafka_header_get_all(hdrs, j, &all->name, &value, &size);
			all->value = value;
			all->valuelen = value ? (int32) size : -1;
			bytes += strlen(all->name) + size;
		}
	}
	return bytes;
}

/* Counts the headers of a record, false if they are damaged. */
static bool
count_headers(KsRecord *rec, rd_kafka_message_t *msg)
{
	rd_kafka_headers_t *hdrs;

	switch (rd_kafka_message_headers(msg, &hdrs))
	{
		case RD_KAFKA_RESP_ERR_NO_ERROR:
			rec->nheaders = rd_kafka_header_cnt(hdrs);
			return true;
		case RD_KAFKA_RESP_ERR__NOENT:
			return true;
		default:
			return false;
	}
}

/* --- polling --- */

/* An earlier poll ended in an error: what it took from librdkafka is gone. */
static void
fail_unfinished(KsSource *src)
{
	src->unfinished = false;
	src->ntouched = 0;
	for (int i = 0; i < src->nparts; i++)
	{
		if (src->parts[i] == NULL)
			continue;
		src->parts[i]->last_rec = -1;
		/* where it stands in its log is not known any more, whatever was told of it */
		src->parts[i]->pending &= ~(KS_PENDING_TAIL | KS_PENDING_EOF | KS_PENDING_RANGE);
		if (KS_PART_RECEIVES(src->parts[i]) || src->parts[i]->state == KS_PART_OUT_OF_RANGE)
			ks_source_fail(src, src->parts[i], KS_EVENT_PARTITION_ERROR, -1,
						   RD_KAFKA_RESP_ERR__FAIL);
	}
}

/*
 * Before 2.2 a fetcher that finds the queue full sleeps until something else
 * happens on its connection, or for a second: whoever works faster than that
 * starves, unless the queue holds a second's records.  Setting the credentials,
 * which is good for new connections only and here sets what was set before,
 * wakes all fetchers at once.  16 MB of queue and 1.5 us of work a record: 204,000
 * records/s without, 605,000 with it, and 650,000 is what the work allows.
 */
static void
wake_fetchers(KsSource *src)
{
	rd_kafka_error_t *error = rd_kafka_sasl_set_credentials(src->rk, src->username,
															src->password);

	if (error)
		rd_kafka_error_destroy(error);
	src->since_wake = 0;
	src->since_wake_bytes = 0;
}

/* Errors of topics, which came while messages were taken. */
static void
judge_topic_errors(KsSource *src)
{
	src->topic_errs = false;
	for (int i = 0; i < src->nparts; i++)
	{
		KsSourcePart *part = src->parts[i];

		if (part == NULL || part->topic_err == RD_KAFKA_RESP_ERR_NO_ERROR)
			continue;
		if (KS_PART_RECEIVES(part))
			ks_source_judge_error(src, part, part->topic_err);
		part->topic_err = RD_KAFKA_RESP_ERR_NO_ERROR;
	}
}

/*
 * Partitions that were interrupted: what was taken of them in this poll is
 * given back.  Returns how many records are left.
 */
static int
drop_suspects(KsSource *src, KsRecord *recs, int n, Size *bytes)
{
	int			nkept = 0;

	for (int i = 0; i < n; i++)
	{
		KsSourcePart *part = src->parts[recs[i].pidx];

		if (part->state == KS_PART_SUSPECT)
		{
			*bytes -= Max(recs[i].keylen, 0) + Max(recs[i].valuelen, 0);
			ks_source_release(&recs[i], 1);
			part->last_rec = -1;
		}
		else
		{
			recs[nkept] = recs[i];
			part->last_rec = nkept++;
		}
	}

	return nkept;
}

/*
 * Starts suspects again with a tail check: if there are many, the others in the
 * polls that follow.  They receive nothing until then.
 */
static void
recheck_suspects(KsSource *src)
{
	int			rechecked = 0;

	src->suspects = false;
	for (int i = 0; i < src->nparts; i++)
	{
		if (src->parts[i] == NULL || src->parts[i]->state != KS_PART_SUSPECT)
			continue;
		if (rechecked++ == RECHECKS_PER_POLL)
		{
			src->suspects = true;
			break;
		}
		ks_source_recheck(src, src->parts[i]);
	}
}

bool
ks_source_is_busy(const KsSource *src)
{
	return src->suspects;
}

/* Remembers the last record of each partition that was handed out. */
static void
remember_last(KsSource *src, const KsRecord *recs)
{
	for (int i = 0; i < src->ntouched; i++)
	{
		KsSourcePart *part = src->touched[i];

		if (part->last_rec < 0)
			continue;
		part->last_off = recs[part->last_rec].off;
		part->last_hash = ks_record_hash(&recs[part->last_rec]);
		part->last_rec = -1;
	}
	src->ntouched = 0;
}

/* Takes one message; false if it is not to be handed out.  Raises no error. */
static inline bool
take_message(KsSource *src, KsSourcePart *part, rd_kafka_message_t *msg, KsRecord *rec)
{
#ifdef KS_BREAK_STALE_EOF
	/* for the tests alone: see begin_epoch() */
	if (part != NULL && part->state == KS_PART_SUSPECT &&
		msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
		part->floor = Max(part->floor, msg->offset);
#endif
	if (unlikely(part == NULL || part->born_chunk == src->chunk || !KS_PART_RECEIVES(part)))
		return false;
	if (unlikely(msg->err != RD_KAFKA_RESP_ERR_NO_ERROR))
	{
		if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
			ks_source_judge_eof(src, part, msg);
		else if (ks_source_is_passed_over(part, msg->err))
			ks_source_restart(src, part, part->floor);
		else
			ks_source_judge_error(src, part, msg->err);
		return false;
	}
	if (unlikely(msg->offset < part->expected))
	{
		part->redelivered++;
		return false;
	}
	part->expected = msg->offset + 1;
	fill_record(rec, part, msg);
	if (unlikely(part->state == KS_PART_CHECKING || rec->off < part->passed) &&
		!ks_source_judge_tail(src, part, rec))
		return false;
	if (src->want_headers && !count_headers(rec, msg))
	{
		ks_source_fail(src, part, KS_EVENT_PARTITION_ERROR, -1, RD_KAFKA_RESP_ERR__BAD_MSG);
		return false;
	}
	return true;
}

int
ks_source_poll(KsSource *src, KsRecord *recs, int max, Size max_bytes, Size *bytes,
			   bool *drained)
{
	rd_kafka_topic_t *rkt = NULL;
	KsSourceTopic *topic = NULL;
	bool		was_drained = src->drained;
	bool		arrived = false;
	int			taken = 0;
	int			n = 0;

	*bytes = 0;
	*drained = false;
	if (unlikely(ks_memory_refused()))
		return 0;
	if (unlikely(src->unfinished))
		fail_unfinished(src);

	while (taken < max && *bytes < max_bytes)
	{
		int			want = Min(max - taken, KS_SOURCE_CHUNK);
		ssize_t		got;

		/* large records: about as many as there is room for */
		want = Min((Size) want, (max_bytes - *bytes) / src->avg_bytes + 1);
		ks_source_reserve(want);
		src->unfinished = true;
		src->chunk++;
		ks_memory_enter_library();
		got = rd_kafka_consume_batch_queue(src->queue, 0, src->taken, want);
		ks_memory_leave_library();

		for (int i = 0; i < got; i++)
		{
			rd_kafka_message_t *msg = src->taken[i];
			KsSourcePart *part = part_of(src, msg, &rkt, &topic);

			arrived |= msg->err == RD_KAFKA_RESP_ERR_NO_ERROR ||
				msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
			if (!take_message(src, part, msg, &recs[n]))
			{
				rd_kafka_message_destroy(msg);
				continue;
			}
			if (part->last_rec < 0)
				src->touched[src->ntouched++] = part;
			part->last_rec = n;
			recs[n].msg = ks_source_hold(src, msg);
			*bytes += msg->key_len + msg->len;
			n++;
		}
		if (got > 0)
			taken += got;
		if (n > 0)
			src->avg_bytes = *bytes / n + 1;
		if (got < want)
		{
			src->drained = *drained = true;
			break;
		}
	}

	if (unlikely(src->trouble != KS_CLIENT_FINE) && arrived && was_drained)
		ks_source_client_works(src);

	if (unlikely(src->topic_errs))
		judge_topic_errors(src);

	/* may serve an interrupt: what was taken is lost then, and unfinished says so */
	ks_source_serve(src);
	src->moving |= *drained || taken > 0;
	src->since_wake += taken;
	src->since_wake_bytes += *bytes;
	if (src->wake_every > 0 && (src->since_wake >= src->wake_every ||
								src->since_wake_bytes >= src->wake_every_bytes))
		wake_fetchers(src);
	if (unlikely(src->suspects))
		n = drop_suspects(src, recs, n, bytes);
	remember_last(src, recs);
	if (unlikely(src->suspects))
	{
		recheck_suspects(src);
		*drained &= !src->suspects;
	}
	if (src->want_headers)
		*bytes += fill_headers(recs, n);
	src->unfinished = false;
	return n;
}
