/*
 * paths.h
 *	  The values at many paths into a JSON value, found in one pass over each object or
 *	  array that some of them share.
 */
#ifndef KS_PATHS_H
#define KS_PATHS_H

#include "format/json.h"
#include "format/target.h"

/* Where paths meet, or one ends. */
typedef struct KsPathNode
{
	KsPathStep	step;			/* from the parent */
	struct KsPathNode *children;	/* in a list */
	struct KsPathNode *next;
	KsJsonToken found;			/* p NULL: the record does not have it */

	/* of its children: by name, and those that are elements, by index */
	int			nnamed;
	struct KsPathNode **named;
	KsNames		names;
	int			nindexed;
	struct KsPathNode **indexed;
} KsPathNode;

/* A value that paths begin at: a field, or the key. */
typedef struct KsPaths
{
	KsPathNode	root;
	uint64		serial;			/* whose values the nodes have: of this record, */
	const char *at;				/* at that place of it */
} KsPaths;

/* In the current context.  All are added before the first is found. */
extern KsPaths *ks_paths_create(void);
extern KsPathNode *ks_paths_add(KsPaths *paths, const KsPathStep *path, int npath);
extern void ks_paths_finish(KsPaths *paths);

/*
 * The value at the end of a path below a token: into it; false if the path leads
 * nowhere.  Of a name given twice the last counts.  'serial' is another one for each
 * record.
 */
extern bool ks_paths_find(KsPaths *paths, uint64 serial, const KsPathNode *end, StringInfo scratch,
						  KsJsonToken *tok);

/* A column, and where its path goes on. */
typedef struct KsStepOf
{
	KsPathStep	step;
	int			col;
} KsStepOf;

/* By steps, which are all names or all indexes, then by columns. */
extern void ks_steps_sort(KsStepOf *list, int n);

/* How many of a sorted list begin with the same step as the first, n > 0. */
extern int	ks_steps_same(const KsStepOf *list, int n);

#endif
