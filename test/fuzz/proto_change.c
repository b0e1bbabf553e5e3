/*
 * proto_change.c
 *	  Fuzzes Debezium's changes in Protobuf: after a byte of settings, 0x1e ends a record
 *	  and 0x1f its key.
 *
 * The row has all that Debezium writes in ways of its own.
 */
#include "records.h"

#include "catalog/pg_type.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static const char *const schema =
"syntax = \"proto3\"; package p;"
"import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/wrappers.proto\"; import \"google/type/date.proto\";"
"message Envelope {"
"  Value before = 1; Value after = 2; Source source = 3; string op = 5;"
"  message Source { int64 lsn = 1; }"
"  message Value {"
"    int64 a = 1; optional string b = 2; string c = 3; bytes d = 4; VariableScaleDecimal e = 5; Point f = 6;"
"    google.protobuf.Timestamp g = 7; int32 h = 8; google.protobuf.StringValue i = 9; repeated string j = 10; bytes k = 11;"
"    map<string, string> l = 12; repeated int32 m = 13; oneof n { bytes o = 14; string p = 15; }"
"    message VariableScaleDecimal { int32 scale = 1; bytes value = 2; }"
"    message Point { double x = 1; double y = 2; bytes wkb = 3; }"
"  }"
"}"
"message other { string op = 1; }";

static KsType text_type = {.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .typlen = -1, .is_string = true, .max_len = INT_MAX};
static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1, .typlen = 4, .typbyval = true};
static int	keycols[] = {0};

static KsField fields[] = {FUZZ_FIELD("a"), FUZZ_FIELD("b"), FUZZ_FIELD("c"), FUZZ_FIELD("d"), FUZZ_FIELD("e"), FUZZ_FIELD("f"),
	FUZZ_FIELD("g"), FUZZ_FIELD("h"), FUZZ_FIELD("i"), FUZZ_FIELD("j"), FUZZ_FIELD("k"), FUZZ_FIELD("l"), FUZZ_FIELD("m"),
	FUZZ_FIELD("o"), FUZZ_FIELD("p")};

#define FROM_FIELD(n)	.source = KS_FROM_VALUE_FIELD, .field = n

static KsColumn cols[] = {
	FUZZ_COLUMN("a", KS_TYPE_INT8, INT8OID, FROM_FIELD(0)),
	FUZZ_COLUMN("b", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(1)),
	FUZZ_COLUMN("c", KS_TYPE_JSON, JSONBOID, FROM_FIELD(2)),
	FUZZ_COLUMN("d", KS_TYPE_GENERIC, BITOID, FROM_FIELD(3)),
	FUZZ_COLUMN("e", KS_TYPE_NUMERIC, NUMERICOID, FROM_FIELD(4)),
	FUZZ_COLUMN("f", KS_TYPE_GENERIC, POINTOID, FROM_FIELD(5)),
	FUZZ_COLUMN("g", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, FROM_FIELD(6)),
	FUZZ_COLUMN("h", KS_TYPE_GENERIC, DATEOID, FROM_FIELD(7)),
	FUZZ_COLUMN("i", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(8)),
	FUZZ_COLUMN("j", KS_TYPE_ARRAY, TEXTARRAYOID, FROM_FIELD(9)),
	FUZZ_COLUMN("k", KS_TYPE_GENERIC, BYTEAOID, FROM_FIELD(10)),
	FUZZ_COLUMN("l", KS_TYPE_JSON, JSONBOID, FROM_FIELD(11)),
	FUZZ_COLUMN("m", KS_TYPE_ARRAY, INT4ARRAYOID, FROM_FIELD(12)),
	FUZZ_COLUMN("o", KS_TYPE_GENERIC, BYTEAOID, FROM_FIELD(13)),
	FUZZ_COLUMN("p", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(14)),
	FUZZ_COLUMN("whole", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("rest", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_REST)
};

static KsTarget target = {
	.ncols = lengthof(cols), .cols = cols, .nfields = lengthof(fields), .fields = fields,
	.format = KS_FORMAT_PROTOBUF, .envelope = KS_DEBEZIUM, .nkeys = 1, .keycols = keycols, .deletes = true, .has_rest = true
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
	KsFormatSettings settings = {.format = KS_FORMAT_PROTOBUF, .envelope = KS_DEBEZIUM, .max_record_bytes = 1024 * 1024,
	.delete_enabled = true, .value_schema = schema};
	FuzzRecords f = {&settings, &target, '\x1e', '\x1f', 400, check};

	if (size == 0 || size > 65536)
		return 0;
	settings.framing = data[0] & 1 ? KS_FRAMING_CONFLUENT : KS_FRAMING_NONE;
	settings.message_type = settings.framing == KS_FRAMING_NONE ? "p.Envelope" : NULL;
	settings.insert_mode = data[0] & 2 ? KS_UPSERT : KS_INSERT;
	settings.key_format = data[0] & 4 ? KS_FORMAT_PROTOBUF : KS_FORMAT_NONE;
	settings.key_schema = "syntax = \"proto3\"; message k { int64 a = 1; }";
	settings.strip_nul = data[0] & 16;
	cols[9].type.elem = &text_type;
	cols[12].type.elem = &int_type;
	for (int i = 0; i < (int) lengthof(cols); i++)
	{
		cols[i].type.is_string = cols[i].type.kind == KS_TYPE_TEXT;
		cols[i].type.input.fn_oid = cols[i].type.kind == KS_TYPE_JSON ? FUZZ_JSON_INPUT : 0;
		cols[i].type.typbyval = cols[i].type.kind == KS_TYPE_INT8 || cols[i].type.kind == KS_TYPE_TIMESTAMPTZ;
		cols[i].type.typlen = cols[i].type.typbyval ? sizeof(int64) : -1;
	}
	cols[0].keyno = 0;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
