/*
 * raw.c
 *	  Fuzzes raw values and keys: after a byte of settings, 0x1e ends a record
 *	  and 0x1f its key.
 *
 * A text is the bytes, if they are UTF-8; a bytea is the bytes, whatever they
 * are.
 */
#include "records.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static int	keycols[] = {1};
static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};

static KsColumn cols[] = {
	FUZZ_COLUMN("value", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("key", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_KEY),
	FUZZ_COLUMN("bytes", KS_TYPE_GENERIC, BYTEAOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("headers", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_HEADERS),
	FUZZ_COLUMN("off", KS_TYPE_GENERIC, OIDOID, .source = KS_FROM_OFFSET),
	FUZZ_COLUMN("ts", KS_TYPE_INT8, INT8OID, .source = KS_FROM_TIMESTAMP)
};

static const KsType types[] = {
	{.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .max_len = INT_MAX, .is_string = true},
	{.kind = KS_TYPE_GENERIC, .typid = BYTEAOID, .typmod = -1},
	{.kind = KS_TYPE_JSON, .typid = JSONBOID, .typmod = -1, .input.fn_oid = FUZZ_JSON_INPUT},
	{.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1},
	{.kind = KS_TYPE_ARRAY, .typid = INT4ARRAYOID, .typmod = -1, .elem = &int_type},
	{.kind = KS_TYPE_DOMAIN, .typid = RECORDOID, .typmod = -1, .elem = &int_type},
	{.kind = KS_TYPE_NUMERIC, .typid = NUMERICOID, .typmod = -1},
	{.kind = KS_TYPE_GENERIC, .typid = UUIDOID, .typmod = -1}
};

static KsTarget target = {
	.ncols = lengthof(cols), .cols = cols, .format = KS_FORMAT_RAW,
	.nkeys = 1, .keycols = keycols, .deletes = true
};

static void
check_bytes(const KsColumn *col, Datum d, const char *s, int len)
{
	const text *t = (const text *) DatumGetPointer(d);

	if (col->type.kind == KS_TYPE_TEXT || col->type.typid == BYTEAOID)
		FUZZ_CHECK((int) VARSIZE(t) - VARHDRSZ == len && memcmp(VARDATA(t), s, len) == 0);
	if (col->type.typid != BYTEAOID)
		FUZZ_CHECK(pg_verify_mbstr(PG_UTF8, s, len, true));
}

static void
check(const FuzzRecords *f, const KsRecord *rec, const FuzzOutcome *o)
{
	if (!o->ok)
		return;
	/* a key is a JSON document for columns that take more than strings */
	if (f->settings->key_format == KS_FORMAT_RAW)
		check_bytes(&cols[1], o->values[1], rec->key, rec->keylen);
	if (o->op == KS_ROW_WRITE)
	{
		check_bytes(&cols[0], o->values[0], rec->value, rec->valuelen);
		check_bytes(&cols[2], o->values[2], rec->value, rec->valuelen);
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static const KsFormat key_formats[] = {KS_FORMAT_RAW, KS_FORMAT_JSON, KS_FORMAT_NONE, KS_FORMAT_CSV};
	KsFormatSettings		settings = {.format = KS_FORMAT_RAW, .max_record_bytes = 1024 * 1024, .delete_enabled = true,
	.csv_delimiter = ',', .csv_quote = '"', .csv_null = ""};
	FuzzRecords f = {&settings, &target, '\x1e', '\x1f', 100, check};

	if (size == 0 || size > 65536)
		return 0;
	cols[0].type = types[data[0] & 7];
	cols[1].type = types[data[0] >> 3 & 7];
	settings.key_format = key_formats[data[0] >> 6];
	cols[1].keyno = 0;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
