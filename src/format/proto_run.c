/*
 * proto_run.c
 *	  The tables of proto_compile.c: one pass over a message.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/proto_program.h"

/* Buffers larger than that are not kept for the next record. */
#define KEPT_BUFFER		65536

static KsProtoStep *
find_sparse(const KsProtoPlan *plan, uint32 number)
{
	int			lo = 0;
	int			hi = plan->nsteps - 1;

	while (lo <= hi)
	{
		int			mid = (lo + hi) / 2;
		uint32		v = (uint32) plan->steps[mid].field->number;

		if (v == number)
			return &plan->steps[mid];
		if (v < number)
			lo = mid + 1;
		else
			hi = mid - 1;
	}
	return NULL;
}

static pg_attribute_always_inline bool
set_directly(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot, const KsProtoValue *value)
{
	if (!ks_proto_direct(r, slot->convert, value, &program->values[slot->col]))
		return false;
	program->isnull[slot->col] = false;
	program->found[slot->col] = true;
	return true;
}

void
ks_proto_set_value(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot, const KsProtoValue *value)
{
	KsColumn   *col;

	if (!ks_proto_is_asked(r->d, slot->col))
		return;
	if (unlikely(program->unavailable != NULL))
	{
		bool		none = slot->field && ks_proto_is_unavailable(r, slot->field, value);

		program->unavailable[slot->col] = none;
		program->found[slot->col] = !none;
		if (none)
			return;
	}
	if (set_directly(program, r, slot, value))
		return;
	program->found[slot->col] = true;
	col = &r->d->target->cols[slot->col];
	r->d->column = col->name;
	r->d->cv.unit = col->unit;
	program->values[slot->col] = ks_proto_convert(r, slot->convert, value, &program->isnull[slot->col]);
	r->d->column = NULL;
}

/* Behind the runs that there are; those that do not touch are put together. */
static void
note_run(KsProtoProgram *program, KsProtoStep *step, const uint8 *begin, const uint8 *end)
{
	if (step->begin == NULL)
	{
		step->begin = begin;
		step->end = end;
		return;
	}
	step->several = true;
	if (step->end == begin)
	{
		step->end = end;
		return;
	}
	if (step->buffer.data == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(program->cxt);

		initStringInfo(&step->buffer);
		MemoryContextSwitchTo(old);
	}
	if (!step->joined)
	{
		resetStringInfo(&step->buffer);
		appendBinaryStringInfo(&step->buffer, (const char *) step->begin, step->end - step->begin);
		step->joined = true;
	}
	appendBinaryStringInfo(&step->buffer, (const char *) begin, end - begin);
	step->begin = (const uint8 *) step->buffer.data;
	step->end = step->begin + step->buffer.len;
}

static void forget_plan(KsProtoProgram *program, KsProtoPlan *plan);

static void
forget_step(KsProtoProgram *program, KsProtoStep *step)
{
	for (int i = 0; i < step->nslots; i++)
	{
		program->found[step->slots[i]->col] = false;
		if (program->unavailable)
			program->unavailable[step->slots[i]->col] = false;
	}
	step->begin = step->end = NULL;
	step->joined = step->several = false;
	if (step->inner)
		forget_plan(program, step->inner);
}

static void
forget_plan(KsProtoProgram *program, KsProtoPlan *plan)
{
	plan->seen = false;
	for (int i = 0; i < plan->noneofs; i++)
		plan->chosen[i] = 0;
	for (int i = 0; i < plan->nsteps; i++)
		forget_step(program, &plan->steps[i]);
}

/* Of a oneof's fields the last one counts. */
static void
choose(KsProtoProgram *program, KsProtoPlan *plan, KsProtoStep *step)
{
	int32	   *chosen = &plan->chosen[step->field->oneof];

	if (unlikely(*chosen != 0 && *chosen != step->field->number))
		forget_step(program, find_sparse(plan, (uint32) *chosen));
	*chosen = step->field->number;
}

void
ks_proto_run_inside(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan, const KsProtoValue *value)
{
	const uint8 *p = r->p;
	const uint8 *end = r->end;

	check_stack_depth();
	ks_proto_enter(r);
	r->p = value->p;
	r->end = value->p + value->len;
	ks_proto_run_message(program, r, plan);
	r->p = p;
	r->end = end;
	r->depth--;
}

/* A message of its own; begin: its tag. */
static inline bool
take_only_message(KsProtoReader *r, KsProtoStep *step, const uint8 *begin, uint64 len, Datum *to)
{
	KsProtoValue *value = &step->value;

	if (unlikely(step->begin != NULL))
		return false;
	value->p = ks_proto_take(r, len);
	value->len = (int) len;
	if (unlikely(!(step->only == KS_PROTO_ONLY_TIMESTAMP ? ks_proto_direct_timestamp(r, value, to) :
				   ks_proto_direct_numeric(r, step->slots[0]->convert, value, to))))
		return false;
	step->begin = begin;
	step->end = r->p;
	return true;
}

/* A field for a single column; begin: its tag.  False: the reader is where it was. */
static inline bool
take_only(KsProtoProgram *program, KsProtoReader *r, KsProtoStep *step, const uint8 *begin)
{
	const KsProtoSlot *slot = step->slots[0];
	const uint8 *p = r->p;
	uint64		v = ks_proto_varint(r);
	bool		taken = true;
	Datum	   *to = &program->values[slot->col];
	const char *s;

	switch (step->only)
	{
		case KS_PROTO_ONLY_INT8:
			*to = Int64GetDatum((int64) v);
			break;
		case KS_PROTO_ONLY_INT4:
			*to = Int32GetDatum((int32) v);
			break;
		case KS_PROTO_ONLY_TEXT:
			s = (const char *) ks_proto_take(r, v);
			taken = v <= (uint64) slot->convert->base->max_len && ks_is_ascii(s, (int) v);
			if (likely(taken))
				*to = PointerGetDatum(cstring_to_text_with_len(s, (int) v));
			break;
		default:
			taken = take_only_message(r, step, begin, v, to);
			break;
	}
	if (unlikely(!taken))
	{
		r->p = p;
		return false;
	}
	program->isnull[slot->col] = false;
	program->found[slot->col] = true;
	return true;
}

/* A field that somebody wants; begin: its tag. */
static inline void
take(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan, KsProtoStep *step, const uint8 *begin)
{
	KsProtoValue value;

	value.v.bits = 0;			/* (clang-tidy does not know which types have none) */
	ks_proto_value_of(r, step->type, step->field, &value);
	if (!step->plain)
	{
		if (!step->field->repeated && ks_proto_is_unknown(step->field, &value))
			return;
		if (step->field->oneof >= 0)
			choose(program, plan, step);
	}
	for (int i = 0; i < step->nslots; i++)
	{
		const KsProtoSlot *slot = step->slots[i];

		/* a message that is one of several is all of them, at the end */
		if (unlikely(step->begin != NULL))
			program->found[slot->col] = false;
		else if ((unlikely(program->unavailable != NULL) || unlikely(!set_directly(program, r, slot, &value))) &&
				 slot->kind == KS_PROTO_VALUE_SLOT)
			ks_proto_set_value(program, r, slot, &value);
	}
	if (step->inner)
		ks_proto_run_inside(program, r, step->inner, &value);
	if (step->gathers)
	{
		step->value.p = value.p;
		step->value.len = value.len;
		note_run(program, step, begin, r->p);
	}
}

void
ks_proto_run_message(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan)
{
	plan->seen = true;
	while (r->p < r->end)
	{
		const uint8 *begin = r->p;
		uint32		tag = ks_proto_tag(r);
		KsProtoStep *step = tag >> 3 < plan->ndense ? plan->dense[tag >> 3] : find_sparse(plan, tag >> 3);

		CHECK_FOR_INTERRUPTS();
		if (step && likely((tag & 7) == step->wire))
		{
			if (step->only != KS_PROTO_NOT_ONLY && likely(take_only(program, r, step, begin)))
				continue;
			take(program, r, plan, step, begin);
			continue;
		}
		ks_proto_skip(r, tag);
		/* several values together */
		if (step && step->gathers && (tag & 7) == KS_PROTO_WIRE_BYTES && step->field->repeated &&
			ks_proto_is_packable(step->field->type))
			note_run(program, step, begin, r->p);
	}
}

void
ks_proto_begin_row(KsProtoProgram *program, const KsTarget *target)
{
	memset(program->found, 0, target->ncols * sizeof(bool));
	if (program->absent)
		memset(program->absent, 0, target->ncols * sizeof(bool));
	if (program->unavailable)
		memset(program->unavailable, 0, target->ncols * sizeof(bool));
	for (int i = 0; i < program->nplans; i++)
	{
		KsProtoPlan *plan = program->plans[i];

		plan->seen = false;
		for (int k = 0; k < plan->noneofs; k++)
			plan->chosen[k] = 0;
	}
	for (int i = 0; i < program->ngathering; i++)
	{
		KsProtoStep *step = program->gathering[i];

		step->begin = step->end = NULL;
		step->joined = step->several = false;
		if (unlikely(step->buffer.data && step->buffer.maxlen > KEPT_BUFFER))
		{
			pfree(step->buffer.data);
			step->buffer.data = NULL;
		}
	}
}
