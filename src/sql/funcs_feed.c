/*
 * funcs_feed.c
 *	  SQL functions that define feeds.
 *
 * They are what those of sinks are: each change is one of rows, seen by workers at
 * the commit.  A feed's replication slot is no row: its worker makes it after the
 * commit, and the supervisor drops it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "replication/message.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/guc.h"
#include "catalog/feed_copies.h"
#include "catalog/feeds.h"
#include "catalog/history.h"
#include "catalog/limits.h"
#include "catalog/settings.h"
#include "catalog/version.h"
#include "feed/message.h"
#include "feed/rows.h"
#include "feed/wal_slot.h"
#include "kafka/options.h"
#include "process/shmem.h"
#include "sql/arguments.h"
#include "sql/define.h"
#include "sql/feeds.h"
#include "sql/given.h"
#include "sql/writers.h"

PG_FUNCTION_INFO_V1(kafka_sink_create_feed);
PG_FUNCTION_INFO_V1(kafka_sink_alter_feed);
PG_FUNCTION_INFO_V1(kafka_sink_drop_feed);
PG_FUNCTION_INFO_V1(kafka_sink_grant_emit);
PG_FUNCTION_INFO_V1(kafka_sink_revoke_emit);

/* The arguments behind the settings. */
enum
{
	CREATE_ENABLED = KS_FEED_SETTINGS + 1, CREATE_SETTINGS, CREATE_IF_NOT_EXISTS
};
enum
{
	ALTER_RESET = KS_FEED_SETTINGS + 1, ALTER_OWNER, ALTER_SETTINGS
};

/* --- what is checked --- */

static void
check_login(const KsFeed *feed)
{
	HeapTuple	tup = SearchSysCache1(AUTHOID, ObjectIdGetDatum(feed->owner));
	bool		login = HeapTupleIsValid(tup) && ((Form_pg_authid) GETSTRUCT(tup))->rolcanlogin;

	if (!HeapTupleIsValid(tup))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the owner of feed \"%s\" does not exist any more", feed->name),
				 errhint("Give it to another role with kafka_sink.alter_feed(..., owner => ...), or drop it.")));
	ReleaseSysCache(tup);
	if (!PG17_GE && !login)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
				 errmsg("role \"%s\" cannot log in and cannot own a feed", GetUserNameFromId(feed->owner, false)),
				 errdetail("Workers run as the feed's owner; before PostgreSQL 17 that needs LOGIN."),
				 errhint("ALTER ROLE %s LOGIN.", quote_identifier(GetUserNameFromId(feed->owner, false)))));
}

static void
check_publication(const char *publication)
{
	if (SearchSysCacheExists1(PUBLICATIONNAME, CStringGetDatum(publication)))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("publication \"%s\" does not exist", publication),
			 errhint("CREATE PUBLICATION %s FOR TABLE ...; it must be there before what is to be published is written.",
					 quote_identifier(publication))));
}

/* As its worker will find it. */
static void
check_definition(const char *name)
{
	KsFeed	   *feed = ks_feeds_get(name, false);

	check_login(feed);
	ks_catalog_check_topic(feed->progress_topic);
	ks_rows_check_topic(feed->topic);
	if (feed->publication)
	{
		check_publication(feed->publication);
		if (ks_feeds_have_progress_in(feed->topic))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("tables cannot be published to topic \"%s\"", feed->topic),
					 errdetail("It says how far feeds are.")));
	}
	if (wal_level < WAL_LEVEL_LOGICAL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feeds need wal_level logical"),
				 errdetail("What transactions commit is read from the WAL."),
				 errhint("Set wal_level = logical in postgresql.conf, and restart the server.")));
	if (feed->failover && !PG17_GE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("replication slots do not follow to standbys before PostgreSQL 17"),
				 errhint("Without \"failover\" a feed halts after a failover, and kafka_sink.accept_gap() lets it go on.")));
	(void) ks_options_load(feed->server, feed->owner);
}

/* What is there before it begins can be read. */
static void
check_copies(const char *name)
{
	KsFeed	   *feed = ks_feeds_get(name, false);

	if (!feed->copy_data)
		return;
	if (feed->publication == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"copy_data\" needs a publication"),
				 errdetail("It is the rows of the publication's tables that are copied.")));
	ks_copy_check(feed->publication);
}

/* --- what is changed --- */

void
ks_feeds_bump_generation(const KsFeed *feed)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed->name)};
	const KsFeed *now;

	ks_define_change("UPDATE kafka_sink.feed_catalog c SET generation = c.generation OPERATOR(pg_catalog.+) 1 "
					 "WHERE c.feed OPERATOR(pg_catalog.=) $1", 1, types, values, NULL);
	now = ks_feeds_get(feed->name, false);
	if (now->id != feed->id || now->owner != feed->owner)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 now->id != feed->id ? errmsg("feed \"%s\" was dropped and created again meanwhile", feed->name) :
				 errmsg("feed \"%s\" was given to another role meanwhile", feed->name),
				 errhint("Try again, if it is to be of this one.")));
	ks_feeds_note_change();
}

/* One that has none: it is new, or restored from a dump. */
static void
make_secret(const char *feed)
{
	Oid			types[] = {TEXTOID, BYTEAOID};
	Datum		values[2];
	bytea	   *secret = palloc(VARHDRSZ + KS_MESSAGE_SECRET_LEN);

	SET_VARSIZE(secret, VARHDRSZ + KS_MESSAGE_SECRET_LEN);
	if (!pg_strong_random(VARDATA(secret), KS_MESSAGE_SECRET_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	values[0] = CStringGetTextDatum(feed);
	values[1] = PointerGetDatum(secret);
	ks_define_change("INSERT INTO kafka_sink.feed_secrets (feed, secret) VALUES ($1, $2) ON CONFLICT (feed) DO NOTHING",
					 lengthof(types), types, values, NULL);
	explicit_bzero(secret, VARHDRSZ + KS_MESSAGE_SECRET_LEN);
}

/*
 * Its worker may be far behind: what it has still to publish is of the former settings,
 * whose publication may not be there any more, and the new one was not there yet.  So the
 * WAL tells where they change.
 */
static void
note_definition(const KsFeed *before, const KsFeed *feed)
{
	KsProducerRecord rec = {
		.topic = feed->topic,
		.part = KS_MESSAGE_DEFINES,
		.key = feed->publication,
		.value = feed->envelope
	};
	uint8		secret[KS_MESSAGE_SECRET_LEN];
	KsMessageKey key;
	char	   *data;
	Size		len;

	if (feed->publication == NULL ||
		(strcmp(feed->publication, before->publication) == 0 && strcmp(feed->topic, before->topic) == 0 &&
		 strcmp(feed->envelope, before->envelope) == 0))
		return;
	rec.keylen = strlen(rec.key);
	rec.valuelen = strlen(rec.value);
	ks_feeds_secret(feed->name, secret, sizeof(secret));
	ks_message_make_key(secret, &key);
	data = ks_message_write(&rec, feed->id, GetTopFullTransactionId(), &key, &len);
	explicit_bzero(secret, sizeof(secret));
	explicit_bzero(&key, sizeof(key));
	(void) ks_log_message(KS_MESSAGE_PREFIX, data, len);
	pfree(data);
}

static int64
new_id(void)
{
	uint64		id;

	if (!pg_strong_random(&id, sizeof(id)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	return (int64) (id >> 1);
}

static void
read_settings(FunctionCallInfo fcinfo, KsGiven *given)
{
	ks_given_init(given, KS_FEED_SETTINGS, ks_feed_setting);
	ks_given_arguments(given, KS_FEED_SETTINGS, fcinfo, 1);
	for (int i = 0; i < KS_FEED_SETTINGS; i++)
		if (!given[i].given && given[i].setting->def)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("setting \"%s\" must not be null", given[i].setting->name),
					 errhint("Leave it out for its default, %s.", quote_literal_cstr(given[i].setting->def))));
	ks_given_json(given, KS_FEED_SETTINGS, fcinfo, CREATE_SETTINGS, true);
	/* the first one is the server */
	if (!given[0].given)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a feed needs a server"),
				 errhint("Write server => '...', the name of a foreign server of the foreign-data wrapper kafka_sink.")));
}

Datum
kafka_sink_create_feed(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsGiven		given[KS_FEED_SETTINGS];
	Oid			types[KS_FEED_SETTINGS + 7] = {TEXTOID, INT8OID, OIDOID, INT8OID, OIDOID, BOOLOID, INT8OID};
	Datum		values[KS_FEED_SETTINGS + 7];
	char		nulls[KS_FEED_SETTINGS + 8];
	StringInfoData sql;
	int			n;

	ks_version_check();
	ks_catalog_check_name("feed", name);
	ks_refuse_null(fcinfo, CREATE_IF_NOT_EXISTS);
	ks_feeds_take_name(name, true);
	if (ks_feeds_exists(name))
	{
		ereport(PG_GETARG_BOOL(CREATE_IF_NOT_EXISTS) ? NOTICE : ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg(PG_GETARG_BOOL(CREATE_IF_NOT_EXISTS) ? "feed \"%s\" already exists, skipping" :
						"feed \"%s\" already exists", name)));
		PG_RETURN_VOID();
	}
	read_settings(fcinfo, given);
	ks_limits_check_feeds(GetUserId());

	initStringInfo(&sql);
	appendStringInfoString(&sql, "INSERT INTO kafka_sink.feed_catalog "
						   "(feed, id, owner, system_identifier, database_oid, enabled, generation");
	values[0] = CStringGetTextDatum(name);
	values[1] = Int64GetDatum(new_id());
	values[2] = ObjectIdGetDatum(GetUserId());
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	values[4] = ObjectIdGetDatum(MyDatabaseId);
	values[5] = BoolGetDatum(PG_ARGISNULL(CREATE_ENABLED) || PG_GETARG_BOOL(CREATE_ENABLED));
	/* not one that the worker of a feed of the same name, dropped before, runs by */
	values[6] = Int64GetDatum(GetCurrentTimestamp());
	n = ks_given_insert(given, KS_FEED_SETTINGS, &sql, 7, types, values, nulls);
	ks_define_change(sql.data, n, types, values, nulls);
	make_secret(name);
	check_definition(name);
	check_copies(name);
	ks_feeds_note_change();
	ks_history_log_change(name, "create_feed", NULL, NULL);
	if (!ks_shmem_available())
		ereport(WARNING,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no background worker will publish for feed \"%s\"", name),
				 errdetail("kafka_sink is not in shared_preload_libraries."),
				 errhint("Add it and restart the server.")));
	PG_RETURN_VOID();
}

Datum
kafka_sink_alter_feed(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsFeed	   *feed = ks_feeds_get(name, false);
	KsGiven		given[KS_FEED_SETTINGS];
	Oid			owner = PG_ARGISNULL(ALTER_OWNER) ? InvalidOid : PG_GETARG_OID(ALTER_OWNER);
	Jsonb	   *before;
	Oid			types[KS_FEED_SETTINGS + 2];
	Datum		values[KS_FEED_SETTINGS + 2];
	StringInfoData sql;
	int			n;

	ks_feeds_check_owner(feed);
	ks_given_init(given, KS_FEED_SETTINGS, ks_feed_setting);
	ks_given_refuse_nulls(given, KS_FEED_SETTINGS, fcinfo, 1);
	if (ks_null_is_given(fcinfo, ALTER_OWNER))
		ks_refuse_null(fcinfo, ALTER_OWNER);
	ks_given_arguments(given, KS_FEED_SETTINGS, fcinfo, 1);
	ks_given_reset(given, KS_FEED_SETTINGS, fcinfo, ALTER_RESET);
	ks_given_json(given, KS_FEED_SETTINGS, fcinfo, ALTER_SETTINGS, false);
	if (!ks_given_any(given, KS_FEED_SETTINGS) && !OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("nothing is to be changed of feed \"%s\"", name),
				 errhint("Give settings by their names, such as batch_records => 1000; reset => '{batch_records}' sets one to its default.")));
	if (given[0].reset)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a feed needs a server")));
	/* the second one is the publication: slots are made for tables, or without */
	if ((given[1].given || given[1].reset) && given[1].given != (feed->publication != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 feed->publication ? errmsg("a feed of tables cannot become one of messages alone") :
				 errmsg("a feed of messages alone cannot become one of tables"),
				 errdetail("Its replication slot is made for the one or the other."),
				 errhint("Create another feed.")));
	if (OidIsValid(owner))
	{
		ks_define_check_new_owner(owner, "create_feed");
		if (owner != feed->owner)
			ks_limits_check_feeds(owner);
	}
	/* what commits behind this is published by the new one; before anything is locked */
	if (given[1].given && feed->start_lsn != 0 && !feed->suspended &&
		strcmp(TextDatumGetCString(given[1].value), feed->publication) != 0)
		ks_wait_for_writers_before(TextDatumGetCString(given[1].value));
	ks_feeds_bump_generation(feed);
	/* as it is now that nobody else can change it; and rights may have gone while we waited */
	feed = ks_feeds_get(name, false);
	ks_feeds_check_owner(feed);
	before = ks_history_definition(name, NULL);
	types[0] = TEXTOID;
	values[0] = CStringGetTextDatum(name);
	initStringInfo(&sql);
	appendStringInfoString(&sql, "UPDATE kafka_sink.feed_catalog c SET generation = c.generation");
	n = ks_given_assign(given, KS_FEED_SETTINGS, &sql, 1, types, values);
	if (OidIsValid(owner))
	{
		types[n] = REGROLEOID;
		values[n] = ObjectIdGetDatum(owner);
		appendStringInfo(&sql, ", owner = $%d", ++n);
	}
	appendStringInfoString(&sql, " WHERE c.feed OPERATOR(pg_catalog.=) $1");
	ks_define_change(sql.data, n, types, values, NULL);
	check_definition(name);
	note_definition(feed, ks_feeds_get(name, false));
	/* what has joined the publication since is the worker's business */
	if (given[1].given || ks_given_find(given, KS_FEED_SETTINGS, "copy_data", "settings")->given)
		check_copies(name);
	if (OidIsValid(owner))
		ks_history_follow(name, name, owner);
	ks_history_log_change(name, "alter_feed", NULL, before);
	PG_RETURN_VOID();
}

/* The supervisor drops it, if there is one; else it keeps WAL until the disk is full. */
static void
warn_of_slot(const KsFeed *feed)
{
	char	   *slot = ks_wal_slot_name(feed->id);
	KsSlotInfo	info;

	if (ks_shmem_available() && ks_guc_enabled)
		return;
	ks_wal_read_slot(slot, &info);
	if (info.kind == KS_SLOT_IS_MISSING)
		return;
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("replication slot \"%s\" of feed \"%s\" stays, and keeps WAL", slot, feed->name),
			 errdetail(ks_shmem_available() ? "kafka_sink.enabled is off: nobody drops it." :
					   "kafka_sink is not in shared_preload_libraries: nobody drops it."),
			 errhint("SELECT pg_drop_replication_slot(%s);", quote_literal_cstr(slot))));
}

Datum
kafka_sink_drop_feed(PG_FUNCTION_ARGS)
{
	char	   *name = ks_text_argument(fcinfo, 0);
	KsFeed	   *feed;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {PG_GETARG_DATUM(0)};

	ks_version_check();
	ks_refuse_null(fcinfo, 1);
	feed = ks_feeds_get(name, PG_GETARG_BOOL(1));
	if (feed == NULL)
	{
		ereport(NOTICE,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("feed \"%s\" does not exist, skipping", name)));
		PG_RETURN_VOID();
	}
	ks_feeds_check_owner(feed);
	ks_feeds_bump_generation(feed);
	ks_history_log(name, "drop_feed", NULL, ks_history_definition(name, NULL), NULL);
	ks_define_change("DELETE FROM kafka_sink.feed_catalog c WHERE c.feed OPERATOR(pg_catalog.=) $1",
					 1, types, values, NULL);
	warn_of_slot(feed);
	PG_RETURN_VOID();
}

/* --- who may emit --- */

/* {"role": name} */
static Jsonb *
named_role(Oid role)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, "{\"role\": ");
	escape_json(&s, GetUserNameFromId(role, false));
	appendStringInfoChar(&s, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(s.data)));
}

static void
change_grant(FunctionCallInfo fcinfo, const char *sql, bool grant)
{
	KsFeed	   *feed = ks_feeds_get(ks_text_argument(fcinfo, 0), false);
	Oid			types[] = {TEXTOID, REGROLEOID};
	Datum		values[2];
	Oid			role;

	ks_refuse_null(fcinfo, 1);
	role = PG_GETARG_OID(1);
	ks_feeds_check_owner(feed);
	if (!SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(role)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role with OID %u does not exist", role)));
	values[0] = CStringGetTextDatum(feed->name);
	values[1] = ObjectIdGetDatum(role);
	/* the worker need not hear of it */
	if (ks_define_change(sql, lengthof(types), types, values, NULL) == 0)
		return;
	ks_feeds_note_change();
	ks_history_log(feed->name, grant ? "grant_emit" : "revoke_emit", NULL,
				   grant ? NULL : named_role(role), grant ? named_role(role) : NULL);
}

Datum
kafka_sink_grant_emit(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, "INSERT INTO kafka_sink.feed_grants (feed, role) VALUES ($1, $2) ON CONFLICT (feed, role) DO NOTHING", true);
	PG_RETURN_VOID();
}

Datum
kafka_sink_revoke_emit(PG_FUNCTION_ARGS)
{
	change_grant(fcinfo, "DELETE FROM kafka_sink.feed_grants g WHERE g.feed OPERATOR(pg_catalog.=) $1 "
				 "AND g.role OPERATOR(pg_catalog.=) $2", false);
	PG_RETURN_VOID();
}

/* --- pause(), resume() and accept_gap(), of a name that is a feed's --- */

bool
ks_feeds_pause(const char *name)
{
	KsFeed	   *feed = ks_feeds_get(name, true);
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(name)};

	if (feed == NULL)
		return false;
	ks_feeds_check_owner(feed);
	if (!feed->enabled)
		return true;
	ks_feeds_bump_generation(feed);
	ks_define_change("UPDATE kafka_sink.feed_catalog c SET enabled = false "
					 "WHERE c.feed OPERATOR(pg_catalog.=) $1", lengthof(types), types, values, NULL);
	ks_history_log(name, "pause", NULL, NULL, NULL);
	return true;
}

/* 'anew': it begins where the server is now, with a slot that is to be made. */
static void
let_run(const KsFeed *feed, bool anew)
{
	Oid			types[] = {TEXTOID, INT8OID, OIDOID, BOOLOID};
	Datum		values[] = {CStringGetTextDatum(feed->name), Int64GetDatum((int64) GetSystemIdentifier()),
	ObjectIdGetDatum(MyDatabaseId), BoolGetDatum(anew)};

	ks_feeds_bump_generation(feed);
	ks_define_change("DELETE FROM kafka_sink.feed_state s WHERE s.feed OPERATOR(pg_catalog.=) $1 "
					 "AND s.state OPERATOR(pg_catalog.<>) 'running'", 1, types, values, NULL);
	ks_define_change("UPDATE kafka_sink.feed_catalog c SET enabled = true, system_identifier = $2, database_oid = $3, "
					 "start_lsn = CASE WHEN $4 THEN NULL ELSE c.start_lsn END, "
					 "skip_lsn = CASE WHEN $4 THEN NULL ELSE c.skip_lsn END "
					 "WHERE c.feed OPERATOR(pg_catalog.=) $1", lengthof(types), types, values, NULL);
	/* what has been copied may be out of date by now */
	if (anew)
		ks_feed_copies_forget(feed->name);
	make_secret(feed->name);
}

bool
ks_feeds_resume(const char *name)
{
	KsFeed	   *feed = ks_feeds_get(name, true);

	if (feed == NULL)
		return false;
	ks_feeds_check_owner(feed);
	/* of a copy, nothing is here but the definition */
	let_run(feed, feed->suspended);
	ks_history_log(name, "resume", NULL, NULL, NULL);
	return true;
}

Jsonb *
ks_feeds_describe_stop(const KsFeed *feed)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {CStringGetTextDatum(feed->name)};
	Jsonb	   *result;
	bool		isnull;

	SPI_connect();
	ks_catalog_execute("SELECT pg_catalog.jsonb_build_object('start_lsn', c.start_lsn, 'message', s.message, "
					   "'last_read', p.lsn, 'lsn', s.lsn) "
					   "FROM kafka_sink.feed_catalog c "
					   "LEFT JOIN kafka_sink.feed_state s ON s.feed OPERATOR(pg_catalog.=) c.feed "
					   "LEFT JOIN kafka_sink.feed_progress p ON p.feed OPERATOR(pg_catalog.=) c.feed "
					   "WHERE c.feed OPERATOR(pg_catalog.=) $1", lengthof(types), types, values, NULL);
	result = DatumGetJsonbP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	result = (Jsonb *) memcpy(MemoryContextAlloc(cxt, VARSIZE(result)), result, VARSIZE(result));
	SPI_finish();
	return result;
}

bool
ks_feeds_accept_gap(const char *name)
{
	KsFeed	   *feed = ks_feeds_get(name, true);
	Jsonb	   *gap;

	if (feed == NULL)
		return false;
	ks_feeds_check_owner(feed);
	if (!feed->halted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("feed \"%s\" has not halted", name),
				 errdetail("Nothing of it is known to be missing."),
				 errhint("The view kafka_sink.feeds shows its state.")));
	gap = ks_feeds_describe_stop(feed);
	let_run(feed, true);
	ks_history_log(name, "accept_gap", NULL, gap, NULL);
	return true;
}
