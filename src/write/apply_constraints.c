/*
 * apply_constraints.c
 *	  The modes of deferrable constraints, from attempt to attempt.
 *
 * Each attempt ends with SET CONSTRAINTS ALL IMMEDIATE, so that an error comes
 * while it is known whose it is.  That mode would stay for the next attempt: a
 * subtransaction that is released hands it on.  So before the next attempt of the
 * transaction modes are what they are when a transaction of ours begins, the initial
 * ones: those that are initially deferred are deferred again, or all are, and those that
 * are not immediate again, whichever are fewer.
 *
 * The server knows constraints by name only, and a name may stand for several.  If one of
 * them cannot be deferred, none is; to make them immediate it does not mind.  But if some
 * are initially deferred and others not, neither way leads there.  Then no constraint is
 * made immediate if another attempt follows: all are checked in a subtransaction that is
 * rolled back, and the modes with it.  They stay deferred, so they are checked again behind
 * each attempt, and behind the last one for good.
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
#include "nodes/makefuncs.h"
#include "storage/proc.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "base/error.h"
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

/* --- the initial modes --- */

/* Constraints that can be deferred, by their initial mode; kept until one changes. */
typedef struct Names
{
	List	   *names;			/* RangeVar, in the top context */
	bool		ambiguous;		/* one of them is that of others, of another mode */
} Names;

typedef enum ConstraintMode
{
	IMMEDIATE, DEFERRED, NMODES,
	NEITHER = NMODES
} ConstraintMode;

static Names initially[NMODES];
static bool modes_valid = false;
static bool constraint_changed = false;

/* Of constraints, or of schemas, which may be renamed. */
static void
constraint_callback(Datum arg, int cacheid, uint32 hashvalue)
{
	modes_valid = false;
	constraint_changed = true;
}

static void
add_name(Names *list, const char *schema, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	list->names = lappend(list->names, makeRangeVar(pstrdup(schema), pstrdup(name), -1));
	MemoryContextSwitchTo(old);
}

static void
forget_names(Names *list)
{
	ListCell   *lc;

	foreach(lc, list->names)
	{
		RangeVar   *name = lfirst(lc);

		pfree(name->schemaname);
		pfree(name->relname);
	}
	list_free_deep(list->names);
	list->names = NIL;
	list->ambiguous = false;
}

/* Has one of these another mode? */
static bool
has_others(Relation rel, Oid index, ScanKeyData *keys, int nkeys, ConstraintMode mode)
{
	SysScanDesc scan = systable_beginscan(rel, index, true, NULL, nkeys, keys);
	HeapTuple	tup;
	bool		found = false;

	while (!found && HeapTupleIsValid(tup = systable_getnext(scan)))
		found = ((Form_pg_constraint) GETSTRUCT(tup))->condeferred != (mode == DEFERRED);
	systable_endscan(scan);
	return found;
}

/* Does SET CONSTRAINTS with its name mean others, too: of the name, or of partitions? */
static bool
is_ambiguous(Relation rel, Form_pg_constraint con, ConstraintMode mode)
{
	ScanKeyData keys[2];
	ScanKeyData parent;

	ScanKeyInit(&keys[0], Anum_pg_constraint_conname, BTEqualStrategyNumber, F_NAMEEQ,
				NameGetDatum(&con->conname));
	ScanKeyInit(&keys[1], Anum_pg_constraint_connamespace, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(con->connamespace));
	ScanKeyInit(&parent, Anum_pg_constraint_conparentid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(con->oid));
	return has_others(rel, ConstraintNameNspIndexId, keys, 2, mode) ||
		has_others(rel, ConstraintParentIndexId, &parent, 1, mode);
}

/* (not reached by tests: its schema is dropped in that moment) */
static void
read_constraint(Relation rel, Form_pg_constraint con)
{
	ConstraintMode mode = con->condeferred ? DEFERRED : IMMEDIATE;
	char	   *schema;

	/* of a session's own temporary tables nobody else has events */
	if (!con->condeferrable || isOtherTempNamespace(con->connamespace))
		return;
	schema = get_namespace_name(con->connamespace);
	if (schema == NULL)
		return;
	initially[mode].ambiguous |= is_ambiguous(rel, con, mode);
	add_name(&initially[mode], schema, NameStr(con->conname));
}

/* All of the database. */
static void
read_modes(void)
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
	if (modes_valid)
		return;
	for (int mode = 0; mode < NMODES; mode++)
		forget_names(&initially[mode]);
	constraint_changed = false;
	rel = table_open(ConstraintRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tup = systable_getnext(scan)))
		read_constraint(rel, (Form_pg_constraint) GETSTRUCT(tup));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	modes_valid = !constraint_changed;
}

/* Those whose names are said, to have the initial modes. */
static ConstraintMode
which_to_name(void)
{
	const Names *im = &initially[IMMEDIATE];
	const Names *def = &initially[DEFERRED];

	if (im->ambiguous && def->ambiguous)
		return NEITHER;
	return im->ambiguous || (!def->ambiguous && list_length(def->names) <= list_length(im->names)) ?
		DEFERRED : IMMEDIATE;
}

/*
 * From all immediate.  A name that was dropped or made since they were read is an
 * error, but nobody's fault: it may pass.  (not reached by tests: that there is one)
 */
static void
set_initial_modes(ConstraintMode by)
{
	MemoryContext cxt = CurrentMemoryContext;
	ErrorData  *edata;

	if (by == NEITHER)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("deferred constraints have changed while records were applied")));
	PG_TRY();
	{
		if (by == IMMEDIATE)
			set_modes(NIL, true);
		if (initially[by].names)
			set_modes(initially[by].names, by == DEFERRED);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		if (edata->sqlerrcode == ERRCODE_UNDEFINED_OBJECT || edata->sqlerrcode == ERRCODE_UNDEFINED_SCHEMA ||
			edata->sqlerrcode == ERRCODE_WRONG_OBJECT_TYPE)
			edata->sqlerrcode = ERRCODE_OBJECT_IN_USE;
		ks_error_rethrow(edata);
	}
	PG_END_TRY();
}

/* --- attempts --- */

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

	if (!last && !ks_owner_is_restricted())
		read_modes();
	if (last || ks_owner_is_restricted() || which_to_name() != NEITHER)
	{
		ap->immediate_in = ks_local_transaction();
		set_modes(NIL, false);
	}
	else
		check_and_undo();
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
	read_modes();
	if (initially[DEFERRED].names)
	{
		/* whatever schemas the owner may use: nothing of theirs runs here */
		ks_catalog_enter(&save);
		set_initial_modes(which_to_name());
		ks_catalog_leave(&save);
	}
	ap->immediate_in = InvalidLocalTransactionId;
}
