/*
 * source_slots.c
 *	  Messages of librdkafka that are out, until they are released.
 *
 * A record lends the bytes of librdkafka's message, which stays known to a
 * table of this process.  KsRecord.msg is a ticket for that table: its slot and
 * a serial number.  So a source that is closed can give back what others still
 * hold, which librdkafka would wait for, and a release that comes too late, or
 * twice, does nothing.  Of a handle that must not be used any more
 * (base/memory.c) a message stays where it is.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/memory.h"
#include "kafka/source_int.h"

typedef uintptr_t Ticket;

#define SLOT_BITS		24		/* messages out at a time */
#define MAX_SLOTS		(1 << SLOT_BITS)
#define TICKET_SLOT(t)	((int) ((t) & (MAX_SLOTS - 1)))

typedef struct Slot
{
	Ticket		ticket;			/* 0: free */
	rd_kafka_message_t *msg;
	union
	{
		KsSource   *src;
		int			next_free;	/* -1: none */
	};
} Slot;

static Slot *slots;
static int	nslots;
static int	nfree;
static int	first_free = -1;
static Ticket last_serial;

/* Makes room for n more messages. */
void
ks_source_reserve(int n)
{
	int			more;

	if (likely(nfree >= n))
		return;
	more = Max(Max(n, nslots), 1024);
	if (nslots + more > MAX_SLOTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many Kafka records are held at a time"),
				 errhint("Lower batch_records of the sink.")));
	if (slots == NULL)
		slots = MemoryContextAllocHuge(TopMemoryContext, more * sizeof(Slot));
	else
		slots = repalloc_huge(slots, (Size) (nslots + more) * sizeof(Slot));
	for (int i = nslots + more - 1; i >= nslots; i--)
	{
		slots[i].ticket = 0;
		slots[i].next_free = first_free;
		first_free = i;
	}
	nslots += more;
	nfree += more;
}

/* Keeps a message, for which there is room; returns its ticket. */
void *
ks_source_hold(KsSource *src, rd_kafka_message_t *msg)
{
	int			i = first_free;
	Slot	   *slot = &slots[i];

	first_free = slot->next_free;
	nfree--;
	/* the serial of a 32-bit server comes around, and is never 0 */
	last_serial++;
	if (unlikely((Ticket) (last_serial << SLOT_BITS) == 0))
		last_serial = 1;
	slot->ticket = (last_serial << SLOT_BITS) | i;
	slot->msg = msg;
	slot->src = src;
	return (void *) slot->ticket;
}

static inline void
free_slot(int i, bool destroy)
{
	if (likely(destroy))
		rd_kafka_message_destroy(slots[i].msg);
	slots[i].ticket = 0;
	slots[i].next_free = first_free;
	first_free = i;
	nfree++;
}

/* The message of a record that is not released. */
rd_kafka_message_t *
ks_source_held(const KsRecord *rec)
{
	return slots[TICKET_SLOT((Ticket) rec->msg)].msg;
}

void
ks_source_release(KsRecord *recs, int n)
{
	bool		destroy = !ks_memory_refused();

	for (int i = 0; i < n; i++)
	{
		Ticket		ticket = (Ticket) recs[i].msg;
		int			slot = TICKET_SLOT(ticket);

		if (ticket != 0 && slot < nslots && slots[slot].ticket == ticket)
			free_slot(slot, destroy);
		recs[i].msg = NULL;
	}
}

void
ks_source_release_all(KsSource *src)
{
	for (int i = 0; i < nslots; i++)
		if (slots[i].ticket != 0 && slots[i].src == src)
			free_slot(i, true);
}
