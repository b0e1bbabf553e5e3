/*
 * lock_words.h
 *	  A lock that is waited for, in words: on what, and who is in the way.
 *
 * Who has waited (lock_watch.c) and who looks at it (shmem_waits.c) use the same
 * words, so that what people see does not change while the wait goes on.
 */
#ifndef KS_LOCK_WORDS_H
#define KS_LOCK_WORDS_H

#include "postgres.h"

#include "storage/lock.h"
#include "utils/timestamp.h"

typedef struct KsLockWait
{
	LOCKTAG		tag;
	LOCKMODE	mode;			/* that is wanted */
	int			group;			/* pid of the leader of who wants it */
	TimestampTz since;
	Oid			written;		/* table that is written to meanwhile; InvalidOid: not known */
	Oid			row_of;			/* the table of a row that is waited for; likewise */
} KsLockWait;

/* The lock that a process waits for, as of GetLockStatusData(); false: none. */
extern bool ks_lock_find_wait(const LockData *all, int pid, KsLockWait *wait);

/* A lock of such a mode on one of the tables that others stand in the way of; false: none. */
extern bool ks_lock_find_obstacle(const LockData *all, const Oid *relids, int n, LOCKMODE mode,
								  KsLockWait *wait);

/* "waits for a lock on table ...", in the current context. */
extern char *ks_lock_message(const KsLockWait *wait);

/*
 * "It is held by process ...": who holds it, and who has asked for it before; NULL:
 * nobody, any more.  If the wait is 'over', whoever asks for it now was before.
 */
extern char *ks_lock_obstacles(const LockData *all, const KsLockWait *wait, bool over);

#endif
