/*
 * supervisor_read.c
 *	  What the catalog says of the sinks, as far as their supervisor wants to know.
 *
 * All of it is read (supervisor_rows.c) when a commit has changed something, and
 * one sink's when one of its workers has ended.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "catalog/offsets.h"
#include "catalog/version.h"
#include "process/supervisor_int.h"
#include "process/supervisor_rows.h"

/* The name that a table was last known by. */
static const char *
known_name(const KsSupervised *s, Oid relid)
{
	for (int i = 0; i < s->ntables; i++)
		if (s->tables[i].relid == relid)
			return s->tables[i].name;
	return NULL;
}

static void
fill_table(const KsSupervised *s, KsWrittenTable *t, Oid relid, const char *topic, const char *table, bool halted)
{
	const char *name = table ? table : known_name(s, relid);

	t->relid = relid;
	t->topic = topic ? pstrdup(topic) : NULL;
	t->dropped = table == NULL && !halted;
	t->name = name ? pstrdup(name) : NULL;
}

/* What the topics and states of a sink say of it as a whole. */
typedef struct Summary
{
	int			ntopics;
	bool		topic_targets;	/* one of them has a target of its own */
	bool		halted;			/* one of its workers is */
} Summary;

/* Takes over what was read of one sink, in the current context. */
static Summary
store_parts(KsSupervised *s, const KsSinkRow *sink, const KsPartRow *parts, int nparts)
{
	KsWrittenTable *tables = palloc((nparts + 1) * sizeof(KsWrittenTable));
	KsStateRow *rows = palloc(Max(nparts, 1) * sizeof(KsStateRow));
	int			ntables = 0;
	int			nrows = 0;
	Summary		sum = {0};

	if (OidIsValid(sink->target))
		fill_table(s, &tables[ntables++], sink->target, NULL, sink->table, false);
	for (int i = 0; i < nparts; i++)
	{
		const KsPartRow *part = &parts[i];

		if (part->kind == KS_PART_OF_STATE)
		{
			rows[nrows].worker = part->worker;
			rows[nrows].state = pstrdup(part->name);
			sum.halted |= strcmp(part->name, "halted") == 0;
			rows[nrows++].message = part->text ? pstrdup(part->text) : NULL;
			continue;
		}
		sum.ntopics++;
		if (!OidIsValid(part->relid))
			continue;
		sum.topic_targets = true;
		fill_table(s, &tables[ntables++], part->relid, part->name, part->table, part->flag);
	}
	s->owner_name = sink->owner_name ? pstrdup(sink->owner_name) : NULL;
	s->tables = tables;
	s->ntables = ntables;
	s->rows = rows;
	s->nrows = nrows;
	s->noted = 0;
	memset(s->row_of, 0, sizeof(s->row_of));
	for (int i = 0; i < nrows; i++)
		if (rows[i].worker >= 0 && rows[i].worker < KS_MAX_WORKERS)
			s->row_of[rows[i].worker] = &rows[i];
	return sum;
}

/*
 * Which of several workers have partitions: the rows of these tell, which the
 * first worker makes before it runs.
 */
static void
read_used(KsSupervised *s)
{
	if (s->workers == 1 || !s->runs || s->used_known)
		return;
	s->used = ks_offsets_used_workers(s->name, s->workers);
	s->used_known = true;
}

/* Takes over what was read of one sink. */
static void
store_sink(const KsSinkRow *sink, const KsPartRow *parts, int nparts)
{
	KsSupervised *s = ks_supervised(sink->sink);
	MemoryContext cxt = AllocSetContextCreate(ks_supervisor_cxt, "kafka_sink supervised", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsTrouble	trouble = sink->owner_name == NULL ? KS_TROUBLE_NO_OWNER :
		!PG17_GE && !sink->may_login ? KS_TROUBLE_NO_LOGIN : KS_TROUBLE_NONE;
	Summary		sum = store_parts(s, sink, parts, nparts);
	bool		mended = s->owner_trouble != KS_TROUBLE_NONE && trouble == KS_TROUBLE_NONE;
	bool		changed = s->generation != sink->generation;

	MemoryContextSwitchTo(old);
	if (s->cxt)
		MemoryContextDelete(s->cxt);
	s->cxt = cxt;
	s->owner_trouble = trouble;
	for (int i = 0; i < s->nmanaged && (mended || changed); i++)
	{
		s->managed[i]->next_start = 0;
		s->managed[i]->trouble = KS_TROUBLE_NONE;
	}
	s->feed = sink->feed;
	s->feed_id = sink->feed_id;
	s->generation = sink->generation;
	s->workers = sink->workers;
	s->owner = sink->owner;
	s->superuser = sink->superuser;
	s->runs = sink->enabled && !sink->suspended && !sum.halted &&
		(sink->feed || (sink->has_server && sum.ntopics > 0 &&
						(OidIsValid(sink->target) || sink->has_command || sum.topic_targets)));
	s->report_suspended = sink->suspended && sink->enabled;
	s->parks = sink->parks;
	for (int i = 0; i < s->workers; i++)
		(void) ks_managed(s, i);
	s->used_known &= !changed;
	read_used(s);
	s->loaded = s->listed = true;
	s->stale = false;
	s->failures = 0;
	s->next_try = 0;
}

static void
store_dropped(KsSupervised *s)
{
	s->workers = 0;
	s->runs = s->report_suspended = false;
	s->owner_trouble = KS_TROUBLE_NONE;
	s->nrows = s->ntables = 0;
	s->noted = 0;
	memset(s->row_of, 0, sizeof(s->row_of));
	s->loaded = true;
	s->stale = false;
}

/* One sink; must not be called for one that is not known to us. */
void
ks_supervised_read(void *arg)
{
	KsSupervised *s = arg;
	int			nsinks = 0;
	int			nparts;
	KsSinkRow  *sinks = ks_version_is_ours() ? ks_supervisor_read_sinks(s->name, &nsinks) : NULL;
	KsPartRow  *parts;

	if (nsinks == 0)
	{
		store_dropped(s);
		return;
	}
	parts = ks_supervisor_read_parts(s->name, &nparts);
	store_sink(sinks, parts, nparts);
}

/* --- all of them --- */

typedef struct PartRange
{
	char		sink[NAMEDATALEN];	/* the key */
	int			from;
	int			count;
} PartRange;

/* Where the parts of each sink are: those of one stand together. */
static HTAB *
find_ranges(const KsPartRow *parts, int n)
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(PartRange), .hcxt = CurrentMemoryContext};
	HTAB	   *ranges = hash_create("kafka_sink parts", 256, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);

	for (int i = 0; i < n; i++)
	{
		bool		found;
		PartRange  *range = hash_search(ranges, parts[i].sink, HASH_ENTER, &found);

		if (!found)
		{
			range->from = i;
			range->count = 0;
		}
		range->count++;
	}
	return ranges;
}

/* All by two statements. */
static void
read_together(void)
{
	int			nsinks;
	int			nparts;
	KsSinkRow  *sinks = ks_supervisor_read_sinks(NULL, &nsinks);
	KsPartRow  *parts = ks_supervisor_read_parts(NULL, &nparts);
	HTAB	   *ranges = find_ranges(parts, nparts);

	for (int i = 0; i < nsinks; i++)
	{
		PartRange  *range = hash_search(ranges, sinks[i].sink, HASH_FIND, NULL);

		CHECK_FOR_INTERRUPTS();
		store_sink(&sinks[i], range ? parts + range->from : NULL, range ? range->count : 0);
	}
}

/* From here on drops of tables are told, whatever they are. */
static void
watch_all_tables(void)
{
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	memset(ks_supervisor_database->targets, 0xff, sizeof(ks_supervisor_database->targets));
	LWLockRelease(ks_shared->lock);
}

/* Only those that sinks write to. */
static void
watch_written_tables(void)
{
	uint64		bits[KS_TARGET_BITS / 64] = {0};
	HASH_SEQ_STATUS scan;
	KsSupervised *s;

	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		for (int i = 0; i < s->ntables; i++)
		{
			int			bit = ks_shmem_target_bit(s->tables[i].relid);

			bits[bit / 64] |= UINT64CONST(1) << (bit % 64);
		}
	LWLockAcquire(ks_shared->lock, LW_EXCLUSIVE);
	memcpy(ks_supervisor_database->targets, bits, sizeof(bits));
	LWLockRelease(ks_shared->lock);
}

/*
 * The library belongs to another version than the extension of this database: no
 * sink of it runs.  Who updates the extension has sent us away before, and a new
 * supervisor comes at his commit.
 */
static void
report_version(void)
{
	const char *installed = ks_version_installed();
	int			n = installed ? ks_version_report(installed) : 0;

	if (n > 0)
		ereport(LOG,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_plural("kafka_sink: %d sink of database %u waits for an update of the extension",
							   "kafka_sink: %d sinks of database %u wait for an update of the extension", n, n, MyDatabaseId),
				 errdetail("The extension has version %s, the server's library %s.", installed, KS_VERSION),
				 errhint(KS_VERSION_HINT)));
}

/*
 * All sinks.  Whoever drops a table while we read tells us, whether a sink
 * writes to it or not, so no drop falls between.
 */
void
ks_supervised_read_all(void *unused)
{
	HASH_SEQ_STATUS scan;
	KsSupervised *s;

	watch_all_tables();
	/* what is committed from here on marks us again; so does what was before */
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		s->listed = false;
	ks_supervisor_knows_feeds = false;
	if (ks_version_is_ours())
		read_together();
	else
		report_version();
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		if (!s->listed)
			store_dropped(s);
	/* those of another version are left alone */
	ks_supervisor_knows_feeds = ks_version_is_ours() || !ks_extension_exists();
	watch_written_tables();
}
