/*
 * claim.h
 *	  What is left of a range, and the row moved over it: for consumers of
 *	  one's own.
 */
#ifndef KS_CLAIM_H
#define KS_CLAIM_H

#include "base/message.h"

/* A range of a partition, from p.off of the caller's to 'until'. */
typedef struct KsRange
{
	KsPartition p;				/* topic, part; the rest is the claim's */
	int64		from;
	int64		until;
	int64		records;		/* in the whole range, -1: one per offset */
	int64		start_at;		/* what is before it is not wanted; -1: not given */
	int64		apply_from;		/* result: -1: nothing is left */
} KsRange;

/*
 * Locks the rows, in order of (topic, part), makes those that are missing, says
 * what of each range is left, and moves each row to the end of its range; or
 * raises what ks_offsets_refuse() says.  Sorts the ranges.
 */
extern void ks_claim(const char *sink, KsRange *ranges, int n);

/* Moves one row from exactly 'from' to 'until', with the counts in p. */
extern void ks_claim_exactly(const char *sink, KsPartition *p, int64 from, int64 until);

#endif
