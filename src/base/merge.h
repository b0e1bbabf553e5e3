/*
 * merge.h
 *	  Arrays in order, whoever has chosen what is in them.
 */
#ifndef KS_MERGE_H
#define KS_MERGE_H

/*
 * As qsort(), but equal items keep their order, the time is that of n log n comparisons
 * at most, and it can be interrupted.
 */
extern void ks_merge_sort(void *items, Size n, Size width, int (*compare) (const void *, const void *));

#endif
