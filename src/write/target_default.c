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
 *
 * Defaults of a row are evaluated in the order of its columns, and a volatile one may
 * depend on what was done for one before it (currval(), or a function that calls it).
 * The server does that where the statement names neither column.  If records may lack a
 * column with such a default, all that are volatile are evaluated here, with each row:
 * also those of columns that no record fills, which are KS_FROM_DEFAULT then.  So they are
 * if a trigger asks for currval(), of the table or of a partition, and means its row's.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "write/target_int.h"

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

/* The default for rows that lack the column, and when it is evaluated. */
static void
plan_default(KsTarget *target, Relation rel, KsColumn *col)
{
	col->default_expr = ks_target_plan_default(target, rel,
											   TupleDescAttr(RelationGetDescr(rel), col->attnum - 1), false);
	if (col->default_expr)
		col->when = Max(col->when, ks_volatility_of((Node *) col->default_expr));
}

void
ks_target_check_type(KsTarget *target, KsColumn *col)
{
	List	   *types = NIL;
	List	   *checks = NIL;
	KsWhen		within = ks_volatility_within(col->type.typid, &types, &checks);
	ListCell   *lc;

	col->when = ks_volatility_of_domain(col->type.typid, &checks);
	ks_target_note_calls(target, (Node *) checks);
	col->type.check_later = col->when != KS_WITH_RECORD;
	foreach(lc, types)
		target->domains = lappend_int(target->domains,
									  (int) GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(lfirst_oid(lc))));
	if (within == KS_WITH_RECORD)
		return;
	col->in_attempt = true;
	col->when = Max(col->when, within);
	if (target->plain == NULL)
	{
		target->plain = palloc(sizeof(KsType));
		ks_type_init(target->plain, TEXTOID, -1, &target->types);
	}
}

static bool
is_volatile(const KsColumn *col)
{
	return col->default_expr && contain_volatile_functions((Node *) col->default_expr);
}

/* Is the function called in the text of another, which is in lower case?  Or something like it. */
static bool
is_called(const char *body, const char *name)
{
	for (const char *p = body; (p = strstr(p, name)) != NULL; p++)
	{
		const char *behind = p + strlen(name);

		behind += strspn(behind, " \t\r\n\"");
		if (*behind == '(')
			return true;
	}
	return false;
}

/* Does its text ask what a sequence has given last?  (What functions that it calls do is not known.) */
static bool
asks_for_last(Oid function)
{
	HeapTuple	tup = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		isnull = true;
	Datum		source = (Datum) 0;
	bool		asks = false;

	if (HeapTupleIsValid(tup))
		source = SysCacheGetAttr(PROCOID, tup, Anum_pg_proc_prosrc, &isnull);
	if (!isnull)
	{
		char	   *body = TextDatumGetCString(source);

		for (char *p = body; *p; p++)
			*p = pg_ascii_tolower((unsigned char) *p);
		asks = is_called(body, "currval") || is_called(body, "lastval");
		pfree(body);
	}
	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	return asks;
}

/* Does a trigger of the table's rows?  Numbers that are given before are not its row's. */
static bool
has_trigger_of_last(KsTarget *target, Relation rel, bool upserts)
{
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (trigger->tgisinternal || !TRIGGER_FOR_ROW(trigger->tgtype) ||
			!(TRIGGER_FOR_INSERT(trigger->tgtype) || (upserts && TRIGGER_FOR_UPDATE(trigger->tgtype))))
			continue;
		/* it may become so */
		target->calls = true;
		if (asks_for_last(trigger->tgfoid))
			return true;
	}
	return false;
}

/* So it is for the catalog, which costs less than to open thousands of partitions. */
static bool
may_have_triggers(Oid relid)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		may = HeapTupleIsValid(tup) && ((Form_pg_class) GETSTRUCT(tup))->relhastriggers;

	if (HeapTupleIsValid(tup))
		ReleaseSysCache(tup);
	return may;
}

/* Partitions may have triggers of their own. */
static bool
triggers_see_others(KsTarget *target, Relation rel, bool upserts)
{
	ListCell   *lc;

	if (has_trigger_of_last(target, rel, upserts))
		return true;
	foreach(lc, rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ? target->relids : NIL)
	{
		Relation	part;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		if (lfirst_oid(lc) == RelationGetRelid(rel) || !may_have_triggers(lfirst_oid(lc)))
			continue;
		/* (they have been locked when they were listed) */
		part = relation_open(lfirst_oid(lc), NoLock);
		found = has_trigger_of_last(target, part, upserts);
		relation_close(part, NoLock);
		if (found)
			return true;
	}
	return false;
}

/* May a volatile default of some column look at what others have done, or a trigger? */
static bool
defaults_see_others(KsTarget *target, const KsSink *sink, Relation rel)
{
	bool		any = false;

	if (sink->insert_mode == KS_UPDATE || sink->insert_mode == KS_ACCUMULATE)
		return false;			/* what a record lacks stays as it is */
	for (int i = 0; i < target->ncols; i++)
	{
		if (target->cols[i].default_expr &&
			ks_volatility_of((Node *) target->cols[i].default_expr) == KS_WITH_ROW)
			return true;
		any |= is_volatile(&target->cols[i]);
	}
	return any && triggers_see_others(target, rel, sink->insert_mode == KS_UPSERT);
}

/* The columns of which no record tells, but whose defaults others may look at; in their places. */
static void
add_defaults(KsTarget *target, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	int			at = 0;			/* where the column would stand */

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		KsColumn	col = {.attnum = att->attnum, .keyno = -1, .insert_only = true, .source = KS_FROM_DEFAULT};

		if (at < target->ncols && target->cols[at].attnum == att->attnum)
		{
			at++;
			continue;
		}
		if (att->attisdropped || att->attgenerated != '\0')
			continue;
		plan_default(target, rel, &col);
		if (!is_volatile(&col))
			continue;
		col.name = pstrdup(NameStr(att->attname));
		ks_type_init(&col.type, att->atttypid, att->atttypmod, &target->types);
		memmove(&target->cols[at + 1], &target->cols[at], (target->ncols - at) * sizeof(KsColumn));
		target->cols[at++] = col;
		target->ncols++;
	}
}

void
ks_target_build_defaults(KsTarget *target, const KsSink *sink, Relation rel)
{
	bool		see_others;

	for (int i = 0; i < target->ncols; i++)
		plan_default(target, rel, &target->cols[i]);
	see_others = defaults_see_others(target, sink, rel);
	if (see_others)
		add_defaults(target, rel);
	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		if (see_others && is_volatile(col))
			col->when = KS_WITH_ROW;
		if (col->default_expr && col->when == KS_WITH_RECORD)
		{
			col->defexpr = ExecInitExpr(col->default_expr, NULL);
			col->functions_seen = ks_functions_changed;
		}
	}
}
