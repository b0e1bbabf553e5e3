/*
 * apply_place.c
 *	  Where updates put rows that do not fit into their page any more.
 *
 * A batch of hot keys updates every row of a full page at once.  None of the
 * new versions fits beside the old ones, all move to new pages, which are full
 * then, and the next batch moves them again: each batch leaves a table's worth
 * of dead rows and index entries behind, long before vacuum comes.
 *
 * So the pages that the last batch left are offered to the rows that move now,
 * but only half of each.  What stands in a page that is half empty is updated in
 * place (a heap-only tuple, without index entries), once the versions of the
 * batch before are pruned; after a few batches nothing moves any more.
 *
 * All of this is a hint to the table's storage: a page that has no room after
 * all, because somebody else took it or still needs the old versions, is passed
 * over.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "write/apply_fast.h"

/* Room that a page must have to be offered, and how much of it is. */
#define MIN_ROOM	(BLCKSZ / 4 * 3)
#define OFFERED		(BLCKSZ / 2)

/* Blocks remembered from one batch to the next; of a partition, of which there may be many, few at first. */
#define MAX_VACATED	16384
#define FIRST_ROOM	64

static bool
has_room(Relation rel, BlockNumber block)
{
	Buffer		buffer = ReadBuffer(rel, block);
	Size		room;

	heap_page_prune_opt(rel, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	room = PageGetHeapFreeSpace(BufferGetPage(buffer));
	UnlockReleaseBuffer(buffer);
	return room >= MIN_ROOM;
}

void
ks_place_begin(KsWrite *w)
{
	KsPlace    *place = &w->fast->place;
	KsBlocks	swap = place->offered;

	place->offered = place->vacated;
	place->vacated = swap;
	place->vacated.n = 0;
	place->next = 0;
	place->block = InvalidBlockNumber;
	place->active = w->rel->rd_tableam == GetHeapamTableAmRoutine();
	if (place->offered.n > 0)
		place->nblocks = RelationGetNumberOfBlocks(w->rel);
}

/* Before an update. */
void
ks_place_offer(KsWrite *w)
{
	KsPlace    *place = &w->fast->place;

	while (place->block == InvalidBlockNumber && place->next < place->offered.n)
	{
		BlockNumber block = place->offered.blocks[place->next++];

		if (block < place->nblocks && has_room(w->rel, block))
		{
			place->block = block;
			place->used = 0;
		}
	}
	if (place->block != InvalidBlockNumber)
		RelationSetTargetBlock(w->rel, place->block);
}

static void
add_block(KsBlocks *list, BlockNumber block, MemoryContext cxt)
{
	if (list->n == MAX_VACATED || (list->n > 0 && list->blocks[list->n - 1] == block))
		return;
	if (list->n == list->room)
	{
		list->room = list->room ? list->room * 2 : FIRST_ROOM;
		list->blocks = list->blocks ? repalloc(list->blocks, list->room * sizeof(BlockNumber)) :
			MemoryContextAlloc(cxt, list->room * sizeof(BlockNumber));
	}
	list->blocks[list->n++] = block;
}

/*
 * After an update that moved a row of this length to another page.
 * (not reached by tests: a table that is not a heap)
 */
void
ks_place_vacate(KsWrite *w, BlockNumber from, BlockNumber to, Size len)
{
	KsPlace    *place = &w->fast->place;

	if (!place->active)
		return;
	if (place->block != InvalidBlockNumber)
	{
		place->used += len;
		if (to != place->block || place->used >= OFFERED)
			place->block = InvalidBlockNumber;
	}
	add_block(&place->vacated, from, w->target->cxt);
}
