/*
 * partitions.h
 *	  The partitions of records that come from SQL, in the order in which they
 *	  are met.
 *
 * Each record's is found in constant time, however many there are.
 */
#ifndef KS_PARTITIONS_H
#define KS_PARTITIONS_H

#include "postgres.h"

#include "base/message.h"

typedef struct KsPartitionSet
{
	KsPartition *parts;
	int			n;
	int		   *table;			/* by hash: an index of parts, or -1 */
	uint32		mask;
} KsPartitionSet;

/* Room for 'max' partitions, in the current context. */
extern void ks_partition_set_init(KsPartitionSet *set, int max);

/* The partition's index, appended if it is new; last: where the last was, or -1. */
extern int	ks_partition_set_add(KsPartitionSet *set, const char *topic, int32 part, int last);

#endif
