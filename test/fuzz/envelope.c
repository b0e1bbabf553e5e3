/*
 * envelope.c
 *	  Records in an envelope, for the targets connect and debezium.
 *
 * More than one schema is kept from record to record: that a fresh decoder says
 * the same (records.c), and that no memory is used that was freed, is what
 * counts here.
 */
#include "envelope.h"

#include "access/transam.h"
#include "catalog/pg_type.h"

#define NCOLS	17

static KsPathStep path[] = {{"f", 1, 0}, {NULL, 0, 1}};
static KsPathStep key_path[] = {{"id", 2, 0}};
static KsField fields[] = {FUZZ_FIELD("id"), FUZZ_FIELD("n"), FUZZ_FIELD("s"), FUZZ_FIELD("b"),
	FUZZ_FIELD("d"), FUZZ_FIELD("t"), FUZZ_FIELD("j"), FUZZ_FIELD("l"), FUZZ_FIELD("v"), FUZZ_FIELD("p"),
FUZZ_FIELD("o"), FUZZ_FIELD("h"), FUZZ_FIELD("js"), FUZZ_FIELD("ds")};
static int	keycols[] = {1, 3};
static KsType text_type = {.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .is_string = true};

static KsType json_type = {.kind = KS_TYPE_JSON, .typid = JSONBOID, .typmod = -1,
.input.fn_oid = FUZZ_JSON_INPUT};
static KsType date_type = {.kind = KS_TYPE_DATETIME, .typid = DATEOID, .typmod = -1, .has_time = true};

static KsColumn cols[NCOLS] = {
	FUZZ_COLUMN("k", KS_TYPE_INT8, INT8OID, .source = KS_FROM_KEY_FIELD, .npath = 1, .path = key_path),
	FUZZ_COLUMN("id", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 0),
	FUZZ_COLUMN("n", KS_TYPE_NUMERIC, NUMERICOID, .source = KS_FROM_VALUE_FIELD, .field = 1),
	FUZZ_COLUMN("s", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 2),
	FUZZ_COLUMN("b", KS_TYPE_GENERIC, BYTEAOID, .source = KS_FROM_VALUE_FIELD, .field = 3),
	FUZZ_COLUMN("d", KS_TYPE_DATETIME, DATEOID, .source = KS_FROM_VALUE_FIELD, .field = 4),
	FUZZ_COLUMN("t", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, .source = KS_FROM_VALUE_FIELD, .field = 5),
	FUZZ_COLUMN("j", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_VALUE_FIELD, .field = 6),
	FUZZ_COLUMN("l", KS_TYPE_ARRAY, TEXTARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 7),
	FUZZ_COLUMN("v", KS_TYPE_GENERIC, BITOID, .source = KS_FROM_VALUE_FIELD, .field = 8),
	FUZZ_COLUMN("p", KS_TYPE_GENERIC, POINTOID, .source = KS_FROM_VALUE_FIELD, .field = 9),
	FUZZ_COLUMN("o", KS_TYPE_DATETIME, INTERVALOID, .unit = KS_UNIT_DAYS, .source = KS_FROM_VALUE_FIELD, .field = 10, .npath = 2, .path = path),
	FUZZ_COLUMN("h", KS_TYPE_GENERIC, FirstNormalObjectId, .source = KS_FROM_VALUE_FIELD, .field = 11),
	FUZZ_COLUMN("js", KS_TYPE_ARRAY, JSONBARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 12),
	FUZZ_COLUMN("ds", KS_TYPE_ARRAY, DATEARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 13),
	FUZZ_COLUMN("whole", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE),
	FUZZ_COLUMN("rest", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_REST)
};

static KsTarget target = {
	.ncols = NCOLS, .cols = cols, .nfields = lengthof(fields), .fields = fields,
	.nkeys = 1, .keycols = keycols, .deletes = true, .patch_sql = "there is one"
};

void
fuzz_envelope(KsEnvelope envelope, const uint8 *data, size_t size)
{
	KsFormatSettings		settings = {.envelope = envelope, .max_record_bytes = 1024 * 1024};
	FuzzRecords f = {&settings, &target, '\n', '\t', 200, NULL};

	if (size == 0 || size > 65536)
		return;
	settings.key_format = (data[0] & 1) ? KS_FORMAT_NONE : KS_FORMAT_JSON;
	settings.strict = (data[0] & 2) != 0;
	settings.strip_nul = (data[0] & 4) != 0;
	settings.insert_mode = (data[0] & 8) ? KS_INSERT : (data[0] & 16) ? KS_UPDATE : KS_UPSERT;
	settings.delete_enabled = (data[0] & 32) == 0;
	settings.tombstone_ignore = (data[0] & 64) != 0;
	target.nkeys = (data[0] & 128) ? 2 : 1;
	target.envelope = envelope;
	target.has_rest = !settings.strict;
	cols[NCOLS - 1].unused = !target.has_rest;
	cols[NCOLS - 1].type.input.fn_oid = FUZZ_JSON_INPUT;
	cols[8].type.elem = &text_type;
	cols[9].type.typmod = 9;
	cols[5].type.has_time = cols[6].type.has_time = cols[11].type.has_time = true;
	cols[13].type.elem = &json_type;
	cols[14].type.elem = &date_type;
	for (int i = 0; i < 2; i++)
		cols[keycols[i]].keyno = i < target.nkeys ? i : -1;
	fuzz_records(&f, data + 1, size - 1);
}
