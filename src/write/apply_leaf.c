/*
 * apply_leaf.c
 *	  Entries of a btree index by the page: those of a batch that go to the same leaf.
 *
 * The access method does for each entry what is the same for its neighbours: it
 * descends from the root, locks the leaf, looks for equal keys and writes a record to
 * the WAL.  Here the leaf of the first of some sorted entries is found and locked as
 * _bt_doinsert() does that, by the server's functions; all that belong there are put on
 * it under one lock, and logged by records of the access method or, where that is
 * shorter or would be part of them, by an image of the page.
 *
 * Nothing is done here but that.  Where an entry may need more, it is left to the access
 * method: for a key that equals one on the page, or may equal one on the next (it asks
 * the heap, and waits for others), NULLs in a unique index, a place within a posting
 * list, a page without room (it removes the dead, deduplicates, splits), large entries,
 * an index whose version has no heap TID in its keys.
 *
 * Why a key that is not on the page is not in a unique index: the descent, without a
 * TID, ends at the leftmost leaf where the key may be, which is locked until the entry
 * is there; and the key is less than what bounds the page.  Whoever inserts the same
 * key comes to the same page first.
 *
 * Where the row replaces another version with the same key, there is an entry of that.  If
 * it is the only one with this key, nobody has to be asked of the heap: this transaction
 * has deleted what it leads to.  (A version in a HOT chain is not what its entry names;
 * such are left to the access method.)
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "access/nbtxlog.h"
#include "access/xloginsert.h"
#include "catalog/pg_am.h"
#include "miscadmin.h"
#include "storage/predicate.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "write/apply_fast.h"

/* Entries that are formed at a time, before a page is locked. */
#define LEAST_FORMED	8
#define MOST_FORMED		512

/* A larger one is left to the access method. */
#define MAX_ENTRY		1024

/* What a record of the WAL has beside an entry, about; and one with an image beside that. */
#define RECORD_BYTES	48

/* After how many declined entries the next is looked at, at most. */
#define MAX_PAUSE		64

struct KsLeaf
{
	KsWrite    *w;
	Relation	index;
	const KsFastIndex *fi;
	BTScanInsert key;			/* NULL at first */
	MemoryContext cxt;			/* of the entries */
	IndexTuple	entries[MOST_FORMED];
	bool		follows[MOST_FORMED];	/* is it behind the one before? */
	const ItemPointerData *versions[MOST_FORMED];	/* what it replaces with the same key, or NULL */
	OffsetNumber places[MOST_FORMED];	/* on the page, as it is before */
	int			first;			/* the first of them is of this item */
	int			nformed;
	int			want;			/* to form next */
	int			next;			/* no item before is looked at */
	int			pause;
};

KsLeaf *
ks_leaf_begin(KsWrite *w, Relation index, const KsFastIndex *fi)
{
	KsLeaf	   *leaf;

	if (index->rd_rel->relam != BTREE_AM_OID)
		return NULL;
	leaf = palloc(sizeof(KsLeaf));
	leaf->w = w;
	leaf->index = index;
	leaf->fi = fi;
	leaf->key = NULL;
	leaf->cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink index entries",
									  ALLOCSET_DEFAULT_SIZES);
	leaf->first = leaf->nformed = leaf->next = 0;
	leaf->want = LEAST_FORMED;
	leaf->pause = 1;
	return leaf;
}

void
ks_leaf_end(KsLeaf *leaf)
{
	if (leaf == NULL)
		return;
	MemoryContextDelete(leaf->cxt);
	if (leaf->key)
		pfree(leaf->key);
	pfree(leaf);
}

/* As btinsert() does it. */
static IndexTuple
form_entry(const KsLeaf *leaf, int row)
{
	Datum		values[INDEX_MAX_KEYS];
	bool		isnull[INDEX_MAX_KEYS];
	IndexTuple	entry;

	ks_fast_entry_values(leaf->w, leaf->fi, row, values, isnull);
	entry = index_form_tuple(RelationGetDescr(leaf->index), values, isnull);
	entry->t_tid = leaf->w->tids[row];
	return entry;
}

/*
 * Is the entry that is formed next behind the last one?  Not where their integers are equal
 * and that may not be all (one of them is NULL).
 */
static bool
follows(const KsLeaf *leaf, const KsSortItem *items, IndexTuple entry)
{
	int			last = leaf->nformed - 1;
	const KsSortItem *a = &items[leaf->first + last];
	const KsRows *rows = &leaf->w->rows;
	Size		ra = (Size) a[0].row * rows->ncols;
	Size		rb = (Size) a[1].row * rows->ncols;
	int			cmp;

	if (a[0].abbrev != a[1].abbrev)
		return a[0].abbrev < a[1].abbrev;
	cmp = ks_sort_compare_full(&leaf->fi->key, rows->values + ra, rows->isnull + ra,
							   rows->values + rb, rows->isnull + rb);
	if (cmp == 0 && !leaf->fi->unique)
		cmp = ItemPointerCompare(&leaf->entries[last]->t_tid, &entry->t_tid);
	return cmp < 0;
}

/* Entries of items[i..n), or the first of them, are at hand afterwards; returns how many. */
static int
form_entries(KsLeaf *leaf, const KsSortItem *items, int i, int n)
{
	MemoryContext old;

	if (i < leaf->first + leaf->nformed)
		return leaf->first + leaf->nformed - i;
	MemoryContextReset(leaf->cxt);
	leaf->first = i;
	old = MemoryContextSwitchTo(leaf->cxt);
	for (leaf->nformed = 0; leaf->nformed < leaf->want && i < n; i++)
	{
		IndexTuple	entry = form_entry(leaf, items[i].row);

		leaf->follows[leaf->nformed] = leaf->nformed > 0 && follows(leaf, items, entry);
		leaf->versions[leaf->nformed] = ks_fast_replaces(leaf->w, leaf->fi, items[i].row);
		leaf->entries[leaf->nformed++] = entry;
	}
	MemoryContextSwitchTo(old);
	return leaf->nformed;
}

static void
make_key(KsLeaf *leaf, IndexTuple entry)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(leaf));

	leaf->key = _bt_mkscankey(leaf->index, entry);
	MemoryContextSwitchTo(old);
}

/* The key by which an entry is looked for, as _bt_mkscankey() and _bt_doinsert() have it. */
static void
set_key(KsLeaf *leaf, IndexTuple entry)
{
	TupleDesc	desc = RelationGetDescr(leaf->index);
	BTScanInsert key = leaf->key;

	for (int i = 0; i < key->keysz; i++)
	{
		bool		isnull;

		key->scankeys[i].sk_argument = index_getattr(entry, i + 1, desc, &isnull);
		if (isnull)
			key->scankeys[i].sk_flags |= SK_ISNULL;
		else
			key->scankeys[i].sk_flags &= ~SK_ISNULL;
	}
	key->scantid = leaf->fi->unique ? NULL : &entry->t_tid;
}

/*
 * The first of items [low, beyond) of a page that the entry of the key does not come
 * behind, by galloping; all below low are less.
 */
static int
find_item(const KsLeaf *leaf, Page page, int low, int beyond, bool *equal)
{
	int			high = beyond;

	*equal = false;
	for (int step = 1; low + step - 1 < beyond; step *= 2)
	{
		int			probe = low + step - 1;
		int32		cmp = _bt_compare(leaf->index, leaf->key, page, probe);

		if (cmp <= 0)
		{
			high = probe;
			*equal = cmp == 0;
			break;
		}
		low = probe + 1;
	}
	while (low < high)
	{
		int			mid = low + (high - low) / 2;
		int32		cmp = _bt_compare(leaf->index, leaf->key, page, mid);

		if (cmp > 0)
			low = mid + 1;
		else
		{
			high = mid;
			*equal = cmp == 0;
		}
	}
	return low;
}

/*
 * Has the page, at 'item', the one entry that has this key, of the version that the batch
 * has replaced?
 */
static bool
is_only_version(const KsLeaf *leaf, Page page, int item, int beyond, const ItemPointerData *version)
{
	IndexTuple	there = (IndexTuple) PageGetItem(page, PageGetItemId(page, item));

	if (BTreeTupleIsPosting(there) ||
		!ItemPointerEquals(&there->t_tid, unconstify(ItemPointerData *, version)))
		return false;
	if (item + 1 < beyond)
		return _bt_compare(leaf->index, leaf->key, page, item + 1) < 0;
	return P_RIGHTMOST(ks_bt_opaque(page)) || _bt_compare(leaf->index, leaf->key, page, P_HIKEY) < 0;
}

static inline Size
size_of(IndexTuple entry)
{
	return MAXALIGN(IndexTupleSize(entry));
}

static bool
is_plain(const KsLeaf *leaf, IndexTuple entry)
{
	return size_of(entry) <= MAX_ENTRY && !(leaf->fi->unique && IndexTupleHasNulls(entry));
}

/* How many of the n entries from the given one on can be put on the page, where to leaf->places. */
static int
find_places(KsLeaf *leaf, int from, int n, Page page)
{
	BTPageOpaque opaque = ks_bt_opaque(page);
	Size		room = PageGetExactFreeSpace(page);
	int			beyond = PageGetMaxOffsetNumber(page) + 1;
	int			item = P_FIRSTDATAKEY(opaque);
	int			m;

	if (!P_ISLEAF(opaque) || P_IGNORE(opaque) || P_INCOMPLETE_SPLIT(opaque))
		return 0;
	for (m = 0; m < n; m++)
	{
		IndexTuple	entry = leaf->entries[from + m];
		const ItemPointerData *version = leaf->versions[from + m];
		Size		size = size_of(entry) + sizeof(ItemIdData);
		bool		equal;

		if (size > room || !is_plain(leaf, entry) || (m > 0 && !leaf->follows[from + m]))
			break;
		/* what follows the last entry of the rightmost page needs no look */
		if (m == 0 || item < beyond || !P_RIGHTMOST(opaque))
		{
			set_key(leaf, entry);
			item = find_item(leaf, page, item, beyond, &equal);
			if (equal)
			{
				if (version == NULL || !is_only_version(leaf, page, item, beyond, version))
					break;
				/* (with the same key, the TID decides) */
				leaf->places[m] = ItemPointerCompare(&entry->t_tid, unconstify(ItemPointerData *, version)) < 0 ?
					item : item + 1;
				item++;
				room -= size;
				continue;
			}
			if (item == beyond && !P_RIGHTMOST(opaque) &&
				_bt_compare(leaf->index, leaf->key, page, P_HIKEY) >= 0)
				break;
		}
		leaf->places[m] = item;
		room -= size;
	}
	return m;
}

static void
add_entry(const KsLeaf *leaf, Page page, IndexTuple entry, OffsetNumber place)
{
	if (PageAddItem(page, (Item) entry, size_of(entry), place, false, false) != place)
		elog(PANIC, "no room for an entry of index \"%s\"", RelationGetRelationName(leaf->index));
}

/* Several, each of which goes before the item that was at its place. */
static void
write_image(const KsLeaf *leaf, IndexTuple *entries, int m, Buffer buf)
{
	Page		page = BufferGetPage(buf);

	START_CRIT_SECTION();
	for (int j = 0; j < m; j++)
		add_entry(leaf, page, entries[j], leaf->places[j] + j);
	MarkBufferDirty(buf);
	if (RelationNeedsWAL(leaf->index))
		log_newpage_buffer(buf, true);
	END_CRIT_SECTION();
}

/* As _bt_insertonpg() does it. */
static void
write_record(const KsLeaf *leaf, IndexTuple entry, OffsetNumber place, Buffer buf)
{
	Page		page = BufferGetPage(buf);

	START_CRIT_SECTION();
	add_entry(leaf, page, entry, place);
	MarkBufferDirty(buf);
	if (RelationNeedsWAL(leaf->index))
	{
		xl_btree_insert xlrec = {.offnum = place};
		XLogRecPtr	end;

		XLogBeginInsert();
		XLogRegisterData((char *) &xlrec, SizeOfBtreeInsert);
		XLogRegisterBuffer(0, buf, REGBUF_STANDARD);
		XLogRegisterBufData(0, (char *) entry, IndexTupleSize(entry));
		end = XLogInsert(RM_BTREE_ID, XLOG_BTREE_INSERT_LEAF);
		PageSetLSN(page, end);
	}
	END_CRIT_SECTION();
}

static void
write_entries(const KsLeaf *leaf, IndexTuple *entries, int m, Buffer buf)
{
	Page		page = BufferGetPage(buf);
	Size		image = BLCKSZ - PageGetExactFreeSpace(page);
	Size		records = 0;

	for (int j = 0; j < m; j++)
	{
		records += RECORD_BYTES + size_of(entries[j]);
		image += size_of(entries[j]) + sizeof(ItemIdData);
	}
	if (m > 1 && (!RelationNeedsWAL(leaf->index) || records >= image || XLogCheckBufferNeedsBackup(buf)))
		write_image(leaf, entries, m, buf);
	else
		for (int j = 0; j < m; j++)
			write_record(leaf, entries[j], leaf->places[j] + j, buf);
}

/* To the leaf where the entry of the key goes, locked. */
static Buffer
find_leaf(const KsLeaf *leaf)
{
	Buffer		buf;

	_bt_freestack(ks_bt_search(leaf->index, leaf->w->rel, leaf->key, &buf));
	CheckForSerializableConflictIn(leaf->index, NULL, BufferGetBlockNumber(buf));
	return buf;
}

int
ks_leaf_insert(KsLeaf *leaf, const KsSortItem *items, int i, int n)
{
	IndexTuple *entries;
	int			at_hand;
	int			m = 0;

	if (i < leaf->next)
		return 0;
	at_hand = form_entries(leaf, items, i, n);
	entries = &leaf->entries[i - leaf->first];
	if (leaf->key == NULL)
		make_key(leaf, entries[0]);
	if (!leaf->key->heapkeyspace)
		leaf->next = INT_MAX;
	else if (is_plain(leaf, entries[0]))
	{
		Buffer		buf;

		set_key(leaf, entries[0]);
		buf = find_leaf(leaf);
		m = find_places(leaf, i - leaf->first, at_hand, BufferGetPage(buf));
		if (m > 0)
			write_entries(leaf, entries, m, buf);
		_bt_relbuf(leaf->index, buf);
	}
	if (m == at_hand)
		leaf->want = Min(leaf->want * 4, MOST_FORMED);
	if (m > 0)
		leaf->pause = 1;
	else if (leaf->next < INT_MAX)
	{
		leaf->next = i + leaf->pause;
		leaf->pause = Min(leaf->pause * 2, MAX_PAUSE);
	}
	return m;
}
