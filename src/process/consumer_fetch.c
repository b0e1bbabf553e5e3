/*
 * consumer_fetch.c
 *	  Schemas that the batch's records name, asked of the registry.
 *
 * That is done outside of any transaction, with the source served meanwhile.  The batch may
 * grow, and is applied when they are there.
 *
 * A registry may take long for an answer, or to give none (schema_registry_timeout_ms, for
 * each of its URLs).  A worker does not stand still for that: it goes on as if the registry
 * had failed, in steps between those of the request.  What these throw is no registry's
 * error (fetcher.serving), and nobody goes on behind it.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "process/consumer_int.h"

#define MAX_FETCHES			5		/* of the same schema for one batch */
#define FETCH_MS			60000	/* no wait of a registry's lasts longer without a step */
#define PATIENCE_MS			1000	/* so long all of the batch waits */

/* The registry is waited for: the batch may grow, but is not due. */
static void
serve(void *arg)
{
	KsConsumer *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->cxt);
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz later = TimestampTzPlusMilliseconds(now, FETCH_MS);
	long		timeout;

	c->fetcher.serving = true;
	c->idle();
	if (c->work && c->asked_at != 0 && (c->asking || now - c->asked_at >= PATIENCE_MS * 1000 || now < c->asked_at))
	{
		ks_consumer_ask_on(c, later);
		c->work();
	}
	else
	{
		c->retry_at = later;
		(void) ks_consumer_step(c, &timeout);
	}
	c->fetcher.serving = false;
	MemoryContextSwitchTo(old);
}

bool
ks_consumer_schema_differs(KsConsumer *c, const KsSchemaId *id, void (*idle) (void))
{
	MemoryContext old;
	bool		result;

	MemoryContextReset(c->fetch_cxt);
	old = MemoryContextSwitchTo(c->fetch_cxt);
	c->asked_at = 0;
	c->idle = idle;
	c->fetcher.idle = serve;
	c->fetcher.arg = c;
	result = ks_schemas_fetch_differs(&c->fetcher, id);
	MemoryContextSwitchTo(old);
	/* (as serve() has left it) */
	c->retry_at = c->attempts > 0 ? GetCurrentTimestamp() : 0;
	return result;
}

void
ks_consumer_fetch_schemas(KsConsumer *c, void (*idle) (void))
{
	MemoryContext old;
	List	   *ids = NIL;
	const KsSchemaId *first;
	ListCell   *lc;

	/* what an error has left of the last time goes, too */
	MemoryContextReset(c->fetch_cxt);
	old = MemoryContextSwitchTo(c->fetch_cxt);
	foreach(lc, c->apply->unknown)
	{
		KsSchemaId *id = palloc(sizeof(KsSchemaId));

		*id = *(const KsSchemaId *) lfirst(lc);
		ids = lappend(ids, id);
	}
	/* (not reached by tests: what has been stored is found, and what is absent noted) */
	first = linitial(ids);
	if (!ks_schema_id_equal(first, &c->first_fetched))
		c->fetches = 0;
	c->fetched = false;
	if (c->fetches >= MAX_FETCHES)
	{
		c->fetches = 0;
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("schemas that were fetched are not found"),
				 errdetail("One of them is %s.", ks_schema_id_text(first))));
	}
	c->idle = idle;
	c->fetcher.idle = serve;
	c->fetcher.arg = c;
	c->asked_at = GetCurrentTimestamp();
	/* if one of them is what fails, the others are not behind it each time */
	for (int i = c->registry_failures % list_length(ids); i > 0; i--)
		ids = list_delete_first(lappend(ids, linitial(ids)));
	ks_schemas_fetch(&c->fetcher, ids);
	c->fetched = !c->asking;	/* or the batch at hand is another one */
	c->fetches++;
	c->first_fetched = *first;
	MemoryContextSwitchTo(old);
	ks_consumer_registry_answers(c);
}
