/*
 * proto_compile.c
 *	  Values of one Protobuf message to the columns of one target.
 *
 * Fields come in any order and any number of times, so there is no list of steps for a
 * message, but a table by their numbers.  Single values go to their columns when they are
 * met; for messages, lists and maps it is noted where they are, and the rest is done when
 * all of the record has been seen.  Messages that paths lead into have tables of their own.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "format/proto_program.h"

#define MAX_DENSE	256

typedef struct Compiler
{
	const KsDecoder *d;
	const KsFormatSettings *settings;
	KsTarget   *target;
	KsProtoProgram *program;
	bool		connect;
	bool		others;			/* what no column takes counts, too */
	bool		in_attempt;		/* of columns that wait for it, too, the value itself is wanted */
} Compiler;

/* Columns that want something of a message; their paths have been followed that far. */
typedef struct Wanted
{
	int			n;
	int		   *cols;
} Wanted;

static KsProtoPlan *compile(Compiler *c, const KsProtoMessage *message, const Wanted *wanted, int level);

static int
steps_of_path(const KsColumn *col)
{
	return col->npath + 1;
}

static KsPathStep
path_step(const KsTarget *target, const KsColumn *col, int level)
{
	const KsField *f = &target->fields[col->field];

	return level > 0 ? col->path[level - 1] : (KsPathStep) {f->name, f->len, 0};
}

void
ks_proto_cannot_take(const KsDecoder *d, const KsColumn *col, const char *what, bool number)
{
	bool		time = number && ks_type_base(unconstify(KsType *, &col->type))->has_time;

	ereport(ERROR,
			(errcode(ERRCODE_DATATYPE_MISMATCH),
			 errmsg("column \"%s\" cannot take its value from the Protobuf schema", col->name),
			 err_generic_string(PG_DIAG_COLUMN_NAME, col->name),
			 errdetail("Its type is %s, the schema's is %s.", format_type_be(col->type.typid), what),
			 !time ? errhint("Use a column of another type, or say in \"columns\" where it gets its value; null leaves it to its default.") :
			 d->settings.envelope == KS_DEBEZIUM ?
			 errhint("Set time.precision.mode=isostring for the connector (for intervals, interval.handling.mode=string), or give the column a unit in \"columns\": days, seconds, milliseconds, microseconds or nanoseconds.") :
			 errhint("Give the column a unit in \"columns\": days, seconds, milliseconds, microseconds or nanoseconds.")));
}

static KsType *
type_of(const Compiler *c, int i)
{
	return ks_type_to_read(c->target, &c->target->cols[i], c->in_attempt);
}

static KsProtoSlot *
add_slot(Compiler *c, KsProtoSlotKind kind, int col, KsProtoPlan *plan, KsProtoStep *step)
{
	KsProtoSlot *slot = &c->program->slots[c->program->nslots++];

	memset(slot, 0, sizeof(KsProtoSlot));
	slot->kind = kind;
	slot->col = col;
	slot->plan = plan;
	slot->step = step;
	slot->field = step ? step->field : NULL;
	if (step)
		step->gathers |= kind != KS_PROTO_VALUE_SLOT;
	return slot;
}

static KsProtoConvert *
checked(Compiler *c, int col, KsProtoConvert *convert, const KsProtoField *field)
{
	bool		number = !field->repeated && field->message == NULL && field->type != KS_PROTO_STRING &&
		field->type != KS_PROTO_BYTES && field->type != KS_PROTO_BOOL && field->type != KS_PROTO_ENUM;

	if (convert == NULL)
		ks_proto_cannot_take(c->d, &c->target->cols[col], ks_proto_type_name(field), number);
	c->program->nmatched++;
	return convert;
}

/* The column takes the field. */
static void
take_field(Compiler *c, KsProtoPlan *plan, KsProtoStep *step, int i)
{
	KsColumn   *col = &c->target->cols[i];
	const KsProtoField *field = step->field;
	bool		single = !field->repeated && field->message == NULL;
	KsProtoSlot *slot = add_slot(c, single ? KS_PROTO_VALUE_SLOT : KS_PROTO_RUNS_SLOT, i, plan, step);

	slot->convert = checked(c, i, ks_proto_convert_plan(field, type_of(c, i), col->unit, c->connect), field);
	/* of a message that is there once, it may be as soon as it is met */
	if (!single && slot->convert->direct == KS_PROTO_NOT_DIRECT)
		return;
	if (step->slots == NULL)
		step->slots = palloc(c->target->ncols * sizeof(KsProtoSlot *));
	step->slots[step->nslots++] = slot;
}

/* Fields of these are no names that paths know: their JSON has others. */
static bool
is_json(const KsProtoMessage *message)
{
	return message->known == KS_PROTO_STRUCT || message->known == KS_PROTO_VALUE ||
		message->known == KS_PROTO_LIST_VALUE || message->known == KS_PROTO_ANY;
}

static KsProtoJson *
compile_json(Compiler *c, const Wanted *wanted, int level)
{
	KsProtoJson *json = palloc0(sizeof(KsProtoJson));

	json->paths = ks_paths_create();
	json->n = wanted->n;
	json->cols = palloc(wanted->n * sizeof(int));
	json->types = palloc(wanted->n * sizeof(KsType *));
	json->ends = palloc(wanted->n * sizeof(KsPathNode *));
	for (int i = 0; i < wanted->n; i++)
	{
		const KsColumn *col = &c->target->cols[wanted->cols[i]];

		json->cols[i] = wanted->cols[i];
		json->types[i] = type_of(c, wanted->cols[i]);
		json->ends[i] = ks_paths_add(json->paths, col->path + level - 1, steps_of_path(col) - level);
		c->program->nmatched++;
	}
	ks_paths_finish(json->paths);
	return json;
}

/* One item, and what columns list[0..n) want of it; 'level' steps of their paths lead to it. */
static void
compile_item(Compiler *c, const KsProtoField *field, const KsStepOf *list, int n, int level, KsProtoItem *item)
{
	Wanted		inner = {0, palloc(n * sizeof(int))};

	item->index = list[0].step.index;
	item->whole = palloc0(n * sizeof(KsProtoSlot));
	for (int i = 0; i < n; i++)
	{
		KsColumn   *col = &c->target->cols[list[i].col];

		if (steps_of_path(col) > level)
			inner.cols[inner.n++] = list[i].col;
		else
			item->whole[item->nwhole++] = (KsProtoSlot)
		{
			.kind = KS_PROTO_VALUE_SLOT, .col = list[i].col, .field = field,
				.convert = checked(c, list[i].col, ks_proto_convert_plan_item(field, type_of(c, list[i].col), col->unit, c->connect), field)
		};
	}
	if (inner.n > 0 && is_json(field->message))
		item->json = compile_json(c, &inner, level);
	else if (inner.n > 0)
		item->inner = compile(c, field->message, &inner, level);
	pfree(inner.cols);
}

/* What paths lead to in a list or a map: its items, and what is below these. */
static void
compile_items(Compiler *c, KsProtoPlan *plan, KsProtoStep *step, const Wanted *wanted, int level)
{
	const KsProtoField *field = step->field->map ? ks_proto_find_number(step->field->message, 2) : step->field;
	KsStepOf   *list = palloc((wanted->n + 1) * sizeof(KsStepOf));
	KsProtoWantedItems *items = palloc0(sizeof(KsProtoWantedItems));
	KsField    *fields;
	KsProtoSlot *slot;
	int			n = 0;

	for (int i = 0; i < wanted->n; i++)
	{
		const KsColumn *col = &c->target->cols[wanted->cols[i]];

		list[n] = (KsStepOf) {path_step(c->target, col, level), wanted->cols[i]};
		n += (list[n].step.name != NULL) == step->field->map &&
			(steps_of_path(col) == level + 1 || field->message != NULL);
	}
	if (n == 0)
		return;
	ks_steps_sort(list, n);
	slot = add_slot(c, KS_PROTO_ITEMS_SLOT, -1, plan, step);
	slot->field = field;
	slot->items = items;
	items->items = palloc0(n * sizeof(KsProtoItem));
	fields = palloc(n * sizeof(KsField));
	for (int i = 0, same; i < n; i += same)
	{
		same = ks_steps_same(list + i, n - i);
		fields[items->n] = (KsField) {list[i].step.name, list[i].step.len};
		compile_item(c, field, list + i, same, level + 1, &items->items[items->n++]);
	}
	if (step->field->map)
		ks_names_init(&items->names, fields, items->n);
	pfree(list);
}

/* What columns want of one field: 'level' steps of their paths lead to it. */
static void
compile_field(Compiler *c, KsProtoPlan *plan, KsProtoStep *step, const Wanted *wanted, int level)
{
	const KsProtoField *field = step->field;
	Wanted		inner = {0, palloc((wanted->n + 1) * sizeof(int))};

	for (int i = 0; i < wanted->n; i++)
	{
		if (steps_of_path(&c->target->cols[wanted->cols[i]]) == level)
			take_field(c, plan, step, wanted->cols[i]);
		else
			inner.cols[inner.n++] = wanted->cols[i];
	}
	if (inner.n > 0 && field->repeated)
		compile_items(c, plan, step, &inner, level);
	else if (inner.n > 0 && field->message && is_json(field->message))
		add_slot(c, KS_PROTO_JSON_SLOT, -1, plan, step)->json = compile_json(c, &inner, level);
	else if (inner.n > 0 && field->message)
		step->inner = compile(c, field->message, &inner, level);
	pfree(inner.cols);
}

/* A field of the value that no column takes. */
static void
other_field(Compiler *c, const KsProtoField *field)
{
	if (c->others && !c->target->has_rest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no column takes the field \"%s\" of the Protobuf schema", field->name.name),
				 errhint("Map it or @rest to a column, or set strict => false.")));
}

/* Of which fields something is to be done: wanted[] has the columns, the others of a oneof count too. */
static bool
is_needed(const KsProtoMessage *message, const Wanted *wanted, const bool *oneofs, int i)
{
	int			oneof = message->fields[i].oneof;

	return wanted[i].n > 0 || (oneof >= 0 && oneofs[oneof]);
}

/* The table by numbers; steps are there, with their fields. */
static void
make_table(KsProtoPlan *plan)
{
	int32		max = plan->nsteps > 0 ? plan->steps[plan->nsteps - 1].field->number : 0;

	plan->ndense = Min(max, MAX_DENSE - 1) + 1;
	plan->dense = palloc0(plan->ndense * sizeof(KsProtoStep *));
	for (int i = 0; i < plan->nsteps; i++)
		if (plan->steps[i].field->number < (int32) plan->ndense)
			plan->dense[plan->steps[i].field->number] = &plan->steps[i];
}

/* Which columns want which field. */
static Wanted *
sort_wanted(Compiler *c, const KsProtoMessage *message, const Wanted *wanted, int level, bool *oneofs)
{
	Wanted	   *result = palloc0((message->nfields + 1) * sizeof(Wanted));

	for (int i = 0; i < wanted->n; i++)
	{
		KsPathStep	step = path_step(c->target, &c->target->cols[wanted->cols[i]], level);
		int			f = step.name ? ks_names_find(&message->index, step.name, step.len) : -1;

		if (f < 0)
			continue;
		if (result[f].cols == NULL)
			result[f].cols = palloc(wanted->n * sizeof(int));
		result[f].cols[result[f].n++] = wanted->cols[i];
		if (message->fields[f].oneof >= 0)
			oneofs[message->fields[f].oneof] = true;
	}
	return result;
}

static KsProtoPlan *
compile(Compiler *c, const KsProtoMessage *message, const Wanted *wanted, int level)
{
	KsProtoPlan *plan = palloc0(sizeof(KsProtoPlan));
	bool	   *oneofs = palloc0((message->noneofs + 1) * sizeof(bool));
	Wanted	   *sorted = sort_wanted(c, message, wanted, level, oneofs);
	int			n = 0;

	check_stack_depth();
	c->program->plans[c->program->nplans++] = plan;
	plan->message = message;
	plan->noneofs = message->noneofs;
	if (message->noneofs > 0)
		plan->chosen = palloc0(message->noneofs * sizeof(int32));
	for (int i = 0; i < message->nfields; i++)
		n += is_needed(message, sorted, oneofs, i);
	plan->steps = palloc0((n + 1) * sizeof(KsProtoStep));
	for (int i = 0; i < message->nfields; i++)
	{
		int			f = message->by_number[i];
		KsProtoStep *step = &plan->steps[plan->nsteps];

		CHECK_FOR_INTERRUPTS();
		if (level == 0 && sorted[f].n == 0)
			other_field(c, &message->fields[f]);
		if (level == 0 && c->program->left_out)
			c->program->left_out[f] = sorted[f].n > 0;
		if (!is_needed(message, sorted, oneofs, f))
			continue;
		plan->nsteps++;
		step->field = &message->fields[f];
		step->wire = ks_proto_wire(step->field->type);
		step->type = step->field->type;
		step->plain = step->field->oneof < 0 && step->type != KS_PROTO_ENUM;
		compile_field(c, plan, step, &sorted[f], level + 1);
	}
	make_table(plan);
	for (int i = 0; i < message->nfields; i++)
		if (sorted[i].cols)
			pfree(sorted[i].cols);
	pfree(sorted);
	pfree(oneofs);
	return plan;
}

bool
ks_proto_takes_bytes(const KsColumn *col)
{
	return col->source == KS_FROM_VALUE &&
		ks_type_base(unconstify(KsType *, &col->type))->typid == BYTEAOID;
}

/* Columns that take the value as a whole. */
static void
take_whole(Compiler *c, const KsProtoMessage *message)
{
	for (int i = 0; i < c->target->ncols; i++)
	{
		KsColumn   *col = &c->target->cols[i];
		KsProtoSlot *slot;

		if (col->unused || col->source != KS_FROM_VALUE || ks_proto_takes_bytes(col))
			continue;
		slot = add_slot(c, KS_PROTO_WHOLE_SLOT, i, NULL, NULL);
		slot->convert = ks_proto_convert_plan_whole(message, type_of(c, i));
		if (slot->convert == NULL)
			ks_proto_cannot_take(c->d, col, psprintf("message %s", message->name), false);
		c->program->nmatched++;
	}
}

/* What a step does, where that is all. */
static KsProtoOnly
only(const KsProtoProgram *p, const KsProtoStep *step)
{
	const KsProtoSlot *slot;

	if (p->unavailable || !step->plain || step->nslots != 1 || step->inner)
		return KS_PROTO_NOT_ONLY;
	slot = step->slots[0];
	if (step->gathers)
		return step->type != KS_PROTO_MESSAGE || step->field->repeated ? KS_PROTO_NOT_ONLY :
			slot->convert->direct == KS_PROTO_TO_TIMESTAMP ? KS_PROTO_ONLY_TIMESTAMP :
			slot->convert->direct == KS_PROTO_TO_NUMERIC ? KS_PROTO_ONLY_NUMERIC : KS_PROTO_NOT_ONLY;
	if (step->type == KS_PROTO_INT64 && slot->convert->direct == KS_PROTO_TO_INT8)
		return KS_PROTO_ONLY_INT8;
	if (step->type == KS_PROTO_INT32 && slot->convert->direct == KS_PROTO_TO_INT4)
		return KS_PROTO_ONLY_INT4;
	return step->type == KS_PROTO_STRING && slot->convert->direct == KS_PROTO_TO_TEXT ? KS_PROTO_ONLY_TEXT : KS_PROTO_NOT_ONLY;
}

/* What is to be forgotten of a record, and what is done at once. */
static void
sort_steps(KsProtoProgram *p)
{
	p->gathering = palloc((p->nslots + 1) * sizeof(KsProtoStep *));
	for (int i = 0; i < p->nplans; i++)
		for (int k = 0; k < p->plans[i]->nsteps; k++)
		{
			KsProtoStep *step = &p->plans[i]->steps[k];

			if (step->gathers)
				p->gathering[p->ngathering++] = step;
			step->only = only(p, step);
		}
}

/* Is each slot done when its column has a value? */
static bool
are_by_column(const KsProtoProgram *p)
{
	for (int i = 0; i < p->nslots; i++)
		if (p->slots[i].col < 0)
			return false;
	return true;
}

/* Each step of a path may need a place, and each column another one. */
static void
make_room(Compiler *c, const Wanted *wanted)
{
	KsTarget   *target = c->target;
	KsProtoProgram *p = c->program;
	int			n = target->ncols + 1;

	for (int i = 0; i < wanted->n; i++)
		n += steps_of_path(&target->cols[wanted->cols[i]]);
	p->plans = palloc(n * sizeof(KsProtoPlan *));
	p->slots = palloc(n * sizeof(KsProtoSlot));
	p->values = palloc0((target->ncols + 1) * sizeof(Datum));
	p->isnull = palloc0((target->ncols + 1) * sizeof(bool));
	p->found = palloc0((target->ncols + 1) * sizeof(bool));
}

/* What is asked of rows alone. */
static void
prepare_scope(Compiler *c, KsProtoScope scope)
{
	KsProtoProgram *p = c->program;
	int			n = c->target->ncols + 1;

	if (scope != KS_PROTO_RECORD || c->settings->envelope == KS_CONNECT)
		p->absent = palloc0(n * sizeof(bool));
	if (scope == KS_PROTO_ROW)
		p->unavailable = palloc0(n * sizeof(bool));
}

static KsProtoProgram *
compile_program(const KsDecoder *d, const KsProtoMessage *message, KsProtoScope scope, bool in_attempt)
{
	KsTarget   *target = d->target;
	Compiler	c = {d, &d->settings, target, palloc0(sizeof(KsProtoProgram)), d->settings.envelope != KS_NO_ENVELOPE,
	scope != KS_PROTO_KEY && (target->has_rest || d->settings.strict), in_attempt};
	Wanted		wanted = {0, palloc((target->ncols + 1) * sizeof(int))};

	c.program->cxt = CurrentMemoryContext;
	for (int i = 0; i < target->ncols; i++)
		if (!target->cols[i].unused && target->cols[i].source == KS_FROM_VALUE_FIELD &&
			(scope != KS_PROTO_KEY || ks_target_has_key_column(target, i)))
			wanted.cols[wanted.n++] = i;
	make_room(&c, &wanted);
	prepare_scope(&c, scope);
	if (target->has_rest && c.others)
		c.program->left_out = palloc0((message->nfields + 1) * sizeof(bool));
	c.program->plan = compile(&c, message, &wanted, 0);
	if (scope == KS_PROTO_RECORD)
		take_whole(&c, message);
	sort_steps(c.program);
	c.program->by_column = are_by_column(c.program);
	c.program->unused = c.program->nslots == 0 && c.program->left_out == NULL;
	pfree(wanted.cols);
	return c.program;
}

KsProtoProgram *
ks_proto_compile(const KsDecoder *d, const KsProtoMessage *message, KsProtoScope scope)
{
	/* a key is as it was: nothing of it waits */
	KsProtoProgram *program = compile_program(d, message, scope, scope == KS_PROTO_KEY);

	if (d->target->plain && scope != KS_PROTO_KEY)
		program->again = compile_program(d, message, scope, true);
	return program;
}

void
ks_proto_check_matched(const KsDecoder *d, const KsProtoProgram *program)
{
	if (d->must_match && program->nmatched == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the Protobuf schema has no field that a column takes"),
				 errdetail("Its message is %s.", program->plan->message->name),
				 errhint("Fields and columns go together by their names; \"columns\" says what has another one.")));
}
