/*
 * source_part.c
 *	  Topics and partitions of a source: their entries, states and epochs.
 *
 * Events of a partition wait as bits in the partition, and partitions with
 * events in a ring that has room for each of them once: nothing is allocated
 * when an event comes, and a partition that repeats itself cannot flood.
 */
#include "postgres.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define MAX_PARTITION	1000000 /* Kafka has fewer in a whole cluster */

/* --- entries --- */

/*
 * The topic's entry, made when first needed.  It must be ours before librdkafka
 * knows the topic for another reason, or its opaque would be somebody else's.
 */
KsSourceTopic *
ks_source_topic(KsSource *src, const char *name)
{
	KsSourceTopic *topic;
	dlist_iter	iter;
	rd_kafka_topic_conf_t *tconf;

	dlist_foreach(iter, &src->topics)
	{
		topic = dlist_container(KsSourceTopic, node, iter.cur);
		if (strcmp(topic->name, name) == 0)
			return topic;
	}

	topic = MemoryContextAllocZero(src->cxt, sizeof(KsSourceTopic));
	topic->name = MemoryContextStrdup(src->cxt, name);
	tconf = rd_kafka_default_topic_conf_dup(src->rk);
	rd_kafka_topic_conf_set_opaque(tconf, topic);
	topic->rkt = rd_kafka_topic_new(src->rk, name, tconf);
	if (topic->rkt == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("librdkafka refuses the topic name \"%s\"", name),
				 errdetail("%s.", rd_kafka_err2str(rd_kafka_last_error()))));
	if (rd_kafka_topic_opaque(topic->rkt) != topic)
		elog(ERROR, "topic \"%s\" was known to librdkafka before", name);
	dlist_push_tail(&src->topics, &topic->node);
	return topic;
}

/* Which partitions have a leader, of an answer that is held: nothing of PostgreSQL fails here but for memory. */
void
ks_source_note_leaders(KsSource *src, KsSourceTopic *topic, const struct rd_kafka_metadata_topic *md)
{
	if (md->partition_cnt > topic->nleads)
	{
		bool	   *leads = MemoryContextAllocExtended(src->cxt, md->partition_cnt * sizeof(bool), MCXT_ALLOC_NO_OOM);

		/* (not reached by tests: all are believed to have one) */
		if (leads == NULL)
			return;
		if (topic->leads)
			pfree(topic->leads);
		topic->leads = leads;
		topic->nleads = md->partition_cnt;
	}
	if (topic->nleads > 0)
		memset(topic->leads, true, topic->nleads * sizeof(bool));
	for (int i = 0; i < md->partition_cnt; i++)
	{
		int32		part = md->partitions[i].id;

		if (part >= 0 && part < topic->nleads)
			topic->leads[part] = md->partitions[i].leader >= 0;
	}
}

bool
ks_source_has_leader(KsSource *src, const char *name, int32 part)
{
	const KsSourceTopic *topic = ks_source_topic(src, name);

	return part >= topic->nleads || topic->leads[part];
}

void
ks_source_know_topic(KsSource *src, const char *topic)
{
	(void) ks_source_topic(src, topic);
}

/* Makes room in an array of partitions. */
static KsSourcePart **
grow(MemoryContext cxt, KsSourcePart **parts, int *len, int needed)
{
	int			newlen;

	if (needed <= *len)
		return parts;
	newlen = Max(needed, *len * 2);
	if (parts == NULL)
		parts = MemoryContextAlloc(cxt, newlen * sizeof(KsSourcePart *));
	else
		parts = repalloc(parts, newlen * sizeof(KsSourcePart *));
	memset(parts + *len, 0, (newlen - *len) * sizeof(KsSourcePart *));
	*len = newlen;
	return parts;
}

/* The partition's entry, made when first needed. */
static KsSourcePart *
find_part(KsSource *src, int pidx, const char *topicname, int32 partno)
{
	KsSourceTopic *topic = ks_source_topic(src, topicname);
	KsSourcePart *part;

	if (partno < 0 || partno > MAX_PARTITION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("partition %d of topic \"%s\" cannot exist", partno, topicname)));
	topic->parts = grow(src->cxt, topic->parts, &topic->nparts, partno + 1);
	if (pidx >= src->nparts)
	{
		KsSourcePart **waiting;
		int			n = src->nwaiting;
		int			len = 0;

		/* the ring has room for each partition once */
		waiting = grow(src->cxt, NULL, &len, Max(pidx + 1, src->nparts * 2));
		for (int i = 0; i < n; i++)
			waiting[i] = src->waiting[(src->waiting_first + i) % src->nparts];
		if (src->waiting)
			pfree(src->waiting);
		src->waiting = waiting;
		src->waiting_first = 0;
		if (src->touched)
			pfree(src->touched);
		src->touched = MemoryContextAlloc(src->cxt, len * sizeof(KsSourcePart *));
		src->parts = grow(src->cxt, src->parts, &src->nparts, len);
	}

	part = src->parts[pidx];
	if (part == NULL)
	{
		if (topic->parts[partno] != NULL)
			elog(ERROR, "partition %d of topic \"%s\" has an index already", partno, topicname);
		part = MemoryContextAllocZero(src->cxt, sizeof(KsSourcePart));
		part->topic = topic;
		part->part = partno;
		part->pidx = pidx;
		part->low = part->high = part->lso = part->asked_high = -1;
		part->last_rec = -1;
		topic->parts[partno] = part;
		src->parts[pidx] = part;
	}
	else if (part->topic != topic || part->part != partno)
		elog(ERROR, "index %d belongs to another partition", pidx);
	return part;
}

/* --- states, and what is told of them --- */

#define BIT(state) (1 << (state))

/* From where each state can be reached. */
static const int reached_from[] PG_USED_FOR_ASSERTS_ONLY = {
	[KS_PART_STOPPED] = ~0,
	[KS_PART_CHECKING] = BIT(KS_PART_STOPPED),
	[KS_PART_FETCHING] = BIT(KS_PART_STOPPED) | BIT(KS_PART_CHECKING),
	[KS_PART_SUSPECT] = ~BIT(KS_PART_STOPPED),
	[KS_PART_OUT_OF_RANGE] = BIT(KS_PART_CHECKING) | BIT(KS_PART_FETCHING),
	[KS_PART_FAILED] = ~BIT(KS_PART_FAILED),
};

/* The only place where the state of a partition changes. */
void
ks_source_set_state(KsSourcePart *part, KsPartState to)
{
	Assert(reached_from[to] & BIT(part->state));
	part->state = to;
}

/* Puts an event of the partition into the ring. */
void
ks_source_wait_event(KsSource *src, KsSourcePart *part, uint8 pending)
{
	part->pending |= pending;
	if (part->queued)
		return;
	Assert(src->nwaiting < src->nparts);
	src->waiting[(src->waiting_first + src->nwaiting) % src->nparts] = part;
	src->nwaiting++;
	part->queued = true;
}

/* The partition gives no records any more until it is started again. */
void
ks_source_fail(KsSource *src, KsSourcePart *part, KsSourceEventType type,
			   int64 off, rd_kafka_resp_err_t err)
{
	ks_source_set_state(part, KS_PART_FAILED);
	part->failure = type;
	part->failure_off = off;
	part->err = err;
	ks_source_wait_event(src, part, KS_PENDING_FAILURE);
}

/* --- epochs --- */

/* What was told or taken of the partition before is of another time. */
static void
begin_epoch(KsSource *src, KsSourcePart *part)
{
	part->epoch++;
	part->born_chunk = src->chunk;
#ifdef KS_BREAK_STALE_EOF
	/* for the tests alone, which must find it out: an end outlives its epoch,
	 * and so what was given back before it is taken for applied */
	if (part->pending & KS_PENDING_EOF)
		part->floor = Max(part->floor, part->eof);
	part->pending &= KS_PENDING_EOF;
#else
	part->pending = 0;
#endif
	part->topic_err = RD_KAFKA_RESP_ERR_NO_ERROR;
	part->away = false;
	part->away_since = 0;
}

static void
stop_part(KsSource *src, KsSourcePart *part)
{
	begin_epoch(src, part);
	ks_source_set_state(part, KS_PART_STOPPED);
	if (!part->started || ks_memory_refused())
		return;
	part->started = false;
	ks_memory_enter_library();
	/* fails if the topic is gone, and then there is nothing to stop */
	(void) rd_kafka_consume_stop(part->topic->rkt, part->part);
	ks_memory_leave_library();
}

/*
 * From STOPPED.  Raises no error: a partition that does not start has failed.
 */
static void
start_part(KsSource *src, KsSourcePart *part, int64 off, KsPartState state)
{
	int			failed;

	Assert(part->state == KS_PART_STOPPED);
	begin_epoch(src, part);
	part->expected = off;
	if (ks_memory_refused())
		return;
	ks_memory_enter_library();
	failed = rd_kafka_consume_start_queue(part->topic->rkt, part->part, off, src->queue);
	ks_memory_leave_library();
	if (failed != 0)
	{
		ks_source_fail(src, part, KS_EVENT_PARTITION_ERROR, -1, rd_kafka_last_error());
		return;
	}
	part->started = true;
	ks_source_set_state(part, state);
}

/*
 * The log may be another one from here on: nothing of the partition counts
 * until ks_source_recheck().  It is not stopped yet, which takes a millisecond
 * or two where there are many.
 */
void
ks_source_suspect(KsSource *src, KsSourcePart *part)
{
	/* one that has failed since may have given records of both logs in this poll */
	if (!KS_PART_RECEIVES(part) && part->last_rec < 0)
		return;
	begin_epoch(src, part);
	ks_source_set_state(part, KS_PART_SUSPECT);
	src->suspects = true;
}

/*
 * Moves a partition whose tail was checked to where it goes on.  The outcome of
 * the check is told all the same.
 */
void
ks_source_restart(KsSource *src, KsSourcePart *part, int64 off)
{
	uint8		tail = part->pending & KS_PENDING_TAIL;

	stop_part(src, part);
	start_part(src, part, off, KS_PART_FETCHING);
	if (tail)
		ks_source_wait_event(src, part, tail);
}

/*
 * Starts again behind the last record handed out, which is compared first.  Where
 * none was there is nothing to compare, but what is queued may be of two logs.
 */
void
ks_source_recheck(KsSource *src, KsSourcePart *part)
{
	bool		check = part->last_off >= 0;

	stop_part(src, part);
	part->floor = Max(part->floor, part->last_off + 1);
	part->passed = Max(part->passed, part->floor);
	part->lso = part->asked_high = -1;
	start_part(src, part, check ? part->last_off : part->floor,
			   check ? KS_PART_CHECKING : KS_PART_FETCHING);
}

void
ks_source_start(KsSource *src, int pidx, const KsPartition *p, bool check_tail)
{
	KsSourcePart *part = find_part(src, pidx, p->topic, p->part);
	bool		check;

	if (p->off < 0)
		elog(ERROR, "partition %d of topic \"%s\" has no offset to start at", p->part, p->topic);
	stop_part(src, part);
	part->lso = part->asked_high = -1;
	part->floor = part->passed = p->off;
	part->last_off = p->last_off < p->off ? p->last_off : -1;
	part->last_hash = p->last_hash;
	check = check_tail && part->last_off >= 0;
	start_part(src, part, check ? p->last_off : p->off,
			   check ? KS_PART_CHECKING : KS_PART_FETCHING);
	if (!check && check_tail && p->last_off >= 0)
	{
		part->tail_event = KS_EVENT_TAIL_UNCHECKABLE;
		ks_source_wait_event(src, part, KS_PENDING_TAIL);
	}
}

void
ks_source_stop(KsSource *src, int pidx)
{
	if (pidx < src->nparts && src->parts[pidx])
		stop_part(src, src->parts[pidx]);
}

uint32
ks_source_epoch(KsSource *src, int pidx)
{
	return pidx < src->nparts && src->parts[pidx] ? src->parts[pidx]->epoch : 0;
}
