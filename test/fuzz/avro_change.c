/*
 * avro_change.c
 *	  Fuzzes Debezium's changes in Avro: after a byte of settings, 0x1e ends a record and
 *	  0x1f its key.
 *
 * The row has all that Debezium writes in ways of its own.
 */
#include "records.h"

#include "catalog/pg_type.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

#define CONNECT(type, name, more) \
	"{\"type\": \"" type "\", \"connect.name\": \"io.debezium." name "\"" more "}"

static const char *const schema =
"[\"null\", {\"type\": \"record\", \"name\": \"Envelope\", \"fields\": ["
"{\"name\": \"before\", \"type\": [\"null\", {\"type\": \"record\", \"name\": \"Value\", \"fields\": ["
"{\"name\": \"a\", \"type\": \"long\"},"
"{\"name\": \"b\", \"type\": [\"null\", \"string\"]},"
"{\"name\": \"c\", \"type\": " CONNECT("string", "data.Json", "") "},"
"{\"name\": \"d\", \"type\": " CONNECT("bytes", "data.Bits", ", \"connect.parameters\": {\"length\": \"12\"}") "},"
"{\"name\": \"e\", \"type\": " CONNECT("record", "data.VariableScaleDecimal", ", \"name\": \"v\", \"fields\": ["
	"{\"name\": \"scale\", \"type\": \"int\"}, {\"name\": \"value\", \"type\": \"bytes\"}]") "},"
"{\"name\": \"f\", \"type\": " CONNECT("record", "data.geometry.Point", ", \"name\": \"p\", \"fields\": ["
	"{\"name\": \"x\", \"type\": \"double\"}, {\"name\": \"y\", \"type\": \"double\"}, {\"name\": \"wkb\", \"type\": [\"null\", \"bytes\"]}]") "},"
"{\"name\": \"g\", \"type\": " CONNECT("long", "time.MicroTimestamp", "") "},"
"{\"name\": \"h\", \"type\": " CONNECT("int", "time.Date", "") "},"
"{\"name\": \"i\", \"type\": " CONNECT("long", "time.MicroDuration", "") "},"
"{\"name\": \"j\", \"type\": [\"null\", {\"type\": \"array\", \"items\": [\"null\", \"string\"]}]},"
"{\"name\": \"k\", \"type\": \"bytes\"},"
"{\"name\": \"l\", \"type\": {\"type\": \"map\", \"values\": \"string\"}}]}]},"
"{\"name\": \"after\", \"type\": [\"null\", \"Value\"]},"
"{\"name\": \"source\", \"type\": {\"type\": \"record\", \"name\": \"s\", \"fields\": [{\"name\": \"lsn\", \"type\": [\"long\", \"null\"]}]}},"
"{\"name\": \"op\", \"type\": \"string\"}]}]";

static KsType text_type = {.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .typlen = -1, .is_string = true, .max_len = INT_MAX};
static int	keycols[] = {0};

static KsField fields[] = {FUZZ_FIELD("a"), FUZZ_FIELD("b"), FUZZ_FIELD("c"), FUZZ_FIELD("d"), FUZZ_FIELD("e"), FUZZ_FIELD("f"),
	FUZZ_FIELD("g"), FUZZ_FIELD("h"), FUZZ_FIELD("i"), FUZZ_FIELD("j"), FUZZ_FIELD("k"), FUZZ_FIELD("l")};

static KsColumn cols[] = {
	FUZZ_COLUMN("a", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 0),
	FUZZ_COLUMN("b", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 1),
	FUZZ_COLUMN("c", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 2),
	FUZZ_COLUMN("d", KS_TYPE_GENERIC, BITOID, .source = KS_FROM_VALUE_FIELD, .field = 3),
	FUZZ_COLUMN("e", KS_TYPE_NUMERIC, NUMERICOID, .source = KS_FROM_VALUE_FIELD, .field = 4),
	FUZZ_COLUMN("f", KS_TYPE_GENERIC, POINTOID, .source = KS_FROM_VALUE_FIELD, .field = 5),
	FUZZ_COLUMN("g", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 6),
	FUZZ_COLUMN("h", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 7),
	FUZZ_COLUMN("i", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 8),
	FUZZ_COLUMN("j", KS_TYPE_ARRAY, TEXTARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 9),
	FUZZ_COLUMN("k", KS_TYPE_GENERIC, BYTEAOID, .source = KS_FROM_VALUE_FIELD, .field = 10),
	FUZZ_COLUMN("l", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 11),
	FUZZ_COLUMN("whole", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE)
};

static KsTarget target = {
	.ncols = lengthof(cols), .cols = cols, .nfields = lengthof(fields), .fields = fields,
	.format = KS_FORMAT_AVRO, .envelope = KS_DEBEZIUM, .nkeys = 1, .keycols = keycols, .deletes = true
};

/* A row is there, or its key, or nothing is to be done. */
static void
check(const FuzzRecords *f, const KsRecord *rec, const FuzzOutcome *o)
{
	if (!o->ok || rec->valuelen < 0)
		return;
	FUZZ_CHECK(o->op == KS_ROW_WRITE || o->op == KS_ROW_DELETE || o->op == KS_ROW_FILTERED || o->op == KS_ROW_TRUNCATE);
	if (o->op == KS_ROW_WRITE || o->op == KS_ROW_DELETE)
		FUZZ_CHECK(!o->isnull[0]);
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	KsFormatSettings settings = {.format = KS_FORMAT_AVRO, .envelope = KS_DEBEZIUM, .max_record_bytes = 1024 * 1024,
	.delete_enabled = true, .value_schema = schema};
	FuzzRecords f = {&settings, &target, '\x1e', '\x1f', 400, check};

	if (size == 0 || size > 65536)
		return 0;
	settings.framing = data[0] & 1 ? KS_FRAMING_CONFLUENT : KS_FRAMING_NONE;
	settings.insert_mode = data[0] & 2 ? KS_UPSERT : KS_INSERT;
	settings.key_format = data[0] & 4 ? KS_FORMAT_AVRO : KS_FORMAT_NONE;
	settings.key_schema = "{\"type\": \"record\", \"name\": \"k\", \"fields\": [{\"name\": \"a\", \"type\": \"long\"}]}";
	settings.strip_nul = data[0] & 16;
	cols[9].type.elem = &text_type;
	for (int i = 0; i < (int) lengthof(cols); i++)
	{
		cols[i].type.is_string = cols[i].type.kind == KS_TYPE_TEXT;
		cols[i].type.input.fn_oid = cols[i].type.kind == KS_TYPE_JSON ? FUZZ_JSON_INPUT : 0;
		cols[i].type.typbyval = cols[i].type.kind == KS_TYPE_INT8;
		cols[i].type.typlen = cols[i].type.typbyval ? sizeof(int64) : -1;
	}
	cols[0].keyno = 0;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
