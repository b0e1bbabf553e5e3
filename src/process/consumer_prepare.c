/*
 * consumer_prepare.c
 *	  What the consumer has to know of its targets.
 *
 * That needs locks on them.  Whoever has one locked keeps nobody from fetching, nor
 * from seeing how far behind the sink is: so before anything is fetched the locks are
 * not waited for.  If they are not to be had, all is fetched that targets can want,
 * and the first batch finds out, which waits as each batch does.
 */
#include "postgres.h"

#include "base/error.h"
#include "process/consumer_int.h"
#include "process/transaction.h"

#define LOCK_MS		200			/* no wait, but for who is about to be done */

bool
ks_consumer_wants_headers(const KsConsumer *c)
{
	return !c->prepared || c->sink->on_error == KS_ON_ERROR_DEAD_LETTER || ks_apply_wants_headers(c->apply);
}

static void
try_prepare(void *arg)
{
	KsConsumer *c = arg;

	ks_apply_prepare(c->apply);
	ks_apply_finish(c->apply);
	c->prepared = true;
}

void
ks_consumer_try_prepare(KsConsumer *c)
{
	int			ms = ks_sink_lock_ms(c->sink);
	ErrorData  *edata = ks_transaction_attempt(try_prepare, c, ms == 0 ? LOCK_MS : Min(ms, LOCK_MS));

	if (edata && edata->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		ks_error_rethrow(edata);
}

void
ks_consumer_prepare(KsConsumer *c)
{
	int			max;

	ks_apply_prepare(c->apply);
	if (!c->prepared)
	{
		c->prepared = true;
		if (!ks_consumer_wants_headers(c))
		{
			ks_source_want_no_headers(c->source);
			for (int i = 0; i < c->nrecs; i++)
				c->recs[i].nheaders = 0;
		}
	}
	/* the batch was filled for narrower rows, or for rows that nobody knew */
	max = ks_apply_max_records(c->apply);
	if (c->nrecs > max)
		ks_consumer_truncate_batch(c, max);
}
