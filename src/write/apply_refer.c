/*
 * apply_refer.c
 *	  Foreign keys between records of a batch, by their decoded values.
 *
 * Most records whose foreign key finds no row have none in the batch either, and
 * need no trial to show it.  So the keys that a batch may bring are kept as sorted
 * hashes, one set for a constraint.  This is a shortcut only: where the values of a
 * row are not what was decoded (a trigger may change them, a default fill them), or
 * equal values may differ in their bytes, nothing is known, and trials tell.
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "write/apply_search.h"

/* Records that were put aside, beyond which none is looked at. */
#define MAX_COMPARED	1000

typedef struct KsKeySet
{
	ForeignKeyCacheInfo fk;
	bool		known;			/* or else any key may be there */
	uint32	   *hashes;			/* sorted */
	int			n;
	uint32	   *deleted;		/* sorted; of those that are deleted, as far as they are known */
	int			ndeleted;
} KsKeySet;

/* Are values of the type equal only if their bytes are? */
static bool
is_equal_by_bytes(const KsTarget *target, int c)
{
	Oid			collation = TupleDescAttr(target->rowdesc, c)->attcollation;

	switch (target->cols[c].type.typid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case UUIDOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
		case BYTEAOID:
			return true;
		case TEXTOID:
		case VARCHAROID:
			return get_collation_isdeterministic(collation);
		default:
			return false;
	}
}

/* The key's columns in one of its tables; false if their values are not known. */
static bool
find_columns(const KsTarget *target, const AttrNumber *attnums, int n, int *cols)
{
	for (int k = 0; k < n; k++)
	{
		cols[k] = ks_target_find_column(target, attnums[k]);
		if (cols[k] < 0 || target->cols[cols[k]].when != KS_WITH_RECORD || target->cols[cols[k]].in_attempt ||
			!is_equal_by_bytes(target, cols[k]))
			return false;
	}
	return true;
}

/* Of a row as decoded; false if it has NULL in it. */
static bool
hash_key(const KsRoute *r, int i, const int *cols, int n, uint32 *hash)
{
	Size		row = (Size) i * r->rows.ncols;

	*hash = 0;
	for (int k = 0; k < n; k++)
	{
		const KsType *type = &r->target->cols[cols[k]].type;

		if (r->rows.isnull[row + cols[k]])
			return false;
		*hash = hash_combine(*hash, datum_image_hash(r->rows.values[row + cols[k]], type->typbyval, type->typlen));
	}
	return true;
}

static int
compare_hashes(const void *a, const void *b)
{
	uint32		ha = *(const uint32 *) a;
	uint32		hb = *(const uint32 *) b;

	return (ha > hb) - (ha < hb);
}

/* May code of the owner's change values on their way? */
static bool
has_row_triggers(const KsRoute *r)
{
	Relation	rel = table_open(r->target->relid, NoLock);
	bool		found = rel->rd_rel->relkind != RELKIND_RELATION ||
		(rel->trigdesc && (rel->trigdesc->trig_insert_before_row || rel->trigdesc->trig_update_before_row));

	table_close(rel, NoLock);
	return found;
}

static bool
has_deletes(const KsApply *ap, const KsRoute *r)
{
	return r->lo < r->hi && memchr(ap->ops + r->lo, KS_ROW_DELETE, r->hi - r->lo) != NULL;
}

/* Does a delete tell all of the key? */
static bool
is_part_of_key(const KsTarget *target, const int *cols, int n)
{
	for (int k = 0; k < n; k++)
		if (target->cols[cols[k]].keyno < 0)
			return false;
	return true;
}

/*
 * All keys that the batch may bring to the table that is referred to, and those that it
 * deletes.  Returns whether all of them are known.
 */
static bool
collect_keys(KsApply *ap, KsKeySet *set)
{
	int			cols[INDEX_MAX_KEYS] = {0};
	bool		known = true;

	for (int r = 0; r < ap->nroutes; r++)
	{
		const KsRoute *route = &ap->routes[r];

		if (route->lo == route->hi)
			continue;
		if (route->target->command || has_row_triggers(route))
			known = false;
		if (!ks_target_shares_rows(route->target, set->fk.confrelid))
			continue;
		/* or its columns are others */
		if (route->target->relid != set->fk.confrelid ||
			!find_columns(route->target, set->fk.confkey, set->fk.nkeys, cols))
		{
			known = false;
			continue;
		}
		known &= is_part_of_key(route->target, cols, set->fk.nkeys) || !has_deletes(ap, route);
		for (int i = route->lo; i < route->hi; i++)
		{
			uint32		hash;

			if (ap->ops[i] != KS_ROW_WRITE && ap->ops[i] != KS_ROW_PATCH && ap->ops[i] != KS_ROW_DELETE)
				continue;
			if (!hash_key(route, i, cols, set->fk.nkeys, &hash))
				continue;
			if (ap->ops[i] == KS_ROW_DELETE)
				set->deleted[set->ndeleted++] = hash;
			else
				set->hashes[set->n++] = hash;
		}
	}
	return known;
}

/* Do deletes of the batch act on rows of the table, whatever their keys are? */
static bool
may_be_acted_on(const KsApply *ap, Oid relid)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (list_member_oid(ap->routes[i].target->acts_on, relid) && has_deletes(ap, &ap->routes[i]))
			return true;
	return false;
}

static void
fill_set(KsApply *ap, KsKeySet *set)
{
	set->hashes = MemoryContextAllocHuge(ap->batch_cxt, (Size) ap->nrecs * sizeof(uint32));
	set->deleted = MemoryContextAllocHuge(ap->batch_cxt, (Size) ap->nrecs * sizeof(uint32));
	set->known = collect_keys(ap, set) && !may_be_acted_on(ap, set->fk.confrelid);
	qsort(set->hashes, set->n, sizeof(uint32), compare_hashes);
	qsort(set->deleted, set->ndeleted, sizeof(uint32), compare_hashes);
}

/* Of a partition's constraint, that of the table which it is a partition of. */
static Oid
parent_of_constraint(Oid constraint)
{
	HeapTuple	tup = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid			parent = InvalidOid;

	if (HeapTupleIsValid(tup))
	{
		parent = ((Form_pg_constraint) GETSTRUCT(tup))->conparentid;
		ReleaseSysCache(tup);
	}
	return parent;
}

/* What the table refers to by the constraint, or by that of a partition; false if it does not. */
static bool
find_foreign_key(Oid relid, Oid constraint, ForeignKeyCacheInfo *fk)
{
	Relation	rel = table_open(relid, NoLock);
	bool		found = false;
	ListCell   *lc;

	for (; OidIsValid(constraint) && !found; constraint = parent_of_constraint(constraint))
		foreach(lc, RelationGetFKeyList(rel))
			if (((ForeignKeyCacheInfo *) lfirst(lc))->conoid == constraint)
			{
				*fk = *(ForeignKeyCacheInfo *) lfirst(lc);
				found = true;
			}
	table_close(rel, NoLock);
	return found;
}

static KsKeySet *
get_set(KsApply *ap, Oid relid, Oid constraint)
{
	MemoryContext old;
	KsKeySet   *set;
	ListCell   *lc;

	foreach(lc, ap->key_sets)
	{
		set = lfirst(lc);
		if (set->fk.conoid == constraint)
			return set;
	}
	old = MemoryContextSwitchTo(ap->batch_cxt);
	set = palloc0(sizeof(KsKeySet));
	if (find_foreign_key(relid, constraint, &set->fk))
		fill_set(ap, set);
	set->fk.conoid = constraint;
	ap->key_sets = lappend(ap->key_sets, set);
	MemoryContextSwitchTo(old);
	return set;
}

/*
 * May a write of the record's take away what the constraint refers to?  Only of another
 * unique key than that by which rows are found.
 */
static bool
may_be_referred_to(const KsRoute *r, const ForeignKeyCacheInfo *fk)
{
	if (r->sink->insert_mode == KS_INSERT || r->sink->insert_mode == KS_IGNORE ||
		!ks_target_shares_rows(r->target, fk->confrelid))
		return false;
	if (r->target->relid != fk->confrelid)
		return true;
	for (int k = 0; k < fk->nkeys; k++)
	{
		int			c = ks_target_find_column(r->target, fk->confkey[k]);

		if (c < 0 || r->target->cols[c].keyno < 0)
			return true;
	}
	return false;
}

/* Are the values of the columns of the types that they are compared with? */
static bool
has_types(const KsRoute *r, const int *cols, const ForeignKeyCacheInfo *fk)
{
	for (int k = 0; k < fk->nkeys; k++)
		if (r->target->cols[cols[k]].type.typid != get_atttype(fk->confrelid, fk->confkey[k]))
			return false;
	return true;
}

static bool
is_in(uint32 hash, const uint32 *hashes, int n)
{
	return n > 0 && bsearch(&hash, hashes, n, sizeof(uint32), compare_hashes) != NULL;
}

/* The row that the record refers to, if its values are known. */
static bool
hash_reference(const KsApply *ap, int index, const KsKeySet *set, uint32 *hash)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	int			cols[INDEX_MAX_KEYS] = {0};

	return find_columns(r->target, set->fk.conkey, set->fk.nkeys, cols) && has_types(r, cols, &set->fk) &&
		hash_key(r, index, cols, set->fk.nkeys, hash);
}

bool
ks_refer_may_find(KsApply *ap, int index, Oid constraint)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	const KsKeySet *set;
	uint32		hash;

	/* all must be decoded, and only one that is written refers to another */
	if (r->target->command || ap->decoded_until < ap->nrecs || ap->ops[index] != KS_ROW_WRITE)
		return true;
	set = get_set(ap, r->target->relid, constraint);
	/* (of one with NULL in it, it may be that another row is still referred to) */
	if (!set->known || may_be_referred_to(r, &set->fk) || !hash_reference(ap, index, set, &hash))
		return true;
	return is_in(hash, set->hashes, set->n) || is_in(hash, set->deleted, set->ndeleted);
}

bool
ks_refer_may_have_gone(KsApply *ap, int index)
{
	const KsTarget *target = ks_apply_route_at(ap, index)->target;

	if (ap->ops[index] != KS_ROW_PATCH)
		return false;
	for (int i = 0; i < ap->nroutes; i++)
	{
		ListCell   *lc;

		if (!has_deletes(ap, &ap->routes[i]))
			continue;
		foreach(lc, ap->routes[i].target->acts_on)
			if (ks_target_shares_rows(target, lfirst_oid(lc)))
				return true;
	}
	return false;
}

bool
ks_refer_is_deleted(KsApply *ap, int index, Oid constraint)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	const KsKeySet *set;
	uint32		hash;

	if (!OidIsValid(constraint) || r->target->command || ap->decoded_until < ap->nrecs || ap->ops[index] != KS_ROW_WRITE)
		return false;
	set = get_set(ap, r->target->relid, constraint);
	return hash_reference(ap, index, set, &hash) && is_in(hash, set->deleted, set->ndeleted);
}

bool
ks_refer_finds_behind(KsApply *ap, int index, Oid constraint)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	const KsKeySet *set;
	int			cols[INDEX_MAX_KEYS] = {0};
	uint32		hash,
				other;

	if (r->target->command || ap->decoded_until < ap->nrecs || ap->ops[index] != KS_ROW_WRITE)
		return false;
	set = get_set(ap, r->target->relid, constraint);
	if (!set->known || !hash_reference(ap, index, set, &hash))
		return false;
	for (int i = 0; i < ap->nroutes; i++)
	{
		r = &ap->routes[i];
		if (r->lo == r->hi || r->target->relid != set->fk.confrelid ||
			!find_columns(r->target, set->fk.confkey, set->fk.nkeys, cols))
			continue;
		for (int j = Max(r->lo, ap->limit); j < r->hi; j++)
			if ((ap->ops[j] == KS_ROW_WRITE || ap->ops[j] == KS_ROW_PATCH) &&
				hash_key(r, j, cols, set->fk.nkeys, &other) && other == hash)
				return true;
	}
	return false;
}

/* Is the row of a record known not to be the one that is referred to? */
static bool
is_another_row(const KsApply *ap, int i, int other, const ForeignKeyCacheInfo *fk)
{
	const KsRoute *from = ks_apply_route_at(ap, i);
	const KsRoute *to = ks_apply_route_at(ap, other);
	int			cols1[INDEX_MAX_KEYS] = {0};
	int			cols2[INDEX_MAX_KEYS] = {0};
	uint32		hash1,
				hash2;

	if (to->target->command)
		return false;
	if (!ks_target_shares_rows(to->target, fk->confrelid))
		return true;
	if (to->target->relid != fk->confrelid)
		return false;
	/* of one that cannot be decoded the key is not known */
	if (ap->nundecodable > 0 ||
		!find_columns(from->target, fk->conkey, fk->nkeys, cols1) ||
		!find_columns(to->target, fk->confkey, fk->nkeys, cols2))
		return false;
	for (int k = 0; k < fk->nkeys; k++)
		if (from->target->cols[cols1[k]].type.typid != to->target->cols[cols2[k]].type.typid)
			return false;
	return hash_key(from, i, cols1, fk->nkeys, &hash1) &&
		hash_key(to, other, cols2, fk->nkeys, &hash2) && hash1 != hash2;
}

bool
ks_refer_may_need_rejected(KsApply *ap, int index, Oid constraint)
{
	Oid			relid = ks_apply_route_at(ap, index)->target->relid;
	ForeignKeyCacheInfo fk;

	if (!OidIsValid(relid) || !OidIsValid(constraint) || ap->stopped.edata ||
		ap->rejects.n > MAX_COMPARED || !find_foreign_key(relid, constraint, &fk) ||
		may_be_referred_to(ks_apply_route_at(ap, index), &fk))
		return true;
	for (int k = 0; k < ap->rejects.n; k++)
		if (!is_another_row(ap, index, ap->rejects.items[k].index, &fk))
			return true;
	return false;
}
