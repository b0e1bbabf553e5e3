/*
 * apply_blame.c
 *	  Whose fault an error is.
 *
 * What is raised while a record is converted is the record's, whatever its
 * SQLSTATE: input functions raise what they like (42601, 42P01, XX000 for bad
 * text).  Only what is the server's, or may pass by itself, is not.  Nor is a
 * right that a domain's check lacks.
 *
 * What is raised by a statement over the batch, and by the expressions that are
 * the owner's (filters, defaults), goes by its class.  A statement that may not
 * do something (42501) tells nothing of a record, but for one case: the row that
 * is refused by a policy of the target itself, in our own statement, while the
 * owner has all it needs on the target.  A trigger that may not write, or that
 * meets a policy of another table, is nobody's record's fault.
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "write/apply_search.h"

#define SNAPSHOT_TOO_OLD	MAKE_SQLSTATE('7', '2', '0', '0', '0')	/* before 17 */

/*
 * Has the server run out of what VACUUM gives back: numbers of transactions, or of groups of
 * them that have locked a row?  It says so by the class of what is too large.
 */
static bool
is_of_exhaustion(const ErrorData *edata)
{
	return edata->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED && edata->funcname &&
		(strcmp(edata->funcname, "GetNewTransactionId") == 0 || strcmp(edata->funcname, "GetNewMultiXactId") == 0);
}

bool
ks_error_passes(const ErrorData *edata)
{
	int			sqlstate = edata->sqlerrcode;

	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_CONNECTION_EXCEPTION:	/* 08 */
		case ERRCODE_TRANSACTION_ROLLBACK:	/* 40 */
		case ERRCODE_INSUFFICIENT_RESOURCES:	/* 53 */
		case ERRCODE_OPERATOR_INTERVENTION:	/* 57 */
			return true;
		default:
			/* (the value of an enum is there, but for the transaction that has added it) */
			return sqlstate == ERRCODE_LOCK_NOT_AVAILABLE || sqlstate == ERRCODE_UNSAFE_NEW_ENUM_VALUE_USAGE ||
				sqlstate == ERRCODE_OBJECT_IN_USE || sqlstate == SNAPSHOT_TOO_OLD || is_of_exhaustion(edata);
	}
}

bool
ks_error_is_of_reference(int sqlstate)
{
	/* that of RESTRICT, from 18 on */
	return sqlstate == ERRCODE_FOREIGN_KEY_VIOLATION || sqlstate == ERRCODE_RESTRICT_VIOLATION;
}

/* May a domain's check be part of how values of the type are made? */
static bool
has_domain(const KsType *type)
{
	return type->kind == KS_TYPE_DOMAIN || type->kind == KS_TYPE_COMPOSITE ||
		(type->elem && has_domain(type->elem));
}

/* Of the column that was converted. */
static bool
column_has_domain(const KsDecoder *d)
{
	bool		found = false;

	for (int i = 0; d->column && i < d->target->ncols; i++)
		found |= d->target->cols[i].name == d->column && has_domain(&d->target->cols[i].type);
	return found;
}

static KsFault
fault_of_conversion(const KsDecoder *d, int sqlstate)
{
	if (ERRCODE_TO_CATEGORY(sqlstate) == ERRCODE_SYSTEM_ERROR ||
		sqlstate == ERRCODE_DATA_CORRUPTED || sqlstate == ERRCODE_INDEX_CORRUPTED)
		return KS_FAULT_OF_NONE;
	if (sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE && column_has_domain(d))
		return KS_FAULT_OF_NONE;
	return KS_FAULT_OF_RECORD;
}

static bool
is_record_class(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_DATA_EXCEPTION:	/* 22 */
			/* a sequence that is at its end has nothing for any record */
			return sqlstate != ERRCODE_SEQUENCE_GENERATOR_LIMIT_EXCEEDED;
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:	/* 23 */
		case ERRCODE_WITH_CHECK_OPTION_VIOLATION:	/* 44 */
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:	/* 54 */
		case ERRCODE_PLPGSQL_ERROR: /* P0 */
			return true;
		default:
			return false;
	}
}

/* Was it raised by our statement itself, not by what a trigger runs? */
static bool
is_of_statement(const char *sql, const ErrorData *edata)
{
	const char *found = sql && edata->context ? strstr(edata->context, sql) : NULL;
	const char *newline = edata->context ? strchr(edata->context, '\n') : NULL;

	return found && (newline == NULL || found < newline);
}

static bool
is_of_our_statement(const KsTarget *t, const ErrorData *edata)
{
	return is_of_statement(t->insert_sql, edata) || is_of_statement(t->patch_sql, edata) ||
		is_of_statement(t->delete_sql, edata);
}

/* Does a policy of the target refuse the row, and nothing else? */
static bool
is_policy_violation(const KsRoute *r, const ErrorData *edata)
{
	return edata->funcname && strcmp(edata->funcname, "ExecWithCheckOptions") == 0 &&
		OidIsValid(r->target->relid) && is_of_our_statement(r->target, edata) &&
		ks_target_has_privileges(r->sink, r->target);
}

void
ks_fault_excuse(const KsRoute *at, ErrorData *edata)
{
	if (at && ks_target_is_renamed(at->target))
		edata->sqlerrcode = ERRCODE_OBJECT_IN_USE;
}

KsFault
ks_fault_of(const KsApply *ap, const KsRoute *at, const ErrorData *edata)
{
	int			sqlstate = edata->sqlerrcode;
	int			record = ap->decoding >= 0 ? ap->decoding : ap->evaluating;
	const KsDecoder *decoder = record >= 0 ? ks_apply_route_at(ap, record)->decoder : NULL;

	if (ks_error_passes(edata))
		return KS_FAULT_PASSES;
	if (decoder && !decoder->evaluating)
		return fault_of_conversion(decoder, sqlstate);
	if (is_record_class(sqlstate))
		return KS_FAULT_OF_RECORD;
	if (decoder || at == NULL)
		return KS_FAULT_OF_NONE;
	if (sqlstate == ERRCODE_INSUFFICIENT_PRIVILEGE && is_policy_violation(at, edata))
		return KS_FAULT_OF_RECORD;
	/* a trigger has made two keys one */
	if (sqlstate == ERRCODE_CARDINALITY_VIOLATION && at->target->command == NULL &&
		is_of_our_statement(at->target, edata))
		return KS_FAULT_OF_BATCH;
	return KS_FAULT_OF_NONE;
}

/* --- what other records of the batch can cure --- */

/* Does the batch write to the table? */
static bool
is_written(const KsApply *ap, Oid relid)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].lo < ap->routes[i].hi && ks_target_shares_rows(ap->routes[i].target, relid))
			return true;
	return false;
}

/* To look at what hangs on it; NULL: it is the relation of a composite type, or gone. */
static Relation
open_table(Oid relid)
{
	char		relkind = get_rel_relkind(relid);

	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE ?
		try_relation_open(relid, AccessShareLock) : NULL;
}

static bool
has_triggers(Oid relid, bool before, bool after)
{
	Relation	rel = open_table(relid);
	bool		found = false;

	if (rel == NULL)
		return false;
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		found |= !trigger->tgisinternal &&
			(TRIGGER_FOR_AFTER(trigger->tgtype) ? after : before);
	}
	relation_close(rel, AccessShareLock);
	return found;
}

/* Has it checks that may look at other rows? */
static bool
has_checks_of_rows(Oid relid)
{
	Relation	rel = open_table(relid);
	TupleConstr *constr;
	bool		found = false;

	if (rel == NULL)
		return false;
	constr = RelationGetDescr(rel)->constr;
	for (int i = 0; constr && i < constr->num_check && !found; i++)
		found = ks_volatility_of(stringToNode(constr->check[i].ccbin)) != KS_WITH_RECORD;
	relation_close(rel, AccessShareLock);
	return found;
}

/*
 * Is there code of the owner's that may look at what other records write?  What
 * comes before a row, or checks it, sees only rows that are written before it, so those
 * of later records where rows are written in the order of the key.
 */
static void
find_owner_code(KsApply *ap)
{
	ListCell   *lc;

	if (ap->owner_code_around >= 0)
		return;
	ap->owner_code_around = ap->owner_code_behind = ap->owner_code_before = false;
	for (int i = 0; i < ap->nroutes; i++)
	{
		const KsRoute *r = &ap->routes[i];

		if (r->lo == r->hi)
			continue;
		if (r->target->command)
		{
			ap->owner_code_around = ap->owner_code_behind = true;
			continue;
		}
		foreach(lc, r->target->relids)
		{
			Oid			relid = lfirst_oid(lc);
			bool		by_key = r->sink->insert_mode != KS_INSERT;
			bool		before = has_triggers(relid, true, false) || has_checks_of_rows(relid);
			bool		behind = has_triggers(relid, false, true);

			ap->owner_code_before |= before;
			ap->owner_code_behind |= behind;
			ap->owner_code_around |= behind || (by_key && before);
		}
	}
}

static bool
has_owner_code_around(KsApply *ap)
{
	find_owner_code(ap);
	return ap->owner_code_around;
}

Oid
ks_fault_constraint(const ErrorData *edata)
{
	Oid			nspid = edata->schema_name ? get_namespace_oid(edata->schema_name, true) : InvalidOid;
	Oid			relid = OidIsValid(nspid) && edata->table_name ?
		get_relname_relid(edata->table_name, nspid) : InvalidOid;

	return OidIsValid(relid) && edata->constraint_name ?
		get_relation_constraint_oid(relid, edata->constraint_name, true) : InvalidOid;
}

static bool
find_constraint(const ErrorData *edata, FormData_pg_constraint *con)
{
	Oid			oid = ks_fault_constraint(edata);
	HeapTuple	tup = OidIsValid(oid) ? SearchSysCache1(CONSTROID, ObjectIdGetDatum(oid)) : NULL;

	if (!HeapTupleIsValid(tup))
		return false;
	memcpy(con, GETSTRUCT(tup), sizeof(FormData_pg_constraint));
	ReleaseSysCache(tup);
	return true;
}

bool
ks_fault_may_be_cured(KsApply *ap, int index, const ErrorData *edata)
{
	FormData_pg_constraint con;
	const KsRoute *r = ks_apply_route_at(ap, index);
	KsInsertMode mode = r->sink->insert_mode;
	int			category = ERRCODE_TO_CATEGORY(edata->sqlerrcode);

	if (ap->fault != KS_FAULT_OF_RECORD || ap->decoding >= 0 || ap->evaluating >= 0 ||
		ap->nrecs == 1)
		return false;
	switch (edata->sqlerrcode)
	{
		case ERRCODE_FOREIGN_KEY_VIOLATION:
		case ERRCODE_RESTRICT_VIOLATION:
			if (!find_constraint(edata, &con) || has_owner_code_around(ap))
				return true;
			return is_written(ap, con.conrelid) && is_written(ap, con.confrelid) &&
				ks_refer_may_find(ap, index, con.oid);
		case ERRCODE_UNIQUE_VIOLATION:
		case ERRCODE_EXCLUSION_VIOLATION:
			/* a value that another row gives up, in the order of the key or of deletes */
			return r->target->command || (mode != KS_INSERT && mode != KS_IGNORE) ||
				(find_constraint(edata, &con) && con.condeferrable);
		default:
			/* what it builds on, or takes with it, may be moved away before it goes */
			if ((edata->sqlerrcode == ERRCODE_DATA_EXCEPTION && ks_refer_may_have_gone(ap, index)) ||
				(category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION && ap->ops[index] == KS_ROW_DELETE &&
				 (r->acts_on_itself || r->acts_on_others)))
				return true;
			/* all records of a key are one row */
			if (mode == KS_ACCUMULATE && r->target->command == NULL &&
				(category == ERRCODE_DATA_EXCEPTION ||
				 category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION))
				return true;
			return (category == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION ||
					category == ERRCODE_PLPGSQL_ERROR) && has_owner_code_around(ap);
	}
}

bool
ks_fault_may_follow(KsApply *ap, int index, const ErrorData *edata, const KsSuspects *suspects)
{
	/* which records a reference needs is known */
	if (suspects->n == 0 || ap->fault != KS_FAULT_OF_RECORD || ap->decoding >= 0 || ap->evaluating >= 0 ||
		ks_error_is_of_reference(edata->sqlerrcode))
		return false;
	find_owner_code(ap);
	return ap->owner_code_around || ap->owner_code_before ||
		ks_suspects_may_be_needed(ap, suspects, index, edata->sqlerrcode == ERRCODE_UNIQUE_VIOLATION ||
								  edata->sqlerrcode == ERRCODE_EXCLUSION_VIOLATION);
}

bool
ks_fault_is_at_once(KsApply *ap, const ErrorData *edata)
{
	FormData_pg_constraint con;

	switch (edata->sqlerrcode)
	{
		case ERRCODE_FOREIGN_KEY_VIOLATION:
		case ERRCODE_RESTRICT_VIOLATION:
			return false;
		case ERRCODE_UNIQUE_VIOLATION:
		case ERRCODE_EXCLUSION_VIOLATION:
			return !find_constraint(edata, &con) || !con.condeferrable;
		case ERRCODE_CHECK_VIOLATION:
		case ERRCODE_NOT_NULL_VIOLATION:
			/* not if it is a trigger's word */
			return edata->constraint_name || edata->column_name;
		default:
			find_owner_code(ap);
			return !ap->owner_code_behind;
	}
}
