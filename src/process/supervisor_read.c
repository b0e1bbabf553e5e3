/*
 * supervisor_read.c
 *	  What the catalog says of the sinks, as far as their supervisor wants to know.
 *
 * All of it is read by two statements when a commit has changed something, and
 * one sink's when one of its workers has ended.  Of a definition only what a
 * supervisor acts upon is read: how long its texts are, and whether they make
 * sense, is its workers' concern, and costs nobody else.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "catalog/extension.h"
#include "catalog/offsets.h"
#include "catalog/version.h"
#include "process/supervisor_int.h"

/* Of a sink: what a supervisor wants of its definition, and no more. */
typedef struct SinkRow
{
	char	   *sink;
	Oid			owner;
	char	   *owner_name;		/* NULL: there is no such role */
	bool		may_login;
	bool		superuser;
	Oid			target;			/* InvalidOid: none */
	char	   *table;			/* its name, NULL: there is no such table */
	bool		has_command;
	bool		has_server;
	bool		enabled;
	bool		suspended;
	bool		parks;
	int64		generation;
	int			workers;
	bool		feed;
	int64		feed_id;
} SinkRow;

/* What a row of PARTS_OF_SINKS tells of. */
typedef enum PartKind
{
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
	char	   *text;			/* the state's message */
	bool		flag;			/* the topic is halted alone */
} PartRow;

/*
 * Tables and roles by a snapshot, not by the system caches: who drops one wakes
 * us before the caches hear of it.
 */
#define SINKS \
	"SELECT c.sink, c.owner::pg_catalog.oid, o.rolname::pg_catalog.text, o.rolcanlogin, o.rolsuper, " \
	"c.target::pg_catalog.oid, n.nspname, r.relname, c.command IS NOT NULL, c.server IS NOT NULL, c.enabled, " \
	"c.system_identifier, c.database_oid, " \
	"c.idle_after OPERATOR(pg_catalog.>) '0'::pg_catalog.interval, c.generation, c.workers, NULL::pg_catalog.int8 " \
	"FROM kafka_sink.sink_catalog c " \
	"LEFT JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) c.target::pg_catalog.oid " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace " \
	"LEFT JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) c.owner::pg_catalog.oid " \
	"WHERE $1 IS NULL OR c.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT f.feed, f.owner::pg_catalog.oid, o.rolname::pg_catalog.text, o.rolcanlogin, o.rolsuper, " \
	"NULL, NULL, NULL, false, true, f.enabled, f.system_identifier, f.database_oid, false, f.generation, 1, f.id " \
	"FROM kafka_sink.feed_catalog f " \
	"LEFT JOIN pg_catalog.pg_roles o ON o.oid OPERATOR(pg_catalog.=) f.owner::pg_catalog.oid " \
	"WHERE $1 IS NULL OR f.feed OPERATOR(pg_catalog.=) $1"

#define PARTS_OF_SINKS \
	"SELECT t.sink, 0, t.topic, t.target::pg_catalog.oid, n.nspname, r.relname, NULL::pg_catalog.int4, NULL, h.topic IS NOT NULL " \
	"FROM kafka_sink.topic_catalog t " \
	"LEFT JOIN kafka_sink.topic_state h ON h.sink OPERATOR(pg_catalog.=) t.sink " \
	"AND h.topic OPERATOR(pg_catalog.=) t.topic " \
	"LEFT JOIN pg_catalog.pg_class r ON r.oid OPERATOR(pg_catalog.=) t.target::pg_catalog.oid " \
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) r.relnamespace " \
	"WHERE $1 IS NULL OR t.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT s.sink, 1, s.state, NULL, NULL, NULL, s.worker, s.message, NULL " \
	"FROM kafka_sink.sink_state s " \
	"WHERE $1 IS NULL OR s.sink OPERATOR(pg_catalog.=) $1 " \
	"UNION ALL " \
	"SELECT s.feed, 1, s.state, NULL, NULL, NULL, 0, s.message, NULL " \
	"FROM kafka_sink.feed_state s " \
	"WHERE $1 IS NULL OR s.feed OPERATOR(pg_catalog.=) $1 " \
	"ORDER BY 1, 2"

static char *
row_text(int row, int col, MemoryContext cxt)
{
	char	   *text = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);

	return text ? MemoryContextStrdup(cxt, text) : NULL;
}

static Datum
row_value(int row, int col, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, isnull);
}

static Oid
row_oid(int row, int col)
{
	bool		isnull;
	Datum		d = row_value(row, col, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(d);
}

static bool
row_bool(int row, int col)
{
	bool		isnull;
	Datum		d = row_value(row, col, &isnull);

	return !isnull && DatumGetBool(d);
}

/* The name of a table from its schema's, and its own in the next column; or NULL. */
static char *
row_table(int row, int col, MemoryContext cxt)
{
	char	   *schema = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col);
	char	   *table = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col + 1);

	return schema && table ? MemoryContextStrdup(cxt, quote_qualified_identifier(schema, table)) : NULL;
}

static void
fill_sink(SinkRow *sink, int row, MemoryContext cxt)
{
	bool		isnull;

	sink->sink = row_text(row, 1, cxt);
	sink->owner = row_oid(row, 2);
	sink->owner_name = row_text(row, 3, cxt);
	sink->may_login = row_bool(row, 4);
	sink->superuser = row_bool(row, 5);
	sink->target = row_oid(row, 6);
	sink->table = row_table(row, 7, cxt);
	sink->has_command = row_bool(row, 9);
	sink->has_server = row_bool(row, 10);
	sink->enabled = row_bool(row, 11);
	sink->suspended = (uint64) DatumGetInt64(row_value(row, 12, &isnull)) != GetSystemIdentifier() ||
		row_oid(row, 13) != MyDatabaseId;
	sink->parks = row_bool(row, 14);
	sink->generation = DatumGetInt64(row_value(row, 15, &isnull));
	sink->workers = Min(DatumGetInt32(row_value(row, 16, &isnull)), KS_MAX_WORKERS);
	sink->feed_id = DatumGetInt64(row_value(row, 17, &isnull));
	sink->feed = !isnull;
}

static void
fill_part(PartRow *part, int row, MemoryContext cxt)
{
	bool		isnull;
	Datum		d;

	part->sink = row_text(row, 1, cxt);
	part->kind = DatumGetInt32(row_value(row, 2, &isnull));
	part->name = row_text(row, 3, cxt);
	part->relid = row_oid(row, 4);
	part->table = row_table(row, 5, cxt);
	d = row_value(row, 7, &isnull);
	part->worker = isnull ? -1 : DatumGetInt32(d);
	part->text = row_text(row, 8, cxt);
	part->flag = row_bool(row, 9);
}

/* Runs one of the statements for one sink, or for all; SPI is connected. */
static int
select_rows(const char *sql, const char *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		values[] = {sink ? CStringGetTextDatum(sink) : (Datum) 0};

	ks_catalog_execute(sql, 1, types, values, sink ? " " : "n");
	return (int) SPI_processed;
}

/* Of one sink, or of all, in the current context. */
static SinkRow *
read_sinks(const char *sink, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	SinkRow    *sinks;

	SPI_connect();
	*n = select_rows(SINKS, sink);
	sinks = MemoryContextAllocExtended(cxt, Max(*n, 1) * sizeof(SinkRow), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (int i = 0; i < *n; i++)
		fill_sink(&sinks[i], i, cxt);
	SPI_finish();
	return sinks;
}

/* Of one sink, or of all, by sink, in the current context. */
static PartRow *
read_parts(const char *sink, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	PartRow    *parts;

	SPI_connect();
	*n = select_rows(PARTS_OF_SINKS, sink);
	parts = MemoryContextAllocExtended(cxt, Max(*n, 1) * sizeof(PartRow), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
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
store_parts(KsSupervised *s, const SinkRow *sink, const PartRow *parts, int nparts)
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
		const PartRow *part = &parts[i];

		if (part->kind == PART_STATE)
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
store_sink(const SinkRow *sink, const PartRow *parts, int nparts)
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
	SinkRow    *sinks = ks_version_is_ours() ? read_sinks(s->name, &nsinks) : NULL;
	PartRow    *parts;

	if (nsinks == 0)
	{
		store_dropped(s);
		return;
	}
	parts = read_parts(s->name, &nparts);
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
find_ranges(const PartRow *parts, int n)
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
	SinkRow    *sinks = read_sinks(NULL, &nsinks);
	PartRow    *parts = read_parts(NULL, &nparts);
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
