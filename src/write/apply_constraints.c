/*
 * apply_constraints.c
 *	  The modes of deferrable constraints, from attempt to attempt.
 *
 * Each attempt ends with SET CONSTRAINTS ALL IMMEDIATE, so that an error comes
 * while it is known whose it is.  That mode would stay for the next attempt: a
 * subtransaction that is released hands it on.  So the constraints that are
 * initially deferred are deferred again before the next attempt of the
 * transaction; all others are what they were anyhow, since a transaction of ours
 * begins with the initial modes.
 *
 * The server knows constraints by name only, and a name may stand for several: if
 * one of them cannot be deferred, none is, and one that is immediate would be
 * deferred, too.  What has such a name is not made immediate where another attempt
 * follows: it is checked in a subtransaction that is rolled back, and the modes with
 * it.  It stays deferred, so it is checked again behind each attempt, and behind the
 * last one for good.
 *
 * Where the owner's code is restricted (owner.c) nothing can be deferred: all
 * constraints are immediate from the beginning of each attempt.
 *
 * In a transaction of somebody else's (preview) even that must not stay.  The
 * server remembers the modes for the level of subtransactions that changes them
 * first, and forgets them when that one is released: a change in a subtransaction
 * below, which is released, outlives the rollback of those above it.  So the one
 * that is to be rolled back makes a change itself that changes nothing.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/session.h"
#include "catalog/owner.h"
#include "write/apply_search.h"

static void
set_modes(List *names, bool deferred)
{
	ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt, .constraints = names, .deferred = deferred};

	AfterTriggerSetState(&stmt);
}

void
ks_constraints_remember(void)
{
	/* it is never deferred, so there is nothing to check either */
	set_modes(list_make1(makeRangeVar("kafka_sink", "sink_catalog_pkey", -1)), false);
}

/* --- constraints that are initially deferred --- */

/* Their names, in the top context, and whether there are others; kept until one changes. */
static List *deferred = NIL;
static bool has_ambiguous = false;
static bool deferred_valid = false;
static bool constraint_changed = false;

/* Of constraints, or of schemas, which may be renamed. */
static void
constraint_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	deferred_valid = false;
	constraint_changed = true;
}

static void
add_name(const char *schema, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	deferred = lappend(deferred, makeRangeVar(pstrdup(schema), pstrdup(name), -1));
	MemoryContextSwitchTo(old);
}

static void
forget_names(void)
{
	ListCell   *lc;

	foreach(lc, deferred)
	{
		RangeVar   *name = lfirst(lc);

		pfree(name->schemaname);
		pfree(name->relname);
	}
	list_free_deep(deferred);
	deferred = NIL;
	has_ambiguous = false;
}

/* Is one of these not initially deferred? */
static bool
has_others(Relation rel, Oid index, ScanKeyData *keys, int nkeys)
{
	SysScanDesc scan = systable_beginscan(rel, index, true, NULL, nkeys, keys);
	HeapTuple	tup;
	bool		found = false;

	while (!found && HeapTupleIsValid(tup = systable_getnext(scan)))
		found = !((Form_pg_constraint) GETSTRUCT(tup))->condeferred;
	systable_endscan(scan);
	return found;
}

/* Does SET CONSTRAINTS with its name mean others, too: of the name, or of partitions? */
static bool
is_ambiguous(Relation rel, Form_pg_constraint con)
{
	ScanKeyData keys[2];
	ScanKeyData parent;

	ScanKeyInit(&keys[0], Anum_pg_constraint_conname, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(&con->conname));
	ScanKeyInit(&keys[1], Anum_pg_constraint_connamespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(con->connamespace));
	ScanKeyInit(&parent, Anum_pg_constraint_conparentid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(con->oid));
	return has_others(rel, ConstraintNameNspIndexId, keys, 2) ||
		has_others(rel, ConstraintParentIndexId, &parent, 1);
}

static void
read_constraint(Relation rel, Form_pg_constraint con)
{
	char	   *schema;

	/* of a session's own temporary tables nobody else has events */
	if (!con->condeferred || isOtherTempNamespace(con->connamespace))
		return;
	schema = get_namespace_name(con->connamespace);
	if (schema == NULL)
		return;
	if (is_ambiguous(rel, con))
		has_ambiguous = true;
	else
		add_name(schema, NameStr(con->conname));
}

/* All of the database. */
static void
read_deferred(void)
{
	static bool registered = false;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tup;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(CONSTROID, constraint_callback, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, constraint_callback, (Datum) 0);
	}
	registered = true;
	AcceptInvalidationMessages();
	if (deferred_valid)
		return;
	forget_names();
	constraint_changed = false;
	rel = table_open(ConstraintRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
		read_constraint(rel, (Form_pg_constraint) GETSTRUCT(tup));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	deferred_valid = !constraint_changed;
}

/*
 * One that was dropped or made since they were read is an error, but nobody's fault: it
 * may pass.  (not reached by tests)
 */
static void
defer_named(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *edata;

	PG_TRY();
	{
		set_modes(deferred, true);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		if (edata->sqlerrcode == ERRCODE_UNDEFINED_OBJECT || edata->sqlerrcode == ERRCODE_UNDEFINED_SCHEMA ||
			edata->sqlerrcode == ERRCODE_WRONG_OBJECT_TYPE)
			edata->sqlerrcode = ERRCODE_OBJECT_IN_USE;
		ReThrowError(edata);
	}
	PG_END_TRY();
}

/* --- attempts --- */

/* Those that can be named again, as far as whoever runs this may name them. */
static void
check_named(void)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, deferred)
	{
		Oid			schema = get_namespace_oid(((RangeVar *) lfirst(lc))->schemaname, true);

		if (OidIsValid(schema) && ks_namespace_aclcheck(schema, GetUserId(), ACL_USAGE) == ACLCHECK_OK)
			names = lappend(names, lfirst(lc));
	}
	if (names)
		set_modes(names, false);
}

/* All, which leaves them as they are. */
static void
check_and_undo(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		set_modes(NIL, false);
	}
	PG_CATCH();
	{
		ks_session_leave_subtransaction(owner, cxt);
	}
	PG_END_TRY();
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
}

void
ks_constraints_check(KsApply *ap)
{
	bool		last = !ap->searching && !ap->more_batches;

	ap->immediate_in = ks_local_transaction();
	if (!last && !ks_owner_is_restricted())
		read_deferred();
	if (last || ks_owner_is_restricted() || !has_ambiguous)
		set_modes(NIL, false);
	else
	{
		/* with as little as possible to be checked again and again */
		check_named();
		check_and_undo();
	}
}

void
ks_constraints_finish(KsApply *ap)
{
	ap->searching = false;
	if (ap->set_constraints && !ap->more_batches)
		ks_constraints_check(ap);
}

void
ks_constraints_reset(KsApply *ap)
{
	KsCatalogUser save;

	if (ap->set_constraints && ks_owner_is_restricted())
	{
		ks_constraints_check(ap);
		return;
	}
	if (ap->immediate_in != ks_local_transaction())
		return;
	read_deferred();
	if (deferred)
	{
		/* whatever schemas the owner may use: nothing of theirs runs here */
		ks_catalog_enter(&save);
		defer_named();
		ks_catalog_leave(&save);
	}
	ap->immediate_in = InvalidLocalTransactionId;
}
