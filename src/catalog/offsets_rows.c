/*
 * offsets_rows.c
 *	  Rows of txn_offsets beside the guard: read, made, audited, named, and what
 *	  is said when the guard refuses.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "catalog/limits.h"
#include "catalog/offsets_int.h"
#include "catalog/sinks.h"

/* What programs read: {"topic": ..., "part": 0, "from_off": 0, ...}. */
static char *
range_detail(const KsPartition *want, int64 stored, int64 start_off)
{
	StringInfoData s;

	initStringInfo(&s);
	appendStringInfoString(&s, "{\"topic\": ");
	escape_json(&s, want->topic);
	appendStringInfo(&s, ", \"part\": %d, \"from_off\": " INT64_FORMAT ", \"until_off\": " INT64_FORMAT,
					 want->part, want->off, want->until);
	if (stored < 0)
		appendStringInfoString(&s, ", \"stored\": null}");
	else
		appendStringInfo(&s, ", \"stored\": " INT64_FORMAT ", \"start_off\": " INT64_FORMAT "}",
						 stored, start_off);
	return s.data;
}

void
ks_offsets_refuse(const char *sink, const KsPartition *want, int64 stored, int64 start_off)
{
	char	   *detail = range_detail(want, stored, start_off);
	char	   *place = psprintf("sink \"%s\", topic \"%s\", partition %d", sink, want->topic, want->part);

	if (stored < 0)
		ereport(ERROR,
				(errcode(KS_ERRCODE_NO_OFFSET),
				 errmsg("sink \"%s\" has no offset for topic \"%s\" partition %d",
						sink, want->topic, want->part),
				 errdetail_internal("%s", detail),
				 errhint("Create it with kafka_sink.claim(..., start_at => ...) or kafka_sink.seek().")));
	if (want->off > stored)
		ereport(ERROR,
				(errcode(KS_ERRCODE_AHEAD),
				 errmsg("range begins ahead of the stored offset of %s", place),
				 errdetail_internal("%s", detail),
				 errhint("What is between them has not been applied: roll back, and let it be applied first, or go on from the stored offset.")));
	if (want->off < start_off)
		ereport(ERROR,
				(errcode(KS_ERRCODE_BEFORE_START),
				 errmsg("range begins before the first offset of %s", place),
				 errdetail_internal("%s", detail),
				 errhint("Nothing before start_off was applied here: see kafka_sink.offset_history, and go on from the stored offset, or say where to begin with kafka_sink.seek().")));
	if (want->off < stored && want->until <= stored)
		ereport(ERROR,
				(errcode(KS_ERRCODE_APPLIED),
				 errmsg("range is applied already in %s", place),
				 errdetail_internal("%s", detail),
				 errhint("Roll back, leave it out, and go on from the stored offset.")));
	if (want->off < stored)
		ereport(ERROR,
				(errcode(KS_ERRCODE_BEHIND),
				 errmsg("range begins behind the stored offset of %s", place),
				 errdetail_internal("%s", detail),
				 errhint("A part of it is applied already: roll back, and go on from the stored offset.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the offset of %s could not be moved", place),
			 errdetail_internal("%s", detail),
			 errhint("A trigger on kafka_sink.txn_offsets has prevented it, or the row was changed meanwhile.")));
}

void
ks_offsets_mismatch(const char *sink, KsPartition *const *parts, int n)
{
	KsPartition **stored = palloc(n * sizeof(KsPartition *));
	int64	   *starts = palloc(n * sizeof(int64));
	int			bad = 0;

	for (int i = 0; i < n; i++)
	{
		stored[i] = palloc(sizeof(KsPartition));
		*stored[i] = *parts[i];
	}
	(void) ks_offsets_hold(sink, stored, n, starts);
	while (bad < n - 1 && stored[bad]->off == parts[bad]->off)
		bad++;
	ks_offsets_refuse(sink, parts[bad], stored[bad]->off, starts[bad]);
}

/* Columns from 'col' on: off, last_off, last_hash. */
static void
read_result(uint64 row, int col, KsPartition *p)
{
	HeapTuple	tup = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;
	bool		no_last,
				no_hash;
	Datum		last,
				hash;

	p->off = DatumGetInt64(SPI_getbinval(tup, desc, col, &isnull));
	last = SPI_getbinval(tup, desc, col + 1, &no_last);
	hash = SPI_getbinval(tup, desc, col + 2, &no_hash);
	p->last_off = no_last || no_hash ? -1 : DatumGetInt64(last);
	p->last_hash = no_last || no_hash ? 0 : (uint64) DatumGetInt64(hash);
}

bool
ks_offsets_exists(const char *sink, const KsPartition *p)
{
	/* a place can be of a row that was never committed */
	return ks_offsets_find(sink, p, NULL);
}

bool
ks_offsets_read(const char *sink, KsPartition *p)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID};
	Datum		args[] = {CStringGetTextDatum(sink), CStringGetTextDatum(p->topic),
	Int32GetDatum(p->part)};
	KsCatalogUser save;
	bool		found;

	if (ks_offsets_find(sink, p, p))
		return true;
	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT o.off, o.last_off, o.last_hash FROM kafka_sink.txn_offsets o "
						  "WHERE o.sink OPERATOR(pg_catalog.=) $1 AND o.topic OPERATOR(pg_catalog.=) $2 "
						  "AND o.part OPERATOR(pg_catalog.=) $3",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	found = SPI_processed == 1;
	if (found)
		read_result(0, 1, p);
	SPI_finish();
	return found;
}

int
ks_offsets_count(const char *sink)
{
	int			n;

	(void) ks_offsets_list(sink, NULL, &n);
	return n;
}

int64
ks_offsets_count_of_server(const char *server, Oid owner)
{
	Oid			types[] = {TEXTOID, OIDOID};
	Datum		args[] = {CStringGetTextDatum(server), ObjectIdGetDatum(owner)};
	KsCatalogUser save;
	bool		isnull;
	int64		n;

	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT pg_catalog.count(DISTINCT (o.topic, o.part)) FROM kafka_sink.txn_offsets o "
						  "JOIN kafka_sink.sink_catalog c ON c.sink OPERATOR(pg_catalog.=) o.sink "
						  "WHERE c.server OPERATOR(pg_catalog.=) $1 AND c.owner::pg_catalog.oid OPERATOR(pg_catalog.=) $2",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	n = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	return n;
}

KsPartition *
ks_offsets_list(const char *sink, const char *topic, int *n)
{
	MemoryContext cxt = CurrentMemoryContext;
	Oid			types[] = {TEXTOID, TEXTOID};
	Datum		args[] = {CStringGetTextDatum(sink), topic ? CStringGetTextDatum(topic) : (Datum) 0};
	KsCatalogUser save;
	KsPartition *parts = ks_offsets_find_all(sink, topic, n);

	if (parts)
		return parts;
	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("SELECT o.topic, o.part, o.off, o.last_off, o.last_hash FROM kafka_sink.txn_offsets o "
						  "WHERE o.sink OPERATOR(pg_catalog.=) $1 AND ($2 IS NULL OR o.topic OPERATOR(pg_catalog.=) $2) "
						  "ORDER BY o.topic COLLATE pg_catalog.\"C\", o.part",
						  lengthof(types), types, args, topic ? NULL : " n", false, 0);
	ks_catalog_leave(&save);
	*n = (int) SPI_processed;
	parts = MemoryContextAllocZero(cxt, (*n + 1) * sizeof(KsPartition));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	tup = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		parts[i].topic = MemoryContextStrdup(cxt, TextDatumGetCString(SPI_getbinval(tup, desc, 1, &isnull)));
		parts[i].part = DatumGetInt32(SPI_getbinval(tup, desc, 2, &isnull));
		read_result(i, 3, &parts[i]);
	}
	SPI_finish();
	return parts;
}

bool
ks_offsets_put(const char *sink, const KsPartition *p, bool replace)
{
	Oid			types[] = {TEXTOID, TEXTOID, INT4OID, INT8OID};
	Datum		args[] = {CStringGetTextDatum(sink), CStringGetTextDatum(p->topic),
	Int32GetDatum(p->part), Int64GetDatum(p->off)};
	KsCatalogUser save;
	bool		done;

	ks_catalog_check_topic(p->topic);
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
	if (done && !replace)
		ks_limits_check_partitions(sink, 1);
	return done;
}

void
ks_offsets_put_missing(const char *sink, KsPartition *const *parts, int n)
{
	Oid			types[] = {TEXTOID, TEXTARRAYOID, INT4ARRAYOID, INT8ARRAYOID};
	Datum	   *topics = palloc(n * sizeof(Datum));
	Datum	   *nums = palloc(n * sizeof(Datum));
	Datum	   *offs = palloc(n * sizeof(Datum));
	Datum		args[lengthof(types)];
	KsCatalogUser save;

	for (int i = 0; i < n; i++)
	{
		ks_catalog_check_topic(parts[i]->topic);
		topics[i] = CStringGetTextDatum(parts[i]->topic);
		nums[i] = Int32GetDatum(parts[i]->part);
		offs[i] = Int64GetDatum(parts[i]->off);
	}
	args[0] = CStringGetTextDatum(sink);
	args[1] = PointerGetDatum(construct_array(topics, n, TEXTOID, -1, false, TYPALIGN_INT));
	args[2] = PointerGetDatum(construct_array(nums, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	args[3] = PointerGetDatum(construct_array(offs, n, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	SPI_connect();
	ks_catalog_enter(&save);
	SPI_execute_with_args("INSERT INTO kafka_sink.txn_offsets AS o (sink, topic, part, off, start_off) "
						  "SELECT $1, u.topic, u.part, u.off, u.off "
						  "FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) AS u (topic, part, off) "
						  "WHERE NOT EXISTS (SELECT FROM kafka_sink.txn_offsets t WHERE t.sink OPERATOR(pg_catalog.=) $1 "
						  "AND t.topic OPERATOR(pg_catalog.=) u.topic AND t.part OPERATOR(pg_catalog.=) u.part) "
						  "ORDER BY u.topic COLLATE pg_catalog.\"C\", u.part "
						  "ON CONFLICT (sink, topic, part) DO NOTHING",
						  lengthof(types), types, args, NULL, false, 0);
	ks_catalog_leave(&save);
	n = (int) SPI_processed;
	SPI_finish();
	if (n > 0)
		ks_limits_check_partitions(sink, n);
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

void
ks_offsets_check_range(int64 from, int64 until)
{
	if (from < 0 || until < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid range of offsets"),
				 errdetail("From " INT64_FORMAT " until " INT64_FORMAT ".", from, until),
				 errhint("Offsets are not negative, and until_off is not below from_off.")));
}

static void
bad_offsets(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid offsets"),
			 errhint("Write topics, partitions and offsets, such as {\"orders\": {\"0\": 42}}.")));
}

bool
ks_offsets_partition(const char *s, int len, int32 *part)
{
	char	   *number = pnstrdup(s, len);

	if (len == 0 || len > 9 || strspn(number, "0123456789") != (size_t) len)
		return false;
	/* each partition has one name: no two keys of an object are the same one */
	if (len > 1 && *number == '0')
		return false;
	*part = atoi(number);
	return true;
}

bool
ks_offsets_number(const JsonbValue *v, int64 *off)
{
	char	   *s;

	if (v == NULL || v->type != jbvNumeric)
		return false;
	s = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
	if (strspn(s, "0123456789") != strlen(s))
		return false;
	errno = 0;
	*off = (int64) strtoll(s, NULL, 10);
	return errno == 0;
}

/* The first key that is twice in the object, or in one of its objects. */
#define KEY_THERE_TWICE \
	"SELECT o.key FROM pg_catalog.json_each($1::pg_catalog.json) o GROUP BY o.key " \
	"HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1 " \
	"UNION ALL " \
	"(SELECT i.key FROM pg_catalog.json_each($1::pg_catalog.json) WITH ORDINALITY AS o (key, value, n) " \
	"CROSS JOIN LATERAL pg_catalog.json_each(CASE WHEN pg_catalog.json_typeof(o.value) OPERATOR(pg_catalog.=) 'object' THEN o.value END) i " \
	"GROUP BY o.n, i.key HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1) LIMIT 1"

Jsonb *
ks_offsets_jsonb(const char *json)
{
	Jsonb	   *jb = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	Oid			types[] = {TEXTOID};
	Datum		args[] = {CStringGetTextDatum(json)};

	if (!JB_ROOT_IS_OBJECT(jb))
		return jb;
	SPI_connect();
	SPI_execute_with_args(KEY_THERE_TWICE, lengthof(types), types, args, NULL, true, 0);
	if (SPI_processed > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is there twice", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1)),
				 errhint("Write each topic and each of its partitions once.")));
	SPI_finish();
	return jb;
}

KsPartition *
ks_offsets_parse(Jsonb *jb, int *n)
{
	JsonbIterator *it = JsonbIteratorInit(&jb->root);
	JsonbValue	v;
	JsonbIteratorToken tok;
	KsPartition *parts = NULL;
	char	   *topic = NULL;
	int32		part = -1;
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
				else if (!ks_offsets_partition(s, v.val.string.len, &part))
					bad_offsets();
				break;
			case WJB_VALUE:
				if (depth != 2 || !ks_offsets_number(&v, &off))
					bad_offsets();
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
	ks_offsets_sort(parts, *n);
	return parts;
}
