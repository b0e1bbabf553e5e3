/*
 * supervisor_start.c
 *	  Who is started first, where not all can be.
 *
 * So many workers of the server are on their way up at a time; so many have room,
 * in the server and for their owner.  Of those that are due, roles take turns:
 * whoever has the fewest workers comes first, so that a role with very many sinks
 * keeps no other waiting.  Where there is no room for one there is none for the
 * next, which is told so without a search.
 */
#include "postgres.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "process/supervisor_int.h"

#define MAX_STARTING		8		/* workers of the server on their way up; */
#define STARTING_MS			1000	/* who takes longer does not count */
#define STARTING_RETRY_MS	100
#define ROOM_MS				2000	/* between looks for room that nobody tells */

/* A role, as far as starts are concerned. */
typedef struct Starter
{
	Oid			owner;			/* the key */
	int			workers;		/* alive in this database, and due */
	bool		full;			/* it has as many as it may */
} Starter;

typedef struct Start
{
	KsManaged  *m;
	Starter    *starter;
	int			turn;
} Start;

static Starter *
starter_of(HTAB *starters, Oid owner)
{
	bool		found;
	Starter    *starter = hash_search(starters, &owner, HASH_ENTER, &found);

	if (!found)
	{
		starter->workers = 0;
		starter->full = false;
	}
	return starter;
}

/* Who owns how many workers already. */
static HTAB *
count_owners(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Starter), .hcxt = CurrentMemoryContext};
	HTAB	   *starters = hash_create("kafka_sink owners", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	HASH_SEQ_STATUS scan;
	KsSupervised *s;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
	{
		Starter    *starter = starter_of(starters, s->owner);

		for (int i = 0; i < s->nmanaged; i++)
			starter->workers += ks_managed_is_alive(s->managed[i]);
	}
	return starters;
}

/* Who has been waiting for room for longest; those that have not yet come last. */
static int
compare_waits(const ListCell *a, const ListCell *b)
{
	TimestampTz wa = ((const KsManaged *) lfirst(a))->waits_since;
	TimestampTz wb = ((const KsManaged *) lfirst(b))->waits_since;

	if ((wa == 0) != (wb == 0))
		return wa == 0 ? 1 : -1;
	return (wa > wb) - (wa < wb);
}

/* By turns, then who has been waiting for longest. */
static int
compare_starts(const void *a, const void *b)
{
	const Start *sa = a;
	const Start *sb = b;

	if (sa->turn != sb->turn)
		return sa->turn < sb->turn ? -1 : 1;
	return (sa->m->next_start > sb->m->next_start) - (sa->m->next_start < sb->m->next_start);
}

/*
 * Those that are due, so that the role with the fewest workers comes first, and of a
 * role who has been waiting for longest: whoever comes again and again must not keep
 * others from their turn.
 */
static Start *
order_starts(List *due, int n)
{
	HTAB	   *starters = count_owners();
	Start	   *starts = palloc_extended((Size) n * sizeof(Start), MCXT_ALLOC_HUGE);
	ListCell   *lc;
	int			i = 0;

	list_sort(due, compare_waits);
	foreach(lc, due)
	{
		starts[i].m = lfirst(lc);
		starts[i].starter = starter_of(starters, starts[i].m->sink->owner);
		starts[i].turn = starts[i].starter->workers++;
		i++;
	}
	qsort(starts, n, sizeof(Start), compare_starts);
	return starts;
}

/* --- room --- */

/*
 * Whoever waits for room tries again after a back-off, which grows, and as soon as there
 * may be some.  A worker of ours that ends says so; one of another database, and a process
 * of somebody else's, do not, and a process is free a little later than it has said so: so
 * as long as any waits, it is looked for in each pass, and now and then.
 */
static bool any_waits = false;	/* in the last pass */
static bool room_again;			/* of any kind: a worker of the server has ended */
static bool process_again;		/* there is a process */

void
ks_supervisor_look_for_room(void)
{
	static uint32 ends = 0;		/* of workers, when it was looked for last */
	uint32		now = ks_shmem_count_ends();

	room_again = ks_managed_take_room() || (any_waits && now != ends);
	process_again = any_waits && ks_shmem_has_room();
	ends = now;
}

bool
ks_supervisor_may_have_room(const KsManaged *m)
{
	return ks_managed_has_no_room(m) && (room_again || (process_again && m->trouble == KS_TROUBLE_NO_SLOT));
}

TimestampTz
ks_supervisor_wait_for_room(bool any)
{
	any_waits = any;
	return any ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), ROOM_MS) : 0;
}

/* --- starts --- */

TimestampTz
ks_supervisor_start(List *due)
{
	int			n = list_length(due);
	int			starting = n > 0 ? ks_shmem_count_starting(STARTING_MS) : 0;
	Start	   *starts = n > 0 ? order_starts(due, n) : NULL;
	const KsManaged *full = NULL;
	TimestampTz next = 0;

	for (int i = 0; i < n; i++)
	{
		KsManaged  *m = starts[i].m;

		if (full)
			ks_managed_note_no_room(m, full->trouble, full->setting);
		else if (starts[i].starter->full)
			ks_managed_note_no_room(m, KS_TROUBLE_ROLE_LIMIT, "kafka_sink.max_workers_per_role");
		else if (starting >= MAX_STARTING)
			return ks_earlier(next, ks_backoff_until(GetCurrentTimestamp(), 0, STARTING_RETRY_MS, STARTING_RETRY_MS));
		else if (ks_managed_start(m))
		{
			starting++;
			continue;
		}
		else if (m->trouble == KS_TROUBLE_ROLE_LIMIT)
			starts[i].starter->full = true;
		else
			full = m;
		next = ks_earlier(next, m->next_start);
	}
	return next;
}
