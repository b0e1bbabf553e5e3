/*
 * proto_row.c
 *	  A record's values to the columns: what proto_run.c has found in one pass, and
 *	  what is left to do when all of it has been seen.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "format/proto_map.h"
#include "format/proto_program.h"

/* All of a list or a map; a message, which mostly is there once. */
static void
set_runs(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot)
{
	if (!ks_proto_is_asked(r->d, slot->col))
		return;
	if (likely(!slot->field->repeated && !slot->step->several))
	{
		ks_proto_set_value(program, r, slot, &slot->step->value);
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

		if (!ks_proto_is_asked(d, col))
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
			ks_proto_set_value(program, r, &item->whole[k], &item->value);
		}
		if (item->inner)
			ks_proto_run_inside(program, r, item->inner, &item->value);
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
				ks_proto_set_value(program, r, slot, &value);
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
			ks_proto_set_value(program, r, slot, whole);
			break;
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
	ks_proto_run_message(program, r, program->plan);
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
