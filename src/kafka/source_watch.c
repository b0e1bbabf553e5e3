/*
 * source_watch.c
 *	  Interruptions, after which the log may be another one: only logs tell of
 *	  them.
 *
 * librdkafka goes on at the next offset whatever happened to the log meanwhile:
 * a topic that is deleted and created again under a running consumer is read
 * from the middle, without an error, if it already has as many records (tried
 * with 2.0.2; a FIXME in rd_kafka_topic_metadata_update() of 2.14 says the same).
 * The same holds for a log that was truncated and written again.  None of it
 * happens without an interruption: a fetch that is refused because the topic or
 * the leader is not there, a connection that breaks, or another leader, which
 * librdkafka can know of before any fetch is refused: that of a broker which stands
 * still never is.
 *
 * librdkafka tells these only in its debug logs, whose wording is the same in
 * all versions from 2.0 to 2.14:
 *
 *	BROKERUA	topic [0]: broker unavailable: fetch: Broker: Not leader ...
 *	TOPICUPD	Topic topic [0]: migrating from broker 1 to 2 (leader is 2): leader updated
 *	STATE		host:9092/1: Broker changed state UP -> DOWN
 *	STATE		host:9092/1: Broker changed state APIVERSION_QUERY -> UP
 *	FETCH		Topic topic [0] MessageSet size 2146, error "Success", ...
 *	CONSUME		Enqueue 1 message(s) (52428800 bytes, 1 ops) on topic [0] fetch queue ...
 *
 * A log comes into the main queue before any record fetched later comes into
 * the queue of records, so a poll that takes records first and logs second
 * knows whether to trust them: those of an interrupted partition are given
 * back, with all that was told of it, and the partition starts again with a tail
 * check at the last record handed out before.
 *
 * The last two of these lines, which are costly and asked for only where there is
 * reason to (KsSourceOptions.tell_unpacking), come before and after the records of
 * a partition are unpacked, and so say whose records those are for which there is
 * no memory.
 */
#include "postgres.h"

#include "kafka/source_int.h"

static void
suspect(KsSource *src, KsSourcePart *part)
{
	if (part != NULL)
		ks_source_suspect(src, part);
}

/* The partition of ours in "... topic [partition]...", given the closing bracket. */
static KsSourcePart *
named_part(KsSource *src, const char *text, const char *end)
{
	const char *bracket = end;
	const char *name;
	int			partno;
	dlist_iter	iter;

	while (bracket && bracket > text && *bracket != '[')
		bracket--;
	if (bracket == NULL || bracket < text + 2)
		return NULL;
	partno = atoi(bracket + 1);
	end = bracket - 1;
	for (name = end; name > text && name[-1] != ' '; name--)
		;
	dlist_foreach(iter, &src->topics)
	{
		KsSourceTopic *topic = dlist_container(KsSourceTopic, node, iter.cur);

		if (strncmp(topic->name, name, end - name) == 0 && topic->name[end - name] == '\0')
			return partno >= 0 && partno < topic->nparts ? topic->parts[partno] : NULL;
	}
	return NULL;
}

static void
set_unpacking(KsSourcePart *part, bool unpacking)
{
	if (part != NULL)
		part->unpacking = unpacking;
}

/* Looks at a log line of librdkafka; raises no error. */
void
ks_source_watch(KsSource *src, const char *facility, const char *text)
{
	if (strcmp(facility, KS_VERIFY_FACILITY) == 0)
		ks_source_verify_log(src, text);
	else if (strcmp(facility, "BROKERUA") == 0)
		suspect(src, named_part(src, text, strstr(text, "]: broker unavailable")));
	/* to a replica that is only read from there is no need to ask */
	else if (strcmp(facility, "TOPICUPD") == 0 && strstr(text, ": leader updated"))
		suspect(src, named_part(src, text, strstr(text, "]: migrating from broker ")));
	else if (strcmp(facility, "STATE") == 0 &&
			 (strstr(text, "state UP -> DOWN") || strstr(text, "state UP -> INIT") ||
			  strstr(text, "state UPDATE -> DOWN") || strstr(text, "state REAUTH -> DOWN")))
	{
		/* which partitions it leads is not known for certain */
		for (int i = 0; i < src->nparts; i++)
			suspect(src, src->parts[i]);
	}
	else if (strcmp(facility, "STATE") == 0 && strstr(text, " -> UP"))
		src->reached = true;
	else if (strcmp(facility, "FETCH") == 0)
		set_unpacking(named_part(src, text, strstr(text, "] MessageSet size")),
					  strstr(text, "] MessageSet size 0,") == NULL);
	else if (strcmp(facility, "CONSUME") == 0)
		set_unpacking(named_part(src, text, strstr(text, "] fetch queue")), false);
}

/*
 * Errors of topics ("topic [0]: topic does not exist (Broker: ...)") are put
 * into the queue of records, but given to this callback and not to the reader
 * of the queue, who calls it.  So it runs on our thread, in the middle of
 * taking messages: it only takes note.
 */
void
ks_source_error_cb(rd_kafka_t *rk, int err, const char *reason, void *opaque)
{
	KsSource   *src = opaque;
	KsSourcePart *part = named_part(src, reason, strstr(reason, "]: "));

	if (part == NULL || !KS_PART_RECEIVES(part))
		return;
	part->topic_err = err;
	src->topic_errs = true;
}
