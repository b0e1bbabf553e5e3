/*
 * unpack.h
 *	  Values that are packed by their serializer, and not by Kafka.
 */
#ifndef KS_UNPACK_H
#define KS_UNPACK_H

#include "postgres.h"

/* What the last one has become; in the context that it was made in. */
typedef struct KsUnpacked
{
	MemoryContext cxt;
	char	   *data;
	int			room;
} KsUnpacked;

/*
 * Of zlib's: *result lasts until the next one.  Error 22P03 if it is none, 54000 if it
 * becomes larger than a record may be.
 */
extern void ks_unpack(KsUnpacked *u, const char *s, int len, int max, const char **result, int *result_len);

#endif
