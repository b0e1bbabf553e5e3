/*
 * source_offsets.c
 *	  Questions to the brokers about offsets, which are waited for (source_wait.c):
 *	  where a time is in a log, where it ends, and on which side of it a partition is.
 */
#include "postgres.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define RESOLVE_MS		3000	/* for the watermarks behind an event */

/*
 * Asks for the offsets of a list, whose offsets are timestamps before.  What
 * could not be had has an error of its own.
 */
static rd_kafka_resp_err_t
list_offsets(KsSource *src, rd_kafka_topic_partition_list_t *list, KsSourceWait *wait)
{
	rd_kafka_topic_partition_list_t *asked = rd_kafka_topic_partition_list_copy(list);
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;

	PG_TRY();
	{
		int			slice;

		while ((slice = ks_source_wait_slice(wait)) > 0)
		{
			for (int i = 0; i < list->cnt; i++)
			{
				list->elems[i].offset = asked->elems[i].offset;
				list->elems[i].err = RD_KAFKA_RESP_ERR_NO_ERROR;
			}
			err = rd_kafka_offsets_for_times(src->rk, list, slice);
			for (int i = 0; i < list->cnt && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
				err = list->elems[i].err;
			if (err == RD_KAFKA_RESP_ERR_NO_ERROR || !ks_source_wait_again(wait, err))
				break;
		}
	}
	PG_FINALLY();
	{
		rd_kafka_topic_partition_list_destroy(asked);
	}
	PG_END_TRY();
	return err;
}

/* One end of a partition, for brokers that do not give it by timestamp. */
static int64
query_end(KsSource *src, const char *topic, int32 part, bool earliest, KsSourceWait *wait)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	int			slice;
	int64		low,
				high;

	while ((slice = ks_source_wait_slice(wait)) > 0)
	{
		err = rd_kafka_query_watermark_offsets(src->rk, topic, part, &low, &high, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return earliest ? low : high;
		if (!ks_source_wait_again(wait, err))
			break;
	}
	ks_source_wait_failed(src, err, "ask for offsets");
}

/*
 * Resolves as many queries as fit into one list, which holds a partition once.
 * Returns how many are done.
 */
static int
query_list(KsSource *src, KsOffsetQuery *q, int n, bool *done, KsSourceWait *wait,
		   rd_kafka_topic_partition_list_t *list)
{
	int		   *of = palloc(n * sizeof(int));
	int			ndone = 0;
	rd_kafka_resp_err_t err;

	for (int i = 0; i < n; i++)
	{
		if (done[i] ||
			rd_kafka_topic_partition_list_find(list, q[i].topic, q[i].part) != NULL)
			continue;
		of[list->cnt] = i;
		rd_kafka_topic_partition_list_add(list, q[i].topic, q[i].part)->offset = q[i].ts;
	}

	err = list_offsets(src, list, wait);
	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		ks_source_wait_failed(src, err, "ask for offsets");
	for (int j = 0; j < list->cnt; j++)
	{
		KsOffsetQuery *query = &q[of[j]];

		query->off = list->elems[j].offset;
		if (query->off < 0 && query->ts >= 0)
		{
			/* no record is that late */
			query->ts = KS_OFFSET_LATEST;
			continue;
		}
		if (query->off < 0)
			query->off = query_end(src, query->topic, query->part,
								   query->ts == KS_OFFSET_EARLIEST, wait);
		done[of[j]] = true;
		ndone++;
	}
	pfree(of);
	return ndone;
}

static int
query_round(KsSource *src, KsOffsetQuery *q, int n, bool *done, KsSourceWait *wait)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(n);
	int			ndone = 0;

	PG_TRY();
	{
		ndone = query_list(src, q, n, done, wait, list);
	}
	PG_FINALLY();
	{
		rd_kafka_topic_partition_list_destroy(list);
	}
	PG_END_TRY();
	return ndone;
}

void
ks_source_query_offsets(KsSource *src, KsOffsetQuery *q, int n, int timeout_ms)
{
	bool	   *done = palloc0(Max(n, 1) * sizeof(bool));
	int			ndone = 0;
	KsSourceWait wait;

	for (int i = 0; i < n; i++)
		(void) ks_source_topic(src, q[i].topic);
	ks_source_wait_begin(&wait, src, timeout_ms);
	while (ndone < n)
		ndone += query_round(src, q, n, done, &wait);
	pfree(done);
}

/* The end of a partition, as the brokers have told it to who sees all, or what is stable. */
static void
note_end(KsSourcePart *part, int64 end, bool high, TimestampTz now)
{
	if (high)
		part->asked_high = Max(part->asked_high, end);
	else
	{
		/* the high watermark is at least that */
		part->lso = Max(part->lso, end);
		part->high = Max(part->high, part->lso);
	}
	part->known_at = now;
}

/* Asks for the ends of all started partitions, by the handle of 'asked'. */
static void
refresh(KsSource *src, KsSource *asked, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list;

	if (ks_memory_refused())
		return;
	list = rd_kafka_topic_partition_list_new(Max(src->nparts, 1));
	PG_TRY();
	{
		KsSourceWait wait;

		for (int i = 0; i < src->nparts; i++)
			if (src->parts[i] && src->parts[i]->started)
				rd_kafka_topic_partition_list_add(list, src->parts[i]->topic->name,
												  src->parts[i]->part)->offset = KS_OFFSET_LATEST;
		ks_source_wait_begin(&wait, asked, timeout_ms);
		if (list->cnt > 0 && asked->trouble == KS_CLIENT_FINE)
		{
			TimestampTz now;

			/* those that have an answer have it, whatever the others have */
			(void) list_offsets(asked, list, &wait);
			now = GetCurrentTimestamp();
			for (int i = 0, n = 0; i < src->nparts; i++)
			{
				KsSourcePart *part = src->parts[i];

				/* in the order in which they were put into the list */
				if (part == NULL || n >= list->cnt ||
					list->elems[n].partition != part->part ||
					strcmp(list->elems[n].topic, part->topic->name) != 0)
					continue;
				if (list->elems[n].err == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[n].offset >= 0)
					note_end(part, list->elems[n].offset, asked != src, now);
				n++;
			}
		}
	}
	PG_FINALLY();
	{
		rd_kafka_topic_partition_list_destroy(list);
	}
	PG_END_TRY();
}

void
ks_source_refresh(KsSource *src, int timeout_ms)
{
	refresh(src, src, timeout_ms);
}

void
ks_source_refresh_high(KsSource *src, KsSource *other, int timeout_ms)
{
	refresh(src, other, timeout_ms);
}

/* --- out of range --- */

/* The partition's position is not in its log, which is [low, high) now. */
static void
resolve_range(KsSource *src, KsSourcePart *part, int64 low, int64 high)
{
	int64		position = Max(part->expected, part->floor);

	/* an end that was not told yet holds: the partition gave nothing since */
	if (part->pending & KS_PENDING_EOF)
		part->passed = Max(part->passed, part->eof);
	if (part->err == KS_ERR_LOG_TRUNCATION || high < position)
		ks_source_fail(src, part, KS_EVENT_TRUNCATED, high, part->err);
	else if (low > Max(position, part->passed))
		ks_source_fail(src, part, KS_EVENT_OUT_OF_RANGE, low, part->err);
	else if (low > part->expected)
	{
		/* what is gone was consumed, or no record */
		if (part->expected <= part->last_off)
		{
			part->tail_event = KS_EVENT_TAIL_UNCHECKABLE;
			part->pending |= KS_PENDING_TAIL;
		}
		ks_source_restart(src, part, Max(part->floor, low));
	}
	else
		ks_source_fail(src, part, KS_EVENT_PARTITION_ERROR, -1,
					   RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE);
}

/* Tells for all partitions that are out of range on which side they are. */
void
ks_source_resolve_ranges(KsSource *src)
{
	rd_kafka_topic_partition_list_t *low = rd_kafka_topic_partition_list_new(16);
	rd_kafka_topic_partition_list_t *high = rd_kafka_topic_partition_list_new(16);

	for (int i = 0; i < src->nwaiting; i++)
	{
		KsSourcePart *part = src->waiting[(src->waiting_first + i) % src->nparts];
		const char *topic = part->topic->name;

		if (!(part->pending & KS_PENDING_RANGE))
			continue;
		rd_kafka_topic_partition_list_add(low, topic, part->part)->offset = KS_OFFSET_EARLIEST;
		rd_kafka_topic_partition_list_add(high, topic, part->part)->offset = KS_OFFSET_LATEST;
	}

	PG_TRY();
	{
		rd_kafka_resp_err_t err;
		KsSourceWait wait;
		int			n = 0;

		ks_source_wait_begin(&wait, src, RESOLVE_MS);
		err = list_offsets(src, low, &wait);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			err = list_offsets(src, high, &wait);

		/* in the order in which they were put into the lists */
		for (int i = 0; i < src->nwaiting; i++)
		{
			KsSourcePart *part = src->waiting[(src->waiting_first + i) % src->nparts];

			if (!(part->pending & KS_PENDING_RANGE))
				continue;
			part->pending &= ~KS_PENDING_RANGE;
			if (err == RD_KAFKA_RESP_ERR_NO_ERROR &&
				low->elems[n].offset >= 0 && high->elems[n].offset >= 0)
				resolve_range(src, part, low->elems[n].offset, high->elems[n].offset);
			else
				ks_source_fail(src, part, KS_EVENT_PARTITION_ERROR, -1,
							   err ? err : RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE);
			n++;
		}
	}
	PG_FINALLY();
	{
		rd_kafka_topic_partition_list_destroy(low);
		rd_kafka_topic_partition_list_destroy(high);
	}
	PG_END_TRY();
}
