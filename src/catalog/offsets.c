/*
 * offsets.c
 *	  Locks and moves rows of txn_offsets: the guarantee.
 *
 * Invariant: a row's off changes only by an update that names the value it
 * expects there, in the transaction that holds the effects of the records
 * between old and new (or by seek, skip and accept_gap, which are audited).
 *
 * The statements run as the owner of the table, and only they do.  They are
 * ordinary SQL, so triggers on txn_offsets fire.  One statement serves any
 * number of partitions: they travel as arrays.
 *
 * What a commit costs does not depend on how many have been before, although
 * each leaves an old version of its rows that stays as long as some snapshot
 * can see it (a dump, a replication slot).  For that
 *
 * - a row is looked for at the place (ctid) where it was seen last, and by its
 *   key only if it is not there: the statement would pass all old versions.  A
 *   place is a hint, see offsets_place.c: whatever stands there must have the
 *   key, and the offset that is expected.
 * - a row that this transaction has locked is moved where it stands, under the
 *   conditions of MOVE and with what follows from it, but without the statement
 *   and its search for another row of the same key: see offsets_move.c.  The
 *   statement is for tables that somebody has made unlike ours, and for rows
 *   that are not where they were locked.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"

#include "catalog/offsets_int.h"
#include "catalog/sinks.h"

/* $1 sink, $2 topics, $3 partitions, $4 expected offsets, $5 places */
#define RANGES \
	"ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5)"
#define NAMED_RANGES \
	RANGES ") WITH ORDINALITY AS u (topic, part, off, place, i)"

#define BY_KEY \
	"o.sink OPERATOR(pg_catalog.=) $1 " \
	"AND o.topic OPERATOR(pg_catalog.=) u.topic " \
	"AND o.part OPERATOR(pg_catalog.=) u.part"
#define AS_EXPECTED \
	" AND o.off OPERATOR(pg_catalog.=) u.off"

/* the same conditions as functions, which no plan takes for a key */
#define BY_PLACE \
	"o.ctid OPERATOR(pg_catalog.=) u.place " \
	"AND pg_catalog.texteq(o.sink, $1) " \
	"AND pg_catalog.texteq(o.topic, u.topic) " \
	"AND pg_catalog.int4eq(o.part, u.part)"
#define PLACED_AS_EXPECTED \
	" AND pg_catalog.int8eq(o.off, u.off)"

#define LOCK(where) \
	"SELECT u.i, o.ctid, o.off, o.start_off FROM kafka_sink.txn_offsets o, " NAMED_RANGES \
	" WHERE " where " ORDER BY o.topic COLLATE pg_catalog.\"C\", o.part FOR UPDATE OF o"

/* the same of one row: by its whole key, however small the table was when the
 * plan was made */
#define HOLD(where) \
	"SELECT 1::pg_catalog.int8, o.ctid, o.off, o.start_off FROM kafka_sink.txn_offsets o WHERE " where " FOR UPDATE OF o"
#define ONE_BY_KEY \
	"o.sink OPERATOR(pg_catalog.=) $1 AND o.topic OPERATOR(pg_catalog.=) $2[1] AND o.part OPERATOR(pg_catalog.=) $3[1]"
#define ONE_BY_PLACE \
	"o.ctid OPERATOR(pg_catalog.=) $5[1] AND pg_catalog.texteq(o.sink, $1) " \
	"AND pg_catalog.texteq(o.topic, $2[1]) AND pg_catalog.int4eq(o.part, $3[1])"

#define MOVE(where) \
	"UPDATE kafka_sink.txn_offsets o SET off = u.until, " \
	"last_off = COALESCE(u.last_off, o.last_off), " \
	"last_hash = COALESCE(u.last_hash, o.last_hash), " \
	"consumed = o.consumed OPERATOR(pg_catalog.+) u.counts[1], " \
	"applied = o.applied OPERATOR(pg_catalog.+) u.counts[2], " \
	"deleted = o.deleted OPERATOR(pg_catalog.+) u.counts[3], " \
	"filtered = o.filtered OPERATOR(pg_catalog.+) u.counts[4], " \
	"dead_lettered = o.dead_lettered OPERATOR(pg_catalog.+) u.counts[5], " \
	"ignored = o.ignored OPERATOR(pg_catalog.+) u.counts[6], " \
	"superseded = o.superseded OPERATOR(pg_catalog.+) u.counts[7], " \
	"unmatched = o.unmatched OPERATOR(pg_catalog.+) u.counts[8], " \
	"gaps = o.gaps OPERATOR(pg_catalog.+) u.counts[9], " \
	"updated_at = pg_catalog.now() " \
	"FROM (SELECT a.topic, a.part, a.off, a.place, a.until, a.last_off, a.last_hash, a.i, " \
	"	$9[(a.i OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog.*) 9 OPERATOR(pg_catalog.+) 1 : a.i OPERATOR(pg_catalog.*) 9] AS counts " \
	"	FROM " RANGES ", " \
	"	pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8)) " \
	"	WITH ORDINALITY AS a (topic, part, off, place, until, last_off, last_hash, i)) u " \
	"WHERE " where " RETURNING u.i, o.ctid"

typedef enum Statement
{
	LOCK_AT_PLACE, LOCK_BY_KEY, HOLD_AT_PLACE, HOLD_BY_KEY, MOVE_AT_PLACE, MOVE_BY_KEY, NSTATEMENTS
} Statement;

static const char *const statements[NSTATEMENTS] = {
	[LOCK_AT_PLACE] = LOCK(BY_PLACE PLACED_AS_EXPECTED),
	[LOCK_BY_KEY] = LOCK(BY_KEY AS_EXPECTED),
	[HOLD_AT_PLACE] = HOLD(ONE_BY_PLACE),
	[HOLD_BY_KEY] = HOLD(ONE_BY_KEY),
	[MOVE_AT_PLACE] = MOVE(BY_PLACE PLACED_AS_EXPECTED),
	[MOVE_BY_KEY] = MOVE(BY_KEY AS_EXPECTED)
};

static SPIPlanPtr plans[NSTATEMENTS];

#define NKEYARGS	5
#define NARGS		9
#define NCOUNTS		9
#define MAX_TRIES	3

/* --- statements --- */

static Datum
int8_array(Datum *values, bool *nulls, int n)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};

	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, INT8OID,
											  sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static void
key_args(const char *sink, KsPartition *const *parts, int n, Datum *args)
{
	Datum	   *topics = palloc(n * sizeof(Datum));
	Datum	   *nums = palloc(n * sizeof(Datum));
	Datum	   *offs = palloc(n * sizeof(Datum));
	Datum	   *tids = palloc(n * sizeof(Datum));
	ItemPointerData *nowhere = palloc(sizeof(ItemPointerData));

	ItemPointerSetInvalid(nowhere);
	for (int i = 0; i < n; i++)
	{
		ItemPointer place = ks_offsets_place(sink, parts[i]);

		topics[i] = CStringGetTextDatum(parts[i]->topic);
		nums[i] = Int32GetDatum(parts[i]->part);
		offs[i] = Int64GetDatum(parts[i]->off);
		tids[i] = PointerGetDatum(place ? place : nowhere);
	}
	args[0] = CStringGetTextDatum(sink);
	args[1] = PointerGetDatum(construct_array(topics, n, TEXTOID, -1, false, TYPALIGN_INT));
	args[2] = PointerGetDatum(construct_array(nums, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	args[3] = int8_array(offs, NULL, n);
	args[4] = PointerGetDatum(construct_array(tids, n, TIDOID, sizeof(ItemPointerData), false, TYPALIGN_SHORT));
}

static int64
result_int8(uint64 row, int col)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, col, &isnull));
}

/*
 * Cleans the pages where the rows are, if there is something to clean: an access
 * by place does not do it by the way, as one by key does.
 */
static void
prune_places(ArrayType *tids)
{
	Relation	rel = ks_offsets_open(RowShareLock);
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	BlockNumber last = InvalidBlockNumber;
	ItemPointer tid = (ItemPointer) ARR_DATA_PTR(tids);
	int			n = rel->rd_rel->relam == HEAP_TABLE_AM_OID ? ARR_DIMS(tids)[0] : 0;

	for (int i = 0; i < n; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&tid[i]);
		Buffer		buf;

		if (block == last || block >= nblocks)
			continue;
		buf = ReadBuffer(rel, block);
		heap_page_prune_opt(rel, buf);
		ReleaseBuffer(buf);
		last = block;
	}
	table_close(rel, NoLock);
}

/*
 * Runs a statement as the tables' owner and takes down where the rows are;
 * returns how many were hit.  SPI is connected by the caller.
 */
static int
run(Statement which, const char *sink, KsPartition *const *parts, Datum *args)
{
	static Oid	types[NARGS] = {TEXTOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID, TIDARRAYOID,
	INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
	bool		move = which == MOVE_AT_PLACE || which == MOVE_BY_KEY;
	KsCatalogUser save;
	int			nestlevel = NewGUCNestLevel();

	ks_catalog_enter(&save);
	if (which == LOCK_AT_PLACE || which == HOLD_AT_PLACE)
		prune_places(DatumGetArrayTypeP(args[NKEYARGS - 1]));
	/* plans are made when the table is small, and kept when it is not */
	(void) set_config_option("enable_seqscan", "off", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (plans[which] == NULL)
	{
		SPIPlanPtr	p = SPI_prepare_cursor(statements[which], move ? NARGS : NKEYARGS, types,
										   CURSOR_OPT_GENERIC_PLAN);

		if (p == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(p);
		plans[which] = p;
	}
	if (SPI_execute_plan(plans[which], args, NULL, false, 0) !=
		(move ? SPI_OK_UPDATE_RETURNING : SPI_OK_SELECT))
		elog(ERROR, "could not lock or move rows of kafka_sink.txn_offsets");
	AtEOXact_GUC(true, nestlevel);
	ks_catalog_leave(&save);

	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;
		const KsPartition *p = parts[result_int8(row, 1) - 1];
		Datum		tid = SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2, &isnull);

		ks_offsets_placed(sink, p, (ItemPointer) DatumGetPointer(tid));
	}
	return (int) SPI_processed;
}

/* Looks for rows whose places are not known, or 'again' for all; false if some are not found. */
static bool
find_places(const char *sink, KsPartition *const *parts, int n, bool again)
{
	bool		found = true;

	for (int i = 0; i < n; i++)
		if (again || ks_offsets_place(sink, parts[i]) == NULL)
		{
			CHECK_FOR_INTERRUPTS();
			found &= ks_offsets_find(sink, parts[i], NULL);
		}
	return found;
}

/*
 * Locks rows where they were, where they are found, and by their keys if they do
 * not stay where they were found, because others move them: how many.
 */
static int
lock(Statement at_place, Statement by_key, const char *sink, KsPartition *const *parts, int n)
{
	Datum		args[NARGS];

	for (int i = 0; i < MAX_TRIES && find_places(sink, parts, n, i > 0); i++)
	{
		key_args(sink, parts, n, args);
		if (run(at_place, sink, parts, args) == n)
			return n;
	}
	key_args(sink, parts, n, args);
	return run(by_key, sink, parts, args);
}

bool
ks_offsets_lock(const char *sink, KsPartition *const *parts, int n)
{
	bool		ok;

	ks_offsets_forget_places();
	SPI_connect();
	ok = lock(LOCK_AT_PLACE, LOCK_BY_KEY, sink, parts, n) == n;
	SPI_finish();
	return ok;
}

/*
 * One row after the other: all that are where they were first, and then the
 * others, would be another order for each caller.
 */
int
ks_offsets_hold(const char *sink, KsPartition *const *parts, int n, int64 *starts)
{
	int			found = 0;

	ks_offsets_forget_places();
	SPI_connect();
	for (int i = 0; i < n; i++)
	{
		bool		hit = lock(HOLD_AT_PLACE, HOLD_BY_KEY, sink, &parts[i], 1) == 1;

		parts[i]->off = hit ? result_int8(0, 3) : -1;
		starts[i] = hit ? result_int8(0, 4) : -1;
		found += hit;
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_finish();
	return found;
}

/* Moves the rows that a statement finds, and says which: how many. */
static int
move(Statement which, const char *sink, KsPartition *const *parts, int n, bool *hit)
{
	Datum		args[NARGS];
	Datum	   *until = palloc(n * sizeof(Datum));
	Datum	   *last_off = palloc(n * sizeof(Datum));
	Datum	   *last_hash = palloc(n * sizeof(Datum));
	Datum	   *counts = palloc(n * NCOUNTS * sizeof(Datum));
	bool	   *nulls = palloc(n * sizeof(bool));
	int			found;

	key_args(sink, parts, n, args);
	for (int i = 0; i < n; i++)
	{
		const int64 *c = (const int64 *) &parts[i]->counts;

		until[i] = Int64GetDatum(parts[i]->until);
		nulls[i] = parts[i]->new_last_off < 0;
		last_off[i] = Int64GetDatum(parts[i]->new_last_off);
		last_hash[i] = Int64GetDatum((int64) parts[i]->new_last_hash);
		for (int j = 0; j < NCOUNTS; j++)
			counts[i * NCOUNTS + j] = Int64GetDatum(c[j]);
	}
	args[5] = int8_array(until, NULL, n);
	args[6] = int8_array(last_off, nulls, n);
	args[7] = int8_array(last_hash, nulls, n);
	args[8] = int8_array(counts, NULL, n * NCOUNTS);
	found = run(which, sink, parts, args);
	for (int row = 0; row < found; row++)
		hit[result_int8(row, 1) - 1] = true;
	return found;
}

/* The same without a statement; false if the table is not for that. */
static bool
move_in_place(const char *sink, KsPartition *const *parts, int n, bool *hit)
{
	KsCatalogUser save;
	bool		done;

	ks_catalog_enter(&save);
	done = ks_offsets_move_in_place(sink, parts, n, hit);
	ks_catalog_leave(&save);
	return done;
}

/*
 * Each record has become something, once.  Anything else would be a loss.
 * (not reached by tests: a loss)
 */
static void
check_counts(const KsPartition *p)
{
	const KsCounts *c = &p->counts;
	int64		became = ks_counts_became(c);

	if (likely(became == c->consumed && c->consumed + c->gaps == p->until - p->off))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR),
			 errmsg("not each record is accounted for"),
			 errdetail("Topic \"%s\", partition %d, offsets from " INT64_FORMAT " to " INT64_FORMAT ": "
					   INT64_FORMAT " records and " INT64_FORMAT " offsets without one, but what became of "
					   INT64_FORMAT " is known.",
					   p->topic, p->part, p->off, p->until - 1, c->consumed, c->gaps, became)));
}

bool
ks_offsets_move(const char *sink, KsPartition *const *parts, int n)
{
	KsPartition **missed;
	bool	   *hit;
	int			nmissed = 0;
	bool		ok = true;

	for (int i = 0; i < n; i++)
		check_counts(parts[i]);
	SPI_connect();
	missed = palloc(n * sizeof(KsPartition *));
	hit = palloc0(n * sizeof(bool));
	if (!move_in_place(sink, parts, n, hit))
		(void) move(MOVE_AT_PLACE, sink, parts, n, hit);
	for (int i = 0; i < n; i++)
		if (!hit[i])
			missed[nmissed++] = parts[i];
	if (nmissed > 0)
		ok = move(MOVE_BY_KEY, sink, missed, nmissed, hit) == nmissed;
	SPI_finish();
	return ok;
}
