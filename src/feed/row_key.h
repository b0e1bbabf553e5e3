/*
 * row_key.h
 *	  Which columns of a table are the key of its records.
 */
#ifndef KS_FEED_ROW_KEY_H
#define KS_FEED_ROW_KEY_H

#include "postgres.h"

#include "replication/logicalproto.h"

/*
 * Those of the replica identity; where that is the whole row, those of the primary key, or
 * all if there is none.  'keys' has room for each column of 'rel', which says what is
 * published: a key of which that is a part only is none.  Returns whether a value of it can
 * be NULL.
 */
extern bool ks_row_key_find(const LogicalRepRelation *rel, bool *keys);

#endif
