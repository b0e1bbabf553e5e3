/*
 * avro_schema.c
 *	  Fuzzes Avro's schemas: JSON text and, behind a zero byte, a value by it.
 *
 * A schema is refused with an error of the one who gives it, or it can be compiled;
 * then a value is read, or is a record's error.  What a table for it looks like can
 * always be said.
 */
#include "records.h"

#include "catalog/pg_type.h"
#include "utils/memutils.h"

#include "format/avro_schema.h"
#include "format/shape.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static KsField fields[] = {FUZZ_FIELD("a"), FUZZ_FIELD("b"), FUZZ_FIELD("c")};
static KsPathStep to_b[] = {{"b", 1, 0}};
static KsPathStep to_ba[] = {{"b", 1, 0}, {NULL, 0, 0}};
static KsType text_type = {.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .max_len = INT_MAX, .is_string = true};

static KsColumn cols[] = {
	FUZZ_COLUMN("whole", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("a", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 0),
	FUZZ_COLUMN("b", KS_TYPE_ARRAY, TEXTARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 1),
	FUZZ_COLUMN("c", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 2),
	FUZZ_COLUMN("ab", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 0, .path = to_b, .npath = 1),
	FUZZ_COLUMN("cba", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 2, .path = to_ba, .npath = 2),
	FUZZ_COLUMN("rest", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_REST)
};

static KsTarget target = {
	.ncols = lengthof(cols), .cols = cols, .nfields = lengthof(fields), .fields = fields, .format = KS_FORMAT_AVRO
};

/* Of a definition that is refused. */
static bool
blames_definition(int sqlstate)
{
	return sqlstate == ERRCODE_INVALID_PARAMETER_VALUE || sqlstate == ERRCODE_DATATYPE_MISMATCH ||
		sqlstate == ERRCODE_PROGRAM_LIMIT_EXCEEDED || sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX ||
		sqlstate == ERRCODE_INVALID_TEXT_REPRESENTATION || sqlstate == ERRCODE_UNTRANSLATABLE_CHARACTER;
}

/* With columns that want parts of it, or without. */
static void
decode(const char *schema, const char *value, int len, bool whole_only)
{
	KsFormatSettings settings = {.format = KS_FORMAT_AVRO, .key_format = KS_FORMAT_NONE,
	.max_record_bytes = 1024 * 1024, .strip_nul = true, .value_schema = schema};
	KsPartition part = {.topic = "t"};
	KsRecord	rec = {.keylen = -1, .valuelen = len, .value = value, .off = 1, .ts_ms = 1};
	Datum		values[lengthof(cols)];
	bool		isnull[lengthof(cols)];
	KsDecoder  *d;

	target.ncols = whole_only ? 1 : lengthof(cols);
	target.nfields = whole_only ? 0 : lengthof(fields);
	target.has_rest = !whole_only;
	if (!FUZZ_TRY(d = ks_decoder_create(&settings, &target, fuzz_record_context)))
		FUZZ_CHECK(blames_definition(fuzz_sqlstate));
	else if (!FUZZ_TRY(ks_decode(d, &rec, &part, values, isnull)))
		FUZZ_CHECK(fuzz_blames_record(fuzz_sqlstate));
	CurrentMemoryContext = fuzz_record_context;
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	const uint8 *end = memchr(data, '\0', size);
	size_t		len = end ? (size_t) (end - data) : size;
	char	   *text;
	char	   *value;
	uint64		prints[2] = {0, 0};

	if (size > 65536)
		return 0;
	text = fuzz_copy(data, len);
	value = fuzz_copy(end ? end + 1 : data, end ? size - len - 1 : 0);
	for (int i = 0; i < 2; i++)
	{
		KsAvroNode *node;

		if (FUZZ_TRY(node = ks_avro_parse(text, (int) len)))
		{
			prints[i] = ks_avro_fingerprint(node);
			fuzz_describe(&ks_avro_shaper, node);
		}
		else
			FUZZ_CHECK(blames_definition(fuzz_sqlstate));
	}
	FUZZ_CHECK(prints[0] == prints[1]);
	cols[1].type.is_string = true;
	cols[2].type.elem = &text_type;
	for (int i = 0; i < (int) lengthof(cols); i++)
		if (cols[i].type.kind == KS_TYPE_JSON)
			cols[i].type.input.fn_oid = FUZZ_JSON_INPUT;
	if (prints[0] != 0)
	{
		char	   *schema = pnstrdup(text, len);

		decode(schema, value, end ? (int) (size - len - 1) : 0, true);
		decode(schema, value, end ? (int) (size - len - 1) : 0, false);
	}
	fuzz_reset();
	free(text);
	free(value);
	return 0;
}
