/*
 * apply_foreign.c
 *	  Foreign keys, checked for all rows of a batch at once.
 *
 * The server's trigger asks for each row whether there is one that it refers to, by
 * a query that locks that row FOR KEY SHARE, and it asks at the end of the
 * statement.  A batch knows all of its keys by then: sorted, each of them once, they
 * are found by a walk along the index of the table that is referred to, and the rows
 * are locked where they are found.  That the same rows are locked, and that they stay
 * until the end of the transaction, is all that the triggers do; so they are left
 * out.  Which rows they would ask about (RI_FKey_fk_upd_check_required()):  those
 * without NULL in the key, if they are new or if their key is.
 *
 * What is not as simple is theirs: a key that is missing, or whose row somebody has
 * changed meanwhile; MATCH FULL; constraints that can be deferred, or that compare
 * in another way than the index; a table that refers to itself, or to partitions; an
 * owner of the other table who may not lock its rows.
 *
 * A table that others refer to is checked when rows are deleted, or change the key
 * that is referred to.  An upsert does not change its key.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "commands/trigger.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "write/apply_fast.h"

/* --- the plan --- */

/* May rows be found by it, and each key once? */
static bool
is_usable(Relation index)
{
	const FormData_pg_index *form = index->rd_index;

	return index->rd_rel->relam == BTREE_AM_OID && form->indisunique && form->indimmediate &&
		form->indisvalid && ks_probe_finds(index) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);
}

/* Does a column of the key compare as one of the index does? */
static bool
compares_alike(Form_pg_attribute referring, Form_pg_attribute referred, Oid eq,
			   Relation index, int i)
{
	Oid			type = index->rd_opcintype[i];

	return getBaseType(referring->atttypid) == getBaseType(referred->atttypid) &&
		referring->attcollation == referred->attcollation &&
		index->rd_indcollation[i] == referred->attcollation &&
		eq == get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);
}

/* Where the columns of the index have their values in a row of the target. */
static bool
find_places(Relation rel, Relation other, Relation index, const ForeignKeyCacheInfo *info,
			const KsTarget *target, const KsFast *fast, int *places)
{
	if (info->nkeys != index->rd_index->indnkeyatts)
		return false;
	for (int i = 0; i < info->nkeys; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		int			k = 0;

		while (k < info->nkeys && info->confkey[k] != attnum)
			k++;
		if (k == info->nkeys ||
			!compares_alike(TupleDescAttr(RelationGetDescr(rel), info->conkey[k] - 1),
							TupleDescAttr(RelationGetDescr(other), attnum - 1),
							info->conpfeqop[k], index, i))
			return false;
		places[i] = ks_fill_place(target, fast, info->conkey[k]);
	}
	return true;
}

static bool
describe_foreign(Relation rel, const ForeignKeyCacheInfo *info, Oid index_oid,
				 KsTarget *target, KsFast *fast)
{
	Relation	other = table_open(info->confrelid, RowShareLock);
	Relation	index = index_open(index_oid, AccessShareLock);
	KsForeignKey *fk = &fast->foreign[fast->nforeign];
	bool		ok = other->rd_rel->relkind == RELKIND_RELATION && is_usable(index) &&
		find_places(rel, other, index, info, target, fast, fk->index.cols);

	if (ok)
	{
		fk->relid = info->confrelid;
		fk->index.oid = index_oid;
		fk->index.ncols = info->nkeys;
		ks_sort_init(&fk->index.key, index, fk->index.cols, target->cxt);
		fast->nforeign++;
		target->watched = list_append_unique_oid(target->watched, info->confrelid);
	}
	index_close(index, NoLock);
	table_close(other, NoLock);
	return ok;
}

static const ForeignKeyCacheInfo *
find_info(Relation rel, Oid constraint)
{
	const ForeignKeyCacheInfo *found = NULL;
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
		if (((const ForeignKeyCacheInfo *) lfirst(lc))->conoid == constraint)
			found = lfirst(lc);
	return found;
}

/* One of the target's own foreign keys; which has two triggers. */
static bool
add_foreign(Relation rel, Oid constraint, KsTarget *target, KsFast *fast)
{
	const ForeignKeyCacheInfo *info = find_info(rel, constraint);
	HeapTuple	tup = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	Oid			index;
	bool		ok;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	form = (Form_pg_constraint) GETSTRUCT(tup);
	index = form->conindid;
	/* what the target itself has is not to be seen yet */
	ok = info && form->contype == CONSTRAINT_FOREIGN && form->conrelid == RelationGetRelid(rel) &&
		!list_member_oid(target->relids, form->confrelid) && !form->condeferrable &&
		form->confmatchtype == FKCONSTR_MATCH_SIMPLE;
	ReleaseSysCache(tup);
	return ok && describe_foreign(rel, info, index, target, fast);
}

/* A foreign key of another table: can no update change what it refers to? */
static bool
is_key(Oid constraint, const KsFast *fast)
{
	HeapTuple	tup = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	bool		result;

	if (!HeapTupleIsValid(tup))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	form = (Form_pg_constraint) GETSTRUCT(tup);
	result = form->conindid == fast->indexes[fast->conflict].oid && form->conrelid != form->confrelid;
	ReleaseSysCache(tup);
	return result;
}

bool
ks_foreign_plan(Relation rel, bool updates, KsTarget *target, KsFast *fast)
{
	List	   *seen = NIL;

	if (rel->trigdesc == NULL)
		return true;
	fast->foreign = palloc0(rel->trigdesc->numtriggers * sizeof(KsForeignKey));
	for (int i = 0; i < rel->trigdesc->numtriggers; i++)
	{
		const Trigger *trigger = &rel->trigdesc->triggers[i];

		if (!trigger->tgisinternal || trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN)
			return false;
		switch (RI_FKey_trigger_type(trigger->tgfoid))
		{
			case RI_TRIGGER_FK:
				if (list_member_oid(seen, trigger->tgconstraint))
					break;
				seen = lappend_oid(seen, trigger->tgconstraint);
				if (!add_foreign(rel, trigger->tgconstraint, target, fast))
					return false;
				break;
			case RI_TRIGGER_PK:
				fast->referenced = true;
				if (updates && !is_key(trigger->tgconstraint, fast))
					return false;
				break;
			default:
				return false;
		}
	}
	return true;
}

bool
ks_foreign_may(const KsFast *fast, bool deletes)
{
	if (fast->referenced && deletes)
		return false;
	/* as a replica a session does not check anything */
	return fast->nforeign == 0 || SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
}

bool
ks_fast_may_decline(const KsTarget *target)
{
	return target->fast != NULL && (target->fast->nforeign > 0 || target->fast->partitioned);
}

/* --- which rows are asked about --- */

static bool
has_null(const KsWrite *w, const KsForeignKey *fk, int row)
{
	const bool *isnull = w->rows.isnull + (Size) row * w->rows.ncols;

	for (int k = 0; k < fk->index.ncols; k++)
		if (isnull[fk->index.cols[k]])
			return true;
	return false;
}

static bool
has_same_key(const KsWrite *w, const KsForeignKey *fk, int row, TupleTableSlot *old)
{
	Size		first = (Size) row * w->rows.ncols;

	for (int k = 0; k < fk->index.ncols; k++)
	{
		int			c = fk->index.cols[k];
		bool		isnull;
		Datum		value = slot_getattr(old, w->fast->attnums[c], &isnull);

		if (ApplySortComparator(value, isnull, w->rows.values[first + c], w->rows.isnull[first + c],
								unconstify(SortSupportData *, &fk->index.key.ssup[k])) != 0)
			return false;
	}
	return true;
}

/* Is it of our own transaction?  Then it is asked about again. */
static bool
is_ours(TupleTableSlot *old)
{
	bool		isnull;
	Datum		xmin = slot_getsysattr(old, MinTransactionIdAttributeNumber, &isnull);

	return TransactionIdIsCurrentTransactionId(DatumGetTransactionId(xmin));
}

void
ks_foreign_note(KsWrite *w, int row, TupleTableSlot *old)
{
	for (int i = 0; i < w->fast->nforeign; i++)
	{
		const KsForeignKey *fk = &w->fast->foreign[i];
		KsRowList  *list = &w->referring[i];

		if (has_null(w, fk, row) || (old && has_same_key(w, fk, row, old) && !is_ours(old)))
			continue;
		if (list->rows == NULL)
			list->rows = MemoryContextAllocHuge(w->cxt, (Size) w->maxrows * sizeof(int));
		list->rows[list->n++] = row;
	}
}

/* --- the check --- */

typedef struct Locks
{
	Relation	rel;
	Snapshot	snapshot;
	CommandId	cid;
	TupleTableSlot *slot;
} Locks;

/* False if somebody has changed or deleted it. */
static bool
lock_row(void *arg, int row, TupleTableSlot *there)
{
	Locks	   *locks = arg;
	ItemPointerData tid = there->tts_tid;
	TM_FailureData tmfd;

	return table_tuple_lock(locks->rel, &tid, locks->snapshot, locks->slot, locks->cid,
							LockTupleKeyShare, LockWaitBlock,
							TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS, &tmfd) == TM_Ok;
}

/* The triggers' query is the owner's. */
static bool
owner_may_lock(Relation rel)
{
	Oid			owner = rel->rd_rel->relowner;

	return pg_class_aclcheck(RelationGetRelid(rel), owner, ACL_SELECT) == ACLCHECK_OK &&
		pg_class_aclcheck(RelationGetRelid(rel), owner, ACL_UPDATE) == ACLCHECK_OK &&
		ks_namespace_aclcheck(RelationGetNamespace(rel), owner, ACL_USAGE) == ACLCHECK_OK;
}

/* One row of each key, in their order. */
static KsSortItem *
list_keys(const KsWrite *w, const KsForeignKey *fk, const KsRowList *list, int *n)
{
	KsSortItem *items = ks_sort_rows(&fk->index.key, &w->rows, list->rows, list->n);

	*n = 0;
	for (int i = 0; i < list->n; i++)
		if (i == 0 || ks_sort_compare(&fk->index.key, &w->rows, &items[*n - 1], &items[i]) != 0)
			items[(*n)++] = items[i];
	return items;
}

static bool
lock_keys(const KsWrite *w, const KsForeignKey *fk, Relation rel, const KsRowList *list)
{
	Relation	index = index_open(fk->index.oid, AccessShareLock);
	int			n;
	KsSortItem *items = list_keys(w, fk, list, &n);
	Locks		locks = {.rel = rel, .cid = w->cid};
	int			missing;

	/* the triggers look when all is written */
	PushActiveSnapshot(GetTransactionSnapshot());
	locks.snapshot = GetActiveSnapshot();
	locks.slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));
	missing = ks_fast_probe(rel, &fk->index, &w->rows, items, n, lock_row, &locks);
	ExecDropSingleTupleTableSlot(locks.slot);
	PopActiveSnapshot();
	pfree(items);
	index_close(index, NoLock);
	return missing == 0;
}

bool
ks_foreign_check(KsWrite *w)
{
	bool		found = true;

	for (int i = 0; i < w->fast->nforeign && found; i++)
	{
		const KsForeignKey *fk = &w->fast->foreign[i];
		Relation	rel;

		if (w->referring[i].n == 0)
			continue;
		rel = table_open(fk->relid, RowShareLock);
		/* the lock tells of changes: of another index, for example */
		found = w->target->valid && owner_may_lock(rel) &&
			lock_keys(w, fk, rel, &w->referring[i]);
		table_close(rel, NoLock);
	}
	return found;
}
