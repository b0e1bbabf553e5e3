/*
 * decode_column.c
 *	  The value of one column, from whatever part of a record it comes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "format/decode_format.h"

/* The rest is about values as a whole; types are those underneath domains. */

static Datum
from_int(KsDecoder *d, KsType *type, int64 v)
{
	char		buf[MAXINT8LEN + 1];

	if (type->kind == KS_TYPE_INT8)
		return Int64GetDatum(v);
	return ks_convert_text(&d->cv, type, buf, pg_lltoa(v, buf));
}

static Datum
from_timestamp(KsDecoder *d, KsType *type, int64 ms)
{
	TimestampTz ts;
	const char *s;

	if (ms >= END_TIMESTAMP / 1000 + KS_EPOCH_MS)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of the record is out of range"),
				 errdetail("It is " INT64_FORMAT " milliseconds after 1970.", ms)));
	ts = (ms - KS_EPOCH_MS) * 1000;
	if (type->typid == TIMESTAMPTZOID && type->typmod < 0)
		return TimestampTzGetDatum(ts);
	if (type->kind == KS_TYPE_INT8)
		return Int64GetDatum(ms);
	s = timestamptz_to_str(ts);
	return ks_convert_text(&d->cv, type, s, strlen(s));
}

/* Bytes as a whole: @key, @value. */
Datum
ks_decode_bytes(KsDecoder *d, KsType *type, const char *s, int len, bool json,
				bool *isnull)
{
	if (len < 0)
	{
		*isnull = true;
		return (Datum) 0;
	}
	*isnull = false;
	if (type->typid == BYTEAOID)
		return PointerGetDatum(cstring_to_text_with_len(s, len));
	ks_to_server(d, &s, &len);
	if (type->kind == KS_TYPE_JSON || (json && !type->is_string))
	{
		KsJson		doc = {.start = s, .end = s + len};
		KsJsonToken tok;

		ks_json_document(&doc, &tok);
		return ks_convert_json(&d->cv, type, &tok, isnull);
	}
	return ks_convert_field(&d->cv, type, s, len);
}

/* Headers as an object by name (the last of a name counts), or header[]. */
static Datum
from_headers(KsDecoder *d, KsType *type, const KsRecord *rec)
{
	if (type->kind == KS_TYPE_ARRAY)
	{
		/* header[]: ks_columns_set_source() has seen to it */
		TupleDesc	desc = type->elem->composite->tupdesc;
		Datum	   *elems = palloc((rec->nheaders + 1) * sizeof(Datum));

		for (int i = 0; i < rec->nheaders; i++)
		{
			const KsHeader *h = &rec->headers[i];
			const char *name = h->name;
			int			len = strlen(name);
			Datum		values[2];
			bool		nulls[2] = {false, h->value == NULL || h->valuelen < 0};

			ks_to_server(d, &name, &len);
			values[0] = PointerGetDatum(cstring_to_text_with_len(name, len));

			if (!nulls[1])
				values[1] = PointerGetDatum(cstring_to_text_with_len(h->value, h->valuelen));
			elems[i] = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
		}
		return PointerGetDatum(construct_array(elems, rec->nheaders, type->elem->typid,
											   -1, false, TYPALIGN_DOUBLE));
	}

	resetStringInfo(&d->cv.buf);
	appendStringInfoChar(&d->cv.buf, '{');
	for (int i = 0; i < rec->nheaders; i++)
	{
		const KsHeader *h = &rec->headers[i];
		const char *s = h->name;
		int			len = strlen(s);

		ks_to_server(d, &s, &len);
		if (i > 0)
			appendStringInfoChar(&d->cv.buf, ',');
		escape_json(&d->cv.buf, pnstrdup(s, len));
		appendStringInfoChar(&d->cv.buf, ':');
		if (h->value == NULL || h->valuelen < 0)
			appendStringInfoString(&d->cv.buf, "null");
		else
		{
			s = h->value;
			len = h->valuelen;
			ks_to_server(d, &s, &len);
			escape_json(&d->cv.buf, pnstrdup(s, len));
		}
	}
	appendStringInfoChar(&d->cv.buf, '}');
	return ks_convert_text(&d->cv, type, d->cv.buf.data, d->cv.buf.len);
}

/* The key as a JSON document, read once a record; false if it is NULL. */
bool
ks_decode_key_document(KsDecoder *d, const KsRecord *rec, KsJsonToken *tok)
{
	KsJson		json;
	const char *s = rec->key;
	int			len = rec->keylen;

	if (len < 0)
		return false;
	if (d->key.p == NULL)
	{
		if (d->settings.key_format == KS_FORMAT_AVRO)
			ks_avro_key(d, s, len, &s, &len);
		else if (d->settings.key_format == KS_FORMAT_PROTOBUF)
			ks_proto_key(d, s, len, &s, &len);
		else
		{
			if (d->settings.key_format == KS_FORMAT_JSON_SCHEMA)
				ks_json_schema_key(d, &s, &len);
			ks_to_server(d, &s, &len);
		}
		json = (KsJson) {.start = s, .end = s + len};
		ks_json_document(&json, tok);
		if (d->envelope)
			d->key_schema = ks_envelope_key(d, tok);
		d->key = *tok;
	}
	*tok = d->key;
	return true;
}

/* The whole key. */
static Datum
from_key(KsDecoder *d, KsColumn *col, KsType *type, const KsRecord *rec, bool *isnull)
{
	bool		json = ks_format_is_json(d->settings.key_format);
	const char *s = rec->key;
	int			len = rec->keylen;
	KsJsonToken tok;

	if (ks_format_has_schema(d->settings.key_format) && type->typid != BYTEAOID)
	{
		if (ks_decode_key_document(d, rec, &tok))
			return ks_convert_json(&d->cv, type, &tok, isnull);
		*isnull = true;
		return (Datum) 0;
	}
	if (d->envelope && json && !type->is_string && type->typid != BYTEAOID &&
		ks_decode_key_document(d, rec, &tok))
		return ks_envelope_key_path(d, col, &tok, isnull);
	if (d->settings.key_format == KS_FORMAT_JSON_SCHEMA && len >= 0 && type->typid != BYTEAOID)
		ks_json_schema_key(d, &s, &len);
	return ks_decode_bytes(d, type, s, len, json, isnull);
}

/* The name of the value's type; a tombstone has none. */
static Datum
from_schema_name(KsDecoder *d, KsColumn *col, KsType *type, bool *isnull)
{
	const char *name = NULL;

	if (d->record->valuelen >= 0)
		name = d->settings.format == KS_FORMAT_JSON_SCHEMA ? ks_json_schema_name(d) :
			d->ops && d->ops->schema ? d->ops->schema(d) : NULL;
	if (name == NULL)
		return ks_decode_missing(d, col, isnull);
	return ks_convert_text(&d->cv, type, name, strlen(name));
}

/* What is not found by a path; type: what is underneath the column's. */
static Datum
decode_whole(KsDecoder *d, KsColumn *col, KsType *type, const KsRecord *rec,
			 const KsPartition *part, bool *isnull)
{
	switch (col->source)
	{
		case KS_FROM_KEY:
			return from_key(d, col, type, rec, isnull);
		case KS_FROM_VALUE:
			if (d->settings.format == KS_FORMAT_JSON_SCHEMA && rec->valuelen >= 0 && type->typid != BYTEAOID)
				return ks_decode_bytes(d, type, d->payload, d->payload_len, false, isnull);
			return ks_decode_bytes(d, type, rec->value, rec->valuelen, false, isnull);
		case KS_FROM_REST:
			return ks_convert_text(&d->cv, type, d->rest.data, d->rest.len);
		case KS_FROM_HEADERS:
			return from_headers(d, type, rec);
		case KS_FROM_TOPIC:
			if (*part->topic == '\0')
				return ks_decode_missing(d, col, isnull);
			return ks_convert_text(&d->cv, type, part->topic, strlen(part->topic));
		case KS_FROM_PARTITION:
			if (part->part < 0)
				return ks_decode_missing(d, col, isnull);
			return from_int(d, type, part->part);
		case KS_FROM_OFFSET:
			if (rec->off < 0)
				return ks_decode_missing(d, col, isnull);
			return from_int(d, type, rec->off);
		case KS_FROM_TIMESTAMP:
			if (rec->ts_ms < 0)
				return ks_decode_missing(d, col, isnull);
			return from_timestamp(d, type, rec->ts_ms);
		case KS_FROM_SCHEMA_ID:
			if (d->schema_id < 0)
				return ks_decode_missing(d, col, isnull);
			return from_int(d, type, d->schema_id);
		case KS_FROM_SCHEMA:
			return from_schema_name(d, col, type, isnull);
		case KS_FROM_DEFAULT:
			return ks_decode_missing(d, col, isnull);
		default:
			pg_unreachable();
	}
}

Datum
ks_decode_column(KsDecoder *d, KsColumn *col, const KsRecord *rec,
				 const KsPartition *part, bool *isnull)
{
	KsJsonToken tok;
	KsType	   *base;
	Datum		value;

	*isnull = false;
	d->cv.unit = col->unit;
	d->missing = false;
	if (col->source == KS_FROM_VALUE_FIELD)
	{
		const KsJsonToken *field = &d->tokens[col->field];

		if (field->p == NULL)
			return ks_decode_missing(d, col, isnull);
		if (likely(col->npath == 0))
			return ks_convert_json(&d->cv, &col->type, field, isnull);
		tok = *field;
		if (!ks_find_field(d, col, &tok))
			return ks_decode_missing(d, col, isnull);
		return ks_convert_json(&d->cv, &col->type, &tok, isnull);
	}
	if (col->source == KS_FROM_KEY_FIELD)
	{
		if (!ks_decode_key_document(d, rec, &tok) || !ks_find_in_key(d, col, &tok))
			return ks_decode_missing(d, col, isnull);
		return d->envelope ? ks_envelope_key_path(d, col, &tok, isnull) :
			ks_convert_json(&d->cv, &col->type, &tok, isnull);
	}
	base = ks_type_base(&col->type);
	value = decode_whole(d, col, base, rec, part, isnull);
	if (base != &col->type && !d->missing)
		ks_type_check(&col->type, value, *isnull);
	return value;
}
