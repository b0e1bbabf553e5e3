/*
 * worker_state.c
 *	  What a worker says of itself: its state, a halt, the ends of its partitions.
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/value.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "catalog/partition_ends.h"
#include "process/transaction.h"
#include "process/worker_int.h"

#define STORE_LOCK_TIMEOUT	"200ms"
#define REFRESH_TIMEOUT_MS	1500	/* an answer waits behind that of a fetch */

KsWorker	ks_worker;

/*
 * What is told follows from what is seen: after a crash it is seen, and told, again.  So no
 * disk is waited for, nor a standby, which may be just what is wrong.
 */
static void
begin_telling(void)
{
	ks_transaction_begin();
	(void) set_config_option("synchronous_commit", "off", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

void
ks_worker_write_state(const char *state, const KsStateError *error)
{
	MemoryContext cxt = CurrentMemoryContext;

	PG_TRY();
	{
		begin_telling();
		ks_catalog_set_state(ks_worker.sink->name, ks_worker.slot->worker, state, error);
		ks_transaction_commit();
		ks_worker.state = state;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		ks_worker.state = "unknown";
		ks_worker.untold_at = GetCurrentTimestamp();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	ConditionVariableBroadcast(ks_worker.progress);
}

typedef enum HaltResult
{
	HALT_WRITTEN,
	HALT_STALE,					/* the sink was changed meanwhile */
	HALT_FAILED					/* it could not be written: somebody has the sink's row */
} HaltResult;

static HaltResult
write_halt(const KsStateError *errors, int n, bool whole)
{
	MemoryContext cxt = CurrentMemoryContext;
	volatile HaltResult result = HALT_FAILED;

	PG_TRY();
	{
		bool		current;

		begin_telling();
		current = ks_catalog_halt(ks_worker.sink, ks_worker.slot->worker, errors, n, whole);
		if (current)
			ks_shmem_note_change();
		ks_transaction_commit();
		result = current ? HALT_WRITTEN : HALT_STALE;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	ConditionVariableBroadcast(ks_worker.progress);
	return result;
}

static void
log_halt(const KsStateError *error, bool alone)
{
	const char *sink = ks_worker.sink->name;

	ereport(LOG,
			(errcode(error->sqlstate),
			 alone ? errmsg("topic \"%s\" of sink \"%s\" halted: %s", error->topic, sink, error->message) :
			 errmsg("sink \"%s\" halted: %s", sink, error->message),
			 error->topic && error->part >= 0 ?
			 errdetail("Topic \"%s\", partition %d, offset " INT64_FORMAT "%s.",
					   error->topic, error->part, error->off,
					   error->column ? psprintf(", column \"%s\"", error->column) : "") : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
}

/* The names of the topics that the worker knows of and that are not halted. */
static List *
topics_under_way(const KsConsumer *c)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, c->topics)
		names = lappend(names, makeString(pstrdup(((const KsTopic *) lfirst(lc))->topic)));
	foreach(lc, c->missing)
		names = list_append_unique(names, makeString(pstrdup(((const KsMissingTopic *) lfirst(lc))->topic)));
	return names;
}

/* The first of the errors whose topic foreign keys link with this one, or which is its own. */
static const KsStateError *
error_that_concerns(const KsConsumer *c, const KsStateError *errors, int n, const char *topic)
{
	const KsStateError *found = NULL;

	for (int i = 0; i < n; i++)
	{
		if (strcmp(errors[i].topic, topic) == 0)
			return &errors[i];
		if (found == NULL && ks_apply_are_linked(c->apply, errors[i].topic, topic))
			found = &errors[i];
	}
	return found;
}

/* What a topic's state says that halts with another one. */
static KsStateError
linked_error(const KsStateError *error, const char *topic)
{
	KsStateError result = *error;

	result.message = psprintf("topic \"%s\" halted: %s", error->topic, error->message);
	result.detail = "Foreign keys link the targets of the two topics: they halt together.";
	result.topic = topic;
	result.part = -1;
	result.off = -1;
	result.column = NULL;
	result.halted_by = error->topic;
	return result;
}

/*
 * Halts the topics of these errors alone, with those that are linked with them, if the
 * sink permits it and a topic is left: *all gets what is to be said of each, and the
 * number is returned.  0: the sink halts as a whole.
 */
static int
topics_to_halt(const KsStateError *errors, int n, KsStateError **all)
{
	const KsConsumer *c = ks_worker.consumer;
	List	   *topics;
	ListCell   *lc;
	int			nall = n;

	if (c == NULL || errors[0].topic == NULL || errors[0].of_sink || ks_worker.sink->halt_as_a_whole)
		return 0;
	topics = topics_under_way(c);
	*all = palloc((n + list_length(topics)) * sizeof(KsStateError));
	memcpy(*all, errors, n * sizeof(KsStateError));
	foreach(lc, topics)
	{
		const char *topic = strVal(lfirst(lc));
		const KsStateError *error = error_that_concerns(c, errors, n, topic);

		if (error && strcmp(error->topic, topic) != 0)
			(*all)[nall++] = linked_error(error, topic);
	}
	return nall < list_length(topics) ? nall : 0;
}

/* Do they halt the sink, one after the other, because no other topic is left? */
static bool
halt_all_topics(const KsStateError *errors, int n)
{
	const KsConsumer *c = ks_worker.consumer;

	return n > 1 && c && errors[0].topic && !errors[0].of_sink && !ks_worker.sink->halt_as_a_whole;
}

void
ks_worker_halt(const KsStateError *errors, int n)
{
	KsStateError *all;
	int			nall = topics_to_halt(errors, n, &all);
	bool		whole = nall == 0;

	if (!whole)
	{
		errors = all;
		n = nall;
	}
	/* all that are left: the last of them halts the sink */
	else if (!halt_all_topics(errors, n))
		n = 1;
	ks_worker_store_partition_ends(true);
	switch (write_halt(errors, n, whole))
	{
		case HALT_WRITTEN:
			for (int i = 0; i < n; i++)
				log_halt(&errors[i], !whole || i < n - 1);
			/* the others of the sink go on, in workers that know of it */
			if (!whole)
				ks_shmem_say_farewell(KS_FAREWELL_RESPAWN);
			break;
		case HALT_STALE:
			ereport(LOG,
					(errcode(errors[0].sqlstate),
					 errmsg("sink \"%s\" was changed, and tries again: %s", ks_worker.sink->name, errors[0].message)));
			ks_shmem_say_farewell(KS_FAREWELL_RESPAWN);
			break;
		case HALT_FAILED:
			/* the reason is told, and met again */
			ks_worker_write_state("backoff", &errors[0]);
			proc_exit(1);
	}
	proc_exit(0);
}

/* What is known of the ends of the partitions; false if one is not known. */
static bool
known_ends(KsConsumer *c, KsPartitionEnds *ends)
{
	bool		all = true;

	for (int i = 0; i < c->nparts; i++)
	{
		ends[i].topic = c->parts[i].topic;
		ends[i].part = c->parts[i].part;
		ends[i].as_of = ks_source_watermarks(c->source, i, &ends[i].low, &ends[i].high,
											 &ends[i].last_stable);
		all &= ends[i].as_of != 0;
	}
	return all;
}

/*
 * Where the partitions end, for those who look while no worker runs.  No lock
 * is worth waiting for: who holds it has more to do.
 */
void
ks_worker_store_partition_ends(bool ask)
{
	KsConsumer *c = ks_worker.consumer;
	MemoryContext cxt = CurrentMemoryContext;

	if (c == NULL || c->states == NULL)
		return;
	PG_TRY();
	{
		KsPartitionEnds *ends = palloc0(Max(c->nparts, 1) * sizeof(KsPartitionEnds));

		/* one that has not been here for long does not know all of them */
		if (!known_ends(c, ends) || ask)
		{
			ks_source_refresh(c->source, REFRESH_TIMEOUT_MS);
			(void) known_ends(c, ends);
		}
		begin_telling();
		(void) set_config_option("lock_timeout", STORE_LOCK_TIMEOUT, PGC_SUSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
		ks_catalog_store_partition_ends(ks_worker.sink->name, ends, c->nparts);
		ks_transaction_commit();
		ks_shmem_note_ends_stored();
		pfree(ends);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
}

/* What it is that must change before it passes, or NULL. */
static const char *
waits_for(int sqlstate)
{
	switch (sqlstate)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
			return "lock";
		case ERRCODE_DISK_FULL:
		case ERRCODE_CONFIGURATION_LIMIT_EXCEEDED:	/* temp_file_limit */
			return "disk";
		case ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION:
			return "broker";
		default:
			return ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_CONNECTION_EXCEPTION ? "broker" : NULL;
	}
}

void
ks_worker_state_error(const ErrorData *edata, KsStateError *error)
{
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = edata->sqlerrcode;
	error->message = edata->message;
	error->detail = edata->detail;
	error->hint = edata->hint;
	error->column = edata->column_name;
	error->off = -1;
	error->waits_for = waits_for(edata->sqlerrcode);
}
