/*
 * reject.h
 *	  Records that cannot be applied: those of a batch, and how many may be.
 *
 * The first record in the order of the log that exceeds the limit stops the
 * batch there, as every such record does with on_error => 'stop', which is a
 * limit of none.
 */
#ifndef KS_REJECT_H
#define KS_REJECT_H

#include "postgres.h"

#include "catalog/reject_limit.h"

typedef struct KsReject
{
	int			index;			/* into the batch */
	char	   *column;			/* or NULL */
	ErrorData  *edata;
} KsReject;

typedef struct KsRejects
{
	KsRejectLimit limit;
	MemoryContext cxt;			/* of what outlives a batch */

	/* of batches that were committed */
	int64		seen;			/* records */
	int64		total;			/* rejected */
	int64	   *last;			/* with a window: the numbers of the last of them, */
	int64		nlast;			/* at most limit.max */

	/*
	 * Of the batch at hand, in its context, in the order in which they were found.
	 */
	KsReject   *items;
	int			n;
	int			size;

	/* with a limit: last, and the numbers of items, in the order of the log */
	int64	   *seq;
	int64		nseq;
	int64		maxseq;
} KsRejects;

/* Empties the batch. */
extern void ks_rejects_begin(KsRejects *rejects);

/*
 * Adds a record of the batch, in the current context.  Returns the index of
 * the first one that is too many, or 'limit' if none is below it.
 */
extern int	ks_rejects_add(KsRejects *rejects, int index, ErrorData *edata,
						   const char *column, int limit);

/*
 * The batch ends before record 'done': sorts the items and drops those behind.
 * Returns the item of 'done' itself, which is no longer counted, or NULL.
 */
extern KsReject *ks_rejects_end(KsRejects *rejects, int done);

/* The batch, of 'done' records, is committed. */
extern void ks_rejects_committed(KsRejects *rejects, int done);

#endif
