/*
 * wal_slot.h
 *	  The replication slots of feeds, which keep the WAL that they have not published.
 */
#ifndef KS_FEED_WAL_SLOT_H
#define KS_FEED_WAL_SLOT_H

#include "postgres.h"

#include "access/xlogdefs.h"

typedef enum KsSlotKind
{
	KS_SLOT_IS_MISSING,
	KS_SLOT_IS_FOREIGN,			/* of another database, or plugin */
	KS_SLOT_IS_INVALID,			/* the WAL that it needs is gone */
	KS_SLOT_IS_USABLE
} KsSlotKind;

typedef struct KsSlotInfo
{
	KsSlotKind	kind;
	int			active_pid;		/* 0: nobody has it */
	bool		follows;		/* to standbys */
	XLogRecPtr	restart_lsn;	/* WAL is kept from here on */
	XLogRecPtr	confirmed_lsn;	/* commits that begin before it are not needed */
} KsSlotInfo;

/* How the slot of a feed is called. */
extern char *ks_wal_slot_name(int64 feed_id);

extern void ks_wal_read_slot(const char *slot, KsSlotInfo *info);

/* The same of a slot of any feed, by its number below max_replication_slots; false
 * if there is none, or it is not one of this database's feeds. */
extern bool ks_wal_feed_slot(int i, NameData *name, bool *active);

/*
 * Makes a slot, of messages alone or of tables, too, in place of one of that name, which
 * must not be in use.  Waits for transactions that are open now, serving interrupts.
 * Returns the place in the WAL from which on commits are decoded.
 */
extern XLogRecPtr ks_wal_make_slot(const char *slot, bool tables, bool follows);

/* Is it to follow to standbys?  Nobody must have it, or errors (55006). */
extern void ks_wal_set_follows(const char *slot, bool follows);

/* Does a process hold the slot of a feed of that database? */
extern bool ks_wal_any_slot_is_held(Oid dbid);

/* Errors (55006) if somebody has it. */
extern void ks_wal_drop_slot(const char *slot);

#endif
