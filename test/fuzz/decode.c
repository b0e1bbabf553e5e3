/*
 * decode.c
 *	  Fuzzes the decoder of JSON records: after a byte of settings, lines are
 *	  records, a tab ends the key.
 *
 * A decoder guesses a record's members from the record before it: that a fresh
 * one says the same (records.c) is what counts here.
 */
#include "records.h"

#include "catalog/pg_type.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

#define NCOLS	13
#define VALUE	8
#define REST	9

static KsPathStep path[] = {{"x", 1, 0}, {NULL, 0, 1}};
static KsPathStep index_path[] = {{NULL, 0, 0}, {NULL, 0, 2}, {"y", 1, 0}};
static KsPathStep key_path[] = {{"k", 1, 0}};
static KsField fields[] = {FUZZ_FIELD("id"), FUZZ_FIELD("a"), FUZZ_FIELD("name"), FUZZ_FIELD("at"),
FUZZ_FIELD("deep"), FUZZ_FIELD("a longer name than eight")};
static int	keycols[] = {0};
static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};

static KsColumn cols[NCOLS] = {
	FUZZ_COLUMN("id", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 0),
	FUZZ_COLUMN("a", KS_TYPE_NUMERIC, NUMERICOID, .source = KS_FROM_VALUE_FIELD, .field = 1),
	FUZZ_COLUMN("name", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 2),
	FUZZ_COLUMN("at", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, .source = KS_FROM_VALUE_FIELD, .field = 3),
	FUZZ_COLUMN("deep", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 4, .npath = 2, .path = path),
	FUZZ_COLUMN("long", KS_TYPE_ARRAY, INT4ARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 5),
	FUZZ_COLUMN("k", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_KEY_FIELD, .npath = 1, .path = key_path),
	FUZZ_COLUMN("key", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_KEY),
	FUZZ_COLUMN("value", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("rest", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_REST),
	FUZZ_COLUMN("off", KS_TYPE_INT8, INT8OID, .source = KS_FROM_OFFSET),
	FUZZ_COLUMN("ts", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, .source = KS_FROM_TIMESTAMP),
	FUZZ_COLUMN("element", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 4, .npath = 3, .path = index_path)
};

static KsTarget target = {
	.ncols = NCOLS, .cols = cols, .nfields = lengthof(fields), .fields = fields,
	.nkeys = 1, .keycols = keycols, .deletes = true
};

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static const KsFormat key_formats[] = {KS_FORMAT_JSON, KS_FORMAT_RAW, KS_FORMAT_CSV, KS_FORMAT_NONE};
	KsFormatSettings		settings = {.max_record_bytes = 1024 * 1024, .csv_delimiter = ',', .csv_quote = '"', .csv_null = ""};
	FuzzRecords f = {&settings, &target, '\n', '\t', 100, NULL};

	if (size == 0 || size > 65536)
		return 0;
	settings.key_format = key_formats[data[0] & 3];
	settings.strict = (data[0] & 4) != 0;
	settings.strip_nul = (data[0] & 8) != 0;
	settings.insert_mode = (data[0] & 16) ? KS_UPDATE : KS_UPSERT;
	settings.delete_enabled = (data[0] & 32) == 0;
	settings.tombstone_ignore = (data[0] & 64) != 0;
	settings.refuse_nonfinite = (data[0] & 128) != 0;
	/* without either, a record must have a field that is wanted */
	target.has_rest = !settings.strict && !settings.refuse_nonfinite;
	cols[REST].unused = !target.has_rest;
	cols[VALUE].unused = settings.refuse_nonfinite;
	cols[REST].type.input.fn_oid = FUZZ_JSON_INPUT;
	cols[NCOLS - 1].type.input.fn_oid = FUZZ_JSON_INPUT;
	cols[0].keyno = 0;
	cols[5].type.elem = &int_type;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
