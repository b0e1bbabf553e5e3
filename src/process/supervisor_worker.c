/*
 * supervisor_worker.c
 *	  A worker as its supervisor sees it: states, start and end.
 *
 * The slot in shared memory says what the process does; the supervisor follows
 * it.  What it decides by itself is whether a worker is wanted, and when the
 * next one is due.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "base/backoff.h"
#include "base/compat.h"
#include "base/guc.h"
#include "process/supervisor_int.h"
#include "process/worker.h"

#define LIVED_MS			60000	/* a worker that old was not a failure */
#define STOP_TIMEOUT_MS		10000	/* from the request to SIGTERM */
#define GIVEN_WAY_MS		500		/* in which a watcher leaves */
#define ATTACH_TIMEOUT_MS	10000	/* for a process that another supervisor registered */

#define TO(state) (1 << KS_MANAGED_##state)

/* What may follow each state. */
static const int moves[] PG_USED_FOR_ASSERTS_ONLY = {
	[KS_MANAGED_NONE] = TO(HELD) | TO(DUE) | TO(STARTING) | TO(RUNNING) | TO(STOPPING) | TO(PARKED),
	[KS_MANAGED_HELD] = TO(NONE) | TO(DUE),
	[KS_MANAGED_DUE] = TO(NONE) | TO(HELD) | TO(STARTING),
	[KS_MANAGED_STARTING] = TO(NONE) | TO(RUNNING) | TO(STOPPING),
	[KS_MANAGED_RUNNING] = TO(NONE) | TO(STOPPING),
	[KS_MANAGED_STOPPING] = TO(NONE),
	[KS_MANAGED_PARKED] = TO(NONE),
};

#undef TO

/* The only way from one state to another. */
static void
ks_managed_move(KsManaged *m, KsManagedState to)
{
	Assert(moves[m->state] & (1 << to));
	m->state = to;
	Assert(ks_managed_is_alive(m) == (m->slot >= 0));
	Assert((m->state == KS_MANAGED_PARKED) == (m->parked >= 0));
}

/* --- what the slot says --- */

static KsManagedState
state_of_slot(KsSlotState state)
{
	switch (state)
	{
		case KS_SLOT_REGISTERED:
		case KS_SLOT_OPENING:
			return KS_MANAGED_STARTING;
		case KS_SLOT_RUNNING:
			return KS_MANAGED_RUNNING;
		case KS_SLOT_STOPPING:
			return KS_MANAGED_STOPPING;
		case KS_SLOT_FREE:
		case KS_SLOT_ENDED:
			break;
	}
	return KS_MANAGED_NONE;
}

static void
adopt_parked(void)
{
	for (int i = 0; i < KS_MAX_PARKED; i++)
	{
		KsParkedSlot slot;
		KsManaged  *m;

		LWLockAcquire(ks_shared->lock, LW_SHARED);
		slot = ks_shared->parked[i];
		LWLockRelease(ks_shared->lock);
		if (slot.state == KS_PARKED_FREE || slot.dbid != MyDatabaseId)
			continue;
		m = ks_managed(ks_supervised(slot.sink), slot.worker);
		if (m->state != KS_MANAGED_NONE)
		{
			ks_shmem_unpark(i, slot.serial);
			continue;
		}
		m->decided = true;
		m->parked = i;
		m->parked_serial = slot.serial;
		m->definition = slot.definition;
		ks_managed_move(m, KS_MANAGED_PARKED);
	}
}

/* Workers of this database that a former supervisor left: they stay. */
void
ks_managed_adopt_all(void)
{
	for (int i = 0; i < ks_shared->nworkers; i++)
	{
		KsWorkerSlot slot;
		KsManaged  *m;

		LWLockAcquire(ks_shared->lock, LW_SHARED);
		slot = ks_worker_slots[i];
		LWLockRelease(ks_shared->lock);
		if (slot.state == KS_SLOT_FREE || slot.dbid != MyDatabaseId)
			continue;
		if (slot.state == KS_SLOT_ENDED)
		{
			ks_shmem_free_worker(i, slot.generation);
			continue;
		}
		m = ks_managed(ks_supervised(slot.sink), slot.worker);
		m->slot = i;
		m->slot_generation = slot.generation;
		m->definition = slot.definition;
		m->started_at = slot.started_at;
		m->stop_requested_at = GetCurrentTimestamp();
		m->decided = true;
		ks_managed_move(m, state_of_slot(slot.state));
	}
	adopt_parked();
}

/* Registered, and its process will not come any more. */
static bool
never_started(const KsManaged *m)
{
	pid_t		pid;

	if (m->handle)
		return GetBackgroundWorkerPid(m->handle, &pid) == BGWH_STOPPED;
	return TimestampDifferenceExceeds(m->started_at, GetCurrentTimestamp(), ATTACH_TIMEOUT_MS);
}

static bool room = false;		/* there may be some again */

bool
ks_managed_has_no_room(const KsManaged *m)
{
	return m->state == KS_MANAGED_DUE && (m->trouble == KS_TROUBLE_NO_SLOT || m->trouble == KS_TROUBLE_ROLE_LIMIT);
}

void
ks_managed_note_room(void)
{
	room = true;
}

bool
ks_managed_take_room(void)
{
	bool		taken = room;

	room = false;
	return taken;
}

/* It has ended: when is the next one due, if one is wanted? */
static void
note_end(KsManaged *m, KsFarewell farewell, const KsLastWords *words)
{
	TimestampTz now = GetCurrentTimestamp();

	room = true;
	if (m->handle)
		pfree(m->handle);
	m->handle = NULL;
	m->slot = -1;
	m->idle = m->state != KS_MANAGED_STOPPING && farewell == KS_FAREWELL_IDLE;
	if (m->state == KS_MANAGED_STOPPING || farewell != KS_FAREWELL_NONE)
	{
		m->failures = 0;
		m->next_start = 0;
	}
	else
	{
		if (TimestampDifferenceExceeds(m->started_at, now, LIVED_MS))
			m->failures = 0;
		m->next_start = ks_backoff_until(now, m->failures, KS_RETRY_FIRST_MS, KS_RETRY_MAX_MS);
		m->failures++;
		m->trouble = KS_TROUBLE_ENDED;
		m->last_words = *words;
	}
	ks_managed_move(m, KS_MANAGED_NONE);
	/* it may have said why */
	m->sink->stale = true;
}

/* (not reached by tests: the clock is) */
void
ks_managed_set_back(KsManaged *m, TimestampTz now)
{
	m->next_start = 0;
	m->started_at = Min(m->started_at, now);
	m->stop_requested_at = Min(m->stop_requested_at, now);
}

/* What it ended by may be mended: it is due at once. */
void
ks_managed_retry(KsManaged *m)
{
	if (ks_managed_is_alive(m) || m->trouble != KS_TROUBLE_ENDED)
		return;
	m->failures = 0;
	m->next_start = 0;
}

/* --- what it has seen last --- */

/* It was ended before it could store the ends of its partitions. */
static void
keep_ends(KsManaged *m)
{
	MemoryContext old;

	if (m->ends_cxt)
		MemoryContextDelete(m->ends_cxt);
	m->ends_cxt = AllocSetContextCreate(ks_supervisor_cxt, "kafka_sink partition ends", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(m->ends_cxt);
	m->ends = ks_shmem_read_ends(m->slot, &m->nends);
	MemoryContextSwitchTo(old);
	if (m->nends > 0)
		return;
	MemoryContextDelete(m->ends_cxt);
	m->ends_cxt = NULL;
}

bool
ks_supervised_has_ends(const KsSupervised *s)
{
	for (int i = 0; i < s->nmanaged; i++)
		if (s->managed[i]->ends_cxt)
			return true;
	return false;
}

void
ks_supervised_store_ends(KsSupervised *s)
{
	for (int i = 0; i < s->nmanaged; i++)
	{
		KsManaged  *m = s->managed[i];

		if (m->ends_cxt == NULL)
			continue;
		/* tried once: no figure is worth more */
		MemoryContextSetParent(m->ends_cxt, CurrentMemoryContext);
		m->ends_cxt = NULL;
		ks_catalog_store_partition_ends(s->name, m->ends, m->nends);
	}
}

/* --- its end --- */

/* Takes over what the slot says. */
void
ks_managed_follow(KsManaged *m)
{
	KsWorkerSlot slot;
	KsManagedState state;

	if (m->state == KS_MANAGED_PARKED && !ks_shmem_is_watched(m->parked, m->parked_serial))
	{
		ks_managed_unpark(m);
		m->next_start = 0;
	}
	if (!ks_managed_is_alive(m))
		return;
	LWLockAcquire(ks_shared->lock, LW_SHARED);
	slot = ks_worker_slots[m->slot];
	LWLockRelease(ks_shared->lock);
	if (slot.generation != m->slot_generation)
	{
		slot.state = KS_SLOT_FREE;
		slot.last_words.sqlstate = 0;
	}
	if (ks_slot_is_alive(&slot) && slot.pid == 0 && never_started(m))
		slot.state = KS_SLOT_ENDED;
	state = state_of_slot(slot.state);
	if (slot.state == KS_SLOT_ENDED)
	{
		if (!slot.ends_stored && !m->sink->feed)
			keep_ends(m);
		ks_shmem_free_worker(m->slot, m->slot_generation);
	}
	if (state == KS_MANAGED_NONE)
		note_end(m, slot.state == KS_SLOT_ENDED ? slot.farewell : KS_FAREWELL_NONE, &slot.last_words);
	else if (state != m->state)
	{
		ks_managed_move(m, state);
		if (state == KS_MANAGED_RUNNING)
		{
			m->trouble = KS_TROUBLE_NONE;
			/* it has settled where all partitions begin, and some can be new */
			if (m->sink->workers > 1)
			{
				m->sink->used_known = false;
				m->sink->stale = true;
			}
		}
	}
}

/* --- what is wanted --- */

void
ks_managed_unpark(KsManaged *m)
{
	ks_shmem_unpark(m->parked, m->parked_serial);
	m->parked = -1;
	ks_managed_move(m, KS_MANAGED_NONE);
}

/* Instead of a process, if there is room; else one is started. */
static bool
park(KsManaged *m)
{
	KsSupervised *s = m->sink;

	m->parked = ks_shmem_park(MyDatabaseId, s->name, m->worker, s->owner, s->superuser, s->generation,
							  &m->parked_serial);
	if (m->parked < 0)
		return false;
	m->definition = s->generation;
	ks_managed_move(m, KS_MANAGED_PARKED);
	return true;
}

/*
 * Has it nothing to do?  It has just left because of that, or it had before
 * this supervisor, or the server, began.
 */
static bool
may_park(const KsManaged *m)
{
	const KsStateRow *row = ks_supervised_row(m->sink, m->worker);

	if (!m->sink->parks || m->sink->owner_trouble != KS_TROUBLE_NONE || !ks_supervisor_may_park())
		return false;
	return m->decided ? m->idle && m->definition == m->sink->generation :
		row != NULL && strcmp(row->state, "idle") == 0;
}

/* Where there is no worker: is one to be started? */
void
ks_managed_settle(KsManaged *m, bool wanted, bool held)
{
	KsManagedState to = !wanted ? KS_MANAGED_NONE : held ? KS_MANAGED_HELD : KS_MANAGED_DUE;

	Assert(!ks_managed_is_alive(m));
	if (m->state == KS_MANAGED_PARKED)
	{
		if (wanted && m->definition == m->sink->generation)
			return;
		ks_managed_unpark(m);
	}
	if (to == KS_MANAGED_DUE && m->state == KS_MANAGED_NONE && !m->sink->stale && may_park(m) && park(m))
		to = KS_MANAGED_PARKED;
	m->decided |= wanted;
	m->idle = false;
	if (to != m->state)
		ks_managed_move(m, to);
}

/* Not before a back-off, or 'soon'. */
static void
note_no_room(KsManaged *m, KsTrouble trouble, const char *setting, bool soon)
{
	if (m->waits_since == 0)
		m->waits_since = GetCurrentTimestamp();
	m->setting = setting;
	m->trouble = trouble;
	m->next_start = ks_backoff_until(GetCurrentTimestamp(), soon ? 0 : m->failures,
									 soon ? GIVEN_WAY_MS : KS_RETRY_FIRST_MS, KS_RETRY_MAX_MS);
	m->failures++;
}

void
ks_managed_note_no_room(KsManaged *m, KsTrouble trouble, const char *setting)
{
	note_no_room(m, trouble, setting, false);
}

/* How many workers the owner of a sink may have at a time; 0: any number. */
static int
limit_of_owner(const KsSupervised *s)
{
	if (s->superuser)
		return 0;
	return ks_guc_max_workers_per_role >= 0 ? ks_guc_max_workers_per_role : Max(1, ks_shared->nworkers / 2);
}

bool
ks_managed_start(KsManaged *m)
{
	BackgroundWorker worker = {0};
	KsSupervised *s = m->sink;
	KsWorkerArgs args = {MyDatabaseId, s->owner, 0, s->generation};
	int			slot;
	MemoryContext old;
	bool		ok;

	if (!ks_shmem_has_room())
	{
		note_no_room(m, KS_TROUBLE_NO_SLOT, "max_worker_processes, of which kafka_sink.reserved_worker_processes are left to others",
					 ks_supervisor_give_way());
		return false;
	}
	slot = ks_shmem_alloc_worker(MyDatabaseId, s->name, m->worker, s->owner, s->superuser, limit_of_owner(s),
								 s->generation);
	if (slot == KS_SLOT_OVER_LIMIT)
	{
		note_no_room(m, KS_TROUBLE_ROLE_LIMIT, "kafka_sink.max_workers_per_role", false);
		return false;
	}
	if (slot < 0)
	{
		note_no_room(m, KS_TROUBLE_NO_SLOT, "kafka_sink.max_workers", false);
		return false;
	}
	args.slot_generation = ks_worker_slots[slot].generation;
	if (s->feed)
		snprintf(worker.bgw_name, BGW_MAXLEN, "kafka_sink feed: %s", s->name);
	else
		snprintf(worker.bgw_name, BGW_MAXLEN, "kafka_sink worker %d: %s", m->worker, s->name);
	snprintf(worker.bgw_type, BGW_MAXLEN, s->feed ? "kafka_sink feed" : "kafka_sink worker");
	snprintf(worker.bgw_library_name, BGW_MAXLEN, "kafka_sink");
	snprintf(worker.bgw_function_name, BGW_MAXLEN, s->feed ? "ks_feed_main" : "ks_worker_main");
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	worker.bgw_main_arg = Int32GetDatum(slot);
	memcpy(worker.bgw_extra, &args, sizeof(args));
	old = MemoryContextSwitchTo(ks_supervisor_cxt);
	ok = RegisterDynamicBackgroundWorker(&worker, &m->handle);
	MemoryContextSwitchTo(old);
	if (!ok)
	{
		m->handle = NULL;
		ks_shmem_free_worker(slot, args.slot_generation);
		note_no_room(m, KS_TROUBLE_NO_SLOT, "max_worker_processes", ks_supervisor_give_way());
		return false;
	}
	m->slot = slot;
	m->slot_generation = args.slot_generation;
	m->definition = s->generation;
	m->started_at = GetCurrentTimestamp();
	m->waits_since = 0;
	ks_managed_move(m, KS_MANAGED_STARTING);
	return true;
}

/*
 * Asks it to leave at the end of its batch; by SIGTERM, again and again, if it
 * takes too long.  Returns when to look at it next.
 */
TimestampTz
ks_managed_stop(KsManaged *m)
{
	TimestampTz now = GetCurrentTimestamp();

	if (m->state != KS_MANAGED_STOPPING)
	{
		ks_shmem_stop_worker(m->slot, m->slot_generation, false);
		ks_managed_move(m, KS_MANAGED_STOPPING);
		m->stop_requested_at = now;
	}
	else if (TimestampDifferenceExceeds(m->stop_requested_at, now, STOP_TIMEOUT_MS))
	{
		ks_shmem_stop_worker(m->slot, m->slot_generation, true);
		m->stop_requested_at = now;
	}
	return TimestampTzPlusMilliseconds(m->stop_requested_at, STOP_TIMEOUT_MS);
}
