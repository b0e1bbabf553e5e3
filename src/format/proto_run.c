/*
 * proto_run.c
 *	  The tables of proto_compile.c, for one record.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "format/proto_map.h"
#include "format/proto_program.h"

/* Buffers larger than that are not kept for the next record. */
#define KEPT_BUFFER		65536

/* --- one pass over a message --- */

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

/* Is the column asked for? */
static inline bool
is_asked(const KsDecoder *d, int col)
{
	return likely(!d->for_filter) || d->target->cols[col].in_filter;
}

static void
set_value(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot, const KsProtoValue *value)
{
	KsColumn   *col;

	if (!is_asked(r->d, slot->col))
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

static void run(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan);

/* The message of a value; the reader stays where it is. */
static void
run_inside(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan, const KsProtoValue *value)
{
	const uint8 *p = r->p;
	const uint8 *end = r->end;

	check_stack_depth();
	ks_proto_enter(r);
	r->p = value->p;
	r->end = value->p + value->len;
	run(program, r, plan);
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
			set_value(program, r, slot, &value);
	}
	if (step->inner)
		run_inside(program, r, step->inner, &value);
	if (step->gathers)
	{
		step->value.p = value.p;
		step->value.len = value.len;
		note_run(program, step, begin, r->p);
	}
}

static void
run(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan)
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

/* --- when all has been seen --- */

/* All of a list or a map; a message, which mostly is there once. */
static void
set_runs(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot)
{
	if (!is_asked(r->d, slot->col))
		return;
	if (likely(!slot->field->repeated && !slot->step->several))
	{
		set_value(program, r, slot, &slot->step->value);
		return;
	}
	if (unlikely(program->unavailable != NULL) && slot->field->repeated &&
		ks_proto_are_unavailable(r, slot->field, slot->step->begin, slot->step->end))
	{
		program->unavailable[slot->col] = true;
		return;
	}
	program->values[slot->col] = ks_proto_convert_runs(r, slot->convert, slot->step->begin, slot->step->end,
													   &program->isnull[slot->col]);
	program->found[slot->col] = true;
}

static void
begin_column(KsDecoder *d, int i)
{
	d->column = d->target->cols[i].name;
	d->cv.unit = d->target->cols[i].unit;
}

/* What paths lead to in a message that is JSON. */
static void
set_json(KsProtoProgram *program, KsProtoReader *r, const KsProtoJson *json, const KsProtoMessage *message,
		 const KsProtoValue *value)
{
	KsDecoder  *d = r->d;
	StringInfoData text;
	KsJson		doc;
	KsJsonToken whole;

	initStringInfo(&text);
	ks_proto_append_message(r, message, value, NULL, NULL, &text);
	doc = (KsJson) {.start = text.data, .end = text.data + text.len};
	ks_json_document(&doc, &whole);
	json->paths->at = NULL;		/* another text may have stood there */
	for (int i = 0; i < json->n; i++)
	{
		int			col = json->cols[i];
		KsJsonToken tok = whole;

		if (!is_asked(d, col))
			continue;
		program->found[col] = ks_paths_find(json->paths, d->serial, json->ends[i], &d->name, &tok);
		if (!program->found[col])
			continue;
		begin_column(d, col);
		program->values[col] = ks_convert_json(&d->cv, json->types[i], &tok, &program->isnull[col]);
	}
	pfree(text.data);
}

/* Which of the items the entry of a map is, or -1; then its value goes there. */
static int
find_entry(KsProtoReader *r, const KsProtoSlot *slot, const KsProtoValue *entry)
{
	const KsProtoField *key = ks_proto_find_number(slot->step->field->message, 1);
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	KsProtoValue at;
	KsJsonToken tok;
	int			i;

	ks_proto_find_value(r, key, entry, &at);
	ks_proto_single(r, key, &at, &tok);
	i = ks_names_find(&slot->items->names, tok.p, tok.len);
	MemoryContextSwitchTo(old);
	MemoryContextReset(r->scratch);
	if (i < 0 || !ks_proto_is_entry(r, slot->field, entry))
		return -1;
	ks_proto_find_value(r, slot->field, entry, &slot->items->items[i].value);
	return i;
}

/* The items that paths lead to, all in one pass; of a key given twice the last counts. */
static void
find_items(KsProtoReader *r, const KsProtoSlot *slot)
{
	const KsProtoField *field = slot->step->field;
	KsProtoWantedItems *items = slot->items;
	KsProtoReader inner = *r;
	KsProtoItems it;
	KsProtoValue value;
	int			next = 0;		/* of a list's */

	for (int i = 0; i < items->n; i++)
		items->items[i].found = false;
	ks_proto_items(&it, &inner, field, slot->step->begin, slot->step->end);
	for (int64 i = 0; next < items->n && ks_proto_next_item(&it, &value); i++)
	{
		if (field->map)
		{
			int			found = find_entry(r, slot, &value);

			if (found >= 0)
				items->items[found].found = true;
		}
		else if (i == items->items[next].index)
		{
			items->items[next].found = true;
			items->items[next++].value = value;
		}
	}
}

static void
set_items(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot)
{
	const KsProtoWantedItems *items = slot->items;

	find_items(r, slot);
	for (int i = 0; i < items->n; i++)
	{
		const KsProtoItem *item = &items->items[i];

		if (!item->found)
			continue;
		for (int k = 0; k < item->nwhole; k++)
		{
			begin_column(r->d, item->whole[k].col);
			set_value(program, r, &item->whole[k], &item->value);
		}
		if (item->inner)
			run_inside(program, r, item->inner, &item->value);
		if (item->json)
			set_json(program, r, item->json, slot->field->message, &item->value);
	}
}

/* In a row, an absent text can only be null where the column's type has none without letters. */
static bool
stands_for_null(const KsProtoProgram *program, const KsProtoSlot *slot)
{
	const KsType *type = slot->convert->base;

	return program->absent && (slot->field->type == KS_PROTO_STRING || slot->field->type == KS_PROTO_BYTES) &&
		!slot->field->has_default && !type->is_string && type->kind != KS_TYPE_TEXT && type->typid != BYTEAOID;
}

/* In a row, what is not there and has no default is null. */
static void
set_absent(KsProtoProgram *program, const KsProtoSlot *slot)
{
	if (program->absent == NULL)
		return;
	program->absent[slot->col] = true;
	if (program->found[slot->col])
		return;
	program->found[slot->col] = true;
	program->isnull[slot->col] = true;
	program->values[slot->col] = (Datum) 0;
}

static void
finish_slot(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot, const KsProtoValue *whole)
{
	KsProtoStep *step = slot->step;
	KsProtoValue value;
	char	   *buffer;

	switch (slot->kind)
	{
		case KS_PROTO_VALUE_SLOT:
			if (ks_proto_has_default(slot->field) && !stands_for_null(program, slot))
			{
				ks_proto_default(slot->field, &value);
				set_value(program, r, slot, &value);
			}
			set_absent(program, slot);
			break;
		case KS_PROTO_RUNS_SLOT:
			if (step->begin || slot->field->repeated)
				set_runs(program, r, slot);
			if (step->begin == NULL)
				set_absent(program, slot);
			break;
		case KS_PROTO_ITEMS_SLOT:
			if (step->begin)
				set_items(program, r, slot);
			break;
		case KS_PROTO_JSON_SLOT:
			if (step->begin == NULL)
				break;
			ks_proto_merge(r, slot->field, step->begin, step->end, &value, &buffer);
			set_json(program, r, slot->json, slot->field->message, &value);
			if (buffer)
				pfree(buffer);
			break;
		case KS_PROTO_WHOLE_SLOT:
			set_value(program, r, slot, whole);
			break;
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

/* Has every column its value? */
static inline bool
is_complete(const KsProtoProgram *program, const KsTarget *target)
{
	bool		complete = program->by_column;

	for (int i = 0; i < target->ncols; i++)
		complete &= program->found[i];
	return complete;
}

static void
finish(KsProtoProgram *program, KsProtoReader *r, const KsProtoValue *whole)
{
	KsDecoder  *d = r->d;

	for (int i = 0; i < program->nslots; i++)
	{
		const KsProtoSlot *slot = &program->slots[i];

		/* what is in a message that is not there is not there either */
		if (slot->plan && !slot->plan->seen)
			continue;
		if (likely(slot->col >= 0))
		{
			if (program->found[slot->col] ||
				(unlikely(program->unavailable != NULL) && program->unavailable[slot->col]))
				continue;
			if (slot->kind != KS_PROTO_VALUE_SLOT)
				begin_column(d, slot->col);
		}
		finish_slot(program, r, slot, whole);
	}
	d->column = NULL;
}

/* True: every column has its value. */
static bool
run_all(KsProtoProgram *program, KsProtoReader *r)
{
	KsDecoder  *d = r->d;
	KsProtoValue whole = {.p = r->p, .len = (int) (r->end - r->p)};
	bool		complete;

	ks_proto_begin_row(program, d->target);
	run(program, r, program->plan);
	complete = is_complete(program, d->target);
	if (!complete)
		finish(program, r, &whole);
	if (unlikely(program->left_out != NULL))
	{
		resetStringInfo(&d->rest);
		ks_proto_append_message(r, program->plan->message, &whole, program->left_out, NULL, &d->rest);
	}
	return complete;
}

void
ks_proto_run(KsProtoProgram *program, KsProtoReader *r)
{
	(void) run_all(program, r);
}

bool
ks_proto_run_row(KsProtoProgram *program, KsProtoReader *r, Datum *values, bool *isnull)
{
	KsProtoProgram row = *program;

	row.values = values;
	row.isnull = isnull;
	return run_all(&row, r);
}
