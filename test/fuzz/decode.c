/*
 * decode.c
 *	  Fuzzes the decoder of records: lines are records, a tab ends the key.
 *
 * A decoder guesses a record's members from the record before it.  So each is
 * decoded twice, by a decoder that has seen the ones before and by one that has
 * seen none: both must say the same.
 */
#include "stubs.h"

#include "catalog/pg_type.h"

#include "decode.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

#define NCOLS	12

static KsPathStep path[] = {{"x", 1, 0}, {NULL, 0, 1}};
static KsPathStep key_path[] = {{"k", 1, 0}};
static KsField fields[] = {{"id", 2}, {"a", 1}, {"name", 4}, {"at", 2}, {"deep", 4}, {"a longer name than eight", 24}};
static int	keycols[] = {0};
static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};

#define COLUMN(n, k, oid, ...)	{.name = n, .type = {.kind = k, .typid = oid, .typmod = -1}, .keyno = -1, __VA_ARGS__}

static KsColumn cols[NCOLS] = {
	COLUMN("id", KS_TYPE_INT8, INT8OID, .source = KS_FROM_VALUE_FIELD, .field = 0),
	COLUMN("a", KS_TYPE_NUMERIC, NUMERICOID, .source = KS_FROM_VALUE_FIELD, .field = 1),
	COLUMN("name", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 2),
	COLUMN("at", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, .source = KS_FROM_VALUE_FIELD, .field = 3),
	COLUMN("deep", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE_FIELD, .field = 4, .npath = 2, .path = path),
	COLUMN("long", KS_TYPE_ARRAY, INT4ARRAYOID, .source = KS_FROM_VALUE_FIELD, .field = 5),
	COLUMN("k", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_KEY_FIELD, .npath = 1, .path = key_path),
	COLUMN("key", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_KEY),
	COLUMN("value", KS_TYPE_TEXT, TEXTOID, .source = KS_FROM_VALUE),
	COLUMN("rest", KS_TYPE_JSON, JSONBOID, .source = KS_FROM_REST),
	COLUMN("off", KS_TYPE_INT8, INT8OID, .source = KS_FROM_OFFSET),
	COLUMN("ts", KS_TYPE_TIMESTAMPTZ, TIMESTAMPTZOID, .source = KS_FROM_TIMESTAMP)
};

static KsTarget target = {
	.ncols = NCOLS, .cols = cols, .nfields = lengthof(fields), .fields = fields, .has_rest = true,
	.nkeys = 1, .keycols = keycols, .deletes = true
};

typedef struct Outcome
{
	bool		ok;
	int			sqlstate;
	KsRowOp		op;
	bool		isnull[NCOLS];
	KsJsonToken tokens[lengthof(fields)];
} Outcome;

static Outcome
decode(KsDecoder *d, const KsRecord *rec)
{
	static const KsPartition part = {.topic = "t"};
	Outcome		o;
	Datum		values[NCOLS];

	memset(&o, 0, sizeof(o));
	o.ok = FUZZ_TRY(o.op = ks_decode(d, rec, &part, values, o.isnull));
	if (o.ok && rec->valuelen >= 0)
		for (int i = 0; i < (int) lengthof(fields); i++)
			if (d->tokens[i].p)
				o.tokens[i] = d->tokens[i];
	if (!o.ok)
	{
		memset(o.isnull, 0, sizeof(o.isnull));
		o.sqlstate = fuzz_sqlstate;
	}
	return o;
}

static bool
same(const Outcome *a, const Outcome *b)
{
	if (a->ok != b->ok || a->sqlstate != b->sqlstate || a->op != b->op ||
		memcmp(a->isnull, b->isnull, sizeof(a->isnull)) != 0)
		return false;
	for (int i = 0; i < (int) lengthof(fields); i++)
		if (a->tokens[i].p != b->tokens[i].p || a->tokens[i].len != b->tokens[i].len ||
			a->tokens[i].type != b->tokens[i].type || a->tokens[i].escaped != b->tokens[i].escaped)
			return false;
	return true;
}

static void
decode_line(const KsSink *sink, KsDecoder *d, const uint8 *line, size_t len)
{
	const uint8 *tab = memchr(line, '\t', len);
	size_t		keylen = tab ? (size_t) (tab - line) : 0;
	size_t		from = tab ? keylen + 1 : 0;
	KsRecord	rec = {.keylen = -1, .valuelen = -1, .off = 1, .ts_ms = 1};
	char	   *key = NULL;
	char	   *value = NULL;
	Outcome		first,
				again;

	if (tab)
		rec.key = key = fuzz_copy(line, rec.keylen = (int) keylen);
	if (len > from)
		rec.value = value = fuzz_copy(line + from, rec.valuelen = (int) (len - from));
	first = decode(d, &rec);
	again = decode(ks_decoder_create(sink, &target, NULL), &rec);
	FUZZ_CHECK(same(&first, &again));
	free(key);
	free(value);
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	KsSink		sink = {.key_format = KS_FORMAT_JSON, .delete_enabled = true, .max_record_bytes = 1024 * 1024};
	KsDecoder  *d;

	if (size > 65536)
		return 0;
	cols[0].keyno = 0;
	cols[5].type.elem = &int_type;
	d = ks_decoder_create(&sink, &target, NULL);
	while (size > 0)
	{
		const uint8 *end = memchr(data, '\n', size);
		size_t		len = end ? (size_t) (end - data) : size;

		decode_line(&sink, d, data, len);
		data += len + (end ? 1 : 0);
		size -= len + (end ? 1 : 0);
	}
	fuzz_reset();
	return 0;
}
