/*
 * supervisor_slots.c
 *	  Replication slots of feeds that do not exist any more.
 *
 * A slot is made by its feed's worker, which is started when the feed's row has been
 * seen: so a slot of a feed that is not known is nobody's, and holds WAL for ever.  The
 * row goes with the transaction that drops the feed; its slot goes here, when the
 * worker has ended.
 */
#include "postgres.h"

#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/timestamp.h"

#include "feed/wal_slot.h"
#include "process/supervisor_int.h"
#include "process/transaction.h"

#define AGAIN_MS	200			/* a process lets go of its slot a little later than it ends */

bool		ks_supervisor_knows_feeds = false;

static bool
is_wanted(const char *slot)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		if (!s->loaded || (s->feed && s->workers > 0 && strcmp(ks_wal_slot_name(s->feed_id), slot) == 0))
		{
			hash_seq_term(&scan);
			return true;
		}
	return false;
}

static void
drop_slot(void *name)
{
	ks_wal_drop_slot(name);
}

TimestampTz
ks_supervisor_drop_slots(void)
{
	bool		again = false;

	for (int i = 0; i < max_replication_slots && ks_supervisor_knows_feeds; i++)
	{
		NameData	name;
		bool		active;
		ErrorData  *edata;

		if (!ks_wal_feed_slot(i, &name, &active) || is_wanted(NameStr(name)))
			continue;
		again |= active;
		if (active)
			continue;
		edata = ks_transaction_try(drop_slot, NameStr(name));
		again |= edata != NULL;
		ereport(edata ? DEBUG1 : LOG,
				edata ? errmsg("replication slot \"%s\" could not be dropped yet: %s", NameStr(name), edata->message) :
				errmsg("replication slot \"%s\" is dropped: its feed does not exist any more", NameStr(name)));
	}
	return again ? TimestampTzPlusMilliseconds(GetCurrentTimestamp(), AGAIN_MS) : 0;
}
