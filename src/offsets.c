/*
 * offsets.c
 *	  Reads and conditionally advances txn_offsets: the guarantee.
 *
 * Invariant: a row's off changes only by an UPDATE that names the value it
 * expects there, in the transaction that holds the effects of the records
 * between old and new (or by seek, skip and accept_gap, which are audited).
 *
 * The statements run as the owner of the table, and only they do.  They are
 * ordinary SQL, so triggers on txn_offsets fire.  One statement serves any
 * number of partitions: they travel as arrays.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "catalog.h"
#include "offsets.h"

#define SAME_PARTITION \
	"o.sink OPERATOR(pg_catalog.=) $1 " \
	"AND o.topic OPERATOR(pg_catalog.=) u.topic " \
	"AND o.part OPERATOR(pg_catalog.=) u.part " \
	"AND o.off OPERATOR(pg_catalog.=) u.off"

static const char *const lock_sql =
"SELECT o.off FROM kafka_sink.txn_offsets o, "
"ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS u (topic, part, off) "
"WHERE " SAME_PARTITION " ORDER BY o.topic COLLATE \"C\", o.part FOR UPDATE OF o";

static const char *const move_sql =
"UPDATE kafka_sink.txn_offsets o SET off = u.until, "
"last_off = COALESCE(u.last_off, o.last_off), "
"last_hash = COALESCE(u.last_hash, o.last_hash), "
"consumed = o.consumed OPERATOR(pg_catalog.+) u.counts[1], "
"applied = o.applied OPERATOR(pg_catalog.+) u.counts[2], "
"deleted = o.deleted OPERATOR(pg_catalog.+) u.counts[3], "
"filtered = o.filtered OPERATOR(pg_catalog.+) u.counts[4], "
"dead_lettered = o.dead_lettered OPERATOR(pg_catalog.+) u.counts[5], "
"ignored = o.ignored OPERATOR(pg_catalog.+) u.counts[6], "
"superseded = o.superseded OPERATOR(pg_catalog.+) u.counts[7], "
"unmatched = o.unmatched OPERATOR(pg_catalog.+) u.counts[8], "
"gaps = o.gaps OPERATOR(pg_catalog.+) u.counts[9], "
"updated_at = pg_catalog.now() "
"FROM (SELECT a.topic, a.part, a.off, a.until, a.last_off, a.last_hash, "
"	$8[(a.i OPERATOR(pg_catalog.-) 1) OPERATOR(pg_catalog.*) 9 OPERATOR(pg_catalog.+) 1 : a.i OPERATOR(pg_catalog.*) 9] AS counts "
"	FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
"	pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) "
"	WITH ORDINALITY AS a (topic, part, off, until, last_off, last_hash, i)) u "
"WHERE " SAME_PARTITION;

#define NCOUNTS 9
StaticAssertDecl(sizeof(KsCounts) == NCOUNTS * sizeof(int64),
				 "KsCounts and move_sql must agree");

static SPIPlanPtr lock_plan = NULL;
static SPIPlanPtr move_plan = NULL;

static SPIPlanPtr
prepare(SPIPlanPtr *plan, const char *sql, int nargs, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	p = SPI_prepare(sql, nargs, types);

		if (p == NULL)
			elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
		SPI_keepplan(p);
		*plan = p;
	}
	return *plan;
}

static Datum
int8_array(Datum *values, bool *nulls, int n)
{
	int			dims[1] = {n};
	int			lbs[1] = {1};

	return PointerGetDatum(construct_md_array(values, nulls, 1, dims, lbs, INT8OID,
											  sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* $1 sink, $2 topics, $3 partitions, $4 expected offsets. */
static void
key_args(const char *sink, KsPartition *const *parts, int n, Datum *args)
{
	Datum	   *topics = palloc(n * sizeof(Datum));
	Datum	   *nums = palloc(n * sizeof(Datum));
	Datum	   *offs = palloc(n * sizeof(Datum));

	for (int i = 0; i < n; i++)
	{
		topics[i] = CStringGetTextDatum(parts[i]->topic);
		nums[i] = Int32GetDatum(parts[i]->part);
		offs[i] = Int64GetDatum(parts[i]->off);
	}
	args[0] = CStringGetTextDatum(sink);
	args[1] = PointerGetDatum(construct_array(topics, n, TEXTOID, -1, false, TYPALIGN_INT));
	args[2] = PointerGetDatum(construct_array(nums, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	args[3] = int8_array(offs, NULL, n);
}

bool
ks_offsets_lock(const char *sink, KsPartition *const *parts, int n)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID};
	Datum		args[lengthof(types)];
	KsCatalogUser save;
	bool		ok;

	SPI_connect();
	key_args(sink, parts, n, args);
	ks_catalog_enter(&save);
	if (SPI_execute_plan(prepare(&lock_plan, lock_sql, lengthof(types), types),
						 args, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not lock the rows of kafka_sink.txn_offsets");
	ok = SPI_processed == (uint64) n;
	ks_catalog_leave(&save);
	SPI_finish();
	return ok;
}

bool
ks_offsets_move(const char *sink, KsPartition *const *parts, int n)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID,
		INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID};
	Datum		args[lengthof(types)];
	Datum	   *until,
			   *last_off,
			   *last_hash,
			   *counts;
	bool	   *nulls;
	KsCatalogUser save;
	bool		ok;

	SPI_connect();
	key_args(sink, parts, n, args);
	until = palloc(n * sizeof(Datum));
	last_off = palloc(n * sizeof(Datum));
	last_hash = palloc(n * sizeof(Datum));
	counts = palloc(n * NCOUNTS * sizeof(Datum));
	nulls = palloc(n * sizeof(bool));
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
	args[4] = int8_array(until, NULL, n);
	args[5] = int8_array(last_off, nulls, n);
	args[6] = int8_array(last_hash, nulls, n);
	args[7] = int8_array(counts, NULL, n * NCOUNTS);

	ks_catalog_enter(&save);
	if (SPI_execute_plan(prepare(&move_plan, move_sql, lengthof(types), types),
						 args, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not move the rows of kafka_sink.txn_offsets");
	ok = SPI_processed == (uint64) n;
	ks_catalog_leave(&save);
	SPI_finish();
	return ok;
}

void
ks_offsets_mismatch(const char *sink, KsPartition *const *parts, int n)
{
	for (int i = 0; i < n; i++)
	{
		KsPartition stored = *parts[i];

		if (!ks_offsets_read(sink, &stored))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("sink \"%s\" has no offset for topic \"%s\" partition %d",
							sink, stored.topic, stored.part),
					 errhint("Create it with kafka_sink.advance(..., from_off => NULL, ...) or kafka_sink.seek().")));
		if (stored.off != parts[i]->off)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("offset of sink \"%s\", topic \"%s\", partition %d is not the expected one",
							sink, stored.topic, stored.part),
					 errdetail("Expected " INT64_FORMAT ", stored " INT64_FORMAT ".",
							   parts[i]->off, stored.off),
					 errhint("Another consumer moved it: roll back, read kafka_sink.txn_offsets, and go on from there.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("offsets of sink \"%s\" changed while they were checked", sink),
			 errhint("Roll back, read kafka_sink.txn_offsets, and go on from there.")));
}

bool
ks_offsets_read(const char *sink, KsPartition *p)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		args[] = {CStringGetTextDatum(sink), CStringGetTextDatum(p->topic),
	Int32GetDatum(p->part)};
	KsCatalogUser save;
	bool		found;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT o.off, o.last_off, o.last_hash FROM kafka_sink.txn_offsets o "
						  "WHERE o.sink OPERATOR(pg_catalog.=) $1 AND o.topic OPERATOR(pg_catalog.=) $2 "
						  "AND o.part OPERATOR(pg_catalog.=) $3",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	found = SPI_processed == 1;
	if (found)
	{
		HeapTuple	tup = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		no_last,
					no_hash;
		Datum		last,
					hash;

		p->off = DatumGetInt64(SPI_getbinval(tup, desc, 1, &no_last));
		last = SPI_getbinval(tup, desc, 2, &no_last);
		hash = SPI_getbinval(tup, desc, 3, &no_hash);
		p->last_off = no_last || no_hash ? -1 : DatumGetInt64(last);
		p->last_hash = no_last || no_hash ? 0 : (uint64) DatumGetInt64(hash);
	}
	SPI_finish();
	return found;
}

int
ks_offsets_count(const char *sink)
{
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(sink)};
	KsCatalogUser save;
	bool		isnull;
	int64		n;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT pg_catalog.count(*) FROM kafka_sink.txn_offsets o "
						  "WHERE o.sink OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return (int) Min(n, PG_INT32_MAX);
}

bool
ks_offsets_put(const char *sink, const KsPartition *p, bool replace)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID, INT8OID};
	Datum		args[] = {CStringGetTextDatum(sink), CStringGetTextDatum(p->topic),
	Int32GetDatum(p->part), Int64GetDatum(p->off)};
	KsCatalogUser save;
	bool		done;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args(replace ?
						  "INSERT INTO kafka_sink.txn_offsets AS o (sink, topic, part, off, start_off) "
						  "VALUES ($1, $2, $3, $4, $4) ON CONFLICT (sink, topic, part) DO UPDATE SET "
						  "off = excluded.off, start_off = excluded.off, last_off = NULL, last_hash = NULL, topic_id = NULL, "
						  "consumed = 0, applied = 0, deleted = 0, filtered = 0, dead_lettered = 0, ignored = 0, "
						  "superseded = 0, unmatched = 0, gaps = 0, updated_at = pg_catalog.now()" :
						  "INSERT INTO kafka_sink.txn_offsets AS o (sink, topic, part, off, start_off) "
						  "VALUES ($1, $2, $3, $4, $4) ON CONFLICT (sink, topic, part) DO NOTHING",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	done = SPI_processed == 1;
	SPI_finish();
	return done;
}

void
ks_offsets_log(const char *sink, const char *topic, int32 part,
			   const char *action, int64 from, int64 until)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID, TEXTOID, INT8OID, INT8OID, TEXTOID};
	Datum		args[] = {CStringGetTextDatum(sink), CStringGetTextDatum(topic),
		Int32GetDatum(part), CStringGetTextDatum(action), Int64GetDatum(from),
	Int64GetDatum(until), CStringGetTextDatum(GetUserNameFromId(GetUserId(), false))};
	char		nulls[] = "       ";
	KsCatalogUser save;

	if (from < 0)
		nulls[4] = 'n';
	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("INSERT INTO kafka_sink.offset_history (sink, owner, topic, part, action, from_off, until_off, role) "
						  "SELECT c.sink, c.owner, $2, $3, $4, $5, $6, $7 FROM kafka_sink.sink_catalog c "
						  "WHERE c.sink OPERATOR(pg_catalog.=) $1",
						  lengthof(types), types, args, nulls, false, 0);
	ks_catalog_leave(&save);
	SPI_finish();
}

static void
bad_offsets(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid offsets"),
			 errhint("Write topics, partitions and offsets, such as {\"orders\": {\"0\": 42}}.")));
}

static int
compare_partitions(const void *a, const void *b)
{
	const KsPartition *pa = a;
	const KsPartition *pb = b;
	int			cmp = strcmp(pa->topic, pb->topic);

	return cmp != 0 ? cmp : (pa->part > pb->part) - (pa->part < pb->part);
}

KsPartition *
ks_offsets_parse(Jsonb *jb, int *n)
{
	JsonbIterator *it = JsonbIteratorInit(&jb->root);
	JsonbValue	v;
	JsonbIteratorToken tok;
	KsPartition *parts = NULL;
	char	   *topic = NULL;
	int			part = -1;
	int			depth = 0;

	*n = 0;
	while ((tok = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		char	   *s;
		int64		off;

		switch (tok)
		{
			case WJB_BEGIN_OBJECT:
				if (++depth > 2)
					bad_offsets();
				break;
			case WJB_END_OBJECT:
				depth--;
				break;
			case WJB_KEY:
				s = pnstrdup(v.val.string.val, v.val.string.len);
				if (depth == 1)
					topic = s;
				else if (*s == '\0' || strlen(s) > 9 || strspn(s, "0123456789") != strlen(s))
					bad_offsets();
				else
					part = atoi(s);
				break;
			case WJB_VALUE:
				if (depth != 2 || v.type != jbvNumeric)
					bad_offsets();
				s = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v.val.numeric)));
				if (strspn(s, "0123456789") != strlen(s))
					bad_offsets();
				off = DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(v.val.numeric)));
				parts = parts ? repalloc(parts, (*n + 1) * sizeof(KsPartition)) : palloc(sizeof(KsPartition));
				memset(&parts[*n], 0, sizeof(KsPartition));
				parts[*n].topic = topic;
				parts[*n].part = part;
				parts[*n].off = off;
				(*n)++;
				break;
			default:
				bad_offsets();
		}
	}
	/* the order in which batches lock the rows */
	if (*n > 1)
		qsort(parts, *n, sizeof(KsPartition), compare_partitions);
	return parts;
}
