/*
 * memory.h
 *	  Private memory of this process, librdkafka's included.
 */
#ifndef KS_MEMORY_H
#define KS_MEMORY_H

#include "postgres.h"

/* In bytes, 0 if the system does not tell.  Shared buffers do not count. */
extern int64 ks_memory_private(void);

/*
 * True if it is time to look again, which is not at each call: a look takes some
 * 20 microseconds.
 */
extern bool ks_memory_due(void);

/* In a client's session: what it had before is its own. */
extern void ks_memory_begin_session(void);

/* Errors (53200) if it has grown by more than a worker may use. */
extern void ks_memory_check_session(void);

#endif
