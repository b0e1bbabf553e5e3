/*
 * partitions.c
 *	  The partitions of records that come from SQL.
 *
 * A table with open addressing, at most half full.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"

#include "write/partitions.h"

void
ks_partition_set_init(KsPartitionSet *set, int max)
{
	Size		size = pg_nextpower2_64((uint64) max * 2 + 2);

	set->parts = palloc_extended(((Size) max + 1) * sizeof(KsPartition), MCXT_ALLOC_HUGE);
	set->n = 0;
	set->table = palloc_extended(size * sizeof(int), MCXT_ALLOC_HUGE);
	memset(set->table, 0xff, size * sizeof(int));
	set->mask = (uint32) (size - 1);
}

static bool
is_partition(const KsPartition *p, const char *topic, int32 part)
{
	return p->part == part && strcmp(p->topic, topic) == 0;
}

int
ks_partition_set_add(KsPartitionSet *set, const char *topic, int32 part, int last)
{
	uint32		at;
	KsPartition *p;

	if (last >= 0 && is_partition(&set->parts[last], topic, part))
		return last;
	CHECK_FOR_INTERRUPTS();
	at = hash_combine(hash_bytes((const unsigned char *) topic, strlen(topic)),
					  hash_bytes_uint32((uint32) part)) & set->mask;
	for (; set->table[at] >= 0; at = (at + 1) & set->mask)
		if (is_partition(&set->parts[set->table[at]], topic, part))
			return set->table[at];
	set->table[at] = set->n;
	p = &set->parts[set->n];
	memset(p, 0, sizeof(KsPartition));
	p->topic = topic;
	p->part = part;
	p->off = p->last_off = p->new_last_off = -1;
	return set->n++;
}
