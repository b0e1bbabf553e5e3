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
#include "miscadmin.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "feed/steps.h"
#include "feed/wal_int.h"

static bool forgetting = false;

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
	until = state->currTLI == timeline ? ks_wal_readable(ks_wal_mine) : state->currTLIValidUntil;
	if (page + len > until)
	{
		ks_wal_mine->starved = true;
		return -1;
	}
	/* what is behind it on the page is read, too, and not looked at */
	if (!WALRead(state, buf, page, XLOG_BLCKSZ, state->currTLI, &error))
		WALReadRaiseError(&error);
	return (int) Min(until - page, XLOG_BLCKSZ);
}

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
	ks_wal_mine = wal;
	ks_wal_plugin_allow(false);
	StartTransactionCommand();
	CheckLogicalDecodingRequirements();
	ks_slot_acquire(name);
	wal->follows = KS_SLOT_FOLLOWS(MyReplicationSlot);
	MemoryContextSwitchTo(cxt);
	wal->ctx = CreateDecodingContext(from, publication ? ks_wal_plugin_options(publication) : NIL, false,
									 XL_ROUTINE(.page_read = read_flushed_page,
												.segment_open = wal_segment_open,
												.segment_close = wal_segment_close),
									 ks_wal_plugin_prepare, ks_wal_plugin_write, NULL);
	ks_wal_plugin_wrap(wal);
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
