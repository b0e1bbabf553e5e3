/*
 * apply_fill.c
 *	  Rows as tuples of the table: what records say, and the columns of which they
 *	  say nothing.
 *
 * A column that no record fills has its default in a new row, and in an update what
 * it has.  So have those that an update may not change (an identity that is
 * generated always), and the key, where values may be equal and yet differ (numeric,
 * collations that are not deterministic): ON CONFLICT DO UPDATE leaves it as it is.
 * Generated columns are computed from these.
 *
 * The statement makes the row that it would insert first, with defaults, and checks
 * it, whether there is another with its key or not.  So do we: a sequence moves on,
 * and a row that may not be inserted is refused.
 *
 * What indexes and foreign keys want of a row is wanted when all rows are written.
 * Where that is not what the record says, rows are copied to wider ones ("wide").
 *
 * A row of a partitioned table is filled to find its partition, with the table's
 * defaults, and stays so in a wide row; it is a tuple of the partition later, whose
 * columns may stand elsewhere, and which generates its own.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_type.h"
#include "rewrite/rewriteHandler.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "write/apply_fast.h"
#include "write/target_int.h"

/* --- the plan --- */

/* False if it is evaluated when the rows before it are written. */
static bool
add_extra(Relation rel, Form_pg_attribute att, KsTarget *target, KsFast *fast)
{
	KsFastColumn *extra = &fast->extra[fast->nextra++];

	extra->generated = att->attgenerated != '\0';
	if (extra->generated)
	{
		fast->generates = fast->evaluates = true;
		return att->attgenerated == ATTRIBUTE_GENERATED_STORED;
	}
	fast->keeps = true;
	extra->default_expr = ks_target_plan_default(target, rel, att, true);
	fast->evaluates |= extra->default_expr && !IsA(extra->default_expr, Const);
	return extra->default_expr == NULL ||
		ks_volatility_of((Node *) extra->default_expr) == KS_WITH_RECORD;
}

bool
ks_fill_plan(Relation rel, KsTarget *target, KsFast *fast)
{
	TupleDesc	desc = RelationGetDescr(rel);

	fast->attnums = palloc0((target->nvalues + desc->natts) * sizeof(AttrNumber));
	fast->extra = palloc0(desc->natts * sizeof(KsFastColumn));
	fast->kept = palloc0(target->ncols * sizeof(bool));
	for (int c = 0; c < target->ncols; c++)
	{
		fast->attnums[c] = target->cols[c].attnum;
		fast->keeps |= fast->kept[c] = target->cols[c].insert_only;
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || ks_target_find_column(target, att->attnum) >= 0)
			continue;
		fast->attnums[target->nvalues + fast->nextra] = att->attnum;
		if (!add_extra(rel, att, target, fast))
			return false;
	}
	return true;
}

bool
ks_fill_plan_leaf(Relation rel, Relation leaf, const KsTarget *target, KsFast *fast)
{
	const KsFast *root = target->fast;
	int			nplaces = target->nvalues + root->nextra;

	fast->nextra = root->nextra;
	fast->extra = root->extra;
	fast->generates = root->generates;
	fast->keeps = root->keeps;
	fast->kept = palloc(target->ncols * sizeof(bool));
	memcpy(fast->kept, root->kept, target->ncols * sizeof(bool));
	fast->attnums = palloc0(nplaces * sizeof(AttrNumber));
	for (int place = 0; place < nplaces; place++)
	{
		Form_pg_attribute att;
		AttrNumber	attnum;

		if (root->attnums[place] == InvalidAttrNumber)
			continue;			/* it tells what records have */
		att = TupleDescAttr(RelationGetDescr(rel), root->attnums[place] - 1);
		attnum = get_attnum(RelationGetRelid(leaf), NameStr(att->attname));
		if (attnum == InvalidAttrNumber ||
			TupleDescAttr(RelationGetDescr(leaf), attnum - 1)->attgenerated != att->attgenerated)
			return false;
		fast->attnums[place] = attnum;
	}
	return true;
}

int
ks_fill_place(const KsTarget *target, const KsFast *fast, AttrNumber attnum)
{
	for (int place = 0; place < target->nvalues + fast->nextra; place++)
		if (fast->attnums[place] == attnum)
			return place;
	elog(ERROR, "column number %d has no place in a row", attnum);
}

/*
 * Is a key of a type that is equal with blanks behind and without, and keeps them?
 * (not reached by tests: newer minor releases of the server tell it of the index)
 */
static bool
has_loose_blanks(const KsTarget *target)
{
	for (int k = 0; k < target->nkeys; k++)
	{
		const KsType *type = &target->cols[target->keycols[k]].type;
		int32		typmod = type->typmod;

		if (getBaseTypeAndTypmod(type->typid, &typmod) == BPCHAROID && typmod < 0)
			return true;
	}
	return false;
}

void
ks_fill_keep_key(const KsTarget *target, Relation index, KsFast *fast)
{
	if (_bt_allequalimage(index, false) && !has_loose_blanks(target))
		return;
	fast->keeps = true;
	for (int k = 0; k < target->nkeys; k++)
		fast->kept[target->keycols[k]] = true;
}

/* Does no update change it? */
static bool
is_fixed(const KsTarget *target, const KsFast *fast, int place)
{
	if (place >= target->ncols)
		return !fast->extra[place - target->nvalues].generated;
	return target->cols[place].keyno >= 0 || fast->kept[place];
}

bool
ks_fill_settle(const KsTarget *target, bool updates, KsFast *fast)
{
	fast->needed = palloc0((target->nvalues + fast->nextra) * sizeof(bool));
	/* a partition is given what the table has by default, and may index what updates keep */
	fast->widens = fast->partitioned && (fast->nextra > 0 || (updates && fast->keeps));
	for (int i = 0; i < fast->nextra; i++)
		fast->needed[target->nvalues + i] = fast->partitioned && !fast->extra[i].generated;
	for (int i = 0; i < fast->nforeign; i++)
		for (int k = 0; k < fast->foreign[i].index.ncols; k++)
			fast->needed[fast->foreign[i].index.cols[k]] = true;
	for (int i = 0; i < fast->nindexes && fast->plain; i++)
	{
		KsFastIndex *fi = &fast->indexes[i];
		bool		has_extra = false;

		fi->fixed = true;
		for (int k = 0; k < fi->ncols; k++)
		{
			fast->needed[fi->cols[k]] = true;
			fi->fixed &= is_fixed(target, fast, fi->cols[k]);
			has_extra |= fi->cols[k] >= target->ncols;
		}
		/* what a new row has there is not known before it is made */
		if (updates && fi->unique && has_extra && !fi->fixed)
			return false;
	}
	for (int c = 0; c < target->nvalues + fast->nextra; c++)
		fast->widens |= fast->needed[c] && (c >= target->ncols || (updates && fast->kept[c]));
	return true;
}

int
ks_fast_width(const KsTarget *target)
{
	return target->fast && (target->fast->widens || target->given) ?
		target->nvalues + target->fast->nextra : 0;
}

/* --- rows --- */

void
ks_fill_begin(KsWrite *w, bool patches)
{
	const KsFast *fast = w->fast;
	MemoryContext old;

	w->cxt = CurrentMemoryContext;
	w->rows = w->source;
	w->wide = fast->widens ||
		(patches && (fast->nindexes > 1 || fast->nforeign > 0 || fast->partitioned));
	if (w->wide)
		ks_sort_make_rows(&w->rows, w->lo, w->hi, w->target->nvalues + fast->nextra);
	if (fast->nextra == 0)
		return;
	old = MemoryContextSwitchTo(w->estate->es_query_cxt);
	w->defaults = palloc0(fast->nextra * sizeof(ExprState *));
	for (int i = 0; i < fast->nextra; i++)
		if (fast->extra[i].default_expr)
			w->defaults[i] = ExecInitExpr(fast->extra[i].default_expr, NULL);
	MemoryContextSwitchTo(old);
}

void
ks_fill_end(KsWrite *w)
{
	if (w->wide)
		ks_sort_free_rows(&w->rows, w->lo);
}

void
ks_fill_widen(KsWrite *w, int row)
{
	Size		from = (Size) row * w->source.ncols;
	Size		to = (Size) row * w->rows.ncols;

	if (!w->wide)
		return;
	memcpy(w->rows.values + to, w->source.values + from, w->source.ncols * sizeof(Datum));
	memcpy(w->rows.isnull + to, w->source.isnull + from, w->source.ncols * sizeof(bool));
}

/* A value that is not the record's, to where it is looked for afterwards. */
static void
remember_value(KsWrite *w, int row, int place, Datum value, bool isnull)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(w->rel), w->fast->attnums[place] - 1);
	Size		at = (Size) row * w->rows.ncols + place;

	if (!isnull && !att->attbyval)
	{
		MemoryContext old = MemoryContextSwitchTo(w->cxt);

		value = datumCopy(value, false, att->attlen);
		MemoryContextSwitchTo(old);
	}
	w->rows.values[at] = value;
	w->rows.isnull[at] = isnull;
}

static void
put_value(KsWrite *w, TupleTableSlot *slot, int row, int place, Datum value, bool isnull)
{
	int			a = w->fast->attnums[place] - 1;

	slot->tts_values[a] = value;
	slot->tts_isnull[a] = isnull;
	if (w->wide && w->fast->needed[place])
		remember_value(w, row, place, value, isnull);
}

/* What a row of the batch has in the columns that records fill. */
static void
put_columns(KsWrite *w, TupleTableSlot *slot, const KsRows *rows, int row)
{
	const AttrNumber *attnums = w->fast->attnums;
	const Datum *values = rows->values + (Size) row * rows->ncols;
	const bool *isnull = rows->isnull + (Size) row * rows->ncols;
	int			ncols = w->target->ncols;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, RelationGetDescr(w->rel)->natts);	/* dropped columns */
	for (int c = 0; c < ncols; c++)
	{
		int			a = attnums[c] - 1;

		slot->tts_values[a] = values[c];
		slot->tts_isnull[a] = isnull[c];
	}
}

/* What the record says. */
static void
put_record(KsWrite *w, TupleTableSlot *slot, int row)
{
	put_columns(w, slot, &w->source, row);
	ks_fill_widen(w, row);
}

/* What the row had when it was routed. */
static void
put_routed(KsWrite *w, TupleTableSlot *slot, int row)
{
	Size		first = (Size) row * w->rows.ncols + w->target->nvalues;
	const AttrNumber *attnums = w->fast->attnums + w->target->nvalues;

	put_columns(w, slot, &w->rows, row);
	for (int i = 0; i < w->fast->nextra; i++)
		if (!w->fast->extra[i].generated)
		{
			slot->tts_values[attnums[i] - 1] = w->rows.values[first + i];
			slot->tts_isnull[attnums[i] - 1] = w->rows.isnull[first + i];
		}
}

static void
put_defaults(KsWrite *w, TupleTableSlot *slot, int row)
{
	for (int i = 0; i < w->fast->nextra; i++)
	{
		Datum		value = (Datum) 0;
		bool		isnull = true;

		if (w->fast->extra[i].generated)
			continue;
		if (w->defaults[i])
			value = ExecEvalExprSwitchContext(w->defaults[i], GetPerTupleExprContext(w->estate), &isnull);
		put_value(w, slot, row, w->target->nvalues + i, value, isnull);
	}
}

/* What an update leaves as it is. */
static void
put_kept(KsWrite *w, TupleTableSlot *slot, int row, TupleTableSlot *old)
{
	const KsTarget *target = w->target;
	bool		patch = w->ap->ops[row] == KS_ROW_PATCH;
	const char *given = NULL;

	if (patch)
		given = VARDATA_ANY(DatumGetPointer(w->source.values[(Size) row * w->source.ncols + target->ncols]));
	slot_getallattrs(old);
	for (int c = 0; c < target->ncols; c++)
	{
		int			a = w->fast->attnums[c] - 1;

		if (w->fast->kept[c] || (patch && !given[c]))
			put_value(w, slot, row, c, old->tts_values[a], old->tts_isnull[a]);
	}
	for (int i = 0; i < w->fast->nextra; i++)
	{
		int			a = w->fast->attnums[target->nvalues + i] - 1;

		if (!w->fast->extra[i].generated)
			put_value(w, slot, row, target->nvalues + i, old->tts_values[a], old->tts_isnull[a]);
	}
}

static void
prepare_generated(KsWrite *w)
{
	const AttrNumber *attnums = w->fast->attnums + w->target->nvalues;

	w->generated = MemoryContextAllocZero(w->estate->es_query_cxt, w->fast->nextra * sizeof(ExprState *));
	for (int i = 0; i < w->fast->nextra; i++)
	{
		Node	   *expr;

		if (!w->fast->extra[i].generated)
			continue;
		expr = build_column_default(w->rel, attnums[i]);
		if (expr == NULL)
			elog(ERROR, "no generation expression found for column number %d of table \"%s\"",
				 attnums[i], RelationGetRelationName(w->rel));
		w->generated[i] = ExecPrepareExpr((Expr *) expr, w->estate);
	}
}

/*
 * As ExecComputeStoredGenerated() does it, which copies all other columns besides.
 * None refers to another that is generated.
 */
static void
put_generated(KsWrite *w, TupleTableSlot *slot, int row)
{
	ExprContext *econtext = GetPerTupleExprContext(w->estate);
	MemoryContext old;

	if (unlikely(w->generated == NULL))
		prepare_generated(w);
	econtext->ecxt_scantuple = slot;
	old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	for (int i = 0; i < w->fast->nextra; i++)
	{
		int			place = w->target->nvalues + i;
		Form_pg_attribute att;
		Datum		value;
		bool		isnull;

		if (w->generated[i] == NULL)
			continue;
		att = TupleDescAttr(RelationGetDescr(w->rel), w->fast->attnums[place] - 1);
		value = ExecEvalExpr(w->generated[i], econtext, &isnull);
		/* nobody knows where it is */
		if (!isnull)
			value = datumCopy(value, att->attbyval, att->attlen);
		put_value(w, slot, row, place, value, isnull);
	}
	MemoryContextSwitchTo(old);
}

static void
finish_slot(KsWrite *w, TupleTableSlot *slot, int row)
{
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(w->rel);
	if (w->fast->generates)
		put_generated(w, slot, row);
	if (RelationGetDescr(w->rel)->constr != NULL)
		ExecConstraints(w->rri, slot, w->estate);
	/* what is routed to it belongs there */
	if (unlikely(w->rel->rd_rel->relispartition && !w->routed))
		ExecPartitionCheck(w->rri, slot, w->estate, true);
}

void
ks_fill_insert(KsWrite *w, TupleTableSlot *slot, int row)
{
	if (w->routed)
		put_routed(w, slot, row);
	else
	{
		put_record(w, slot, row);
		if (w->fast->nextra > 0)
			put_defaults(w, slot, row);
	}
	finish_slot(w, slot, row);
}

void
ks_fill_route(KsWrite *w, TupleTableSlot *slot, int row)
{
	put_record(w, slot, row);
	/* what is there is not made anew */
	if (w->fast->nextra > 0 && w->ap->ops[row] == KS_ROW_WRITE)
		put_defaults(w, slot, row);
	ExecStoreVirtualTuple(slot);
}

void
ks_fill_update(KsWrite *w, TupleTableSlot *slot, int row, TupleTableSlot *old)
{
	put_record(w, slot, row);
	if (w->fast->keeps || w->ap->ops[row] == KS_ROW_PATCH)
		put_kept(w, slot, row, old);
	finish_slot(w, slot, row);
}
