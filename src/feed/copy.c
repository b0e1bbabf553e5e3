/*
 * copy.c
 *	  Rows that were read, while changes of them go by.
 */
#include "postgres.h"

#include "access/transam.h"
#include "common/hashfn.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "feed/copy.h"

typedef struct Row
{
	const char *key;			/* the hash's; must be first */
	bool		left;			/* to be sent */
	KsProducerRecord rec;
	struct Row *next;
} Row;

struct KsChunk
{
	MemoryContext cxt;
	const KsHorizon *horizon;
	HTAB	   *rows;
	Row		   *first;
	Row		   *last;
};

/* --- horizons --- */

static int
compare_xids(const void *a, const void *b)
{
	TransactionId x = *(const TransactionId *) a;
	TransactionId y = *(const TransactionId *) b;

	return x < y ? -1 : x > y;
}

void
ks_horizon_take(KsHorizon *h, Snapshot snapshot)
{
	h->xmin = snapshot->xmin;
	h->xmax = snapshot->xmax;
	h->nrunning = snapshot->xcnt;
	h->running = palloc(Max(h->nrunning, 1) * sizeof(TransactionId));
	for (int i = 0; i < h->nrunning; i++)
		h->running[i] = snapshot->xip[i];
	qsort(h->running, h->nrunning, sizeof(TransactionId), compare_xids);
}

bool
ks_horizon_sees(const KsHorizon *h, TransactionId xid)
{
	if (TransactionIdPrecedes(xid, h->xmin))
		return true;
	if (TransactionIdFollowsOrEquals(xid, h->xmax))
		return false;
	return bsearch(&xid, h->running, h->nrunning, sizeof(TransactionId), compare_xids) == NULL;
}

/* --- rows by their keys, which are of any length --- */

static uint32
hash_key(const void *key, Size keysize)
{
	const char *s = *(const char *const *) key;

	return hash_bytes((const unsigned char *) s, strlen(s));
}

static int
match_keys(const void *a, const void *b, Size keysize)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

KsChunk *
ks_chunk_create(const KsHorizon *horizon, MemoryContext cxt)
{
	HASHCTL		ctl = {.keysize = sizeof(char *), .entrysize = sizeof(Row), .hash = hash_key, .match = match_keys, .hcxt = cxt};
	KsChunk    *chunk = MemoryContextAllocZero(cxt, sizeof(KsChunk));

	chunk->cxt = cxt;
	chunk->horizon = horizon;
	chunk->rows = hash_create("kafka_sink chunk", 1024, &ctl, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	return chunk;
}

/* NULL bytes are a NULL field. */
static char *
copy_bytes(KsChunk *chunk, const char *bytes, int len)
{
	char	   *copy = len >= 0 ? MemoryContextAllocHuge(chunk->cxt, len + 1) : NULL;

	if (copy)
	{
		memcpy(copy, bytes, len);
		copy[len] = '\0';
	}
	return copy;
}

void
ks_chunk_add(KsChunk *chunk, const char *key, const KsProducerRecord *rec)
{
	const char *mine = copy_bytes(chunk, key, strlen(key));
	bool		found;
	Row		   *row = hash_search(chunk->rows, &mine, HASH_ENTER, &found);

	if (found)
		elog(ERROR, "two rows of a table have the key %s", key);
	row->left = true;
	row->rec = *rec;
	row->rec.key = copy_bytes(chunk, rec->key, rec->keylen);
	row->rec.value = copy_bytes(chunk, rec->value, rec->valuelen);
	row->next = NULL;
	if (chunk->last)
		chunk->last->next = row;
	else
		chunk->first = row;
	chunk->last = row;
}

KsProducerRecord *
ks_chunk_touch(KsChunk *chunk, TransactionId xid, const char *key, bool whole)
{
	Row		   *row = hash_search(chunk->rows, &key, HASH_FIND, NULL);

	if (row == NULL || !row->left)
		return NULL;
	/* what the row has already, it can have again */
	if (!whole && ks_horizon_sees(chunk->horizon, xid))
		return NULL;
	row->left = false;
	return whole ? NULL : &row->rec;
}

KsProducerRecord *
ks_chunk_next(KsChunk *chunk)
{
	Row		   *row = chunk->first;

	while (row && !row->left)
		row = row->next;
	if (row == NULL)
		return NULL;
	chunk->first = row->next;
	return &row->rec;
}
