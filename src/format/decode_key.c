/*
 * decode_key.c
 *	  Deletes: rows that only their key tells, and where the key is.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"

#include "base/compat.h"
#include "format/decode_format.h"

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
			if (!ks_format_has_names(d->settings.key_format))
				(void) ks_decode_key_document(d, rec, &tok);
			if (ks_find_in_key(d, col, &tok))
				return d->envelope ? ks_envelope_key_path(d, col, &tok, isnull) :
					ks_convert_json(&d->cv, &col->type, &tok, isnull);
			key_does_not_tell(col);
		}
		return ks_decode_column(d, col, rec, part, isnull);
	}
	*isnull = false;
	if (d->ops && d->ops->key && rec->valuelen >= 0)
	{
		Datum		value;

		if (d->ops->key(d, col, &value, isnull))
			return value;
	}
	if (d->envelope)
	{
		Datum		value;

		if (ks_envelope_key_column(d, col, d->key_schema, key, &value, isnull))
			return value;
		if (ks_format_has_names(d->settings.key_format))
			key_does_not_tell(col);
	}
	if (d->settings.key_format == KS_FORMAT_RAW)
	{
		Datum		value;

		if (d->target->nkeys > 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("a raw key cannot name a row by %d columns", d->target->nkeys)));
		value = ks_decode_bytes(d, ks_type_base(&col->type), rec->key, rec->keylen, false, isnull);
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
		ks_to_server(d, &s, &len);
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
KsRowOp
ks_decode_tombstone(KsDecoder *d, const KsRecord *rec, const KsPartition *part,
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
	if (ks_format_has_names(d->settings.key_format))
		(void) ks_decode_key_document(d, rec, &key);
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
