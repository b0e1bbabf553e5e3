/*
 * feed_worker_state.c
 *	  What a feed's worker says of itself.
 */
#include "postgres.h"

#include "access/xact.h"
#include "foreign/foreign.h"
#include "storage/ipc.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "process/feed_worker_int.h"
#include "process/transaction.h"

#define TELL_AFTER_MS	1000	/* of waiting for Kafka */

KsFeedWorker ks_feed;

ErrorData *
ks_feed_try(void (*step) (void *arg), void *arg)
{
	ErrorData  *edata;

	ks_wal_forget_caches();
	edata = ks_transaction_try(step, arg);
	ks_wal_forget_caches();
	return edata;
}

void
ks_feed_run(void (*step) (void *arg), void *arg)
{
	ErrorData  *edata = ks_feed_try(step, arg);

	if (edata)
		ks_error_rethrow(edata);
}

/* Its errors are logged, and false. */
static bool
try_step(void (*step) (void *arg), void *arg)
{
	ErrorData  *edata = ks_feed_try(step, arg);

	if (edata == NULL)
		return true;
	ereport(LOG,
			(errcode(edata->sqlerrcode),
			 errmsg("state of feed \"%s\" could not be written: %s", ks_feed.feed->name, edata->message)));
	FreeErrorData(edata);
	return false;
}

void
ks_feed_respawn(void)
{
	ks_shmem_say_farewell(KS_FAREWELL_RESPAWN);
	proc_exit(0);
}

typedef struct StateArgs
{
	const char *state;
	const KsStateError *error;
	bool		halted;			/* result: it was written */
} StateArgs;

/* As worker_state.c says: neither a disk nor a standby is waited for. */
static void
wait_for_nobody(void)
{
	(void) set_config_option("synchronous_commit", "off", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

static void
set_state(void *arg)
{
	StateArgs  *a = arg;
	XLogRecPtr	one_by_one = ks_publisher_is_careful(&ks_feed.publisher) ? ks_feed.publisher.one_by_one :
		ks_feed.row_refused ? KS_FEED_ROWS : InvalidXLogRecPtr;

	wait_for_nobody();
	ks_feeds_set_state(ks_feed.feed->name, a->state, a->error, a->error ? ks_feed.stopped_at : InvalidXLogRecPtr,
					   a->error ? one_by_one : InvalidXLogRecPtr);
}

void
ks_feed_write_state(const char *state, const KsStateError *error)
{
	StateArgs	args = {state, error, false};
	const char *message = error ? error->message : "";

	if (ks_feed.state && strcmp(ks_feed.state, state) == 0 && strncmp(ks_feed.said, message, sizeof(ks_feed.said) - 1) == 0)
		return;
	if (error)
		ereport(LOG,
				(errcode(error->sqlstate),
				 errmsg("feed \"%s\": %s", ks_feed.feed->name, error->message),
				 error->detail ? errdetail_internal("%s", error->detail) : 0));
	if (try_step(set_state, &args))
	{
		ks_feed.state = state;
		strlcpy(ks_feed.said, message, sizeof(ks_feed.said));
	}
	else
		ks_feed.state = NULL;
	ConditionVariableBroadcast(ks_feed.progress);
}

static void
set_halted(void *arg)
{
	StateArgs  *a = arg;

	wait_for_nobody();
	a->halted = ks_feeds_halt(ks_feed.feed, a->error, ks_feed.stopped_at);
	if (a->halted)
		ks_shmem_note_change();
}

void
ks_feed_halt(const KsStateError *error)
{
	StateArgs	args = {"halted", error, false};

	if (!try_step(set_halted, &args))
	{
		/* the reason is told, and met again */
		ks_feed_write_state("backoff", error);
		proc_exit(1);
	}
	ConditionVariableBroadcast(ks_feed.progress);
	if (!args.halted)
	{
		ereport(LOG,
				(errcode(error->sqlstate),
				 errmsg("feed \"%s\" was changed, and tries again: %s", ks_feed.feed->name, error->message)));
		ks_feed_respawn();
	}
	ereport(LOG,
			(errcode(error->sqlstate),
			 errmsg("feed \"%s\" halted: %s", ks_feed.feed->name, error->message),
			 error->detail ? errdetail_internal("%s", error->detail) : 0,
			 error->hint ? errhint("%s", error->hint) : 0));
	proc_exit(0);
}

static void
look_for_server(void *exists)
{
	*(bool *) exists = OidIsValid(get_foreign_server_oid(ks_feed.feed->server, true));
}

static bool
server_is_missing(void)
{
	bool		exists = true;
	ErrorData  *edata = ks_transaction_try(look_for_server, &exists);

	ks_wal_forget_caches();
	if (edata)
		FreeErrorData(edata);
	return !exists;
}

void
ks_feed_state_error(const ErrorData *edata, KsStateError *error)
{
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = edata->sqlerrcode;
	error->message = edata->message;
	error->detail = edata->detail;
	error->hint = edata->hint;
	error->part = -1;
	error->off = -1;
	if (edata->sqlerrcode == ERRCODE_DISK_FULL)
		error->waits_for = "disk";
	else if (edata->sqlerrcode == ERRCODE_UNDEFINED_OBJECT && server_is_missing())
		error->waits_for = "server";
	else if (ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_CONNECTION_EXCEPTION ||
			 ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_FDW_ERROR ||
			 edata->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			 edata->sqlerrcode == ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION)
		error->waits_for = "broker";
}

bool
ks_feed_producer_error(KsStateError *error, bool *halts, bool *refused)
{
	KsProducer *producer = ks_publisher_producer(&ks_feed.publisher);
	KsProducerError e;

	if (producer == NULL || !ks_producer_error(producer, &e))
		return false;
	memset(error, 0, sizeof(KsStateError));
	error->sqlstate = e.sqlstate;
	error->message = e.message;
	error->detail = e.detail;
	error->hint = e.hint;
	error->topic = e.topic;
	error->part = -1;
	error->off = -1;
	error->waits_for = e.waits_for;
	*halts = e.halts;
	if (refused)
		*refused = e.refused;
	return true;
}

void
ks_feed_tell_waiting(void)
{
	TimestampTz now = GetCurrentTimestamp();
	KsStateError error;
	bool		halts;

	if (ks_feed.trouble_since == 0)
		ks_feed.trouble_since = now;
	/* what cannot be written is told by what ends the wait */
	if (!TimestampDifferenceExceeds(ks_feed.trouble_since, now, TELL_AFTER_MS) || IsTransactionState() ||
		!ks_feed_producer_error(&error, &halts, NULL))
		return;
	if (error.waits_for == NULL)
		error.waits_for = "broker";
	ks_feed_write_state("waiting", &error);
}

void
ks_feed_tell_held(void)
{
	TimestampTz now = GetCurrentTimestamp();
	KsStateError error = {
		.sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
		.message = "a standby does not have yet what is to be published",
		.detail = "After a failover to it, Kafka would have what it does not.",
		.hint = "Check the standbys that synchronized_standby_slots names, or take those from it that do not come back.",
		.part = -1,
		.off = -1,
		.waits_for = "standby"
	};

	if (ks_feed.trouble_since == 0)
		ks_feed.trouble_since = now;
	if (TimestampDifferenceExceeds(ks_feed.trouble_since, now, TELL_AFTER_MS))
		ks_feed_write_state("waiting", &error);
}

static void
end_skip(void *skipped)
{
	ks_feeds_end_skip(ks_feed.feed, ks_feed.feed->skip_lsn, *(bool *) skipped);
}

void
ks_feed_end_skip(bool skipped)
{
	ks_feed_run(end_skip, &skipped);
	ereport(LOG,
			(errmsg(skipped ? "feed \"%s\": transaction with its commit at %X/%X is skipped" :
					"feed \"%s\": transaction with its commit at %X/%X was published before it could be skipped",
					ks_feed.feed->name, LSN_FORMAT_ARGS(ks_feed.feed->skip_lsn))));
	ks_feed.feed->skip_lsn = InvalidXLogRecPtr;
}

void
ks_feed_tell_running(void)
{
	ks_feed.trouble_since = 0;
	ks_feed.stopped_at = InvalidXLogRecPtr;
	if (ks_feed.state == NULL || strcmp(ks_feed.state, "running") != 0)
		ks_feed_write_state("running", NULL);
}
