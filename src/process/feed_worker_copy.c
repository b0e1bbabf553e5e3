/*
 * feed_worker_copy.c
 *	  The rows that are there before a feed begins, while it goes on.
 *
 *		LOOK ----> WAIT ----> CHUNK ----> WINDOW ----> SEND ----> DONE
 *					 ^---------------------------------'   \----> WAIT
 *
 * doc/feeds.md has the states, and why it is right.  In short:
 *
 *	- A chunk is read by a snapshot that sees all that has been published.
 *	- It is sent when all that the snapshot sees has been read; of what is changed
 *	  meanwhile the change is published, and rows only where they are needed before it.
 *	- How far the copy is, is committed with it.  A table's row says that it is done
 *	  before the next one begins.
 *	- When Kafka refuses a row, the next process begins with a chunk of one row, which has a
 *	  transaction of Kafka to itself, and doubles it each time.  So the row is alone soon.
 *
 * All of it happens between two records of the WAL, but for what is told of changes.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_publication.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/backoff.h"
#include "base/error.h"
#include "feed/steps.h"
#include "process/feed_worker_int.h"

#define RETRY_FIRST_MS	100		/* until it is tried again what others stand in the way of */
#define RETRY_MAX_MS	1000
#define TELL_AFTER	5			/* times that it was tried */

/* Which transactions have been published since the bound, and may not be seen yet. */
typedef struct Published
{
	TransactionId *xids;
	int			n;
	int			room;
} Published;

static struct
{
	bool		wanted;			/* the feed has copy_data */
	bool		changed;		/* the publication may be another by now: LOOK */
	MemoryContext cxt;			/* of what was found */
	List	   *left;			/* of KsFeedCopy: tables that are not done */
	KsFeedCopy *at;				/* the one at hand, NULL: none */
	TransactionId bound;
	Published	published;
	TimestampTz retry_at;		/* 0: at once */
	int			tries;			/* that others were in the way of */
	char		said[128];		/* what is told to be in the way */
	KsFeedChunk chunk;			/* in WINDOW: chunk.chunk is not NULL */
	char	   *former;			/* in SEND: the place before */
	int			most;			/* rows of the next chunk */
	int64		sent_in;		/* rows were sent in the transaction of Kafka behind so many */
	bool		sent;			/* and they were */
	bool		alone;			/* the last was the only one, and nothing else was */
	void		(*begin) (void *arg, const KsWalTransaction *txn);	/* the publisher's */
} copy;

#define is_in_window()	(copy.chunk.chunk != NULL)

/* --- what is told --- */

static void
publication_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (!ks_wal_is_forgetting())
		copy.changed = true;
}

/* To be known before it is told how far the WAL has been read: who waits for that waits
 * for what has joined the publication before. */
static void
tell(void)
{
	pg_atomic_write_u64(&ks_feed.slot->feed.copying, copy.changed || copy.at != NULL);
}

void
ks_feed_copy_tell(void)
{
	if (!copy.wanted)
		return;
	AcceptInvalidationMessages();
	tell();
}

bool
ks_feed_copy_is_busy(void)
{
	if (!copy.wanted)
		return false;
	/* the rest of the window is not to be read yet: standbys are waited for */
	if (is_in_window())
		return !ks_wal_is_held(ks_feed.wal);
	return copy.changed || (copy.at != NULL && copy.retry_at == 0);
}

long
ks_feed_copy_patience(long timeout)
{
	return copy.wanted && copy.at != NULL ? Min(timeout, RETRY_FIRST_MS) : timeout;
}

void
ks_feed_copy_set_back(TimestampTz now)
{
	copy.retry_at = Min(copy.retry_at, now);
}

/* --- what has been published --- */

static void
note(TransactionId xid)
{
	Published  *p = &copy.published;

	if (p->n == p->room)
	{
		p->room = Max(p->room * 2, 1024);
		p->xids = p->xids ? repalloc_huge(p->xids, p->room * sizeof(TransactionId)) :
			MemoryContextAlloc(ks_feed.cxt, p->room * sizeof(TransactionId));
	}
	p->xids[p->n++] = xid;
}

static void
begin_and_note(void *arg, const KsWalTransaction *txn)
{
	if (copy.at != NULL)
		note(XidFromFullTransactionId(txn->xid));
	copy.begin(arg, txn);
}

/* Does it see them all?  Those that it sees need not be asked for again. */
static bool
sees_published(const KsHorizon *h)
{
	Published  *p = &copy.published;
	int			n = 0;

	for (int i = 0; i < p->n; i++)
		if (!ks_horizon_sees(h, p->xids[i]))
			p->xids[n++] = p->xids[i];
	p->n = n;
	return n == 0;
}

/* --- LOOK --- */

static KsFeedCopy *
copy_by_id(int64 id)
{
	ListCell   *lc;

	foreach(lc, copy.left)
		if (((KsFeedCopy *) lfirst(lc))->id == id)
			return lfirst(lc);
	return NULL;
}

/* While the publication is gone, or a former one still holds, tables wait that are not in it. */
static List *
only_published(List *copies)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, copies)
		if (list_member_oid(ks_feed_tables(), ((KsFeedCopy *) lfirst(lc))->relid))
			result = lappend(result, lfirst(lc));
	return result;
}

/* The rows of the catalog, and what Kafka knows better. */
static void
read_copies(void *arg)
{
	bool	   *added = arg;
	const KsProgress *p = &ks_feed.publisher.next;
	Oid			publication = get_publication_oid(ks_feed.feed->publication, true);
	KsFeedCopy *at;
	MemoryContext old;

	ks_feed_find_tables(NULL);
	*added = ks_feed_copies_match(ks_feed.feed, publication, ks_feed_tables());
	old = MemoryContextSwitchTo(copy.cxt);
	copy.left = ks_feed_copies_unfinished(ks_feed.feed);
	at = copy_by_id(p->copy);
	if (at != NULL && p->copy_after == NULL)
	{
		/* it was done when nobody could write so any more */
		ks_feed_copies_end_skip(ks_feed.feed, at->id);
		ks_feed_copies_set(ks_feed.feed, at->id, "copied", p->copied, NULL);
		ForceSyncCommit();
		copy.left = list_delete_ptr(copy.left, at);
		at = NULL;
	}
	copy.left = only_published(copy.left);
	copy.at = at && list_member_ptr(copy.left, at) ? at : copy.left ? linitial(copy.left) : NULL;
	MemoryContextSwitchTo(old);
}

static void
read_copies_again(void)
{
	bool		was_idle = copy.at == NULL;
	bool		added;

	copy.changed = false;
	copy.at = NULL;
	copy.left = NIL;
	MemoryContextReset(copy.cxt);
	ks_feed_run(read_copies, &added);
	ks_feed_step("copy_listed");
	if (copy.at == NULL)
		return;
	/* who has begun before may change a table that was not published yet, or be published
	 * and not be seen yet, which was not noted while nothing was to be copied */
	if (added || was_idle)
		copy.bound = XidFromFullTransactionId(ReadNextFullTransactionId());
	copy.retry_at = 0;
}

void
ks_feed_copy_start(KsWalReceiver *receiver)
{
	if (!ks_feed.feed->copy_data || ks_feed.feed->publication == NULL)
		return;
	copy.wanted = copy.changed = true;
	/* it was in trouble, of which a row may have been the reason */
	copy.most = ks_feed.state && strcmp(ks_feed.state, "starting") != 0 ? 1 : KS_FEED_CHUNK_ROWS;
	copy.cxt = AllocSetContextCreate(ks_feed.cxt, "kafka_sink copies", ALLOCSET_DEFAULT_SIZES);
	copy.chunk.cxt = AllocSetContextCreate(ks_feed.cxt, "kafka_sink chunk", ALLOCSET_DEFAULT_SIZES);
	CacheRegisterSyscacheCallback(PUBLICATIONOID, publication_callback, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, publication_callback, (Datum) 0);
#if PG15_GE
	CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, publication_callback, (Datum) 0);
#endif
	copy.begin = receiver->begin;
	receiver->begin = begin_and_note;
	read_copies_again();
	tell();
}

/* --- what is sent --- */

static void
send_row(const KsProducerRecord *rec, bool alone)
{
	copy.sent = true;
	copy.sent_in = ks_feed.publisher.open_counts.commits;
	copy.alone = alone;
	ks_publisher_send_copied(&ks_feed.publisher, rec);
}

bool
ks_feed_copy_has_sent(void)
{
	return copy.sent && copy.sent_in == ks_feed.publisher.open_counts.commits;
}

static void
set_stopped(void *arg)
{
	const char **table = arg;
	char	   *name = get_rel_name(copy.at->relid);
	MemoryContext old;

	ks_feed_copies_stop(ks_feed.feed, copy.at->id, copy.chunk.last_row);
	old = MemoryContextSwitchTo(ks_feed.cxt);
	if (name)
		*table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(copy.at->relid)), name);
	MemoryContextSwitchTo(old);
}

bool
ks_feed_copy_blame(KsStateError *error)
{
	const char *table = NULL;
	ErrorData  *edata;

	if (!ks_feed_copy_has_sent() || !copy.alone)
		return false;
	edata = ks_feed_try(set_stopped, &table);
	if (edata)
		ereport(LOG,
				(errcode(edata->sqlerrcode),
				 errmsg("state of feed \"%s\" could not be written: %s", ks_feed.feed->name, edata->message)));
	else if (table)
		error->detail = psprintf("%s%sIt is a row of table %s that was there before; its key is in kafka_sink.feed_copies.",
								 error->detail ? error->detail : "", error->detail ? " " : "", table);
	return true;
}

/* --- WINDOW --- */

static void
leave_window(void)
{
	ks_rows_watch(ks_feed.publisher.rows, NULL, NULL, NULL);
	copy.chunk.chunk = NULL;
	MemoryContextReset(copy.chunk.cxt);
}

/* A change is about to be published. */
static void
watch(void *arg, const KsWalTransaction *txn, const char *key, bool whole)
{
	KsProducerRecord *rec;

	if (key == NULL)
	{
		/* rows of a table that is another by now: read anew */
		leave_window();
		copy.retry_at = ks_backoff_until(GetCurrentTimestamp(), 0, RETRY_FIRST_MS, RETRY_MAX_MS);
		return;
	}
	rec = ks_chunk_touch(copy.chunk.chunk, XidFromFullTransactionId(txn->xid), key, whole);
	if (rec)
		send_row(rec, false);
}

/* --- CHUNK --- */

/* Behind the table at hand, whose row says what became of it. */
static void
leave_table(void)
{
	copy.left = list_delete_ptr(copy.left, copy.at);
	copy.at = copy.left ? linitial(copy.left) : NULL;
}

typedef struct ReadArgs
{
	const char *waits_for;		/* others, that is; NULL: nobody */
	bool		gone;			/* there is no such table any more */
	bool		refused;		/* it cannot be copied */
} ReadArgs;

static void
refuse(const KsCopyPlan *plan)
{
	char	   *message = ks_copy_refusal(plan);

	ereport(LOG,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("feed \"%s\": %s", ks_feed.feed->name, message)));
	ks_feed_copies_set(ks_feed.feed, copy.at->id, "refused", 0, message);
	ForceSyncCommit();
}

/* The copy at hand, as it is in Kafka; 0 and NULL: it has not begun. */
static const char *
place_at_hand(int64 *rows)
{
	const KsProgress *p = &ks_feed.publisher.next;

	*rows = p->copy == copy.at->id ? p->copied : 0;
	return p->copy == copy.at->id ? p->copy_after : NULL;
}

/* By the active snapshot. */
static void
read_by_snapshot(ReadArgs *a)
{
	Snapshot	snapshot = GetActiveSnapshot();
	KsCopyPlan *plan;
	const char *place;
	int64		rows;
	bool		sees;

	MemoryContextSwitchTo(copy.chunk.cxt);
	ks_horizon_take(&copy.chunk.horizon, snapshot);
	/* each time: an old transaction may be open for days, while others are noted */
	sees = sees_published(&copy.chunk.horizon);
	a->waits_for = TransactionIdPrecedes(snapshot->xmin, copy.bound) ? "it waits for transactions that were open when it was found" :
		!sees ? "it waits for a commit that is published, and cannot be seen yet" : NULL;
	if (a->waits_for)
		return;
	plan = ks_copy_plan(ks_feed.feed->publication, copy.at->relid);
	a->gone = plan == NULL;
	if (a->gone)
		return;
	a->refused = plan->nkeys == 0;
	if (a->refused)
	{
		refuse(plan);
		return;
	}
	place = place_at_hand(&rows);
	ks_feed_read_chunk(&copy.chunk, plan, place, copy.at->skip_at, copy.most);
	/* for people: it may be lost */
	(void) set_config_option("synchronous_commit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	ks_feed_copies_set(ks_feed.feed, copy.at->id, "copying", copy.chunk.anew ? 0 : rows, NULL);
}

static void
read_chunk(void *arg)
{
	ks_feed_lock_table(copy.at->relid);
	PushActiveSnapshot(GetTransactionSnapshot());
	read_by_snapshot(arg);
	PopActiveSnapshot();
}

static void
set_obstacle(void *arg)
{
	int64		rows;
	const char *place = place_at_hand(&rows);

	ks_feed_copies_set(ks_feed.feed, copy.at->id, place ? "copying" : "waiting", rows, arg);
}

/* What is in the way for long is told, once. */
static void
tell_obstacle(const char *message)
{
	if (++copy.tries < TELL_AFTER || strncmp(copy.said, message, sizeof(copy.said) - 1) == 0)
		return;
	strlcpy(copy.said, message, sizeof(copy.said));
	ks_feed_run(set_obstacle, copy.said);
}

/* What passes when it is tried again: somebody has locked, changed or dropped the table. */
static bool
is_in_the_way(int sqlstate)
{
	return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || sqlstate == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlstate == ERRCODE_UNDEFINED_TABLE || sqlstate == ERRCODE_UNDEFINED_COLUMN || sqlstate == ERRCODE_UNDEFINED_SCHEMA ||
		sqlstate == ERRCODE_UNDEFINED_OBJECT || sqlstate == ERRCODE_UNDEFINED_FUNCTION || sqlstate == ERRCODE_WRONG_OBJECT_TYPE;
}

static void
open_window(void)
{
	XLogRecPtr	end = ks_wal_end();

	XLogFlush(end);
	copy.chunk.until = end;
	copy.retry_at = 0;
	ks_rows_watch(ks_feed.publisher.rows, copy.chunk.table, watch, NULL);
	ks_feed_step("chunk_read");
}

static void
next_chunk(void)
{
	ReadArgs	args = {0};
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *edata = ks_feed_try(read_chunk, &args);

	MemoryContextSwitchTo(cxt);
	if (edata && !is_in_the_way(edata->sqlerrcode))
		ks_error_rethrow(edata);
	if (edata == NULL && is_in_window())
	{
		copy.tries = 0;
		copy.said[0] = '\0';
		open_window();
		return;
	}
	leave_window();
	if (edata || args.waits_for)
		tell_obstacle(edata ? edata->message : args.waits_for);
	if (edata)
		FreeErrorData(edata);
	if (args.refused)
		leave_table();
	copy.changed |= args.gone;
	copy.retry_at = args.refused ? 0 : ks_backoff_until(GetCurrentTimestamp(), copy.tries, RETRY_FIRST_MS, RETRY_MAX_MS);
}

/* --- SEND --- */

bool
ks_feed_copy_is_due(void)
{
	return copy.wanted && is_in_window() && copy.chunk.nrows == 1 && ks_wal_position(ks_feed.wal) >= copy.chunk.until;
}

bool
ks_feed_copy_release(bool more)
{
	KsProgress *next = &ks_feed.publisher.next;
	KsProducerRecord *rec;
	int64		rows;

	if (!copy.wanted || !is_in_window())
		return false;
	/* nothing more to read is the end of the window, too, unless that is for standbys' sake:
	 * then the rows may be of what these do not have */
	if (ks_wal_position(ks_feed.wal) < copy.chunk.until && (more || ks_wal_is_held(ks_feed.wal)))
		return false;
	/* what is open is committed before, so that it is known whose fault it is if it is refused */
	if (copy.chunk.nrows == 1 && ks_publisher_is_open(&ks_feed.publisher))
		return false;
	while ((rec = ks_chunk_next(copy.chunk.chunk)) != NULL)
		send_row(rec, copy.chunk.nrows == 1);
	(void) place_at_hand(&rows);
	next->copied = (copy.chunk.anew ? 0 : rows) + copy.chunk.nrows;
	next->copy = copy.at->id;
	copy.former = next->copy_after;
	next->copy_after = copy.chunk.place ? MemoryContextStrdup(ks_feed.cxt, copy.chunk.place) : NULL;
	ks_feed_step("chunk_sent");
	return true;
}

/* --- DONE --- */

/* The row was not in the chunk that is committed. */
static void
set_skipped(void *unused)
{
	ks_feed_copies_end_skip(ks_feed.feed, copy.at->id);
}

static void
set_copied(void *unused)
{
	/* (it may have been behind without a word) */
	ks_feed_copies_end_skip(ks_feed.feed, copy.at->id);
	ks_feed_copies_set(ks_feed.feed, copy.at->id, "copied", ks_feed.publisher.progress.copied, NULL);
	ForceSyncCommit();
}

void
ks_feed_copy_committed(void)
{
	bool		is_last = copy.chunk.is_last;
	bool		skipped = copy.chunk.skipped;

	copy.most = Min(2 * copy.most, KS_FEED_CHUNK_ROWS);
	if (copy.former)
		pfree(copy.former);
	copy.former = NULL;
	leave_window();
	if (skipped && !is_last)
	{
		ks_feed_run(set_skipped, NULL);
		copy.at->skip_at = NULL;
	}
	if (is_last)
	{
		ks_feed_step("table_sent");
		ks_feed_run(set_copied, NULL);
		leave_table();
		ks_feed_step("table_copied");
	}
	tell();
	ConditionVariableBroadcast(ks_feed.progress);
}

/* --- between two records of the WAL --- */

/* Messages were sent one by one for the rows' sake, which is over. */
static void
end_one_by_one(void)
{
	bool		over = !copy.wanted || (copy.at == NULL && !copy.changed) || copy.most == KS_FEED_CHUNK_ROWS;

	/* (that it runs is written: so it is not said any more that they are to be) */
	if (over && ks_feed.feed->one_by_one == KS_FEED_ROWS && ks_feed.state && strcmp(ks_feed.state, "running") == 0)
		ks_feed_respawn();
}

void
ks_feed_copy_next(void)
{
	end_one_by_one();
	if (!copy.wanted || is_in_window())
		return;
	if (copy.changed)
		read_copies_again();
	if (copy.at && (copy.retry_at == 0 || GetCurrentTimestamp() >= copy.retry_at))
		next_chunk();
	tell();
}
