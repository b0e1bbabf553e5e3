/*
 * wal_slot.c
 *	  The replication slots of feeds.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlogutils.h"
#include "miscadmin.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "storage/lwlock.h"
#include "storage/spin.h"

#include "base/compat.h"
#include "feed/wal_int.h"
#include "feed/wal_slot.h"

#define SLOT_PREFIX		"kafka_sink_feed_"

char *
ks_wal_slot_name(int64 feed_id)
{
	return psprintf(SLOT_PREFIX "%u_" INT64_FORMAT, MyDatabaseId, feed_id);
}

static bool
is_plugin(const ReplicationSlot *slot)
{
	return strcmp(NameStr(slot->data.plugin), KS_WAL_PLUGIN) == 0 ||
		strcmp(NameStr(slot->data.plugin), KS_WAL_TABLES_PLUGIN) == 0;
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

	ks_wal_plugin_allow(true);
	drop_older(name);
	StartTransactionCommand();
	CheckLogicalDecodingRequirements();
	ks_slot_create(name, follows);
	/* waits for what is running, as whoever makes a slot */
	ctx = CreateInitDecodingContext(tables ? KS_WAL_TABLES_PLUGIN : KS_WAL_PLUGIN, NIL, false, InvalidXLogRecPtr,
									XL_ROUTINE(.page_read = read_local_xlog_page,
											   .segment_open = wal_segment_open,
											   .segment_close = wal_segment_close),
									NULL, NULL, NULL);
	DecodingContextFindStartpoint(ctx);
	lsn = MyReplicationSlot->data.confirmed_flush;
	FreeDecodingContext(ctx);
	ks_wal_plugin_allow(false);
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
