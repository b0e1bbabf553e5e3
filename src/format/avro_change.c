/*
 * avro_change.c
 *	  Debezium's changes in Avro.
 *
 * The envelope is a record; of its fields op, before and after count, see envelope.c for
 * what they mean.  "op" stands behind the rows, so the record is walked once to find
 * where these begin; then the one that is needed is decoded in place.  Both are of the
 * same type as a rule.  Of the row as it was nothing but the key is asked: it has a
 * program of its own, for the key's columns.
 */
#include "postgres.h"

#include "format/avro_change.h"
#include "format/envelope_change.h"

/* Where a row may stand. */
typedef struct Place
{
	int			field;			/* of the envelope, -1: it has none */
	const KsAvroNode *node;		/* the record, or a union with it */
	const KsAvroNode *row;		/* the record */
	const uint8 *begin;			/* of the record at hand */
	const uint8 *end;
} Place;

struct KsAvroChange
{
	const KsAvroNode *schema;	/* as it was given: the envelope, or a union with it */
	const KsAvroNode *envelope;
	int			op;				/* its field */
	Place		before;
	Place		after;
	KsAvroProgram *row;			/* of the row as it is */
	KsAvroProgram *key;			/* of the key's columns as they were, or NULL */
	int			nwhole;			/* columns that take the change as a whole */
	int		   *whole;
	KsAvroConvert **convert;
	KsAvroConvert **again;		/* the same in attempts */
};

KS_NORETURN static void not_changes(const char *detail);

static void
not_changes(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the Avro schema is not that of Debezium's changes"),
			 errdetail("%s", detail),
			 errhint("Without the envelope (ExtractNewRecordState) records need envelope => 'none'.")));
}

/* The only record of a type; NULL: it has none. */
static const KsAvroNode *
record_of(const KsAvroNode *node)
{
	const KsAvroNode *found = NULL;

	if (node->type != KS_AVRO_UNION)
		return node->type == KS_AVRO_RECORD ? node : NULL;
	for (int i = 0; i < node->n; i++)
		if (node->types[i]->type == KS_AVRO_RECORD)
		{
			if (found)
				return NULL;
			found = node->types[i];
		}
	return found;
}

static void
find_place(Place *place, const KsAvroNode *envelope, const char *name)
{
	place->field = ks_names_find(&envelope->index, name, strlen(name));
	if (place->field < 0)
		return;
	place->node = envelope->types[place->field];
	place->row = record_of(place->node);
}

/* Columns that take the value as a whole get the change; a bytea its bytes. */
static void
plan_whole(KsAvroChange *c, const KsDecoder *d)
{
	KsTarget   *target = d->target;

	c->whole = palloc((target->ncols + 1) * sizeof(int));
	c->convert = palloc((target->ncols + 1) * sizeof(KsAvroConvert *));
	c->again = palloc((target->ncols + 1) * sizeof(KsAvroConvert *));
	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		if (col->unused || col->source != KS_FROM_VALUE || ks_avro_takes_bytes(col))
			continue;
		c->convert[c->nwhole] = ks_avro_convert_plan(c->envelope, ks_type_to_read(target, col, false), col->unit, true);
		c->again[c->nwhole] = ks_avro_convert_plan(c->envelope, &col->type, col->unit, true);
		if (c->convert[c->nwhole] == NULL || c->again[c->nwhole] == NULL)
			ks_avro_cannot_take(col, c->envelope);
		c->whole[c->nwhole++] = i;
	}
}

KsAvroChange *
ks_avro_change_compile(const KsDecoder *d, const KsAvroNode *schema)
{
	KsAvroChange *c = palloc0(sizeof(KsAvroChange));

	c->schema = schema;
	c->envelope = record_of(schema);
	if (c->envelope == NULL)
		not_changes("It is not of a record.");
	c->op = ks_names_find(&c->envelope->index, "op", 2);
	find_place(&c->before, c->envelope, "before");
	find_place(&c->after, c->envelope, "after");
	if (c->op < 0 || c->after.field < 0)
		not_changes("Changes are records with the fields op, before and after.");
	if (c->after.row == NULL)
		not_changes("Its field \"after\" is not of one type of record, or null.");
	c->row = ks_avro_compile(&d->settings, d->target, c->after.row, KS_AVRO_ROW);
	if (c->before.row && d->target->nkeys > 0)
		c->key = ks_avro_compile(&d->settings, d->target, c->before.row, KS_AVRO_KEY);
	plan_whole(c, d);
	ks_avro_check_matched(d, c->row);
	return c;
}

KsAvroProgram *
ks_avro_change_row(const KsAvroChange *c)
{
	return c->row;
}

/* --- reading --- */

/* A word of one letter. */
static char
read_op(KsAvroReader *r, const KsAvroNode *node)
{
	const char *s = NULL;
	int			len = 0;

	if (node->type == KS_AVRO_UNION)
		node = node->types[ks_avro_choice(r, node)];
	if (node->type == KS_AVRO_STRING)
		s = ks_avro_bytes(r, &len);
	else if (node->type == KS_AVRO_ENUM)
	{
		const KsField *symbol = &node->names[ks_avro_choice(r, node)];

		s = symbol->name;
		len = symbol->len;
	}
	if (len != 1)
		ks_envelope_bad("It has no \"op\" of one letter.");
	return *s;
}

/* Notes where the row is, if one is there. */
static void
pass_place(Place *place, KsAvroReader *r)
{
	const KsAvroNode *node = place->node;

	if (node->type == KS_AVRO_UNION)
		node = node->types[ks_avro_choice(r, node)];
	place->begin = node == place->row ? r->p : NULL;
	ks_avro_skip(r, node);
	place->end = r->p;
}

static char
walk(KsAvroChange *c, KsAvroReader *r)
{
	char		op = '\0';

	c->before.begin = c->after.begin = NULL;
	ks_avro_enter(r);
	for (int i = 0; i < c->envelope->n; i++)
	{
		if (i == c->op)
			op = read_op(r, c->envelope->types[i]);
		else if (i == c->before.field)
			pass_place(&c->before, r);
		else if (i == c->after.field)
			pass_place(&c->after, r);
		else
			ks_avro_skip(r, c->envelope->types[i]);
	}
	r->depth--;
	if (r->p != r->end)
		ks_avro_bad(r, "More bytes follow than the schema has values for");
	return op;
}

/* Runs a program over a row, where it stands; nothing is found where there is none. */
static void
run_at(KsAvroProgram *program, KsAvroReader *r, const Place *place)
{
	KsAvroReader row = *r;

	ks_avro_begin_row(program, &row);
	if (place->begin == NULL || program->unused)
		return;
	row.p = place->begin;
	row.end = place->end;
	ks_avro_run(program, &row);
}

static void
check_same_key(const KsAvroChange *c, const KsAvroProgram *row, const KsDecoder *d)
{
	ks_change_check_key(d, &(KsChangeRow) {c->key->values, c->key->isnull, c->key->found},
						&(KsChangeRow) {row->values, row->isnull, row->found});
}

static void
take_whole(KsAvroChange *c, KsAvroProgram *row, KsAvroReader *r, const uint8 *begin)
{
	KsAvroConvert **convert = r->d->in_attempt ? c->again : c->convert;

	for (int i = 0; i < c->nwhole; i++)
	{
		int			col = c->whole[i];
		KsAvroReader whole = *r;

		whole.p = begin;
		r->d->column = r->d->target->cols[col].name;
		row->values[col] = ks_avro_convert(&whole, convert[i], &row->isnull[col]);
		row->found[col] = true;
		r->d->column = NULL;
	}
}

KsRowOp
ks_avro_change_open(KsAvroChange *c, KsAvroReader *r)
{
	const KsFormatSettings *set = &r->d->settings;
	KsAvroProgram *row = ks_avro_program_of(c->row, r->d);
	const uint8 *begin;
	char		op;
	KsRowOp		result;

	/* a change that is null is none */
	if (c->schema->type == KS_AVRO_UNION && c->schema->types[ks_avro_choice(r, c->schema)] != c->envelope)
		return KS_ROW_FILTERED;
	begin = r->p;
	op = walk(c, r);
	result = ks_change_op(op);
	if (result == KS_ROW_WRITE)
	{
		if (c->after.begin == NULL)
			ks_envelope_bad("There is no row in it.");
		if (op == 'u' && c->before.begin && c->key &&
			set->insert_mode != KS_INSERT && set->insert_mode != KS_IGNORE)
		{
			run_at(c->key, r, &c->before);
			run_at(row, r, &c->after);
			check_same_key(c, row, r->d);
		}
		else
			run_at(row, r, &c->after);
		take_whole(c, row, r, begin);
	}
	else if (result == KS_ROW_DELETE && c->key)
		run_at(c->key, r, &c->before);
	return result;
}

bool
ks_avro_change_key(const KsAvroChange *c, int col, Datum *value, bool *isnull)
{
	if (c->key == NULL || !c->key->found[col] || c->key->isnull[col])
		return false;
	*value = c->key->values[col];
	*isnull = false;
	return true;
}
