/*
 * feeds.h
 *	  What functions do that are called with the name of a sink or of a feed.
 */
#ifndef KS_SQL_FEEDS_H
#define KS_SQL_FEEDS_H

#include "postgres.h"

#include "utils/timestamp.h"

/* False if there is no feed of that name.  They check who calls. */
extern bool ks_feeds_pause(const char *name);
extern bool ks_feeds_resume(const char *name);
extern bool ks_feeds_accept_gap(const char *name);

/* Of a procedure that may commit; SPI is connected.  Errors (57014) after the deadline,
 * 0: none. */
extern bool ks_feeds_wait_for(const char *name, bool until_given, TimestampTz deadline);

#endif
