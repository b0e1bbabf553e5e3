/*
 * start_offsets.h
 *	  What Kafka says of the offsets of a sink's partitions.
 */
#ifndef KS_START_OFFSETS_H
#define KS_START_OFFSETS_H

#include "base/message.h"
#include "catalog/sinks.h"

/*
 * Partitions of all topics of a sink with the offset (in ->off) that 'to' means:
 * earliest, latest or a timestamp; NULL: where those that are not among 'stored'
 * would begin.  In order of (topic, part), in the current context.  Waits for
 * Kafka, for at most 30 s in all: the caller holds no lock.  Errors (55000) if
 * there is nothing to ask or to ask for.
 */
extern KsPartition *ks_start_offsets_query(KsSink *sink, const char *to,
										   const KsPartition *stored, int nstored, int *n);

/* Where a partition's log begins, asked of Kafka. */
extern int64 ks_start_offset_of_log(const KsSink *sink, const char *topic, int32 part);

#endif
