/*
 * chunks.c
 *	  A stand-in for extensions that move the rows of a table elsewhere by
 *	  changing plans, as TimescaleDB does with hypertables and Citus with
 *	  distributed tables.
 *
 * An INSERT into the table that the setting chunks.target names goes to its first
 * inheritance child, by a custom node around the ModifyTable.  There is no
 * trigger, no rule, nothing in the catalogs but the child.  With chunks.updates,
 * INSERTs stay where they are, and UPDATEs go to the table of that name beside it.
 * With chunks.refuse, INSERTs that do not come from VALUES are refused by the planner
 * instead; with chunks.audit, there is a hook that is asked about privileges, as
 * sepgsql and pgaudit have.
 */
#include "postgres.h"

#include "catalog/pg_inherits.h"
#include "fmgr.h"
#include "nodes/extensible.h"
#include "nodes/pg_list.h"
#include "executor/executor.h"
#include "optimizer/planner.h"
#include "parser/parse_relation.h"
#include "parser/parsetree.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static char *table_name = NULL;
static char *updates_name = NULL;
static bool refuse = false;
static bool audit = false;
static planner_hook_type prev_planner = NULL;

/* --- the node: what is below it does the work --- */

static void
begin_node(CustomScanState *node, EState *estate, int eflags)
{
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;

	node->custom_ps = list_make1(ExecInitNode(linitial(scan->custom_plans), estate, eflags));
}

static TupleTableSlot *
exec_node(CustomScanState *node)
{
	return ExecProcNode(linitial(node->custom_ps));
}

static void
end_node(CustomScanState *node)
{
	ExecEndNode(linitial(node->custom_ps));
}

static void
rescan_node(CustomScanState *node)
{
	ExecReScan(linitial(node->custom_ps));
}

static const CustomExecMethods exec_methods = {
	.CustomName = "Chunks",
	.BeginCustomScan = begin_node,
	.ExecCustomScan = exec_node,
	.EndCustomScan = end_node,
	.ReScanCustomScan = rescan_node,
};

static Node *
create_state(CustomScan *scan)
{
	CustomScanState *state = (CustomScanState *) newNode(sizeof(CustomScanState), T_CustomScanState);

	state->methods = &exec_methods;
	return (Node *) state;
}

static const CustomScanMethods scan_methods = {"Chunks", create_state};

/* --- the plan --- */

static PlannedStmt *
next_planner(Query *parse, const char *query, int options, ParamListInfo params)
{
	return prev_planner ? prev_planner(parse, query, options, params) :
		standard_planner(parse, query, options, params);
}

/* Where rows of the table go; locks it. */
static Oid
other_table(Oid relid)
{
	List	   *chunks;

	if (updates_name && *updates_name)
	{
		relid = get_relname_relid(updates_name, get_rel_namespace(relid));
		LockRelationOid(relid, RowExclusiveLock);
		return relid;
	}
	chunks = find_inheritance_children(relid, RowExclusiveLock);
	if (chunks == NIL)
		elog(ERROR, "table \"%s\" has no chunk", table_name);
	return linitial_oid(chunks);
}

static PlannedStmt *
plan_chunks(Query *parse, const char *query, int options, ParamListInfo params)
{
	CmdType		type = updates_name && *updates_name ? CMD_UPDATE : CMD_INSERT;
	RangeTblEntry *rte = parse->commandType == type ?
		rt_fetch(parse->resultRelation, parse->rtable) : NULL;
	PlannedStmt *stmt;
	CustomScan *scan;

	if (rte == NULL || table_name == NULL || strcmp(get_rel_name(rte->relid), table_name) != 0)
		return next_planner(parse, query, options, params);
	if (refuse && list_length(parse->rtable) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows of \"%s\" are scattered", table_name)));
	rte->relid = other_table(rte->relid);
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex > 0)
		((RTEPermissionInfo *) list_nth(parse->rteperminfos, rte->perminfoindex - 1))->relid = rte->relid;
#endif
	stmt = next_planner(parse, query, options, params);
	scan = makeNode(CustomScan);
	scan->custom_plans = list_make1(stmt->planTree);
	scan->methods = &scan_methods;
	stmt->planTree = (Plan *) scan;
	return stmt;
}

/* --- privileges --- */

#if PG_VERSION_NUM >= 160000
static bool
allow(List *tables, List *privileges, bool complain)
#else
static bool
allow(List *tables, bool complain)
#endif
{
	return true;
}

static void
assign_audit(bool on, void *extra)
{
	ExecutorCheckPerms_hook = on ? allow : NULL;
}

void
_PG_init(void)
{
	DefineCustomStringVariable("chunks.target", "Table whose rows go to its first child.", NULL,
							   &table_name, NULL, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("chunks.updates", "Table that its UPDATEs go to.", NULL,
							   &updates_name, NULL, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("chunks.refuse", "Refuse INSERTs that do not come from VALUES.", NULL,
							 &refuse, false, PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("chunks.audit", "Be asked about privileges.", NULL,
							 &audit, false, PGC_USERSET, 0, NULL, assign_audit, NULL);
	RegisterCustomScanMethods(&scan_methods);
	prev_planner = planner_hook;
	planner_hook = plan_chunks;
}
