/*
 * source_client.c
 *	  The client as a whole: is it in trouble, and in which words.
 *
 * Trouble of the whole client is told once, when it begins or gets worse, and
 * once when it is over.  librdkafka reports every failed connection of every
 * broker; only that all of them are down, or that one refuses us, is trouble.
 * That it refuses us for another reason now is news, too.
 * It is over when a broker is seen up in the statistics, or when something
 * arrives after the queue, which outlives the connection, had run empty.
 */
#include "postgres.h"

#include "kafka/source_int.h"

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

/* What is shown of an error: why the certificate is refused, or librdkafka's words. */
static void
set_reason(KsSource *src, const char *text, const char *hint)
{
	if (hint == ks_source_unverified_hint && src->unverified[0])
	{
		strlcpy(src->reason, src->unverified, sizeof(src->reason));
		src->reason_hint = src->unverified_hint;
		return;
	}
	ks_source_clean(src, text, src->reason, sizeof(src->reason));
	ks_source_tidy(src->reason);
	src->reason_hint = hint;
}

/* An error that concerns more than a partition. */
void
ks_source_client_error(KsSource *src, rd_kafka_resp_err_t err, const char *text, bool fatal)
{
	const char *hint = ks_source_words(src, &err, text);
	const char *old_hint = src->reason_hint;
	const KsErrorClass *class;
	bool		news;

	if (fatal)
		err = RD_KAFKA_RESP_ERR__FATAL;
	class = ks_source_classify(err, true);
	news = class->trouble > src->trouble;

	/* why no broker can be reached was said before */
	if (class->trouble >= src->trouble &&
		(err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN || src->reason[0] == '\0'))
	{
		set_reason(src, text, hint);
		news |= src->trouble == KS_CLIENT_REFUSED && class->trouble == KS_CLIENT_REFUSED &&
			(err != src->client_err || src->reason_hint != old_hint);
	}
	if (!news)
		return;
	src->trouble = class->trouble;
	src->client_err = err;
	src->report_trouble = true;
	src->report_recovered = false;
	src->drained = false;
}

/* What to do about trouble of that class. */
const char *
ks_source_client_hint(const KsSource *src, const KsErrorClass *class)
{
	return src->reason_hint ? src->reason_hint : class->hint;
}

/* A broker was seen up.  What was true of partitions all the while is told again: the trouble has hidden it. */
void
ks_source_client_works(KsSource *src)
{
	if (src->trouble == KS_CLIENT_FINE || src->trouble == KS_CLIENT_FATAL)
		return;
	src->trouble = KS_CLIENT_FINE;
	src->reason[0] = '\0';
	src->reason_hint = NULL;
	src->report_recovered = !src->report_trouble;
	src->report_trouble = false;
	for (int i = 0; i < src->nparts; i++)
		if (src->parts[i] && src->parts[i]->away && KS_PART_RECEIVES(src->parts[i]))
			ks_source_wait_event(src, src->parts[i], KS_PENDING_LEADER);
}
