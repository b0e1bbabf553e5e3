/*
 * target_key.c
 *	  The key of a target: the index that says which rows are the same.
 *
 * It is the primary key, or the unique index over exactly pk_fields.  There may
 * be several of these, which differ in when two values are equal (a collation,
 * an operator class): then the key is the one that a plain comparison of the
 * columns agrees with, or there is none.  Statements name the index that is
 * meant, and compare as it does.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_operator.h"
#include "commands/defrem.h"
#include "parser/parse_oper.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "write/target_int.h"

/* --- which index --- */

/* Are its columns exactly these, in any order?  Those of INCLUDE do not count. */
static bool
has_columns(Relation index, const AttrNumber *attnums, int n)
{
	Form_pg_index form = index->rd_index;

	if (!form->indisunique || form->indnkeyatts != n || RelationGetIndexExpressions(index) != NIL)
		return false;
	for (int i = 0; i < n; i++)
	{
		bool		named = false;
		bool		indexed = false;

		for (int j = 0; j < n; j++)
		{
			named |= form->indkey.values[i] == attnums[j];
			indexed |= form->indkey.values[j] == attnums[i];
		}
		if (!named || !indexed)
			return false;
	}
	return true;
}

/* Why it cannot be the key, though it has the columns; NULL: it can. */
static const char *
unfit(Relation index)
{
	if (index->rd_rel->relam != BTREE_AM_OID)
		return "is not a btree";
	if (!index->rd_index->indimmediate)
		return "is deferrable";
	if (RelationGetIndexPredicate(index) != NIL)
		return "has a predicate";
	if (!index->rd_index->indisvalid)
		return "is not valid";
	return NULL;
}

/* Does it compare as a plain comparison of its columns does? */
static bool
compares_plainly(Relation rel, Relation index)
{
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel),
											  index->rd_index->indkey.values[i] - 1);
		Oid			usual = GetDefaultOpClass(att->atttypid, BTREE_AM_OID);

		if (index->rd_indcollation[i] != att->attcollation || !OidIsValid(usual) ||
			get_opclass_family(usual) != index->rd_opfamily[i])
			return false;
	}
	return true;
}

/* The place in an index of a column of another index over the same columns. */
static int
place_of(Relation index, AttrNumber attnum)
{
	int			i = 0;

	while (index->rd_index->indkey.values[i] != attnum)
		i++;
	return i;
}

/* Would a list of columns with collations and classes that names one name the other? */
static bool
compare_alike(Relation a, Relation b)
{
	for (int i = 0; i < a->rd_index->indnkeyatts; i++)
	{
		int			j = place_of(b, a->rd_index->indkey.values[i]);

		if (a->rd_indcollation[i] != b->rd_indcollation[j] ||
			a->rd_opfamily[i] != b->rd_opfamily[j] || a->rd_opcintype[i] != b->rd_opcintype[j])
			return false;
	}
	return true;
}

/* How good a choice an index is, of those with the columns of pk_fields. */
static int
rank(Relation rel, Relation index)
{
	if (index->rd_index->indisprimary)
		return 3;
	if (OidIsValid(get_index_constraint(RelationGetRelid(index))))
		return 2;
	return compares_plainly(rel, index) ? 1 : 0;
}

KS_NORETURN static void no_key(Relation rel, bool named, const char *index, const char *why);

static void
no_key(Relation rel, bool named, const char *index, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 index && !named ? errmsg("the primary key of \"%s\" cannot be the key of a sink",
									  RelationGetRelationName(rel)) :
			 named ? errmsg("no unique index of \"%s\" covers exactly the columns of pk_fields",
							RelationGetRelationName(rel)) :
			 errmsg("table \"%s\" has no primary key", RelationGetRelationName(rel)),
			 index ? errdetail("Index \"%s\" %s.", index, why) :
			 errdetail("Upserts and deletes find rows by a unique key that is not deferrable and has no predicate."),
			 errhint("Add one, or name the columns of a unique index in pk_fields.")));
}

/* The key among the open indexes, for which attnums are those of pk_fields, if any. */
static Relation
choose_index(Relation rel, List *indexes, const AttrNumber *attnums, int n)
{
	Relation	best = NULL;
	Relation	rival = NULL;	/* as good, and another notion of equality */
	Relation	near = NULL;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = lfirst(lc);

		if (n > 0 ? !has_columns(index, attnums, n) : !index->rd_index->indisprimary)
			continue;
		if (unfit(index))
		{
			near = near ? near : index;
			continue;
		}
		if (best == NULL || rank(rel, index) > rank(rel, best))
		{
			best = index;
			rival = NULL;
		}
		else if (rank(rel, index) == rank(rel, best) && !compare_alike(index, best))
			rival = index;
	}
	if (best == NULL)
		no_key(rel, n > 0, near ? RelationGetRelationName(near) : NULL, near ? unfit(near) : NULL);
	if (rival)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("pk_fields does not tell which unique index of \"%s\" is the key",
						RelationGetRelationName(rel)),
				 errdetail("Indexes \"%s\" and \"%s\" have these columns, and differ in which values are equal.",
						   RelationGetRelationName(best), RelationGetRelationName(rival)),
				 errhint("Drop one of them, or add a primary key or unique constraint over these columns.")));
	return best;
}

/* --- statements --- */

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

static char *
collation_name(Oid collation)
{
	HeapTuple	tup = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	Form_pg_collation form;
	char	   *result;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tup);
	result = quote_qualified_identifier(get_namespace_name(form->collnamespace),
										NameStr(form->collname));
	ReleaseSysCache(tup);
	return result;
}

static char *
class_name(Oid opclass)
{
	HeapTuple	tup = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass));
	Form_pg_opclass form;
	char	   *result;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for operator class %u", opclass);
	form = (Form_pg_opclass) GETSTRUCT(tup);
	result = quote_qualified_identifier(get_namespace_name(form->opcnamespace),
										NameStr(form->opcname));
	ReleaseSysCache(tup);
	return result;
}

/* What makes two values of a column meet the operator and collation of the index. */
static char *
comparison_suffix(Relation rel, Relation index, int i, Oid eq)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), index->rd_index->indkey.values[i] - 1);
	Oid			collation = index->rd_indcollation[i];
	HeapTuple	tup = SearchSysCache1(OPEROID, ObjectIdGetDatum(eq));
	Form_pg_operator form;
	Operator	natural;
	char	   *result = "";

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for operator %u", eq);
	form = (Form_pg_operator) GETSTRUCT(tup);
	natural = oper(NULL, list_make2(makeString(get_namespace_name(form->oprnamespace)),
									makeString(pstrdup(NameStr(form->oprname)))),
				   att->atttypid, att->atttypid, true, -1);
	if (natural == NULL || oprid(natural) != eq)
		result = psprintf("::%s", format_type_extended(form->oprleft, -1, FORMAT_TYPE_FORCE_QUALIFY));
	if (natural)
		ReleaseSysCache(natural);
	ReleaseSysCache(tup);
	if (OidIsValid(collation) && collation != att->attcollation)
		result = psprintf("%s COLLATE %s", result, collation_name(collation));
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
		const char *op;
		const char *suffix;

		if (c < 0 || target->cols[c].source == KS_FROM_DEFAULT)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key column \"%s\" is not filled from records",
							get_attname(RelationGetRelid(rel), attnum, false)),
					 errhint("Choose other columns with pk_fields, or map it in \"columns\".")));
		target->keycols[i] = c;
		target->cols[c].keyno = i;

		quoted = quote_identifier(target->cols[c].name);
		op = operator_name(eq);
		suffix = target->cols[c].compared = comparison_suffix(rel, index, i, eq);
		appendStringInfo(deletes, "%st.%s%s %s b.%s%s", i ? " AND " : "",
						 quoted, suffix, op, quoted, suffix);
		appendStringInfo(&target->same_key, "%s%s.%s%s %s excluded.%s%s", i ? " AND " : "",
						 quote_identifier(RelationGetRelationName(rel)),
						 quoted, suffix, op, quoted, suffix);
	}
	ks_sort_init(&target->sortkey, index, target->keycols, target->cxt);
}

/*
 * What ON CONFLICT says to mean the index: its columns, if no other unique index
 * has the same; else its name, which only constraints have, or all that tells
 * it from others.
 */
static char *
conflict_target(Relation rel, Relation key, List *indexes)
{
	int			n = key->rd_index->indnkeyatts;
	Oid			constraint = get_index_constraint(RelationGetRelid(key));
	bool		alone = true;
	StringInfoData result;
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = lfirst(lc);

		if (index == key || !has_columns(index, key->rd_index->indkey.values, n) ||
			!index->rd_index->indisvalid || RelationGetIndexPredicate(index) != NIL)
			continue;
		alone = false;
		/* an equal of it can stand for it, unless it is checked in another way */
		if (!OidIsValid(constraint) && compare_alike(index, key) &&
			(!index->rd_index->indimmediate ||
			 KS_NULLS_NOT_DISTINCT(index) != KS_NULLS_NOT_DISTINCT(key)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("index \"%s\" of \"%s\" cannot be the key of a sink",
							RelationGetRelationName(key), RelationGetRelationName(rel)),
					 errdetail("ON CONFLICT cannot tell it from index \"%s\".",
							   RelationGetRelationName(index)),
					 errhint("Drop one of them, or add a constraint: ALTER TABLE ... ADD UNIQUE USING INDEX %s.",
							 quote_identifier(RelationGetRelationName(key)))));
	}
	if (!alone && OidIsValid(constraint))
		return psprintf("ON CONSTRAINT %s", quote_identifier(get_constraint_name(constraint)));

	initStringInfo(&result);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&result, "%s%s", i ? ", " : "(",
						 quote_identifier(get_attname(RelationGetRelid(rel),
													  key->rd_index->indkey.values[i], false)));
		if (alone)
			continue;
		if (OidIsValid(key->rd_indcollation[i]))
			appendStringInfo(&result, " COLLATE %s", collation_name(key->rd_indcollation[i]));
		appendStringInfo(&result, " %s", class_name(get_index_column_opclass(RelationGetRelid(key), i + 1)));
	}
	appendStringInfoChar(&result, ')');
	return result.data;
}

void
ks_target_build_key(KsTarget *target, const KsSink *sink, Relation rel, StringInfo deletes)
{
	AttrNumber *attnums = palloc((list_length(sink->pk_fields) + 1) * sizeof(AttrNumber));
	int			n = 0;
	List	   *indexes = NIL;
	Relation	key;
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
		indexes = lappend(indexes, index_open(lfirst_oid(lc), AccessShareLock));
	key = choose_index(rel, indexes, attnums, n);
	use_index(target, rel, key, deletes);
	if (sink->insert_mode == KS_UPSERT || sink->insert_mode == KS_ACCUMULATE)
		target->conflict = conflict_target(rel, key, indexes);
	foreach(lc, indexes)
		index_close(lfirst(lc), NoLock);
}
