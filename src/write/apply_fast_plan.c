/*
 * apply_fast_plan.c
 *	  Whether a target may be written by the fast path.
 *
 * It may where that does provably the same as the statement of apply_sql.c: the
 * server plans that as a change of this table alone (target_plan.c), which is an
 * ordinary one, not a partition, without triggers of any kind (so without
 * foreign keys), row security, generated columns, deferrable or exclusion
 * constraints, every column filled from records.  Upserts need more:
 * nothing but btree indexes over plain columns, and a key whose type has one
 * spelling for each value, because ON CONFLICT DO UPDATE keeps the old one.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"

#include "base/compat.h"
#include "write/accumulate.h"
#include "write/apply_fast.h"

static bool
describe_index(KsTarget *target, Relation index, KsFastIndex *fi)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return false;
	fi->oid = RelationGetRelid(index);
	fi->unique = form->indisunique;
	fi->ncols = form->indnatts;
	fi->of_key = true;
	for (int i = 0; i < fi->ncols; i++)
	{
		fi->cols[i] = ks_target_find_column(target, form->indkey.values[i]);
		if (fi->cols[i] < 0)
			return false;
		if (target->cols[fi->cols[i]].keyno < 0)
			fi->of_key = false;
	}
	ks_sort_init(&fi->key, index, fi->cols, target->cxt);
	return true;
}

/* Can an upsert find rows by it, and leave the key as it is? */
static bool
index_finds_rows(Relation index)
{
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (index->rd_indoption[i] & INDOPTION_DESC)
			return false;
	return _bt_allequalimage(index, false);
}

/*
 * Decided when the target is built; whatever it depends on invalidates the
 * relation's cache entry, and so the target.  In the target's context.
 */
KsFast *
ks_fast_plan(const KsSink *sink, Relation rel, KsTarget *target)
{
	TupleDesc	desc = RelationGetDescr(rel);
	KsFast	   *fast;
	List	   *indexes;
	ListCell   *lc;
	int			live = 0;

	if (!target->bare || sink->update_if || ks_accumulate_by_sql(target) ||
		(sink->insert_mode != KS_UPSERT && sink->insert_mode != KS_ACCUMULATE && (sink->insert_mode != KS_INSERT || sink->delete_enabled)) ||
		rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition ||
		rel->trigdesc != NULL || rel->rd_rel->relrowsecurity)
		return NULL;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attgenerated != '\0')
			return NULL;
		live += !att->attisdropped;
	}
	/* a column that no record fills may have a default, or a value to be kept */
	if (live != target->ncols || target->given)
		return NULL;
	if (sink->insert_mode == KS_UPSERT)
		for (int i = 0; i < target->ncols; i++)
			if (target->cols[i].insert_only)
				return NULL;

	indexes = RelationGetIndexList(rel);
	fast = palloc0(sizeof(KsFast));
	fast->plain = true;
	fast->conflict = -1;
	fast->indexes = palloc0((list_length(indexes) + 1) * sizeof(KsFastIndex));
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		ok = index->rd_index->indimmediate && !index->rd_index->indisexclusion;

		if (ok && describe_index(target, index, &fast->indexes[fast->nindexes]))
		{
			if (RelationGetRelid(index) == target->key_index && index_finds_rows(index))
				fast->conflict = fast->nindexes;
			fast->nindexes++;
		}
		else
			fast->plain = false;
		index_close(index, NoLock);
		if (!ok)
			return NULL;
	}
	/* without a column to update it would be DO NOTHING */
	if (sink->insert_mode != KS_INSERT &&
		(!fast->plain || fast->conflict < 0 || target->nkeys == target->ncols))
		return NULL;
	fast->evaluates = !fast->plain || (desc->constr && desc->constr->num_check > 0);
	fast->other_unique = sink->insert_mode != KS_INSERT && ks_unique_has_others(fast);
	return fast;
}
