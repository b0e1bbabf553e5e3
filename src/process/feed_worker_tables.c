/*
 * feed_worker_tables.c
 *	  May the feed's owner read the tables that it publishes?
 *
 * Decoding asks no privileges, and while a transaction of the WAL is handed out the
 * catalogs are those of its time: what is granted since is not seen.  So it is found out
 * when the process begins, and within a second after anything that could change it.  A
 * table that comes later is unknown; then the process begins anew.  One that is unknown,
 * and was changed before it was looked for, is gone, or out of the publication: what was
 * published of it then, its owner could read then, or it is not published.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "catalog/extension.h"
#include "process/feed_worker_int.h"

#define LOOK_MS		1000		/* between two looks; other sessions make tables all the time */

static List *allowed = NIL;		/* OIDs */
static List *denied = NIL;
static List *current = NIL;		/* both */
static List *own = NIL;			/* of the extension, published or not */
static List *topics = NIL;		/* where feeds have their progress, texts */
static Oid	feed_catalog;
static XLogRecPtr known_at;		/* as of this place of the WAL */
static KsHorizon known;			/* and so far as these transactions were seen */
static TimestampTz looked_at;
static volatile bool changed = false;

static void
changed_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	if (!ks_wal_is_forgetting())
		changed = true;
}

/* A feed has been made, perhaps, with another topic of progress. */
static void
feed_callback(Datum arg, Oid relid)
{
	if (relid == feed_catalog && !ks_wal_is_forgetting())
		changed = true;
}

static void
hear_of_changes(void)
{
	static bool heard = false;

	if (!heard)
	{
		CacheRegisterSyscacheCallback(RELOID, changed_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, changed_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, changed_callback, (Datum) 0);
		CacheRegisterRelcacheCallback(feed_callback, (Datum) 0);
	}
	heard = true;
}

/* A column of a row that was read, which is not NULL. */
static Datum
column(uint64 row, int col)
{
	bool		isnull;

	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, &isnull);
}

/* The extension may hold secrets, whoever it is published by. */
static void
find_own(void)
{
	if (SPI_execute("SELECT d.objid FROM pg_catalog.pg_depend d "
					"JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid "
					"WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass::pg_catalog.oid "
					"AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid "
					"AND d.deptype OPERATOR(pg_catalog.=) 'e' AND e.extname OPERATOR(pg_catalog.=) 'kafka_sink'",
					true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of the extension");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid			relid = DatumGetObjectId(column(i, 1));
		MemoryContext old = MemoryContextSwitchTo(ks_feed.cxt);

		own = lappend_oid(own, relid);
		MemoryContextSwitchTo(old);
	}
}

static void
find_published(void)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(ks_feed.feed->publication)};

	if (SPI_execute_with_args("SELECT c.oid, pg_catalog.has_table_privilege(c.oid, 'SELECT') AND NOT pg_catalog.row_security_active(c.oid) "
							  "FROM pg_catalog.pg_publication_tables p "
							  "JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) p.schemaname "
							  "JOIN pg_catalog.pg_class c ON c.relnamespace OPERATOR(pg_catalog.=) n.oid "
							  "AND c.relname OPERATOR(pg_catalog.=) p.tablename "
							  "WHERE p.pubname::pg_catalog.text OPERATOR(pg_catalog.=) $1",
							  1, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the tables of a publication");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		Oid			relid = DatumGetObjectId(column(i, 1));
		bool		may = DatumGetBool(column(i, 2));
		MemoryContext old = MemoryContextSwitchTo(ks_feed.cxt);

		if (!list_member_oid(own, relid))
		{
			if (may)
				allowed = lappend_oid(allowed, relid);
			else
				denied = lappend_oid(denied, relid);
			current = lappend_oid(current, relid);
		}
		MemoryContextSwitchTo(old);
	}
}

/* Whatever was known of tables is looked at again. */
static void
find_topics(void)
{
	List	   *former = topics;

	topics = ks_feeds_progress_topics(ks_feed.cxt);
	ks_rows_check_again(ks_feed.publisher.rows, topics);
	list_free_deep(former);
}

/* By a snapshot behind that place; what it sees is kept. */
static void
push_snapshot(void)
{
	MemoryContext old = MemoryContextSwitchTo(ks_feed.cxt);

	known_at = ks_flushed_lsn();
	PushActiveSnapshot(GetLatestSnapshot());
	if (known.running)
		pfree(known.running);
	ks_horizon_take(&known, GetActiveSnapshot());
	MemoryContextSwitchTo(old);
}

/* In a transaction. */
void
ks_feed_find_tables(void *unused)
{
	hear_of_changes();
	changed = false;
	looked_at = GetCurrentTimestamp();
	list_free(allowed);
	list_free(denied);
	list_free(current);
	list_free(own);
	allowed = denied = current = own = NIL;
	feed_catalog = ks_extension_relation(KS_FEED_CATALOG);
	push_snapshot();
	SPI_connect();
	find_own();
	find_published();
	find_topics();
	SPI_finish();
	PopActiveSnapshot();
}

void
ks_feed_look_after_tables(void)
{
	if (!changed || ks_feed.publisher.rows == NULL || !TimestampDifferenceExceeds(looked_at, GetCurrentTimestamp(), LOOK_MS))
		return;
	ks_feed_run(ks_feed_find_tables, NULL);
}

void
ks_feed_tables_set_back(TimestampTz now)
{
	looked_at = Min(looked_at, now);
}

List *
ks_feed_tables(void)
{
	return current;
}

bool
ks_feed_is_own(Oid relid)
{
	return list_member_oid(own, relid);
}

/* As the catalogs are that are asked. */
static bool
may_read(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK && check_enable_rls(relid, InvalidOid, true) != RLS_ENABLED;
}

KS_NORETURN static void
refuse(const char *schema, const char *table)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied for table %s", quote_qualified_identifier(schema, table)),
			 errdetail("The feed's owner, role \"%s\", must have SELECT on it, and see all of its rows.", GetUserNameFromId(GetUserId(), false)),
			 errhint("GRANT SELECT ON %s TO %s; or take the table from publication \"%s\".",
					 quote_qualified_identifier(schema, table), quote_identifier(GetUserNameFromId(GetUserId(), false)),
					 ks_feed.feed->publication)));
}

void
ks_feed_check_readable_now(Oid relid, const char *schema, const char *table)
{
	if (!may_read(relid))
		refuse(schema, table);
}

/* One that is not published any more, while its transaction is handed out. */
static bool
could_be_read(Oid relid, const char *schema, const char *table)
{
	if (may_read(relid))
		return true;
	ereport(LOG,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("changes of table %s are not published by feed \"%s\"", quote_qualified_identifier(schema, table), ks_feed.feed->name),
			 errdetail("It is not in publication \"%s\" any more, and the feed's owner could not read it, or not all of its rows, when it was changed.",
					   ks_feed.feed->publication)));
	return false;
}

bool
ks_feed_check_table(void *unused, const KsWalTransaction *txn, Oid relid, const char *schema, const char *table)
{
	if (list_member_oid(allowed, relid))
		return true;
	if (list_member_oid(denied, relid))
		refuse(schema, table);
	if (txn->commit_lsn >= known_at)
		ks_feed_respawn();
	/* such as one that waits for a standby: the table is not gone, but still to come */
	if (!ks_horizon_sees(&known, XidFromFullTransactionId(txn->xid)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table %s is changed by a commit that cannot be seen yet", quote_qualified_identifier(schema, table)),
				 errdetail("Before that it is not known whether the feed's owner may read it.")));
	return could_be_read(relid, schema, table);
}
