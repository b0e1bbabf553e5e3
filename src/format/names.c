/*
 * names.c
 *	  A fixed set of names, to find one of them by its bytes.
 *
 * A hash table at most half full, searched from the name's place on.  How long
 * that takes is up to the names in it, whatever is looked for.
 */
#include "postgres.h"

#include "common/hashfn.h"

#include "format/names.h"

/* Comparing so many lengths is no slower than a hash. */
#define FEW		8

static uint32
place_of(const KsNames *set, const char *name, int len)
{
	return hash_bytes((const unsigned char *) name, len) & set->mask;
}

void
ks_names_init(KsNames *set, const KsField *names, int n)
{
	memset(set, 0, sizeof(KsNames));
	set->n = n;
	set->names = names;
	if (n <= FEW)
		return;
	set->mask = 1;
	while (set->mask < (uint32) n * 2)
		set->mask = set->mask << 1 | 1;
	set->slots = palloc((set->mask + 1) * sizeof(int));
	memset(set->slots, -1, (set->mask + 1) * sizeof(int));
	for (int i = 0; i < n; i++)
	{
		uint32		at;

		if (names[i].len < 0)
			continue;
		at = place_of(set, names[i].name, names[i].len);
		while (set->slots[at] >= 0)
			at = (at + 1) & set->mask;
		set->slots[at] = i;
	}
}

int
ks_names_find(const KsNames *set, const char *name, int len)
{
	if (set->slots == NULL)
	{
		for (int i = 0; i < set->n; i++)
			if (ks_name_is(&set->names[i], name, len))
				return i;
		return -1;
	}
	for (uint32 at = place_of(set, name, len); set->slots[at] >= 0; at = (at + 1) & set->mask)
		if (ks_name_is(&set->names[set->slots[at]], name, len))
			return set->slots[at];
	return -1;
}
