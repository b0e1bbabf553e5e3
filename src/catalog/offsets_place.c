/*
 * offsets_place.c
 *	  Where rows of txn_offsets stand, and how they are found.
 *
 * Each commit leaves a version of its rows behind.  Under a snapshot that is
 * held for long (a dump, a replication slot) none of them goes away, and an
 * hour's commits fill tens of thousands of pages, each with an entry in the
 * index: a statement that looks for a row by its key visits all of them, up to
 * the one that it may see.  So
 *
 * - the place (ctid) of a row is remembered by the process that has locked or
 *   moved it.  It is a hint: whatever stands there must have the key.
 * - a row whose place is not known is looked for from the end of its entries.
 *   Of equal keys the index is in the order of places, and where nothing can be
 *   used again new versions stand behind the old ones, so the first visit finds
 *   the one that is visible.  Only the time depends on that order: no key has
 *   two visible versions, whichever is met first.
 *
 * What is not as the extension has made it is left to the statements.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "catalog/offsets_int.h"

/* --- places --- */

/* Where a row was; two rows of one hash take turns, and are found by key. */
typedef struct Place
{
	uint64		hash;
	ItemPointerData tid;
} Place;

#define MAX_PLACES	16384
#define MAX_LOOKS	1024		/* for partitions of a sink's workers */

static HTAB *places = NULL;

static Place *
place_of(const char *sink, const KsPartition *p, HASHACTION action)
{
	uint64		hash = hash_bytes_extended((const unsigned char *) sink, strlen(sink), (uint32) p->part);

	hash = hash_bytes_extended((const unsigned char *) p->topic, strlen(p->topic), hash);
	if (places == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(uint64), .entrysize = sizeof(Place), .hcxt = TopMemoryContext};

		places = hash_create("kafka_sink places of offsets", 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(places, &hash, action, NULL);
}

ItemPointer
ks_offsets_place(const char *sink, const KsPartition *p)
{
	Place	   *place = place_of(sink, p, HASH_FIND);

	return place ? &place->tid : NULL;
}

void
ks_offsets_placed(const char *sink, const KsPartition *p, ItemPointer tid)
{
	ItemPointerCopy(tid, &place_of(sink, p, HASH_ENTER)->tid);
}

/* (not reached by tests: so many partitions take their time) */
void
ks_offsets_forget_places(void)
{
	if (places && hash_get_num_entries(places) > MAX_PLACES)
	{
		hash_destroy(places);
		places = NULL;
	}
}

/* --- the table --- */

Relation
ks_offsets_open(LOCKMODE mode)
{
	return table_open(ks_extension_relation(KS_TXN_OFFSETS), mode);
}

Relation
ks_offsets_open_key(Relation rel, LOCKMODE mode)
{
	Relation	key;
	Form_pg_index form;

	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rel->relhassubclass)
		return NULL;
	list_free(RelationGetIndexList(rel));	/* fills rd_pkindex */
	if (!OidIsValid(rel->rd_pkindex))
		return NULL;
	key = index_open(rel->rd_pkindex, mode);
	form = key->rd_index;
	if (key->rd_rel->relam == BTREE_AM_OID && form->indisvalid && form->indimmediate &&
		form->indnkeyatts == KS_OFFSETS_PART &&
		form->indkey.values[0] == KS_OFFSETS_SINK &&
		form->indkey.values[1] == KS_OFFSETS_TOPIC &&
		form->indkey.values[2] == KS_OFFSETS_PART)
		return key;
	index_close(key, mode);
	return NULL;
}

static bool
is_text(Datum d, const char *s)
{
	text	   *t = DatumGetTextPP(d);

	return VARSIZE_ANY_EXHDR(t) == strlen(s) && memcmp(VARDATA_ANY(t), s, strlen(s)) == 0;
}

bool
ks_offsets_is_row(TupleTableSlot *slot, const char *sink, const KsPartition *p)
{
	slot_getallattrs(slot);
	return DatumGetInt32(slot->tts_values[KS_OFFSETS_PART - 1]) == p->part &&
		is_text(slot->tts_values[KS_OFFSETS_TOPIC - 1], p->topic) &&
		is_text(slot->tts_values[KS_OFFSETS_SINK - 1], sink);
}

/* --- by the key --- */

/* What is looked for: the key, or what is before one. */
typedef struct Search
{
	Relation	rel;
	Relation	key;
	int			n;
	ScanKeyData keys[KS_OFFSETS_PART];
} Search;

static void
add_key(Search *s, StrategyNumber strategy, RegProcedure compare, Datum value)
{
	int			i = s->n++;

	ScanKeyEntryInitialize(&s->keys[i], 0, i + 1, strategy, InvalidOid,
						   s->key->rd_indcollation[i], compare, value);
}

static void
search_by_key(Search *s, Datum sink, Datum topic, Datum part)
{
	s->n = 0;
	add_key(s, BTEqualStrategyNumber, F_TEXTEQ, sink);
	add_key(s, BTEqualStrategyNumber, F_TEXTEQ, topic);
	add_key(s, BTEqualStrategyNumber, F_INT4EQ, part);
}

static IndexScanDesc
begin_scan(Search *s, Snapshot snapshot)
{
	IndexScanDesc scan = ks_index_beginscan(s->rel, s->key, snapshot, s->n);

	index_rescan(scan, s->keys, s->n, NULL, 0);
	return scan;
}

/* The last row that is visible now; false if there is none. */
static bool
fetch_last(Search *s, TupleTableSlot *slot)
{
	IndexScanDesc scan = begin_scan(s, GetActiveSnapshot());
	bool		found = index_getnext_slot(scan, BackwardScanDirection, slot);

	index_endscan(scan);
	return found;
}

/* The search has what it needs: a snapshot as a statement has it. */
static bool
begin_search(Search *s)
{
	s->rel = ks_offsets_open(AccessShareLock);
	s->key = ks_offsets_open_key(s->rel, AccessShareLock);
	if (s->key == NULL)
	{
		table_close(s->rel, NoLock);
		return false;
	}
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	return true;
}

static void
end_search(Search *s)
{
	PopActiveSnapshot();
	index_close(s->key, NoLock);
	table_close(s->rel, NoLock);
}

static int64
slot_int8(TupleTableSlot *slot, int attnum, int64 otherwise)
{
	return slot->tts_isnull[attnum - 1] ? otherwise : DatumGetInt64(slot->tts_values[attnum - 1]);
}

static void
read_row(TupleTableSlot *slot, KsPartition *row)
{
	slot_getallattrs(slot);
	row->off = slot_int8(slot, KS_OFFSETS_OFF, -1);
	row->last_off = slot_int8(slot, KS_OFFSETS_LAST_OFF, -1);
	row->last_hash = (uint64) slot_int8(slot, KS_OFFSETS_LAST_HASH, 0);
	if (slot->tts_isnull[KS_OFFSETS_LAST_HASH - 1])
		row->last_off = -1;
}

bool
ks_offsets_find(const char *sink, const KsPartition *p, KsPartition *row)
{
	Search		s;
	TupleTableSlot *slot;
	bool		found;

	if (!begin_search(&s))
		return false;
	slot = table_slot_create(s.rel, NULL);
	search_by_key(&s, CStringGetTextDatum(sink), CStringGetTextDatum(p->topic), Int32GetDatum(p->part));
	found = fetch_last(&s, slot) && ks_offsets_is_row(slot, sink, p);
	if (found)
		ks_offsets_placed(sink, p, &slot->tts_tid);
	if (found && row)
		read_row(slot, row);
	ExecDropSingleTupleTableSlot(slot);
	end_search(&s);
	return found;
}

/* The row before 'after' in the order of the key (NULL: the last one). */
static bool
fetch_before(Search *s, const char *sink, const char *topic, const KsPartition *after, TupleTableSlot *slot)
{
	s->n = 0;
	add_key(s, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(sink));
	if (topic || after)
		add_key(s, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(after ? after->topic : topic));
	if (after)
		add_key(s, BTLessStrategyNumber, F_INT4LT, Int32GetDatum(after->part));
	if (fetch_last(s, slot))
		return true;
	if (topic || !after)
		return false;
	s->n = 1;
	add_key(s, BTLessStrategyNumber, F_TEXT_LT, CStringGetTextDatum(after->topic));
	return fetch_last(s, slot);
}

KsPartition *
ks_offsets_find_all(const char *sink, const char *topic, int *n)
{
	Search		s;
	TupleTableSlot *slot;
	KsPartition *rows;
	int			size = 64;
	MemoryContext result_cxt = CurrentMemoryContext;
	MemoryContext scratch;

	if (!begin_search(&s))
		return NULL;
	slot = table_slot_create(s.rel, NULL);
	rows = palloc(size * sizeof(KsPartition));
	scratch = AllocSetContextCreate(result_cxt, "kafka_sink offsets", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	for (*n = 0; fetch_before(&s, sink, topic, *n > 0 ? &rows[*n - 1] : NULL, slot); (*n)++)
	{
		CHECK_FOR_INTERRUPTS();
		if (*n == size)
			rows = repalloc_huge(rows, (Size) (size *= 2) * sizeof(KsPartition));
		memset(&rows[*n], 0, sizeof(KsPartition));
		read_row(slot, &rows[*n]);
		rows[*n].topic = MemoryContextStrdup(result_cxt, TextDatumGetCString(slot->tts_values[KS_OFFSETS_TOPIC - 1]));
		rows[*n].part = DatumGetInt32(slot->tts_values[KS_OFFSETS_PART - 1]);
		ExecClearTuple(slot);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(result_cxt);
	MemoryContextDelete(scratch);
	ExecDropSingleTupleTableSlot(slot);
	end_search(&s);
	ks_offsets_sort(rows, *n);
	return rows;
}

uint64
ks_offsets_used_workers(const char *sink, int workers)
{
	uint64		all = workers >= 64 ? ~UINT64CONST(0) : (UINT64CONST(1) << workers) - 1;
	uint64		used = 0;
	Search		s;
	TupleTableSlot *slot;
	KsPartition last;
	int			n;
	MemoryContext scratch;
	MemoryContext old;

	if (!begin_search(&s))
		return all;
	slot = table_slot_create(s.rel, NULL);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink offsets", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(scratch);
	for (n = 0; n < MAX_LOOKS && used != all && fetch_before(&s, sink, NULL, n > 0 ? &last : NULL, slot); n++)
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		last.topic = TextDatumGetCString(slot->tts_values[KS_OFFSETS_TOPIC - 1]);
		last.part = DatumGetInt32(slot->tts_values[KS_OFFSETS_PART - 1]);
		used |= UINT64CONST(1) << (last.part % workers);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	ExecDropSingleTupleTableSlot(slot);
	end_search(&s);
	return n == MAX_LOOKS ? all : used;
}

/*
 * Who looks whether a key is free holds the first page on which it can be, from
 * before the first entry until behind the last one.  So whoever has passed that
 * page after an entry was made knows that it is seen by all who look from now
 * on, wherever it stands, and that those who looked before are done.
 */
void
ks_offsets_pass_checks(Relation rel, Relation key, TupleTableSlot *row)
{
	Search		s = {.rel = rel, .key = key};
	IndexScanDesc scan;

	search_by_key(&s, row->tts_values[KS_OFFSETS_SINK - 1],
				  row->tts_values[KS_OFFSETS_TOPIC - 1],
				  row->tts_values[KS_OFFSETS_PART - 1]);
	/* no snapshot: nothing is read, nobody is to conflict with it */
	scan = begin_scan(&s, SnapshotAny);
	(void) index_getnext_tid(scan, ForwardScanDirection);
	index_endscan(scan);
}

/* --- order --- */

int
ks_offsets_compare(const void *a, const void *b)
{
	const KsPartition *pa = a;
	const KsPartition *pb = b;
	int			cmp = strcmp(pa->topic, pb->topic);

	return cmp != 0 ? cmp : (pa->part > pb->part) - (pa->part < pb->part);
}

void
ks_offsets_sort(KsPartition *parts, int n)
{
	if (n > 1)
		qsort(parts, n, sizeof(KsPartition), ks_offsets_compare);
}
