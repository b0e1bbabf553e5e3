/*
 * proto_convert.c
 *	  Protobuf's values to Datums of a column's type.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/timestamp.h"

#include "format/envelope_schema.h"
#include "format/envelope_text.h"
#include "format/proto_convert.h"
#include "format/scalar.h"

/* The way of JSON's values. */
static Datum
from_token(KsProtoReader *r, KsProtoConvert *c, KsJsonToken *tok, bool *isnull)
{
	KsConvert  *cv = &r->d->cv;
	KsUnit		unit = cv->unit;
	Datum		d;

	/* what Connect and Debezium write in ways of their own */
	if (unlikely(r->d->settings.envelope != KS_NO_ENVELOPE))
	{
		if ((tok->type == KS_JSON_TRUE || tok->type == KS_JSON_FALSE) &&
			(c->base->typid == BITOID || c->base->typid == VARBITOID))
			ks_scalar_set(tok, KS_JSON_STRING, tok->type == KS_JSON_TRUE ? "1" : "0", 1);
		ks_value_set_odd(r->d, c->base, tok);
	}
	/* what a message tells, the column need not */
	if (c->message)
		cv->unit = KS_UNIT_NONE;
	d = ks_convert_json(cv, c->base, tok, isnull);
	cv->unit = unit;
	return d;
}

/* Of a duration, as an interval has it, which never are days. */
static void
set_clock(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, KsJsonToken *tok)
{
	int64		seconds;
	int			nanos;
	bool		neg;
	char	   *s;

	ks_proto_duration(r, value, &seconds, &nanos);
	neg = seconds < 0 || nanos < 0;
	if (neg)
	{
		seconds = -seconds;
		nanos = -nanos;
	}
	s = psprintf("%s" INT64_FORMAT ":%02d:%02d.%06d", neg ? "-" : "", seconds / SECS_PER_HOUR,
				 (int) (seconds / SECS_PER_MINUTE % MINS_PER_HOUR), (int) (seconds % SECS_PER_MINUTE), nanos / 1000);
	ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
}

static void
set_point(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, KsJsonToken *tok)
{
	KsProtoValue x;
	KsProtoValue y;
	char	   *s;

	ks_proto_find_value(r, ks_proto_find_number(c->message, 1), value, &x);
	ks_proto_find_value(r, ks_proto_find_number(c->message, 2), value, &y);
	s = psprintf("(%s,%s)", float8out_internal(x.v.real), float8out_internal(y.v.real));
	ks_scalar_set(tok, KS_JSON_STRING, s, strlen(s));
}

static Datum
from_scalar(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	KsJsonToken tok;
	char	   *s;
	Datum		d;

	if (c->action == KS_PROTO_AS_CLOCK)
		set_clock(r, c, value, &tok);
	else if (c->action == KS_PROTO_AS_POINT)
		set_point(r, c, value, &tok);
	else if (c->action == KS_PROTO_AS_DAYS || c->action == KS_PROTO_AS_BITS)
	{
		s = c->action == KS_PROTO_AS_DAYS ? ks_text_date((int64) value->v.bits, true) :
			ks_text_bits_of(value->p, value->len, c->base->typmod, c->base->typmod);
		ks_scalar_set(&tok, KS_JSON_STRING, s, strlen(s));
	}
	else if (c->message)
		ks_proto_known(r, c->message, value, &tok);
	else
		ks_proto_single(r, c->field, value, &tok);
	MemoryContextSwitchTo(old);
	d = from_token(r, c, &tok, isnull);
	MemoryContextReset(r->scratch);
	return d;
}

/* Its text is the value, as it is; null is none. */
static Datum
from_json_text(KsProtoReader *r, KsProtoConvert *c, StringInfo text, bool *isnull)
{
	KsJson		json = {.start = text->data, .end = text->data + text->len};
	KsJsonToken tok;
	Datum		d = (Datum) 0;

	*isnull = text->len == 4 && memcmp(text->data, "null", 4) == 0;
	if (!*isnull && c->base->kind == KS_TYPE_JSON)
		d = InputFunctionCall(&c->base->input, text->data, c->base->ioparam, c->base->typmod);
	else if (!*isnull)
	{
		ks_json_document(&json, &tok);
		d = from_token(r, c, &tok, isnull);
	}
	pfree(text->data);
	return d;
}

static Datum
from_json(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	StringInfoData text;

	initStringInfo(&text);
	if (c->message)
		ks_proto_append_message(r, c->message, value, NULL, c->base, &text);
	else
		ks_proto_append_json(r, c->field, value, c->base, &text);
	return from_json_text(r, c, &text, isnull);
}

static Datum
from_float(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	KsConvert  *cv = &r->d->cv;

	switch (c->field->type)
	{
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FLOAT:
			return ks_scalar_from_float(cv, c->base, value->v.real, isnull);
		case KS_PROTO_UINT64:
		case KS_PROTO_FIXED64:
			/* not by a double, which would round before */
			return c->base->typid == FLOAT4OID ? Float4GetDatum((float) value->v.bits) :
				Float8GetDatum((double) value->v.bits);
		default:
			return c->base->typid == FLOAT4OID ? Float4GetDatum((float) (int64) value->v.bits) :
				Float8GetDatum((double) (int64) value->v.bits);
	}
}

/* Its text may have an exponent, which integers have not; what is no whole number is the type's to refuse. */
static Datum
from_whole(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	int64		v;

	return ks_scalar_whole(value->v.real, &v) ? ks_scalar_from_int(&r->d->cv, c->base, v, isnull) :
		from_scalar(r, c, value, isnull);
}

static Datum
from_text(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	const char *s = (const char *) value->p;
	int			len = value->len;
	KsJsonToken tok;

	ks_scalar_to_server(r->d, &s, &len);
	/* too long a text, or only too many bytes of it, is for the type to say */
	if (likely(c->action == KS_PROTO_AS_TEXT && len <= c->base->max_len))
		return PointerGetDatum(cstring_to_text_with_len(s, len));
	ks_scalar_set(&tok, KS_JSON_STRING, s, len);
	return from_token(r, c, &tok, isnull);
}

static Datum
from_string_json(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	KsJsonToken tok;

	ks_scalar_set_json(r->d, &tok, (const char *) value->p, value->len);
	return from_token(r, c, &tok, isnull);
}

static Datum
from_bytes(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value)
{
	if (unlikely(c->field->type == KS_PROTO_STRING && r->d->settings.envelope == KS_DEBEZIUM))
		ks_value_unclear("Bytes can be a string in hex or in base64.",
						 "Set binary.handling.mode=bytes for the connector.");
	return PointerGetDatum(cstring_to_text_with_len((const char *) value->p, value->len));
}

static Datum
from_timestamp(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value)
{
	int64		seconds;
	int			nanos;
	int64		result;

	ks_proto_timestamp(r, value, &seconds, &nanos);
	/* any of these years is one of the server's */
	if (!ks_scalar_timestamp(seconds * USECS_PER_SEC + nanos / 1000, &result))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return TimestampTzGetDatum(result);
}

static Datum
from_duration(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value)
{
	Interval   *interval = palloc0(sizeof(Interval));
	int64		seconds;
	int			nanos;

	ks_proto_duration(r, value, &seconds, &nanos);
	interval->time = seconds * USECS_PER_SEC + nanos / 1000;
	return IntervalPGetDatum(interval);
}

static Datum
from_decimal(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	KsProtoValue digits;
	int			scale;
	Datum		d;

	ks_proto_decimal(r, c->message, value, &digits, &scale);
	if (ks_scalar_decimal((const char *) digits.p, digits.len, scale, c->base->typmod, &d))
		return d;
	return from_scalar(r, c, value, isnull);
}

static Datum
from_wrapper(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	KsProtoValue inner;

	ks_proto_find_value(r, c->inner->field, value, &inner);
	/* a domain is checked below */
	return ks_proto_convert(r, c->inner, &inner, isnull);
}

Datum
ks_proto_convert(KsProtoReader *r, KsProtoConvert *c, const KsProtoValue *value, bool *isnull)
{
	Datum		d;

	*isnull = false;
	switch (c->action)
	{
		case KS_PROTO_AS_INT:
			d = ks_scalar_from_int(&r->d->cv, c->base, (int64) value->v.bits, isnull);
			break;
		case KS_PROTO_AS_TEXT:
		case KS_PROTO_AS_STRING:
			d = from_text(r, c, value, isnull);
			break;
		case KS_PROTO_AS_FLOAT:
			d = from_float(r, c, value, isnull);
			break;
		case KS_PROTO_AS_BOOL:
			d = BoolGetDatum(value->v.bits != 0);
			break;
		case KS_PROTO_AS_UINT64:
			d = value->v.bits <= (uint64) PG_INT64_MAX ?
				ks_scalar_from_int(&r->d->cv, c->base, (int64) value->v.bits, isnull) :
				from_scalar(r, c, value, isnull);
			break;
		case KS_PROTO_AS_WHOLE:
			d = from_whole(r, c, value, isnull);
			break;
		case KS_PROTO_AS_BYTEA:
			d = from_bytes(r, c, value);
			break;
		case KS_PROTO_AS_JSON_TEXT:
			d = from_string_json(r, c, value, isnull);
			break;
		case KS_PROTO_AS_TIMESTAMP:
			d = from_timestamp(r, c, value);
			break;
		case KS_PROTO_AS_INTERVAL:
			d = from_duration(r, c, value);
			break;
		case KS_PROTO_AS_NUMERIC:
			d = from_decimal(r, c, value, isnull);
			break;
		case KS_PROTO_AS_WRAPPED:
			return from_wrapper(r, c, value, isnull);
		case KS_PROTO_AS_JSON:
			d = from_json(r, c, value, isnull);
			break;
		default:
			d = from_scalar(r, c, value, isnull);
			break;
	}
	if (unlikely(c->type->kind == KS_TYPE_DOMAIN))
		ks_type_check(c->type, d, *isnull);
	return d;
}

static Datum
from_list(KsProtoReader *r, KsProtoConvert *c, const uint8 *begin, const uint8 *end)
{
	KsProtoReader inner = *r;
	KsElements	elements = {0};
	KsProtoItems items;
	KsProtoValue value;

	ks_proto_items(&items, &inner, c->field, begin, end);
	while (ks_proto_next_item(&items, &value))
	{
		int			i = ks_elements_add(&elements);
		Datum		d = ks_proto_convert(r, c->inner, &value, &elements.nulls[i]);

		elements.values[i] = d;
	}
	return ks_elements_array(&elements, c->base);
}

Datum
ks_proto_convert_runs(KsProtoReader *r, KsProtoConvert *c, const uint8 *begin, const uint8 *end, bool *isnull)
{
	StringInfoData text;
	KsProtoValue value;
	char	   *buffer;
	Datum		d;

	*isnull = false;
	if (!c->field->repeated)
	{
		ks_proto_merge(r, c->field, begin, end, &value, &buffer);
		d = ks_proto_convert(r, c, &value, isnull);
		if (buffer)
			pfree(buffer);
		return d;
	}
	if (c->action == KS_PROTO_AS_ARRAY)
		d = from_list(r, c, begin, end);
	else
	{
		initStringInfo(&text);
		ks_proto_append_field(r, c->field, begin, end, c->base, &text);
		d = from_json_text(r, c, &text, isnull);
	}
	if (unlikely(c->type->kind == KS_TYPE_DOMAIN))
		ks_type_check(c->type, d, *isnull);
	return d;
}
