/*
 * funcs_feed_skip.c
 *	  skip() of a feed: the transaction, or the row of a copy, at which it has stopped is
 *	  not published.
 *
 * It is named by the place of its commit, which the feed's state has, so nothing else
 * can be skipped.  The worker leaves it out, and says so in its progress; when that is
 * in Kafka the name is forgotten, and the history has what became of it.  A row of a copy is
 * named by its key, which feed_copies has.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#include "catalog/feed_copies.h"
#include "catalog/feeds.h"
#include "catalog/history.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/feeds.h"

PG_FUNCTION_INFO_V1(kafka_sink_skip_transaction);

static void
check_stop(const KsFeed *feed, const XLogRecPtr *lsn)
{
	if (feed->state_lsn == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" has not stopped at a transaction", feed->name),
				 errhint("\"lsn\" of the view kafka_sink.feeds is where its commit begins, if it is one that cannot be published.")));
	if (lsn != NULL && *lsn != feed->state_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" has not stopped at %X/%X", feed->name, LSN_FORMAT_ARGS(*lsn)),
				 errdetail("It has stopped at the transaction with its commit at %X/%X.", LSN_FORMAT_ARGS(feed->state_lsn))));
}

static void
tell(const KsFeed *feed, const char *what)
{
	ereport(NOTICE,
			(errmsg("%s will not be published", what),
			 feed->halted ? errhint("kafka_sink.resume(%s) lets the feed go on.", quote_literal_cstr(feed->name)) : 0));
}

bool
ks_feeds_skip(const char *name, const XLogRecPtr *lsn)
{
	KsFeed	   *feed = ks_feeds_get(name, true);
	Jsonb	   *row;
	Oid			types[] = {TEXTOID, LSNOID};
	Datum		values[2];

	if (feed == NULL)
		return false;
	ks_feeds_check_owner(feed);
	ks_feeds_bump_generation(feed);
	/* as it is now that its worker cannot halt it */
	feed = ks_feeds_get(name, false);
	row = feed->state_lsn == 0 && lsn == NULL ? ks_feed_copies_skip(name) : NULL;
	if (row)
	{
		ks_history_log(name, "skip", NULL, row, NULL);
		tell(feed, "the row with which the feed has stopped");
		return true;
	}
	check_stop(feed, lsn);
	values[0] = CStringGetTextDatum(name);
	values[1] = LSNGetDatum(feed->state_lsn);
	ks_define_change("UPDATE kafka_sink.feed_catalog c SET skip_lsn = $2 WHERE c.feed OPERATOR(pg_catalog.=) $1",
					 lengthof(types), types, values, NULL);
	ks_history_log(name, "skip", NULL, ks_feeds_describe_stop(feed), NULL);
	tell(feed, psprintf("the transaction with its commit at %X/%X", LSN_FORMAT_ARGS(feed->state_lsn)));
	return true;
}

Datum
kafka_sink_skip_transaction(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	XLogRecPtr	lsn;

	ks_refuse_null(fcinfo, 1);
	lsn = PG_GETARG_LSN(1);
	if (!ks_feeds_skip(name, &lsn))
		(void) ks_feeds_get(name, false);
	PG_RETURN_VOID();
}
