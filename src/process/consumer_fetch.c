/*
 * consumer_fetch.c
 *	  Schemas that the batch's records name, asked of the registry.
 *
 * That is done outside of any transaction, with the source served meanwhile.  The batch may
 * grow, and is applied when they are there.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "process/consumer_int.h"

#define MAX_FETCHES			5		/* of the same schema for one batch */
#define FETCH_MS			60000	/* no wait of a registry's lasts longer without a step */

/* The registry is waited for: the batch may grow, but is not due. */
static void
serve(void *arg)
{
	KsConsumer *c = arg;
	MemoryContext old = MemoryContextSwitchTo(c->cxt);
	long		timeout;

	c->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), FETCH_MS);
	c->idle();
	(void) ks_consumer_step(c, &timeout);
	MemoryContextSwitchTo(old);
}

bool
ks_consumer_schema_differs(KsConsumer *c, const KsSchemaId *id, void (*idle) (void))
{
	MemoryContext old;
	bool		result;

	MemoryContextReset(c->fetch_cxt);
	old = MemoryContextSwitchTo(c->fetch_cxt);
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
	/* if one of them is what fails, the others are not behind it each time */
	for (int i = c->registry_failures % list_length(ids); i > 0; i--)
		ids = list_delete_first(lappend(ids, linitial(ids)));
	ks_schemas_fetch(&c->fetcher, ids);
	c->fetched = true;
	c->registry_at = 0;
	c->registry_failures = 0;
	c->fetches++;
	c->first_fetched = *first;
	MemoryContextSwitchTo(old);
	c->retry_at = GetCurrentTimestamp();
}
