/*
 * offsets.h
 *	  Reads and conditionally advances txn_offsets: the guarantee.
 *
 * A batch's transaction is
 *
 *		ks_offsets_lock()		-- one row per range, or nothing is touched
 *		... the records are applied ...
 *		ks_offsets_move()		-- must hit exactly those rows
 *
 * The lock comes first, so that a rival fails before it has touched anything
 * else; the move comes last, when it is known how far the batch got.
 */
#ifndef KS_OFFSETS_H
#define KS_OFFSETS_H

#include "utils/jsonb.h"

#include "compat.h"
#include "message.h"

/*
 * Locks the rows of the given partitions, in order of (topic, part); false
 * unless each stands at its ->off.  The caller rolls back then.
 */
extern bool ks_offsets_lock(const char *sink, KsPartition *const *parts, int n);

/*
 * Moves the rows from ->off to ->until and adds the counts (the mirror in
 * KsPartition is the caller's to update after the commit).  False unless
 * exactly n rows were hit.
 */
extern bool ks_offsets_move(const char *sink, KsPartition *const *parts, int n);

/* Raises 55000 for a guard that failed, with what is stored. */
KS_NORETURN extern void ks_offsets_mismatch(const char *sink, KsPartition *const *parts,
								int n);

/* Reads the row into p (off, last_off, last_hash); false if there is none. */
extern bool ks_offsets_read(const char *sink, KsPartition *p);

/* Rows of the sink. */
extern int	ks_offsets_count(const char *sink);

/*
 * Creates the row at p->off; with 'replace' an existing one starts anew there,
 * else it is left alone.  True if the row was written.
 */
extern bool ks_offsets_put(const char *sink, const KsPartition *p, bool replace);

/* Audit of a move that no record made. */
extern void ks_offsets_log(const char *sink, const char *topic, int32 part,
						   const char *action, int64 from, int64 until);

/* {"topic": {"0": 42}} as partitions with their off; errors (22023) if it is
 * anything else. */
extern KsPartition *ks_offsets_parse(Jsonb *jb, int *n);

#endif
