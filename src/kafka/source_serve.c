/*
 * source_serve.c
 *	  librdkafka's main queue: errors, statistics, logs.
 */
#include "postgres.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define LOG_WARNING_LEVEL	4	/* syslog's, as librdkafka counts */

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

static rd_kafka_event_t *
next_event(KsSource *src)
{
	rd_kafka_event_t *ev;

	ks_memory_enter_library();
	ev = rd_kafka_queue_poll(src->mainq, 0);
	ks_memory_leave_library();
	return ev;
}

/* Looks at an event of the main queue, and gives it back. */
void
ks_source_take_event(KsSource *src, rd_kafka_event_t *ev)
{
	const char *facility;
	const char *text;
	int			level;
	char		fac[32];
	char		line[1024];

	switch (rd_kafka_event_type(ev))
	{
		case RD_KAFKA_EVENT_ERROR:
			ks_source_client_error(src, rd_kafka_event_error(ev), rd_kafka_event_error_string(ev),
								   rd_kafka_event_error_is_fatal(ev));
			break;
		case RD_KAFKA_EVENT_STATS:
			ks_source_read_stats(src, rd_kafka_event_stats(ev));
			break;
		case RD_KAFKA_EVENT_LOG:
			if (rd_kafka_event_log(ev, &facility, &text, &level) != 0)
				break;
			ks_source_watch(src, facility, text);
			/* the error that follows says the same, and not each time */
			if (strcmp(facility, KS_VERIFY_FACILITY) == 0)
				level = LOG_WARNING_LEVEL + 1;
			if (level > LOG_WARNING_LEVEL &&
				!(src->show_debug && message_level_is_interesting(DEBUG1)))
				break;
			strlcpy(fac, facility, sizeof(fac));
			strlcpy(line, text, sizeof(line));
			/* an interrupt may be served by what follows */
			rd_kafka_event_destroy(ev);
			client_log(src, level, fac, line);
			return;
		default:
			break;
	}
	rd_kafka_event_destroy(ev);
}

/* Takes what waits in the main queue. */
void
ks_source_serve(KsSource *src)
{
	rd_kafka_event_t *ev;

	while ((ev = next_event(src)) != NULL)
		ks_source_take_event(src, ev);
}
