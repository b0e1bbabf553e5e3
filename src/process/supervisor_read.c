/*
 * supervisor_read.c
 *	  What the catalog says of the sinks, as far as their supervisor wants to know.
 *
 * All of it is read by two statements when a commit has changed something, and
 * one sink's when one of its workers has ended.  A sink that cannot be read
 * keeps what was known of it, and keeps nobody else from being read.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "process/supervisor_int.h"

/* What a row of PARTS_OF_SINKS tells of. */
typedef enum PartKind
{
	PART_SINK,					/* the sink itself: owner, target */
	PART_TOPIC,					/* one of its topics, with a target or without */
	PART_STATE					/* a row of sink_state */
} PartKind;

typedef struct PartRow
{
	char	   *sink;
	PartKind	kind;
	char	   *name;			/* topic; state */
	Oid			relid;			/* target, InvalidOid: none */
	char	   *table;			/* its name, NULL: there is no such table */
	int			worker;
	char	   *text;			/* the owner's name, NULL: gone; the state's message */
	bool		flag;			/* the owner may log in; the topic is halted alone */
} PartRow;

/*
 * Tables and roles by a snapshot, not by the system caches: who drops one wakes
 * us before the caches hear of it.
 */
#define PARTS_OF_SINKS \
	"SELECT c.sink, 0, NULL, c.target::pg_catalog.oid, n.nspname, r.relname, NULL::pg_catalog.int4, " \
	"o.rolname::pg_catalog.text, o.rolcanlogin " \
	"FROM kafka_sink.sink_catalog c " \
	"LEFT JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) c.target::pg_catalog.oid " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace " \
	"LEFT JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) c.owner::pg_catalog.oid " \
	"WHERE $1 IS NULL OR c.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT t.sink, 1, t.topic, t.target::pg_catalog.oid, n.nspname, r.relname, NULL, NULL, h.topic IS NOT NULL " \
	"FROM kafka_sink.topic_catalog t " \
	"LEFT JOIN kafka_sink.topic_state h ON h.sink OPERATOR(pg_catalog.=) t.sink " \
	"AND h.topic OPERATOR(pg_catalog.=) t.topic " \
	"LEFT JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) t.target::pg_catalog.oid " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace " \
	"WHERE $1 IS NULL OR t.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT s.sink, 2, s.state, NULL, NULL, NULL, s.worker, s.message, NULL " \
	"FROM kafka_sink.sink_state s " \
	"WHERE $1 IS NULL OR s.sink OPERATOR(pg_catalog.=) $1 " \
	"ORDER BY 1, 2"

static char *
row_text(int row, int col, MemoryContext cxt)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);

	return text ? MemoryContextStrdup(cxt, text) : NULL;
}

static void
fill_part(PartRow *part, int row, MemoryContext cxt)
{
	HeapTuple	tup = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	char	   *schema = SPI_getvalue(tup, desc, 5);
	char	   *table = SPI_getvalue(tup, desc, 6);
	bool		isnull;
	Datum		d;

	part->sink = row_text(row, 1, cxt);
	part->kind = DatumGetInt32(SPI_getbinval(tup, desc, 2, &isnull));
	part->name = row_text(row, 3, cxt);
	d = SPI_getbinval(tup, desc, 4, &isnull);
	part->relid = isnull ? InvalidOid : DatumGetObjectId(d);
	if (schema && table)
		part->table = MemoryContextStrdup(cxt, quote_qualified_identifier(schema, table));
	d = SPI_getbinval(tup, desc, 7, &isnull);
	part->worker = isnull ? -1 : DatumGetInt32(d);
	part->text = row_text(row, 8, cxt);
	d = SPI_getbinval(tup, desc, 9, &isnull);
	part->flag = !isnull && DatumGetBool(d);
}

/* Of one sink, or of all, by sink, in the current context. */
static PartRow *
read_parts(const char *sink, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID};
	Datum		values[] = {sink ? CStringGetTextDatum(sink) : (Datum) 0};
	KsCatalogUser save;
	PartRow    *parts;

	SPI_connect();
	ks_catalog_enter(&save);
	if (SPI_execute_with_args(PARTS_OF_SINKS, 1, types, values, sink ? " " : "n", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	ks_catalog_leave(&save);
	*n = SPI_processed;
	parts = MemoryContextAllocZero(cxt, Max(*n, 1) * sizeof(PartRow));
	for (int i = 0; i < *n; i++)
		fill_part(&parts[i], i, cxt);
	SPI_finish();
	return parts;
}

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
fill_table(const KsSupervised *s, KsWrittenTable *t, const PartRow *part)
{
	const char *name = part->table ? part->table : known_name(s, part->relid);

	t->relid = part->relid;
	t->topic = part->name ? pstrdup(part->name) : NULL;
	t->dropped = part->table == NULL && (part->kind == PART_SINK || !part->flag);
	t->name = name ? pstrdup(name) : NULL;
}

/* Takes over what was read of one sink, in the current context. */
static int
store_parts(KsSupervised *s, const PartRow *parts, int nparts, KsTrouble *owner_trouble)
{
	KsWrittenTable *tables = palloc(Max(nparts, 1) * sizeof(KsWrittenTable));
	KsStateRow *rows = palloc(Max(nparts, 1) * sizeof(KsStateRow));
	int			ntables = 0;
	int			nrows = 0;
	int			ntopics = 0;

	*owner_trouble = KS_TROUBLE_NONE;
	for (int i = 0; i < nparts; i++)
	{
		const PartRow *part = &parts[i];

		switch (part->kind)
		{
			case PART_SINK:
				s->owner_name = part->text ? pstrdup(part->text) : NULL;
				*owner_trouble = part->text == NULL ? KS_TROUBLE_NO_OWNER :
					!PG17_GE && !part->flag ? KS_TROUBLE_NO_LOGIN : KS_TROUBLE_NONE;
				break;
			case PART_TOPIC:
				ntopics++;
				break;
			case PART_STATE:
				rows[nrows].worker = part->worker;
				rows[nrows].state = pstrdup(part->name);
				rows[nrows++].message = part->text ? pstrdup(part->text) : NULL;
				continue;
		}
		if (OidIsValid(part->relid))
			fill_table(s, &tables[ntables++], part);
	}
	s->tables = tables;
	s->ntables = ntables;
	s->rows = rows;
	s->nrows = nrows;
	return ntopics;
}

/* Takes over what was read of one sink. */
static void
store_sink(const KsSink *sink, const PartRow *parts, int nparts)
{
	KsSupervised *s = ks_supervised(sink->name);
	MemoryContext cxt = AllocSetContextCreate(ks_supervisor_cxt, "kafka_sink supervised", ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsTrouble	trouble;
	int			ntopics = store_parts(s, parts, nparts, &trouble);
	bool		mended = s->owner_trouble != KS_TROUBLE_NONE && trouble == KS_TROUBLE_NONE;

	MemoryContextSwitchTo(old);
	if (s->cxt)
		MemoryContextDelete(s->cxt);
	s->cxt = cxt;
	s->owner_trouble = trouble;
	for (int i = 0; i < s->nmanaged && (mended || s->generation != sink->generation); i++)
	{
		s->managed[i]->next_start = 0;
		s->managed[i]->trouble = KS_TROUBLE_NONE;
	}
	s->generation = sink->generation;
	s->workers = sink->workers;
	s->owner = sink->owner;
	s->runs = sink->server != NULL && ks_sink_writes(sink) && sink->enabled && !sink->suspended &&
		!sink->halted && ntopics > 0;
	s->report_suspended = sink->suspended && sink->enabled;
	s->parks = sink->idle_after_us > 0;
	for (int i = 0; i < s->workers; i++)
		(void) ks_managed(s, i);
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
	s->loaded = true;
	s->stale = false;
}

/* One sink; must not be called for one that is not known to us. */
void
ks_supervised_read(void *arg)
{
	KsSupervised *s = arg;
	KsSink	   *sink = ks_catalog_exists() ? ks_catalog_sink(s->name, true) : NULL;
	int			n;
	PartRow    *parts;

	if (sink == NULL)
	{
		store_dropped(s);
		return;
	}
	parts = read_parts(s->name, &n);
	store_sink(sink, parts, n);
}

/* --- all of them --- */

/* Each on its own: one of them cannot be read. */
static void
read_each(void)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	KsCatalogUser save;
	char	  **names;
	int			n;

	SPI_connect();
	ks_catalog_enter(&save);
	if (SPI_execute("SELECT c.sink FROM kafka_sink.sink_catalog c", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the catalog of kafka_sink");
	ks_catalog_leave(&save);
	n = SPI_processed;
	names = MemoryContextAlloc(cxt, Max(n, 1) * sizeof(char *));
	for (int i = 0; i < n; i++)
		names[i] = MemoryContextStrdup(cxt, SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1));
	SPI_finish();

	for (int i = 0; i < n; i++)
	{
		KsSupervised *s = ks_supervised(names[i]);

		s->listed = s->stale = true;
		if (s->next_try > GetCurrentTimestamp())
			continue;
		BeginInternalSubTransaction(NULL);
		PG_TRY();
		{
			ks_supervised_read(s);
			ReleaseCurrentSubTransaction();
		}
		PG_CATCH();
		{
			/* it stays stale, and is tried alone later, which tells the error */
			MemoryContextSwitchTo(cxt);
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
		}
		PG_END_TRY();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
	}
}

/* All by two statements. */
static void
read_together(void)
{
	List	   *sinks = ks_catalog_sinks();
	int			n;
	PartRow    *parts = read_parts(NULL, &n);
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = NAMEDATALEN + 2 * sizeof(int), .hcxt = CurrentMemoryContext};
	HTAB	   *ranges = hash_create("kafka_sink parts", 256, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	ListCell   *lc;
	struct
	{
		char		sink[NAMEDATALEN];
		int			from;
		int			count;
	}		   *range;

	/* those of one sink stand together */
	for (int i = 0; i < n; i++)
	{
		bool		found;

		range = hash_search(ranges, parts[i].sink, HASH_ENTER, &found);
		if (!found)
		{
			range->from = i;
			range->count = 0;
		}
		range->count++;
	}
	foreach(lc, sinks)
	{
		const KsSink *sink = lfirst(lc);

		range = hash_search(ranges, sink->name, HASH_FIND, NULL);
		store_sink(sink, range ? parts + range->from : NULL, range ? range->count : 0);
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
 * All sinks.  Whoever drops a table while we read tells us, whether a sink
 * writes to it or not, so no drop falls between.
 */
void
ks_supervised_read_all(void *unused)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext cxt = CurrentMemoryContext;
	HASH_SEQ_STATUS scan;
	KsSupervised *s;
	volatile bool failed = false;

	watch_all_tables();
	/* what is committed from here on marks us again; so does what was before */
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		s->listed = false;
	if (ks_catalog_exists())
	{
		BeginInternalSubTransaction(NULL);
		PG_TRY();
		{
			read_together();
			ReleaseCurrentSubTransaction();
		}
		PG_CATCH();
		{
			MemoryContextSwitchTo(cxt);
			FlushErrorState();
			RollbackAndReleaseCurrentSubTransaction();
			failed = true;
		}
		PG_END_TRY();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
		if (failed)
			read_each();
	}
	hash_seq_init(&scan, ks_supervised_sinks);
	while ((s = hash_seq_search(&scan)) != NULL)
		if (!s->listed)
			store_dropped(s);
	watch_written_tables();
}
