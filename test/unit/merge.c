/*
 * merge.c
 *	  ks_merge_sort() against an order that is chosen to make it long, and others.
 *
 * The adversary says which of two items is greater only when it is asked, and so that
 * whoever takes one of a few items to divide the others by gets the smallest (M. D.
 * McIlroy, A Killer Adversary for Quicksort).  Neighbours in memory are out of order
 * first, for whoever looks whether all is sorted.
 */
#include "../fuzz/stubs.h"
#include "tap.h"

#include "base/merge.h"

#define MAX		20000

typedef struct Sorted
{
	int			key;
	int			at;				/* where it stood */
	char		more[4];
} Sorted;

static int	keys[MAX];
static int	unsaid;
static int	said;
static int	candidate;
static int64 ncompared;
static int
compare(const void *a, const void *b)
{
	const Sorted *x = a;
	const Sorted *y = b;

	ncompared++;
	return x->key < y->key ? -1 : x->key > y->key;
}

static int
compare_hostile(const void *a, const void *b)
{
	const Sorted *px = a;
	const Sorted *py = b;
	int			x = px->at;
	int			y = py->at;

	ncompared++;
	if (keys[x] == unsaid && keys[y] == unsaid)
		keys[x == candidate && px + 1 != py ? x : y] = said++;
	if (keys[x] == unsaid)
		candidate = x;
	else if (keys[y] == unsaid)
		candidate = y;
	return keys[x] < keys[y] ? -1 : keys[x] > keys[y];
}

static int64
most(int n)
{
	int64		steps = 1;

	for (int i = 1; i < n; i *= 2)
		steps++;
	return steps * n;
}

static Sorted *
items_of(int n)
{
	Sorted	   *items = palloc(Max(n, 1) * sizeof(Sorted));

	for (int i = 0; i < n; i++)
		items[i] = (Sorted) {keys[i], i};
	return items;
}

/* In order, and equal ones as they stood; from keys[0..n). */
static bool
sorts(int n)
{
	Sorted	   *items = items_of(n);
	bool		fine;

	ncompared = 0;
	ks_merge_sort(items, n, sizeof(Sorted), compare);
	fine = ncompared <= most(n);
	for (int i = 0; i < n; i++)
		fine &= keys[items[i].at] == items[i].key &&
			(i == 0 || items[i - 1].key < items[i].key ||
			 (items[i - 1].key == items[i].key && items[i - 1].at < items[i].at));
	fuzz_reset();
	return fine;
}

static void
test_hostile(void)
{
	Sorted	   *items = items_of(MAX);

	unsaid = MAX - 1;
	candidate = -1;
	for (int i = 0; i < MAX; i++)
		keys[i] = unsaid;
	ncompared = 0;
	ks_merge_sort(items, MAX, sizeof(Sorted), compare_hostile);
	ok(ncompared <= most(MAX), "an order that is made up as it goes");
	fuzz_reset();
	ok(sorts(MAX), "the same order again");
	items = items_of(MAX);
	candidate = -1;
	said = 0;
	for (int i = 0; i < MAX; i++)
		keys[i] = unsaid;
	ncompared = 0;
	qsort(items, MAX, sizeof(Sorted), compare_hostile);
	ok(ncompared > 10 * most(MAX), "it is one that takes the server's sort long");
	fuzz_reset();
	ok(sorts(MAX), "which takes no longer than others");
}

static void
test_orders(void)
{
	bool		fine = true;

	for (int round = 0; round < 2000; round++)
	{
		int			n = round < 100 ? round : random() % 300;
		int			values = 1 + random() % 400;

		for (int i = 0; i < n; i++)
			keys[i] = round % 3 == 0 ? i : round % 3 == 1 ? n - i : (int) (random() % values);
		fine &= sorts(n);
	}
	ok(fine, "any order, and any number of items");
	for (int i = 0; i < MAX; i++)
		keys[i] = i;
	fine = sorts(MAX);
	ok(fine && ncompared < 2 * MAX, "what is sorted is compared with its neighbours");
}

int
main(void)
{
	test_hostile();
	test_orders();
	printf("1..%d\n", tests);
	return failed;
}
