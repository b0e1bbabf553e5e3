/*
 * lock_words.c
 *	  A lock that is waited for, in words: on what, and who is in the way.
 *
 * Who is in the way is found as pg_blocking_pids() does: who holds the lock in a
 * mode that conflicts, and who waits for it in such a mode and came first.  Here it
 * is asked of a copy of all locks, which also tells of a wait that has just ended.
 *
 * A row that another transaction has written is waited for by the lock on that
 * transaction's id; a second one who waits for it waits for the row's own lock,
 * which the first one holds.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "process/lock_words.h"

#define MAX_LISTED	5

static bool
is_same(const LOCKTAG *a, const LOCKTAG *b)
{
	return memcmp(a, b, sizeof(LOCKTAG)) == 0;
}

/* The mode of the mask that conflicts most, NoLock: none does. */
static LOCKMODE
conflicting_mode(LOCKMASK held, LOCKMODE wanted)
{
	for (LOCKMODE mode = MaxLockMode; mode > NoLock; mode--)
		if ((held & LOCKBIT_ON(mode)) && DoLockModesConflict(mode, wanted))
			return mode;
	return NoLock;
}

/*
 * Who waits for a transaction that has written a row holds the row's own lock, unless he
 * has come upon it in an index.
 */
static Oid
row_locked_by(const LockData *all, int pid)
{
	for (int i = 0; i < all->nelements; i++)
		if (all->locks[i].pid == pid && all->locks[i].holdMask != 0 &&
			all->locks[i].locktag.locktag_type == LOCKTAG_TUPLE)
			return all->locks[i].locktag.locktag_field2;
	return InvalidOid;
}

bool
ks_lock_find_wait(const LockData *all, int pid, KsLockWait *wait)
{
	for (int i = 0; i < all->nelements; i++)
	{
		const LockInstanceData *lock = &all->locks[i];

		if (lock->pid != pid || lock->waitLockMode == NoLock)
			continue;
		wait->tag = lock->locktag;
		wait->mode = lock->waitLockMode;
		wait->group = lock->leaderPid;
		wait->since = lock->waitStart;
		wait->written = InvalidOid;
		wait->row_of = lock->locktag.locktag_type == LOCKTAG_TRANSACTION ? row_locked_by(all, pid) : InvalidOid;
		return true;
	}
	return false;
}

/* Does who has this lock, or waits for it, stand in the way?  By which mode? */
static LOCKMODE
obstacle(const LockInstanceData *lock, const KsLockWait *wait, bool over, bool *holds)
{
	LOCKMODE	mode;

	if (!is_same(&lock->locktag, &wait->tag) || (lock->pid != 0 && lock->leaderPid == wait->group))
		return NoLock;
	mode = conflicting_mode(lock->holdMask, wait->mode);
	*holds = mode != NoLock;
	if (*holds)
		return mode;
	if (lock->waitLockMode != NoLock && DoLockModesConflict(lock->waitLockMode, wait->mode) &&
		(over || lock->waitStart < wait->since))
		return lock->waitLockMode;
	return NoLock;
}

bool
ks_lock_find_obstacle(const LockData *all, const Oid *relids, int n, LOCKMODE mode, KsLockWait *wait)
{
	memset(wait, 0, sizeof(KsLockWait));
	wait->mode = mode;
	wait->group = MyProcPid;
	for (int i = 0; i < n; i++)
	{
		SET_LOCKTAG_RELATION(wait->tag, MyDatabaseId, relids[i]);
		for (int j = 0; j < all->nelements; j++)
		{
			bool		holds;

			if (obstacle(&all->locks[j], wait, true, &holds) != NoLock)
				return true;
		}
	}
	return false;
}

/* --- words --- */

/* Is it a relation of this database, or a shared one? */
static char *
relation_of(const LOCKTAG *tag)
{
	if (tag->locktag_field1 != MyDatabaseId && OidIsValid(tag->locktag_field1))
		return NULL;
	return get_rel_name(tag->locktag_field2);
}

char *
ks_lock_message(const KsLockWait *wait)
{
	char	   *name = NULL;
	bool		index = false;

	switch ((LockTagType) wait->tag.locktag_type)
	{
		case LOCKTAG_RELATION:
		case LOCKTAG_RELATION_EXTEND:
		case LOCKTAG_PAGE:
			name = relation_of(&wait->tag);
			index = name && (get_rel_relkind(wait->tag.locktag_field2) == RELKIND_INDEX ||
							 get_rel_relkind(wait->tag.locktag_field2) == RELKIND_PARTITIONED_INDEX);
			break;
		case LOCKTAG_TUPLE:
			name = relation_of(&wait->tag);
			if (name)
				return psprintf("waits for a row of table \"%s\" that another transaction has locked", name);
			break;
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			name = OidIsValid(wait->written) ? get_rel_name(wait->written) : NULL;
			if (name)
				return psprintf("waits for a row that another transaction has locked, as it writes to table \"%s\"", name);
			name = OidIsValid(wait->row_of) ? get_rel_name(wait->row_of) : NULL;
			return name ? psprintf("waits for a row of table \"%s\" that another transaction has locked", name) :
				pstrdup("waits for a row that another transaction has locked");
		default:
			break;
	}
	return name ? psprintf("waits for a lock on %s \"%s\"", index ? "index" : "table", name) :
		pstrdup("waits for a lock that another transaction holds");
}

/* Who holds the transaction's id that a process waits for, 0: nobody. */
static int
awaited_transaction_of(const LockData *all, int pid)
{
	KsLockWait	wait;

	if (!ks_lock_find_wait(all, pid, &wait) || wait.tag.locktag_type != LOCKTAG_TRANSACTION)
		return 0;
	for (int i = 0; i < all->nelements; i++)
	{
		const LockInstanceData *lock = &all->locks[i];

		if (is_same(&lock->locktag, &wait.tag) && lock->pid != pid &&
			conflicting_mode(lock->holdMask, wait.mode) != NoLock)
			return lock->pid;
	}
	return 0;
}

/* "process 42 (ShareLock)" */
static void
append_process(StringInfo buf, const LockData *all, const LockInstanceData *lock, LOCKMODE mode)
{
	int			last;

	if (lock->pid == 0)
		appendStringInfoString(buf, "a prepared transaction");
	else
		appendStringInfo(buf, "process %d", lock->pid);
	switch ((LockTagType) lock->locktag.locktag_type)
	{
		case LOCKTAG_TRANSACTION:
		case LOCKTAG_SPECULATIVE_TOKEN:
			break;				/* there is but one mode of each kind */
		case LOCKTAG_TUPLE:
			last = lock->pid == 0 ? 0 : awaited_transaction_of(all, lock->pid);
			if (last != 0)
				appendStringInfo(buf, ", which waits for process %d", last);
			break;
		default:
			appendStringInfo(buf, " (%s)", GetLockmodeName(lock->locktag.locktag_lockmethodid, mode));
	}
}

/* The processes in its way that hold the lock, or that wait for it. */
static char *
list_obstacles(const LockData *all, const KsLockWait *wait, bool over, bool that_hold)
{
	StringInfoData buf;
	int			n = 0;

	initStringInfo(&buf);
	for (int i = 0; i < all->nelements; i++)
	{
		bool		holds;
		LOCKMODE	mode = obstacle(&all->locks[i], wait, over, &holds);

		if (mode == NoLock || holds != that_hold)
			continue;
		if (n++ >= MAX_LISTED)
			continue;
		if (n > 1)
			appendStringInfoString(&buf, ", ");
		append_process(&buf, all, &all->locks[i], mode);
	}
	if (n > MAX_LISTED)
		appendStringInfo(&buf, " and %d more", n - MAX_LISTED);
	return n > 0 ? buf.data : NULL;
}

char *
ks_lock_obstacles(const LockData *all, const KsLockWait *wait, bool over)
{
	char	   *holders = list_obstacles(all, wait, over, true);
	char	   *before = list_obstacles(all, wait, over, false);

	if (holders && before)
		return psprintf("It is held by %s; asked for before by %s.", holders, before);
	if (holders)
		return psprintf("It is held by %s.", holders);
	return before ? psprintf("It was asked for before by %s.", before) : NULL;
}
