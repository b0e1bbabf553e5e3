/*
 * feed_worker_chunk.c
 *	  The next rows of a table, as records in memory.
 *
 * They are read in a transaction of its own, by its snapshot.  It waits for no lock for
 * long: the WAL has to be read meanwhile.
 *
 * The feed's owner, who need not trust the table's, must be allowed to read it.  But it is
 * read as the table's owner, restricted, as in maintenance: what planning evaluates of its
 * indexes and constraints is his code.  And it is asked for by its name, which others may
 * give to something else at any time: so what has been understood is looked at before it is
 * planned, and from then on no name is looked up.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "tcop/dest.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "process/feed_worker_int.h"

#define MAX_BYTES	(16 * 1024 * 1024)	/* of keys and values */

/* Where the executor leaves its rows. */
typedef struct ChunkReceiver
{
	DestReceiver pub;
	KsFeedChunk *to;
	const KsCopyPlan *plan;
	const char *skip_at;		/* the place of the row that is left out, or NULL */
	MemoryContext row_cxt;		/* of the last row */
	LogicalRepTupleData row;
	FmgrInfo   *out;			/* of the columns */
	KsWalTransaction at;
	int64		bytes;
	int64		max_bytes;
	bool		full;
} ChunkReceiver;

/* --- a row --- */

static void
put_column(ChunkReceiver *r, int i, Datum value, bool isnull)
{
	char	   *text;

	r->row.colstatus[i] = isnull ? LOGICALREP_COLUMN_NULL : LOGICALREP_COLUMN_TEXT;
	if (isnull)
		return;
	text = OutputFunctionCall(&r->out[i], value);
	r->row.colvalues[i].data = text;
	r->row.colvalues[i].len = strlen(text);
}

/* Where the last row is; its texts are there until the next one comes. */
static char *
place_of_row(const ChunkReceiver *r)
{
	char	  **values = palloc(r->plan->nkeys * sizeof(char *));

	for (int i = 0; i < r->plan->nkeys; i++)
		values[i] = r->row.colvalues[r->plan->keys[i].column].data;
	return ks_copy_place(r->plan, values);
}

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	ChunkReceiver *r = (ChunkReceiver *) self;
	MemoryContext old = MemoryContextSwitchTo(r->row_cxt);
	KsProducerRecord rec;
	char	   *key;

	MemoryContextReset(r->row_cxt);
	slot_getallattrs(slot);
	for (int i = 0; i < r->row.ncols; i++)
		put_column(r, i, slot->tts_values[i], slot->tts_isnull[i]);
	r->to->nrows++;
	if (r->skip_at && strcmp(place_of_row(r), r->skip_at) == 0)
		r->to->skipped = true;
	else
	{
		ks_rows_make_copied(ks_feed.publisher.rows, r->to->table, &r->row, &r->at, &rec, &key);
		ks_chunk_add(r->to->chunk, key, &rec);
		r->bytes += Max(rec.keylen, 0) + Max(rec.valuelen, 0);
		r->full = r->bytes >= r->max_bytes;
	}
	MemoryContextSwitchTo(old);
	return !r->full;
}

static void
receive_startup(DestReceiver *self, int operation, TupleDesc desc)
{
}

static void
receive_end(DestReceiver *self)
{
}

/* --- the table --- */

/* As the words of the plugin would describe it. */
static KsRowTable *
describe(const KsCopyPlan *plan)
{
	LogicalRepRelation rel = {
		.remoteid = plan->relid,
		.nspname = plan->schema,
		.relname = plan->table,
		.natts = plan->ncolumns,
		.attnames = palloc(plan->ncolumns * sizeof(char *)),
		.atttyps = palloc(plan->ncolumns * sizeof(Oid))
	};

	for (int i = 0; i < plan->ncolumns; i++)
	{
		rel.attnames[i] = plan->columns[i].name;
		rel.atttyps[i] = plan->columns[i].type;
	}
	return ks_rows_describe(ks_feed.publisher.rows, &rel);
}

static ChunkReceiver *
make_receiver(KsFeedChunk *to, const KsCopyPlan *plan)
{
	ChunkReceiver *r = palloc0(sizeof(ChunkReceiver));

	r->pub.receiveSlot = receive_row;
	r->pub.rStartup = receive_startup;
	r->pub.rShutdown = receive_end;
	r->pub.rDestroy = receive_end;
	r->pub.mydest = DestTuplestore;	/* the executor does not look at what it does not know */
	r->to = to;
	r->plan = plan;
	r->row_cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink row", ALLOCSET_DEFAULT_SIZES);
	r->row.ncols = plan->ncolumns;
	r->row.colstatus = palloc0(plan->ncolumns);
	r->row.colvalues = palloc0(plan->ncolumns * sizeof(StringInfoData));
	r->out = palloc(plan->ncolumns * sizeof(FmgrInfo));
	for (int i = 0; i < plan->ncolumns; i++)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(plan->columns[i].type, &output, &varlena);
		fmgr_info(output, &r->out[i]);
	}
	r->at.commit_lsn = ks_wal_position(ks_feed.wal);
	r->at.committed_at = GetCurrentTimestamp();
	r->max_bytes = Min(ks_feed.feed->batch_bytes, MAX_BYTES);
	return r;
}

/* What others do to the table is not waited for, and rows that the owner may not see are
 * an error. */
static void
set_for_reading(void)
{
	(void) set_config_option("lock_timeout", "100ms", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
	(void) set_config_option("row_security", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
}

/* --- the query --- */

KS_NORETURN static void
is_another(const KsCopyPlan *plan)
{
	/* it is looked for again */
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("table %s is not what it was any more", quote_qualified_identifier(plan->schema, plan->table))));
}

/* It is locked.  Returns its owner. */
static Oid
check_table(const KsCopyPlan *plan)
{
	HeapTuple	tup = SearchSysCache1(RELOID, ObjectIdGetDatum(plan->relid));
	Form_pg_class form;
	Oid			owner;

	if (!HeapTupleIsValid(tup))
		is_another(plan);
	form = (Form_pg_class) GETSTRUCT(tup);
	owner = form->relowner;
	if (form->relkind != (plan->partitioned ? RELKIND_PARTITIONED_TABLE : RELKIND_RELATION))
		is_another(plan);
	ReleaseSysCache(tup);
	ks_feed_check_readable_now(plan->relid, plan->schema, plan->table);
	return owner;
}

/* What stands for a statement, if it reads that table. */
static Query *
understand(const KsCopyPlan *plan, const char *sql)
{
	Query	   *query = linitial_node(Query, ks_analyze_and_rewrite(linitial_node(RawStmt, pg_parse_query(sql)), sql));
	RangeTblEntry *rte = list_length(query->rtable) == 1 ? linitial_node(RangeTblEntry, query->rtable) : NULL;

	if (rte == NULL || rte->rtekind != RTE_RELATION || rte->relid != plan->relid)
		is_another(plan);
	return query;
}

static void
read_rows(const KsCopyPlan *plan, Oid owner, const char *sql, DestReceiver *dest)
{
	Query	   *query = understand(plan, sql);
	QueryDesc  *desc;
	Oid			user;
	int			context;
	int			nestlevel;

	GetUserIdAndSecContext(&user, &context);
	ks_check_as(query, user);
	SetUserIdAndSecContext(owner, context | SECURITY_RESTRICTED_OPERATION);
	nestlevel = NewGUCNestLevel();
	desc = CreateQueryDesc(pg_plan_query(query, sql, 0, NULL), sql, GetActiveSnapshot(), InvalidSnapshot, dest, NULL, NULL, 0);
	ExecutorStart(desc, 0);
	ks_executor_run(desc);
	ExecutorFinish(desc);
	ExecutorEnd(desc);
	FreeQueryDesc(desc);
	AtEOXact_GUC(false, nestlevel);
	SetUserIdAndSecContext(user, context);
}

void
ks_feed_lock_table(Oid relid)
{
	set_for_reading();
	LockRelationOid(relid, AccessShareLock);
	if (get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE)
		list_free(find_all_inheritors(relid, AccessShareLock, NULL));
}

void
ks_feed_read_chunk(KsFeedChunk *to, const KsCopyPlan *plan, const char *place, const char *skip_at, int most)
{
	int			limit = Min(Min(ks_feed.feed->batch_records, KS_FEED_CHUNK_ROWS), most);
	char	  **after = place ? ks_copy_place_read(plan, place) : NULL;
	ChunkReceiver *r;
	Oid			owner = check_table(plan);

	to->anew = after == NULL;
	to->nrows = 0;
	to->skipped = false;
	to->table = describe(plan);
	to->chunk = ks_chunk_create(&to->horizon, to->cxt);
	r = make_receiver(to, plan);
	r->skip_at = skip_at;
	read_rows(plan, owner, ks_copy_query(plan, after, limit), &r->pub);
	to->is_last = !r->full && to->nrows < limit;
	to->last_row = to->nrows > 0 ? place_of_row(r) : NULL;
	/* (the progress is written when nothing can be converted: outside of transactions) */
	to->place = to->is_last ? NULL : pg_server_to_any(to->last_row, strlen(to->last_row), PG_UTF8);
}
