/*
 * funcs_wait.c
 *	  CALL wait_for(): wait for the workers.
 *
 * It commits between looks and waits without snapshot or transaction id, so
 * it needs to be called outside a transaction block.  Memory hangs on the
 * portal's context: an error closes the source with it.
 *
 * What is waited for is a list of partitions and offsets.  It begins with the
 * ends of the log as of now, or those of 'until', and loses what has arrived.
 * An empty partition has arrived when it has a row: what comes after that is
 * consumed, wherever the sink begins.  Topics that do not exist yet join the list
 * when they do: until then they keep it waiting.  So does a topic whose log ends before
 * what was consumed of it, which is not the log that was consumed: nothing of it has
 * arrived, whatever the offsets say.  A sink or a topic that will not go on by itself is an
 * error, which is the one that stopped it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/message.h"
#include "catalog/offsets.h"
#include "process/shmem.h"
#include "sql/feeds.h"
#include "sql/funcs.h"

#define CHECK_MS		1000		/* at least so often, if nothing wakes us */

PG_FUNCTION_INFO_V1(kafka_sink_wait_for);

typedef struct WaitFor
{
	const char *name;
	TimestampTz deadline;		/* 0: none */
	MemoryContext cxt;
	bool		of_topics;		/* all of the sink's topics are waited for, no offsets that were given */

	/* what has not arrived: until, and off as it was seen last (-1: no row) */
	KsPartition *ends;
	int			nends;

	/* topics whose ends are not known yet */
	List	   *unknown;		/* of KsTopic * */
	char		lost[512];		/* that one of them ends too early, "": none does */
	KsSink	   *sink;
	KsConf	   *conf;
	MemoryContext source_cxt;	/* NULL: not open */
	KsSource   *source;
	TimestampTz asked_at;
} WaitFor;

/* --- what to wait for --- */

/*
 * Where the sink stands, in a transaction of its own.  What is moved by others may be
 * read in another isolation, and ends elsewhere.
 */
static KsPartition *
read_stored(const WaitFor *w, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	KsPartition *stored;

	*n = 0;
	if (!ks_sink_writes(w->sink))
		return NULL;
	ks_call_begin();
	stored = ks_offsets_list(w->name, NULL, n);
	ks_call_commit();
	MemoryContextSwitchTo(cxt);
	return stored;
}

/*
 * Does the topic end, as asked for after what is stored was read, before that?  Ends of
 * its partitions, and what is stored, are in order.
 */
static bool
is_lost(WaitFor *w, const KsTopic *t, const KsOffsetQuery *ends, int n, const KsPartition *stored, int nstored)
{
	for (int i = 0, j = 0; i < nstored; i++)
	{
		const KsPartition *p = &stored[i];

		if (strcmp(p->topic, t->topic) != 0 || !ks_topic_has_partition(t, p->part))
			continue;
		while (j < n && ends[j].part < p->part)
			j++;
		if (j == n)
		{
			snprintf(w->lost, sizeof(w->lost), "Topic \"%s\" has no partition %d any more.", p->topic, p->part);
			return true;
		}
		if (ends[j].off < p->off)
		{
			snprintf(w->lost, sizeof(w->lost),
					 "Topic \"%s\", partition %d is at offset " INT64_FORMAT ", behind the end of its log at " INT64_FORMAT ".",
					 p->topic, p->part, p->off, ends[j].off);
			return true;
		}
	}
	return false;
}

/* Adds the last stable offsets of the first n partitions of a topic; false if it is lost. */
static bool
add_topic(WaitFor *w, const KsTopic *t, int n, const KsPartition *stored, int nstored)
{
	KsOffsetQuery *q = palloc0(n * sizeof(KsOffsetQuery));
	int			m = 0;

	for (int i = 0; i < n; i++)
		if (ks_topic_has_partition(t, i))
		{
			q[m].topic = t->topic;
			q[m].part = i;
			q[m++].ts = KS_OFFSET_LATEST;
		}
	ks_source_query_offsets(w->source, q, m, ks_call_broker_timeout(w->deadline));
	if (is_lost(w, t, q, m, stored, nstored))
	{
		pfree(q);
		return false;
	}
	w->ends = w->ends ? repalloc(w->ends, (w->nends + m + 1) * sizeof(KsPartition)) :
		palloc((m + 1) * sizeof(KsPartition));
	for (int i = 0; i < m; i++)
	{
		KsPartition *p = &w->ends[w->nends];

		memset(p, 0, sizeof(KsPartition));
		p->topic = q[i].topic;
		p->part = q[i].part;
		p->off = -1;
		p->until = q[i].off;
		w->nends++;
	}
	pfree(q);
	return true;
}

/* Asks Kafka for the topics whose ends are not known; outside a transaction. */
static void
ask_for_topics(WaitFor *w)
{
	MemoryContext scratch = AllocSetContextCreate(w->cxt, "kafka_sink stored", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	int			nstored;
	KsPartition *stored = read_stored(w, &nstored);
	ListCell   *lc;

	MemoryContextSwitchTo(w->cxt);
	w->lost[0] = '\0';
	w->asked_at = GetCurrentTimestamp();
	if (w->source_cxt == NULL)
	{
		w->source_cxt = AllocSetContextCreate(w->cxt, "kafka_sink ends", ALLOCSET_DEFAULT_SIZES);
		w->source = ks_lag_open_source(w->sink, w->conf, w->sink->read_uncommitted, w->source_cxt);
	}
	foreach(lc, w->unknown)
	{
		const KsTopic *t = lfirst(lc);
		int			n = ks_source_partition_count(w->source, t->topic, ks_call_broker_timeout(w->deadline));

		if (n > 0 && add_topic(w, t, n, stored, nstored))
			w->unknown = foreach_delete_current(w->unknown, lc);
	}
	MemoryContextDelete(scratch);
	if (w->unknown == NIL)
	{
		MemoryContextDelete(w->source_cxt);
		w->source_cxt = NULL;
	}
	MemoryContextSwitchTo(old);
}

static void
wait_for_offsets(WaitFor *w, Jsonb *until)
{
	int			n;
	KsPartition *parts = ks_offsets_parse(until, &n);

	w->ends = parts;
	w->nends = n;
	for (int i = 0; i < n; i++)
	{
		parts[i].until = parts[i].off;
		parts[i].off = -1;
	}
}

/* As it is now: it may have had one. */
static void
check_server(const KsSink *sink)
{
	if (sink->server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" has no server to consume from", sink->name),
				 errhint("Give the offsets to wait for in \"until\".")));
}

static void
wait_for_all(WaitFor *w)
{
	check_server(w->sink);
	w->of_topics = true;
	w->unknown = ks_catalog_topics(w->name);
	w->conf = ks_options_load(w->sink->server, w->sink->owner);
}

/* --- how far the sink is --- */

/* Takes what has arrived off the list, in one look at the table. */
static void
drop_arrived(WaitFor *w)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID};
	Datum		values[lengthof(types)];
	Datum	   *topics = palloc(Max(w->nends, 1) * sizeof(Datum));
	Datum	   *parts = palloc(Max(w->nends, 1) * sizeof(Datum));
	Datum	   *until = palloc(Max(w->nends, 1) * sizeof(Datum));
	KsCatalogUser save;

	if (w->nends == 0)
		return;
	for (int i = 0; i < w->nends; i++)
	{
		topics[i] = CStringGetTextDatum(w->ends[i].topic);
		parts[i] = Int32GetDatum(w->ends[i].part);
		until[i] = Int64GetDatum(w->ends[i].until);
	}
	values[0] = CStringGetTextDatum(w->name);
	values[1] = PointerGetDatum(construct_array(topics, w->nends, TEXTOID, -1, false, TYPALIGN_INT));
	values[2] = PointerGetDatum(construct_array(parts, w->nends, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[3] = PointerGetDatum(construct_array(until, w->nends, INT8OID, sizeof(int64), FLOAT8PASSBYVAL,
												TYPALIGN_DOUBLE));
	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT u.n, o.off FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), "
						  "pg_catalog.unnest($4)) WITH ORDINALITY AS u (topic, part, until, n) "
						  "LEFT JOIN kafka_sink.txn_offsets o ON o.sink OPERATOR(pg_catalog.=) $1 "
						  "AND o.topic OPERATOR(pg_catalog.=) u.topic AND o.part OPERATOR(pg_catalog.=) u.part "
						  "WHERE o.off IS NULL OR o.off OPERATOR(pg_catalog.<) u.until ORDER BY u.n",
						  lengthof(types), types, values, NULL, false, 0);
	ks_catalog_leave(&save);
	w->nends = (int) SPI_processed;
	for (int i = 0; i < w->nends; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		bool		isnull;
		int64		n = DatumGetInt64(SPI_getbinval(tup, SPI_tuptable->tupdesc, 1, &isnull));
		Datum		off = SPI_getbinval(tup, SPI_tuptable->tupdesc, 2, &isnull);

		w->ends[i] = w->ends[n - 1];	/* they ascend */
		w->ends[i].off = isnull ? -1 : DatumGetInt64(off);
	}
	SPI_finish();
}

/* --- what is in the way --- */

/* Is a topic on the list? */
static bool
is_awaited(const WaitFor *w, const char *topic)
{
	ListCell   *lc;

	for (int i = 0; i < w->nends; i++)
		if (strcmp(w->ends[i].topic, topic) == 0)
			return true;
	foreach(lc, w->unknown)
		if (strcmp(((KsTopic *) lfirst(lc))->topic, topic) == 0)
			return true;
	return false;
}

/* Errors if a topic that is waited for was taken from the sink: nothing of it will arrive. */
static void
check_registered(const WaitFor *w, const List *topics, const char *awaited)
{
	ListCell   *lc;

	foreach(lc, topics)
		if (strcmp(((const KsTopic *) lfirst(lc))->topic, awaited) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("topic \"%s\" is not registered with sink \"%s\" any more", awaited, w->name),
			 errdetail("It was waited for."),
			 errhint("CALL kafka_sink.wait_for(%s) again to wait for those that are.", quote_literal_cstr(w->name))));
}

/* Errors if the sink, or a topic that is waited for, does not go on by itself. */
static void
check_obstacles(const WaitFor *w)
{
	KsSink	   *sink = ks_catalog_sink(w->name, false);
	const char *obstacle = !sink->enabled ? "paused" : sink->suspended ? "suspended" :
		sink->halted ? "halted" : NULL;
	List	   *topics;
	const char *state;
	KsStateError *e;
	ListCell   *lc;

	/* it may be another's by now, and so are its errors */
	ks_catalog_check_owner(sink, false);
	if (obstacle)
	{
		e = sink->enabled && !sink->suspended ? ks_catalog_read_error(w->name, NULL, &state) : NULL;
		if (e)
			ks_call_raise_halted(psprintf("sink \"%s\"", w->name), e);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("sink \"%s\" is %s", w->name, obstacle),
				 errhint("The view kafka_sink.sinks tells why; kafka_sink.resume(%s) lets it go on.",
						 quote_literal_cstr(w->name))));
	}
	topics = ks_catalog_topics(w->name);
	if (w->of_topics)
	{
		check_server(sink);
		for (int i = 0; i < w->nends; i++)
			check_registered(w, topics, w->ends[i].topic);
		foreach(lc, w->unknown)
			check_registered(w, topics, ((const KsTopic *) lfirst(lc))->topic);
	}
	foreach(lc, topics)
	{
		const KsTopic *t = lfirst(lc);

		if (!t->halted || !is_awaited(w, t->topic))
			continue;
		e = ks_catalog_read_error(w->name, t->topic, &state);
		if (e)
			ks_call_raise_halted(psprintf("topic \"%s\" of sink \"%s\"", t->topic, w->name), e);
	}
}

/* Where it stands, for a human. */
static char *
describe_position(const WaitFor *w)
{
	const KsPartition *p = w->ends;
	char	   *rest;

	if (w->nends == 0)
		return w->lost[0] ? pstrdup(w->lost) :
			psprintf("Topic \"%s\" does not exist.", ((KsTopic *) linitial(w->unknown))->topic);
	rest = w->nends > 1 ? psprintf(", %d more have not arrived", w->nends - 1) : "";
	if (p->off < 0)
		return psprintf("Topic \"%s\", partition %d has no offset yet, wanted is " INT64_FORMAT "%s.",
						p->topic, p->part, p->until, rest);
	return psprintf("Topic \"%s\", partition %d is at offset " INT64_FORMAT ", wanted is " INT64_FORMAT "%s.",
					p->topic, p->part, p->off, p->until, rest);
}

/* Errors (57014) after the deadline; in a transaction. */
static void
check_deadline(const WaitFor *w)
{
	const char *state;
	KsStateError *e;

	if (w->deadline == 0 || GetCurrentTimestamp() < w->deadline)
		return;
	e = ks_catalog_read_error(w->name, NULL, &state);
	ereport(ERROR,
			(errcode(ERRCODE_QUERY_CANCELED),
			 errmsg("timed out while waiting for sink \"%s\"", w->name),
			 errdetail_internal("%s  %s%s%s", describe_position(w),
								state ? psprintf("The sink is in state %s", state) : "No worker of it has started",
								e ? ": " : ".", e ? e->message : ""),
			 e && e->hint ? errhint("%s", e->hint) :
			 errhint("The views kafka_sink.sinks and kafka_sink.lag show where it stands.")));
}

/* --- the wait --- */

/* Has all of it arrived?  Errors if it will not, or not in time. */
static bool
check_progress(WaitFor *w)
{
	MemoryContext scratch = AllocSetContextCreate(w->cxt, "kafka_sink look", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	bool		arrived;

	ks_call_begin();
	drop_arrived(w);
	arrived = w->nends == 0 && w->unknown == NIL;
	if (!arrived)
	{
		check_obstacles(w);
		check_deadline(w);
	}
	ks_call_commit();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return arrived;
}

static bool
is_time_to_ask(const WaitFor *w)
{
	TimestampTz now = GetCurrentTimestamp();

	/* not again when it would have to be answered in no time */
	if (w->unknown == NIL || (w->asked_at != 0 && w->deadline != 0 &&
							  TimestampTzPlusMilliseconds(now, CHECK_MS) >= w->deadline))
		return false;
	return w->asked_at == 0 || TimestampDifferenceExceeds(w->asked_at, now, CHECK_MS);
}

static void
wait_until_there(WaitFor *w)
{
	for (;;)
	{
		ConditionVariable *cv = ks_shmem_progress_cv(w->name);
		long		timeout = CHECK_MS;

		if (is_time_to_ask(w))
			ask_for_topics(w);
		/* listen first, then look: no commit goes unnoticed */
		ConditionVariablePrepareToSleep(cv);
		if (check_progress(w))
			break;
		if (w->deadline != 0)
			timeout = Min(timeout, Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), w->deadline)));
		ConditionVariableTimedSleep(cv, timeout, PG_WAIT_EXTENSION);
		ConditionVariableCancelSleep();
	}
	ConditionVariableCancelSleep();
}

Datum
kafka_sink_wait_for(PG_FUNCTION_ARGS)
{
	char	   *name = ks_call_sink(fcinfo);
	WaitFor		w = {0};

	ks_call_require_nonatomic(fcinfo, "wait_for");
	w.deadline = ks_call_deadline(fcinfo, 1);
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	w.cxt = AllocSetContextCreate(PortalContext, "kafka_sink wait_for", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(w.cxt);
	w.name = pstrdup(name);
	if (ks_feeds_wait_for(w.name, !PG_ARGISNULL(2), w.deadline))
	{
		SPI_finish();
		return (Datum) 0;
	}
	w.sink = ks_catalog_sink(w.name, false);
	ks_catalog_check_owner(w.sink, false);
	if (!ks_shmem_available())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there are no background workers to wait for"),
				 errdetail("kafka_sink is not in shared_preload_libraries."),
				 errhint("Add it and restart the server, or consume in a session with CALL kafka_sink.run(%s).",
						 quote_literal_cstr(w.name))));
	if (PG_ARGISNULL(2))
		wait_for_all(&w);
	else
		wait_for_offsets(&w, PG_GETARG_JSONB_P_COPY(2));
	SPI_commit();
	MemoryContextSwitchTo(w.cxt);
	wait_until_there(&w);
	MemoryContextSwitchTo(PortalContext);
	MemoryContextDelete(w.cxt);
	SPI_finish();
	PG_RETURN_VOID();
}
