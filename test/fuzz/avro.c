/*
 * avro.c
 *	  Fuzzes Avro's values and keys by a schema that has all of it: after a byte of
 *	  settings, 0x1e ends a record and 0x1f its key.
 *
 * A second, much simpler reader must agree on what is a value of the schema.
 */
#include "records.h"

#include <string.h>

#include "catalog/pg_type.h"

#include "format/avro_schema.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static const char *const schema =
"{\"type\": \"record\", \"name\": \"r\", \"fields\": ["
"{\"name\": \"a\", \"type\": \"long\"},"
"{\"name\": \"b\", \"type\": [\"string\", \"null\"]},"
"{\"name\": \"c\", \"type\": [\"null\", \"double\", \"boolean\"]},"
"{\"name\": \"d\", \"type\": {\"type\": \"array\", \"items\": \"int\"}},"
"{\"name\": \"e\", \"type\": {\"type\": \"map\", \"values\": \"string\"}},"
"{\"name\": \"f\", \"type\": {\"type\": \"enum\", \"name\": \"e\", \"symbols\": [\"x\", \"y\", \"z\"]}},"
"{\"name\": \"g\", \"type\": [\"null\", {\"type\": \"bytes\", \"logicalType\": \"decimal\", \"precision\": 30, \"scale\": 2}]},"
"{\"name\": \"h\", \"type\": {\"type\": \"fixed\", \"name\": \"f\", \"size\": 2}},"
"{\"name\": \"i\", \"type\": {\"type\": \"int\", \"logicalType\": \"date\"}},"
"{\"name\": \"j\", \"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-micros\"}},"
"{\"name\": \"next\", \"type\": [\"null\", \"r\"]}]}";

static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};
static int	keycols[] = {0};
static KsPathStep to_x[] = {{"x", 1, 0}};
static KsPathStep to_first[] = {{NULL, 0, 1}};
static KsPathStep to_next[] = {{"next", 4, 0}, {"b", 1, 0}};

static KsField fields[] = {FUZZ_FIELD("a"), FUZZ_FIELD("b"), FUZZ_FIELD("c"), FUZZ_FIELD("d"), FUZZ_FIELD("e"),
	FUZZ_FIELD("f"), FUZZ_FIELD("g"), FUZZ_FIELD("h"), FUZZ_FIELD("i"), FUZZ_FIELD("j"), FUZZ_FIELD("next"), FUZZ_FIELD("none")};

static KsColumn cols[] = {
	FUZZ_COLUMN("a", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 0),
	FUZZ_COLUMN("b", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 1),
	FUZZ_COLUMN("c", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 2),
	FUZZ_COLUMN("d", KS_TYPE_ARRAY, INT4ARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 3),
	FUZZ_COLUMN("e", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 4),
	FUZZ_COLUMN("f", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 5),
	FUZZ_COLUMN("g", KS_TYPE_NUMERIC, NUMERICOID, .source = KS_FROM_VALUE_FIELD, .field = 6),
	FUZZ_COLUMN("h", KS_TYPE_GENERIC, BYTEAOID, .source = KS_FROM_VALUE_FIELD, .field = 7),
	FUZZ_COLUMN("i", KS_TYPE_INT4, INT4OID, .source = KS_FROM_VALUE_FIELD, .field = 8),
	FUZZ_COLUMN("j", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 9),
	FUZZ_COLUMN("x", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 4, .path = to_x, .npath = 1),
	FUZZ_COLUMN("first", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 3, .path = to_first, .npath = 1),
	FUZZ_COLUMN("second", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 10, .path = to_next, .npath = 2),
	FUZZ_COLUMN("none", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 11),
	FUZZ_COLUMN("next", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 10),
	FUZZ_COLUMN("whole", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE)
};

/* The first so many are of fields that every record has. */
#define NFOUND	10

static KsTarget target = {
	.ncols = lengthof(cols), .cols = cols, .nfields = lengthof(fields), .fields = fields,
	.format = KS_FORMAT_AVRO, .nkeys = 1, .keycols = keycols, .deletes = true
};

static bool strip_nul;

/* --- Avro, once more --- */

typedef struct Input
{
	const uint8 *p;
	const uint8 *end;
	bool		bad;
} Input;

static int64
number(Input *in)
{
	unsigned __int128 v = 0;

	for (int i = 0; i < 10 && in->p < in->end; i++)
	{
		v |= (unsigned __int128) (*in->p & 0x7f) << (7 * i);
		if ((*in->p++ & 0x80) == 0)
		{
			in->bad |= v > PG_UINT64_MAX;
			return (int64) (v % 2 ? -(__int128) (v / 2) - 1 : (__int128) (v / 2));
		}
	}
	in->bad = true;
	return 0;
}

static const uint8 *
take(Input *in, int64 n)
{
	const uint8 *p = in->p;

	if (in->bad || n < 0 || n > in->end - in->p)
	{
		in->bad = true;
		return NULL;
	}
	in->p += n;
	return p;
}

static void
string(Input *in)
{
	int64		n = number(in);
	const uint8 *p = take(in, n);

	in->bad |= p == NULL || !fuzz_is_text(p, (size_t) n, strip_nul);
}

static void
narrow(Input *in)
{
	int64		v = number(in);

	in->bad |= v > PG_INT32_MAX || v < PG_INT32_MIN;
}

static int64
choice(Input *in, int n)
{
	int64		v = number(in);

	in->bad |= v < 0 || v >= n;
	return v;
}

static void
blocks(Input *in, bool map)
{
	while (!in->bad)
	{
		int64		n = number(in);
		const uint8 *end = NULL;

		if (n == 0 || in->bad)
			return;
		if (n < 0)
		{
			int64		size = number(in);

			in->bad |= size < 0 || size > in->end - in->p || n == PG_INT64_MIN;
			n = in->bad ? 0 : -n;
			end = in->bad ? NULL : in->p + size;
		}
		for (; n > 0 && !in->bad; n--)
		{
			if (map)
			{
				string(in);
				string(in);
			}
			else
				narrow(in);
		}
		in->bad |= end && in->p != end;
	}
}

static void
record(Input *in)
{
	number(in);
	if (choice(in, 2) == 0)
		string(in);
	switch (choice(in, 3))
	{
		case 1:
			take(in, 8);
			break;
		case 2:
			{
				const uint8 *p = take(in, 1);

				in->bad |= p && *p > 1;
				break;
			}
	}
	blocks(in, false);
	blocks(in, true);
	choice(in, 3);
	if (choice(in, 2) == 1)
		take(in, number(in));
	take(in, 2);
	narrow(in);
	number(in);
	if (!in->bad && choice(in, 2) == 1 && !in->bad)
		record(in);
}

static void
check(const FuzzRecords *f, const KsRecord *rec, const FuzzOutcome *o)
{
	Input		in = {(const uint8 *) rec->value, NULL, false};

	if (rec->valuelen < 0 || f->settings->framing != KS_FRAMING_NONE)
		return;
	in.end = in.p + rec->valuelen;
	record(&in);
	if (o->ok)
		FUZZ_CHECK(!in.bad && in.p == in.end);
	else if (!in.bad && in.p == in.end)
		/* what the schema allows, but not the server: depth, dates, digits */
		FUZZ_CHECK(o->sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX || o->sqlstate == ERRCODE_INVALID_TEXT_REPRESENTATION ||
				   o->sqlstate == ERRCODE_UNTRANSLATABLE_CHARACTER || o->sqlstate == ERRCODE_INVALID_BINARY_REPRESENTATION);
	if (o->ok && o->op == KS_ROW_WRITE)
	{
		Input		first = {(const uint8 *) rec->value, in.end, false};

		FUZZ_CHECK(DatumGetInt64(o->values[0]) == number(&first));
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	KsFormatSettings settings = {.format = KS_FORMAT_AVRO, .max_record_bytes = 1024 * 1024, .delete_enabled = true,
	.value_schema = schema};
	FuzzRecords f = {&settings, &target, '\x1e', '\x1f', 400, check};

	if (size == 0 || size > 65536)
		return 0;
	settings.framing = (KsFraming) (data[0] % 3);
	settings.key_format = data[0] & 4 ? KS_FORMAT_AVRO : KS_FORMAT_NONE;
	settings.key_schema = data[0] & 8 ? "\"long\"" : schema;
	settings.strip_nul = strip_nul = (data[0] & 16) != 0;
	target.ncols = data[0] & 32 ? NFOUND : (int) lengthof(cols);
	int_type.typlen = sizeof(int32);
	cols[3].type.elem = &int_type;
	for (int i = 0; i < (int) lengthof(cols); i++)
	{
		cols[i].type.is_string = cols[i].type.kind == KS_TYPE_TEXT;
		cols[i].type.input.fn_oid = cols[i].type.kind == KS_TYPE_JSON ? FUZZ_JSON_INPUT : 0;
	}
	cols[0].keyno = 0;
	fuzz_records(&f, data + 1, size - 1);
	return 0;
}
