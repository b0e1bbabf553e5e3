/*
 * decode_csv.c
 *	  Values and keys as one line of CSV, read as COPY reads it.
 *
 * A field is everything up to the delimiter; quotes protect delimiters and
 * line breaks in it, a quote in quotes is written twice.  An unquoted field
 * that is csv_null is NULL.  A line break at the end belongs to no field.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/decode_format.h"

struct KsCsv
{
	int			nfields;
	int			max;
	KsJsonToken *fields;
	StringInfoData text;		/* what was quoted */
};

struct KsCsv *
ks_csv_create(void)
{
	struct KsCsv *csv = palloc0(sizeof(struct KsCsv));

	csv->max = 16;
	csv->fields = palloc(csv->max * sizeof(KsJsonToken));
	initStringInfo(&csv->text);
	return csv;
}

KS_NORETURN static void bad_csv(const char *detail, int field);

static void
bad_csv(const char *detail, int field)
{
	ereport(ERROR,
			(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
			 errmsg("invalid CSV"),
			 errdetail("Field %d: %s", field, detail)));
}

/*
 * Fields as slices of csv->text, which is large enough at once.  All are
 * counted and checked, but only so many are kept.
 */
static void
split(const KsFormatSettings *set, struct KsCsv *csv, const char *s, int len, int keep)
{
	const char *end = s + len;
	int			nulllen = strlen(set->csv_null);

	resetStringInfo(&csv->text);
	enlargeStringInfo(&csv->text, len + 1);
	csv->nfields = 0;
	if (keep >= csv->max)
	{
		csv->max = keep + 1;	/* the last for those that are not kept */
		csv->fields = repalloc(csv->fields, csv->max * sizeof(KsJsonToken));
	}
	if (end > s && end[-1] == '\n')
		end--;
	if (end > s && end[-1] == '\r')
		end--;
	for (;;)
	{
		KsJsonToken *f = &csv->fields[Min(csv->nfields, keep)];
		const char *start = s;
		int			from = csv->text.len;
		bool		quoted = false;

		CHECK_FOR_INTERRUPTS();
		csv->nfields++;
		while (s < end && *s != set->csv_delimiter)
		{
			if (set->csv_quote == '\0' || *s != set->csv_quote)
			{
				if (*s == '\n' || *s == '\r')
					bad_csv("A line break is not in quotes.", csv->nfields);
				csv->text.data[csv->text.len++] = *s++;
				continue;
			}
			quoted = true;
			for (s++;; s++)
			{
				if (s >= end)
					bad_csv("A quoted field does not end.", csv->nfields);
				if (*s == set->csv_quote && (++s >= end || *s != set->csv_quote))
					break;
				csv->text.data[csv->text.len++] = *s;
			}
		}
		f->type = KS_JSON_STRING;
		f->escaped = false;
		f->p = csv->text.data + from;
		f->len = csv->text.len - from;
		if (!quoted && s - start == nulllen && memcmp(start, set->csv_null, nulllen) == 0)
			f->type = KS_JSON_NULL;
		if (s >= end)
			break;
		s++;
	}
}

static Datum
convert(KsDecoder *d, KsColumn *col, const KsJsonToken *f, bool *isnull)
{
	const KsType *base = &col->type;

	while (base->kind == KS_TYPE_DOMAIN)
		base = base->elem;
	*isnull = f->type == KS_JSON_NULL;
	if (*isnull || base->kind != KS_TYPE_JSON)
		return ks_convert_json(&d->cv, &col->type, f, isnull);
	return ks_convert_text(&d->cv, &col->type, f->p, f->len);
}

static KsRowOp
open_csv(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	const KsTarget *target = d->target;

	split(&d->settings, d->csv, s, len, target->npositions);
	if (d->csv->nfields < target->npositions || (d->settings.strict && d->csv->nfields > target->npositions))
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("record has %d fields instead of %d", d->csv->nfields, target->npositions)));
	return KS_ROW_WRITE;
}

static Datum
csv_field(KsDecoder *d, KsColumn *col, bool *isnull)
{
	return convert(d, col, &d->csv->fields[col->position], isnull);
}

Datum
ks_csv_key(KsDecoder *d, KsColumn *col, const char *s, int len, bool *isnull)
{
	split(&d->settings, d->key_csv, s, len, d->target->nkeys);
	if (d->key_csv->nfields != d->target->nkeys)
		ereport(ERROR,
				(errcode(ERRCODE_BAD_COPY_FILE_FORMAT),
				 errmsg("record key has %d fields instead of %d", d->key_csv->nfields,
						d->target->nkeys),
				 errdetail("A CSV key has a field for each key column, in the order of the index.")));
	return convert(d, col, &d->key_csv->fields[col->keyno], isnull);
}

const KsFormatOps ks_csv_ops = {.open = open_csv, .field = csv_field};
