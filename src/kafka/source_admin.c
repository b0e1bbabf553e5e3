/*
 * source_admin.c
 *	  Questions to the brokers that are waited for.
 *
 * librdkafka's blocking calls cannot be interrupted, so each is made in
 * slices: half a second at first, and longer the longer the broker has been
 * silent, since each slice asks anew and an answer that takes longer than a
 * slice would never be had.  Interrupts are served between slices, and the
 * main queue, which may know that waiting is in vain.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "base/memory.h"
#include "kafka/source_int.h"

#define SLICE_MIN_MS	500
#define SLICE_MAX_MS	2500
#define RESOLVE_MS		3000	/* for the watermarks behind an event */

typedef struct Wait
{
	KsSource   *src;
	instr_time	start;
	int			timeout_ms;
} Wait;

static void
wait_begin(Wait *wait, KsSource *src, int timeout_ms)
{
	wait->src = src;
	wait->timeout_ms = timeout_ms;
	INSTR_TIME_SET_CURRENT(wait->start);
}

static int
elapsed_ms(const Wait *wait)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, wait->start);
	return (int) Min(INSTR_TIME_GET_MILLISEC(now), PG_INT32_MAX);
}

/* How long the next call may take in ms, 0: the time is up. */
static int
wait_slice(Wait *wait)
{
	int			elapsed = elapsed_ms(wait);

	CHECK_FOR_INTERRUPTS();
	/* who would answer may be the one that stands still */
	if (ks_memory_refused())
		ks_memory_check_session();
	ks_source_serve(wait->src);
	if (elapsed >= wait->timeout_ms)
		return 0;
	return Min(Max(SLICE_MIN_MS, Min(elapsed / 2, SLICE_MAX_MS)),
			   wait->timeout_ms - elapsed);
}

/* So long a partition that librdkafka does not know is looked for. */
#define STALE_MS	5000

/*
 * What librdkafka remembers of topics may be older than a partition, and it says that
 * there is none without asking a broker: it is told to ask.  True if it may know it now.
 */
static bool
is_stale(Wait *wait, rd_kafka_resp_err_t err)
{
	const struct rd_kafka_metadata *md;

	if (err != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || elapsed_ms(wait) >= Min(STALE_MS, wait->timeout_ms))
		return false;
	if (rd_kafka_metadata(wait->src->rk, 0, NULL, &md, SLICE_MAX_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(md);
	return true;
}

/*
 * A call has failed: returns if it should be made again.  Errors of the moment
 * are waited out, briefly, since the call may have returned at once.
 */
static bool
wait_again(Wait *wait, rd_kafka_resp_err_t err)
{
	const KsErrorClass *class = ks_source_classify(err, false);

	ks_source_serve(wait->src);
	if (wait->src->trouble >= KS_CLIENT_REFUSED)
		return false;
	if (class->action != KS_ERROR_RETRY && !is_stale(wait, err))
		return false;
	if (elapsed_ms(wait) >= wait->timeout_ms)
		return false;
	if (err != RD_KAFKA_RESP_ERR__TIMED_OUT && err != RD_KAFKA_RESP_ERR__TRANSPORT)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
	return true;
}

/* Raises what stands in the way: trouble of the client, or the call's error. */
KS_NORETURN static void
raise_failure(KsSource *src, rd_kafka_resp_err_t err, const char *what)
{
	bool		of_client = src->trouble != KS_CLIENT_FINE;
	const KsErrorClass *class;
	const char *hint;
	bool		silent;

	/* the brokers' own answer tells more than the state of the connection */
	if (src->trouble < KS_CLIENT_REFUSED &&
		ks_source_classify(err, false)->action != KS_ERROR_RETRY)
		of_client = false;
	class = ks_source_classify(of_client ? src->client_err : err, of_client);
	silent = !of_client && (err == RD_KAFKA_RESP_ERR__TIMED_OUT ||
							err == RD_KAFKA_RESP_ERR__TRANSPORT);
	src->may_pass = class->action != KS_ERROR_HALT;
	hint = of_client || silent ? ks_source_client_hint(src, class) : class->hint;
	ereport(ERROR,
			(errcode(class->sqlstate),
			 errmsg("could not %s: %s", what,
					of_client ? ks_source_client_message(class) :
					silent ? "Kafka does not answer" : rd_kafka_err2str(err)),
			 (of_client || silent) && src->reason[0] ?
			 errdetail_internal("%s.", src->reason) : 0,
			 hint ? errhint("%s", hint) : 0));
}

/* Does what a blocking call has raised last pass, once somebody mends it? */
bool
ks_source_may_pass(const KsSource *src)
{
	return src->may_pass;
}

/* --- metadata --- */

/*
 * Metadata of one topic, or of all (NULL): *md, which the caller destroys, or
 * the error that is returned.
 */
static rd_kafka_resp_err_t
try_metadata(KsSource *src, rd_kafka_topic_t *rkt, int timeout_ms, const struct rd_kafka_metadata **md)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	Wait		wait;
	int			slice;

	wait_begin(&wait, src, timeout_ms);
	while ((slice = wait_slice(&wait)) > 0)
	{
		err = rd_kafka_metadata(src->rk, rkt == NULL, rkt, md, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR || !wait_again(&wait, err))
			break;
	}
	return err;
}

/* The number of partitions of a topic, -1: it does not exist; or the error. */
static rd_kafka_resp_err_t
try_count(KsSource *src, const char *topicname, int timeout_ms, int *count)
{
	KsSourceTopic *topic = ks_source_topic(src, topicname);
	Wait		wait;
	rd_kafka_resp_err_t err;

	*count = -1;
	wait_begin(&wait, src, timeout_ms);
	do
	{
		const struct rd_kafka_metadata *md;
		int			n = 0;

		err = try_metadata(src, topic->rkt, Max(timeout_ms - elapsed_ms(&wait), 1), &md);
		if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
			return err;
		err = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
		if (md->topic_cnt == 1)
		{
			err = md->topics[0].err;
			n = md->topics[0].partition_cnt;
		}
		rd_kafka_metadata_destroy(md);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR && n > 0)
		{
			topic->count = *count = n;
			topic->absent = false;
			topic->count_grew = false;
			return err;
		}
		if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
			err == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
		{
			topic->absent = true;
			return RD_KAFKA_RESP_ERR_NO_ERROR;
		}
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			err = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
		CHECK_FOR_INTERRUPTS();
	} while (wait_again(&wait, err));
	return err;
}

#define ASK_PARTITIONS	"ask for the partitions of topic \"%s\""

int
ks_source_partition_count_or_denial(KsSource *src, const char *topic, int timeout_ms, KsDenial *denial)
{
	int			count;
	rd_kafka_resp_err_t err = try_count(src, topic, timeout_ms, &count);
	const KsErrorClass *class;

	denial->message = NULL;
	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return count;
	if (err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || src->trouble >= KS_CLIENT_REFUSED)
		raise_failure(src, err, psprintf(ASK_PARTITIONS, topic));
	class = ks_source_classify(err, false);
	src->may_pass = true;
	denial->sqlstate = class->sqlstate;
	denial->message = psprintf("could not " ASK_PARTITIONS ": %s", topic, rd_kafka_err2str(err));
	denial->hint = class->hint;
	return -1;
}

int
ks_source_partition_count(KsSource *src, const char *topic, int timeout_ms)
{
	int			count;
	rd_kafka_resp_err_t err = try_count(src, topic, timeout_ms, &count);

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		return count;
	raise_failure(src, err, psprintf(ASK_PARTITIONS, topic));
}

bool
ks_source_try_partition_count(KsSource *src, const char *topic, int timeout_ms, int *count)
{
	return try_count(src, topic, timeout_ms, count) == RD_KAFKA_RESP_ERR_NO_ERROR;
}

KsTopicInfo *
ks_source_list_topics(KsSource *src, int timeout_ms, int *n)
{
	const struct rd_kafka_metadata *md;
	rd_kafka_resp_err_t err = try_metadata(src, NULL, timeout_ms, &md);
	KsTopicInfo *info = NULL;

	if (err != RD_KAFKA_RESP_ERR_NO_ERROR)
		raise_failure(src, err, "list the topics");
	PG_TRY();
	{
		info = palloc0(Max(md->topic_cnt, 1) * sizeof(KsTopicInfo));
		for (int i = 0; i < md->topic_cnt; i++)
		{
			const struct rd_kafka_metadata_topic *t = &md->topics[i];

			info[i].topic = pstrdup(t->topic);
			info[i].partitions = t->partition_cnt;
			if (t->partition_cnt > 0)
				info[i].replicas = t->partitions[0].replica_cnt;
			if (t->err != RD_KAFKA_RESP_ERR_NO_ERROR)
				info[i].error = pstrdup(rd_kafka_err2str(t->err));
		}
		*n = md->topic_cnt;
	}
	PG_FINALLY();
	{
		rd_kafka_metadata_destroy(md);
	}
	PG_END_TRY();
	return info;
}

const char *
ks_source_cluster_id(KsSource *src, int timeout_ms)
{
	Wait		wait;
	int			slice;

	wait_begin(&wait, src, timeout_ms);
	while ((slice = wait_slice(&wait)) > 0)
	{
		char	   *id = rd_kafka_clusterid(src->rk, slice);
		char		buf[128];

		if (id != NULL)
		{
			strlcpy(buf, id, sizeof(buf));
			rd_kafka_mem_free(src->rk, id);
			return pstrdup(buf);
		}
		if (src->trouble >= KS_CLIENT_REFUSED)
			break;
	}
	return NULL;
}

/* --- offsets --- */

/*
 * Asks for the offsets of a list, whose offsets are timestamps before.  What
 * could not be had has an error of its own.
 */
static rd_kafka_resp_err_t
list_offsets(KsSource *src, rd_kafka_topic_partition_list_t *list, Wait *wait)
{
	rd_kafka_topic_partition_list_t *asked = rd_kafka_topic_partition_list_copy(list);
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;

	PG_TRY();
	{
		int			slice;

		while ((slice = wait_slice(wait)) > 0)
		{
			for (int i = 0; i < list->cnt; i++)
			{
				list->elems[i].offset = asked->elems[i].offset;
				list->elems[i].err = RD_KAFKA_RESP_ERR_NO_ERROR;
			}
			err = rd_kafka_offsets_for_times(src->rk, list, slice);
			for (int i = 0; i < list->cnt && err == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
				err = list->elems[i].err;
			if (err == RD_KAFKA_RESP_ERR_NO_ERROR || !wait_again(wait, err))
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
query_end(KsSource *src, const char *topic, int32 part, bool earliest, Wait *wait)
{
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	int			slice;
	int64		low,
				high;

	while ((slice = wait_slice(wait)) > 0)
	{
		err = rd_kafka_query_watermark_offsets(src->rk, topic, part, &low, &high, slice);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
			return earliest ? low : high;
		if (!wait_again(wait, err))
			break;
	}
	raise_failure(src, err, "ask for offsets");
}

/*
 * Resolves as many queries as fit into one list, which holds a partition once.
 * Returns how many are done.
 */
static int
query_list(KsSource *src, KsOffsetQuery *q, int n, bool *done, Wait *wait,
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
		raise_failure(src, err, "ask for offsets");
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
query_round(KsSource *src, KsOffsetQuery *q, int n, bool *done, Wait *wait)
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
	Wait		wait;

	for (int i = 0; i < n; i++)
		(void) ks_source_topic(src, q[i].topic);
	wait_begin(&wait, src, timeout_ms);
	while (ndone < n)
		ndone += query_round(src, q, n, done, &wait);
	pfree(done);
}

/*
 * Under read_committed the end is the last stable offset; the high watermark is
 * at least that.
 */
void
ks_source_refresh(KsSource *src, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list;

	if (ks_memory_refused())
		return;
	list = rd_kafka_topic_partition_list_new(Max(src->nparts, 1));
	PG_TRY();
	{
		Wait		wait;

		for (int i = 0; i < src->nparts; i++)
			if (src->parts[i] && src->parts[i]->started)
				rd_kafka_topic_partition_list_add(list, src->parts[i]->topic->name,
												  src->parts[i]->part)->offset = KS_OFFSET_LATEST;
		wait_begin(&wait, src, timeout_ms);
		if (list->cnt > 0 && src->trouble == KS_CLIENT_FINE &&
			list_offsets(src, list, &wait) == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			TimestampTz now = GetCurrentTimestamp();

			for (int i = 0, n = 0; i < src->nparts; i++)
			{
				KsSourcePart *part = src->parts[i];

				/* in the order in which they were put into the list */
				if (part == NULL || n >= list->cnt ||
					list->elems[n].partition != part->part ||
					strcmp(list->elems[n].topic, part->topic->name) != 0)
					continue;
				if (list->elems[n].offset >= 0)
				{
					part->lso = Max(part->lso, list->elems[n].offset);
					part->high = Max(part->high, part->lso);
					part->known_at = now;
				}
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
		Wait		wait;
		int			n = 0;

		wait_begin(&wait, src, RESOLVE_MS);
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
