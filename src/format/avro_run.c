/*
 * avro_run.c
 *	  The steps of avro_compile.c, for one record.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/error.h"
#include "format/avro_program.h"
#include "format/envelope_change.h"
#include "format/scalar.h"

static void run(KsAvroProgram *program, KsAvroReader *r, KsAvroStep *step);

/* The key of a map's item: which of the wanted ones it is, or -1. */
static int
find_key(KsAvroReader *r, const KsAvroItems *items)
{
	int			len;
	const char *key = ks_avro_bytes(r, &len);
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	int			i;

	ks_scalar_to_server(r->d, &key, &len);
	MemoryContextSwitchTo(old);
	i = ks_names_find(&items->names, key, len);
	MemoryContextReset(r->scratch);
	return i;
}

/*
 * The items that paths lead to, all in one pass.  Of a name given twice the last counts,
 * as in JSON.
 */
static void
run_items(KsAvroProgram *program, KsAvroReader *r, KsAvroStep *step)
{
	const KsAvroNode *node = step->node;
	const KsAvroItems *items = step->items;
	int64		size;
	int64		index = 0;
	int			next = 0;		/* of an array's */

	check_stack_depth();
	ks_avro_enter(r);
	for (;;)
	{
		int64		n = ks_avro_block(r, node, &size);
		const uint8 *begin = r->p;

		if (n == 0)
			break;
		for (; n > 0; n--, index++)
		{
			int			i = -1;

			CHECK_FOR_INTERRUPTS();
			if (node->types[0]->width == 0 && node->type != KS_AVRO_MAP)
				ks_avro_spend(r);
			if (node->type == KS_AVRO_MAP)
				i = find_key(r, items);
			else if (next < items->n && items->indexes[next] == index)
				i = next++;
			if (i >= 0)
			{
				const KsAvroItem *item = &items->items[i];

				for (int c = 0; c < item->ncols; c++)
					program->found[item->cols[c]] = false;
				run(program, r, program->steps + item->begin);
			}
			else
				ks_avro_skip(r, node->types[0]);
		}
		ks_avro_block_end(r, begin, size);
	}
	r->depth--;
}

static void
append_rest(KsAvroReader *r, const KsAvroStep *step)
{
	StringInfo	rest = &r->d->rest;

	appendStringInfoChar(rest, rest->len == 0 ? '{' : ',');
	ks_scalar_append_string(rest, step->name->name, step->name->len);
	appendStringInfoChar(rest, ':');
	ks_avro_append_json(r, step->node, rest);
}

/* --- what Debezium writes in place of a value that it does not have --- */

static inline bool
is_text(const char *s, int len, const char *text)
{
	return len == (int) strlen(text) && memcmp(s, text, len) == 0;
}

/* Of a value that may be of a union: the type that it has. */
static const KsAvroNode *
chosen(KsAvroReader *r, const KsAvroNode *node)
{
	return node->type == KS_AVRO_UNION ? node->types[ks_avro_choice(r, node)] : node;
}

/* A string or bytes. */
static bool
is_unavailable_text(KsAvroReader *r, const KsAvroNode *node)
{
	const char *s;
	int			len;

	node = chosen(r, node);
	if (node->type != KS_AVRO_STRING && node->type != KS_AVRO_BYTES)
		return false;
	s = ks_avro_bytes(r, &len);
	return is_text(s, len, KS_UNAVAILABLE) ||
		(node->type == KS_AVRO_STRING && (is_text(s, len, KS_UNAVAILABLE_UUID) || is_text(s, len, KS_UNAVAILABLE_JSON)));
}

/* The text's bytes as numbers. */
static bool
is_unavailable_number(KsAvroReader *r, const KsAvroNode *node, char byte)
{
	node = chosen(r, node);
	return (node->type == KS_AVRO_INT || node->type == KS_AVRO_LONG) && ks_avro_long(r) == byte;
}

/* A string, bytes, or a list or a map of one such; or a list of numbers.  r is a copy. */
static bool
is_unavailable(KsAvroReader r, const KsAvroNode *node)
{
	const char *s;
	int			len;
	int64		size;
	int64		n;

	node = chosen(&r, node);
	if (node->type != KS_AVRO_MAP && node->type != KS_AVRO_ARRAY)
		return is_unavailable_text(&r, node);
	n = ks_avro_block(&r, node, &size);
	if (node->type == KS_AVRO_ARRAY && n == (int64) strlen(KS_UNAVAILABLE))
	{
		for (int i = 0; i < n; i++)
			if (!is_unavailable_number(&r, node->types[0], KS_UNAVAILABLE[i]))
				return false;
	}
	else
	{
		if (n != 1)
			return false;
		if (node->type == KS_AVRO_MAP)
		{
			s = ks_avro_bytes(&r, &len);
			if (!is_text(s, len, KS_UNAVAILABLE))
				return false;
		}
		if (!is_unavailable_text(&r, node->types[0]))
			return false;
	}
	return ks_avro_block(&r, node, &size) == 0;
}

static inline void
emit(KsAvroProgram *program, KsAvroReader *r, const KsAvroStep *step)
{
	const KsColumn *col = step->column;

	if (unlikely(r->d->for_filter) && !col->in_filter)
	{
		ks_avro_skip(r, step->node);
		return;
	}
	if (unlikely(program->unavailable != NULL) && step->may_lack && is_unavailable(*r, step->node))
	{
		program->unavailable[step->col] = true;
		ks_avro_skip(r, step->node);
		return;
	}
	r->d->column = col->name;
	r->d->cv.unit = col->unit;
	program->values[step->col] = ks_avro_value(r, step->convert, &program->isnull[step->col]);
	program->found[step->col] = true;
	r->d->column = NULL;
}

/* No row is made of such a value, which is told unless a filter keeps the record. */
static void
refuse_branch(KsAvroReader *r, ErrorData *why)
{
	if (!r->d->filters)
		ks_error_rethrow(why);
	r->d->unreadable = why;
	r->p = r->end;
}

/* A step to behind a value that no column takes. */
static inline void
pass(KsAvroReader *r, const KsAvroStep *step)
{
	int			len;

	switch (step->op)
	{
		case KS_AVRO_SKIP_LONG:
			(void) ks_avro_long(r);
			break;
		case KS_AVRO_SKIP_STRING:
			(void) ks_avro_bytes(r, &len);
			break;
		case KS_AVRO_SKIP_BYTES:
			(void) ks_avro_take(r, step->at);
			break;
		case KS_AVRO_REST:
			append_rest(r, step);
			break;
		default:
			ks_avro_skip(r, step->node);
			break;
	}
}

static void
run(KsAvroProgram *program, KsAvroReader *r, KsAvroStep *step)
{
	const uint8 *begin;

	for (;; step++)
	{
		switch (step->op)
		{
			case KS_AVRO_SKIP_LONG:
			case KS_AVRO_SKIP_STRING:
			case KS_AVRO_SKIP_BYTES:
			case KS_AVRO_SKIP:
			case KS_AVRO_REST:
				pass(r, step);
				break;
			case KS_AVRO_EMIT:
			case KS_AVRO_PEEK:
				begin = r->p;
				emit(program, r, step);
				if (step->op == KS_AVRO_PEEK)
					r->p = begin;
				break;
			case KS_AVRO_ITEMS:
				run_items(program, r, step);
				step = program->steps + step->at - 1;
				break;
			case KS_AVRO_ENTER:
				step = program->steps + step->branches[ks_avro_choice(r, step->node)] - 1;
				break;
			case KS_AVRO_BRANCH:
				if (unlikely(step->refused != NULL))
				{
					refuse_branch(r, step->refused);
					return;
				}
				break;
			case KS_AVRO_JUMP:
				step = program->steps + step->at - 1;
				break;
			case KS_AVRO_ITEM_END:
			case KS_AVRO_END:
				return;
		}
	}
}

void
ks_avro_begin_row(KsAvroProgram *program, const KsAvroReader *r)
{
	memset(program->found, 0, r->d->target->ncols * sizeof(bool));
	if (program->unavailable)
		memset(program->unavailable, 0, r->d->target->ncols * sizeof(bool));
}

static void
begin_rest(KsDecoder *d)
{
	if (unlikely(d->target->has_rest))
		resetStringInfo(&d->rest);
}

/* To the end of the value. */
static void
end(KsAvroReader *r)
{
	if (unlikely(r->p != r->end))
		ks_avro_bad(r, "More bytes follow than the schema has values for");
	if (unlikely(r->d->target->has_rest))
		appendStringInfoString(&r->d->rest, r->d->rest.len == 0 ? "{}" : "}");
}

void
ks_avro_run(KsAvroProgram *program, KsAvroReader *r)
{
	ks_avro_begin_row(program, r);
	begin_rest(r->d);
	run(program, r, program->steps);
	end(r);
}

void
ks_avro_run_row(const KsAvroProgram *program, KsAvroReader *r, Datum *values, bool *isnull)
{
	KsDecoder  *d = r->d;

	begin_rest(d);
	for (const KsAvroStep *step = program->steps; step->op != KS_AVRO_END; step++)
	{
		const uint8 *begin = r->p;

		if (unlikely(step->op != KS_AVRO_EMIT && step->op != KS_AVRO_PEEK))
		{
			pass(r, step);
			continue;
		}
		d->column = step->column->name;
		d->cv.unit = step->column->unit;
		values[step->col] = ks_avro_value(r, step->convert, &isnull[step->col]);
		d->column = NULL;
		if (unlikely(step->op == KS_AVRO_PEEK))
			r->p = begin;
	}
	end(r);
}
