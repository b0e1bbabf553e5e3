/*
 * source_event.c
 *	  What a source tells beside records.
 *
 * Events of a partition wait as bits in the partition, and partitions with
 * events in a ring that has room for each of them once: nothing is allocated
 * when an event comes, and a partition that repeats itself cannot flood.
 *
 * Trouble of the whole client is told once, when it begins or gets worse, and
 * once when it is over.  librdkafka reports every failed connection of every
 * broker; only that all of them are down, or that one refuses us, is trouble.
 * It is over when a broker is seen up in the statistics, or when something
 * arrives after the queue, which outlives the connection, had run empty.
 */
#include "postgres.h"

#include "kafka/source_int.h"

#define LOG_WARNING_LEVEL	4	/* syslog's, as librdkafka counts */

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

/*
 * Copies librdkafka's words if they can be shown: one line, without the
 * variable "(after 3ms in state CONNECT)", and nothing at all if a secret of
 * ours occurs in them.
 */
void
ks_source_clean(KsSource *src, const char *text, char *buf, Size size)
{
	const char *end;

	buf[0] = '\0';
	if (text == NULL)
		return;
	for (int i = 0; i < src->nsecrets; i++)
		if (strstr(text, src->secrets[i]) != NULL)
			return;
	strlcpy(buf, text, size);
	end = strstr(buf, " (after ");
	if (end != NULL)
		buf[end - buf] = '\0';
	for (char *c = buf; *c; c++)
		if ((unsigned char) *c < ' ' || (unsigned char) *c > '~')
			*c = '?';
}

static void
client_error(KsSource *src, rd_kafka_resp_err_t err, const char *text, bool fatal)
{
	const KsErrorClass *class;

	if (fatal)
		err = RD_KAFKA_RESP_ERR__FATAL;
	class = ks_source_classify(err, true);

	/* why no broker can be reached was said before */
	if (class->trouble >= src->trouble &&
		(err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || src->reason[0] == '\0'))
		ks_source_clean(src, text, src->reason, sizeof(src->reason));
	if (class->trouble <= src->trouble)
		return;
	src->trouble = class->trouble;
	src->client_err = err;
	src->tell_trouble = true;
	src->tell_recovered = false;
	src->drained = false;
}

/* A broker was seen up. */
void
ks_source_client_works(KsSource *src)
{
	if (src->trouble == KS_CLIENT_FINE || src->trouble == KS_CLIENT_FATAL)
		return;
	src->trouble = KS_CLIENT_FINE;
	src->reason[0] = '\0';
	src->tell_recovered = !src->tell_trouble;
	src->tell_trouble = false;
}

/* Says what librdkafka logs, after the event has been given back. */
static void
client_log(KsSource *src, int level, const char *facility, const char *text)
{
	char		line[512];

	ks_source_clean(src, text, line, sizeof(line));
	ereport(level <= LOG_WARNING_LEVEL ? LOG : DEBUG1,
			(errmsg_internal("librdkafka: %s: %s", facility, line),
			 errhidestmt(true), errhidecontext(true)));
}

/* Takes what waits in the main queue. */
void
ks_source_serve(KsSource *src)
{
	rd_kafka_event_t *ev;

	while ((ev = rd_kafka_queue_poll(src->mainq, 0)) != NULL)
	{
		const char *facility;
		const char *text;
		int			level;
		char		fac[32];
		char		line[1024];

		switch (rd_kafka_event_type(ev))
		{
			case RD_KAFKA_EVENT_ERROR:
				client_error(src, rd_kafka_event_error(ev), rd_kafka_event_error_string(ev),
							 rd_kafka_event_error_is_fatal(ev));
				break;
			case RD_KAFKA_EVENT_STATS:
				ks_source_read_stats(src, rd_kafka_event_stats(ev));
				break;
			case RD_KAFKA_EVENT_LOG:
				if (rd_kafka_event_log(ev, &facility, &text, &level) != 0)
					break;
				ks_source_watch(src, facility, text);
				if (level > LOG_WARNING_LEVEL &&
					!(src->show_debug && message_level_is_interesting(DEBUG1)))
					break;
				strlcpy(fac, facility, sizeof(fac));
				strlcpy(line, text, sizeof(line));
				/* an interrupt may be served by what follows */
				rd_kafka_event_destroy(ev);
				client_log(src, level, fac, line);
				continue;
			default:
				break;
		}
		rd_kafka_event_destroy(ev);
	}
}

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

	if (src->tell_trouble)
	{
		const KsErrorClass *class = ks_source_classify(src->client_err, true);

		src->tell_trouble = false;
		ev->type = KS_EVENT_ERROR;
		strlcpy(src->message, ks_source_client_message(class), sizeof(src->message));
		src->detail[0] = '\0';
		if (src->reason[0])
			snprintf(src->detail, sizeof(src->detail), "%s.", src->reason);
		describe_error(src, ev, class);
		return true;
	}
	if (src->tell_recovered)
	{
		src->tell_recovered = false;
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
	if (src->tell_counts)
	{
		dlist_iter	iter;

		dlist_foreach(iter, &src->topics)
		{
			KsSourceTopic *topic = dlist_container(KsSourceTopic, node, iter.cur);

			if (!topic->grew)
				continue;
			topic->grew = false;
			ev->type = KS_EVENT_PARTITION_COUNT;
			ev->topic = topic->name;
			ev->count = topic->count;
			return true;
		}
		src->tell_counts = false;
	}
	return false;
}
