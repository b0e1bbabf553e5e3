/*
 * decode.c
 *	  Records to rows: the value's fields and the metadata as Datums.
 *
 * One pass over the value finds the members that columns want (decode_fields.c);
 * then each column converts its slice.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "base/compat.h"
#include "base/error.h"
#include "format/decode_format.h"

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

/* Is a column no more than what a format finds for it? */
static bool
all_found(const KsTarget *target)
{
	for (int i = 0; i < target->ncols; i++)
	{
		const KsColumn *col = &target->cols[i];

		if (!ks_from_field(col) || col->unused || col->in_attempt || col->type.check_later)
			return false;
	}
	return target->given == NULL;
}

KsDecoder *
ks_decoder_create(const KsFormatSettings *settings, KsTarget *target, MemoryContext cxt)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsDecoder  *d = palloc0(sizeof(KsDecoder));

	d->cxt = cxt;
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
#ifdef KS_JSON_MARKS
	if (ks_format_is_json(settings->format))
		d->marks = palloc(KS_MARK_WORDS * sizeof(uint64));
#endif
	ks_decode_init_members(d);
	ks_decode_init_paths(d);
	d->later = palloc((target->ncols + 1) * sizeof(KsLater));
	d->encoding = GetDatabaseEncoding();
	d->wants_others = target->has_rest || settings->strict;
	d->must_match = must_match(target);
	d->all_found = all_found(target);
	if (settings->format == KS_FORMAT_CSV)
	{
		d->ops = &ks_csv_ops;
		d->csv = ks_csv_create();
	}
	if (settings->format == KS_FORMAT_AVRO)
		d->ops = settings->envelope == KS_DEBEZIUM ? &ks_avro_change_ops : &ks_avro_ops;
	if (settings->format == KS_FORMAT_AVRO || settings->key_format == KS_FORMAT_AVRO)
		ks_avro_create(d);
	if (settings->format == KS_FORMAT_PROTOBUF)
		d->ops = settings->envelope == KS_DEBEZIUM ? &ks_proto_change_ops : &ks_proto_ops;
	if (settings->format == KS_FORMAT_PROTOBUF || settings->key_format == KS_FORMAT_PROTOBUF)
		ks_proto_create(d);
	if (settings->format == KS_FORMAT_JSON_SCHEMA || settings->key_format == KS_FORMAT_JSON_SCHEMA)
		ks_json_schema_create(d);
	if (settings->envelope != KS_NO_ENVELOPE && !ks_format_has_schema(settings->format))
	{
		d->ops = settings->envelope == KS_DEBEZIUM ? &ks_debezium_ops : &ks_connect_ops;
		d->envelope = ks_envelope_create(target->nfields, cxt);
	}
	if (settings->key_format == KS_FORMAT_CSV)
		d->key_csv = ks_csv_create();
	MemoryContextSwitchTo(old);
	return d;
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
	return !d->kept && d->settings.insert_mode != KS_UPDATE && d->settings.insert_mode != KS_ACCUMULATE &&
		col->default_expr == NULL;
}

/* Headers are there where they are wanted. */
static inline int64
record_bytes(const KsRecord *rec)
{
	int64		bytes = (int64) Max(rec->keylen, 0) + Max(rec->valuelen, 0);

	for (int i = 0; i < rec->nheaders; i++)
		bytes += strlen(rec->headers[i].name) + Max(rec->headers[i].valuelen, 0);
	return bytes;
}

static inline bool
comes_from_format(const KsFormatOps *ops, const KsColumn *col)
{
	return ks_from_field(col) || (ops->binary && col->source == KS_FROM_VALUE);
}

static inline Datum
decode_value(KsDecoder *d, KsColumn *col, int i, const KsRecord *rec, const KsPartition *part, bool *isnull)
{
	if (likely(d->ops == NULL) || !comes_from_format(d->ops, col))
		return ks_decode_column(d, col, rec, part, isnull);
	d->missing = false;
	if (d->found && d->found[i])
	{
		*isnull = d->found_isnull[i];
		return d->found_values[i];
	}
	d->cv.unit = col->unit;
	return d->ops->field(d, col, isnull);
}

/* Of a column whose value is found in each attempt: whether the record has one. */
static void
look_for_value(KsDecoder *d, KsColumn *col, int i, const KsRecord *rec, const KsPartition *part)
{
	bool		isnull;

	d->stand_in = *col;
	d->stand_in.type = *d->target->plain;
	d->stand_in.unit = KS_UNIT_NONE;
	d->stands_for = col;
	(void) decode_value(d, &d->stand_in, i, rec, part, &isnull);
	/* which else is the column's default */
	if (d->unreadable == NULL && !(d->missing && col->default_expr))
		ks_decode_later(d, col, KS_LATER_VALUE);
}

/* Where that is so, the values, up to the first that is missing: how many. */
static inline int
take_found(KsDecoder *d, Datum *values, bool *isnull)
{
	KsTarget   *target = d->target;
	int			i;

	for (i = 0; i < target->ncols && likely(d->found[i]); i++)
	{
		values[i] = d->found_values[i];
		isnull[i] = d->found_isnull[i];
		target->cols[i].filled = true;
	}
	return i;
}

/* The same of a plain object's fields. */
static inline int
take_fields(KsDecoder *d, Datum *values, bool *isnull)
{
	KsTarget   *target = d->target;
	int			i;

	for (i = 0; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];
		const KsJsonToken *field = &d->tokens[col->field];

		if (unlikely(field->p == NULL || col->npath > 0))
			break;
		d->column = col->name;
		d->cv.unit = col->unit;
		values[i] = ks_convert_json(&d->cv, &col->type, field, &isnull[i]);
		col->filled = true;
	}
	return i;
}

/* Of a row that its format has filled. */
static KsRowOp
take_row(KsDecoder *d)
{
	for (int i = 0; i < d->target->ncols && unlikely(!d->all_filled); i++)
		d->target->cols[i].filled = true;
	d->all_filled = true;
	d->has_value = true;
	return KS_ROW_WRITE;
}

static KsRowOp
decode(KsDecoder *d, const KsRecord *rec, const KsPartition *part,
	   Datum *values, bool *isnull)
{
	KsTarget   *target = d->target;
	const char *s = rec->value;
	int			len = rec->valuelen;
	char	   *given = target->given ? VARDATA(d->given) : NULL;
	bool		plain = d->all_found && !d->for_filter && !d->in_attempt;
	int			next = 0;
	bool		patch;

	d->record = rec;
	d->serial++;
	d->column = NULL;
	d->nlater = 0;
	d->has_value = false;
	d->key.p = NULL;
	d->marked = NULL;
	d->found = NULL;
	d->row_values = plain ? values : NULL;
	d->row_isnull = isnull;
	d->row_is_full = false;
	d->unmatched = NULL;
	d->unreadable = NULL;
	d->schema_id = -1;
	d->evaluating = false;
	if (record_bytes(rec) > d->settings.max_record_bytes)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("record is too large"),
				 errdetail("It has " INT64_FORMAT " bytes, the sink takes at most %d.",
						   record_bytes(rec), d->settings.max_record_bytes),
				 errhint("Raise the sink's setting max_record_bytes.")));
	/* (those of types that a filter leaves out may be by other schemas than the sink's) */
	if (unlikely(d->settings.validate) && d->settings.key_format == KS_FORMAT_JSON_SCHEMA && rec->keylen >= 0 &&
		!d->for_filter && !d->in_attempt)
		ks_json_schema_check_key(d);
	if (len < 0)
	{
		/* it follows a delete that has been written already */
		if (d->settings.envelope == KS_DEBEZIUM)
			return KS_ROW_FILTERED;
		for (int i = 0; d->envelope && i < target->nfields; i++)
			d->tokens[i].p = NULL;
		return ks_decode_tombstone(d, rec, part, values, isnull);
	}

	if (unlikely(d->settings.format == KS_FORMAT_JSON_SCHEMA))
		ks_json_schema_value(d, &s, &len);
	if (unlikely(d->ops != NULL))
	{
		if (!d->ops->binary)
			ks_json_to_server(d, &s, &len);
		switch (d->ops->open(d, rec, s, len))
		{
			case KS_ROW_FILTERED:
				return KS_ROW_FILTERED;
			case KS_ROW_DELETE:
				if (unlikely(d->for_filter))
				{
					memset(isnull, true, target->nvalues * sizeof(bool));
					return KS_ROW_DELETE;
				}
				return ks_decode_tombstone(d, rec, part, values, isnull);
			case KS_ROW_TRUNCATE:
				return d->for_filter ? KS_ROW_TRUNCATE : decode_truncation(d);
			default:
				d->unavailable = false;
		}
	}
	else if (target->nfields > 0 || d->wants_others)
	{
		ks_json_to_server(d, &s, &len);
		ks_scan_fields(d, s, len);
	}
	d->missing = d->kept = false;
	if (d->row_is_full)
		return take_row(d);
	if (plain && d->found)
		next = take_found(d, values, isnull);
	else if (plain && d->ops == NULL)
		next = take_fields(d, values, isnull);
	for (int i = next; i < target->ncols; i++)
	{
		KsColumn   *col = &target->cols[i];

		if (col->unused || unlikely(d->for_filter && !col->in_filter))
		{
			isnull[i] = true;
			continue;
		}
		d->column = col->name;
		d->kept = false;
		if (unlikely(col->in_attempt != d->in_attempt))
		{
			isnull[i] = true;
			if (d->in_attempt)
				continue;
			look_for_value(d, col, i, rec, part);
		}
		else
			values[i] = decode_value(d, col, i, rec, part, &isnull[i]);
		if (given)
			given[i] = !d->missing;
		col->filled |= !d->missing;
		if (unlikely(col->type.check_later) && col->in_attempt == d->in_attempt &&
			d->unreadable == NULL && needs_check(d, col))
			ks_decode_later(d, col, KS_LATER_CHECK);
	}
	d->column = NULL;
	d->has_value = true;
	patch = d->unavailable && target->patch_sql;
	if (given)
		tell_given(d, patch, values, isnull);
	return patch ? KS_ROW_PATCH : KS_ROW_WRITE;
}

KsRowOp
ks_decode(KsDecoder *d, const KsRecord *rec, const KsPartition *part, Datum *values, bool *isnull)
{
	d->in_attempt = false;
	return decode(d, rec, part, values, isnull);
}

void
ks_decode_values(KsDecoder *d, const KsRecord *rec, const KsPartition *part, Datum *values, bool *isnull)
{
	d->in_attempt = true;
	(void) decode(d, rec, part, values, isnull);
}

void
ks_decode_refuse_row(KsDecoder *d, const bool *isnull)
{
	const KsTarget *target = d->target;

	if (unlikely(d->unreadable != NULL))
		ks_error_rethrow(d->unreadable);
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
