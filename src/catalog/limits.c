/*
 * limits.c
 *	  How much of what all share one role, or one sink, may have.
 *
 * Sinks and topics are counted under a lock of their owner's, by what is
 * committed at that moment, whatever the transaction's snapshot says: two
 * sessions do not pass the limit together.
 *
 * Rows of partitions are made by whoever consumes, and waits for others' rows
 * while it does: a lock would make circles.  So a session counts what there is,
 * and again when it has made a few more: what is made beyond the limit is at most
 * so many for each session that is at it.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "base/guc.h"
#include "catalog/limits.h"
#include "catalog/sinks.h"

#define OWNER_LOCK		1		/* a part of a role that nobody else locks */
#define COUNT_EVERY		256		/* rows of partitions */

/* Runs a count, with one argument, by what is committed now and what we have done. */
static int64
count_now(const char *sql, Oid type, Datum value)
{
	KsCatalogUser save;
	int64		n;
	bool		isnull;

	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	ks_catalog_enter(&save);
	/* as "read only" it uses this snapshot */
	if (SPI_execute_with_args(sql, 1, &type, &value, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	ks_catalog_leave(&save);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PopActiveSnapshot();
	return n;
}

static void
check_owned(Oid owner, int more, const char *what, const char *setting, int limit, const char *sql)
{
	int64		n;

	if (limit == 0 || superuser_arg(owner))
		return;
	LockSharedObject(AuthIdRelationId, owner, OWNER_LOCK, ExclusiveLock);
	n = count_now(sql, OIDOID, ObjectIdGetDatum(owner));
	if (n + more > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("role \"%s\" cannot have more %s", GetUserNameFromId(owner, false), what),
				 errdetail("It has " INT64_FORMAT ", the limit is %d.", n, limit),
				 errhint("Drop what is not needed, or let a superuser raise %s.", setting)));
}

void
ks_limits_check_sinks(Oid owner)
{
	check_owned(owner, 1, "sinks", "kafka_sink.max_sinks_per_role", ks_guc_max_sinks_per_role,
				"SELECT pg_catalog.count(*) FROM kafka_sink.sink_catalog c "
				"WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1");
}

void
ks_limits_check_topics(Oid owner, int more)
{
	check_owned(owner, more, "topics of sinks", "kafka_sink.max_topics_per_role", ks_guc_max_topics_per_role,
				"SELECT pg_catalog.count(*) FROM kafka_sink.topic_catalog t "
				"JOIN kafka_sink.sink_catalog c ON c.sink OPERATOR(pg_catalog.=) t.sink "
				"WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1");
}

void
ks_limits_check_feeds(Oid owner)
{
	check_owned(owner, 1, "feeds", "kafka_sink.max_feeds_per_role", ks_guc_max_feeds_per_role,
				"SELECT pg_catalog.count(*) FROM kafka_sink.feed_catalog c "
				"WHERE c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $1");
}

/* --- partitions --- */

void
ks_limits_check_partitions(const char *sink, int n)
{
	static char counted[NAMEDATALEN];	/* the sink that was counted last */
	static int	left = 0;		/* so many may be made before it is counted again */
	int			limit = ks_guc_max_partitions_per_sink;
	int64		have;

	if (limit == 0)
		return;
	if (strcmp(counted, sink) == 0 && n <= left)
	{
		left -= n;
		return;
	}
	have = count_now("SELECT pg_catalog.count(*) FROM kafka_sink.txn_offsets o "
					 "WHERE o.sink OPERATOR(pg_catalog.=) $1", TEXTOID, CStringGetTextDatum(sink));
	left = 0;
	if (have > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sink \"%s\" cannot have offsets of more partitions", sink),
				 errdetail("It would have " INT64_FORMAT ", the limit is %d.", have, limit),
				 errhint("Unregister topics, use several sinks, or let a superuser raise kafka_sink.max_partitions_per_sink.")));
	strlcpy(counted, sink, sizeof(counted));
	left = (int) Min(COUNT_EVERY, limit - have);
}

/* --- sizes --- */

void
ks_limits_check_size(const char *what, Datum value, Size max)
{
	if (toast_raw_datum_size(value) - VARHDRSZ > max)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too long", what),
				 errdetail("It has %zu bytes, the limit is %zu.", toast_raw_datum_size(value) - VARHDRSZ, max)));
}
