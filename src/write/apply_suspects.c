/*
 * apply_suspects.c
 *	  The suspects of a round, and who may need what they would have written.
 *
 * A record that fails behind suspects, which are left out, may fail for want of them:
 * of the row that one of them would have written, which it would change, or of a value
 * that one gives up.  Both may be tens of thousands, so suspects are found by table and
 * key.
 */
#include "postgres.h"

#include "utils/hsearch.h"

#include "write/apply_search.h"

/* Suspects whose keys a record is compared with, value by value. */
#define MAX_COMPARED	1000

/* Those of a route. */
typedef struct KsRouteSuspects
{
	int			n;
	bool		truncates;
	bool		deletes;
} KsRouteSuspects;

/* (without padding: it is compared as bytes) */
typedef struct SuspectKey
{
	int64		route;
	int64		abbreviated;
} SuspectKey;

typedef struct LastSuspect
{
	SuspectKey	key;
	int			last;			/* of them, into the list; KsSuspect.before leads to the others */
} LastSuspect;

/* Of equal keys the same. */
static SuspectKey
key_of(const KsApply *ap, int index)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	Size		first = (Size) index * r->rows.ncols + r->target->keycols[0];

	return (SuspectKey) {.route = r - ap->routes,
		.abbreviated = ks_sort_abbreviate(&r->target->sortkey, r->rows.values[first], r->rows.isnull[first])};
}

static bool
have_same_key(const KsRoute *r, int a, int b)
{
	Size		rowa = (Size) a * r->rows.ncols;
	Size		rowb = (Size) b * r->rows.ncols;

	return ks_sort_compare_full(&r->target->sortkey, r->rows.values + rowa, r->rows.isnull + rowa,
								r->rows.values + rowb, r->rows.isnull + rowb) == 0;
}

static void
create(const KsApply *ap, KsSuspects *list)
{
	HASHCTL		ctl = {.keysize = sizeof(SuspectKey), .entrysize = sizeof(LastSuspect),
	.hcxt = CurrentMemoryContext};

	list->of_routes = palloc0(ap->nroutes * sizeof(KsRouteSuspects));
	list->keys = hash_create("kafka_sink suspects", 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

KsSuspect *
ks_suspects_add(const KsApply *ap, KsSuspects *list, int index)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	KsRouteSuspects *of_route;
	KsSuspect  *item;

	if (list->keys == NULL)
		create(ap, list);
	if (list->n == list->size)
	{
		list->size = Max(64, list->size * 2);
		list->items = list->items ? repalloc_huge(list->items, list->size * sizeof(KsSuspect)) :
			palloc(list->size * sizeof(KsSuspect));
	}
	item = &list->items[list->n];
	memset(item, 0, sizeof(KsSuspect));
	item->index = index;
	item->before = -1;
	if (ks_target_knows_keys(r->target))
	{
		SuspectKey	key = key_of(ap, index);
		bool		found;
		LastSuspect *last = hash_search(list->keys, &key, HASH_ENTER, &found);

		if (found)
			item->before = last->last;
		last->last = list->n;
	}
	of_route = &list->of_routes[r - ap->routes];
	of_route->n++;
	of_route->truncates |= ap->ops[index] == KS_ROW_TRUNCATE;
	of_route->deletes |= ap->ops[index] == KS_ROW_DELETE;
	list->n++;
	return item;
}

void
ks_suspects_clear(KsSuspects *list)
{
	if (list->keys)
	{
		hash_destroy(list->keys);
		pfree(list->of_routes);
	}
	list->keys = NULL;
	list->of_routes = NULL;
	list->n = 0;
}

/* Is one of them of the record's key? */
static bool
has_key(const KsApply *ap, const KsSuspects *list, int index)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	SuspectKey	key = key_of(ap, index);
	const LastSuspect *last = hash_search(list->keys, &key, HASH_FIND, NULL);
	int			compared = 0;

	for (int i = last ? last->last : -1; i >= 0; i = list->items[i].before)
		if (++compared > MAX_COMPARED || have_same_key(r, index, list->items[i].index))
			return true;
	return false;
}

bool
ks_suspects_may_be_needed(const KsApply *ap, const KsSuspects *list, int index, bool unique)
{
	const KsRoute *r = ks_apply_route_at(ap, index);
	const KsRouteSuspects *own;

	Assert(list->n > 0);
	for (int i = 0; i < ap->nroutes; i++)
		if (list->of_routes[i].n > 0 && &ap->routes[i] != r &&
			ks_target_shares_rows(r->target, ap->routes[i].target->relid))
			return true;
	own = &list->of_routes[r - ap->routes];
	/* all rows, or a value that it gives up */
	if (own->n > 0 && (own->truncates || ap->ops[index] == KS_ROW_TRUNCATE || (unique && own->deletes)))
		return true;
	if (own->n == 0 || r->target->nkeys == 0)
		return false;
	return !ks_target_knows_keys(r->target) || has_key(ap, list, index);
}
