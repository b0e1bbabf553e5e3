/*
 * wal.c
 *	  What transactions of this database have committed, out of the WAL.
 *
 * This is what a walsender does, in a process that has more to do than that.  So a
 * page that is not flushed as far as a record goes is no reason to wait: the read
 * fails, and is begun again at the record when there is more.
 *
 * The context is made within a transaction, as by the server's SQL functions:
 * otherwise the snapshots of our own transactions would not keep what they see from
 * vacuum (PROC_IN_LOGICAL_DECODING).
 *
 * System caches hold the past while a transaction of the WAL is handed out, and the
 * present in our own.  What one of them has read is left when it has ended, unless it is
 * changed later: so they are emptied on both sides of our own (ks_wal_forget_caches()).
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/logicalproto.h"
#include "replication/output_plugin.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "feed/message.h"
#include "feed/steps.h"
#include "feed/wal.h"

#define PLUGIN			"kafka_sink"	/* of messages */
#define TABLES_PLUGIN	"pgoutput"
#define SLOT_PREFIX		"kafka_sink_feed_"
#define PASS_CHANGES	256		/* between looks at the clock */
#define MANY_PARTS		1000	/* subtransactions, of which each can have a file of its own */

struct KsWal
{
	MemoryContext cxt;
	ResourceOwner owner;		/* of what is read between transactions */
	LogicalDecodingContext *ctx;
	KsWalReceiver receiver;
	KsWalTransaction txn;		/* that is handed out */
	OutputPluginCallbacks plugin;	/* what ours are around of */
	XLogRecPtr	from;			/* commits before it are left out */
	XLogRecPtr	at;				/* the transaction at hand, by its commit; 0: none */
	uint64		nchanges;		/* of all transactions: see next_change() */
	XLogRecPtr	skip;			/* the one of which nothing is handed out */
	const char *publication;	/* NULL: messages alone are handed out */
	bool		starved;		/* the last read met the end of what may be read */

	/* of a slot that follows to standbys */
	bool		follows;
	bool		warned;			/* that one of them is not there */
	XLogRecPtr	safe;			/* they have what is before it */
	XLogRecPtr	wanted;			/* and are asked for this */
};

/* Of this process: the plugin is called with nothing that would tell. */
static KsWal *my_wal = NULL;
static bool making_slot = false;
static bool forgetting = false;
static bool publication_found = false;	/* as of the change at hand */

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

/* --- the output plugin --- */

static void
startup_cb(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	/* (pg_upgrade makes the slots of the former server, from 17 on) */
	if (my_wal == NULL && !making_slot && !IsBinaryUpgrade)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("output plugin \"%s\" is for feeds only", PLUGIN),
				 errhint("Feeds decode their slots by themselves; see kafka_sink.create_feed().")));
	opt->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	opt->receive_rewrites = false;
	ctx->output_plugin_private = my_wal;
	/* transactions are handed out whole, when they have committed */
	ctx->streaming = false;
	ctx->twophase = false;
}

/* Of the two transactions that have this number, now and 2^32 before, the last. */
static FullTransactionId
full_xid(TransactionId xid)
{
	FullTransactionId next = ReadNextFullTransactionId();
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return FullTransactionIdFromEpochAndXid(epoch, xid);
}

static void
begin_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	KsWal	   *wal = ctx->output_plugin_private;

	wal->txn.xid = full_xid(txn->xid);
	wal->txn.commit_lsn = txn->final_lsn;
	wal->txn.end_lsn = txn->end_lsn;
	wal->txn.committed_at = KS_COMMIT_TIME(txn);
	wal->receiver.begin(wal->receiver.arg, &wal->txn);
}

/* Tables are nobody's business here. */
static void
change_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel, ReorderBufferChange *change)
{
}

static void
message_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn, bool transactional,
		   const char *prefix, Size len, const char *data)
{
	KsWal	   *wal = ctx->output_plugin_private;

	if (transactional && strcmp(prefix, KS_MESSAGE_PREFIX) == 0)
		wal->receiver.message(wal->receiver.arg, &wal->txn, data, len);
}

static void
commit_cb(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	KsWal	   *wal = ctx->output_plugin_private;

	wal->receiver.commit(wal->receiver.arg, &wal->txn);
}

void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = startup_cb;
	cb->begin_cb = begin_cb;
	cb->change_cb = change_cb;
	cb->message_cb = message_cb;
	cb->commit_cb = commit_cb;
}

/* --- the words of pgoutput --- */

static void
prepare_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write)
{
	resetStringInfo(ctx->out);
}

static void
begin_by_words(KsWal *wal, StringInfo in)
{
	LogicalRepBeginData begin;

	logicalrep_read_begin(in, &begin);
	wal->txn.xid = full_xid(begin.xid);
	wal->txn.commit_lsn = begin.final_lsn;
	wal->txn.end_lsn = InvalidXLogRecPtr;	/* told by the commit */
	wal->txn.committed_at = begin.committime;
	wal->receiver.begin(wal->receiver.arg, &wal->txn);
}

static void
commit_by_words(KsWal *wal, StringInfo in)
{
	LogicalRepCommitData commit;

	logicalrep_read_commit(in, &commit);
	wal->txn.end_lsn = commit.end_lsn;
	wal->receiver.commit(wal->receiver.arg, &wal->txn);
}

static void
message_by_words(KsWal *wal, StringInfo in)
{
	bool		transactional = pq_getmsgbyte(in) != 0;
	const char *prefix;
	int			len;

	(void) pq_getmsgint64(in);	/* where it is */
	prefix = pq_getmsgstring(in);
	len = pq_getmsgint(in, 4);
	if (transactional && strcmp(prefix, KS_MESSAGE_PREFIX) == 0)
		wal->receiver.message(wal->receiver.arg, &wal->txn, pq_getmsgbytes(in, len), len);
}

static void
do_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write)
{
	StringInfoData in = *ctx->out;

	in.cursor = 0;
	switch (pq_getmsgbyte(&in))
	{
		case LOGICAL_REP_MSG_BEGIN:
			begin_by_words(my_wal, &in);
			break;
		case LOGICAL_REP_MSG_COMMIT:
			commit_by_words(my_wal, &in);
			break;
		case LOGICAL_REP_MSG_MESSAGE:
			message_by_words(my_wal, &in);
			break;
		default:
			my_wal->receiver.change(my_wal->receiver.arg, &my_wal->txn, ctx->out);
			break;
	}
}

static List *
pgoutput_options(const char *publication)
{
	return list_make3(makeDefElem("proto_version", (Node *) makeString("1"), -1),
					  makeDefElem("publication_names", (Node *) makeString((char *) quote_identifier(publication)), -1),
					  makeDefElem("messages", (Node *) makeString("true"), -1));
}

/* --- around the plugin: which transaction is at hand, and whether it is skipped --- */

static void
around_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	my_wal->at = txn->final_lsn;
	my_wal->txn.change = 0;
	/* before its first change all of these files are opened */
	if (txn->nsubtxns > MANY_PARTS)
		my_wal->receiver.passed(my_wal->receiver.arg, my_wal->at, 0);
	my_wal->plugin.begin_cb(ctx, txn);
}

static void
publication_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	publication_found = false;
}

/*
 * From PostgreSQL 18 on the plugin does without a publication that is not there, and nobody
 * would hear of what was written meanwhile.  Before, it says no more than that.
 */
static void
check_publication(void)
{
	static bool heard = false;

	if (publication_found || my_wal->publication == NULL)
		return;
	if (!heard)
		CacheRegisterSyscacheCallback(PUBLICATIONOID, publication_callback, (Datum) 0);
	heard = true;
	publication_found = SearchSysCacheExists1(PUBLICATIONNAME, CStringGetDatum(my_wal->publication));
	if (!publication_found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("publication \"%s\" does not exist", my_wal->publication),
				 errdetail("It did not when this transaction wrote what may have to be published."),
				 errhint("Make it again, or give the feed another one. Then kafka_sink.accept_gap() goes on from now on; kafka_sink.skip() leaves out this transaction alone.")));
}

/*
 * Counted is what the WAL has, messages and truncations too, before anybody is asked whether
 * it is to be published: so a transaction that is read again, by other settings or rights
 * perhaps, has the same numbers.
 */
static void
next_change(void)
{
	my_wal->txn.change++;
	my_wal->nchanges++;
}

/* Millions of them may be of no interest, and take minutes. */
static void
end_change(void)
{
	if (my_wal->nchanges % PASS_CHANGES == 0)
		my_wal->receiver.passed(my_wal->receiver.arg, my_wal->at, my_wal->txn.change);
}

/*
 * The plugin is not asked about what is skipped: its errors may be the reason.  Nor about
 * the heap into which a table is rewritten, whose rows are no changes (wrap_plugin()); nor
 * about tables that are not for others: what is written there does not miss a publication.
 */
static void
around_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel, ReorderBufferChange *change)
{
	next_change();
	if (my_wal->at != my_wal->skip && !OidIsValid(rel->rd_rel->relrewrite) &&
		!my_wal->receiver.is_own(RelationGetRelid(rel)))
	{
		check_publication();
		my_wal->plugin.change_cb(ctx, txn, rel, change);
	}
	end_change();
}

static void
around_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrels, Relation rels[], ReorderBufferChange *change)
{
	Relation   *others = palloc(nrels * sizeof(Relation));
	int			n = 0;

	next_change();
	for (int i = 0; i < nrels; i++)
		if (!my_wal->receiver.is_own(RelationGetRelid(rels[i])))
			others[n++] = rels[i];
	if (my_wal->at != my_wal->skip && n > 0)
	{
		check_publication();
		my_wal->plugin.truncate_cb(ctx, txn, n, others, change);
	}
	pfree(others);
	end_change();
}

/* Those without a transaction come at any time; what the feed is from then on holds
 * whether its transaction is skipped or not. */
static void
around_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn, bool transactional,
			   const char *prefix, Size len, const char *data)
{
	if (transactional)
		next_change();
	if (!transactional || my_wal->at != my_wal->skip || ks_message_defines(data, len))
		my_wal->plugin.message_cb(ctx, txn, lsn, transactional, prefix, len, data);
	if (transactional)
		end_change();
}

static void
around_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	my_wal->plugin.commit_cb(ctx, txn, commit_lsn);
	if (my_wal->at == my_wal->skip)
		my_wal->receiver.skipped(my_wal->receiver.arg, my_wal->skip);
	my_wal->at = InvalidXLogRecPtr;
}

static void
wrap_plugin(KsWal *wal)
{
	OutputPluginCallbacks *cb = &wal->ctx->callbacks;

	/* a table that is rewritten, or a materialized view that is refreshed, takes as long to
	 * be passed over as one that is loaded: so it is handed to us, and to nobody else */
	wal->ctx->reorder->output_rewrites = true;
	wal->plugin = *cb;
	cb->begin_cb = around_begin;
	cb->change_cb = around_change;
	cb->commit_cb = around_commit;
	if (cb->truncate_cb)
		cb->truncate_cb = around_truncate;
	if (cb->message_cb)
		cb->message_cb = around_message;
}

/* --- slots --- */

char *
ks_wal_slot_name(int64 feed_id)
{
	return psprintf(SLOT_PREFIX "%u_" INT64_FORMAT, MyDatabaseId, feed_id);
}

static bool
is_plugin(const ReplicationSlot *slot)
{
	return strcmp(NameStr(slot->data.plugin), PLUGIN) == 0 || strcmp(NameStr(slot->data.plugin), TABLES_PLUGIN) == 0;
}

void
ks_wal_read_slot(const char *name, KsSlotInfo *info)
{
	ReplicationSlot *slot;

	memset(info, 0, sizeof(KsSlotInfo));
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	slot = SearchNamedReplicationSlot(name, false);
	if (slot != NULL)
	{
		SpinLockAcquire(&slot->mutex);
		info->active_pid = slot->active_pid;
		info->restart_lsn = slot->data.restart_lsn;
		info->confirmed_lsn = slot->data.confirmed_flush;
		info->follows = KS_SLOT_FOLLOWS(slot);
		info->kind = slot->data.database != MyDatabaseId ||
			!is_plugin(slot) ? KS_SLOT_IS_FOREIGN :
			KS_SLOT_IS_LOST(slot) || XLogRecPtrIsInvalid(slot->data.restart_lsn) ? KS_SLOT_IS_INVALID :
			KS_SLOT_IS_USABLE;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
}

bool
ks_wal_feed_slot(int i, NameData *name, bool *active)
{
	ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
	bool		found = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	SpinLockAcquire(&slot->mutex);
	if (slot->in_use && slot->data.database == MyDatabaseId && is_plugin(slot) &&
		strncmp(NameStr(slot->data.name), SLOT_PREFIX, strlen(SLOT_PREFIX)) == 0)
	{
		found = true;
		*name = slot->data.name;
		*active = slot->active_pid != 0;
	}
	SpinLockRelease(&slot->mutex);
	LWLockRelease(ReplicationSlotControlLock);
	return found;
}

bool
ks_wal_any_slot_is_held(Oid dbid)
{
	bool		held = false;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !held; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		SpinLockAcquire(&slot->mutex);
		held = slot->in_use && slot->data.database == dbid && slot->active_pid != 0 &&
			strncmp(NameStr(slot->data.name), SLOT_PREFIX, strlen(SLOT_PREFIX)) == 0;
		SpinLockRelease(&slot->mutex);
	}
	LWLockRelease(ReplicationSlotControlLock);
	return held;
}

void
ks_wal_drop_slot(const char *name)
{
	ReplicationSlotDrop(name, true);
}

XLogRecPtr
ks_wal_readable(KsWal *wal)
{
	if (!wal->follows)
		return ks_flushed_lsn();
	if (wal->safe >= wal->wanted)
		wal->wanted = ks_flushed_lsn();
	if (wal->safe < wal->wanted)
	{
		/* it warns of those that are not there: once */
		if (ks_standbys_have(wal->wanted, wal->warned ? DEBUG1 : WARNING))
			wal->safe = wal->wanted;
		wal->warned = wal->safe < wal->wanted;
	}
	return wal->safe;
}

bool
ks_wal_is_held(const KsWal *wal)
{
	return wal->safe < wal->wanted;
}

/* Reads a page, as far as it may be read; -1 if that is not enough. */
static int
read_flushed_page(XLogReaderState *state, XLogRecPtr page, int len, XLogRecPtr target, char *buf)
{
	TimeLineID	timeline = ks_timeline();
	XLogRecPtr	until;
	WALReadError error;

	ks_determine_timeline(state, page, len, timeline);
	until = state->currTLI == timeline ? ks_wal_readable(my_wal) : state->currTLIValidUntil;
	if (page + len > until)
	{
		my_wal->starved = true;
		return -1;
	}
	/* what is behind it on the page is read, too, and not looked at */
	if (!WALRead(state, buf, page, XLOG_BLCKSZ, state->currTLI, &error))
		WALReadRaiseError(&error);
	return (int) Min(until - page, XLOG_BLCKSZ);
}

/*
 * Recent versions of the server have a list of libraries that roles with REPLICATION
 * may name as plugins.  Ours refuses all of them, so it need not be on that list; but
 * we name it, too.
 */
static void
allow_plugin(void)
{
	if (GetConfigOption("output_plugin_libraries", true, false) != NULL)
		SetConfigOption("output_plugin_libraries", PLUGIN ", " TABLES_PLUGIN, PGC_SUSET, PGC_S_OVERRIDE);
}

/* A slot that was left by one who did not come to the end. */
static void
drop_older(const char *name)
{
	KsSlotInfo	info;

	ks_wal_read_slot(name, &info);
	if (info.kind != KS_SLOT_IS_MISSING)
		ks_wal_drop_slot(name);
}

XLogRecPtr
ks_wal_make_slot(const char *name, bool tables, bool follows)
{
	MemoryContext cxt = CurrentMemoryContext;
	LogicalDecodingContext *ctx;
	XLogRecPtr	lsn;

	allow_plugin();
	drop_older(name);
	StartTransactionCommand();
	CheckLogicalDecodingRequirements();
	ks_slot_create(name, follows);
	making_slot = true;
	/* waits for what is running, as whoever makes a slot */
	ctx = CreateInitDecodingContext(tables ? TABLES_PLUGIN : PLUGIN, NIL, false, InvalidXLogRecPtr,
									XL_ROUTINE(.page_read = read_local_xlog_page,
											   .segment_open = wal_segment_open,
											   .segment_close = wal_segment_close),
									NULL, NULL, NULL);
	DecodingContextFindStartpoint(ctx);
	lsn = MyReplicationSlot->data.confirmed_flush;
	FreeDecodingContext(ctx);
	making_slot = false;
	ReplicationSlotPersist();
	ReplicationSlotRelease();
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	ks_wal_forget_caches();
	return lsn;
}

void
ks_wal_set_follows(const char *name, bool follows)
{
	ks_slot_set_follows(name, follows);
}

/* --- reading --- */

KsWal *
ks_wal_open(const char *name, XLogRecPtr from, XLogRecPtr skip, const char *publication,
			const KsWalReceiver *receiver, MemoryContext cxt)
{
	KsWal	   *wal = MemoryContextAllocZero(cxt, sizeof(KsWal));

	wal->cxt = cxt;
	wal->receiver = *receiver;
	wal->from = from;
	wal->skip = skip;
	wal->publication = publication ? MemoryContextStrdup(cxt, publication) : NULL;
	wal->owner = ResourceOwnerCreate(NULL, "kafka_sink feed");
	my_wal = wal;
	allow_plugin();
	StartTransactionCommand();
	CheckLogicalDecodingRequirements();
	ks_slot_acquire(name);
	wal->follows = KS_SLOT_FOLLOWS(MyReplicationSlot);
	MemoryContextSwitchTo(cxt);
	wal->ctx = CreateDecodingContext(from, publication ? pgoutput_options(publication) : NIL, false,
									 XL_ROUTINE(.page_read = read_flushed_page,
												.segment_open = wal_segment_open,
												.segment_close = wal_segment_close),
									 prepare_write, do_write, NULL);
	wrap_plugin(wal);
	XLogBeginRead(wal->ctx->reader, MyReplicationSlot->data.restart_lsn);
	CommitTransactionCommand();
	MemoryContextSwitchTo(cxt);
	ks_wal_forget_caches();
	return wal;
}

bool
ks_wal_next(KsWal *wal)
{
	XLogReaderState *reader = wal->ctx->reader;
	XLogRecPtr	at = reader->EndRecPtr;
	XLogRecord *record;
	char	   *message = NULL;

	Assert(!IsTransactionState());
	if (!(wal->follows && at < wal->safe) && at >= ks_wal_readable(wal))
		return false;
	CurrentResourceOwner = wal->owner;
	MemoryContextSwitchTo(wal->cxt);
	wal->starved = false;
	record = XLogReadRecord(reader, &message);
	if (record == NULL && !wal->starved)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not read the WAL at %X/%X", LSN_FORMAT_ARGS(at)),
				 message ? errdetail_internal("%s", message) : 0));
	if (record != NULL)
		LogicalDecodingProcessRecord(wal->ctx, reader);
	else
		XLogBeginRead(reader, at);
	MemoryContextSwitchTo(wal->cxt);
	CurrentResourceOwner = NULL;
	if (reader->EndRecPtr < wal->from)
		ks_feed_step("catching_up");
	return record != NULL;
}

/*
 * A slot keeps more than what is to be handed out: all that was open then, be it for
 * hours.  While that is read, the place is the one that was begun from: who publishes must
 * not say that less is done than was.
 */
XLogRecPtr
ks_wal_position(const KsWal *wal)
{
	return Max(wal->ctx->reader->EndRecPtr, wal->from);
}

XLogRecPtr
ks_wal_at(const KsWal *wal)
{
	return wal->at;
}

/*
 * The server tells where the next record will begin.  If that is on a page that has not
 * been begun, its head is not there yet: who would wait for it, or flush up to it, is told
 * that there is nothing.
 */
XLogRecPtr
ks_wal_end(void)
{
	XLogRecPtr	next = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(next, wal_segment_size) == SizeOfXLogLongPHD)
		return next - SizeOfXLogLongPHD;
	return next % XLOG_BLCKSZ == SizeOfXLogShortPHD ? next - SizeOfXLogShortPHD : next;
}

void
ks_wal_confirm(KsWal *wal, XLogRecPtr lsn)
{
	LogicalConfirmReceivedLocation(lsn);
}

void
ks_wal_forget_caches(void)
{
	forgetting = true;
	InvalidateSystemCaches();
	forgetting = false;
}

bool
ks_wal_is_forgetting(void)
{
	return forgetting;
}
