/*
 * unpack.c
 *	  Values that are packed by their serializer, and not by Kafka.
 *
 * Few bytes can become a thousand times as many, so room is made as they come, and
 * never more than a record may have.
 */
#include "postgres.h"

#include <zlib.h>

#include "utils/memutils.h"

#include "base/compat.h"
#include "format/unpack.h"

#define FIRST_ROOM	1024
#define KEPT_ROOM	(1024 * 1024)	/* of a larger value before, nothing is kept */

static void *
allocate(void *arg, unsigned int n, unsigned int size)
{
	return MemoryContextAllocExtended(arg, (Size) n * size, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
}

static void
release(void *arg, void *p)
{
	pfree(p);
}

/* At least so much room, with what is there. */
static void
make_room(KsUnpacked *u, int room)
{
	if (u->data == NULL)
		u->data = MemoryContextAlloc(u->cxt, room);
	else
		u->data = repalloc_huge(u->data, room);
	u->room = room;
}

KS_NORETURN static void bad(const char *why);

static void
bad(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("value cannot be unpacked"),
			 errdetail("%s.", why)));
}

void
ks_unpack(KsUnpacked *u, const char *s, int len, int max, const char **result, int *result_len)
{
	z_stream	z = {0};
	int			rc;
	int			done = 0;

	if (u->data && u->room > KEPT_ROOM)
	{
		pfree(u->data);
		u->data = NULL;
	}
	if (u->data == NULL)
		make_room(u, FIRST_ROOM);
	z.zalloc = allocate;
	z.zfree = release;
	z.opaque = CurrentMemoryContext;
	z.next_in = (Bytef *) unconstify(char *, s);
	z.avail_in = len;
	if (inflateInit(&z) != Z_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	for (;;)
	{
		z.next_out = (Bytef *) u->data + done;
		z.avail_out = Min(u->room, max + 1) - done;
		rc = inflate(&z, Z_NO_FLUSH);
		done = (char *) z.next_out - u->data;
		if (done > max)
		{
			(void) inflateEnd(&z);
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("record is too large"),
					 errdetail("Unpacked it has more than the %d bytes that the sink takes at most.", max),
					 errhint("Raise the sink's setting max_record_bytes.")));
		}
		if (rc != Z_OK || z.avail_out > 0)
			break;
		make_room(u, (int) Min((int64) u->room * 2, (int64) max + 1));
	}
	len = z.avail_in;
	(void) inflateEnd(&z);
	if (rc == Z_MEM_ERROR)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (rc == Z_OK || rc == Z_BUF_ERROR)
		bad("It is cut off");
	if (rc != Z_STREAM_END)
		bad("It is not in zlib's format");
	if (len > 0)
		bad("More bytes follow than were packed");
	*result = u->data;
	*result_len = done;
}
