/*
 * source_judge.c
 *	  What arrives of a partition beside one record after the other: its end, errors,
 *	  and the first record of a tail check.
 *
 * It tells where the partition stands in its log, or that the log is another one.  Nothing
 * here is done for each record: source_poll.c asks where something is the matter.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "kafka/source_int.h"

/*
 * The tail check reads on from the record it compared, unless that many
 * offsets lie between it and the stored offset (a gap that was accepted).  Where
 * answers are bounded it never does: what lies between can be what there was no
 * memory for, and was skipped for that.
 */
#define TAIL_READ_ON	1000

uint64
ks_record_hash(const KsRecord *rec)
{
	struct
	{
		int64		ts;
		int64		keylen;
		int64		valuelen;
	}			head = {rec->ts_ms, rec->keylen, rec->valuelen};
	uint64		h = hash_bytes_extended((unsigned char *) &head, sizeof(head), 0);

	if (rec->keylen > 0)
		h = hash_bytes_extended((const unsigned char *) rec->key, rec->keylen, h);
	if (rec->valuelen > 0)
		h = hash_bytes_extended((const unsigned char *) rec->value, rec->valuelen, h);
	return h;
}

/* The outcome of the tail check; the partition goes on. */
static void
tail_checked(KsSource *src, KsSourcePart *part, KsSourceEventType outcome)
{
	ks_source_set_state(part, KS_PART_FETCHING);
	part->tail_event = outcome;
	ks_source_wait_event(src, part, KS_PENDING_TAIL);
}

/*
 * The high watermark in the answer that told of an end.  The one that librdkafka
 * keeps, for want of words, can be of another answer, before or after it.
 */
static int64
high_at_eof(KsSource *src, const KsSourcePart *part, const rd_kafka_message_t *msg)
{
	static const char before[] = "(HighwaterMark ";
	const char *words = rd_kafka_message_errstr(msg);
	const char *high = words ? strstr(words, before) : NULL;
	int64		low,
				kept;

	if (high)
		return strtoll(high + strlen(before), NULL, 10);
	return rd_kafka_get_watermark_offsets(src->rk, part->topic->name, part->part,
										  &low, &kept) == RD_KAFKA_RESP_ERR_NO_ERROR ? kept : -1;
}

/*
 * The log ends where a fetch has shown.  It cannot end before what was read of
 * it, nor before what was consumed or passed over, nor before an end that was
 * told: a marker behind the last record is consumed by that alone.  A leader that is new, or a
 * replica that is behind, can say so all the same, for a moment: the brokers are
 * asked, who do not tell an end as long as the leader does not know it.
 */
void
ks_source_judge_eof(KsSource *src, KsSourcePart *part, const rd_kafka_message_t *msg)
{
#ifdef KS_BREAK_TAIL_CHECK
	int64		position = 0;
#else
	int64		position = Max(part->expected, part->passed);
#endif
	int64		end = msg->offset;

	if (end < position)
	{
		/* not while records of an open transaction follow */
		if (high_at_eof(src, part, msg) < position)
		{
			ks_source_set_state(part, KS_PART_OUT_OF_RANGE);
			part->err = RD_KAFKA_RESP_ERR_NO_ERROR;
			ks_source_wait_event(src, part, KS_PENDING_RANGE);
		}
		return;
	}
	if (part->state == KS_PART_CHECKING)
		tail_checked(src, part, KS_EVENT_TAIL_UNCHECKABLE);
	part->eof = end;
	part->lso = Max(part->lso, end);
	/* behind which an open transaction may have more: what is known from before does not say */
	if (part->high >= 0)
		part->high = Max(part->high, high_at_eof(src, part, msg));
	part->known_at = GetCurrentTimestamp();
	ks_source_wait_event(src, part, KS_PENDING_EOF);
}

void
ks_source_judge_error(KsSource *src, KsSourcePart *part, rd_kafka_resp_err_t err)
{
	if (err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || err == KS_ERR_LOG_TRUNCATION)
	{
		/* which end it is beyond is asked when the event is told */
		ks_source_set_state(part, KS_PART_OUT_OF_RANGE);
		part->err = err;
		ks_source_wait_event(src, part, KS_PENDING_RANGE);
	}
	else
		ks_source_fail(src, part, KS_EVENT_PARTITION_ERROR, -1, err);
}

/*
 * Between the tail and where the partition goes on there can be a batch that is
 * damaged, and was passed over for that.
 */
bool
ks_source_is_passed_over(const KsSourcePart *part, rd_kafka_resp_err_t err)
{
	return part->state == KS_PART_FETCHING && part->expected < part->floor &&
		ks_source_classify(err, false)->sqlstate == ERRCODE_DATA_CORRUPTED;
}

static bool
tail_differs(const KsSourcePart *part, const KsRecord *rec)
{
#ifdef KS_BREAK_TAIL_CHECK
	/* for the tests alone, which must find it out: any log will do */
	return false;
#else
	return ks_record_hash(rec) != part->last_hash;
#endif
}

bool
ks_source_judge_tail(KsSource *src, KsSourcePart *part, const KsRecord *rec)
{
	if (part->state == KS_PART_CHECKING)
	{
		if (rec->off > part->last_off)
			tail_checked(src, part, KS_EVENT_TAIL_UNCHECKABLE);
		else if (tail_differs(part, rec))
		{
			ks_source_fail(src, part, KS_EVENT_TAIL_MISMATCH, rec->off,
						   RD_KAFKA_RESP_ERR_NO_ERROR);
			return false;
		}
		else
		{
			tail_checked(src, part, KS_EVENT_TAIL_OK);
			if (part->floor - part->last_off > (src->bounded ? 1 : TAIL_READ_ON))
				ks_source_restart(src, part, part->floor);
			return false;
		}
	}
	if (rec->off < part->floor)
		return false;
#ifndef KS_BREAK_TAIL_CHECK
	/* an end was told behind this place, and no record in it */
	if (rec->off < part->passed)
	{
		ks_source_fail(src, part, KS_EVENT_TAIL_MISMATCH, rec->off,
					   RD_KAFKA_RESP_ERR_NO_ERROR);
		return false;
	}
#endif
	return true;
}
