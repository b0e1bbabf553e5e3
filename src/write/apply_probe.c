/*
 * apply_probe.c
 *	  Which keys of a batch are in a table: the target, or one that it refers to.
 *
 * The keys come in the order of the index, so where they lie close together
 * one scan that walks along finds all of them: a step costs a fraction of a
 * descent from the root, and behind the index's last entry nothing needs to be
 * looked up at all.  Where the index is much denser than the batch, each key is
 * looked up by itself.  Which of the two is better is found out as it goes,
 * for CHUNK keys at a time.
 */
#include "postgres.h"

#include "access/itup.h"
#include "access/nbtree.h"
#include "access/skey.h"
#include "access/tableam.h"
#include "catalog/pg_index.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "write/apply_fast.h"

#define CHUNK		4096
#define MAX_STEPS	64			/* between two keys; farther is a new descent */
#define PREFETCH	8			/* keys ahead whose rows are brought into the cache */
#define MAX_JUMPS	16			/* new descents in a chunk before it gives up */

typedef struct Walk
{
	const KsFastIndex *fi;
	Relation	index;
	TupleTableSlot *slot;		/* of the row found */

	IndexScanDesc scan;			/* index >= key, row-wise */
	ScanKeyData from[INDEX_MAX_KEYS];
	ScanKeyData row;			/* header over 'from' if several columns */
	bool		positioned;
	bool		ended;			/* behind the last entry */
	/* the entry at hand, laid out as a row of the batch */
	Datum	   *values;
	bool	   *isnull;
	int64		abbrev;

	IndexScanDesc lookup;		/* index = key */
	ScanKeyData equal[INDEX_MAX_KEYS];
} Walk;

/* --- scans --- */

static void
init_scan_keys(Walk *walk)
{
	int			n = walk->fi->key.ncols;

	for (int i = 0; i < n; i++)
	{
		Oid			family = walk->index->rd_opfamily[i];
		Oid			type = walk->index->rd_opcintype[i];
		Oid			collation = walk->index->rd_indcollation[i];
		Oid			eq = get_opfamily_member(family, type, type, BTEqualStrategyNumber);
		Oid			ge = get_opfamily_member(family, type, type, BTGreaterEqualStrategyNumber);
		RegProcedure cmp = get_opfamily_proc(family, type, type, BTORDER_PROC);

		ScanKeyEntryInitialize(&walk->equal[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
							   collation, get_opcode(eq), (Datum) 0);
		if (n == 1)
			ScanKeyEntryInitialize(&walk->from[i], 0, i + 1, BTGreaterEqualStrategyNumber,
								   InvalidOid, collation, get_opcode(ge), (Datum) 0);
		else
			ScanKeyEntryInitialize(&walk->from[i], SK_ROW_MEMBER | (i == n - 1 ? SK_ROW_END : 0),
								   i + 1, BTGreaterEqualStrategyNumber, InvalidOid,
								   collation, cmp, (Datum) 0);
	}
	if (n > 1)
	{
		memset(&walk->row, 0, sizeof(ScanKeyData));
		walk->row.sk_flags = SK_ROW_HEADER;
		walk->row.sk_attno = 1;
		walk->row.sk_strategy = BTGreaterEqualStrategyNumber;
		walk->row.sk_argument = PointerGetDatum(walk->from);
	}
}

/* To the next entry of the index. */
static void
step(Walk *walk)
{
	const KsSortKey *key = &walk->fi->key;

	if (index_getnext_tid(walk->scan, ForwardScanDirection) == NULL)
	{
		walk->ended = true;
		return;
	}
	for (int i = 0; i < key->ncols; i++)
		walk->values[key->cols[i]] = index_getattr(walk->scan->xs_itup, i + 1,
												   walk->scan->xs_itupdesc,
												   &walk->isnull[key->cols[i]]);
	walk->abbrev = ks_sort_abbreviate(key, walk->values[key->cols[0]],
									  walk->isnull[key->cols[0]]);
}

/* To the first entry that is not below the key of a row. */
static void
jump(Walk *walk, const Datum *values)
{
	const KsSortKey *key = &walk->fi->key;

	for (int i = 0; i < key->ncols; i++)
		walk->from[i].sk_argument = values[key->cols[i]];
	index_rescan(walk->scan, key->ncols == 1 ? walk->from : &walk->row, 1, NULL, 0);
	walk->positioned = true;
	step(walk);
}

static inline int
compare_entry(Walk *walk, const KsSortItem *item, const Datum *values, const bool *isnull)
{
	if (walk->abbrev != item->abbrev)
		return walk->abbrev < item->abbrev ? -1 : 1;
	if (walk->fi->key.exact)
		return 0;
	return ks_sort_compare_full(&walk->fi->key, walk->values, walk->isnull, values, isnull);
}

/* --- one key --- */

/* Walks on to the key; false if it is too far. */
static bool
walk_to(Walk *walk, const KsSortItem *item, const Datum *values, const bool *isnull)
{
	if (!walk->positioned)
		return false;
	for (int i = 0; !walk->ended && compare_entry(walk, item, values, isnull) < 0; i++)
	{
		if (i == MAX_STEPS)
			return false;
		step(walk);
	}
	return true;
}

/* Is a visible row at the entries of this key? */
static bool
find_here(Walk *walk, const KsSortItem *item, const Datum *values, const bool *isnull)
{
	while (!walk->ended && compare_entry(walk, item, values, isnull) == 0)
	{
		if (index_fetch_heap(walk->scan, walk->slot))
			return true;
		step(walk);
	}
	return false;
}

static bool
probe_key(Walk *walk, const Datum *values)
{
	const KsSortKey *key = &walk->fi->key;

	for (int i = 0; i < key->ncols; i++)
		walk->equal[i].sk_argument = values[key->cols[i]];
	index_rescan(walk->lookup, walk->equal, key->ncols, NULL, 0);
	while (index_getnext_tid(walk->lookup, ForwardScanDirection) != NULL)
		if (index_fetch_heap(walk->lookup, walk->slot))
			return true;
	return false;
}

/* --- all keys --- */

bool
ks_probe_finds(Relation index)
{
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (index->rd_indoption[i] & INDOPTION_DESC)
			return false;
	return true;
}

int
ks_fast_probe(Relation rel, const KsFastIndex *fi, const KsRows *rows, KsSortItem *items, int n,
			  KsFound found, void *arg)
{
	Snapshot	snapshot = GetActiveSnapshot();
	Walk		walk = {.fi = fi};
	int			nmissing = 0;
	int			jumps = 0;
	MemoryContext cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink probe",
											  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);

	walk.index = index_open(fi->oid, NoLock);	/* whoever calls has locked it */
	walk.slot = MakeSingleTupleTableSlot(RelationGetDescr(rel), table_slot_callbacks(rel));
	walk.values = palloc0(rows->ncols * sizeof(Datum));
	walk.isnull = palloc0(rows->ncols * sizeof(bool));
	init_scan_keys(&walk);
	walk.scan = ks_index_beginscan(rel, walk.index, snapshot, 1);
	walk.scan->xs_want_itup = true;
	walk.lookup = ks_index_beginscan(rel, walk.index, snapshot, fi->key.ncols);

	for (int i = 0; i < n; i++)
	{
		Size		first = (Size) items[i].row * rows->ncols;
		const Datum *values = rows->values + first;
		const bool *isnull = rows->isnull + first;
		bool		there;

		if (i % CHUNK == 0)
		{
			CHECK_FOR_INTERRUPTS();
			jumps = 0;
		}
		if (i + PREFETCH < n)
		{
			first = (Size) items[i + PREFETCH].row * rows->ncols;
			__builtin_prefetch(rows->values + first);
			__builtin_prefetch(rows->isnull + first);
		}
		if (walk.ended)
			there = false;
		else if (walk_to(&walk, &items[i], values, isnull))
			there = find_here(&walk, &items[i], values, isnull);
		else if (jumps++ < MAX_JUMPS)
		{
			jump(&walk, values);
			there = find_here(&walk, &items[i], values, isnull);
		}
		else
		{
			walk.positioned = false;
			there = probe_key(&walk, values);
		}
		if (there && !found(arg, items[i].row, walk.slot))
		{
			nmissing = -1;
			break;
		}
		if (!there)
			items[nmissing++] = items[i];
	}
	index_endscan(walk.lookup);
	index_endscan(walk.scan);
	ExecDropSingleTupleTableSlot(walk.slot);
	index_close(walk.index, NoLock);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
	return nmissing;
}
