/*
 * avro_compile.c
 *	  Values of one Avro schema to the columns of one target, as a list of steps.
 *
 * Each field is read once, in the order of the schema, by one step or a few:
 * columns that take it get their value, and what is inside of it gets steps of its
 * own where paths lead there.  Records and unions on the way are no more than that;
 * items of maps and arrays are looked for while a record is read.  Where a value can be
 * of several types, which records of one topic are then, each stands for itself: what the
 * columns cannot take of one is an error of the values that are of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "format/avro_program.h"
#include "format/paths.h"
#include "format/schema_cache.h"

#define MAX_STEPS	100000

typedef struct Compiler
{
	const KsFormatSettings *settings;
	KsTarget   *target;
	KsAvroProgram *program;
	bool		others;			/* what no column takes counts, too */
	bool		in_attempt;		/* of columns that wait for it, too, the value itself is wanted */
	bool		given;			/* the schema is the sink's, and refused where it does not fit */
} Compiler;

/* Columns that want something of a value; their paths have been followed that far. */
typedef struct Wanted
{
	int			n;
	int		   *cols;
} Wanted;

static void compile(Compiler *c, const KsAvroNode *node, const Wanted *wanted, int level);

/* Is it a record, or one of several? */
static bool
has_fields(const KsAvroNode *node)
{
	if (node->type == KS_AVRO_UNION)
		for (int i = 0; i < node->n; i++)
			if (node->types[i]->type == KS_AVRO_RECORD)
				return true;
	return node->type == KS_AVRO_RECORD;
}

static KsAvroStep *
add_step(Compiler *c, KsAvroOp op, const KsAvroNode *node)
{
	KsAvroProgram *p = c->program;
	KsAvroStep *step;

	if (p->nsteps >= MAX_STEPS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("Avro schema is too large"),
				 errdetail("With these columns it needs more than %d steps.", MAX_STEPS)));
	if (p->nsteps >= p->maxsteps)
	{
		p->maxsteps *= 2;
		p->steps = repalloc(p->steps, p->maxsteps * sizeof(KsAvroStep));
	}
	step = &p->steps[p->nsteps++];
	memset(step, 0, sizeof(KsAvroStep));
	step->op = op;
	step->node = node;
	return step;
}

/* Steps that a path has: the field, and what is below it; none: the whole value. */
static int
steps_of_path(const KsColumn *col)
{
	return col->source == KS_FROM_VALUE ? 0 : col->npath + 1;
}

static KsPathStep
path_step(const KsTarget *target, const KsColumn *col, int level)
{
	const KsField *f = &target->fields[col->field];

	return level > 0 ? col->path[level - 1] : (KsPathStep) {f->name, f->len, 0};
}

static void
add_skip(Compiler *c, const KsAvroNode *node)
{
	if (node->width == 0)
		return;
	if (node->width > 0 && node->width <= PG_INT32_MAX / 2)
	{
		add_step(c, KS_AVRO_SKIP_BYTES, node)->at = (int) node->width;
		return;
	}
	add_step(c, node->type == KS_AVRO_INT || node->type == KS_AVRO_LONG ? KS_AVRO_SKIP_LONG :
			 node->type == KS_AVRO_STRING || node->type == KS_AVRO_BYTES ? KS_AVRO_SKIP_STRING :
			 KS_AVRO_SKIP, node);
}

void
ks_avro_cannot_take(const KsColumn *col, const KsAvroNode *node)
{
	bool		time = ks_type_base(unconstify(KsType *, &col->type))->has_time && node->logical == KS_AVRO_PLAIN &&
		node->type >= KS_AVRO_INT && node->type <= KS_AVRO_DOUBLE;

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" cannot take its value from the Avro schema", col->name),
			 err_generic_string(PG_DIAG_COLUMN_NAME, col->name),
			 errdetail("Its type is %s, the schema's is %s.", format_type_be(col->type.typid),
					   ks_avro_type_name(node)),
			 time ? errhint("Give the column a unit in \"columns\": days, seconds, milliseconds, microseconds or nanoseconds.") :
			 errhint("Use a column of another type, or say in \"columns\" where it gets its value; null leaves it to its default.")));
}

static KsAvroConvert *
plan_as(const Compiler *c, const KsAvroNode *node, const KsColumn *col, KsType *type)
{
	return ks_avro_convert_plan(node, type, col->unit, c->settings->envelope != KS_NO_ENVELOPE);
}

/* Can Debezium write there that it does not have the value (is_unavailable() of avro_run.c)? */
static bool
may_lack(const KsAvroNode *node)
{
	switch (node->type)
	{
		case KS_AVRO_STRING:
		case KS_AVRO_BYTES:
		case KS_AVRO_ARRAY:
		case KS_AVRO_MAP:
			return true;
		case KS_AVRO_UNION:
			for (int i = 0; i < node->n; i++)
				if (may_lack(node->types[i]))
					return true;
			return false;
		default:
			return false;
	}
}

static void
add_emit(Compiler *c, const KsAvroNode *node, int i, bool peek)
{
	KsColumn   *col = &c->target->cols[i];
	KsAvroConvert *convert = plan_as(c, node, col, ks_type_to_read(c->target, col, c->in_attempt));
	KsAvroStep *step;

	/* what is text until the attempt has to fit then */
	if (convert == NULL || (col->in_attempt && !c->in_attempt && plan_as(c, node, col, &col->type) == NULL))
		ks_avro_cannot_take(col, node);
	step = add_step(c, peek ? KS_AVRO_PEEK : KS_AVRO_EMIT, node);
	step->col = i;
	step->column = col;
	step->convert = convert;
	step->may_lack = may_lack(node);
	c->program->nmatched++;
}

/* A field that no column takes. */
static void
other_field(Compiler *c, const KsAvroNode *record, int i)
{
	if (!c->others)
		add_skip(c, record->types[i]);
	else if (c->target->has_rest)
		add_step(c, KS_AVRO_REST, record->types[i])->name = &record->names[i];
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column takes the field \"%s\" of the Avro schema", record->names[i].name),
				 errhint("Map it or @rest to a column, or set strict => false.")));
}

static void
compile_record(Compiler *c, const KsAvroNode *record, const Wanted *wanted, int level)
{
	int		   *field = palloc((wanted->n + 1) * sizeof(int));
	Wanted		inner = {0, palloc((wanted->n + 1) * sizeof(int))};

	for (int i = 0; i < wanted->n; i++)
	{
		KsPathStep	step = path_step(c->target, &c->target->cols[wanted->cols[i]], level);

		field[i] = step.name ? ks_avro_find_field(record, step.name, step.len) : -1;
	}
	for (int f = 0; f < record->n; f++)
	{
		CHECK_FOR_INTERRUPTS();
		inner.n = 0;
		for (int i = 0; i < wanted->n; i++)
			if (field[i] == f)
				inner.cols[inner.n++] = wanted->cols[i];
		if (inner.n > 0 || level > 0)
			compile(c, record->types[f], &inner, level + 1);
		else
			other_field(c, record, f);
	}
	pfree(field);
	pfree(inner.cols);
}

typedef struct Branch
{
	Compiler   *c;
	const KsAvroNode *node;
	const Wanted *wanted;
} Branch;

/* A KsCompile. */
static void *
compile_steps(void *arg)
{
	Branch	   *branch = arg;

	compile(branch->c, branch->node, branch->wanted, 0);
	return branch;
}

/* One of the types that a value as a whole can be of. */
static void
compile_branch(Compiler *c, const KsAvroNode *node, const Wanted *wanted)
{
	KsAvroProgram *p = c->program;
	Branch		branch = {c, node, wanted};
	KsCompiled	compiled = {0};
	int			begin = p->nsteps;
	int			nmatched = p->nmatched;

	(void) add_step(c, KS_AVRO_BRANCH, node);
	if (c->given)
		(void) compile_steps(&branch);
	else if (ks_compile_try(&compiled, CurrentMemoryContext, NULL, compile_steps, &branch) == NULL)
	{
		p->nsteps = begin + 1;
		p->nmatched = nmatched;
		p->steps[begin].refused = compiled.error;
	}
	p->steps[begin].at = p->nmatched - nmatched;
}

/* Each branch has its steps; those of the others are jumped over. */
static void
compile_union(Compiler *c, const KsAvroNode *node, const Wanted *wanted, int level)
{
	int		   *branches = palloc((node->n + 1) * sizeof(int));
	int		   *ends = palloc((node->n + 1) * sizeof(int));

	add_step(c, KS_AVRO_ENTER, node)->branches = branches;
	for (int i = 0; i < node->n; i++)
	{
		branches[i] = c->program->nsteps;
		if (level == 0)
			compile_branch(c, node->types[i], wanted);
		else
			compile(c, node->types[i], wanted, level);
		ends[i] = c->program->nsteps;
		(void) add_step(c, KS_AVRO_JUMP, node);
	}
	for (int i = 0; i < node->n; i++)
		c->program->steps[ends[i]].at = c->program->nsteps;
	pfree(ends);
}

/* Those of the columns whose paths go on into such a node, sorted. */
static int
list_items(const Compiler *c, const KsAvroNode *node, const Wanted *wanted, int level, KsStepOf *list)
{
	int			n = 0;

	for (int i = 0; i < wanted->n; i++)
	{
		list[n].col = wanted->cols[i];
		list[n].step = path_step(c->target, &c->target->cols[wanted->cols[i]], level);
		n += (list[n].step.name != NULL) == (node->type == KS_AVRO_MAP);
	}
	ks_steps_sort(list, n);
	return n;
}

/* Which columns the same item is for, list[0..n), and its steps. */
static int
compile_item(Compiler *c, const KsAvroNode *node, const KsStepOf *list, int n, int level, KsAvroItem *item)
{
	Wanted		wanted = {ks_steps_same(list, n), palloc(n * sizeof(int))};

	for (int i = 0; i < wanted.n; i++)
		wanted.cols[i] = list[i].col;
	*item = (KsAvroItem) {.begin = c->program->nsteps, .ncols = wanted.n, .cols = wanted.cols};
	compile(c, node->types[0], &wanted, level + 1);
	(void) add_step(c, KS_AVRO_ITEM_END, node);
	return wanted.n;
}

/* What paths lead to below a map or an array: its items, and the steps for each; false: there is nothing. */
static bool
compile_items(Compiler *c, const KsAvroNode *node, const Wanted *wanted, int level)
{
	KsStepOf   *list = palloc((wanted->n + 1) * sizeof(KsStepOf));
	int			n = list_items(c, node, wanted, level, list);
	int			begin = c->program->nsteps;
	KsAvroItems *items;
	KsField    *fields;

	if (n == 0)
		return false;
	items = palloc0(sizeof(KsAvroItems));
	items->items = palloc(n * sizeof(KsAvroItem));
	items->indexes = palloc(n * sizeof(int));
	fields = palloc(n * sizeof(KsField));
	add_step(c, KS_AVRO_ITEMS, node)->items = items;
	for (int i = 0; i < n; items->n++)
	{
		fields[items->n] = (KsField) {list[i].step.name, list[i].step.len};
		items->indexes[items->n] = list[i].step.index;
		i += compile_item(c, node, list + i, n - i, level, &items->items[items->n]);
	}
	if (node->type == KS_AVRO_MAP)
		ks_names_init(&items->names, fields, items->n);
	c->program->steps[begin].at = c->program->nsteps;
	pfree(list);
	return true;
}

static void
compile(Compiler *c, const KsAvroNode *node, const Wanted *wanted, int level)
{
	Wanted		deeper = {0, palloc((wanted->n + 1) * sizeof(int))};
	int			last = -1;
	/* of what no column takes */
	bool		others = level == 0 && has_fields(node) && c->others;

	check_stack_depth();
	for (int i = 0; i < wanted->n; i++)
	{
		if (steps_of_path(&c->target->cols[wanted->cols[i]]) > level)
			deeper.cols[deeper.n++] = wanted->cols[i];
		else
		{
			if (last >= 0)
				add_emit(c, node, last, true);
			last = wanted->cols[i];
		}
	}
	others |= deeper.n > 0;
	if (last >= 0)
		add_emit(c, node, last, others);
	if (others && node->type == KS_AVRO_UNION)
		compile_union(c, node, &deeper, level);
	else if (others && node->type == KS_AVRO_RECORD)
		compile_record(c, node, &deeper, level);
	else if ((node->type != KS_AVRO_MAP && node->type != KS_AVRO_ARRAY) || !compile_items(c, node, &deeper, level))
		if (last < 0 || others)
			add_skip(c, node);
	pfree(deeper.cols);
}

bool
ks_avro_takes_bytes(const KsColumn *col)
{
	return col->source == KS_FROM_VALUE &&
		ks_type_base(unconstify(KsType *, &col->type))->typid == BYTEAOID;
}

/* Does the program have to give the column a value? */
static bool
is_wanted(const KsTarget *target, int i, KsAvroScope scope)
{
	const KsColumn *col = &target->cols[i];

	if (col->unused || (scope == KS_AVRO_KEY && !ks_target_has_key_column(target, i)))
		return false;
	return col->source == KS_FROM_VALUE_FIELD ||
		(col->source == KS_FROM_VALUE && scope == KS_AVRO_VALUE && !ks_avro_takes_bytes(col));
}

/* Does it fill all columns, in one go? */
static bool
fills(const KsAvroProgram *program, const KsTarget *target)
{
	bool	   *filled = palloc0((target->ncols + 1) * sizeof(bool));
	bool		all = program->unavailable == NULL;

	for (int i = 0; i < program->nsteps; i++)
	{
		const KsAvroStep *step = &program->steps[i];

		if (step->op == KS_AVRO_ENTER || step->op == KS_AVRO_ITEMS)
			all = false;
		if (step->op == KS_AVRO_EMIT || step->op == KS_AVRO_PEEK)
			filled[step->col] = true;
	}
	for (int i = 0; i < target->ncols; i++)
		all &= filled[i];
	pfree(filled);
	return all;
}

static KsAvroProgram *
compile_program(const KsFormatSettings *settings, KsTarget *target, const KsAvroNode *schema,
				KsAvroScope scope, bool in_attempt)
{
	Compiler	c = {settings, target, palloc0(sizeof(KsAvroProgram)),
	scope != KS_AVRO_KEY && (target->has_rest || settings->strict), in_attempt, settings->value_schema != NULL};
	Wanted		wanted = {0, palloc((target->ncols + 1) * sizeof(int))};

	c.program->maxsteps = 64;
	c.program->steps = palloc(c.program->maxsteps * sizeof(KsAvroStep));
	c.program->values = palloc0((target->ncols + 1) * sizeof(Datum));
	c.program->isnull = palloc0((target->ncols + 1) * sizeof(bool));
	c.program->found = palloc0((target->ncols + 1) * sizeof(bool));
	if (scope == KS_AVRO_ROW)
		c.program->unavailable = palloc0((target->ncols + 1) * sizeof(bool));
	for (int i = 0; i < target->ncols; i++)
		if (is_wanted(target, i, scope))
			wanted.cols[wanted.n++] = i;
	if ((target->nfields > 0 || target->has_rest) && !has_fields(schema))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the Avro schema is not of a record"),
				 errdetail("It is of type %s, which has no fields.", ks_avro_type_name(schema)),
				 errhint("Map \"@value\" to the column that takes it.")));
	c.program->unused = wanted.n == 0 && !c.others;
	compile(&c, schema, &wanted, 0);
	(void) add_step(&c, KS_AVRO_END, NULL);
	c.program->fills = fills(c.program, target);
	pfree(wanted.cols);
	return c.program;
}

KsAvroProgram *
ks_avro_compile(const KsFormatSettings *settings, KsTarget *target, const KsAvroNode *schema,
				KsAvroScope scope)
{
	/* a key is as it was: nothing of it waits */
	KsAvroProgram *program = compile_program(settings, target, schema, scope, scope == KS_AVRO_KEY);

	if (target->plain && scope != KS_AVRO_KEY)
		program->again = compile_program(settings, target, schema, scope, true);
	return program;
}

#define MATCH_HINT "Fields and columns go together by their names, aliases of fields included; \"columns\" says what has another one."

/* Such a value would be a row of nothing. */
static ErrorData *
unmatched_branch(const KsAvroNode *node)
{
	ErrorData  *edata = palloc0(sizeof(ErrorData));

	edata->elevel = ERROR;
	edata->output_to_server = edata->output_to_client = true;
	edata->sqlerrcode = ERRCODE_INVALID_PARAMETER_VALUE;
	edata->message = pstrdup("the value has no field that a column takes");
	edata->detail = psprintf("Of the types of the Avro schema it is of %s.", node->name ? node->name : ks_avro_type_name(node));
	edata->hint = pstrdup(MATCH_HINT);
	edata->assoc_context = CurrentMemoryContext;
	return edata;
}

void
ks_avro_check_matched(const KsDecoder *d, const KsAvroProgram *program)
{
	bool		refused = false;

	if (!d->must_match)
		return;
	for (int i = 0; i < program->nsteps; i++)
	{
		KsAvroStep *step = &program->steps[i];

		refused |= step->refused != NULL;
		/* null has no fields that could be meant */
		if (step->op == KS_AVRO_BRANCH && step->refused == NULL && step->at == 0 && step->node->type != KS_AVRO_NULL)
			step->refused = unmatched_branch(step->node);
	}
	if (program->nmatched == 0 && !refused)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the Avro schema has no field that a column takes"),
				 errhint(MATCH_HINT)));
}
