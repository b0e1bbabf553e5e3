/*
 * apply_fast_plan.c
 *	  Whether a target may be written by the fast path.
 *
 * It may where that does provably the same as the statement of apply_sql.c: the
 * server plans that as a change of this table alone (target_plan.c), which is an
 * ordinary one, not a partition, without triggers of any kind but those of foreign
 * keys that are checked at once (apply_foreign.c), row security, deferrable or
 * exclusion constraints, and what its columns have without the records is known
 * when a row is written (apply_fill.c).  Upserts need more: nothing but btree
 * indexes over plain columns.
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
describe_index(KsTarget *target, const KsFast *fast, Relation index, KsFastIndex *fi)
{
	Form_pg_index form = index->rd_index;

	if (index->rd_rel->relam != BTREE_AM_OID ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return false;
	fi->oid = RelationGetRelid(index);
	fi->unique = form->indisunique;
	fi->ncols = form->indnatts;
	for (int i = 0; i < fi->ncols; i++)
	{
		fi->cols[i] = ks_fill_place(target, fast, form->indkey.values[i]);
		if (fi->cols[i] < 0)
			return false;		/* of the server's own */
	}
	ks_sort_init(&fi->key, index, fi->cols, target->cxt);
	return true;
}

/* Its indexes; false: one of them is checked when the server likes. */
static bool
describe_indexes(Relation rel, KsTarget *target, KsFast *fast)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	fast->plain = true;
	fast->conflict = -1;
	fast->indexes = palloc0((list_length(indexes) + 1) * sizeof(KsFastIndex));
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		ok = index->rd_index->indimmediate && !index->rd_index->indisexclusion;

		if (ok && describe_index(target, fast, index, &fast->indexes[fast->nindexes]))
		{
			if (RelationGetRelid(index) == target->key_index && ks_probe_finds(index))
			{
				fast->conflict = fast->nindexes;
				ks_fill_keep_key(target, index, fast);
			}
			fast->nindexes++;
		}
		else
			fast->plain = false;
		index_close(index, NoLock);
		if (!ok)
			return false;
	}
	return true;
}

/* Without a column to update it would be DO NOTHING. */
static bool
has_updates(const KsTarget *target)
{
	for (int c = 0; c < target->ncols; c++)
		if (target->cols[c].keyno < 0 && !target->cols[c].insert_only)
			return true;
	return false;
}

/*
 * Decided when the target is built; whatever it depends on invalidates the
 * relation's cache entry, and so the target.  In the target's context.
 */
KsFast *
ks_fast_plan(const KsSink *sink, Relation rel, KsTarget *target)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;
	bool		updates = sink->insert_mode == KS_UPSERT || sink->insert_mode == KS_ACCUMULATE;
	KsFast	   *fast;

	if (!target->bare || sink->update_if || ks_accumulate_by_sql(target) ||
		(!updates && (sink->insert_mode != KS_INSERT || sink->delete_enabled)) ||
		rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relispartition ||
		rel->rd_rel->relrowsecurity || (updates && !has_updates(target)) ||
		/* a patch is an UPDATE, which goes to children, too */
		(target->patch_sql && rel->rd_rel->relhassubclass))
		return NULL;
	fast = palloc0(sizeof(KsFast));
	if (!ks_fill_plan(rel, target, fast) ||
		!ks_foreign_plan(rel, updates, target, fast) ||
		!describe_indexes(rel, target, fast) ||
		(updates && (!fast->plain || fast->conflict < 0)) ||
		!ks_fill_settle(target, updates, fast))
		return NULL;
	fast->evaluates |= !fast->plain || (constr && constr->num_check > 0);
	fast->other_unique = updates && ks_unique_has_others(fast);
	return fast;
}
