/*
 * proto_change.c
 *	  Debezium's changes in Protobuf.
 *
 * The envelope is a message; of its fields op, before and after count, see envelope.c for
 * what they mean.  They are found in one pass, then the row that is needed is decoded in
 * place.  Of the row as it was nothing but the key is asked: it has a program of its own, for
 * the key's columns.
 *
 * A row has all of its columns, so what is not in it is null, and no column's default.
 * What has no presence is its type's default, as everywhere: converters do not tell it
 * from null.  A key that is only read so is not told by a delete, for the row may be another
 * one: then the Kafka key has to tell it.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/envelope_change.h"
#include "format/proto_change.h"

/* Where a row may stand. */
typedef struct Place
{
	const KsProtoField *field;	/* of the envelope, NULL: it has none */
	bool		seen;			/* in the record at hand */
	KsProtoValue value;
	uint8	   *joined;			/* where its parts are put together; NULL: it has one */
	int			room;
} Place;

struct KsProtoChange
{
	const KsProtoMessage *message;
	const KsProtoField *op;
	Place		before;
	Place		after;
	KsProtoProgram *row;		/* of the row as it is */
	KsProtoProgram *key;		/* of the key's columns as they were, or NULL */
	int			nwhole;			/* columns that take the change as a whole */
	int		   *whole;
	KsProtoConvert **convert;
	KsProtoConvert **again;		/* the same in attempts */
};

/* --- compiling --- */

KS_NORETURN static void not_changes(const KsProtoMessage *message, const char *detail);

static void
not_changes(const KsProtoMessage *message, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the Protobuf schema is not that of Debezium's changes"),
			 errdetail("%s  Its message is %s.", detail, message->name),
			 errhint("Without the envelope (ExtractNewRecordState) records need envelope => 'connect'.")));
}

static const KsProtoField *
find_field(const KsProtoMessage *message, const char *name)
{
	int			i = ks_names_find(&message->index, name, strlen(name));

	return i >= 0 ? &message->fields[i] : NULL;
}

/* A field that is one message, which is no value. */
static bool
is_row(const KsProtoField *field)
{
	return field && field->message && !field->repeated && field->message->known == KS_PROTO_NO_KNOWN;
}

/* A text, an enum's name, or a text that is wrapped. */
static bool
is_word(const KsProtoField *field)
{
	const KsProtoField *wrapped;

	if (field == NULL || field->repeated)
		return false;
	if (field->message && field->message->known == KS_PROTO_WRAPPER)
	{
		wrapped = ks_proto_find_number(field->message, 1);
		return wrapped->type == KS_PROTO_STRING;
	}
	return field->type == KS_PROTO_STRING || field->type == KS_PROTO_ENUM;
}

/* Columns that take the value as a whole get the change; a bytea its bytes. */
static void
plan_whole(KsProtoChange *c, const KsDecoder *d)
{
	KsTarget   *target = d->target;

	c->whole = palloc((target->ncols + 1) * sizeof(int));
	c->convert = palloc((target->ncols + 1) * sizeof(KsProtoConvert *));
	c->again = palloc((target->ncols + 1) * sizeof(KsProtoConvert *));
	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		if (col->unused || col->source != KS_FROM_VALUE || ks_proto_takes_bytes(col))
			continue;
		c->convert[c->nwhole] = ks_proto_convert_plan_whole(c->message, ks_type_to_read(target, col, false));
		c->again[c->nwhole] = ks_proto_convert_plan_whole(c->message, &col->type);
		if (c->convert[c->nwhole] == NULL || c->again[c->nwhole] == NULL)
			ks_proto_cannot_take(d, col, psprintf("message %s", c->message->name), false);
		c->whole[c->nwhole++] = i;
	}
}

KsProtoChange *
ks_proto_change_compile(const KsDecoder *d, const KsProtoMessage *message)
{
	KsProtoChange *c = palloc0(sizeof(KsProtoChange));

	c->message = message;
	c->op = find_field(message, "op");
	c->after.field = find_field(message, "after");
	c->before.field = find_field(message, "before");
	if (!is_word(c->op) || c->after.field == NULL)
		not_changes(message, "Changes are messages with the fields op, before and after.");
	if (!is_row(c->after.field))
		not_changes(message, "Its field \"after\" is not of one message.");
	if (!is_row(c->before.field))
		c->before.field = NULL;
	c->row = ks_proto_compile(d, c->after.field->message, KS_PROTO_ROW);
	if (c->before.field && d->target->nkeys > 0)
		c->key = ks_proto_compile(d, c->before.field->message, KS_PROTO_KEY);
	plan_whole(c, d);
	ks_proto_check_matched(d, c->row);
	return c;
}

KsProtoProgram *
ks_proto_change_row(const KsProtoChange *c)
{
	return c->row;
}

/* --- reading --- */

/* A word of one letter. */
static char
word_of(KsProtoReader *r, const KsProtoField *field, KsProtoValue *value)
{
	const char *name;
	KsProtoValue wrapped;

	if (field->type == KS_PROTO_ENUM)
	{
		name = ks_proto_enum_name(field->enumeration, (int32) value->v.bits);
		return name && strlen(name) == 1 ? *name : '\0';
	}
	if (field->message)
	{
		ks_proto_find_value(r, ks_proto_find_number(field->message, 1), value, &wrapped);
		value = &wrapped;
	}
	return value->len == 1 ? (char) *value->p : '\0';
}

/* What is there several times is one message, of all its parts; which may be many, and small. */
static void
note_row(const KsProtoReader *r, Place *place, const KsProtoValue *value)
{
	int			len = place->value.len;

	if (!place->seen)
	{
		place->seen = true;
		place->value = *value;
		return;
	}
	if (place->joined == NULL || value->len > place->room - len)
	{
		uint8	   *room;

		/* all of them are in the record */
		place->room = (int) Min(2 * ((int64) len + value->len), r->limit - r->start);
		room = palloc(place->room);
		memcpy(room, place->value.p, len);
		if (place->joined)
			pfree(place->joined);
		place->value.p = place->joined = room;
	}
	memcpy(place->joined + len, value->p, value->len);
	place->value.len += value->len;
}

static void
forget_row(Place *place)
{
	place->seen = false;
	/* what was joined of the record before is gone with its memory */
	place->joined = NULL;
}

/* Where all of it is; the letter of what is to be done. */
static char
walk(KsProtoChange *c, KsProtoReader *r)
{
	char		op = '\0';
	KsProtoValue value;

	forget_row(&c->before);
	forget_row(&c->after);
	while (r->p < r->end)
	{
		uint32		tag = ks_proto_tag(r);
		const KsProtoField *field = ks_proto_find_number(c->message, tag >> 3);

		CHECK_FOR_INTERRUPTS();
		if (field == NULL || (field != c->op && field != c->before.field && field != c->after.field) ||
			(tag & 7) != ks_proto_wire(field->type))
		{
			ks_proto_skip(r, tag);
			continue;
		}
		ks_proto_value(r, field, &value);
		if (field == c->op)
			op = word_of(r, field, &value);
		else
			note_row(r, field == c->after.field ? &c->after : &c->before, &value);
	}
	if (op == '\0')
		ks_envelope_bad("It has no \"op\" of one letter.");
	return op;
}

/* Runs a program over a row, where it stands; nothing is found where there is none. */
static void
run_at(KsProtoProgram *program, KsProtoReader *r, const Place *place)
{
	ks_proto_begin_row(program, r->d->target);
	if (!place->seen || program->unused)
		return;
	ks_proto_enter(r);
	r->p = place->value.p;
	r->end = place->value.p + place->value.len;
	ks_proto_run(program, r);
	r->depth--;
}

static void
check_same_key(const KsProtoChange *c, const KsProtoProgram *row, const KsDecoder *d)
{
	ks_change_check_key(d, &(KsChangeRow) {c->key->values, c->key->isnull, c->key->found},
						&(KsChangeRow) {row->values, row->isnull, row->found});
}

static void
take_whole(KsProtoChange *c, KsProtoProgram *row, KsProtoReader *r, const KsProtoValue *whole)
{
	KsProtoConvert **convert = r->d->in_attempt ? c->again : c->convert;

	for (int i = 0; i < c->nwhole; i++)
	{
		int			col = c->whole[i];

		r->d->column = r->d->target->cols[col].name;
		row->values[col] = ks_proto_convert(r, convert[i], whole, &row->isnull[col]);
		row->found[col] = true;
		r->d->column = NULL;
	}
}

KsRowOp
ks_proto_change_open(KsProtoChange *c, KsProtoReader *r)
{
	const KsFormatSettings *set = &r->d->settings;
	KsProtoProgram *row = ks_proto_program_of(c->row, r->d);
	KsProtoValue whole = {.p = r->p, .len = (int) (r->end - r->p)};
	char		op = walk(c, r);
	KsRowOp		result = ks_change_op(op);

	if (result == KS_ROW_WRITE)
	{
		if (!c->after.seen)
			ks_envelope_bad("There is no row in it.");
		run_at(row, r, &c->after);
		if (op == 'u' && c->before.seen && c->key &&
			set->insert_mode != KS_INSERT && set->insert_mode != KS_IGNORE)
		{
			run_at(c->key, r, &c->before);
			check_same_key(c, row, r->d);
		}
		take_whole(c, row, r, &whole);
	}
	else if (result == KS_ROW_DELETE && c->key)
		run_at(c->key, r, &c->before);
	return result;
}

bool
ks_proto_change_key(const KsProtoChange *c, int col, Datum *value, bool *isnull)
{
	if (c->key == NULL || !c->key->found[col] || c->key->isnull[col] || c->key->absent[col])
		return false;
	*value = c->key->values[col];
	*isnull = false;
	return true;
}
