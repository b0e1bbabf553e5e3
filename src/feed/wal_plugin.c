/*
 * wal_plugin.c
 *	  What the server decodes, as calls of a receiver.
 *
 * Of messages alone this library is the output plugin.  Of tables it is pgoutput: what
 * that writes is taken apart here as far as it is about transactions and messages, and
 * what it has to say of rows is handed out as it is.  Around either are callbacks of
 * ours, which number the changes, leave out what is skipped, and now and then let the
 * receiver look at the clock.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "libpq/pqformat.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "replication/logicalproto.h"
#include "replication/output_plugin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "feed/message.h"
#include "feed/wal_int.h"

#define PASS_CHANGES	256		/* between looks at the clock */
#define MANY_PARTS		1000	/* subtransactions, of which each can have a file of its own */

KsWal	   *ks_wal_mine = NULL;
static bool making_slot = false;
static bool publication_found = false;	/* as of the change at hand */

extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);

/*
 * Recent versions of the server have a list of libraries that roles with REPLICATION
 * may name as plugins.  Ours refuses all of them, so it need not be on that list; but
 * we name it, too.
 */
void
ks_wal_plugin_allow(bool making)
{
	making_slot = making;
	if (GetConfigOption("output_plugin_libraries", true, false) != NULL)
		SetConfigOption("output_plugin_libraries", KS_WAL_PLUGIN ", " KS_WAL_TABLES_PLUGIN, PGC_SUSET, PGC_S_OVERRIDE);
}

/* --- the output plugin --- */

static void
startup_cb(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	/* (pg_upgrade makes the slots of the former server, from 17 on) */
	if (ks_wal_mine == NULL && !making_slot && !IsBinaryUpgrade)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("output plugin \"%s\" is for feeds only", KS_WAL_PLUGIN),
				 errhint("Feeds decode their slots by themselves; see kafka_sink.create_feed().")));
	opt->output_type = OUTPUT_PLUGIN_BINARY_OUTPUT;
	opt->receive_rewrites = false;
	ctx->output_plugin_private = ks_wal_mine;
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

void
ks_wal_plugin_prepare(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write)
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

void
ks_wal_plugin_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid, bool last_write)
{
	StringInfoData in = *ctx->out;

	in.cursor = 0;
	switch (pq_getmsgbyte(&in))
	{
		case LOGICAL_REP_MSG_BEGIN:
			begin_by_words(ks_wal_mine, &in);
			break;
		case LOGICAL_REP_MSG_COMMIT:
			commit_by_words(ks_wal_mine, &in);
			break;
		case LOGICAL_REP_MSG_MESSAGE:
			message_by_words(ks_wal_mine, &in);
			break;
		default:
			ks_wal_mine->receiver.change(ks_wal_mine->receiver.arg, &ks_wal_mine->txn, ctx->out);
			break;
	}
}

List *
ks_wal_plugin_options(const char *publication)
{
	return list_make3(makeDefElem("proto_version", (Node *) makeString("1"), -1),
					  makeDefElem("publication_names", (Node *) makeString((char *) quote_identifier(publication)), -1),
					  makeDefElem("messages", (Node *) makeString("true"), -1));
}

/* --- around the plugin: which transaction is at hand, and whether it is skipped --- */

static void
around_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	ks_wal_mine->at = txn->final_lsn;
	ks_wal_mine->txn.change = 0;
	/* before its first change all of these files are opened */
	if (txn->nsubtxns > MANY_PARTS)
		ks_wal_mine->receiver.passed(ks_wal_mine->receiver.arg, ks_wal_mine->at, 0);
	ks_wal_mine->plugin.begin_cb(ctx, txn);
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

	if (publication_found || ks_wal_mine->publication == NULL)
		return;
	if (!heard)
		CacheRegisterSyscacheCallback(PUBLICATIONOID, publication_callback, (Datum) 0);
	heard = true;
	publication_found = SearchSysCacheExists1(PUBLICATIONNAME, CStringGetDatum(ks_wal_mine->publication));
	if (!publication_found)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("publication \"%s\" does not exist", ks_wal_mine->publication),
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
	ks_wal_mine->txn.change++;
	ks_wal_mine->nchanges++;
}

/* Millions of them may be of no interest, and take minutes. */
static void
end_change(void)
{
	if (ks_wal_mine->nchanges % PASS_CHANGES == 0)
		ks_wal_mine->receiver.passed(ks_wal_mine->receiver.arg, ks_wal_mine->at, ks_wal_mine->txn.change);
}

/*
 * The plugin is not asked about what is skipped: its errors may be the reason.  Nor about
 * the heap into which a table is rewritten, whose rows are no changes (ks_wal_plugin_wrap()); nor
 * about tables that are not for others: what is written there does not miss a publication.
 */
static void
around_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation rel, ReorderBufferChange *change)
{
	next_change();
	if (ks_wal_mine->at != ks_wal_mine->skip && !OidIsValid(rel->rd_rel->relrewrite) &&
		!ks_wal_mine->receiver.is_own(RelationGetRelid(rel)))
	{
		check_publication();
		ks_wal_mine->plugin.change_cb(ctx, txn, rel, change);
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
		if (!ks_wal_mine->receiver.is_own(RelationGetRelid(rels[i])))
			others[n++] = rels[i];
	if (ks_wal_mine->at != ks_wal_mine->skip && n > 0)
	{
		check_publication();
		ks_wal_mine->plugin.truncate_cb(ctx, txn, n, others, change);
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
	if (!transactional || ks_wal_mine->at != ks_wal_mine->skip || ks_message_defines(data, len))
		ks_wal_mine->plugin.message_cb(ctx, txn, lsn, transactional, prefix, len, data);
	if (transactional)
		end_change();
}

static void
around_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	ks_wal_mine->plugin.commit_cb(ctx, txn, commit_lsn);
	if (ks_wal_mine->at == ks_wal_mine->skip)
		ks_wal_mine->receiver.skipped(ks_wal_mine->receiver.arg, ks_wal_mine->skip);
	ks_wal_mine->at = InvalidXLogRecPtr;
}

void
ks_wal_plugin_wrap(KsWal *wal)
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
