/*
 * filter.c
 *	  A sink's filter: a predicate over the columns of a decoded record.
 *
 * It is parsed as an expression over the rows as they are decoded (the target's
 * columns, or those of the command's relation) and the record's metadata, and
 * evaluated record by record, so that it costs the same on every path.  A column
 * of the target hides metadata of the same name.
 *
 * The server's plan cache tells when a function or type that it depends on has
 * changed; the target is then built again.  So it is when any function has that it may
 * have called while it was planned.
 */
#include "postgres.h"

#include "nodes/bitmapset.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_clause.h"
#include "parser/parse_collate.h"
#include "parser/parse_relation.h"
#include "parser/parser.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"

#include "base/error.h"
#include "write/command.h"
#include "write/target_int.h"

#define PREFIX "SELECT ("

typedef struct KsFilter
{
	char	   *sink;
	CachedExpression *expr;
	KsWhen		when;
	ExprState  *state;
	ExprContext *econtext;
	TupleTableSlot *slot;		/* the target's columns, then the metadata */
	int			ncols;			/* of the target */
	bool		reads_type;		/* of those, some that take @schema, */
	bool		reads_rows;		/* some that take what is of rows, */
	bool		reads_record;	/* and something else that a record tells */
	int			nmetas;
	KsColumn	metas[KS_NMETADATA];
} KsFilter;

static void
free_expression(void *arg)
{
	FreeCachedExpression(((KsFilter *) arg)->expr);
}

static void
filter_context(void *arg)
{
	errcontext("filter of sink \"%s\"", (const char *) arg);
}

/* The predicate, and nothing behind it. */
Node *
ks_filter_parse(const char *text, const char *what)
{
	List	   *stmts = pg_parse_query(psprintf(PREFIX "%s\n)", text));
	SelectStmt *select = NULL;

	if (list_length(stmts) == 1 && IsA(linitial_node(RawStmt, stmts)->stmt, SelectStmt))
		select = (SelectStmt *) linitial_node(RawStmt, stmts)->stmt;
	if (select == NULL || select->op != SETOP_NONE || list_length(select->targetList) != 1 ||
		select->distinctClause || select->intoClause || select->fromClause ||
		select->whereClause || select->groupClause || select->havingClause ||
		select->windowClause || select->sortClause || select->limitOffset ||
		select->limitCount || select->lockingClause || select->withClause ||
		linitial_node(ResTarget, select->targetList)->name != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("%s is not a predicate", what),
				 errhint("For example: amount > 0 AND status IN ('open', 'paid').")));
	/* in parentheses it is all of what they hold only if it closes none but its own */
	(void) pg_parse_query(psprintf("%-*s%s", (int) strlen(PREFIX), "SELECT", text));
	return linitial_node(ResTarget, select->targetList)->val;
}

/* Target's columns and what metadata they do not hide. */
static TupleDesc
describe(KsFilter *filter, KsTarget *target)
{
	TupleDesc	desc;

	filter->ncols = target->ncols;
	for (int i = 0; i < KS_NMETADATA; i++)
	{
		KsColumn   *col = &filter->metas[filter->nmetas];
		bool		hidden = false;

		for (int j = 0; j < target->ncols; j++)
			hidden |= strcmp(target->cols[j].name, ks_metadata[i].name) == 0;
		if (hidden)
			continue;
		filter->nmetas++;
		col->name = ks_metadata[i].name;
		col->source = ks_metadata[i].source;
		col->keyno = -1;
		ks_type_init(&col->type, ks_metadata_type(i), -1, &target->types);
	}
	desc = CreateTemplateTupleDesc(filter->ncols + filter->nmetas);
	for (int i = 0; i < target->ncols; i++)
		TupleDescCopyEntry(desc, i + 1, target->rowdesc, i + 1);
	for (int i = 0; i < filter->nmetas; i++)
	{
		Oid			type = filter->metas[i].type.typid;

		TupleDescInitEntry(desc, filter->ncols + i + 1, filter->metas[i].name, type, -1, 0);
		TupleDescInitEntryCollation(desc, filter->ncols + i + 1, get_typcollation(type));
	}
	return desc;
}

static Node *
analyze(const char *text, TupleDesc desc)
{
	ParseState *pstate = make_parsestate(NULL);
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	ParseNamespaceItem *item;
	Node	   *expr;

	enr->md.name = "batch";
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	pstate->p_queryEnv = create_queryEnv();
	register_ENR(pstate->p_queryEnv, enr);
	item = addRangeTableEntryForENR(pstate, makeRangeVar(NULL, "batch", -1), true);
	addNSItemToQuery(pstate, item, true, true, true);
	expr = transformWhereClause(pstate, ks_filter_parse(text, "filter"), EXPR_KIND_WHERE, "filter");
	assign_expr_collations(pstate, expr);
	if (pstate->p_hasSubLinks)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a filter cannot contain a subquery"),
				 errhint("Use a command with a WHERE clause.")));
	free_parsestate(pstate);
	return expr;
}

/* Marks what it reads: columns, and metadata by leaving the others NULL. */
static void
mark_used(KsFilter *filter, KsTarget *target, Node *expr)
{
	Bitmapset  *atts = NULL;
	bool		whole;

	pull_varattnos(expr, 1, &atts);
	whole = bms_is_member(InvalidAttrNumber - FirstLowInvalidHeapAttributeNumber, atts);
	for (int i = 0; i < filter->ncols + filter->nmetas; i++)
	{
		KsColumn   *col = i < filter->ncols ? &target->cols[i] : &filter->metas[i - filter->ncols];
		bool		used = whole ||
			bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, atts);

		if (i >= filter->ncols)
		{
			col->unused = !used;
			filter->reads_record |= used;
		}
		else if (used)
		{
			col->unused = false;
			col->in_filter = true;
			filter->reads_type |= col->source == KS_FROM_SCHEMA;
			filter->reads_rows |= col->source != KS_FROM_SCHEMA && col->source != KS_FROM_SCHEMA_ID;
			filter->reads_record |= col->source == KS_FROM_SCHEMA_ID;
		}
		if (used && col->source == KS_FROM_HEADERS)
			target->wants_headers = true;
	}
}

KsFilter *
ks_filter_build(KsTarget *target, const KsSink *sink)
{
	KsFilter   *filter = palloc0(sizeof(KsFilter));
	MemoryContext cxt = CurrentMemoryContext;
	ErrorContextCallback callback = {error_context_stack, filter_context, sink->name};

	filter->sink = pstrdup(sink->name);
	PG_TRY();
	{
		TupleDesc	desc = describe(filter, target);
		Node	   *expr;
		MemoryContextCallback *cb = palloc0(sizeof(MemoryContextCallback));

		error_context_stack = &callback;
		expr = analyze(sink->filter, desc);
		mark_used(filter, target, expr);
		ks_target_note_calls(target, expr);
		filter->expr = GetCachedExpression(expr);
		cb->func = free_expression;
		cb->arg = filter;
		MemoryContextRegisterResetCallback(target->cxt, cb);
		filter->when = ks_volatility_of((Node *) filter->expr->expr);
		filter->slot = MakeSingleTupleTableSlot(desc, &TTSOpsVirtual);
		ks_filter_begin(filter);
		error_context_stack = callback.previous;
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		/* a position in what was parsed is not one in the client's statement */
		if (edata->cursorpos > 0)
		{
			edata->internalpos = Max(edata->cursorpos - (int) strlen(PREFIX), 0);
			edata->internalquery = pstrdup(sink->filter);
			edata->cursorpos = 0;
		}
		ks_command_explain(edata, sink->command != NULL);
		ks_error_rethrow(edata);
	}
	PG_END_TRY();
	return filter;
}

void
ks_filter_begin(KsFilter *filter)
{
	filter->state = ExecInitExpr((Expr *) filter->expr->expr, NULL);
	filter->econtext = CreateStandaloneExprContext();
	filter->econtext->ecxt_scantuple = filter->slot;
}

KsWhen
ks_filter_when(const KsFilter *filter)
{
	return filter->when;
}

bool
ks_filter_reads_type(const KsFilter *filter)
{
	return filter->reads_type;
}

bool
ks_filter_is_by_type(const KsFilter *filter)
{
	return filter->reads_type && !filter->reads_rows && filter->when == KS_WITH_RECORD;
}

bool
ks_filter_is_of_type(const KsFilter *filter)
{
	return ks_filter_is_by_type(filter) && !filter->reads_record;
}

bool
ks_filter_valid(const KsFilter *filter)
{
	return filter->expr->is_valid;
}

bool
ks_filter_passes(KsFilter *filter, KsDecoder *decoder, const KsRecord *rec,
				 const KsPartition *part, const Datum *values, const bool *isnull)
{
	TupleTableSlot *slot = filter->slot;
	ErrorContextCallback callback = {error_context_stack, filter_context, filter->sink};
	Datum		result;
	bool		null;

	error_context_stack = &callback;
	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, filter->ncols * sizeof(Datum));
	memcpy(slot->tts_isnull, isnull, filter->ncols * sizeof(bool));
	for (int i = 0; i < filter->nmetas; i++)
	{
		KsColumn   *col = &filter->metas[i];

		if (col->unused)
			slot->tts_isnull[filter->ncols + i] = true;
		else
			slot->tts_values[filter->ncols + i] =
				ks_decode_column(decoder, col, rec, part, &slot->tts_isnull[filter->ncols + i]);
	}
	ExecStoreVirtualTuple(slot);
	ResetExprContext(filter->econtext);
	decoder->evaluating = true;
	result = ExecEvalExprSwitchContext(filter->state, filter->econtext, &null);
	decoder->evaluating = false;
	error_context_stack = callback.previous;
	return !null && DatumGetBool(result);
}
