/*
 * target_default.c
 *	  Defaults of a target's columns, and what they depend on.
 *
 * They are planned once for a target, as a statement plans them: what is immutable is
 * evaluated, and functions in SQL are put in their places.  A default is of the table, which
 * relcache events tell of, or of the domain that a column is of; and whatever calls
 * functions is another when one of them, or one that it calls, is.  Which these are nobody
 * knows, so it is that any has changed.  Then the target is built again, before the
 * next batch.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "write/target_build.h"

static bool
is_domain(const FormData_pg_attribute *att)
{
	return get_typtype(att->atttypid) == TYPTYPE_DOMAIN;
}

static bool
is_no_builtin(Oid function, void *context)
{
	return function >= FirstNormalObjectId;
}

static bool
calls_walker(Node *node, void *context)
{
	if (node == NULL)
		return false;
	return check_functions_in_node(node, is_no_builtin, context) ||
		expression_tree_walker(node, calls_walker, context);
}

void
ks_target_note_calls(KsTarget *target, Node *expr)
{
	target->calls |= calls_walker(expr, NULL);
}

Expr *
ks_target_plan_default(KsTarget *target, Relation rel, const FormData_pg_attribute *att, bool check_null)
{
	Node	   *expr = build_column_default(rel, att->attnum);
	MemoryContext old;

	if (is_domain(att))
	{
		old = MemoryContextSwitchTo(target->cxt);
		target->domains = lappend_int(target->domains, (int) GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(att->atttypid)));
		MemoryContextSwitchTo(old);
		/* it may refuse NULL */
		if (expr == NULL && check_null)
			expr = coerce_to_domain((Node *) makeNullConst(att->atttypid, -1, att->attcollation),
									InvalidOid, -1, att->atttypid, COERCION_IMPLICIT,
									COERCE_IMPLICIT_CAST, -1, false);
	}
	if (expr == NULL)
		return NULL;
	/* what is evaluated is not there any more */
	ks_target_note_calls(target, expr);
	return expression_planner((Expr *) expr);
}

bool
ks_target_has_domain(const KsTarget *target, uint32 hash)
{
	return hash == 0 ? target->domains != NIL : list_member_int(target->domains, (int) hash);
}
