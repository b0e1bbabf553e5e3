/*
 * watcher_client.c
 *	  The watcher's connections, and waiting for what they have to tell.
 *
 * One client of librdkafka for all sinks of the same server, owner and
 * isolation, with statistics as often as so many partitions allow (source.h).  When
 * its properties have changed it is retired, which is no concern
 * of the others; but since a handle of librdkafka is not destroyed in a process
 * that must not hang, that ends when there are some.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "catalog/offsets.h"
#include "process/transaction.h"
#include "process/watcher_int.h"

#define STATISTICS_MS		10000
#define MAX_RETIRED			16

MemoryContext ks_watcher_cxt;
dlist_head	ks_watch_clients = DLIST_STATIC_INIT(ks_watch_clients);

static WaitEventSet *events = NULL;
static bool events_stale = true;

KsWatchClient *
ks_watch_client(const KsSink *sink)
{
	KsSourceOptions opts = {
		.client_id = "kafka_sink/watcher",
		.read_uncommitted = sink->read_uncommitted,
		.in_worker = true,
		.watch = true
	};
	HASHCTL		ctl = {.keysize = sizeof(KsWatchKey), .entrysize = sizeof(KsWatchPart)};
	dlist_iter	iter;
	MemoryContext cxt;
	MemoryContext old;
	KsConf	   *conf;
	KsWatchClient *client;

	dlist_foreach(iter, &ks_watch_clients)
	{
		client = dlist_container(KsWatchClient, node, iter.cur);
		if (client->owner == sink->owner && client->read_uncommitted == sink->read_uncommitted &&
			strcmp(client->server, sink->server) == 0)
			return client;
	}

	conf = ks_options_load(sink->server, sink->owner);
	opts.statistics_ms = ks_source_statistics_ms(STATISTICS_MS, ks_offsets_count_of_server(sink->server, sink->owner));
	ereport(DEBUG1,
			(errmsg_internal("kafka_sink watcher connects to server \"%s\", with statistics every %d ms",
							 sink->server, opts.statistics_ms)));
	cxt = AllocSetContextCreate(ks_watcher_cxt, "kafka_sink watch client", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	client = palloc0(sizeof(KsWatchClient));
	client->cxt = cxt;
	client->server = pstrdup(sink->server);
	client->owner = sink->owner;
	client->read_uncommitted = sink->read_uncommitted;
	client->fingerprint = ks_options_fingerprint(conf);
	client->statistics_ms = opts.statistics_ms;
	client->error_cxt = AllocSetContextCreate(cxt, "kafka_sink watch error", ALLOCSET_SMALL_SIZES);
	ctl.hcxt = cxt;
	client->parts = hash_create("kafka_sink watched partitions", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	client->source = ks_source_open(conf, &opts, cxt);
	MemoryContextSwitchTo(old);
	dlist_push_tail(&ks_watch_clients, &client->node);
	events_stale = true;
	return client;
}

bool
ks_watch_outgrown(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &ks_watch_clients)
	{
		const KsWatchClient *client = dlist_container(KsWatchClient, node, iter.cur);

		if (ks_source_statistics_ms(STATISTICS_MS, client->nparts) > client->statistics_ms / 2 * 3)
			return true;
	}
	return false;
}

/* Errors if it could not be connected as it is. */
static void
check_properties(void *arg)
{
	const KsWatchClient *client = arg;

	if (ks_options_fingerprint(ks_options_load(client->server, client->owner)) != client->fingerprint)
		elog(ERROR, "a connection has changed");
}

/* Whoever it watched for is started, and connects by what is valid now. */
static void
retire(KsWatchClient *client, dlist_head *watched)
{
	dlist_iter	iter;

	dlist_delete(&client->node);
	events_stale = true;
	ks_source_close(client->source);
	dlist_foreach(iter, watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		if (w->client == client)
			ks_watcher_wake(w, "a connection that has changed");
	}
}

bool
ks_watch_check_connections(dlist_head *watched)
{
	static int	nretired = 0;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &ks_watch_clients)
	{
		KsWatchClient *client = dlist_container(KsWatchClient, node, iter.cur);
		ErrorData  *edata;

		CHECK_FOR_INTERRUPTS();
		edata = ks_transaction_try(check_properties, client);
		if (edata == NULL)
			continue;
		ereport(DEBUG1,
				(errcode(edata->sqlerrcode), errmsg("kafka_sink watcher: %s", edata->message)));
		retire(client, watched);
		nretired++;
	}
	return nretired < MAX_RETIRED;
}

void
ks_watch_wait(long timeout)
{
	WaitEvent	event;

	if (events_stale)
	{
		dlist_iter	iter;
		int			n = 2;

		dlist_foreach(iter, &ks_watch_clients)
			n++;
		if (events)
			FreeWaitEventSet(events);
		events = ks_create_wait_event_set(n);
		AddWaitEventToSet(events, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
		AddWaitEventToSet(events, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
		dlist_foreach(iter, &ks_watch_clients)
			AddWaitEventToSet(events, WL_SOCKET_READABLE,
							  ks_source_fd(dlist_container(KsWatchClient, node, iter.cur)->source), NULL, NULL);
		events_stale = false;
	}
	if (WaitEventSetWait(events, timeout, &event, 1, PG_WAIT_EXTENSION) > 0 && event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
}
