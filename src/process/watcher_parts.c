/*
 * watcher_parts.c
 *	  Partitions of parked workers: starting them, and what is heard of them.
 *
 * A partition is read once for all who want to hear of it, from the lowest of
 * their stored offsets, and nothing is judged here: a record, an end that is
 * not the stored offset, a log that is not the one that was consumed, an error
 * that does not pass by itself, all of them wake the workers concerned, who
 * know what to make of it.  The tail of the log is compared as a worker does
 * it, also after each interruption, so that a topic made again with as many
 * records as before does not pass for the old one.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/backoff.h"
#include "process/watcher_int.h"

#define RECORDS_PER_POLL	64
#define BYTES_PER_POLL		(1024 * 1024)
#define POLLS_PER_PASS		16
#define RESTART_FIRST_MS	500
#define RESTART_MAX_MS		30000

KsWatchPart *
ks_watch_part(KsWatchClient *client, const char *topic, int32 partno)
{
	KsWatchKey	key;
	bool		found;
	KsWatchPart *part;

	memset(&key, 0, sizeof(key));
	strlcpy(key.topic, topic, sizeof(key.topic));
	key.part = partno;
	part = hash_search(client->parts, &key, HASH_ENTER, &found);
	if (found)
		return part;
	memset((char *) part + sizeof(key), 0, sizeof(KsWatchPart) - sizeof(key));
	part->client = client;
	part->pidx = client->nparts;
	dlist_init(&part->users);
	if (client->by_pidx == NULL)
		client->by_pidx = MemoryContextAlloc(client->cxt, 64 * sizeof(KsWatchPart *));
	else if (client->nparts >= 64 && (client->nparts & (client->nparts - 1)) == 0)
		client->by_pidx = repalloc(client->by_pidx, client->nparts * 2 * sizeof(KsWatchPart *));
	client->by_pidx[client->nparts++] = part;
	return part;
}

void
ks_watch_add_user(KsWatchPart *part, KsWatchUser *user)
{
	user->part = part;
	dlist_push_tail(&part->users, &user->node);
	part->dirty = true;
}

/* The partition goes on for the others. */
void
ks_watch_remove_user(KsWatchUser *user)
{
	ks_shmem_unwatch_partition(user->slot);
	user->slot = NULL;
	if (user->part == NULL)
		return;
	dlist_delete(&user->node);
	if (dlist_is_empty(&user->part->users))
		user->part->dirty = true;
	user->part = NULL;
}

/* Starts a partition at the lowest offset of its users, or stops it. */
static void
start_part(KsWatchPart *part)
{
	KsPartition from = {.off = -1, .last_off = -1};
	dlist_iter	iter;

	part->dirty = false;
	part->restart_at = 0;
	if (part->started)
		ks_source_stop(part->client->source, part->pidx);
	part->started = false;
	dlist_foreach(iter, &part->users)
	{
		const KsPartition *row = &dlist_container(KsWatchUser, node, iter.cur)->row;

		if (from.off < 0 || row->off < from.off)
			from.off = row->off;
		/* the last record that any of them knows */
		if (row->last_off > from.last_off)
		{
			from.last_off = row->last_off;
			from.last_hash = row->last_hash;
		}
	}
	if (from.off < 0)
		return;
	from.topic = part->key.topic;
	from.part = part->key.part;
	if (from.last_off >= from.off)
		from.last_off = -1;
	part->started = true;
	ks_source_start(part->client->source, part->pidx, &from, true);
	part->client->busy = true;
}

TimestampTz
ks_watch_start_parts(KsWatchClient *client)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz next = 0;

	for (int i = 0; i < client->nparts; i++)
	{
		KsWatchPart *part = client->by_pidx[i];

		if (part->dirty || (part->restart_at != 0 && part->restart_at <= now))
			start_part(part);
		if (part->restart_at != 0 && (next == 0 || part->restart_at < next))
			next = part->restart_at;
	}
	return next;
}

/* (not reached by tests: the clock was set back) */
void
ks_watch_hurry(KsWatchClient *client)
{
	for (int i = 0; i < client->nparts; i++)
		client->by_pidx[i]->dirty |= client->by_pidx[i]->restart_at != 0;
}

/* --- what is heard --- */

void
ks_watcher_wake(KsWatched *w, const char *why)
{
	if (w->woken)
		return;
	w->woken = true;
	ereport(DEBUG1,
			(errmsg_internal("kafka_sink watcher wakes worker %d of sink \"%s\": %s",
							 w->parked.worker, w->parked.sink, why)));
	ks_shmem_wake_parked(w->slot, w->parked.serial);
}

/* Wakes those who have not got as far as 'off', or with -1 all. */
static void
wake_users(KsWatchPart *part, int64 off, const char *why)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &part->users)
	{
		KsWatchUser *user = dlist_container(KsWatchUser, node, iter.cur);

		if (off < 0 || user->row.off <= off)
			ks_watcher_wake(user->watched, why);
	}
}

/* Who stands elsewhere than at the end has something to do. */
static void
end_seen(KsWatchPart *part, int64 end)
{
	dlist_mutable_iter iter;

	part->failures = 0;
	dlist_foreach_modify(iter, &part->users)
	{
		KsWatchUser *user = dlist_container(KsWatchUser, node, iter.cur);

		if (user->row.off != end)
			ks_watcher_wake(user->watched, "end of the log");
	}
}

static void
part_failed(KsWatchPart *part, const KsSourceEvent *ev)
{
	if (ev->action != KS_ERROR_RETRY)
	{
		wake_users(part, -1, "an error");
		return;
	}
	ks_source_stop(part->client->source, part->pidx);
	part->restart_at = ks_backoff_until(GetCurrentTimestamp(), part->failures,
										RESTART_FIRST_MS, RESTART_MAX_MS);
	part->failures++;
}

static void
client_failed(KsWatchClient *client, const KsSourceEvent *ev, dlist_head *watched)
{
	MemoryContext old;
	dlist_mutable_iter iter;

	if (ev->action == KS_ERROR_HALT)
		dlist_foreach_modify(iter, watched)
		{
			KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

			if (w->client == client)
				ks_watcher_wake(w, "an error");
		}
	MemoryContextReset(client->error_cxt);
	old = MemoryContextSwitchTo(client->error_cxt);
	memset(&client->error, 0, sizeof(KsStateError));
	client->error.sqlstate = ev->sqlstate;
	client->error.message = pstrdup(ev->message);
	client->error.detail = ev->detail ? pstrdup(ev->detail) : NULL;
	client->error.hint = ev->hint ? pstrdup(ev->hint) : NULL;
	client->error.off = -1;
	client->error.waits_for = "broker";
	MemoryContextSwitchTo(old);
	client->trouble = ++client->ntroubles;
}

/* Does a topic have partitions that its sink has no row for? */
static bool
has_grown(const KsWatchTopic *t, int count)
{
	for (int i = t->settled; i < count; i++)
		if (ks_topic_has_partition(t->topic, i))
			return true;
	return false;
}

static void
check_counts(KsWatchClient *client, dlist_head *watched)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, watched)
	{
		KsWatched  *w = dlist_container(KsWatched, node, iter.cur);

		if (w->client != client || w->woken)
			continue;
		for (int i = 0; i < w->ntopics && !w->woken; i++)
			if (has_grown(&w->topics[i], ks_source_known_count(client->source, w->topics[i].topic->topic)))
				ks_watcher_wake(w, "new partitions");
	}
}

static void
handle_event(KsWatchClient *client, const KsSourceEvent *ev, dlist_head *watched)
{
	switch (ev->type)
	{
		case KS_EVENT_EOF:
			client->heard = true;
			end_seen(client->by_pidx[ev->pidx], ev->off);
			break;
		case KS_EVENT_TAIL_OK:
		case KS_EVENT_TAIL_UNCHECKABLE:
		case KS_EVENT_LEADER_AWAY:
		case KS_EVENT_LEADER_BACK:
			break;
		case KS_EVENT_TAIL_MISMATCH:
		case KS_EVENT_TRUNCATED:
		case KS_EVENT_OUT_OF_RANGE:
			wake_users(client->by_pidx[ev->pidx], -1, "another log");
			break;
		case KS_EVENT_PARTITION_ERROR:
			part_failed(client->by_pidx[ev->pidx], ev);
			break;
		case KS_EVENT_ERROR:
			client_failed(client, ev, watched);
			break;
		case KS_EVENT_RECOVERED:
			client->heard = true;
			client->trouble = 0;
			break;
		case KS_EVENT_PARTITION_COUNT:
			break;				/* check_counts() sees it */
	}
}

static void
publish_ends(KsWatchClient *client)
{
	for (int i = 0; i < client->nparts; i++)
	{
		KsWatchPart *part = client->by_pidx[i];
		int64		low,
					high,
					lso;
		TimestampTz as_of;
		dlist_iter	iter;

		if (!part->started)
			continue;
		as_of = ks_source_watermarks(client->source, i, &low, &high, &lso);
		dlist_foreach(iter, &part->users)
		{
			KsPartitionSlot *slot = dlist_container(KsWatchUser, node, iter.cur)->slot;

			if (slot == NULL)
				continue;
			pg_atomic_write_u64(&slot->low, (uint64) low);
			pg_atomic_write_u64(&slot->high, (uint64) high);
			pg_atomic_write_u64(&slot->lso, (uint64) lso);
			pg_atomic_write_u64(&slot->as_of, (uint64) as_of);
		}
	}
}

void
ks_watch_poll(KsWatchClient *client, dlist_head *watched)
{
	KsRecord	recs[RECORDS_PER_POLL];
	KsSourceEvent ev;
	TimestampTz now;
	bool		drained = false;

	ks_source_clear_fd(client->source);
	for (int i = 0; i < POLLS_PER_PASS && !drained; i++)
	{
		Size		bytes;
		int			n = ks_source_poll(client->source, recs, RECORDS_PER_POLL, BYTES_PER_POLL,
									   &bytes, &drained);

		for (int j = 0; j < n; j++)
			wake_users(client->by_pidx[recs[j].pidx], recs[j].off, "a record");
		ks_source_release(recs, n);
		while (ks_source_next_event(client->source, &ev))
			handle_event(client, &ev, watched);
	}
	client->busy = !drained || ks_source_is_busy(client->source);
	now = GetCurrentTimestamp();
	if (now - client->published >= USECS_PER_SEC || now < client->published)
	{
		client->published = now;
		publish_ends(client);
		check_counts(client, watched);
	}
}
