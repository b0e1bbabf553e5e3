/*
 * watcher_parked.c
 *	  Who is parked, and what is to be known of each.
 *
 * Who is parked is in shared memory (shmem_parked.c).  What is needed of a
 * parked worker (offsets, topics, connection) is read when it is parked: a
 * worker that leaves has committed its offsets before, so a record that comes
 * meanwhile is at or behind them, and is seen here.  A commit that changes the
 * sink makes the supervisor take the worker back.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "catalog/offsets.h"
#include "process/transaction.h"
#include "process/watcher_int.h"

#define RETRY_FIRST_MS		1000
#define RETRY_MAX_MS		60000

dlist_head	ks_watched = DLIST_STATIC_INIT(ks_watched);

bool
ks_watched_try(KsWatched *w, void (*step) (void *arg))
{
	ErrorData  *edata;

	if (w->next_try > GetCurrentTimestamp())
		return false;
	edata = ks_transaction_try(step, w);
	if (edata == NULL)
	{
		w->failures = 0;
		return true;
	}
	ereport(w->failures == 0 ? LOG : DEBUG1,
			(errcode(edata->sqlerrcode),
			 errmsg("kafka_sink watcher tries sink \"%s\" again: %s", w->parked.sink, edata->message)));
	w->next_try = ks_backoff_until(GetCurrentTimestamp(), w->failures, RETRY_FIRST_MS, RETRY_MAX_MS);
	w->failures++;
	return false;
}

static void
forget(KsWatched *w)
{
	for (int i = 0; i < w->nusers; i++)
		ks_watch_remove_user(&w->users[i]);
	dlist_delete(&w->node);
	MemoryContextDelete(w->cxt);
}

/* Rows of txn_offsets of the worker's partitions of a topic, into w->users. */
static void
load_rows(KsWatched *w, const KsSink *sink, KsWatchTopic *t)
{
	int			n;
	KsPartition *rows = ks_offsets_list(sink->name, t->topic->topic, &n);

	w->users = w->users ?
		repalloc(w->users, (w->nusers + n + 1) * sizeof(KsWatchUser)) :
		MemoryContextAlloc(w->cxt, (n + 1) * sizeof(KsWatchUser));
	for (int i = 0; i < n; i++)
	{
		KsWatchUser *user = &w->users[w->nusers];

		memset(user, 0, sizeof(KsWatchUser));
		user->watched = w;
		user->row = rows[i];
		user->row.topic = t->topic->topic;
		t->settled = Max(t->settled, user->row.part + 1);
		if (user->row.part % sink->workers == w->parked.worker &&
			ks_topic_has_partition(t->topic, user->row.part))
			w->nusers++;
		pfree(unconstify(char *, rows[i].topic));
	}
	pfree(rows);
}

/*
 * Reads what is to be known of a parked worker.  One that would not find
 * everything as it has left it is woken.  A topic may have no row: it has none of
 * the partitions that are registered of it, and is looked at until it has.
 */
static void
load(void *arg)
{
	KsWatched  *w = arg;
	MemoryContext old = MemoryContextSwitchTo(w->cxt);
	KsSink	   *sink = ks_catalog_sink(w->parked.sink, true);
	bool		complete = sink != NULL && sink->generation == w->parked.definition && sink->server != NULL;
	List	   *topics = complete ? ks_catalog_topics(sink->name) : NIL;
	const char *state = complete ? ks_sink_worker_state(sink, w->parked.worker) : NULL;
	ListCell   *lc;

	w->reported_trouble = state && strcmp(state, "waiting") == 0 ? KS_TROUBLE_BEFORE : 0;
	w->nusers = w->ntopics = 0;
	w->users = NULL;
	w->topics = palloc0((list_length(topics) + 1) * sizeof(KsWatchTopic));
	foreach(lc, topics)
	{
		KsWatchTopic *t = &w->topics[w->ntopics];

		t->topic = lfirst(lc);
		if (t->topic->halted)
			continue;
		w->ntopics++;
		load_rows(w, sink, t);
	}
	MemoryContextSwitchTo(old);
	if (!complete)
	{
		w->nusers = 0;
		ks_watcher_wake(w, "it was changed");
		return;
	}
	w->client = ks_watch_client(sink);
}

/* What was read is in place: from here on it is watched. */
static void
begin_watching(KsWatched *w)
{
	for (int i = 0; i < w->ntopics; i++)
		ks_source_know_topic(w->client->source, w->topics[i].topic->topic);
	for (int i = 0; i < w->nusers; i++)
	{
		KsWatchUser *user = &w->users[i];

		user->slot = ks_shmem_watch_partition(w->slot, &w->parked, user->row.topic, user->row.part);
		ks_watch_add_user(ks_watch_part(w->client, user->row.topic, user->row.part), user);
	}
}

static void
add_watched(int slot)
{
	MemoryContext cxt = AllocSetContextCreate(ks_watcher_cxt, "kafka_sink watched", ALLOCSET_SMALL_SIZES);
	KsWatched  *w = MemoryContextAllocZero(cxt, sizeof(KsWatched));

	w->cxt = cxt;
	w->slot = slot;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	w->parked = ks_shared->parked[slot];
	LWLockRelease(ks_shared->lock);
	dlist_push_tail(&ks_watched, &w->node);
}

static uint32 parked_changes = 0;	/* as of the last look */

bool
ks_watched_is_changed(const KsDatabase *database)
{
	return ((const volatile KsDatabase *) database)->parked_changes != parked_changes;
}

void
ks_watched_take_over(KsDatabase *database)
{
	static bool known[KS_MAX_PARKED];
	static bool fresh[KS_MAX_PARKED];
	bool		changed;
	dlist_mutable_iter iter;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	changed = database->parked_changes != parked_changes;
	parked_changes = database->parked_changes;
	for (int i = 0; i < KS_MAX_PARKED && changed; i++)
		fresh[i] = ks_shared->parked[i].state == KS_PARKED_WATCHED && ks_shared->parked[i].dbid == MyDatabaseId;
	LWLockRelease(ks_shared->lock);
	if (!changed)
		return;
	memset(known, 0, sizeof(known));
	dlist_foreach_modify(iter, &ks_watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		/* a slot that was freed and taken again has another serial */
		if (fresh[w->slot] && ks_shared->parked[w->slot].serial == w->parked.serial)
			known[w->slot] = true;
		else
			forget(w);
	}
	for (int i = 0; i < KS_MAX_PARKED; i++)
		if (fresh[i] && !known[i])
			add_watched(i);
}

TimestampTz
ks_watched_load(void)
{
	TimestampTz begun = GetCurrentTimestamp();
	TimestampTz next = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &ks_watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		if (w->client != NULL || w->woken)
			continue;
		CHECK_FOR_INTERRUPTS();
		/* who is watched already is heard in between */
		if (TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), KS_WATCH_STEP_MS))
			return GetCurrentTimestamp();
		if (ks_watched_try(w, load))
		{
			if (w->client)
				begin_watching(w);
		}
		else if (w->failures > 3)
			ks_watcher_wake(w, "it cannot be read");	/* who starts tells why */
		else if (next == 0 || w->next_try < next)
			next = w->next_try;
	}
	return next;
}
