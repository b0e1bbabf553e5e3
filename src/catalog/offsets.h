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

#include "base/compat.h"
#include "base/message.h"

/*
 * A refused range; the class is ours.  DETAIL is a JSON object with topic, part,
 * from_off, until_off, and stored, the offset in the row.
 */
#define KS_ERRCODE_AHEAD		MAKE_SQLSTATE('K','S','0','0','1')	/* what is before it is missing */
#define KS_ERRCODE_APPLIED		MAKE_SQLSTATE('K','S','0','0','2')	/* all of it is applied */
#define KS_ERRCODE_BEHIND		MAKE_SQLSTATE('K','S','0','0','3')	/* a part of it is applied */
#define KS_ERRCODE_NO_OFFSET	MAKE_SQLSTATE('K','S','0','0','4')	/* there is no row */
#define KS_ERRCODE_NOT_ENABLED	MAKE_SQLSTATE('K','S','0','0','5')	/* the sink is paused or suspended */
#define KS_ERRCODE_BEFORE_START	MAKE_SQLSTATE('K','S','0','0','6')	/* before where the row began */

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

/*
 * Locks the rows of the given partitions wherever they stand, in the same
 * order, and fills ->off and starts[] (start_off); -1 where there is no row.
 * Returns how many there are.
 */
extern int	ks_offsets_hold(const char *sink, KsPartition *const *parts, int n,
							int64 *starts);

/* Does the partition have a row that can be seen?  It may be gone since, or have
 * come. */
extern bool ks_offsets_exists(const char *sink, const KsPartition *p);

/* Creates rows at ->off for those that have none, in the same order. */
extern void ks_offsets_put_missing(const char *sink, KsPartition *const *parts, int n);

/* Raises what is wrong with the range from ->off to ->until of one partition,
 * of which 'stored' (-1: no row) and 'start_off' are known. */
KS_NORETURN extern void ks_offsets_refuse(const char *sink, const KsPartition *want,
							  int64 stored, int64 start_off);

/* The same for a guard that failed: looks for the first range that it failed for. */
KS_NORETURN extern void ks_offsets_mismatch(const char *sink, KsPartition *const *parts,
								int n);

/* Reads the row into p (off, last_off, last_hash); false if there is none. */
extern bool ks_offsets_read(const char *sink, KsPartition *p);

/* Rows of the sink. */
extern int	ks_offsets_count(const char *sink);

/* Partitions, each once, of all sinks of the owner that consume from the server. */
extern int64 ks_offsets_count_of_server(const char *server, Oid owner);

/*
 * Creates the row at p->off; with 'replace' an existing one starts anew there,
 * else it is left alone.  True if the row was written.
 */
extern bool ks_offsets_put(const char *sink, const KsPartition *p, bool replace);

/* Audit of a move that no record made. */
extern void ks_offsets_log(const char *sink, const char *topic, int32 part,
						   const char *action, int64 from, int64 until);

/* Where a sink stands, or one topic of it (NULL: all), in order of (topic, part). */
extern KsPartition *ks_offsets_list(const char *sink, const char *topic, int *n);

/*
 * Which of a sink's workers (at most 64, as bits) have a partition, as far as rows
 * tell: partition p is of worker p mod workers.  0: there are no rows.  Of so many
 * that it would take long to look at them, all have.
 */
extern uint64 ks_offsets_used_workers(const char *sink, int workers);

/* In order of (topic, part), as batches lock the rows. */
extern void ks_offsets_sort(KsPartition *parts, int n);
extern int	ks_offsets_compare(const void *a, const void *b);	/* of KsPartition */

/* JSON that people have written, as jsonb; errors (22023) if a key is there twice
 * in one object, of which jsonb would keep the last. */
extern Jsonb *ks_offsets_jsonb(const char *json);

/* A number of JSON as an offset; false if it is none. */
extern bool ks_offsets_number(const JsonbValue *v, int64 *off);

/* Errors (22023) unless 0 <= from <= until. */
extern void ks_offsets_check_range(int64 from, int64 until);

/* The key of a JSON object as a partition; false if it is none. */
extern bool ks_offsets_partition(const char *s, int len, int32 *part);

/* {"topic": {"0": 42}} as partitions with their off; errors (22023) if it is
 * anything else. */
extern KsPartition *ks_offsets_parse(Jsonb *jb, int *n);

#endif
