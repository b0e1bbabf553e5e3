/*
 * command.c
 *	  A sink's command: statements over the relation "batch".
 *
 * Instead of a table a sink can have SQL.  Its target then has no relation: the
 * columns are the fields of value_type (or one column "value") and the record's
 * metadata, and the statements see the decoded rows of a batch as the ephemeral
 * relation "batch", one statement after the other.
 *
 * Statements are planned when the target is built, so that errors come where
 * they are written.  Plans know the number of rows only roughly, by one plan for
 * each order of magnitude: a batch of ten rows should not read a whole table,
 * one of fifty thousand should not look each of them up.  SPI plans them again
 * when what they depend on changes.
 *
 * Columns that neither statement nor filter mentions are not converted.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/error.h"
#include "write/command.h"
#include "write/writer.h"

typedef struct Statement
{
	char	   *sql;
	SPIPlanPtr	plans[KS_BATCH_SIZES];	/* made at first use */
} Statement;

struct KsCommand
{
	char	   *sink;
	int			nstatements;
	Statement  *statements;
};

/* --- errors --- */

void
ks_command_explain(ErrorData *edata, bool has_command)
{
	const char *hint = NULL;

	switch (edata->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
		case ERRCODE_UNDEFINED_SCHEMA:
			hint = "Names outside of pg_catalog need their schema here, as in public.accounts or OPERATOR(public.+); a function that a statement calls does not see \"batch\", it takes rows of it as arguments.";
			break;
		case ERRCODE_UNDEFINED_COLUMN:
			hint = !has_command ?
				"A filter sees the columns of the target that the sink fills, and those of topic, part, off, ts, key, headers whose names are not among them." :
				"The columns of \"batch\" are the fields of value_type (without one: value, of type jsonb) and topic, part, off, ts, key, headers.";
			break;
		case ERRCODE_CARDINALITY_VIOLATION:
			hint = "A batch can hold several records of one key: aggregate them, or choose one with DISTINCT ON (...) ... ORDER BY ..., part, off DESC.";
			break;
	}
	if (hint == NULL)
		return;
	if (edata->hint == NULL || edata->sqlerrcode == ERRCODE_CARDINALITY_VIOLATION)
		edata->hint = pstrdup(hint);
	else
		edata->hint = psprintf("%s  %s", edata->hint, hint);
}

typedef struct Place
{
	const char *sink;
	int			statement;		/* from 1 */
	int			nstatements;
} Place;

static void
statement_context(void *arg)
{
	Place	   *place = arg;

	errcontext("statement %d of %d of the command of sink \"%s\"", place->statement,
			   place->nstatements, place->sink);
}

/* A position in the command is not one in the statement that the client sent. */
static void
position_context(void *arg)
{
	int			pos = geterrposition();

	if (pos > 0)
	{
		errposition(0);
		internalerrposition(pos);
		internalerrquery(arg);
	}
	errcontext("command of a sink");
}

/*
 * An error of a statement, to be thrown again: with the statement's number in
 * the detail too, which the sink's state shows, and a hint.
 */
KS_NORETURN static void rethrow(const struct KsCommand *cmd, int i, MemoryContext cxt);

static void
rethrow(const struct KsCommand *cmd, int i, MemoryContext cxt)
{
	ErrorData  *edata;

	MemoryContextSwitchTo(cxt);
	edata = CopyErrorData();
	FlushErrorState();
	edata->detail = edata->detail ?
		psprintf("%s  (Statement %d of %d of the command.)", edata->detail, i + 1, cmd->nstatements) :
		psprintf("Statement %d of %d of the command.", i + 1, cmd->nstatements);
	ks_command_explain(edata, true);
	ks_error_rethrow(edata);
}

/* --- which columns are used --- */

typedef struct Use
{
	struct Use *outer;
	Query	   *query;
	KsTarget   *target;
} Use;

static bool
use_walker(Node *node, void *arg)
{
	Use		   *use = arg;

	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Use			inner = {use, (Query *) node, use->target};

		return query_tree_walker((Query *) node, use_walker, &inner, 0);
	}
	if (IsA(node, Var))
	{
		Var		   *var = (Var *) node;
		RangeTblEntry *rte;

		for (unsigned i = 0; i < var->varlevelsup; i++)
			use = use->outer;
		rte = rt_fetch(var->varno, use->query->rtable);
		if (rte->rtekind == RTE_NAMEDTUPLESTORE)
			for (int i = 0; i < use->target->ncols; i++)
				if (var->varattno <= 0 || var->varattno == i + 1)
					use->target->cols[i].unused = false;
		return false;
	}
	return expression_tree_walker(node, use_walker, arg);
}

/* --- statements --- */

/* SPI is connected, the relation registered. */
static SPIPlanPtr
prepare(const char *sql)
{
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);

	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	return plan;
}

static void
check_statement(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_SelectStmt:
			if (((SelectStmt *) stmt)->intoClause == NULL)
				return;
			break;
		case T_InsertStmt:
		case T_UpdateStmt:
		case T_DeleteStmt:
#if PG15_GE
		case T_MergeStmt:
#endif
		case T_CallStmt:
		case T_NotifyStmt:
		case T_LockStmt:
		case T_TruncateStmt:
			return;
		default:
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("a command cannot contain this statement"),
			 errdetail("The transaction and the session are the sink's."),
			 errhint("Valid statements: SELECT, INSERT, UPDATE, DELETE, MERGE, CALL, TRUNCATE, LOCK and NOTIFY.")));
}

static void
build_statements(KsTarget *target, const KsSink *sink)
{
	struct KsCommand *cmd = target->command;
	ErrorContextCallback whole = {error_context_stack, position_context, sink->command};
	List	   *stmts;
	ListCell   *lc;

	error_context_stack = &whole;
	stmts = pg_parse_query(sink->command);
	error_context_stack = whole.previous;

	cmd->statements = palloc0((list_length(stmts) + 1) * sizeof(Statement));
	if (stmts == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the command has no statement")));
	foreach(lc, stmts)
	{
		RawStmt    *raw = lfirst_node(RawStmt, lc);
		const char *start = sink->command + Max(raw->stmt_location, 0);

		cmd->statements[cmd->nstatements++].sql =
			raw->stmt_len > 0 ? pnstrdup(start, raw->stmt_len) : pstrdup(start);
	}
	for (int i = 0; i < cmd->nstatements; i++)
	{
		MemoryContext cxt = CurrentMemoryContext;
		Place		place = {sink->name, i + 1, cmd->nstatements};
		ErrorContextCallback callback = {error_context_stack, statement_context, &place};

		PG_TRY();
		{
			SPIPlanPtr	plan;
			Use			use = {NULL, NULL, target};

			error_context_stack = &callback;
			check_statement(list_nth_node(RawStmt, stmts, i)->stmt);
			plan = prepare(cmd->statements[i].sql);
			foreach(lc, SPI_plan_get_plan_sources(plan))
				use_walker((Node *) ((CachedPlanSource *) lfirst(lc))->query_list, &use);
			SPI_freeplan(plan);
			error_context_stack = callback.previous;
		}
		PG_CATCH();
		{
			rethrow(cmd, i, cxt);
		}
		PG_END_TRY();
	}
}

void
ks_command_build(KsTarget *target, const KsSink *sink)
{
	EphemeralNamedRelation enr;

	target->command = palloc0(sizeof(struct KsCommand));
	target->command->sink = pstrdup(sink->name);
	target->qualified_name = "batch";
	ks_command_build_columns(target, sink);

	SPI_connect();
	enr = palloc0(sizeof(EphemeralNamedRelationData));
	enr->md.name = "batch";
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = target->rowdesc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the relation \"batch\"");
	{
		/* what is kept is the target's */
		MemoryContext old = MemoryContextSwitchTo(target->cxt);

		build_statements(target, sink);
		MemoryContextSwitchTo(old);
	}
	SPI_finish();
	for (int i = 0; i < target->ncols; i++)
		if (target->cols[i].source == KS_FROM_HEADERS)
			target->wants_headers = !target->cols[i].unused;
}

void
ks_command_free(KsTarget *target)
{
	struct KsCommand *cmd = target->command;

	for (int i = 0; i < cmd->nstatements; i++)
		for (int j = 0; j < KS_BATCH_SIZES; j++)
			if (cmd->statements[i].plans[j])
				SPI_freeplan(cmd->statements[i].plans[j]);
}

static void
execute_plan(Statement *stmt, int size, bool quiet)
{
	SPIExecuteOptions options = {0};
	int			rc;

	if (stmt->plans[size] == NULL)
	{
		SPIPlanPtr	plan = prepare(stmt->sql);

		SPI_keepplan(plan);
		stmt->plans[size] = plan;
	}
	/* rows that a statement returns are for nobody */
	options.dest = None_Receiver;
	rc = quiet ? SPI_execute_snapshot(stmt->plans[size], NULL, NULL, InvalidSnapshot, InvalidSnapshot, false, false, 0) :
		SPI_execute_plan_extended(stmt->plans[size], &options);
	if (rc < 0)
		elog(ERROR, "SPI_execute_plan failed: %s", SPI_result_code_string(rc));
}

static void
execute(struct KsCommand *cmd, int i, int size, bool quiet)
{
	MemoryContext cxt = CurrentMemoryContext;
	Place		place = {cmd->sink, i + 1, cmd->nstatements};
	ErrorContextCallback callback = {error_context_stack, statement_context, &place};

	PG_TRY();
	{
		error_context_stack = &callback;
		execute_plan(&cmd->statements[i], size, quiet);
		error_context_stack = callback.previous;
	}
	PG_CATCH();
	{
		rethrow(cmd, i, cxt);
	}
	PG_END_TRY();
}

/* All statements over the rows; each row counts as applied. */
static KsWritten
command_write(KsApply *ap, KsRoute *r, KsRun *run, KsCounts *counts)
{
	KsTarget   *target = r->target;
	struct KsCommand *cmd = target->command;
	Tuplestorestate *store;
	int			size;

	/* the rows are in memory already, so a copy of them fits too */
	store = tuplestore_begin_heap(false, false, Max(work_mem, r->sink->batch_bytes / 1024 * 4));
	for (int i = 0; i < run->n; i++)
	{
		Size		row = (Size) run->idx[i] * target->nvalues;

		tuplestore_putvalues(store, target->rowdesc, r->rows.values + row, r->rows.isnull + row);
	}
	ks_apply_register_rows(ap, r);
	r->enr->reldata = store;
	size = ks_batch_size(r, run->n);
	for (int i = 0; i < cmd->nstatements; i++)
		execute(cmd, i, size, ap->quiet);
	r->enr->reldata = NULL;
	tuplestore_end(store);
	for (int i = 0; i < run->n; i++)
		counts[ap->recs[run->idx[i]].pidx].applied++;
	return KS_WRITTEN;
}

const KsWriter ks_command_writer = {
	.name = "command",
	.write = command_write
};
