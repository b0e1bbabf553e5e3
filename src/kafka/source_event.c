/*
 * source_event.c
 *	  What a source tells beside records, in the order in which it is told: the
 *	  client's trouble, then what waits of partitions, then new partitions.
 */
#include "postgres.h"

#include "kafka/source_int.h"

static void
describe_error(KsSource *src, KsSourceEvent *ev, const KsErrorClass *class)
{
	ev->action = class->action;
	ev->sqlstate = class->sqlstate;
	ev->hint = class->hint;
	ev->message = src->message;
	ev->detail = src->detail[0] ? src->detail : NULL;
}

/* The next event of a partition, false if none is left. */
static bool
next_of_partition(KsSource *src, KsSourcePart *part, KsSourceEvent *ev)
{
	ev->pidx = part->pidx;
	ev->epoch = part->epoch;
	if (part->pending & KS_PENDING_LEADER)
	{
		part->pending &= ~KS_PENDING_LEADER;
		ev->type = part->away ? KS_EVENT_LEADER_AWAY : KS_EVENT_LEADER_BACK;
		ev->broker = part->broker;
		return true;
	}
	if (part->pending & KS_PENDING_TAIL)
	{
		part->pending &= ~KS_PENDING_TAIL;
		ev->type = part->tail_event;
		return true;
	}
	if (part->pending & KS_PENDING_EOF)
	{
		part->pending &= ~KS_PENDING_EOF;
		ev->type = KS_EVENT_EOF;
		ev->off = part->eof;
		part->passed = Max(part->passed, part->eof);
		return true;
	}
	if (part->pending & KS_PENDING_FAILURE)
	{
		part->pending &= ~KS_PENDING_FAILURE;
		ev->type = part->failure;
		ev->off = part->failure_off;
		if (ev->type == KS_EVENT_PARTITION_ERROR)
		{
			snprintf(src->message, sizeof(src->message),
					 "could not fetch from topic \"%s\", partition %d",
					 part->topic->name, part->part);
			snprintf(src->detail, sizeof(src->detail), "%s.", rd_kafka_err2str(part->err));
			describe_error(src, ev, ks_source_classify(part->err, false));
		}
		return true;
	}
	return false;
}

bool
ks_source_next_event(KsSource *src, KsSourceEvent *ev)
{
	memset(ev, 0, sizeof(KsSourceEvent));
	ev->pidx = -1;
	ev->off = -1;

	if (src->report_trouble)
	{
		const KsErrorClass *class = ks_source_classify(src->client_err, true);

		src->report_trouble = false;
		ev->type = KS_EVENT_ERROR;
		strlcpy(src->message, ks_source_client_message(class), sizeof(src->message));
		src->detail[0] = '\0';
		if (src->reason[0])
			snprintf(src->detail, sizeof(src->detail), "%s.", src->reason);
		describe_error(src, ev, class);
		ev->hint = ks_source_client_hint(src, class);
		return true;
	}
	if (src->report_recovered)
	{
		src->report_recovered = false;
		ev->type = KS_EVENT_RECOVERED;
		return true;
	}
	while (src->nwaiting > 0)
	{
		KsSourcePart *part = src->waiting[src->waiting_first];

		if (part->pending & KS_PENDING_RANGE)
			ks_source_resolve_ranges(src);
		if (next_of_partition(src, part, ev))
			return true;
		part->queued = false;
		src->waiting_first = (src->waiting_first + 1) % src->nparts;
		src->nwaiting--;
	}
	if (src->report_counts)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &src->topics)
		{
			KsSourceTopic *topic = dlist_container(KsSourceTopic, node, iter.cur);

			if (!topic->count_grew)
				continue;
			topic->count_grew = false;
			ev->type = KS_EVENT_PARTITION_COUNT;
			ev->topic = topic->name;
			ev->count = topic->count;
			return true;
		}
		src->report_counts = false;
	}
	return false;
}

int
ks_source_unpacking(KsSource *src, int64 *off)
{
	KsSourcePart *found = NULL;

	ks_source_serve(src);
	for (int i = 0; i < src->nparts; i++)
	{
		KsSourcePart *part = src->parts[i];

		if (part == NULL || !part->unpacking || !KS_PART_RECEIVES(part))
			continue;
		/* two brokers at a time: it could be either */
		if (found)
			return -1;
		found = part;
	}
	if (found == NULL)
		return -1;
	*off = Max(found->expected, found->floor);
	return found->pidx;
}
