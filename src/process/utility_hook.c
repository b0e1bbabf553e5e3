/*
 * utility_hook.c
 *	  Commands that need a database without our processes.
 *
 * DROP DATABASE and its like fail while somebody is connected, and the server
 * waits for 5 seconds only.  So before such a command, once it is clear that
 * the caller may run it, this database's supervisor and workers are made to
 * leave, and are kept away until the transaction ends, however it ends.  They
 * leave before the command takes its locks, so nothing can wait for itself.
 *
 * Statements that hold passwords run as secrets.c says; what sinks need of what a
 * command drops is told by drop_hook.c.
 */
#include "postgres.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/user.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "catalog/needs.h"
#include "feed/wal_slot.h"
#include "process/drop_hook.h"
#include "process/secrets.h"
#include "process/shmem_int.h"
#include "process/utility_hook.h"

#define LEAVE_TIMEOUT_MS	4000
#define ASK_AGAIN_MS		500

static ProcessUtility_hook_type prev_hook = NULL;

/* Databases blocked by this transaction; in TopMemoryContext. */
static List *blocked = NIL;

/* Databases that this transaction has created, or let take connections: they may hold sinks. */
static List *opened = NIL;

/* Roles that own sinks may have come, gone, or changed. */
static bool roles_changed = false;

/* A server, a user mapping, or who may connect here has changed: the database's supervisor looks. */
static bool connections_changed = false;

static void
remember(List **list, Oid dbid)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	*list = lappend_oid(*list, dbid);
	MemoryContextSwitchTo(old);
}

static void
unblock_all(void)
{
	ListCell   *lc;

	foreach(lc, blocked)
	{
		KsDatabase *db;
		pid_t		launcher = 0;

		LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
		db = ks_shmem_database(lfirst_oid(lc), false);
		if (db && db->blockers > 0 && --db->blockers == 0 && db->state == KS_DATABASE_BLOCKED)
		{
			/* of one that is leaving, the end makes it due */
			db->next_start = 0;
			ks_shmem_move_database(db, KS_DATABASE_DUE);
			launcher = ks_shared->launcher;
		}
		LWLockRelease(ks_shared->lock);
		ks_shmem_wake(launcher);
	}
	list_free(blocked);
	blocked = NIL;
}

static void
xact_callback(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_PRE_PREPARE && blocked != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot PREPARE a transaction that keeps kafka_sink's workers away"),
				 errhint("COMMIT it instead.")));
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT)
		return;
	unblock_all();
	foreach(lc, opened)
		if (event == XACT_EVENT_COMMIT)
		{
			ks_shmem_mark_changed(lfirst_oid(lc));
			ks_shmem_mark_connections_changed(lfirst_oid(lc));
		}
	list_free(opened);
	opened = NIL;
	if (event == XACT_EVENT_COMMIT && roles_changed)
		ks_shmem_mark_roles_changed();
	if (event == XACT_EVENT_COMMIT && connections_changed)
		ks_shmem_mark_connections_changed(MyDatabaseId);
	roles_changed = connections_changed = false;
}

/* Has the database any of our processes?  With 'ask', asks them to leave. */
static bool
has_processes(Oid dbid, bool ask)
{
	KsDatabase *db;
	bool		any = false;

	LWLockAcquire(ks_shared->lock, LW_SHARED);
	db = ks_shmem_database(dbid, false);
	if (db && db->supervisor != 0)
	{
		any = true;
		if (ask)
			kill(db->supervisor, SIGTERM);
	}
	if (db && db->watcher != 0)
	{
		any = true;
		if (ask)
			kill(db->watcher, SIGTERM);
	}
	for (int i = 0; i < ks_shared->nworkers && (ask || !any); i++)
	{
		KsWorkerSlot *slot = &ks_worker_slots[i];

		/* one that comes yet sees that it may not */
		if (!ks_slot_is_alive(slot) || slot->dbid != dbid || slot->pid == 0)
			continue;
		any = true;
		if (ask)
			kill(slot->pid, SIGTERM);
	}
	LWLockRelease(ks_shared->lock);
	/* a feed's process lets go of its slot a little later than of its place here */
	return any || ks_wal_any_slot_is_held(dbid);
}

/* Nobody new may come; false if there is no entry, and so nobody. */
static bool
move_blocked(Oid dbid)
{
	KsDatabase *db;

	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	db = ks_shmem_database(dbid, true);
	if (db)
	{
		db->blockers++;
		if (db->state == KS_DATABASE_VISITING || db->state == KS_DATABASE_SETTLED)
			ks_shmem_move_database(db, KS_DATABASE_LEAVING);
		else if (db->state != KS_DATABASE_LEAVING && db->state != KS_DATABASE_BLOCKED)
			ks_shmem_move_database(db, KS_DATABASE_BLOCKED);
	}
	LWLockRelease(ks_shared->lock);
	return db != NULL;
}

static void
block(Oid dbid)
{
	TimestampTz until;
	TimestampTz ask_again = 0;

	if (list_member_oid(blocked, dbid))
		return;
	remember(&blocked, dbid);
	if (!move_blocked(dbid))
	{
		blocked = list_delete_oid(blocked, dbid);
		return;
	}
	until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), LEAVE_TIMEOUT_MS);
	ConditionVariablePrepareToSleep(&ks_shared->process_exited);
	for (;;)
	{
		TimestampTz now = GetCurrentTimestamp();
		bool		ask = now >= ask_again;

		/* each end of many wakes us: asking again and again would slow them */
		if (!has_processes(dbid, ask) || now >= until)
			break;
		if (ask)
			ask_again = TimestampTzPlusMilliseconds(now, ASK_AGAIN_MS);
		(void) ConditionVariableTimedSleep(&ks_shared->process_exited, 100, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	/* who was parked is found again by its state, if the database stays */
	ks_shmem_unpark_all(dbid);
}

/* As have_createdb_privilege(), which not all minor releases export. */
static bool
may_create_databases(void)
{
	HeapTuple	tup = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
	bool		result;

	if (!HeapTupleIsValid(tup))
		return false;
	result = superuser() || ((Form_pg_authid) GETSTRUCT(tup))->rolcreatedb;
	ReleaseSysCache(tup);
	return result;
}

static bool
may_copy_database(Oid dbid)
{
	HeapTuple	tup = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(dbid));
	bool		template;

	if (!HeapTupleIsValid(tup))
		return false;
	template = ((Form_pg_database) GETSTRUCT(tup))->datistemplate;
	ReleaseSysCache(tup);
	return may_create_databases() && (template || ks_database_ownercheck(dbid, GetUserId()));
}

static void
block_if_owner(const char *dbname)
{
	Oid			dbid = get_database_oid(dbname, true);

	if (OidIsValid(dbid) && dbid != MyDatabaseId && ks_database_ownercheck(dbid, GetUserId()))
		block(dbid);
}

static void
block_for_extension(void)
{
	Oid			ext = get_extension_oid("kafka_sink", true);

	if (OidIsValid(ext) && ks_extension_ownercheck(ext, GetUserId()))
		block(MyDatabaseId);
}

static bool
has_option(const List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
		if (strcmp(((DefElem *) lfirst(lc))->defname, name) == 0)
			return true;
	return false;
}

static bool
names_us(List *objects)
{
	ListCell   *lc;

	foreach(lc, objects)
		if (IsA(lfirst(lc), String) && strcmp(strVal(lfirst(lc)), "kafka_sink") == 0)
			return true;
	return false;
}

static void
prepare_for(Node *stmt)
{
	ListCell   *lc;

	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			block_if_owner(((DropdbStmt *) stmt)->dbname);
			break;
		case T_RenameStmt:
			if (((RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				block_if_owner(((RenameStmt *) stmt)->subname);
			break;
		case T_AlterDatabaseStmt:
			if (has_option(((AlterDatabaseStmt *) stmt)->options, "tablespace"))
				block_if_owner(((AlterDatabaseStmt *) stmt)->dbname);
			break;
		case T_CreatedbStmt:
			{
				const char *template = "template1";
				Oid			dbid;

				foreach(lc, ((CreatedbStmt *) stmt)->options)
				{
					DefElem    *opt = lfirst(lc);

					if (strcmp(opt->defname, "template") == 0 && opt->arg)
						template = defGetString(opt);
				}
				dbid = get_database_oid(template, true);
				if (OidIsValid(dbid) && dbid != MyDatabaseId && may_copy_database(dbid))
					block(dbid);
				break;
			}
		case T_DropStmt:
			if ((((DropStmt *) stmt)->removeType == OBJECT_EXTENSION ||
				 ((DropStmt *) stmt)->removeType == OBJECT_SCHEMA) &&
				names_us(((DropStmt *) stmt)->objects))
				block_for_extension();
			break;
		case T_AlterExtensionStmt:
			if (strcmp(((AlterExtensionStmt *) stmt)->extname, "kafka_sink") == 0)
				block_for_extension();
			break;
		default:
			break;
	}
}

/*
 * Sinks go with the rest of what a role owns.  The server has checked that the
 * caller has the privileges of both roles; but the sinks' code will run as the
 * new one.
 */
static void
reassign(ReassignOwnedStmt *stmt)
{
	Oid			to = get_rolespec_oid(stmt->newrole, false);
	ListCell   *lc;

	foreach(lc, roleSpecsToIds(stmt->roles))
	{
		char	   *sinks = lfirst_oid(lc) != to ? ks_needs_reassign(lfirst_oid(lc), to) : NULL;

		if (sinks == NULL)
			continue;
		if (!ks_can_set_role(GetUserId(), to))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to give sinks and feeds to role \"%s\"", GetUserNameFromId(to, false)),
					 errdetail("Their code would run as a role that you cannot SET ROLE to: %s.", sinks)));
		ks_shmem_note_change();
	}
}

static void
drop_owned(DropOwnedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, roleSpecsToIds(stmt->roles))
	{
		char	   *sinks = ks_needs_drop_owned(lfirst_oid(lc));

		if (sinks == NULL)
			continue;
		ereport(NOTICE, (errmsg("sinks and feeds of role \"%s\" are dropped: %s", GetUserNameFromId(lfirst_oid(lc), false), sinks)));
		ks_shmem_note_change();
	}
}

/* What a command that has run is to be followed by, at once or at its commit. */
static void
follow_up(Node *stmt)
{
	Oid			dbid;

	switch (nodeTag(stmt))
	{
		case T_CreatedbStmt:
			dbid = get_database_oid(((CreatedbStmt *) stmt)->dbname, true);
			if (OidIsValid(dbid))
				remember(&opened, dbid);
			break;
		case T_AlterDatabaseStmt:
			dbid = get_database_oid(((AlterDatabaseStmt *) stmt)->dbname, true);
			if (OidIsValid(dbid) && has_option(((AlterDatabaseStmt *) stmt)->options, "allow_connections"))
				remember(&opened, dbid);
			break;
		case T_AlterRoleStmt:
		case T_DropRoleStmt:
			roles_changed = true;
			break;
		case T_ReassignOwnedStmt:
			reassign((ReassignOwnedStmt *) stmt);
			break;
		case T_DropOwnedStmt:
			drop_owned((DropOwnedStmt *) stmt);
			break;
		case T_AlterForeignServerStmt:
		case T_CreateUserMappingStmt:
		case T_AlterUserMappingStmt:
		case T_DropUserMappingStmt:
			connections_changed = true;
			break;
		case T_GrantStmt:
			if (((GrantStmt *) stmt)->objtype == OBJECT_FOREIGN_SERVER ||
				((GrantStmt *) stmt)->objtype == OBJECT_DATABASE)
				connections_changed = true;
			break;
		case T_TransactionStmt:
			if (((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED)
				ks_drop_hook_prepared();
			break;
		default:
			break;
	}
}

static void
process_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	static bool registered = false;
	bool		active = ks_shmem_available() && !RecoveryInProgress();
	bool		secret = ks_secrets_in(pstmt->utilityStmt);
	ErrorContextCallback callback;

	if (!registered)
	{
		RegisterXactCallback(xact_callback, NULL);
		registered = true;
	}
	if (active)
		prepare_for(pstmt->utilityStmt);
	if (secret)
		ks_secrets_enter(&callback);
	if (prev_hook)
		prev_hook(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	if (secret)
		ks_secrets_leave(&callback);

	if (active)
	{
		follow_up(pstmt->utilityStmt);
		/* these may have left no transaction in which anything can be asked */
		if (!IsA(pstmt->utilityStmt, TransactionStmt))
			ks_drop_hook_tell();
	}
}

void
ks_utility_hook_init(void)
{
	prev_hook = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
