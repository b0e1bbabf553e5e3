/*
 * target_plan.c
 *	  What the server would do with the statements of a target.
 *
 * Other extensions scatter the rows of a table, or move them to children that
 * they make as rows come (TimescaleDB, Citus).  No list of what they leave in the
 * catalogs tells all of them; the plan does: whoever does anything to a statement
 * has to show it there, as a node of its own or another relation than the table.
 * So the statements are planned as they would be run, and the target notes
 * whether nothing but the table itself is written to, by nothing but the server.
 * If one cannot be planned, that is an error here, not with the first record.
 *
 * Some of it is in no plan: a hook that is asked about privileges.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "nodes/plannodes.h"
#include "optimizer/planner.h"
#include "parser/parsetree.h"
#include "utils/plancache.h"

#include "write/target_int.h"

/* Is a plan made of what reads a table, or its partitions, and the batch, and joins them? */
static bool is_plain(const Plan *plan);

static bool
are_plain(const List *plans)
{
	const ListCell *lc;

	foreach(lc, plans)
		if (!is_plain(lfirst(lc)))
			return false;
	return true;
}

static bool
is_plain(const Plan *plan)
{
	if (plan == NULL)
		return true;
	switch (nodeTag(plan))
	{
		case T_NamedTuplestoreScan:
		case T_SeqScan:
		case T_IndexScan:
		case T_IndexOnlyScan:
		case T_BitmapHeapScan:
		case T_BitmapIndexScan:
		case T_NestLoop:
		case T_MergeJoin:
		case T_HashJoin:
		case T_Hash:
		case T_Sort:
		case T_IncrementalSort:
		case T_Material:
		case T_Memoize:
		case T_Result:
			break;
		case T_SubqueryScan:
			return is_plain(((const SubqueryScan *) plan)->subplan);
		case T_Append:
			return are_plain(((const Append *) plan)->appendplans);
		case T_MergeAppend:
			return are_plain(((const MergeAppend *) plan)->mergeplans);
		default:
			return false;
	}
	return is_plain(plan->lefttree) && is_plain(plan->righttree);
}

/* Its partitions are it. */
static bool
writes_target(const KsTarget *target, const PlannedStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
		if (!list_member_oid(target->relids, rt_fetch(lfirst_int(lc), stmt->rtable)->relid))
			return false;
	return stmt->resultRelations != NIL;
}

/* Does a statement change rows of this table alone, and in the usual way? */
static bool
is_bare(const KsTarget *target, const PlannedStmt *stmt)
{
	const ModifyTable *mt = (const ModifyTable *) stmt->planTree;

	return IsA(mt, ModifyTable) && is_plain(outerPlan(mt)) && stmt->subplans == NIL &&
		writes_target(target, stmt) &&
		mt->withCheckOptionLists == NIL && mt->returningLists == NIL &&
		(mt->onConflictAction == ONCONFLICT_NONE ||
		 (list_length(mt->arbiterIndexes) == 1 &&
		  linitial_oid(mt->arbiterIndexes) == target->key_index));
}

static void
plan_context(void *arg)
{
	errcontext("planning how rows are written to %s", ((const KsTarget *) arg)->qualified_name);
}

/* Plans a statement over the relation "batch"; SPI is connected. */
static bool
plan_is_bare(const KsTarget *target, const char *sql)
{
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);
	CachedPlan *cached;
	bool		bare;

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	cached = SPI_plan_get_cached_plan(plan);
	if (cached == NULL)
		return false;
	bare = list_length(cached->stmt_list) == 1 &&
		is_bare(target, linitial_node(PlannedStmt, cached->stmt_list));
	ReleaseCachedPlan(cached, NULL);
	SPI_freeplan(plan);
	return bare;
}

void
ks_target_plan(KsTarget *target)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	ErrorContextCallback context = {error_context_stack, plan_context, target};

	error_context_stack = &context;
	enr->md.name = "batch";
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = target->rowdesc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	SPI_connect();
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"batch\"");
	target->bare = plan_is_bare(target, target->insert_sql);
	if (target->patch_sql)
		target->bare = plan_is_bare(target, target->patch_sql) && target->bare;
	if (target->delete_sql)
		target->bare = plan_is_bare(target, target->delete_sql) && target->bare;
	SPI_finish();
	error_context_stack = context.previous;

	target->planner = planner_hook;
	target->checker = ExecutorCheckPerms_hook;
	target->bare &= target->checker == NULL;
}

bool
ks_target_plan_valid(const KsTarget *target)
{
	return target->planner == planner_hook && target->checker == ExecutorCheckPerms_hook;
}
