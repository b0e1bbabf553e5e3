/*
 * partition_ends.h
 *	  Ends of partitions as last seen: rows of partition_ends.
 *
 * They are for people, who want to know how far a sink is behind that does not
 * run.  Nothing is decided by them.
 */
#ifndef KS_PARTITION_ENDS_H
#define KS_PARTITION_ENDS_H

#include "postgres.h"

#include "utils/timestamp.h"

/* Offsets are -1 where they are not known. */
typedef struct KsPartitionEnds
{
	const char *topic;
	int32		part;
	int64		low;
	int64		high;
	int64		last_stable;
	TimestampTz as_of;			/* 0: never seen, left out */
} KsPartitionEnds;

/*
 * Writes them, unless what is stored is newer; in a transaction of the
 * caller's with an active snapshot.  Partitions that the sink has no offset for
 * are left out, and nothing is done if the sink is gone.
 */
extern void ks_catalog_store_partition_ends(const char *sink, const KsPartitionEnds *ends, int n);

/* What was seen of a partition (-1: of all of the topic) does not hold any more. */
extern void ks_catalog_forget_partition_ends(const char *sink, const char *topic, int32 part);

#endif
