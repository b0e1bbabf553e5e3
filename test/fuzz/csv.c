/*
 * csv.c
 *	  Fuzzes the decoder of CSV: after a byte of settings, 0x1e ends a record
 *	  and 0x1f its key.
 *
 * A second, much simpler splitter must agree on what is CSV, and on the fields
 * that columns of type text get.
 */
#include "records.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

#define NCOLS	5

#define NPOSITIONS	4
static int	keycols[] = {0, 1};
static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};

static KsColumn cols[NCOLS] = {
	FUZZ_COLUMN("a", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_POSITION, .position = 0),
	FUZZ_COLUMN("b", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_POSITION, .position = 1),
	FUZZ_COLUMN("c", KS_TYPE_ARRAY, INT4ARRAYOID, .source = KS_FROM_POSITION, .position = 2),
	FUZZ_COLUMN("d", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_POSITION, .position = 3),
	FUZZ_COLUMN("value", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE)
};

static KsTarget target = {
	.ncols = NCOLS, .cols = cols, .npositions = NPOSITIONS, .format = KS_FORMAT_CSV,
	.nkeys = 2, .keycols = keycols, .deletes = true
};

/* --- CSV, once more --- */

typedef struct Field
{
	char	   *text;
	int			len;
	bool		isnull;
} Field;

/* The number of fields, -1 if it is no CSV; only the first of them are kept. */
static int
split(const KsFormatSettings *settings, const char *s, int len, Field *kept, int max)
{
	char	   *text = palloc(len + 1);
	int			n = 0,
				used = 0,
				begin = 0;
	bool		in_quotes = false,
				quoted = false;

	if (len > 0 && s[len - 1] == '\n')
		len--;
	if (len > 0 && s[len - 1] == '\r')
		len--;
	for (int i = 0; i <= len; i++)
	{
		if (i == len && in_quotes)
			return -1;
		else if (i == len || (!in_quotes && s[i] == settings->csv_delimiter))
		{
			if (n < max)
				kept[n] = (Field) {text, used, !quoted && i - begin == (int) strlen(settings->csv_null) &&
					strncmp(s + begin, settings->csv_null, i - begin) == 0};
			n++;
			text += used;
			used = 0;
			begin = i + 1;
			quoted = false;
		}
		else if (settings->csv_quote && s[i] == settings->csv_quote)
		{
			if (in_quotes && i + 1 < len && s[i + 1] == settings->csv_quote)
				text[used++] = s[i++];
			else
				in_quotes = !in_quotes;
			quoted = true;
		}
		else if (!in_quotes && (s[i] == '\n' || s[i] == '\r'))
			return -1;
		else
			text[used++] = s[i];
	}
	return n;
}

static void
check_text(const FuzzOutcome *o, int col, const Field *f)
{
	const text *t = (const text *) DatumGetPointer(o->values[col]);

	FUZZ_CHECK(o->isnull[col] == f->isnull);
	if (!f->isnull)
		FUZZ_CHECK((int) VARSIZE(t) - VARHDRSZ == f->len && memcmp(VARDATA(t), f->text, f->len) == 0);
}

static void
check(const FuzzRecords *f, const KsRecord *rec, const FuzzOutcome *o)
{
	bool		delete = rec->valuelen < 0;
	const char *s = delete ? rec->key : rec->value;
	int			len = delete ? rec->keylen : rec->valuelen;
	Field		kept[NPOSITIONS];
	bool		accept;
	int			n;

	if (delete && (f->settings->key_format != KS_FORMAT_CSV || len < 0))
		return;
	n = split(f->settings, s, len, kept, lengthof(kept));
	accept = pg_verify_mbstr(PG_UTF8, s, len, true) && n >= 0 &&
		(delete ? n == target.nkeys : n == target.npositions || (n > target.npositions && !f->settings->strict)) &&
		!kept[0].isnull && !kept[1].isnull;
	FUZZ_CHECK(o->ok == accept);
	for (int i = 0; i < 2 && accept; i++)
		check_text(o, i, &kept[i]);
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static char *const nulls[] = {"", "\\N", "NULL", "''"};
	KsFormatSettings		settings = {.format = KS_FORMAT_CSV, .max_record_bytes = 1024 * 1024, .delete_enabled = true};
	FuzzRecords f = {&settings, &target, '\x1e', '\x1f', 16, check};

	if (size == 0 || size > 65536)
		return 0;
	settings.csv_delimiter = ",\t;|"[data[0] & 3];
	settings.csv_quote = "\"\0'\\"[data[0] >> 2 & 3];
	settings.csv_null = nulls[data[0] >> 4 & 3];
	settings.strict = (data[0] & 64) != 0;
	settings.key_format = (data[0] & 128) ? KS_FORMAT_JSON : KS_FORMAT_CSV;
	for (int i = 0; i < 2; i++)
		cols[i].keyno = i;
	cols[2].type.elem = &int_type;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
