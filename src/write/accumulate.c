/*
 * accumulate.c
 *	  insert_mode accumulate: the records of a key folded into one row.
 *
 * The records of a batch are sorted by key, those of one key folded in the order
 * of the log, and the folded row is added to the one that is there: each key is
 * written once a batch, however often it occurs.  All functions leave out NULL
 * and missing fields, as SQL's aggregates do, so that folding first and adding
 * then gives what adding one by one does.
 *
 * A folded row stands at the place of its last record, in an array beside the
 * decoded rows, which another attempt may need again.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#include "base/compat.h"
#include "write/accumulate.h"
#include "write/writer.h"

typedef enum How
{
	HOW_LAST,
	HOW_FIRST,
	HOW_SUM,
	HOW_MIN,
	HOW_MAX,
	HOW_COUNT
} How;

static const char *const words[] = {"last", "first", "sum", "min", "max", "count"};

typedef struct Fold
{
	How			how;
	FmgrInfo	fn;				/* sum and count: +; min and max: comparison */
	Oid			collation;
	Datum		one;			/* count */
} Fold;

struct KsAccumulate
{
	Fold	   *folds;			/* by column */
	bool		by_sql;			/* some sum must be cast to its column's type */
};

/* --- the setting --- */

static How
word_to_how(const char *column, const JsonbValue *v)
{
	char	   *word = v->type == jbvString ? pnstrdup(v->val.string.val, v->val.string.len) : "";

	for (int i = 0; i < (int) lengthof(words); i++)
		if (strcmp(word, words[i]) == 0)
			return (How) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid function for column \"%s\" in \"accumulate\"", column),
			 errhint("Valid functions: sum, min, max, count, first, last.")));
}

KS_NORETURN static void cannot(const Fold *fold, const KsColumn *col, const char *why);

static void
cannot(const Fold *fold, const KsColumn *col, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" cannot be accumulated by %s", col->name, words[fold->how]),
			 errdetail("Its type %s %s.", format_type_be(col->type.typid), why)));
}

static void
find_plus(KsTarget *target, Fold *fold, const KsColumn *col)
{
	Oid			type = getBaseType(col->type.typid);
	Oid			op = OpernameGetOprid(list_make2(makeString("pg_catalog"), makeString("+")),
									  type, type);

	if (!OidIsValid(op) || get_op_rettype(op) != type)
		cannot(fold, col, "has no sum");
	fmgr_info_cxt(get_opcode(op), &fold->fn, target->cxt);
}

static void
prepare_fold(KsTarget *target, Fold *fold, KsColumn *col, TupleDesc rowdesc, int c)
{
	Oid			type = getBaseType(col->type.typid);
	TypeCacheEntry *cache;

	fold->collation = TupleDescAttr(rowdesc, c)->attcollation;
	switch (fold->how)
	{
		case HOW_LAST:
		case HOW_FIRST:
			break;
		case HOW_COUNT:
			if (type == INT4OID)
				fold->one = Int32GetDatum(1);
			else if (type == INT8OID)
				fold->one = Int64GetDatum(1);
			else if (type == NUMERICOID)
				fold->one = NumericGetDatum(int64_to_numeric(1));
			else
				cannot(fold, col, "is not integer, bigint or numeric");
			find_plus(target, fold, col);
			/* it counts records, whatever they hold */
			col->unused = true;
			break;
		case HOW_SUM:
			find_plus(target, fold, col);
			break;
		case HOW_MIN:
		case HOW_MAX:
			cache = lookup_type_cache(type, TYPECACHE_CMP_PROC);
			if (!OidIsValid(cache->cmp_proc))
				cannot(fold, col, "has no order");
			fmgr_info_cxt(cache->cmp_proc, &fold->fn, target->cxt);
			break;
	}
	if (fold->how == HOW_SUM || fold->how == HOW_COUNT)
	{
		/* a sum of values that fit need not fit: assigning it to the column checks it */
		TupleDescInitEntry(rowdesc, c + 1, col->name, type, -1, 0);
		TupleDescInitEntryCollation(rowdesc, c + 1, fold->collation);
		target->accumulate->by_sql |= col->type.typid != type || col->type.typmod >= 0;
	}
}

bool
ks_accumulate_by_sql(const KsTarget *target)
{
	return target->accumulate && target->accumulate->by_sql;
}

void
ks_accumulate_plan(const KsSink *sink, Relation rel, KsTarget *target)
{
	struct KsAccumulate *acc = target->accumulate = palloc0(sizeof(struct KsAccumulate));
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken tok;
	char	   *name = NULL;
	int			c = -1;

	acc->folds = palloc0(target->ncols * sizeof(Fold));
	if (!JB_ROOT_IS_OBJECT(sink->accumulate))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"accumulate\" must be a JSON object"),
				 errhint("For example: {\"total\": \"sum\", \"hits\": \"count\", \"last_seen\": \"max\"}.")));
	it = JsonbIteratorInit(&sink->accumulate->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
		{
			AttrNumber	attnum;

			name = pnstrdup(v.val.string.val, v.val.string.len);
			attnum = get_attnum(RelationGetRelid(rel), name);
			c = attnum > 0 ? ks_target_find_column(target, attnum) : -1;
			if (attnum <= 0)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("column \"%s\" of \"accumulate\" does not exist in \"%s\"",
								name, RelationGetRelationName(rel))));
			if (c < 0 || target->cols[c].keyno >= 0 || target->cols[c].insert_only)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
						 errmsg("column \"%s\" cannot be accumulated", name),
						 c < 0 ? errdetail("It is not filled from records.") :
						 target->cols[c].keyno >= 0 ? errdetail("It belongs to the key.") :
						 errdetail("It is an identity column that is generated always.")));
		}
		else if (tok == WJB_VALUE)
			acc->folds[c].how = word_to_how(name, &v);
	}
	for (int i = 0; i < target->ncols; i++)
		if (target->cols[i].insert_only)
			acc->folds[i].how = HOW_FIRST;
	for (int i = 0; i < target->ncols; i++)
		prepare_fold(target, &acc->folds[i], &target->cols[i], target->rowdesc, i);
}

char *
ks_accumulate_sql(const struct KsAccumulate *acc, int col, const char *table, const char *column)
{
	switch (acc->folds[col].how)
	{
		case HOW_FIRST:
			return psprintf("COALESCE(%s.%s, EXCLUDED.%s)", table, column, column);
		case HOW_SUM:
		case HOW_COUNT:
			return psprintf("COALESCE(%s.%s OPERATOR(pg_catalog.+) EXCLUDED.%s, %s.%s, EXCLUDED.%s)",
							table, column, column, table, column, column);
		case HOW_MIN:
			return psprintf("LEAST(%s.%s, EXCLUDED.%s)", table, column, column);
		case HOW_MAX:
			return psprintf("GREATEST(%s.%s, EXCLUDED.%s)", table, column, column);
		case HOW_LAST:
			break;
	}
	return psprintf("COALESCE(EXCLUDED.%s, %s.%s)", column, table, column);
}

/* --- folding --- */

/* Where the sum is NULL the first one stays, as in the statement. */
static Datum
add_values(Fold *fold, Datum value, Datum more)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		sum;

	InitFunctionCallInfoData(*fcinfo, &fold->fn, 2, fold->collation, NULL, NULL);
	fcinfo->args[0].value = value;
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = more;
	fcinfo->args[1].isnull = false;
	sum = FunctionCallInvoke(fcinfo);
	return fcinfo->isnull ? value : sum;
}

/* One column: what comes later to what is there. */
static inline void
fold_value(Fold *fold, Datum *value, bool *isnull, Datum more, bool more_null)
{
	if (more_null)
		return;
	if (*isnull)
	{
		*value = more;
		*isnull = false;
		return;
	}
	switch (fold->how)
	{
		case HOW_FIRST:
			break;
		case HOW_LAST:
			*value = more;
			break;
		case HOW_SUM:
		case HOW_COUNT:
			*value = add_values(fold, *value, more);
			break;
		case HOW_MIN:
			if (DatumGetInt32(FunctionCall2Coll(&fold->fn, fold->collation, *value, more)) > 0)
				*value = more;
			break;
		case HOW_MAX:
			if (DatumGetInt32(FunctionCall2Coll(&fold->fn, fold->collation, *value, more)) < 0)
				*value = more;
			break;
	}
}

/* Adds a row to another: later to earlier. */
static void
fold_row(const KsTarget *target, Datum *values, bool *isnull, const Datum *more, const bool *more_null)
{
	for (int c = 0; c < target->ncols; c++)
		if (target->cols[c].keyno < 0)
			fold_value(&target->accumulate->folds[c], &values[c], &isnull[c],
					   more[c], more_null[c]);
}

void
ks_accumulate_merge(const KsTarget *target, Datum *values, bool *isnull,
					const Datum *old, const bool *old_null)
{
	for (int c = 0; c < target->ncols; c++)
	{
		int			a = target->cols[c].attnum - 1;
		Datum		value = old[a];
		bool		null = old_null[a];

		if (target->cols[c].keyno >= 0)
			continue;
		fold_value(&target->accumulate->folds[c], &value, &null, values[c], isnull[c]);
		/* the old row is gone when index entries are made */
		if (!null && value == old[a] && !target->cols[c].type.typbyval)
			value = datumCopy(value, false, target->cols[c].type.typlen);
		values[c] = value;
		isnull[c] = null;
	}
}

/* The decoded row, with a one in each column that counts. */
static void
start_row(const KsRoute *r, int row, Datum *values, bool *isnull)
{
	const KsTarget *target = r->target;
	Size		at = (Size) row * target->ncols;

	memcpy(values, r->rows.values + at, target->ncols * sizeof(Datum));
	memcpy(isnull, r->rows.isnull + at, target->ncols * sizeof(bool));
	for (int c = 0; c < target->ncols; c++)
		if (target->accumulate->folds[c].how == HOW_COUNT)
		{
			values[c] = target->accumulate->folds[c].one;
			isnull[c] = false;
		}
}

/* A folded row may lack what the domain of a column asks for; its records may. */
static void
check_domains(KsTarget *target, const bool *isnull)
{
	for (int c = 0; c < target->ncols; c++)
		if (isnull[c])
			ks_type_check_now(&target->cols[c].type, (Datum) 0, true);
}

/* Records items[0..n) of one key, none of them a tombstone, to the last one's place. */
static void
fold_records(const KsRoute *r, const KsRows *folded, const KsSortItem *items, int n,
			 Datum *scratch, bool *scratch_null)
{
	Size		at = (Size) items[n - 1].row * folded->ncols;

	start_row(r, items[0].row, folded->values + at, folded->isnull + at);
	for (int i = 1; i < n; i++)
	{
		start_row(r, items[i].row, scratch, scratch_null);
		fold_row(r->target, folded->values + at, folded->isnull + at, scratch, scratch_null);
	}
	check_domains(r->target, folded->isnull + at);
}

/* --- batches --- */

/* The records of one key, as folded. */
typedef struct KeyRecords
{
	int			first;			/* of the sorted records */
	int			n;
} KeyRecords;

/* What became of a folded row becomes of all of its records. */
static void
count_group(KsApply *ap, const KsSortItem *items, const KeyRecords *group, bool applied, KsCounts *counts)
{
	/* the last one is counted where the row was written */
	for (int i = 0; i < group->n - 1; i++)
	{
		KsCounts   *c = &counts[ap->recs[items[group->first + i].row].pidx];

		*(applied ? &c->applied : &c->unmatched) += 1;
	}
}

static KsWritten
accumulate_write(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	int			n = run->n;
	KsTarget   *target = r->target;
	KsRows		folded;
	KsSortItem *items = ks_sort_rows(&target->sortkey, &r->rows, run->idx, n);
	KsSortItem *deletes = palloc_extended((n + 1) * sizeof(KsSortItem), MCXT_ALLOC_HUGE);
	KsSortItem *writes = palloc_extended((n + 1) * sizeof(KsSortItem), MCXT_ALLOC_HUGE);
	KeyRecords *groups = palloc_extended((n + 1) * sizeof(KeyRecords), MCXT_ALLOC_HUGE);
	Datum	   *scratch = palloc(target->ncols * sizeof(Datum));
	bool	   *scratch_null = palloc(target->ncols * sizeof(bool));
	int			ndeletes = 0;
	int			nwrites = 0;

	ks_sort_make_rows(&folded, r->lo, r->hi, target->ncols);
	for (int i = 0, j; i < n; i = j)
	{
		int			from = i;	/* behind the last tombstone */

		for (j = i; j < n && ks_sort_compare(&target->sortkey, &r->rows, &items[i], &items[j]) == 0; j++)
			if (ap->ops[items[j].row] == KS_ROW_DELETE)
				from = j + 1;
		if (from > i)
		{
			int			row = items[from - 1].row;
			Size		at = (Size) row * target->ncols;

			for (int k = i; k < from - 1; k++)
				counts[ap->recs[items[k].row].pidx].superseded++;
			memcpy(folded.values + at, r->rows.values + at, target->ncols * sizeof(Datum));
			memcpy(folded.isnull + at, r->rows.isnull + at, target->ncols * sizeof(bool));
			deletes[ndeletes++] = items[from - 1];
		}
		if (from < j)
		{
			fold_records(r, &folded, items + from, j - from, scratch, scratch_null);
			groups[nwrites].first = from;
			groups[nwrites].n = j - from;
			writes[nwrites++] = items[j - 1];
		}
	}

	if (r->store->store(ap, r, &folded, deletes, ndeletes, KS_ROW_DELETE, counts) != KS_WRITTEN)
		return KS_USE_SQL;
	if (!target->rows_may_vanish)
	{
		for (int i = 0; i < nwrites; i++)
			count_group(ap, items, &groups[i], true, counts);
		return r->store->store(ap, r, &folded, writes, nwrites, KS_ROW_WRITE, counts);
	}
	/* which of them were left out is known one by one only */
	for (int i = 0; i < nwrites; i++)
	{
		KsCounts   *c = &counts[ap->recs[writes[i].row].pidx];
		int64		unmatched = c->unmatched;

		if (r->store->store(ap, r, &folded, &writes[i], 1, KS_ROW_WRITE, counts) != KS_WRITTEN)
			return KS_USE_SQL;
		count_group(ap, items, &groups[i], c->unmatched == unmatched, counts);
	}
	return KS_WRITTEN;
}

const KsWriter ks_accumulate_writer = {
	.name = "accumulate",
	.write = accumulate_write
};
