/*
 * feeds.c
 *	  Rows of the extension's tables about feeds, as structs.
 *
 * As those of sinks, they are read and written as the tables' owner.  A session that
 * emits keeps what it needs to know of a feed; whoever changes a feed, or who may
 * emit to it, sends an invalidation of feed_catalog, at which it is forgotten.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/interval.h"
#include "catalog/extension.h"
#include "catalog/feeds.h"
#include "catalog/history.h"
#include "catalog/version.h"

#define NAME_LOCK	1			/* a part of the extension that nobody else locks */

/* --- names --- */

static bool
exists(const char *sql, const char *name)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	bool		found;

	SPI_connect();
	ks_catalog_execute(sql, 1, types, values, NULL);
	found = SPI_processed > 0;
	SPI_finish();
	return found;
}

bool
ks_feeds_exists(const char *name)
{
	return exists("SELECT FROM kafka_sink.feed_catalog c WHERE c.feed OPERATOR(pg_catalog.=) $1", name);
}

void
ks_feeds_take_name(const char *name, bool for_feed)
{
	Oid			hash = hash_bytes((const unsigned char *) name, strlen(name));
	bool		taken;

	LockDatabaseObject(ExtensionRelationId, hash, NAME_LOCK, ExclusiveLock);
	/* by what is committed now, whatever the transaction's snapshot says */
	CommandCounterIncrement();
	PushActiveSnapshot(GetLatestSnapshot());
	taken = for_feed ?
		exists("SELECT FROM kafka_sink.sink_catalog c WHERE c.sink OPERATOR(pg_catalog.=) $1", name) :
		exists("SELECT FROM kafka_sink.feed_catalog c WHERE c.feed OPERATOR(pg_catalog.=) $1", name);
	PopActiveSnapshot();
	if (taken)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("there is a %s \"%s\" already", for_feed ? "sink" : "feed", name),
				 errdetail("Sinks and feeds share their names.")));
}

/* --- a feed --- */

#define FEED_COLUMNS \
	"c.feed, c.id, c.owner::pg_catalog.oid, c.server, c.progress_topic, c.batch_records, c.batch_bytes, " \
	"c.max_message_bytes, c.transaction_timeout, c.enabled, c.generation, c.system_identifier, c.database_oid, " \
	"c.start_lsn, s.state, c.publication, c.topic, c.envelope, c.skip_lsn, s.lsn, s.one_by_one, c.failover, c.copy_data "

enum
{
	COL_FEED = 1, COL_ID, COL_OWNER, COL_SERVER, COL_PROGRESS_TOPIC, COL_BATCH_RECORDS, COL_BATCH_BYTES,
	COL_MAX_MESSAGE, COL_TIMEOUT, COL_ENABLED, COL_GENERATION, COL_SYSID, COL_DBID, COL_START_LSN, COL_STATE,
	COL_PUBLICATION, COL_TOPIC, COL_ENVELOPE, COL_SKIP_LSN, COL_STATE_LSN, COL_ONE_BY_ONE,
	COL_FAILOVER, COL_COPY_DATA
};

/* A column of the one row that was read; NULL is 0. */
static Datum
column(int col)
{
	bool		isnull;
	Datum		d = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, col, &isnull);

	return isnull ? (Datum) 0 : d;
}

static char *
column_text(int col, MemoryContext cxt)
{
	char	   *s = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, col);

	return s ? MemoryContextStrdup(cxt, s) : NULL;
}

void
ks_feeds_use_envelope(KsFeed *feed, char *envelope)
{
	feed->envelope = envelope;
	feed->with_schema = strcmp(envelope, "debezium_schema") == 0;
	feed->debezium = feed->with_schema || strcmp(envelope, "debezium") == 0;
}

/* Was its slot made for another server or database? */
static bool
is_elsewhere(Datum system_identifier, Datum database)
{
	return (uint64) DatumGetInt64(system_identifier) != GetSystemIdentifier() || DatumGetObjectId(database) != MyDatabaseId;
}

static KsFeed *
feed_from_row(MemoryContext cxt)
{
	KsFeed	   *feed = MemoryContextAllocZero(cxt, sizeof(KsFeed));

	feed->name = column_text(COL_FEED, cxt);
	feed->id = DatumGetInt64(column(COL_ID));
	feed->owner = DatumGetObjectId(column(COL_OWNER));
	feed->server = column_text(COL_SERVER, cxt);
	feed->progress_topic = column_text(COL_PROGRESS_TOPIC, cxt);
	feed->batch_records = DatumGetInt32(column(COL_BATCH_RECORDS));
	feed->batch_bytes = DatumGetInt32(column(COL_BATCH_BYTES));
	feed->max_message_bytes = DatumGetInt32(column(COL_MAX_MESSAGE));
	feed->transaction_timeout_us = ks_interval_us(DatumGetIntervalP(column(COL_TIMEOUT)));
	feed->enabled = DatumGetBool(column(COL_ENABLED));
	feed->generation = DatumGetInt64(column(COL_GENERATION));
	feed->suspended = is_elsewhere(column(COL_SYSID), column(COL_DBID));
	feed->start_lsn = DatumGetLSN(column(COL_START_LSN));
	feed->state = column_text(COL_STATE, cxt);
	feed->publication = column_text(COL_PUBLICATION, cxt);
	feed->topic = column_text(COL_TOPIC, cxt);
	ks_feeds_use_envelope(feed, column_text(COL_ENVELOPE, cxt));
	feed->failover = DatumGetBool(column(COL_FAILOVER));
	feed->skip_lsn = DatumGetLSN(column(COL_SKIP_LSN));
	feed->state_lsn = DatumGetLSN(column(COL_STATE_LSN));
	feed->one_by_one = DatumGetLSN(column(COL_ONE_BY_ONE));
	feed->copy_data = DatumGetBool(column(COL_COPY_DATA));
	feed->halted = feed->state && strcmp(feed->state, "halted") == 0;
	return feed;
}

KsFeed *
ks_feeds_get(const char *name, bool missing_ok)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	KsFeed	   *feed = NULL;

	SPI_connect();
	ks_catalog_execute("SELECT " FEED_COLUMNS "FROM kafka_sink.feed_catalog c "
					   "LEFT JOIN kafka_sink.feed_state s ON s.feed OPERATOR(pg_catalog.=) c.feed "
					   "WHERE c.feed OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
	if (SPI_processed == 1)
		feed = feed_from_row(cxt);
	SPI_finish();
	if (feed == NULL && !missing_ok)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" does not exist", name),
				 errhint("The view kafka_sink.feeds lists the feeds; kafka_sink.create_feed() creates one.")));
	return feed;
}

void
ks_feeds_check_owner(const KsFeed *feed)
{
	if (superuser())
		return;
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(feed->owner)) || !has_privs_of_role(GetUserId(), feed->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for feed \"%s\"", feed->name),
				 errdetail("It takes the privileges of the feed's owner.")));
}

List *
ks_feeds_progress_topics(MemoryContext cxt)
{
	List	   *topics = NIL;

	ks_catalog_execute("SELECT DISTINCT c.progress_topic FROM kafka_sink.feed_catalog c", 0, NULL, NULL, NULL);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);

		topics = lappend(topics, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
		MemoryContextSwitchTo(old);
	}
	return topics;
}

bool
ks_feeds_have_progress_in(const char *topic)
{
	return exists("SELECT FROM kafka_sink.feed_catalog c WHERE c.progress_topic OPERATOR(pg_catalog.=) $1", topic);
}

void
ks_feeds_secret(const char *name, uint8 *secret, Size len)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	bytea	   *value;

	SPI_connect();
	ks_catalog_execute("SELECT k.secret FROM kafka_sink.feed_secrets k WHERE k.feed OPERATOR(pg_catalog.=) $1",
					   1, types, values, NULL);
	value = SPI_processed == 1 ? DatumGetByteaPP(column(1)) : NULL;
	if (value == NULL || VARSIZE_ANY_EXHDR(value) != len)
		elog(ERROR, "feed \"%s\" has no secret", name);
	memcpy(secret, VARDATA_ANY(value), len);
	SPI_finish();
}

/* --- what its worker writes --- */

/* Runs a statement with the feed and its id as $1 and $2; returns the rows hit. */
static uint64
execute_for(const KsFeed *feed, const char *sql, int nargs, Oid *types, Datum *values)
{
	uint64		n;

	types[0] = TEXTOID;
	values[0] = CStringGetTextDatum(feed->name);
	types[1] = INT8OID;
	values[1] = Int64GetDatum(feed->id);
	SPI_connect();
	ks_catalog_execute(sql, nargs, types, values, NULL);
	n = SPI_processed;
	SPI_finish();
	return n;
}

bool
ks_feeds_set_started(const KsFeed *feed, XLogRecPtr lsn)
{
	Oid			types[4] = {0, 0, LSNOID, INT8OID};
	Datum		values[4] = {0, 0, LSNGetDatum(lsn), Int64GetDatum(feed->generation)};

	ks_feeds_note_change();
	return execute_for(feed, "UPDATE kafka_sink.feed_catalog c SET start_lsn = $3 "
					   "WHERE c.feed OPERATOR(pg_catalog.=) $1 AND c.id OPERATOR(pg_catalog.=) $2 "
					   "AND c.generation OPERATOR(pg_catalog.=) $4", 4, types, values) == 1;
}

void
ks_feeds_set_progress(const KsFeed *feed, XLogRecPtr lsn, uint32 xid, int64 transactions, int64 records)
{
	Oid			types[6] = {0, 0, LSNOID, INT8OID, INT8OID, INT8OID};
	Datum		values[6] = {0, 0, LSNGetDatum(lsn), Int64GetDatum((int64) xid),
	Int64GetDatum(transactions), Int64GetDatum(records)};

	(void) execute_for(feed, "INSERT INTO kafka_sink.feed_progress AS p (feed, lsn, xid, transactions, records, read_at) "
					   "SELECT c.feed, $3, $4, $5, $6, pg_catalog.clock_timestamp() FROM kafka_sink.feed_catalog c "
					   "WHERE c.feed OPERATOR(pg_catalog.=) $1 AND c.id OPERATOR(pg_catalog.=) $2 FOR KEY SHARE OF c "
					   "ON CONFLICT (feed) DO UPDATE SET lsn = excluded.lsn, xid = excluded.xid, "
					   "transactions = excluded.transactions, records = excluded.records, read_at = excluded.read_at",
					   6, types, values);
}

void
ks_feeds_end_skip(const KsFeed *feed, XLogRecPtr lsn, bool skipped)
{
	Oid			types[3] = {0, 0, LSNOID};
	Datum		values[3] = {0, 0, LSNGetDatum(lsn)};
	char	   *what = psprintf("{\"lsn\": \"%X/%X\"}", LSN_FORMAT_ARGS(lsn));

	if (execute_for(feed, "UPDATE kafka_sink.feed_catalog c SET skip_lsn = NULL "
					"WHERE c.feed OPERATOR(pg_catalog.=) $1 AND c.id OPERATOR(pg_catalog.=) $2 "
					"AND c.skip_lsn OPERATOR(pg_catalog.=) $3", 3, types, values) == 1)
		ks_history_log(feed->name, skipped ? "skipped" : "not_skipped", NULL, NULL,
					   DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(what))));
}

void
ks_feeds_set_state(const char *name, const char *state, const KsStateError *error,
				   XLogRecPtr lsn, XLogRecPtr one_by_one)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, LSNOID, LSNOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1];

	memset(values, 0, sizeof(values));
	memset(nulls, 'n', sizeof(nulls));
	nulls[lengthof(types)] = '\0';
	ks_catalog_set_text(values, nulls, 0, name);
	ks_catalog_set_text(values, nulls, 1, state);
	if (error)
	{
		ks_catalog_set_text(values, nulls, 2, unpack_sql_state(error->sqlstate));
		ks_catalog_set_text(values, nulls, 3, error->message);
		ks_catalog_set_text(values, nulls, 4, error->detail);
		ks_catalog_set_text(values, nulls, 5, error->hint);
		ks_catalog_set_text(values, nulls, 6, error->topic);
		ks_catalog_set_text(values, nulls, 7, error->waits_for);
	}
	values[8] = LSNGetDatum(lsn);
	nulls[8] = XLogRecPtrIsInvalid(lsn) ? 'n' : ' ';
	values[9] = LSNGetDatum(one_by_one);
	nulls[9] = XLogRecPtrIsInvalid(one_by_one) ? 'n' : ' ';
	SPI_connect();
	/* the feed may have been dropped meanwhile: then there is nothing to say */
	ks_catalog_execute("INSERT INTO kafka_sink.feed_state AS s "
					   "(feed, state, since, sqlstate, message, detail, hint, topic, waits_for, lsn, one_by_one) "
					   "SELECT c.feed, $2, pg_catalog.clock_timestamp(), $3, $4, $5, $6, $7, $8, $9, $10 "
					   "FROM kafka_sink.feed_catalog c WHERE c.feed OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF c "
					   "ON CONFLICT (feed) DO UPDATE SET state = excluded.state, "
					   "since = CASE WHEN s.state OPERATOR(pg_catalog.=) excluded.state "
					   "AND COALESCE(s.waits_for, '') OPERATOR(pg_catalog.=) COALESCE(excluded.waits_for, '') THEN s.since ELSE excluded.since END, "
					   "sqlstate = excluded.sqlstate, message = excluded.message, detail = excluded.detail, "
					   "hint = excluded.hint, topic = excluded.topic, waits_for = excluded.waits_for, lsn = excluded.lsn, "
					   "one_by_one = excluded.one_by_one",
					   lengthof(types), types, values, nulls);
	SPI_finish();
}

bool
ks_feeds_halt(const KsFeed *feed, const KsStateError *error, XLogRecPtr lsn)
{
	Oid			types[3] = {0, 0, INT8OID};
	Datum		values[3] = {0, 0, Int64GetDatum(feed->generation)};
	KsStateError halt = *error;

	if (execute_for(feed, "SELECT FROM kafka_sink.feed_catalog c WHERE c.feed OPERATOR(pg_catalog.=) $1 "
					"AND c.id OPERATOR(pg_catalog.=) $2 AND c.generation OPERATOR(pg_catalog.=) $3 FOR SHARE OF c",
					3, types, values) != 1)
		return false;
	/* it waits for nothing but resume() */
	halt.waits_for = NULL;
	ks_feeds_set_state(feed->name, "halted", &halt, lsn, InvalidXLogRecPtr);
	return true;
}

void
ks_feeds_clear_state(const char *name)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};

	SPI_connect();
	ks_catalog_execute("DELETE FROM kafka_sink.feed_state s WHERE s.feed OPERATOR(pg_catalog.=) $1 "
					   "AND s.state OPERATOR(pg_catalog.<>) ALL ('{halted,suspended}'::pg_catalog.text[])",
					   1, types, values, NULL);
	SPI_finish();
}

/* --- emit() --- */

static HTAB *emitters = NULL;
static uint32 emitters_serial = 0;	/* look at the extension at which they were right */

void
ks_feeds_note_change(void)
{
	CacheInvalidateRelcacheByRelid(ks_extension_relation(KS_FEED_CATALOG));
}

/* What is known is forgotten if any feed has been changed since. */
static void
check_emitters(void)
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(KsEmitter)};

	ks_extension_check();
	if (emitters != NULL && emitters_serial != 0 && emitters_serial == ks_extension_serial())
		return;
	if (emitters != NULL)
	{
		HASH_SEQ_STATUS scan;
		KsEmitter  *e;

		hash_seq_init(&scan, emitters);
		while ((e = hash_seq_search(&scan)) != NULL)
		{
			explicit_bzero(e->secret, sizeof(e->secret));
			if (e->roles)
				pfree(e->roles);
			if (e->progress_topics)
				pfree(e->progress_topics);
			(void) hash_search(emitters, e->name, HASH_REMOVE, NULL);
		}
	}
	else
		emitters = hash_create("kafka_sink emitters", 16, &ctl, HASH_ELEM | HASH_STRINGS);
	emitters_serial = ks_extension_serial();
}

/* Texts of an array, one behind the other, and an empty one. */
static char *
join_texts(ArrayType *array)
{
	Datum	   *texts;
	int			n;
	StringInfoData s;
	MemoryContext old;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &texts, NULL, &n);
	old = MemoryContextSwitchTo(TopMemoryContext);
	initStringInfo(&s);
	MemoryContextSwitchTo(old);
	for (int i = 0; i < n; i++)
	{
		char	   *topic = TextDatumGetCString(texts[i]);

		appendBinaryStringInfo(&s, topic, strlen(topic) + 1);
	}
	appendStringInfoChar(&s, '\0');
	return s.data;
}

/* False if there is no such feed. */
static bool
read_emitter(const char *name, KsEmitter *e)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};
	bytea	   *secret;
	Datum	   *roles;
	bool		found;

	PushActiveSnapshot(GetLatestSnapshot());
	SPI_connect();
	ks_catalog_execute("SELECT c.id, c.owner::pg_catalog.oid, c.max_message_bytes, c.start_lsn IS NOT NULL, k.secret, "
					   "ARRAY(SELECT g.role::pg_catalog.oid FROM kafka_sink.feed_grants g "
					   "WHERE g.feed OPERATOR(pg_catalog.=) c.feed), "
					   "ARRAY(SELECT DISTINCT o.progress_topic FROM kafka_sink.feed_catalog o), c.system_identifier, c.database_oid "
					   "FROM kafka_sink.feed_catalog c "
					   "LEFT JOIN kafka_sink.feed_secrets k ON k.feed OPERATOR(pg_catalog.=) c.feed "
					   "WHERE c.feed OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
	found = SPI_processed == 1;
	if (found)
	{
		e->id = DatumGetInt64(column(1));
		e->owner = DatumGetObjectId(column(2));
		e->max_message_bytes = DatumGetInt32(column(3));
		/* (a dump has no secrets: it is made when the feed begins anew) */
		e->started = DatumGetBool(column(4));
		e->suspended = is_elsewhere(column(8), column(9));
		secret = column(5) ? DatumGetByteaPP(column(5)) : NULL;
		if (secret && VARSIZE_ANY_EXHDR(secret) == sizeof(e->secret))
			memcpy(e->secret, VARDATA_ANY(secret), sizeof(e->secret));
		else
			e->started = false;
		deconstruct_array(DatumGetArrayTypeP(column(6)), OIDOID, sizeof(Oid), true, TYPALIGN_INT, &roles, NULL, &e->nroles);
		e->roles = MemoryContextAlloc(TopMemoryContext, Max(e->nroles, 1) * sizeof(Oid));
		for (int i = 0; i < e->nroles; i++)
			e->roles[i] = DatumGetObjectId(roles[i]);
		e->progress_topics = join_texts(DatumGetArrayTypeP(column(7)));
	}
	SPI_finish();
	PopActiveSnapshot();
	return found;
}

/* As of now: roles are granted and revoked without a change of the feed. */
static bool
may_emit(const KsEmitter *e)
{
	Oid			user = GetUserId();

	if (superuser() || has_privs_of_role(user, e->owner))
		return true;
	for (int i = 0; i < e->nroles; i++)
		if (has_privs_of_role(user, e->roles[i]))
			return true;
	return false;
}

const KsEmitter *
ks_feeds_emitter(const char *name)
{
	KsEmitter  *e;
	bool		found;

	check_emitters();
	e = strlen(name) < NAMEDATALEN ? hash_search(emitters, name, HASH_FIND, NULL) : NULL;
	if (e == NULL)
	{
		KsEmitter	read = {0};

		ks_version_check();
		if (strlen(name) >= NAMEDATALEN || !read_emitter(name, &read))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("feed \"%s\" does not exist", name),
					 errhint("The view kafka_sink.feeds lists the feeds; kafka_sink.create_feed() creates one.")));
		e = hash_search(emitters, name, HASH_ENTER, &found);
		memcpy((char *) e + NAMEDATALEN, (char *) &read + NAMEDATALEN, sizeof(KsEmitter) - NAMEDATALEN);
		/* what was read may have been changed meanwhile */
		if (emitters_serial != ks_extension_serial())
			emitters_serial = 0;
	}
	if (!may_emit(e))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to emit to feed \"%s\"", name),
				 errhint("Its owner lets others do so with kafka_sink.grant_emit().")));
	if (e->suspended)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" is suspended", name),
				 errdetail("It is a copy of one of another server or database, which has its replication slot."),
				 errhint("kafka_sink.resume(%s) lets it begin anew here.", quote_literal_cstr(name))));
	if (!e->started)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" does not take messages yet", name),
				 errdetail("It does when its replication slot has been made, after the commit that created it."),
				 errhint("The view kafka_sink.feeds shows what it waits for.")));
	return e;
}

bool
ks_feeds_is_progress_topic(const KsEmitter *e, const char *topic)
{
	for (const char *t = e->progress_topics; *t; t += strlen(t) + 1)
		if (strcmp(t, topic) == 0)
			return true;
	return false;
}
