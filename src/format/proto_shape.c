/*
 * proto_shape.c
 *	  What a table for records of a Protobuf message looks like.
 *
 * A column's type holds all values that the field's has, and the decoder puts them
 * there without a loss, but for nanoseconds; then the reason says so.  Messages become
 * jsonb, and so do lists of these, and maps.  What can be absent, and is not read as
 * something then, can be NULL.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "format/proto_convert.h"
#include "format/proto_texts.h"
#include "format/scalar.h"
#include "format/shape.h"

#define MAX_NAMES		200		/* bytes of an enum's names that are shown, about */
#define DIGITS_OF_UINT64	20
#define MAX_TYPMOD		1000	/* digits that numeric(p, s) can say */

/* --- types --- */

static Oid
type_of_scalar(KsProtoType type, int32 *typmod)
{
	switch (type)
	{
		case KS_PROTO_DOUBLE:
			return FLOAT8OID;
		case KS_PROTO_FLOAT:
			return FLOAT4OID;
		case KS_PROTO_INT32:
		case KS_PROTO_SINT32:
		case KS_PROTO_SFIXED32:
			return INT4OID;
		case KS_PROTO_INT64:
		case KS_PROTO_SINT64:
		case KS_PROTO_SFIXED64:
		case KS_PROTO_UINT32:
		case KS_PROTO_FIXED32:
			return INT8OID;
		case KS_PROTO_UINT64:
		case KS_PROTO_FIXED64:
			*typmod = (DIGITS_OF_UINT64 << 16) + VARHDRSZ;
			return NUMERICOID;
		case KS_PROTO_BOOL:
			return BOOLOID;
		case KS_PROTO_BYTES:
			return BYTEAOID;
		default:
			return TEXTOID;
	}
}

/* Messages that are one value. */
static Oid
type_of_message(const KsProtoMessage *message, int32 *typmod, const char **but)
{
	switch (message->known)
	{
		case KS_PROTO_TIMESTAMP:
			*but = ", cut to microseconds";
			return TIMESTAMPTZOID;
		case KS_PROTO_DURATION:
			*but = ", cut to microseconds";
			return INTERVALOID;
		case KS_PROTO_TIME_OF_DAY:
			*but = ", cut to microseconds";
			return TIMEOID;
		case KS_PROTO_DATE:
			return DATEOID;
		case KS_PROTO_DECIMAL:
			return NUMERICOID;
		case KS_PROTO_FIELD_MASK:
			return TEXTOID;
		case KS_PROTO_WRAPPER:
			return type_of_scalar(ks_proto_find_number(message, 1)->type, typmod);
		default:
			return JSONBOID;
	}
}

/* Has the field told how many digits its decimals have, and can numeric say that? */
static bool
has_digits(const KsProtoField *field)
{
	return field->message && field->message->known == KS_PROTO_DECIMAL && field->precision > 0 &&
		field->precision <= MAX_TYPMOD && field->scale >= 0 && field->scale <= field->precision;
}

/* Is it one of Connect's integers of 8 or 16 bits, for which Protobuf has none? */
static bool
is_small(const KsProtoField *field)
{
	const KsProtoField *value = field->message && field->message->known == KS_PROTO_WRAPPER ?
		ks_proto_find_number(field->message, 1) : field;

	return field->connect_type && (value->type == KS_PROTO_INT32 || value->type == KS_PROTO_SINT32 ||
								   value->type == KS_PROTO_SFIXED32);
}

/* The type of one value of it. */
static Oid
type_of_item(const KsProtoField *field, int32 *typmod, const char **but)
{
	Oid			typid;

	*typmod = -1;
	*but = "";
	typid = field->message ? type_of_message(field->message, typmod, but) : type_of_scalar(field->type, typmod);
	if (has_digits(field))
		*typmod = ((field->precision << 16) | field->scale) + VARHDRSZ;
	return is_small(field) ? INT2OID : typid;
}

static void
append_names(StringInfo reason, const KsProtoEnum *enumeration)
{
	int			begin = reason->len;

	for (int i = 0; i < enumeration->n; i++)
	{
		if (reason->len - begin > MAX_NAMES)
		{
			appendStringInfoString(reason, ", ...");
			return;
		}
		appendStringInfo(reason, "%s%s", i > 0 ? ", " : ": ", enumeration->names[i]);
	}
}

static char *
reason_of(const KsProtoMessage *message, const KsProtoField *field, const char *but)
{
	StringInfoData reason;

	initStringInfo(&reason);
	if (field->required)
		appendStringInfoString(&reason, "required ");
	else if (field->presence && field->oneof < 0 && field->message == NULL)
		appendStringInfoString(&reason, "optional ");
	appendStringInfoString(&reason, ks_proto_type_name(field));
	if (field->type == KS_PROTO_ENUM && !field->map)
		append_names(&reason, field->enumeration);
	if (has_digits(field))
		appendStringInfo(&reason, "(%d,%d)", field->precision, field->scale);
	if (is_small(field))
		appendStringInfo(&reason, ", %s", field->connect_type);
	appendStringInfoString(&reason, but);
	if (field->oneof >= 0)
		appendStringInfo(&reason, ", of oneof %s", message->oneofs[field->oneof]);
	return reason.data;
}

/* --- defaults --- */

static char *
default_of_enum(const KsProtoField *field)
{
	const KsProtoEnum *e = field->enumeration;

	for (int i = 0; i < e->n; i++)
		if (e->numbers[i] == (int32) field->default_value.bits)
			return pstrdup(e->names[i]);
	return NULL;
}

static char *
default_of_bytes(const KsProtoField *field)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "\\x");
	for (int i = 0; i < field->default_len; i++)
		appendStringInfo(&text, "%02x", (unsigned char) field->default_bytes[i]);
	return text.data;
}

/* Whatever the session has set for digits. */
static char *
default_of_float(const KsProtoField *field)
{
	char		buf[32];
	KsJsonToken tok;

	ks_scalar_set_float(&tok, field->default_value.real, field->type == KS_PROTO_FLOAT, buf);
	return pnstrdup(tok.p, tok.len);
}

/* Of proto2, as the type reads it; NULL: it has none that a column could have. */
static char *
default_of(const KsProtoField *field)
{
	if (!field->has_default)
		return NULL;
	switch (field->type)
	{
		case KS_PROTO_BOOL:
			return pstrdup(field->default_value.bits ? "true" : "false");
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FLOAT:
			return default_of_float(field);
		case KS_PROTO_ENUM:
			return default_of_enum(field);
		case KS_PROTO_BYTES:
			return default_of_bytes(field);
		case KS_PROTO_STRING:
			if (field->default_len > 0 && memchr(field->default_bytes, '\0', field->default_len))
				return NULL;
			return pnstrdup(field->default_len > 0 ? field->default_bytes : "", field->default_len);
		case KS_PROTO_UINT64:
		case KS_PROTO_FIXED64:
			return psprintf(UINT64_FORMAT, field->default_value.bits);
		default:
			return psprintf(INT64_FORMAT, (int64) field->default_value.bits);
	}
}

/* What is read where the field is not there, and nothing tells that. */
static char *
absent_of(const KsProtoField *field, Oid typid)
{
	if (field->presence || field->required)
		return NULL;
	if (field->repeated)
		return pstrdup(typid == JSONBOID && !field->map ? "[]" : "{}");
	switch (field->type)
	{
		case KS_PROTO_BOOL:
			return pstrdup("false");
		case KS_PROTO_ENUM:
			return default_of_enum(field);
		case KS_PROTO_STRING:
			return pstrdup("");
		case KS_PROTO_BYTES:
			return pstrdup("\\x");
		default:
			return pstrdup("0");
	}
}

/* --- the table --- */

static char *
comment_of(const char *comment)
{
	return comment && *comment ? pstrdup(comment) : NULL;
}

/* row: of a change, in which what is not there is null. */
static void
set_column(KsShapeColumn *col, const KsProtoMessage *message, int i, bool row)
{
	const KsProtoField *field = &message->fields[i];
	const char *but;
	Oid			array;

	col->field = field->name;
	col->typid = type_of_item(field, &col->typmod, &but);
	if (field->repeated)
	{
		array = field->map || col->typid == JSONBOID ? InvalidOid : get_array_type(col->typid);
		col->typid = OidIsValid(array) ? array : JSONBOID;
		col->typmod = OidIsValid(array) ? col->typmod : -1;
	}
	col->nullable = !field->required && (row || (field->presence && !field->has_default));
	col->reason = reason_of(message, field, but);
	col->comment = comment_of(message->comments[i]);
	col->default_text = default_of(field);
	col->absent_text = row ? NULL : absent_of(field, col->typid);
	col->node = field;
}

/* Of a message that is one value. */
static void
set_value(KsShapeColumn *col, const KsProtoMessage *message)
{
	const char *but = "";

	col->typmod = -1;
	col->typid = type_of_message(message, &col->typmod, &but);
	col->nullable = message->known == KS_PROTO_VALUE;
	col->reason = psprintf("message %s%s", message->name, but);
}

static int
find(const KsShape *shape, const char *name, int len)
{
	const KsProtoMessage *row = shape->row;

	return row ? ks_names_find(&row->index, name, len) : -1;
}

static bool
fits(const KsShapeColumn *col, KsType *type, KsUnit unit, bool connect)
{
	return ks_proto_convert_plan(col->node, type, unit, connect) != NULL;
}

static const KsShapeOps ops = {.find = find, .fits = fits};

/* Of Debezium's changes: the row as it is; NULL: it is no such message. */
static const KsProtoMessage *
row_of_change(const KsProtoMessage *message)
{
	int			op = ks_names_find(&message->index, "op", 2);
	int			before = ks_names_find(&message->index, "before", 6);
	int			after = ks_names_find(&message->index, "after", 5);

	if (op < 0 || before < 0 || after < 0 || message->fields[after].repeated)
		return NULL;
	return message->fields[after].message;
}

static KsShape *
make_shape(const void *type, bool changes)
{
	const KsProtoMessage *message = type;
	const KsProtoMessage *row = changes ? row_of_change(message) : NULL;
	KsShape    *shape = palloc0(sizeof(KsShape));

	shape->ops = &ops;
	shape->name = pstrdup(message->name);
	shape->comment = comment_of(message->comment);
	if (message->known != KS_PROTO_NO_KNOWN)
	{
		shape->n = 1;
		shape->cols = palloc0(sizeof(KsShapeColumn));
		set_value(&shape->cols[0], message);
		return shape;
	}
	if (row)
	{
		shape->envelope = KS_DEBEZIUM;
		if (row->comment)
			shape->comment = comment_of(row->comment);
		message = row;
	}
	shape->row = message;
	shape->n = message->nfields;
	shape->cols = palloc0(Max(shape->n, 1) * sizeof(KsShapeColumn));
	for (int i = 0; i < shape->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		set_column(&shape->cols[i], message, i, row != NULL);
	}
	return shape;
}

/* --- the schema --- */

static const void *
parse(const KsSchemaText *text)
{
	return ks_proto_read_schema(text);
}

static const void *
at(const void *schema, const KsMessagePath *path)
{
	return ks_proto_message_at(schema, path->at, path->n);
}

static const void *
named(const void *schema, const char *name)
{
	return ks_proto_find_message(schema, name, strlen(name));
}

static const void *
choose(const void *schema, const char *name, bool of_keys)
{
	return ks_proto_choose_message(schema, name, of_keys);
}

const KsShaper ks_proto_shaper = {.parse = parse, .at = at, .named = named, .choose = choose, .shape = make_shape};
