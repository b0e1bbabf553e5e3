/*
 * supervisor_int.h
 *	  What the files supervisor*.c share: sinks and workers as their supervisor
 *	  sees them.
 *
 * From above to below:
 *
 *	supervisor.c			the process: what is due, what is to be done
 *	supervisor_state.c		states that no worker can write
 *	supervisor_start.c		who is started first, where not all can be
 *	supervisor_slots.c		replication slots of feeds that are gone
 *	supervisor_read.c		what the catalog says of the sinks
 *	supervisor_rows.c		its rows
 *	supervisor_worker.c		a worker's states, start and end
 *	supervisor_watch.c		the watcher of those that are parked
 *	supervisor_database.c	the database's entry: to begin, be woken, and end
 *	supervisor_sinks.c		the sinks and workers that are known
 */
#ifndef KS_SUPERVISOR_INT_H
#define KS_SUPERVISOR_INT_H

#include "postgres.h"

#include "postmaster/bgworker.h"
#include "utils/hsearch.h"

#include "base/compat.h"
#include "catalog/sinks.h"
#include "process/shmem_int.h"

#define KS_RETRY_FIRST_MS	1000
#define KS_RETRY_MAX_MS		60000
#define KS_MAX_WORKERS		64		/* of a sink */

/*
 * A worker; src/README.md lists what moves it.  Moves happen in
 * ks_managed_move() alone.
 */
typedef enum KsManagedState
{
	KS_MANAGED_NONE,			/* there is none, and none is wanted */
	KS_MANAGED_HELD,			/* wanted, but workers of another definition come first */
	KS_MANAGED_DUE,				/* to be started, not before next_start */
	KS_MANAGED_STARTING,		/* on its way up */
	KS_MANAGED_RUNNING,
	KS_MANAGED_STOPPING,		/* asked to leave */
	KS_MANAGED_PARKED			/* there is none, the watcher tells when it is needed */
} KsManagedState;

/* Why no worker is there although one is wanted. */
typedef enum KsTrouble
{
	KS_TROUBLE_NONE,
	KS_TROUBLE_ENDED,			/* it ended without a word of its own */
	KS_TROUBLE_NO_SLOT,			/* the server has none for it */
	KS_TROUBLE_ROLE_LIMIT,		/* its owner has as many as it may */
	KS_TROUBLE_NO_OWNER,		/* the role was dropped */
	KS_TROUBLE_NO_LOGIN			/* the role may not log in */
} KsTrouble;

typedef struct KsManaged
{
	struct KsSupervised *sink;
	int			worker;			/* 0 .. workers - 1 */
	KsManagedState state;

	int			slot;			/* starting, running, stopping; else -1 */
	uint32		slot_generation;
	int			parked;			/* slot of one that is parked, else -1 */
	uint32		parked_serial;
	int64		definition;		/* generation of the definition it runs, or is parked, by */
	BackgroundWorkerHandle *handle; /* NULL: started by another supervisor */
	TimestampTz started_at;
	TimestampTz stop_requested_at;

	bool		decided;		/* we have decided about it before */
	bool		idle;			/* it has left because there was nothing to do */
	int			failures;
	TimestampTz next_start;
	TimestampTz waits_since;	/* for room, 0: it does not */
	KsTrouble	trouble;		/* its own: ENDED, NO_SLOT, ROLE_LIMIT */
	const char *setting;		/* NO_SLOT: which is too low */
	KsLastWords last_words;		/* ENDED: the server's, as it ended it */
	MemoryContext ends_cxt;		/* of what it saw of its partitions, and could not store; */
	KsPartitionEnds *ends;		/* NULL: nothing */
	int			nends;
} KsManaged;

/* A table that the sink writes to. */
typedef struct KsWrittenTable
{
	Oid			relid;
	char	   *topic;			/* NULL: of the sink */
	char	   *name;			/* as last known, NULL: never known */
	bool		dropped;
} KsWrittenTable;

/* A row of sink_state. */
typedef struct KsStateRow
{
	int			worker;
	char	   *state;
	char	   *message;		/* or NULL */
} KsStateRow;

/* A sink, as its rows were when they were last read. */
typedef struct KsSupervised
{
	char		name[NAMEDATALEN];	/* the key */
	bool		loaded;			/* it was read since we began */
	bool		stale;			/* it is to be read again */
	bool		listed;			/* by the reading at hand */

	MemoryContext cxt;			/* of what follows */
	bool		feed;			/* it is no sink, but a feed: one worker, no topics, no tables */
	int64		feed_id;
	int64		generation;
	Oid			owner;
	bool		superuser;		/* the owner is: not limited */
	int			workers;		/* 0: it was dropped */
	uint64		used;			/* bits of workers that have partitions, as far as ... */
	bool		used_known;		/* ... rows of txn_offsets said when they were read */
	bool		runs;			/* enabled, complete, not halted, ... */
	bool		report_suspended;
	bool		parks;			/* its workers may leave when there is nothing to do */
	KsTrouble	owner_trouble;	/* NO_OWNER, NO_LOGIN */
	char	   *owner_name;		/* NULL: there is no such role */
	KsStateRow *rows;
	int			nrows;
	KsStateRow *row_of[KS_MAX_WORKERS]; /* of rows, by number of the worker */
	uint64		noted;			/* bits of those that we have written since they were read */
	KsWrittenTable *tables;
	int			ntables;

	KsManaged **managed;		/* by number of the worker */
	int			nmanaged;

	int			failures;		/* to read it, or to write its state */
	TimestampTz next_try;
} KsSupervised;

/* --- supervisor_sinks.c --- */

extern MemoryContext ks_supervisor_cxt;
extern HTAB *ks_supervised_sinks;	/* of KsSupervised, by name */

extern void ks_supervised_init(void);
extern KsSupervised *ks_supervised(const char *sink);	/* made if it is missing */
extern void ks_supervised_forget(KsSupervised *s);
extern bool ks_supervised_has_dropped_table(const KsSupervised *s);

/* Has a worker, or may it have, anything to do?  The first always has: it finds out. */
extern bool ks_supervised_needs(const KsSupervised *s, int worker);

/* A row that was written: as if it had been read again. */
extern void ks_supervised_note_row(KsSupervised *s, int worker, const char *state, const char *message);

/* What was written was rolled back: nobody knows what the rows say. */
extern void ks_supervised_forget_notes(KsSupervised *s);

/* NULL: the worker has none. */
extern const KsStateRow *ks_supervised_row(const KsSupervised *s, int worker);

extern KsManaged *ks_managed(KsSupervised *s, int worker);	/* made if it is missing */
extern bool ks_managed_is_alive(const KsManaged *m);

/* --- supervisor_database.c --- */

extern KsDatabase *ks_supervisor_database;

/* Takes the database's entry, or ends: another is there, or nobody may be. */
extern void ks_supervisor_attach(Oid dbid);

/* There are sinks: this process stays, and the next visit may begin. */
extern void ks_supervisor_settle(void);

/*
 * Has a commit changed sinks since we asked last, or roles, of which most are
 * nobody's who has sinks?  Those are asked for now and then only: *later is when,
 * 0: there are none.  Ends if we are to leave.
 */
extern bool ks_supervisor_take_changed(TimestampTz *later);

/* Has a commit changed sinks?  Without taking it. */
extern bool ks_supervisor_is_changed(void);
extern bool ks_supervisor_take_connections(TimestampTz *later);

/* Is there a mark that a pass would see, and that none has seen? */
extern bool ks_supervisor_is_marked(void);

/* There is nothing to supervise: ends the process. */
extern void ks_supervisor_end(void) KS_NORETURN;

/* --- supervisor_read.c --- */

extern void ks_supervised_read_all(void *unused);
extern void ks_supervised_read(void *sink);

/* --- supervisor_slots.c --- */

/* Drops replication slots of feeds that do not exist any more.  To be called when sinks and
 * feeds have been read, or a worker has ended; returns when to do so again, since one is in
 * use, 0: it need not be. */
extern TimestampTz ks_supervisor_drop_slots(void);

/* What was read last tells which feeds there are. */
extern bool ks_supervisor_knows_feeds;

/* --- supervisor_worker.c --- */

extern void ks_managed_adopt_all(void);
extern void ks_managed_set_back(KsManaged *m, TimestampTz now);	/* the clock was */
extern void ks_managed_follow(KsManaged *m);
extern void ks_managed_retry(KsManaged *m);
extern void ks_managed_settle(KsManaged *m, bool wanted, bool held);
/* False if there is no room: because of the server, or of the owner's limit, see m->trouble. */
extern bool ks_managed_start(KsManaged *m);

/* There was no room for another that is like it. */
extern void ks_managed_note_no_room(KsManaged *m, KsTrouble trouble, const char *setting);

/* Does it wait for room: for a process, a slot, or its owner's limit? */
extern bool ks_managed_has_no_room(const KsManaged *m);

/* Has a worker ended since this was asked last, or a limit been raised?  Then there may be
 * room again. */
extern bool ks_managed_take_room(void);
extern void ks_managed_note_room(void);

extern TimestampTz ks_managed_stop(KsManaged *m);

/* What workers that have ended could not store: is there anything, and in a transaction,
 * stores it, if that goes without waiting; it is forgotten either way. */
extern bool ks_supervised_has_ends(const KsSupervised *s);
extern void ks_supervised_store_ends(KsSupervised *s);
extern void ks_managed_unpark(KsManaged *m);

/* The earlier of two moments, 0: none. */
static inline TimestampTz
ks_earlier(TimestampTz a, TimestampTz b)
{
	return a == 0 ? b : b == 0 ? a : Min(a, b);
}

/* --- supervisor_start.c --- */

/* Starts workers that are due (KsManaged *), as many as may be on their way up;
 * returns when to look again, 0: when woken. */
extern TimestampTz ks_supervisor_start(List *due);

/* To be called in each pass: is there room again, for this one that waits for some? */
extern void ks_supervisor_look_for_room(void);
extern bool ks_supervisor_may_have_room(const KsManaged *m);

/* At the end of the pass, whether any waits; returns when to look again, 0: when woken. */
extern TimestampTz ks_supervisor_wait_for_room(bool any);

/* --- supervisor_watch.c --- */

extern bool ks_supervisor_may_park(void);
extern TimestampTz ks_supervisor_watch(bool any_parked, bool *failed);
extern void ks_supervisor_watch_first(void);
extern bool ks_supervisor_give_way(void);
extern void ks_supervisor_end_watch(void);
extern void ks_supervisor_watch_set_back(TimestampTz now);	/* the clock was */

/* --- supervisor_state.c --- */

extern bool ks_supervised_states_differ(const KsSupervised *s);
extern void ks_supervised_write_states(void *sink);

#endif
