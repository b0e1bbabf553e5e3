/*
 * decode.c
 *	  Records to rows: the value's fields and the metadata as Datums.
 *
 * One pass over the value finds the members that columns want (decode_fields.c);
 * then each column converts its slice.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"
#include "access/htup_details.h"
#include "funcapi.h"

#include "base/compat.h"
#include "format/decode.h"
#include "format/decode_format.h"
#include "format/json_scan.h"

/* Does the target look for fields, and take the value in no other way? */
static bool
must_match(const KsTarget *target)
{
	bool		wants_field = false;

	for (int i = 0; i < target->ncols; i++)
	{
		const KsColumn *col = &target->cols[i];

		if (col->unused)
			continue;
		if (col->source == KS_FROM_VALUE || col->source == KS_FROM_REST)
			return false;
		wants_field |= col->source == KS_FROM_VALUE_FIELD;
	}
	return wants_field;
}

KsDecoder *
ks_decoder_create(const KsFormatSettings *settings, KsTarget *target, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsDecoder  *d = palloc0(sizeof(KsDecoder));

	d->settings = *settings;
	d->target = target;
	d->cv.strip_nul = settings->strip_nul;
	d->cv.refuse_nonfinite = settings->refuse_nonfinite;
	initStringInfo(&d->cv.buf);
	initStringInfo(&d->rest);
	initStringInfo(&d->name);
	d->tokens = palloc0((target->nfields + 1) * sizeof(KsJsonToken));
	if (target->given)
	{
		d->given = palloc0(VARHDRSZ + target->ncols);
		SET_VARSIZE(d->given, VARHDRSZ + target->ncols);
	}
	d->later = palloc((target->ncols + 1) * sizeof(KsLater));
	d->encoding = GetDatabaseEncoding();
	d->wants_others = target->has_rest || settings->strict;
	d->must_match = must_match(target);
	if (settings->format == KS_FORMAT_CSV)
	{
		d->ops = &ks_csv_ops;
		d->csv = ks_csv_create();
	}
	if (settings->envelope != KS_NO_ENVELOPE)
	{
		d->ops = settings->envelope == KS_DEBEZIUM ? &ks_debezium_ops : &ks_connect_ops;
		d->envelope = ks_envelope_create(target->nfields, cxt);
	}
	if (settings->key_format == KS_FORMAT_CSV)
		d->key_csv = ks_csv_create();
	MemoryContextSwitchTo(old);
	return d;
}

/* Nothing but ASCII, and no NUL: the same in every encoding of a server. */
static inline bool
is_ascii(const char *s, int len)
{
	const char *end = s + len;

#ifdef __SSE2__
	__m128i		bad = _mm_setzero_si128();

	for (; end - s >= 16; s += 16)
	{
		__m128i		v = _mm_loadu_si128((const __m128i *) s);

		bad = _mm_or_si128(bad, _mm_or_si128(v, _mm_cmpeq_epi8(v, _mm_setzero_si128())));
	}
	if (_mm_movemask_epi8(bad) != 0)
		return false;
#endif
	for (; end - s >= 8; s += 8)
	{
		uint64		w;

		memcpy(&w, s, 8);
		if ((w & KS_HIGHS) || KS_HAS_ZERO(w))
			return false;
	}
	for (; s < end; s++)
		if (*s == '\0' || IS_HIGHBIT_SET(*s))
			return false;
	return true;
}

/* Bytes of Kafka are UTF-8 where they are text: verified, converted if needed. */
static inline void
to_server(KsDecoder *d, const char **s, int *len)
{
	if (likely(is_ascii(*s, *len)))
		return;
	if (d->encoding == PG_UTF8 || d->encoding == PG_SQL_ASCII)
		(void) pg_verify_mbstr(PG_UTF8, *s, *len, false);
	else
	{
		char	   *conv = pg_any_to_server(*s, *len, PG_UTF8);

		if (conv != *s)
			*len = strlen(conv);
		*s = conv;
	}
}

/* --- one column --- */

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
	const int64 epoch_ms = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * INT64CONST(1000);
	TimestampTz ts;
	const char *s;

	if (ms >= END_TIMESTAMP / 1000 + epoch_ms)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp of the record is out of range"),
				 errdetail("It is " INT64_FORMAT " milliseconds after 1970.", ms)));
	ts = (ms - epoch_ms) * 1000;
	if (type->typid == TIMESTAMPTZOID && type->typmod < 0)
		return TimestampTzGetDatum(ts);
	if (type->kind == KS_TYPE_INT8)
		return Int64GetDatum(ms);
	s = timestamptz_to_str(ts);
	return ks_convert_text(&d->cv, type, s, strlen(s));
}

/* Bytes as a whole: @key, @value. */
static Datum
from_bytes(KsDecoder *d, KsType *type, const char *s, int len, bool json,
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
	to_server(d, &s, &len);
	if (type->kind == KS_TYPE_JSON || (json && !type->is_string))
	{
		KsJson		doc = {s, s + len};
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

			to_server(d, &name, &len);
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

		to_server(d, &s, &len);
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
			to_server(d, &s, &len);
			escape_json(&d->cv.buf, pnstrdup(s, len));
		}
	}
	appendStringInfoChar(&d->cv.buf, '}');
	return ks_convert_text(&d->cv, type, d->cv.buf.data, d->cv.buf.len);
}

/* The key as a JSON document, read once a record; false if it is NULL. */
static bool
key_document(KsDecoder *d, const KsRecord *rec, KsJsonToken *tok)
{
	KsJson		json;
	const char *s = rec->key;
	int			len = rec->keylen;

	if (len < 0)
		return false;
	if (d->key.p == NULL)
	{
		to_server(d, &s, &len);
		json.start = s;
		json.end = s + len;
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
	bool		json = d->settings.key_format == KS_FORMAT_JSON;
	KsJsonToken tok;

	if (d->envelope && json && !type->is_string && type->typid != BYTEAOID &&
		key_document(d, rec, &tok))
		return ks_envelope_key_path(d, col, &tok, isnull);
	return from_bytes(d, type, rec->key, rec->keylen, json, isnull);
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
			return from_bytes(d, type, rec->value, rec->valuelen, false, isnull);
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
		tok = d->tokens[col->field];
		if (tok.p == NULL ||
			(col->npath > 0 && !ks_follow_path(col->path, col->npath, &tok)))
			return ks_decode_missing(d, col, isnull);
		return ks_convert_json(&d->cv, &col->type, &tok, isnull);
	}
	if (col->source == KS_FROM_KEY_FIELD)
	{
		if (!key_document(d, rec, &tok) || !ks_follow_path(col->path, col->npath, &tok))
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

/* --- tombstones --- */

KS_NORETURN static void key_does_not_tell(const KsColumn *col);

static void
key_does_not_tell(const KsColumn *col)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("record key does not tell key column \"%s\"", col->name),
			 errdetail("A key is a JSON object with a member for each key column, or the value itself for a single one."),
			 errhint("Set key_format, or map the column to @key or @key.field.")));
}

/* A key column of a tombstone, from the Kafka key. */
static Datum
decode_key_column(KsDecoder *d, KsColumn *col, const KsRecord *rec,
				  const KsPartition *part, const KsJsonToken *key, bool *isnull)
{
	KsJsonToken tok;

	if (!ks_from_field(col))
	{
		if (col->source == KS_FROM_VALUE || col->source == KS_FROM_REST)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a record without value has no value for key column \"%s\"", col->name)));
		if (col->source == KS_FROM_KEY_FIELD)
		{
			/* no default here: it would name some other row */
			tok = *key;
			if (d->settings.key_format != KS_FORMAT_JSON)
				(void) key_document(d, rec, &tok);
			if (ks_follow_path(col->path, col->npath, &tok))
				return d->envelope ? ks_envelope_key_path(d, col, &tok, isnull) :
					ks_convert_json(&d->cv, &col->type, &tok, isnull);
			key_does_not_tell(col);
		}
		return ks_decode_column(d, col, rec, part, isnull);
	}
	*isnull = false;
	if (d->envelope)
	{
		Datum		value;

		if (ks_envelope_key_column(d, col, d->key_schema, key, &value, isnull))
			return value;
		if (d->settings.key_format == KS_FORMAT_JSON)
			key_does_not_tell(col);
	}
	if (d->settings.key_format == KS_FORMAT_RAW)
	{
		Datum		value;

		if (d->target->nkeys > 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("a raw key cannot name a row by %d columns", d->target->nkeys)));
		value = from_bytes(d, ks_type_base(&col->type), rec->key, rec->keylen, false, isnull);
		ks_type_check(&col->type, value, *isnull);
		return value;
	}
	if (d->settings.key_format == KS_FORMAT_CSV)
	{
		const char *s = rec->key;
		int			len = rec->keylen;

		/* the value of an envelope can be a delete too */
		*isnull = len < 0;
		if (*isnull)
			return (Datum) 0;
		to_server(d, &s, &len);
		return ks_csv_key(d, col, s, len, isnull);
	}
	if (key->type == KS_JSON_OBJECT)
	{
		KsPathStep	by_name = {col->name, strlen(col->name), 0};

		tok = *key;
		if (col->source == KS_FROM_VALUE_FIELD)
		{
			KsPathStep	by_field = {d->target->fields[col->field].name,
			d->target->fields[col->field].len, 0};

			if (ks_follow_path(&by_field, 1, &tok) && ks_follow_path(col->path, col->npath, &tok))
				return ks_convert_json(&d->cv, &col->type, &tok, isnull);
			tok = *key;
		}
		if (ks_follow_path(&by_name, 1, &tok))
			return ks_convert_json(&d->cv, &col->type, &tok, isnull);
	}
	else if (d->target->nkeys == 1)
		return ks_convert_json(&d->cv, &col->type, key, isnull);
	key_does_not_tell(col);
}

/* A delete: the key columns from the Kafka key, or from the change. */
static KsRowOp
decode_tombstone(KsDecoder *d, const KsRecord *rec, const KsPartition *part,
				 Datum *values, bool *isnull)
{
	KsTarget   *target = d->target;
	KsJsonToken key = {.type = KS_JSON_NULL};

	if (!d->settings.delete_enabled)
	{
		if (d->settings.tombstone_ignore)
			return KS_ROW_FILTERED;
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 rec->valuelen < 0 ? errmsg("record has no value") : errmsg("record is a delete"),
				 errhint("Set delete_enabled => true to delete by the key, or on_tombstone => 'ignore'.")));
	}
	if (target->command)
	{
		/* the command sees it as a row without value */
		for (int i = 0; i < target->ncols; i++)
		{
			KsColumn   *col = &target->cols[i];

			isnull[i] = true;
			if (!col->unused && !ks_from_field(col) && col->source != KS_FROM_VALUE)
				values[i] = ks_decode_column(d, col, rec, part, &isnull[i]);
		}
		return KS_ROW_DELETE;
	}
	if (rec->keylen < 0 && rec->valuelen < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("record has neither key nor value")));
	if (d->settings.key_format == KS_FORMAT_JSON)
		(void) key_document(d, rec, &key);
	for (int i = 0; i < target->nvalues; i++)
		isnull[i] = true;
	for (int i = 0; i < target->nkeys; i++)
	{
		int			c = target->keycols[i];

		d->column = target->cols[c].name;
		d->cv.unit = target->cols[c].unit;
		values[c] = decode_key_column(d, &target->cols[c], rec, part, &key, &isnull[c]);
		if (isnull[c])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("null value in key column \"%s\"", target->cols[c].name)));
	}
	return KS_ROW_DELETE;
}

/* The source table was truncated. */
static KsRowOp
decode_truncation(KsDecoder *d)
{
	if (d->settings.delete_enabled)
		return KS_ROW_TRUNCATE;
	if (d->settings.tombstone_ignore)
		return KS_ROW_FILTERED;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("record says that the source table was truncated"),
			 errhint("Set delete_enabled => true to delete all rows of the target then, or on_tombstone => 'ignore'.")));
}

/* Behind the columns: which of them the record tells, if anybody asks. */
static void
tell_given(const KsDecoder *d, bool patch, Datum *values, bool *isnull)
{
	const KsTarget *target = d->target;

	isnull[target->ncols] = !patch && d->settings.insert_mode != KS_UPDATE;
	values[target->ncols] = (Datum) 0;
	if (!isnull[target->ncols])
		values[target->ncols] = datumCopy(PointerGetDatum(d->given), false, -1);
}

/* Is the value of a domain one that its constraints must hold for? */
static bool
needs_check(const KsDecoder *d, const KsColumn *col)
{
	if (!d->missing)
		return true;
	/* the column stays as it is, or its default is checked with it */
	return d->settings.insert_mode != KS_UPDATE && d->settings.insert_mode != KS_ACCUMULATE &&
		col->default_expr == NULL;
}

KsRowOp
ks_decode(KsDecoder *d, const KsRecord *rec, const KsPartition *part,
		  Datum *values, bool *isnull)
{
	KsTarget   *target = d->target;
	const char *s = rec->value;
	int			len = rec->valuelen;
	char	   *given = target->given ? VARDATA(d->given) : NULL;
	bool		patch;

	d->record = rec;
	d->column = NULL;
	d->nlater = 0;
	d->has_value = false;
	d->key.p = NULL;
	d->unmatched = NULL;
	d->evaluating = false;
	if ((int64) Max(len, 0) + Max(rec->keylen, 0) > d->settings.max_record_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record is too large"),
				 errdetail("It has " INT64_FORMAT " bytes, the sink takes at most %d.",
						   (int64) Max(len, 0) + Max(rec->keylen, 0), d->settings.max_record_bytes),
				 errhint("Raise the sink's setting max_record_bytes.")));
	if (len < 0)
	{
		/* it follows a delete that has been written already */
		if (d->settings.envelope == KS_DEBEZIUM)
			return KS_ROW_FILTERED;
		for (int i = 0; d->envelope && i < target->nfields; i++)
			d->tokens[i].p = NULL;
		return decode_tombstone(d, rec, part, values, isnull);
	}

	if (unlikely(d->ops != NULL))
	{
		to_server(d, &s, &len);
		switch (d->ops->open(d, rec, s, len))
		{
			case KS_ROW_FILTERED:
				return KS_ROW_FILTERED;
			case KS_ROW_DELETE:
				return decode_tombstone(d, rec, part, values, isnull);
			case KS_ROW_TRUNCATE:
				return decode_truncation(d);
			default:
				d->unavailable = false;
		}
	}
	else if (target->nfields > 0 || d->wants_others)
	{
		to_server(d, &s, &len);
		ks_scan_fields(d, s, len);
	}
	for (int i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		if (col->unused)
		{
			isnull[i] = true;
			continue;
		}
		d->column = col->name;
		if (unlikely(d->ops != NULL) && ks_from_field(col))
		{
			d->cv.unit = col->unit;
			d->missing = false;
			values[i] = d->ops->field(d, col, &isnull[i]);
		}
		else
			values[i] = ks_decode_column(d, col, rec, part, &isnull[i]);
		if (given)
			given[i] = !d->missing;
		col->filled |= !d->missing;
		if (unlikely(col->type.check_later) && needs_check(d, col))
			ks_decode_later(d, col, true);
	}
	d->column = NULL;
	d->has_value = true;
	patch = d->unavailable && target->patch_sql;
	if (given)
		tell_given(d, patch, values, isnull);
	return patch ? KS_ROW_PATCH : KS_ROW_WRITE;
}

void
ks_decode_check_row(KsDecoder *d, const bool *isnull)
{
	const KsTarget *target = d->target;

	if (unlikely(d->unmatched != NULL) && d->must_match)
		ks_unmatched_error(d);
	for (int i = 0; i < target->nkeys; i++)
	{
		int			c = target->keycols[i];

		if (likely(!isnull[c]))
			continue;
		d->column = target->cols[c].name;
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in key column \"%s\"", target->cols[c].name)));
	}
}
