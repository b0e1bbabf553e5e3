/*
 * protobuf.c
 *	  Fuzzes Protobuf's values and keys by a schema that has all of it: after a byte of
 *	  settings, 0x1e ends a record and 0x1f its key; or descriptors of schemas.
 *
 * A second, much simpler reader must agree on what is a value of the schema.
 */
#include "records.h"

#include <string.h>

#include "catalog/pg_type.h"
#include "common/base64.h"

#include "format/proto_descriptor.h"
#include "format/proto_schema.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static const char *const schema =
"syntax = \"proto3\"; package p;"
"import \"google/protobuf/timestamp.proto\"; import \"google/protobuf/struct.proto\"; import \"google/protobuf/any.proto\";"
"import \"google/protobuf/wrappers.proto\"; import \"confluent/type/decimal.proto\";"
"message r {"
"  int64 a = 1; optional string b = 2; oneof c { double d = 3; bool e = 4; r both = 17; } repeated int32 l = 5;"
"  map<string, string> m = 6; enum kind { x = 0; y = 1; z = -1; } kind f = 7; bytes h = 8; r next = 9;"
"  google.protobuf.Timestamp t = 10; google.protobuf.Value s = 11; repeated r rs = 12; google.protobuf.Any any = 13;"
"  google.protobuf.Int64Value w = 14; confluent.type.Decimal n = 15; sint32 i = 16; repeated fixed32 fs = 18; map<int32, r> mr = 300;"
"  message inner { sfixed64 q = 1; }"
"}"
"message other { string b = 1; }";

static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};
static int	keycols[] = {0};
static KsPathStep to_x[] = {{"x", 1, 0}};
static KsPathStep to_first[] = {{NULL, 0, 1}};
static KsPathStep to_next[] = {{"next", 4, 0}, {"a", 1, 0}};
static KsPathStep to_item[] = {{"1", 1, 0}, {"next", 4, 0}, {"b", 1, 0}};
static KsPathStep to_json[] = {{"k", 1, 0}, {NULL, 0, 0}};

static KsField fields[] = {FUZZ_FIELD("a"), FUZZ_FIELD("b"), FUZZ_FIELD("d"), FUZZ_FIELD("l"), FUZZ_FIELD("m"),
	FUZZ_FIELD("f"), FUZZ_FIELD("h"), FUZZ_FIELD("next"), FUZZ_FIELD("t"), FUZZ_FIELD("s"), FUZZ_FIELD("any"),
	FUZZ_FIELD("w"), FUZZ_FIELD("n"), FUZZ_FIELD("mr"), FUZZ_FIELD("none")};

#define FROM_FIELD(n)	.source = KS_FROM_VALUE_FIELD, .field = n

static KsColumn cols[] = {
	FUZZ_COLUMN("a", KS_TYPE_INT8, INT8OID, FROM_FIELD(0)),
	FUZZ_COLUMN("b", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(1)),
	FUZZ_COLUMN("d", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(2)),
	FUZZ_COLUMN("f", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(5)),
	FUZZ_COLUMN("h", KS_TYPE_GENERIC, BYTEAOID, FROM_FIELD(6)),
	FUZZ_COLUMN("t", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, FROM_FIELD(8)),
	FUZZ_COLUMN("n", KS_TYPE_NUMERIC, NUMERICOID, FROM_FIELD(12)),
	FUZZ_COLUMN("l", KS_TYPE_ARRAY, INT4ARRAYOID, FROM_FIELD(3)),
	FUZZ_COLUMN("m", KS_TYPE_JSON, JSONBOID, FROM_FIELD(4)),
	FUZZ_COLUMN("next", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(7)),
	FUZZ_COLUMN("s", KS_TYPE_JSON, JSONBOID, FROM_FIELD(9)),
	FUZZ_COLUMN("any", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(10)),
	FUZZ_COLUMN("w", KS_TYPE_INT8, INT8OID, FROM_FIELD(11)),
	FUZZ_COLUMN("x", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(4), .path = to_x, .npath = 1),
	FUZZ_COLUMN("first", KS_TYPE_INT4, INT4OID, FROM_FIELD(3), .path = to_first, .npath = 1),
	FUZZ_COLUMN("second", KS_TYPE_INT8, INT8OID, FROM_FIELD(7), .path = to_next, .npath = 2),
	FUZZ_COLUMN("item", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(13), .path = to_item, .npath = 3),
	FUZZ_COLUMN("json", KS_TYPE_TEXT, TEXTOID, FROM_FIELD(9), .path = to_json, .npath = 2),
	FUZZ_COLUMN("none", KS_TYPE_INT8, INT8OID, FROM_FIELD(14)),
	FUZZ_COLUMN("whole", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("raw", KS_TYPE_GENERIC, BYTEAOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("rest", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_REST),
	FUZZ_COLUMN("type", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_SCHEMA)
};

/* The first so many have their values as soon as these are met. */
#define NFOUND	7

static KsTarget target = {
	.ncols = lengthof(cols), .cols = cols, .nfields = lengthof(fields), .fields = fields,
	.format = KS_FORMAT_PROTOBUF, .nkeys = 1, .keycols = keycols, .deletes = true, .has_rest = true
};

static bool strip_nul;

/* --- Protobuf, once more --- */

typedef struct Input
{
	const uint8 *p;
	const uint8 *end;
	bool		bad;
} Input;

/* Fields of messages: the wire's type, with 's' for text and 'm' for another message. */
enum
{
	R, ENTRY, ENTRY_R, MOMENT, VALUE, STRUCT, STRUCT_ENTRY, LIST, ANY, WRAPPER, DECIMAL
};

static const struct
{
	int			message;
	int			number;
	char		type;
	int			inner;
	bool		packable;
}			known[] = {
	{R, 1, '0'}, {R, 2, 's'}, {R, 3, '1'}, {R, 4, '0'}, {R, 5, '0', 0, true}, {R, 6, 'm', ENTRY}, {R, 7, '0'}, {R, 8, '2'},
	{R, 9, 'm', R}, {R, 10, 'm', MOMENT}, {R, 11, 'm', VALUE}, {R, 12, 'm', R}, {R, 13, 'm', ANY}, {R, 14, 'm', WRAPPER},
	{R, 15, 'm', DECIMAL}, {R, 16, '0'}, {R, 17, 'm', R}, {R, 18, '5', 0, true}, {R, 300, 'm', ENTRY_R},
	{ENTRY, 1, 's'}, {ENTRY, 2, 's'}, {ENTRY_R, 1, '0'}, {ENTRY_R, 2, 'm', R}, {MOMENT, 1, '0'}, {MOMENT, 2, '0'},
	{VALUE, 1, '0'}, {VALUE, 2, '1'}, {VALUE, 3, 's'}, {VALUE, 4, '0'}, {VALUE, 5, 'm', STRUCT}, {VALUE, 6, 'm', LIST},
	{STRUCT, 1, 'm', STRUCT_ENTRY}, {STRUCT_ENTRY, 1, 's'}, {STRUCT_ENTRY, 2, 'm', VALUE}, {LIST, 1, 'm', VALUE},
	{ANY, 1, 's'}, {ANY, 2, '2'}, {WRAPPER, 1, '0'}, {DECIMAL, 1, '2'}, {DECIMAL, 2, '0'}, {DECIMAL, 3, '0'}
};

static uint64
number(Input *in)
{
	unsigned __int128 v = 0;

	for (int i = 0; i < 10 && in->p < in->end; i++)
	{
		v |= (unsigned __int128) (*in->p & 0x7f) << (7 * i);
		if ((*in->p++ & 0x80) == 0)
			return (uint64) v;
	}
	in->bad = true;
	return 0;
}

static const uint8 *
take(Input *in, uint64 n)
{
	const uint8 *p = in->p;

	if (in->bad || n > (uint64) (in->end - in->p))
	{
		in->bad = true;
		return in->end;
	}
	in->p += n;
	return p;
}

/* What is inside of what nobody knows: 0 at the end of a group of that number. */
static void
unknown(Input *in, uint64 tag)
{
	switch (tag & 7)
	{
		case 0:
			number(in);
			break;
		case 1:
			take(in, 8);
			break;
		case 2:
			take(in, number(in));
			break;
		case 3:
			for (;;)
			{
				uint64		inner = number(in);

				in->bad |= inner < 8 || inner > PG_UINT32_MAX;
				if (in->bad || (inner & 7) == 4)
				{
					in->bad |= inner >> 3 != tag >> 3;
					break;
				}
				unknown(in, inner);
			}
			break;
		case 5:
			take(in, 4);
			break;
		default:
			in->bad = true;
	}
}

static int
find(int message, uint64 n)
{
	for (int i = 0; i < (int) lengthof(known); i++)
		if (known[i].message == message && (uint64) known[i].number == n)
			return i;
	return -1;
}

static void message(Input *in, int which, bool deep, uint64 *first);

/* What is in a value of so many bytes. */
static void
inside(const uint8 *p, uint64 len, int i, Input *outside)
{
	Input		in = {p, p + len, false};

	if (known[i].type == 's')
		in.bad = !fuzz_is_text(p, len, strip_nul);
	else if (known[i].type == 'm')
		message(&in, known[i].inner, true, NULL);
	else
		while (known[i].packable && in.p < in.end && !in.bad)
			known[i].type == '0' ? (void) number(&in) : (void) take(&in, 4);
	outside->bad |= in.bad;
}

/* Are the bytes a message, and if 'deep' all that is in them? */
static void
message(Input *in, int which, bool deep, uint64 *first)
{
	while (in->p < in->end && !in->bad)
	{
		uint64		tag = number(in);
		int			i = find(which, tag >> 3);

		in->bad |= tag < 8 || tag > PG_UINT32_MAX;
		if (in->bad)
			return;
		if ((tag & 7) == 2 && i >= 0 && deep)
		{
			uint64		len = number(in);
			const uint8 *p = take(in, len);

			if (!in->bad)
				inside(p, len, i, in);
		}
		else if (first && tag == 8)
			*first = number(in);
		else
			unknown(in, tag);
	}
}

static void
check(const FuzzRecords *f, const KsRecord *rec, const FuzzOutcome *o)
{
	Input		in = {(const uint8 *) rec->value, NULL, false};
	uint64		first = 0;

	if (rec->valuelen < 0 || f->settings->framing != KS_FRAMING_NONE)
		return;
	in.end = in.p + rec->valuelen;
	/* what nobody reads, such as a text that another follows, may be anything */
	if (o->ok)
	{
		message(&in, R, false, &first);
		FUZZ_CHECK(!in.bad);
		FUZZ_CHECK(o->op != KS_ROW_WRITE || first == DatumGetUInt64(o->values[0]));
		return;
	}
	message(&in, R, true, NULL);
	/* what the schema allows, but not the server: depth, moments, digits, characters */
	if (!in.bad)
		FUZZ_CHECK(o->sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX || o->sqlstate == ERRCODE_INVALID_TEXT_REPRESENTATION ||
				   o->sqlstate == ERRCODE_UNTRANSLATABLE_CHARACTER || o->sqlstate == ERRCODE_DATETIME_VALUE_OUT_OF_RANGE ||
				   o->sqlstate == ERRCODE_INVALID_BINARY_REPRESENTATION);
}

/* A schema as a descriptor: refused with an error of the one who gives it, or texts. */
static void
descriptor(const uint8 *data, size_t size)
{
	int			room = pg_b64_enc_len((int) size) + 1;
	char	   *base64 = malloc(room);
	int			len = pg_b64_encode((const void *) data, (int) size, base64, room);
	KsProtoText *texts = NULL;
	int			n = 0;

	base64[len] = '\0';
	if (ks_proto_is_descriptor(base64))
	{
		if (!FUZZ_TRY(texts = ks_proto_descriptor_texts(base64, &n)))
		{
			texts = NULL;
			FUZZ_CHECK(fuzz_blames_record(fuzz_sqlstate) || fuzz_sqlstate == ERRCODE_FEATURE_NOT_SUPPORTED);
		}
		CurrentMemoryContext = fuzz_record_context;
	}
	FUZZ_CHECK(texts == NULL || n > 0);
	if (texts && !FUZZ_TRY(ks_proto_parse(texts, n)))
		FUZZ_CHECK(fuzz_blames_record(fuzz_sqlstate));
	CurrentMemoryContext = fuzz_record_context;
	fuzz_reset();
	free(base64);
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	KsFormatSettings settings = {.format = KS_FORMAT_PROTOBUF, .max_record_bytes = 1024 * 1024, .delete_enabled = true,
	.value_schema = schema};
	FuzzRecords f = {&settings, &target, '\x1e', '\x1f', 400, check};

	if (size == 0 || size > 65536)
		return 0;
	if (data[0] & 32)
	{
		descriptor(data + 1, size - 1);
		return 0;
	}
	settings.framing = data[0] & 1 ? KS_FRAMING_CONFLUENT : KS_FRAMING_NONE;
	settings.message_type = settings.framing == KS_FRAMING_NONE ? "p.r" : NULL;
	settings.key_format = data[0] & 4 ? KS_FORMAT_PROTOBUF : KS_FORMAT_NONE;
	settings.key_schema = "syntax = \"proto3\"; message k { int64 a = 1; string b = 2; k k = 3; repeated k ks = 4; }";
	settings.strip_nul = strip_nul = (data[0] & 16) != 0;
	int_type.typlen = sizeof(int32);
	target.ncols = data[0] & 64 ? NFOUND : (int) lengthof(cols);
	target.has_rest = (data[0] & 64) == 0;
	cols[NFOUND].type.elem = &int_type;
	for (int i = 0; i < (int) lengthof(cols); i++)
	{
		cols[i].type.is_string = cols[i].type.kind == KS_TYPE_TEXT;
		cols[i].type.input.fn_oid = cols[i].type.kind == KS_TYPE_JSON ? FUZZ_JSON_INPUT : 0;
	}
	cols[0].keyno = 0;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
