/*
 * feed_copies.h
 *	  Tables whose rows a feed publishes as they are found, and how they are read.
 *
 * Of each there is a row of feed_copies.  How far the copy at hand is, Kafka says: what a
 * row says of that is for people, but 'copied' is written, and flushed, before the next
 * table begins.
 */
#ifndef KS_FEED_COPIES_H
#define KS_FEED_COPIES_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

#include "catalog/feeds.h"

/* A copy that is not done. */
typedef struct KsFeedCopy
{
	int64		id;				/* of this copy, in the feed's progress */
	Oid			relid;
	char	   *skip_at;		/* the place of a row that is not to be published, or NULL */
} KsFeedCopy;

typedef struct KsCopyColumn
{
	char	   *name;
	Oid			type;
} KsCopyColumn;

/* Of the key, in the order of its index. */
typedef struct KsCopyKey
{
	int			column;			/* its number in 'columns' */
	char	   *type;			/* its base type, as SQL writes it */
	char	   *opschema;		/* of the operator > that its index goes by */
	char	   *opname;
} KsCopyKey;

/* How a table is read, as of now. */
typedef struct KsCopyPlan
{
	Oid			relid;
	char	   *schema;
	char	   *table;
	bool		partitioned;
	char	   *filter;			/* NULL: all rows */
	int			ncolumns;
	KsCopyColumn *columns;		/* those that are published, in their order */
	int			nkeys;			/* 0: it cannot be read in chunks */
	KsCopyKey  *keys;
} KsCopyPlan;

/* --- the rows; in a transaction of the caller's --- */

/*
 * Makes the rows of a feed those of these tables, which are what its publication was found
 * to have: others are forgotten, unless that publication is gone by now, or the feed has
 * another one; and what was refused is tried again.  Returns whether one has come.
 */
extern bool ks_feed_copies_match(const KsFeed *feed, Oid publication, List *relids);

/* Those that are not done, of KsFeedCopy, in their order; in the current context. */
extern List *ks_feed_copies_unfinished(const KsFeed *feed);

/* Forgets where it has stopped. */
extern void ks_feed_copies_set(const KsFeed *feed, int64 id, const char *state, int64 rows, const char *message);

/* It has stopped with the row at this place, which Kafka refuses. */
extern void ks_feed_copies_stop(const KsFeed *feed, int64 id, const char *place);

/* The row with which a copy has stopped is not to be published.  Its table and place, for
 * the history, in the current context; NULL: none has stopped. */
extern Jsonb *ks_feed_copies_skip(const char *feed);

/* What was to be skipped is behind, if there was anything: the history has it. */
extern void ks_feed_copies_end_skip(const KsFeed *feed, int64 id);

/* The feed begins anew, and so do its copies. */
extern void ks_feed_copies_forget(const char *feed);

/* --- reading --- */

/* NULL if there is no such table in the publication any more; in the current context. */
extern KsCopyPlan *ks_copy_plan(const char *publication, Oid relid);

/* Why it cannot be copied. */
extern char *ks_copy_refusal(const KsCopyPlan *plan);

/* Errors (0A000) if one of the publication's tables cannot be copied. */
extern void ks_copy_check(const char *publication);

/* The next 'limit' rows behind a key, texts in the order of the plan's; NULL: the first. */
extern char *ks_copy_query(const KsCopyPlan *plan, char **after, int limit);

/* A place between two chunks: {"id integer": "7"}. */
extern char *ks_copy_place(const KsCopyPlan *plan, char **values);

/* What of it is the plan's, as the progress has it, in UTF-8; NULL if it is a place in another
 * order. */
extern char **ks_copy_place_read(const KsCopyPlan *plan, const char *place);

#endif
