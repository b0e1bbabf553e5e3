/*
 * funcs_wait_feed.c
 *	  wait_for() a feed: until all that is committed now is in Kafka.
 *
 * A worker tells how far it has read when nothing that it has read is still to be
 * committed, and before that, whether tables are to be copied.  So who waits needs no more
 * than that place, of one that runs by the feed's definition of now, and holds neither locks
 * nor a snapshot meanwhile.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/condition_variable.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

#include "base/compat.h"
#include "catalog/feeds.h"
#include "feed/wal.h"
#include "process/shmem.h"
#include "sql/feeds.h"
#include "sql/funcs.h"

#define CHECK_MS	1000		/* at least so often, if nothing wakes us */

/* Errors if the feed will not come so far, or has not in time. */
static void
check_obstacles(const char *name, int64 generation, XLogRecPtr target, TimestampTz deadline)
{
	KsFeed	   *feed;
	KsStateError *e;
	const char *obstacle;
	const char *state;

	ks_call_begin();
	feed = ks_feeds_get(name, false);
	/* it may be another's by now, and so are its errors */
	ks_feeds_check_owner(feed);
	obstacle = !feed->enabled ? "paused" : feed->suspended ? "suspended" : feed->halted ? "halted" : NULL;
	if (obstacle)
	{
		e = feed->enabled && !feed->suspended ? ks_catalog_read_feed_error(name, &state) : NULL;
		if (e)
			ks_call_raise_halted(psprintf("feed \"%s\"", name), e);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" is %s", name, obstacle),
				 errhint("The view kafka_sink.feeds tells why; kafka_sink.resume(%s) lets it go on.", quote_literal_cstr(name))));
	}
	if (deadline != 0 && GetCurrentTimestamp() >= deadline)
	{
		e = ks_catalog_read_feed_error(name, &state);
		ereport(ERROR,
				(errcode(ERRCODE_QUERY_CANCELED),
				 errmsg("timed out while waiting for feed \"%s\"", name),
				 errdetail("It is at %X/%X; wanted is %X/%X%s.  Its state is %s%s%s",
						   LSN_FORMAT_ARGS(ks_shmem_feed_position(name, generation)), LSN_FORMAT_ARGS(target),
						   ks_shmem_feed_is_copying(name, generation) ? ", and tables are to be copied" : "",
						   state, e ? ": " : ".", e ? e->message : ""),
				 e && e->hint ? errhint("%s", e->hint) :
				 errhint("The views kafka_sink.feeds and kafka_sink.stat_feeds show where it stands.")));
	}
	ks_call_commit();
}

bool
ks_feeds_wait_for(const char *name, bool until_given, TimestampTz deadline)
{
	KsFeed	   *feed = ks_feeds_get(name, true);
	ConditionVariable *cv = ks_shmem_progress_cv(name);
	XLogRecPtr	target;
	int64		generation;

	if (feed == NULL)
		return false;
	ks_feeds_check_owner(feed);
	/* (the row goes with the transaction) */
	generation = feed->generation;
	if (until_given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a feed is waited for without \"until\""),
				 errdetail("It is waited for until all that is committed now is in Kafka.")));
	if (cv == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("there are no background workers to wait for"),
				 errdetail("kafka_sink is not in shared_preload_libraries.")));
	PreventCommandDuringRecovery("wait_for() of a feed");
	/* what is committed and not flushed yet is committed, too */
	target = ks_wal_end();
	XLogFlush(target);
	SPI_commit();
	for (;;)
	{
		long		timeout = CHECK_MS;

		/* listen first, then look: no commit goes unnoticed */
		ConditionVariablePrepareToSleep(cv);
		if (ks_shmem_feed_position(name, generation) >= target && !ks_shmem_feed_is_copying(name, generation))
			break;
		check_obstacles(name, generation, target, deadline);
		if (deadline != 0)
			timeout = Min(timeout, Max(1, TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline)));
		(void) ConditionVariableTimedSleep(cv, timeout, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return true;
}
