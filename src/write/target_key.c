/*
 * target_key.c
 *	  The key of a target: the index that says which rows are the same.
 *
 * It is the primary key, or the unique index over exactly pk_fields.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/pg_am.h"
#include "catalog/pg_operator.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "write/target_build.h"

static bool
index_is_key(Relation index, const AttrNumber *attnums, int n)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisunique || !form->indimmediate || !form->indisvalid ||
		form->indnkeyatts != n ||
		RelationGetIndexPredicate(index) != NIL || RelationGetIndexExpressions(index) != NIL)
		return false;
	for (int i = 0; i < n; i++)
	{
		bool		found = false;

		for (int j = 0; j < n; j++)
			found |= form->indkey.values[j] == attnums[i];
		if (!found)
			return false;
	}
	return true;
}

/* The operator's name as SQL can say it whatever the search_path. */
static char *
operator_name(Oid opno)
{
	HeapTuple	tup = SearchSysCache1(OPEROID, ObjectIdGetDatum(opno));
	Form_pg_operator form;
	char	   *result;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for operator %u", opno);
	form = (Form_pg_operator) GETSTRUCT(tup);
	result = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(form->oprnamespace)),
					  NameStr(form->oprname));
	ReleaseSysCache(tup);
	return result;
}

/* Keys in the order of the index, with its notion of equality. */
static void
use_index(KsTarget *target, Relation rel, Relation index, StringInfo deletes)
{
	initStringInfo(&target->same_key);
	target->nkeys = index->rd_index->indnkeyatts;
	target->keycols = palloc(target->nkeys * sizeof(int));
	target->key_index = RelationGetRelid(index);
	for (int i = 0; i < target->nkeys; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		int			c = ks_target_find_column(target, attnum);
		Oid			family = index->rd_opfamily[i];
		Oid			type = index->rd_opcintype[i];
		Oid			eq = get_opfamily_member(family, type, type, BTEqualStrategyNumber);
		const char *quoted;

		if (c < 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key column \"%s\" is not filled from records",
							get_attname(RelationGetRelid(rel), attnum, false)),
					 errhint("Choose other columns with pk_fields, or map it in \"columns\".")));
		target->keycols[i] = c;
		target->cols[c].keyno = i;

		quoted = quote_identifier(target->cols[c].name);
		appendStringInfo(deletes, "%st.%s %s b.%s", i ? " AND " : "",
						 quoted, operator_name(eq), quoted);
		appendStringInfo(&target->same_key, "%s%s.%s %s excluded.%s", i ? " AND " : "",
						 quote_identifier(RelationGetRelationName(rel)),
						 quoted, operator_name(eq), quoted);
	}
	ks_sort_init(&target->sortkey, index, target->keycols, target->cxt);
}

void
ks_target_build_key(KsTarget *target, const KsSink *sink, Relation rel, StringInfo deletes)
{
	AttrNumber *attnums = palloc((list_length(sink->pk_fields) + 1) * sizeof(AttrNumber));
	int			n = 0;
	Relation	found = NULL;
	ListCell   *lc;

	foreach(lc, sink->pk_fields)
	{
		const char *name = lfirst(lc);

		attnums[n] = get_attnum(RelationGetRelid(rel), name);
		if (attnums[n] <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of pk_fields does not exist in \"%s\"",
							name, RelationGetRelationName(rel))));
		n++;
	}
	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		if (found == NULL &&
			(n > 0 ? index_is_key(index, attnums, n) :
			 index->rd_index->indisprimary && index->rd_index->indimmediate &&
			 index->rd_rel->relam == BTREE_AM_OID))
			found = index;
		else
			index_close(index, NoLock);
	}
	if (found)
	{
		use_index(target, rel, found, deletes);
		index_close(found, NoLock);
	}
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 n > 0 ? errmsg("no unique index of \"%s\" covers exactly the columns of pk_fields",
								RelationGetRelationName(rel)) :
				 errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
				 errdetail("Upserts and deletes find rows by a unique key that is not deferrable and has no predicate."),
				 errhint("Add one, or name the columns of a unique index in pk_fields.")));
}
