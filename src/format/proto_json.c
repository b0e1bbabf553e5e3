/*
 * proto_json.c
 *	  Protobuf's values as JSON.
 *
 * The JSON is Protobuf's mapping, with the fields' names as the schema has them, 64-bit
 * integers as numbers, bytes as the server writes a bytea (\x00ff), and NaN and infinities
 * as strings.  Fields that are absent are left out, and so are those that say no more than
 * that, so that one message has one JSON, whoever wrote it.  An Any whose message the schema
 * does not know has its bytes as "@value".
 *
 * A message's fields stand in any order, and any number of times: each is written once,
 * from all of its runs (proto_runs.c).
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/proto_json.h"
#include "format/proto_map.h"
#include "format/proto_runs.h"
#include "format/proto_single.h"
#include "format/scalar.h"

static void
append_token(KsProtoReader *r, const KsProtoField *field, const KsProtoMessage *known,
			 const KsProtoValue *value, StringInfo out)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	KsJsonToken tok;

	if (known)
		ks_proto_known(r, known, value, &tok);
	else
		ks_proto_single(r, field, value, &tok);
	MemoryContextSwitchTo(old);
	ks_scalar_append(out, &tok);
	MemoryContextReset(r->scratch);
}

static void
append_name(const char *name, int len, bool *first, StringInfo out)
{
	if (!*first)
		appendStringInfoChar(out, ',');
	*first = false;
	ks_scalar_append_string(out, name, len);
	appendStringInfoChar(out, ':');
}

/* What the JSON of a field is for; NULL: nobody says, or nobody wants it. */
static const KsType *
shape_of(const KsType *shape, const KsProtoField *field, bool *wanted)
{
	int			i;

	*wanted = true;
	if (shape == NULL)
		return NULL;
	i = ks_names_find(&shape->composite->names, field->name.name, field->name.len);
	*wanted = i >= 0;
	return i >= 0 ? &shape->composite->attrs[i] : NULL;
}

/* The composite type in a type, which arrays are of; NULL: it has none. */
static const KsType *
composite_in(const KsType *type)
{
	while (type && (type->kind == KS_TYPE_DOMAIN || type->kind == KS_TYPE_ARRAY))
		type = type->elem;
	return type && type->kind == KS_TYPE_COMPOSITE ? type : NULL;
}

/* Fields that are absent, from one of them to another; of a composite type those that it has. */
static void
append_absent(KsProtoReader *r, const KsProtoMessage *message, int from, int until, const bool *left_out,
			  const KsType *shape, bool *first, StringInfo out)
{
	for (int i = from; i < until; i++)
	{
		const KsProtoField *field = &message->fields[i];
		bool		wanted;
		const KsType *inner = shape_of(shape, field, &wanted);

		if (!wanted || (left_out && left_out[i]) || (!field->repeated && !ks_proto_has_default(field)))
			continue;
		if (shape == NULL && --r->spare < 0)
			ks_proto_too_many();
		append_name(field->name.name, field->name.len, first, out);
		ks_proto_append_field(r, field, NULL, NULL, inner, out);
	}
}

/* Is it what an absent field is read as, which nothing tells from one that is not there? */
static bool
is_default(KsProtoReader *r, const KsProtoField *field, const KsProtoRun *run)
{
	KsProtoReader inner = *r;
	KsProtoItems items;
	KsProtoValue value;
	KsProtoValue next;

	if (field->presence || field->map)
		return false;
	ks_proto_items(&items, &inner, field, run->begin, run->end);
	if (field->repeated)
		return !ks_proto_next_item(&items, &value);
	ks_proto_default(field, &value);
	while (ks_proto_next_item(&items, &next))
		value = next;
	return field->type == KS_PROTO_STRING || field->type == KS_PROTO_BYTES ? value.len == 0 : value.v.bits == 0;
}

static void
append_fields(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
			  const bool *left_out, const KsType *shape, bool *first, StringInfo out)
{
	int			base = r->nruns;
	int			next = 0;		/* of the schema's fields */
	bool		with_absent = shape || r->defaults;

	ks_proto_list_runs(r, message, value, left_out);
	for (int i = base; i < r->nruns;)
	{
		const KsProtoField *field;
		const KsType *inner;
		KsProtoRun	joined;
		char	   *buffer;
		bool		wanted;

		if (r->runs[i].field < 0)
		{
			i++;
			continue;
		}
		ks_proto_join_runs(r, &i, &joined, &buffer);
		field = &message->fields[joined.field];
		inner = shape_of(shape, field, &wanted);
		if (!with_absent && wanted)
			wanted = !is_default(r, field, &joined);
		if (with_absent)
			append_absent(r, message, next, joined.field + !wanted, left_out, shape, first, out);
		next = joined.field + 1;
		if (wanted)
		{
			append_name(field->name.name, field->name.len, first, out);
			ks_proto_append_field(r, field, joined.begin, joined.end, inner, out);
		}
		if (buffer)
			pfree(buffer);
	}
	if (with_absent)
		append_absent(r, message, next, message->nfields, left_out, shape, first, out);
	r->nruns = base;
}

/* --- messages that JSON has something else for --- */

/* The run of a field; false if it is absent.  These fields are where they are, by their number. */
static bool
find_run(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, uint32 number,
		 const KsProtoField **field, const uint8 **begin, const uint8 **end, char **buffer)
{
	int			base = r->nruns;
	bool		found = false;

	*field = ks_proto_find_number(message, number);
	*begin = *end = NULL;
	*buffer = NULL;
	ks_proto_list_runs(r, message, value, NULL);
	for (int i = base; i < r->nruns && !found; i++)
		if (*field && r->runs[i].field == *field - message->fields)
		{
			KsProtoRun	joined;
			int			at = i;

			ks_proto_join_runs(r, &at, &joined, buffer);
			*begin = joined.begin;
			*end = joined.end;
			found = true;
		}
	r->nruns = base;
	return found;
}

static void
append_wrapper(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, StringInfo out)
{
	const KsProtoField *field = ks_proto_find_number(message, 1);
	KsProtoValue inner;

	if (field == NULL)
	{
		appendStringInfoString(out, "null");
		return;
	}
	ks_proto_find_value(r, field, value, &inner);
	append_token(r, field, NULL, &inner, out);
}

/* The only field that a Struct or a ListValue has, as it is. */
static void
append_only(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, const char *none, StringInfo out)
{
	const KsProtoField *field;
	const uint8 *begin,
			   *end;
	char	   *buffer;

	if (find_run(r, message, value, 1, &field, &begin, &end, &buffer))
		ks_proto_append_field(r, field, begin, end, NULL, out);
	else
		appendStringInfoString(out, none);
	if (buffer)
		pfree(buffer);
}

/* A Value: the field of its oneof.  JSON has no number that is none. */
static void
append_value(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, StringInfo out)
{
	int			base = r->nruns;
	bool		found = false;

	ks_proto_list_runs(r, message, value, NULL);
	for (int i = base; i < r->nruns;)
	{
		const KsProtoField *field;
		KsProtoRun	joined;
		char	   *buffer;
		int			from = out->len;

		if (r->runs[i].field < 0)
		{
			i++;
			continue;
		}
		ks_proto_join_runs(r, &i, &joined, &buffer);
		field = &message->fields[joined.field];
		if (!found)
			ks_proto_append_field(r, field, joined.begin, joined.end, NULL, out);
		found = true;
		if (field->type == KS_PROTO_DOUBLE && out->data[from] == '"')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
					 errmsg("a Protobuf value that is JSON has a number that JSON has not"),
					 errdetail("It is infinite, or none.")));
		if (buffer)
			pfree(buffer);
	}
	if (!found)
		appendStringInfoString(out, "null");
	r->nruns = base;
}

/* JSON of these messages is no object, or one of its own. */
static bool
is_special(KsProtoKnown known)
{
	return known != KS_PROTO_NO_KNOWN && known != KS_PROTO_EMPTY;
}

/* An Any: its type, and the fields of its message, if the schema has that. */
static void
append_any(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, StringInfo out)
{
	const KsProtoField *url_field = ks_proto_find_number(message, 1);
	const KsProtoField *bytes_field = ks_proto_find_number(message, 2);
	const KsProtoMessage *inner = NULL;
	KsProtoValue url,
				bytes;
	const char *s;
	bool		first = true;

	if (url_field == NULL || url_field->type != KS_PROTO_STRING || bytes_field == NULL ||
		bytes_field->type != KS_PROTO_BYTES || value->len == 0)
	{
		appendStringInfoString(out, "{}");
		return;
	}
	ks_proto_find_value(r, url_field, value, &url);
	ks_proto_find_value(r, bytes_field, value, &bytes);
	for (s = (const char *) url.p + url.len; s > (const char *) url.p && s[-1] != '/'; s--)
		;
	if (r->file && s > (const char *) url.p)
		inner = ks_proto_find_message(r->file, s, (int) ((const char *) url.p + url.len - s));
	appendStringInfoChar(out, '{');
	append_name("@type", 5, &first, out);
	append_token(r, url_field, NULL, &url, out);
	if (inner && !is_special(inner->known))
		append_fields(r, inner, &bytes, NULL, NULL, &first, out);
	else
	{
		append_name(inner ? "value" : "@value", inner ? 5 : 6, &first, out);
		if (inner)
			ks_proto_append_message(r, inner, &bytes, NULL, NULL, out);
		else
			append_token(r, bytes_field, NULL, &bytes, out);
	}
	appendStringInfoChar(out, '}');
}

void
ks_proto_append_message(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
						const bool *left_out, const KsType *shape, StringInfo out)
{
	bool		first = true;

	check_stack_depth();
	ks_proto_enter(r);
	switch (message->known)
	{
		case KS_PROTO_WRAPPER:
			append_wrapper(r, message, value, out);
			break;
		case KS_PROTO_STRUCT:
			append_only(r, message, value, "{}", out);
			break;
		case KS_PROTO_LIST_VALUE:
			append_only(r, message, value, "[]", out);
			break;
		case KS_PROTO_VALUE:
			append_value(r, message, value, out);
			break;
		case KS_PROTO_ANY:
			append_any(r, message, value, out);
			break;
		case KS_PROTO_NO_KNOWN:
		case KS_PROTO_EMPTY:
			appendStringInfoChar(out, '{');
			append_fields(r, message, value, left_out, composite_in(shape), &first, out);
			appendStringInfoChar(out, '}');
			break;
		default:
			append_token(r, NULL, message, value, out);
			break;
	}
	r->depth--;
	/* a batch has many of them */
	if (r->nruns == 0 && r->runs)
	{
		pfree(r->runs);
		r->runs = NULL;
		r->maxruns = 0;
	}
}

void
ks_proto_append_json(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *value,
					 const KsType *shape, StringInfo out)
{
	if (field->message)
		ks_proto_append_message(r, field->message, value, NULL, shape, out);
	else
		append_token(r, field, NULL, value, out);
}

/* --- lists and maps --- */

static void
append_list(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end,
			const KsType *shape, StringInfo out)
{
	KsProtoReader inner = *r;
	KsProtoItems items;
	KsProtoValue value;
	bool		first = true;

	ks_proto_items(&items, &inner, field, begin, end);
	appendStringInfoChar(out, '[');
	while (ks_proto_next_item(&items, &value))
	{
		if (!first)
			appendStringInfoChar(out, ',');
		first = false;
		ks_proto_append_json(r, field, &value, shape, out);
	}
	appendStringInfoChar(out, ']');
}

/* The value of an entry, absent or not. */
static void
append_entry_value(KsProtoReader *r, const KsProtoMessage *entry, const KsProtoField *field,
				   const KsProtoValue *at, StringInfo out)
{
	const KsProtoField *found;
	const uint8 *begin,
			   *end;
	char	   *buffer = NULL;
	KsProtoValue value;

	if (field->message == NULL)
	{
		ks_proto_find_value(r, field, at, &value);
		ks_proto_append_json(r, field, &value, NULL, out);
	}
	else if (find_run(r, entry, at, (uint32) field->number, &found, &begin, &end, &buffer))
		ks_proto_append_field(r, field, begin, end, NULL, out);
	else
	{
		ks_proto_default(field, &value);
		ks_proto_append_json(r, field, &value, NULL, out);
	}
	if (buffer)
		pfree(buffer);
}

static void
append_map(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end, StringInfo out)
{
	const KsProtoField *key = ks_proto_find_number(field->message, 1);
	const KsProtoField *value = ks_proto_find_number(field->message, 2);
	KsProtoMapEntry *entries;
	bool		first = true;
	int			n;

	entries = ks_proto_map_entries(r, field, begin, end, &n);
	ks_proto_enter(r);
	appendStringInfoChar(out, '{');
	for (int i = 0; i < n; i++)
	{
		MemoryContext old;
		KsJsonToken tok;

		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(r->scratch);
		ks_proto_single(r, key, &entries[i].key, &tok);
		MemoryContextSwitchTo(old);
		append_name(tok.p, tok.len, &first, out);
		MemoryContextReset(r->scratch);
		append_entry_value(r, field->message, value, &entries[i].entry, out);
	}
	appendStringInfoChar(out, '}');
	r->depth--;
	pfree(entries);
}

void
ks_proto_append_field(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end,
					  const KsType *shape, StringInfo out)
{
	KsProtoReader inner = *r;
	KsProtoItems items;
	KsProtoValue value;
	KsProtoValue next;
	char	   *buffer;

	if (field->map)
		append_map(r, field, begin, end, out);
	else if (field->repeated)
		append_list(r, field, begin, end, shape, out);
	else if (field->message)
	{
		ks_proto_merge(r, field, begin, end, &value, &buffer);
		ks_proto_append_json(r, field, &value, shape, out);
		if (buffer)
			pfree(buffer);
	}
	else
	{
		ks_proto_default(field, &value);
		ks_proto_items(&items, &inner, field, begin, end);
		while (ks_proto_next_item(&items, &next))
			value = next;
		append_token(r, field, NULL, &value, out);
	}
}
