/*
 * avro_by_text.c
 *	  Avro's values to Datums by the text that the column's type reads, as JSON's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "format/avro_convert.h"
#include "format/envelope_schema.h"
#include "format/scalar.h"

/* The way of JSON's values. */
Datum
ks_avro_from_token(KsAvroReader *r, KsAvroConvert *c, KsJsonToken *tok, bool *isnull)
{
	KsConvert  *cv = &r->d->cv;
	KsUnit		unit = cv->unit;
	Datum		d;

	/* Debezium's bit(1), and what it writes in ways of its own */
	if (unlikely(c->base->typid == BITOID || c->base->typid == VARBITOID) &&
		(tok->type == KS_JSON_TRUE || tok->type == KS_JSON_FALSE))
	{
		tok->p = tok->type == KS_JSON_TRUE ? "1" : "0";
		tok->len = 1;
		tok->type = KS_JSON_STRING;
	}
	if (r->d->settings.envelope != KS_NO_ENVELOPE)
		ks_value_set_odd(r->d, c->base, tok);

	/* what a logical type tells, the column need not */
	if (c->node->logical != KS_AVRO_PLAIN)
		cv->unit = KS_UNIT_NONE;
	d = ks_convert_json(cv, c->base, tok, isnull);
	cv->unit = unit;
	return d;
}

/* Of a token whose text is in the scratch context, which is the current one; back in the old one. */
static Datum
from_scratch(KsAvroReader *r, KsAvroConvert *c, KsJsonToken *tok, MemoryContext old, bool *isnull)
{
	Datum		d;

	MemoryContextSwitchTo(old);
	d = ks_avro_from_token(r, c, tok, isnull);
	MemoryContextReset(r->scratch);
	return d;
}

Datum
ks_avro_from_scalar(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	KsJsonToken tok;

	r->padded_bits = c->base->typmod;
	ks_avro_scalar(r, c->node, &tok);
	r->padded_bits = 0;
	return from_scratch(r, c, &tok, old, isnull);
}

Datum
ks_avro_from_json_text(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	int			len;
	const char *s = ks_avro_bytes(r, &len);
	KsJsonToken tok;

	ks_scalar_set_json(r->d, &tok, s, len);
	return ks_avro_from_token(r, c, &tok, isnull);
}

/* A record that is one value. */
Datum
ks_avro_from_record(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	KsJsonToken tok;

	if (c->action == KS_AVRO_AS_POINT)
		ks_avro_point(r, c->node, &tok);
	else
		ks_avro_variable_decimal(r, c->node, &tok);
	return from_scratch(r, c, &tok, old, isnull);
}

Datum
ks_avro_from_json(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	StringInfoData text;
	KsJson		json;
	KsJsonToken tok;
	Datum		d;

	if (c->node->type == KS_AVRO_NULL)
	{
		*isnull = true;
		return (Datum) 0;
	}
	initStringInfo(&text);
	ks_avro_append_json(r, c->node, &text);
	/* its text is the value, as it is */
	if (c->base->kind == KS_TYPE_JSON)
		d = InputFunctionCall(&c->base->input, text.data, c->base->ioparam, c->base->typmod);
	else
	{
		json = (KsJson) {.start = text.data, .end = text.data + text.len};
		ks_json_document(&json, &tok);
		d = ks_avro_from_token(r, c, &tok, isnull);
	}
	pfree(text.data);
	return d;
}
