/*
 * apply_fast_plan.c
 *	  Whether a target may be written by the fast path.
 *
 * It may where that does provably the same as the statement of apply_sql.c: the
 * server plans that as a change of this table alone (target_plan.c), which is an
 * ordinary one, without triggers of any kind but those of foreign keys that are
 * checked at once (apply_foreign.c), row security, deferrable or exclusion
 * constraints, checks that look at the rows before theirs, and what its columns have without the records is known when a row is
 * written (apply_fill.c).  Upserts need more: nothing but btree indexes over plain
 * columns.
 *
 * Of a partitioned table half of this is asked of the table and half of each
 * partition.  There may be thousands, so it is asked of those that
 * rows come to, and the first that may not be written leaves the target to SQL until
 * anything changes.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/partition.h"
#include "catalog/pg_am.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_index.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "write/accumulate.h"
#include "write/apply_fast.h"
#include "write/target_int.h"

/* Is it the key's, or of a partition what is made for it? */
static bool
is_of_key(const KsTarget *target, Relation index)
{
	return RelationGetRelid(index) == target->key_index ||
		(OidIsValid(target->key_index) && target->fast && index->rd_rel->relispartition &&
		 list_member_oid(get_partition_ancestors(RelationGetRelid(index)), target->key_index));
}

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
		fi->cols[i] = ks_fill_place(target, fast, form->indkey.values[i]);
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

		fast->holds |= ks_index_holds(index);
		if (ok && describe_index(target, fast, index, &fast->indexes[fast->nindexes]))
		{
			if (is_of_key(target, index) && ks_probe_finds(index))
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
 * Does a check see, or change, more than its row and what was there before the batch?
 * Then it is made between the rows, as a statement makes it.
 */
static bool
has_volatile_checks(Relation rel, KsTarget *target)
{
	TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr && i < constr->num_check; i++)
	{
		Node	   *expr = stringToNode(constr->check[i].ccbin);

		/* it may become so */
		ks_target_note_calls(target, expr);
		if (ks_volatility_of(expr) == KS_WITH_ROW)
			return true;
	}
	return false;
}

/* What a table or partition has beside its columns. */
static bool
plan_storage(Relation rel, bool updates, KsTarget *target, KsFast *fast)
{
	if (has_volatile_checks(rel, target) || !describe_indexes(rel, target, fast) ||
		(updates && (!fast->plain || fast->conflict < 0)) ||
		!ks_foreign_plan(rel, updates, target, fast) ||
		!ks_fill_settle(target, updates, fast))
		return false;
	fast->other_unique = updates && ks_unique_has_others(fast);
	return true;
}

/* Those of statements are its own; partitions have those of rows. */
static bool
has_own_triggers(Relation rel)
{
	for (int i = 0; rel->trigdesc && i < rel->trigdesc->numtriggers; i++)
		if (!rel->trigdesc->triggers[i].tgisinternal)
			return true;
	return false;
}

/* What updates leave alone is the same in all partitions, whose indexes are like this one. */
static void
keep_key(const KsTarget *target, KsFast *fast)
{
	Relation	index = index_open(target->key_index, AccessShareLock);

	ks_fill_keep_key(target, index, fast);
	index_close(index, NoLock);
}

static bool
plan_partitioned(Relation rel, bool updates, KsTarget *target, KsFast *fast)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(KsFastLeaf), .hcxt = target->cxt};

	if (updates)
		keep_key(target, fast);
	if (has_own_triggers(rel) || target->accumulate || !ks_fill_settle(target, updates, fast))
		return false;
	fast->updates = updates;
	fast->leaves = hash_create("kafka_sink partitions", 16, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return true;
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
		rel->rd_rel->relrowsecurity || (updates && !has_updates(target)) ||
		/* a patch is an UPDATE, which goes to children, too */
		(target->patch_sql && rel->rd_rel->relkind == RELKIND_RELATION &&
		 rel->rd_rel->relhassubclass))
		return NULL;
	fast = palloc0(sizeof(KsFast));
	fast->partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (!ks_fill_plan(rel, target, fast) ||
		!(fast->partitioned ? plan_partitioned(rel, updates, target, fast) :
		  plan_storage(rel, updates, target, fast)))
		return NULL;
	fast->evaluates |= !fast->plain || (constr && constr->num_check > 0) ||
		rel->rd_rel->relispartition;
	return fast;
}

KsFast *
ks_fast_plan_leaf(KsTarget *target, Relation rel, Relation leaf)
{
	Oid			relid = RelationGetRelid(leaf);
	KsFastLeaf *known = hash_search(target->fast->leaves, &relid, HASH_FIND, NULL);
	MemoryContext old;
	KsFast	   *fast;

	if (known)
		return known->fast;
	if (!list_member_oid(target->relids, relid))
		return NULL;			/* new, so the target will be built again */
	old = MemoryContextSwitchTo(target->cxt);
	fast = palloc0(sizeof(KsFast));
	if (leaf->rd_rel->relkind == RELKIND_RELATION &&
		ks_fill_plan_leaf(rel, leaf, target, fast) &&
		plan_storage(leaf, target->fast->updates, target, fast))
	{
		known = hash_search(target->fast->leaves, &relid, HASH_ENTER, NULL);
		known->fast = fast;
	}
	else
	{
		target->fast->declined = true;
		fast = NULL;
	}
	MemoryContextSwitchTo(old);
	return fast;
}

bool
ks_fast_may_try(const KsTarget *target)
{
	return target->fast != NULL && !target->fast->declined;
}
