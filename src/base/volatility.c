/*
 * volatility.c
 *	  When an expression that a sink's owner wrote has to be evaluated.
 *
 * A batch is parsed once, but may be tried several times, and what does not stay
 * of an attempt must not count.  What an expression may see or do says when it is
 * evaluated:
 *
 *	with the record		immutable; the server's own stable functions, which know the
 *						time of the transaction and settings, but no rows; and those
 *						of its volatile ones that neither see rows nor do what a
 *						rollback would undo (random(), nextval())
 *	in each attempt		other stable functions: they see rows, as a statement's
 *						snapshot shows them
 *	with each row		other volatile functions: they see the rows before theirs,
 *						or what was done for these (currval()), and may write.
 *						COPY inserts row by row for them, too.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/primnodes.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

#include "base/volatility.h"

/* Volatile, but neither rows nor a rollback matter to it. */
static bool
sees_no_rows(Oid function)
{
	static const char *const names[] = {
		"nextval", "random", "random_normal", "clock_timestamp",
		"timeofday", "gen_random_uuid", "uuidv4", "uuidv7"
	};
	char	   *name = function < FirstNormalObjectId ? get_func_name(function) : NULL;

	for (int i = 0; name && i < (int) lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Of one function; never ends the walk. */
static bool
check_function(Oid function, void *arg)
{
	KsWhen	   *when = arg;
	char		volatility = func_volatile(function);
	KsWhen		this = KS_WITH_RECORD;

	if (volatility == PROVOLATILE_VOLATILE && !sees_no_rows(function))
		this = KS_WITH_ROW;
	else if (volatility == PROVOLATILE_STABLE && function >= FirstNormalObjectId)
		this = KS_IN_ATTEMPT;
	*when = Max(*when, this);
	return false;
}

static bool
walk(Node *node, void *arg)
{
	KsWhen	   *when = arg;
	KsWhen		this = KS_WITH_RECORD;
	List	   *checks = NIL;

	if (node == NULL)
		return false;
	(void) check_functions_in_node(node, check_function, when);
	if (IsA(node, CoerceToDomain))
		this = ks_volatility_of_domain(((CoerceToDomain *) node)->resulttype, &checks);
	*when = Max(*when, this);
	return expression_tree_walker(node, walk, arg);
}

KsWhen
ks_volatility_of(Node *expr)
{
	KsWhen		when = KS_WITH_RECORD;

	(void) walk(expr, &when);
	return when;
}

KsWhen
ks_volatility_of_domain(Oid type, List **checks)
{
	DomainConstraintRef *ref;
	KsWhen		when = KS_WITH_RECORD;
	ListCell   *lc;

	if (get_typtype(type) != TYPTYPE_DOMAIN)
		return when;
	/* lives as long as the context that it is made in */
	ref = palloc0(sizeof(DomainConstraintRef));
	InitDomainConstraintRef(type, ref, CurrentMemoryContext, false);
	foreach(lc, ref->constraints)
	{
		DomainConstraintState *con = lfirst(lc);

		if (con->check_expr == NULL)
			continue;
		when = Max(when, ks_volatility_of((Node *) con->check_expr));
		*checks = lappend(*checks, con->check_expr);
	}
	return when;
}

static KsWhen of_type(Oid type, List **types, List **checks);

static KsWhen
of_attributes(Oid type, List **types, List **checks)
{
	TupleDesc	desc = lookup_rowtype_tupdesc_copy(type, -1);
	KsWhen		when = KS_WITH_RECORD;

	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			when = Max(when, of_type(TupleDescAttr(desc, i)->atttypid, types, checks));
	return when;
}

/* Its own constraints, too. */
static KsWhen
of_type(Oid type, List **types, List **checks)
{
	KsWhen		when = ks_volatility_of_domain(type, checks);
	char		kind = get_typtype(type);

	/* types that are made of each other twice over are not asked each time */
	if (kind == TYPTYPE_DOMAIN || kind == TYPTYPE_COMPOSITE)
	{
		if (list_member_oid(*types, type))
			return when;
		*types = lappend_oid(*types, type);
	}
	return Max(when, ks_volatility_within(type, types, checks));
}

KsWhen
ks_volatility_within(Oid type, List **types, List **checks)
{
	Oid			elem;

	check_stack_depth();
	type = getBaseType(type);
	switch (get_typtype(type))
	{
		case TYPTYPE_COMPOSITE:
			return of_attributes(type, types, checks);
		case TYPTYPE_RANGE:
			return of_type(get_range_subtype(type), types, checks);
		case TYPTYPE_MULTIRANGE:
			return of_type(get_multirange_range(type), types, checks);
		default:
			elem = get_element_type(type);
			return OidIsValid(elem) ? of_type(elem, types, checks) : KS_WITH_RECORD;
	}
}
