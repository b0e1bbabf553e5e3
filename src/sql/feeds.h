/*
 * feeds.h
 *	  What functions do that are called with the name of a sink or of a feed.
 */
#ifndef KS_SQL_FEEDS_H
#define KS_SQL_FEEDS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "catalog/feeds.h"

/* False if there is no feed of that name.  They check who calls. */
extern bool ks_feeds_pause(const char *name);
extern bool ks_feeds_resume(const char *name);
extern bool ks_feeds_accept_gap(const char *name);

/* Of the transaction that cannot be published.  Errors (55000) if there is none, or if
 * 'lsn', unless it is NULL, is another one's. */
extern bool ks_feeds_skip(const char *name, const XLogRecPtr *lsn);

/* Of a procedure that may commit; SPI is connected.  Errors (57014) after the deadline,
 * 0: none. */
extern bool ks_feeds_wait_for(const char *name, bool until_given, TimestampTz deadline);

/* The feed's row first, as every change does; errors if it has another owner by now. */
extern void ks_feeds_bump_generation(const KsFeed *feed);

/* What a feed had when it stopped, for the history. */
extern Jsonb *ks_feeds_describe_stop(const KsFeed *feed);

#endif
