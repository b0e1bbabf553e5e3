/*
 * apply_constraints.c
 *	  The modes of deferrable constraints, from attempt to attempt.
 *
 * Each attempt ends with SET CONSTRAINTS ALL IMMEDIATE, so that an error comes
 * while it is known whose it is.  That mode would stay for the next attempt: a
 * subtransaction that is released hands it on.  So the constraints that are
 * initially deferred are deferred again before the next attempt; all others are
 * what they were anyhow, since a transaction of ours begins with the initial modes.
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
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "catalog/owner.h"
#include "write/apply_search.h"

void
ks_constraints_remember(void)
{
	ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt};

	/* it is never deferred, so there is nothing to check either */
	stmt.constraints = list_make1(makeRangeVar("kafka_sink", "sink_catalog_pkey", -1));
	AfterTriggerSetState(&stmt);
}

void
ks_constraints_check(KsApply *ap)
{
	ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt};

	ap->constraints_set = true;
	AfterTriggerSetState(&stmt);
}

/* What deferred_names() knows, in the top context; kept until a constraint changes. */
static List *deferred = NIL;
static bool deferred_valid = false;
static bool constraint_changed = false;

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
}

/* All constraints of the database that are initially deferred, by name. */
static List *
deferred_names(void)
{
	static bool registered = false;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tup;

	if (!registered)
		CacheRegisterSyscacheCallback(CONSTROID, constraint_callback, (Datum) 0);
	registered = true;
	AcceptInvalidationMessages();
	if (deferred_valid)
		return deferred;
	forget_names();
	constraint_changed = false;
	rel = table_open(ConstraintRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_constraint con = (Form_pg_constraint) GETSTRUCT(tup);
		/* of a session's own temporary tables nobody else has events */
		char	   *schema = con->condeferred && !isOtherTempNamespace(con->connamespace) ?
			get_namespace_name(con->connamespace) : NULL;

		if (schema)
			add_name(schema, NameStr(con->conname));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	deferred_valid = !constraint_changed;
	return deferred;
}

void
ks_constraints_reset(KsApply *ap)
{
	ConstraintsSetStmt stmt = {.type = T_ConstraintsSetStmt, .deferred = true};
	KsCatalogUser save;

	if (ap->set_constraints && ks_owner_is_restricted())
	{
		ks_constraints_check(ap);
		return;
	}
	if (!ap->constraints_set)
		return;
	stmt.constraints = deferred_names();
	if (stmt.constraints)
	{
		/* whatever schemas the owner may use: nothing of theirs runs here */
		ks_catalog_enter(&save);
		AfterTriggerSetState(&stmt);
		ks_catalog_leave(&save);
	}
	ap->constraints_set = false;
}
