/*
 * source_client.c
 *	  The client as a whole: is it in trouble, and in which words.
 *
 * Trouble of the whole client is told once, when it begins or gets worse, and
 * once when it is over.  librdkafka reports every failed connection of every
 * broker; only that all of them are down, or that one refuses us, is trouble.
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

/* An error that concerns more than a partition. */
void
ks_source_client_error(KsSource *src, rd_kafka_resp_err_t err, const char *text, bool fatal)
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
	src->report_trouble = true;
	src->report_recovered = false;
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
	src->report_recovered = !src->report_trouble;
	src->report_trouble = false;
}
