/*
 * shmem_memory.c
 *	  Who has met the limit of memory, where, and how much is fetched at a time
 *	  since (base/memory.h).
 *
 * An exit at the limit raises the level, that is to say, less is asked for at a
 * time; when it has gone well for a while, the level is lowered again, and where
 * that was too early, the while becomes longer.  It is only how fast a sink goes:
 * what is forgotten, by a crash or for want of an entry, is met again.
 *
 * Exits count at one place, which is known from the second on
 * (ks_source_unpacking()): the first counts for all.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/memory.h"
#include "process/shmem_int.h"

#define QUIET_S			10		/* without an exit, until the level is lowered */
#define QUIET_MAX_S		3600

/* The entry, or NULL; with 'create', the one of the oldest exit is given up. */
static KsMemoryNote *
find_note(const char *sink, int worker, bool create)
{
	KsMemoryNote *oldest = &ks_shared->memory_notes[0];

	Assert(LWLockHeldByMeInMode(ks_shared->lock, LW_EXCLUSIVE));
	for (int i = 0; i < KS_MEMORY_NOTES; i++)
	{
		KsMemoryNote *note = &ks_shared->memory_notes[i];

		if (note->dbid == MyDatabaseId && note->worker == worker && strcmp(note->sink, sink) == 0)
			return note;
		if (note->last_exit < oldest->last_exit)
			oldest = note;
	}
	if (!create)
		return NULL;
	memset(oldest, 0, sizeof(KsMemoryNote));
	oldest->dbid = MyDatabaseId;
	strlcpy(oldest->sink, sink, NAMEDATALEN);
	oldest->worker = worker;
	oldest->quiet_s = QUIET_S;
	return oldest;
}

int
ks_shmem_memory_level(const char *sink, int worker, int *quiet_s, bool *single)
{
	KsMemoryNote *note;
	int			level = 0;

	*quiet_s = 0;
	*single = false;
	if (!ks_shmem_available())
		return 0;
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	note = find_note(sink, worker, false);
	if (note)
	{
		level = note->level;
		*quiet_s = note->quiet_s;
		*single = note->single;
	}
	LWLockRelease(ks_shared->lock);
	return level;
}

static bool
is_at(const KsMemoryNote *note, const char *topic, int32 part, int64 off)
{
	return note->part == part && note->off == off && strcmp(note->topic, topic) == 0;
}

/* How many exits there were at this place, this one counted. */
static int
count_exit(KsMemoryNote *note, const char *topic, int32 part, int64 off)
{
	if (topic == NULL)
	{
		if (note->level == 0)
		{
			note->exits = 1;
			note->topic[0] = '\0';
		}
		return 1;
	}
	if (is_at(note, topic, part, off) || (note->exits == 1 && note->topic[0] == '\0'))
		note->exits++;
	else
		note->exits = 1;
	strlcpy(note->topic, topic, sizeof(note->topic));
	note->part = part;
	note->off = off;
	return note->exits;
}

int
ks_shmem_note_memory_exit(const char *sink, int worker, bool applying, const char *topic,
						  int32 part, int64 off)
{
	KsMemoryNote *note;
	int			exits;

	if (!ks_shmem_available())
		return 1;
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	note = find_note(sink, worker, true);
	exits = count_exit(note, topic, part, off);
	if (note->lowered)
		note->quiet_s = Min(note->quiet_s * 2, QUIET_MAX_S);
	note->lowered = false;
	note->single = applying;
	note->level = Min(note->level + 1, KS_MEMORY_LEVELS - 1);
	note->last_exit = GetCurrentTimestamp();
	/* it halts: who resumes it begins to count anew */
	if (exits >= KS_MEMORY_EXITS)
		note->exits = 0;
	LWLockRelease(ks_shared->lock);
	return exits;
}

void
ks_shmem_lower_memory_level(const char *sink, int worker)
{
	KsMemoryNote *note;

	if (!ks_shmem_available())
		return;
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	note = find_note(sink, worker, false);
	if (note && note->level > 0)
	{
		note->level--;
		note->lowered = true;
		note->single = false;
		note->exits = 0;
		note->topic[0] = '\0';
	}
	LWLockRelease(ks_shared->lock);
}
