/*
 * limits.h
 *	  How much of what all share one role, or one sink, may have.
 */
#ifndef KS_LIMITS_H
#define KS_LIMITS_H

#include "postgres.h"

/*
 * Errors (54000) if a role would own more sinks, or topics of sinks, than it may;
 * superusers may own any number.  To be called before one more is made, or is given
 * to it, or so many topics are: others that make one for the same role wait until
 * this transaction has ended.
 */
extern void ks_limits_check_sinks(Oid owner);
extern void ks_limits_check_topics(Oid owner, int more);
extern void ks_limits_check_feeds(Oid owner);

/*
 * Errors (54000) if a sink has got offsets of more partitions than it may.  To be
 * called when this transaction has made n rows of them.
 */
extern void ks_limits_check_partitions(const char *sink, int n);

/* Errors (54000) if a part of a definition is longer than 'max' bytes. */
extern void ks_limits_check_size(const char *what, Datum value, Size max);

#define KS_MAX_SETTING_BYTES	(1024 * 1024)
#define KS_MAX_START_AT_BYTES	(64 * 1024)
#define KS_MAX_PARTITIONS_BYTES	(8 * 1024)

#endif
