/*
 * drop_hook.c
 *	  What is dropped that sinks need: their owners, tables and servers.
 *
 * Rows have no dependencies that the server knows of.  So a command notes what it
 * drops of these kinds, and when it has run, it is said which sinks need it, as
 * far as they are in this database: with an error if it is their owner, else with
 * a warning, for a sink without its table halts and can be given another.  The
 * question is asked after the command because while it runs, our own tables may be
 * among what is being dropped.
 *
 * Schemas are a server's, and are found by its name.  They go with it, and are renamed
 * with it; one that is new has none, whatever was left by others of its name (a drop
 * does not see what is not committed).
 *
 * Beside that, a database's supervisor is told that a table is gone.
 * A sink whose target is dropped is to halt at once, and not with the next
 * record.  Databases drop tables all the time, most of them temporary: so the
 * supervisor keeps a bit for each table that sinks write to, by a hash of its
 * OID, a transaction collects the bits of what it drops, and at its commit the
 * supervisor is woken if they have one in common.  A bit that is shared by
 * chance costs a look at the catalog.
 *
 * The bits are compared after the commit can be seen.  A supervisor that is
 * about to read the catalog sets all of its bits before, so a drop that its
 * snapshot does not see yet finds its bit.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "catalog/extension.h"
#include "catalog/needs.h"
#include "catalog/schemas.h"
#include "process/drop_hook.h"
#include "process/shmem_int.h"

static object_access_hook_type prev_hook = NULL;
static uint64 dropped[KS_TARGET_BITS / 64];
static bool any_dropped = false;

/* What this transaction's commands have dropped, and nobody has told yet. */
typedef struct Dropped
{
	Oid			classid;
	Oid			oid;
	char	   *name;
} Dropped;

static List *untold = NIL;		/* of Dropped *, in TopTransactionContext */

/* A server that this transaction's commands have made or altered. */
typedef struct Server
{
	Oid			oid;
	char	   *name;			/* before; NULL: it is new */
} Server;

static List *servers = NIL;		/* of Server *, in TopTransactionContext */

/* The name of what sinks can need, NULL: they cannot. */
static char *
name_of_needed(Oid classid, Oid oid)
{
	switch (classid)
	{
		case AuthIdRelationId:
			return GetUserNameFromId(oid, true);
		case ForeignServerRelationId:
			return GetForeignServer(oid)->servername;
		case RelationRelationId:
			if ((get_rel_relkind(oid) != RELKIND_RELATION && get_rel_relkind(oid) != RELKIND_PARTITIONED_TABLE) ||
				get_rel_persistence(oid) == RELPERSISTENCE_TEMP)
				return NULL;
			return quote_qualified_identifier(get_namespace_name(get_rel_namespace(oid)), get_rel_name(oid));
		default:
			return NULL;
	}
}

static void
note_dropped(Oid classid, Oid oid)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	char	   *name = name_of_needed(classid, oid);

	if (name)
	{
		Dropped    *d = palloc(sizeof(Dropped));

		d->classid = classid;
		d->oid = oid;
		d->name = name;
		untold = lappend(untold, d);
	}
	MemoryContextSwitchTo(old);
}

/* What an alteration makes of its name cannot be seen yet. */
static void
note_server(Oid oid, bool is_new)
{
	MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);
	Server	   *server = palloc(sizeof(Server));

	server->oid = oid;
	server->name = is_new ? NULL : GetForeignServer(oid)->servername;
	servers = lappend(servers, server);
	MemoryContextSwitchTo(old);
}

static void
object_access(ObjectAccessType access, Oid classid, Oid objid, int subid, void *arg)
{
	if (prev_hook)
		prev_hook(access, classid, objid, subid, arg);
	if (access == OAT_DROP && subid == 0)
		note_dropped(classid, objid);
	if (classid == ForeignServerRelationId && (access == OAT_POST_CREATE || access == OAT_POST_ALTER))
		note_server(objid, access == OAT_POST_CREATE);
	if (access == OAT_DROP && classid == RelationRelationId && subid == 0)
	{
		int			bit = ks_shmem_target_bit(objid);

		dropped[bit / 64] |= UINT64CONST(1) << (bit % 64);
		any_dropped = true;
	}
}

/* Does the supervisor care for any of these? */
static bool
is_watched(const uint64 *bits)
{
	KsDatabase *db;
	bool		found = false;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	db = ks_shmem_database(MyDatabaseId, false);
	if (db && db->supervisor != 0)
		for (int i = 0; i < KS_TARGET_BITS / 64 && !found; i++)
			found = (db->targets[i] & bits[i]) != 0;
	LWLockRelease(ks_shared->lock);
	return found;
}

/* The drop may have been rolled back by whoever caught an error of its command. */
static bool
is_gone(const Dropped *d)
{
	return !SearchSysCacheExists1(d->classid == AuthIdRelationId ? AUTHOID :
								  d->classid == ForeignServerRelationId ? FOREIGNSERVEROID : RELOID,
								  ObjectIdGetDatum(d->oid));
}

static void
refuse_owner(const Dropped *d)
{
	char	   *sinks = ks_needs_of_owner(d->oid);

	if (sinks)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("role \"%s\" cannot be dropped because some objects depend on it", d->name),
				 errdetail("It owns the sinks and feeds %s.", sinks),
				 errhint("REASSIGN OWNED BY gives them to another role, DROP OWNED BY drops them.")));
}

static void
warn_of_server(const Dropped *d)
{
	char	   *sinks = ks_needs_of_server(d->name);

	if (sinks)
		ereport(WARNING,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("server \"%s\" is dropped, which sinks or feeds use", d->name),
				 errdetail("These are %s.", sinks),
				 errhint("They wait for a server of that name, or for another by kafka_sink.alter_sink() or alter_feed().")));
}

static void
warn_of_tables(const List *dropped)
{
	List	   *relids = NIL;
	ListCell   *lc,
			   *lc2;

	foreach(lc, dropped)
		if (((Dropped *) lfirst(lc))->classid == RelationRelationId)
			relids = lappend_oid(relids, ((Dropped *) lfirst(lc))->oid);
	foreach(lc, ks_needs_of_tables(relids))
	{
		const KsNeededTable *t = lfirst(lc);

		foreach(lc2, dropped)
		{
			const Dropped *d = lfirst(lc2);

			if (d->classid == RelationRelationId && d->oid == t->relid)
				ereport(WARNING,
						(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
						 errmsg("table %s is dropped, to which sinks write", d->name),
						 errdetail("These are %s, which halt.", t->sinks),
						 errhint("kafka_sink.alter_sink() and alter_topic() name another table, kafka_sink.drop_sink() drops a sink.")));
		}
	}
}

/* With its schemas. */
static void
follow_servers(void)
{
	List	   *list = servers;
	ListCell   *lc;

	servers = NIL;
	if (list == NIL || !ks_extension_is_sound())
		return;
	CommandCounterIncrement();
	foreach(lc, list)
	{
		const Server *was = lfirst(lc);
		const ForeignServer *is = GetForeignServerExtended(was->oid, FSV_MISSING_OK);

		/* what has become of it may have been rolled back */
		if (is && was->name == NULL)
			ks_schemas_forget(is->servername);
		else if (is && strcmp(is->servername, was->name) != 0)
			ks_schemas_rename(was->name, is->servername);
	}
}

void
ks_drop_hook_tell(void)
{
	List	   *dropped = NIL;
	ListCell   *lc;

	follow_servers();
	if (untold == NIL)
		return;
	foreach(lc, untold)
		if (is_gone(lfirst(lc)))
			dropped = lappend(dropped, lfirst(lc));
	untold = NIL;
	/* what has become of our tables is no concern of whoever drops something else */
	if (dropped == NIL || !ks_extension_is_sound())
		return;
	foreach(lc, dropped)
	{
		const Dropped *d = lfirst(lc);

		if (d->classid == AuthIdRelationId)
			refuse_owner(d);
		else if (d->classid == ForeignServerRelationId)
		{
			warn_of_server(d);
			ks_schemas_forget(d->name);
		}
	}
	warn_of_tables(dropped);
}

static void
xact_callback(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		untold = servers = NIL;
	if (!any_dropped || (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT &&
						 event != XACT_EVENT_PREPARE))
		return;
	if (event == XACT_EVENT_COMMIT && ks_shmem_available() && is_watched(dropped))
		ks_shmem_mark_changed(MyDatabaseId);
	memset(dropped, 0, sizeof(dropped));
	any_dropped = false;
}

void
ks_drop_hook_prepared(void)
{
	uint64		all[KS_TARGET_BITS / 64];

	memset(all, 0xff, sizeof(all));
	if (is_watched(all))
		ks_shmem_mark_changed(MyDatabaseId);
}

void
ks_drop_hook_init(void)
{
	prev_hook = object_access_hook;
	object_access_hook = object_access;
	RegisterXactCallback(xact_callback, NULL);
}
