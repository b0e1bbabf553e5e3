/*
 * source_wait.c
 *	  Waiting for what the brokers answer.
 *
 * librdkafka's blocking calls cannot be interrupted, so each is made in
 * slices: half a second at first, and longer the longer the broker has been
 * silent, since each slice asks anew and an answer that takes longer than a
 * slice would never be had.  As long as no broker was reached at all, they stay
 * short: who cannot be reached keeps nobody from ending, such as a worker
 * whose database is dropped.  Interrupts are served between slices, and the
 * main queue, which may know that waiting is in vain.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "base/memory.h"
#include "kafka/source_int.h"

#define SLICE_MIN_MS	500
#define SLICE_MAX_MS	2500
#define SLICE_SILENT_MS	1000	/* the same, while no broker was ever reached */
#define STALE_MS		5000	/* so long a partition that librdkafka does not know is looked for */

void
ks_source_wait_begin(KsSourceWait *wait, KsSource *src, int timeout_ms)
{
	wait->src = src;
	wait->timeout_ms = timeout_ms;
	INSTR_TIME_SET_CURRENT(wait->start);
}

int
ks_source_wait_elapsed(const KsSourceWait *wait)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, wait->start);
	return (int) Min(INSTR_TIME_GET_MILLISEC(now), PG_INT32_MAX);
}

int
ks_source_wait_slice(KsSourceWait *wait)
{
	int			elapsed = ks_source_wait_elapsed(wait);

	CHECK_FOR_INTERRUPTS();
	/* who would answer may be the one that stands still */
	if (ks_memory_refused())
		ks_memory_check_session();
	ks_source_serve(wait->src);
	if (elapsed >= wait->timeout_ms)
		return 0;
	return Min(Max(SLICE_MIN_MS, Min(elapsed / 2, wait->src->reached ? SLICE_MAX_MS : SLICE_SILENT_MS)),
			   wait->timeout_ms - elapsed);
}

/*
 * What librdkafka remembers of topics may be older than a partition, and it says that
 * there is none without asking a broker: it is told to ask.  True if it may know it now.
 */
static bool
is_stale(KsSourceWait *wait, rd_kafka_resp_err_t err)
{
	const struct rd_kafka_metadata *md;

	if (err != RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || ks_source_wait_elapsed(wait) >= Min(STALE_MS, wait->timeout_ms))
		return false;
	if (rd_kafka_metadata(wait->src->rk, 0, NULL, &md, SLICE_MAX_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
		rd_kafka_metadata_destroy(md);
	return true;
}

bool
ks_source_wait_again(KsSourceWait *wait, rd_kafka_resp_err_t err)
{
	const KsErrorClass *class = ks_source_classify(err, false);

	ks_source_serve(wait->src);
	if (wait->src->trouble >= KS_CLIENT_REFUSED)
		return false;
	if (class->action != KS_ERROR_RETRY && !is_stale(wait, err))
		return false;
	if (ks_source_wait_elapsed(wait) >= wait->timeout_ms)
		return false;
	if (err != RD_KAFKA_RESP_ERR__TIMED_OUT && err != RD_KAFKA_RESP_ERR__TRANSPORT)
		(void) WaitLatch(NULL, WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 100, PG_WAIT_EXTENSION);
	return true;
}

void
ks_source_wait_failed(KsSource *src, rd_kafka_resp_err_t err, const char *what)
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
