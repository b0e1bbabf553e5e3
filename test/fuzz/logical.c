/*
 * logical.c
 *	  Fuzzes values of logical types: the first byte says which, in which
 *	  envelope and whether in a list; the second is its parameter, or without a
 *	  schema the column's type; the rest is a JSON value.
 *
 * What a column's input function gets must be what a second, independent
 * calculation says.
 */
#include "records.h"

#include <time.h>

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "format/envelope_schema.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static const KsSchema schemas[] = {
	{.kind = KS_BYTES}, {.kind = KS_BITS}, {.kind = KS_DECIMAL}, {.kind = KS_VARIABLE_DECIMAL},
	{.kind = KS_DAYS}, {.kind = KS_TIME, .unit = 1000}, {.kind = KS_TIME, .unit = 1000000},
	{.kind = KS_TIME, .unit = 1000000000}, {.kind = KS_TIMESTAMP, .unit = 1000},
	{.kind = KS_TIMESTAMP, .unit = 1000000}, {.kind = KS_TIMESTAMP, .unit = 1000000000},
	{.kind = KS_DURATION, .unit = 1000000}, {.kind = KS_JSON_TEXT}, {.kind = KS_POINT},
	{.kind = KS_PLAIN}, {.kind = KS_STRUCT}
};

/* Columns that read values without a schema in their own way. */
static KsType plain_types[] = {
	{.kind = KS_TYPE_DATETIME, .typid = DATEOID, .typmod = -1, .has_time = true},
	{.kind = KS_TYPE_GENERIC, .typid = BYTEAOID, .typmod = -1},
	{.kind = KS_TYPE_DATETIME, .typid = TIMESTAMPOID, .typmod = -1, .has_time = true},
	{.kind = KS_TYPE_TIMESTAMPTZ, .typid = TIMESTAMPTZOID, .typmod = -1, .has_time = true},
	{.kind = KS_TYPE_NUMERIC, .typid = NUMERICOID, .typmod = -1},
	{.kind = KS_TYPE_GENERIC, .typid = POINTOID, .typmod = -1},
	{.kind = KS_TYPE_GENERIC, .typid = BITOID, .typmod = 9},
	{.kind = KS_TYPE_GENERIC, .typid = VARBITOID, .typmod = -1},
	{.kind = KS_TYPE_GENERIC, .typid = FirstNormalObjectId, .typmod = -1},
	{.kind = KS_TYPE_JSON, .typid = JSONBOID, .typmod = -1, .input.fn_oid = FUZZ_JSON_INPUT},
	{.kind = KS_TYPE_FLOAT, .typid = FLOAT8OID, .typmod = -1},
	{.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .max_len = INT_MAX, .is_string = true},
	{.kind = KS_TYPE_INT8, .typid = INT8OID, .typmod = -1}
};

static KsType generic = {.kind = KS_TYPE_GENERIC, .typid = UUIDOID, .typmod = -1};

/* --- once more --- */

#define MAX_BYTES	15			/* as many fit a sum of 128 bits */

/* The number of bytes, -1 if there are more or it is not plain base64. */
static int
base64(const KsJsonToken *tok, uint8 *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	int			len = tok->len;
	int			n = 0;
	uint32		bits = 0;

	if (tok->type != KS_JSON_STRING || len % 4 != 0 || len > 20)
		return -1;
	while (len > 0 && tok->len - len < 2 && tok->p[len - 1] == '=')
		len--;
	for (int i = 0; i < len; i++)
	{
		const char *p = tok->p[i] ? strchr(digits, tok->p[i]) : NULL;

		if (p == NULL)
			return -1;
		bits = bits << 6 | (uint32) (p - digits);
		if (i % 4 != 0)
			out[n++] = (uint8) (bits >> (6 - 2 * (i % 4)));
	}
	return n <= MAX_BYTES ? n : -1;
}

/* Digits without zeros at either end, and the exponent of the last of them. */
static void
normalize(const char *s, char *digits, int64 *exponent)
{
	bool		point = false;
	int			n = 0;

	*exponent = 0;
	for (; *s && *s != 'E'; s++)
	{
		if (*s == '.')
			point = true;
		else if (*s == '-')
			digits[n++] = '-';
		else
		{
			FUZZ_CHECK(*s >= '0' && *s <= '9');
			if (point)
				(*exponent)--;
			if (*s != '0' || (n > 0 && digits[n - 1] != '-'))
				digits[n++] = *s;
		}
	}
	if (*s == 'E')
		*exponent += strtoll(s + 1, NULL, 10);
	for (; n > 0 && digits[n - 1] == '0'; n--)
		(*exponent)++;
	digits[n] = '\0';
}

static void
check_decimal(const KsJsonToken *tok, int64 scale, const char *got)
{
	uint8		bytes[MAX_BYTES + 3];
	int			n = base64(tok, bytes);
	__int128	v = n > 0 && bytes[0] >= 128 ? -1 : 0;
	char		plain[64];
	char	   *p = plain + sizeof(plain);
	char	   *digits = palloc(strlen(got) + 1);
	char		expected[64];
	int64		exponent,
				expected_exponent;
	const char *point = strchr(got, '.');
	bool		neg;

	if (n < 0)
		return;
	for (int i = 0; i < n; i++)
		v = v * 256 + bytes[i];
	neg = v < 0;
	if (neg)
		v = -v;
	for (*--p = '\0'; v > 0 || *p == '\0'; v /= 10)
		*--p = '0' + (int) (v % 10);
	if (neg)
		*--p = '-';
	normalize(p, expected, &expected_exponent);
	normalize(got, digits, &exponent);
	FUZZ_CHECK(strcmp(digits, expected) == 0);
	if (*digits)
		FUZZ_CHECK(exponent == expected_exponent - scale);
	/* the scale shows */
	if (scale >= 0 && strchr(got, 'E') == NULL)
		FUZZ_CHECK((point ? (int64) strlen(point + 1) : 0) == scale);
}

static void
print_day(int64 day, char *buf, const char **era)
{
	time_t		t = day * 86400;
	struct tm	tm;

	FUZZ_CHECK(gmtime_r(&t, &tm) != NULL);
	tm.tm_year += 1900;
	*era = tm.tm_year > 0 ? "" : " BC";
	sprintf(buf, "%04d-%02d-%02d", tm.tm_year > 0 ? tm.tm_year : 1 - tm.tm_year, tm.tm_mon + 1, tm.tm_mday);
}

static void
print_clock(int64 us, char *buf)
{
	long long	s = us / USECS_PER_SEC;

	sprintf(buf, "%02lld:%02lld:%02lld.%06lld", s / 3600, s / 60 % 60, s % 60, (long long) us % USECS_PER_SEC);
}

static int64
floor_divide(__int128 v, int64 by)
{
	return (int64) (v >= 0 ? v / by : -((-v + by - 1) / by));
}

static void
check_time(const KsSchema *schema, const KsJsonToken *tok, const char *got)
{
	int64		v = strtoll(pnstrdup(tok->p, tok->len), NULL, 10);
	int64		us;
	int64		day;
	char		expected[128];
	const char *era;

	if (strcmp(got, "infinity") == 0 || strcmp(got, "-infinity") == 0)
		return;
	if (schema->kind == KS_DAYS)
	{
		print_day(v, expected, &era);
		strcat(expected, era);
	}
	else if (schema->kind == KS_DURATION)
	{
		int64		rest = v % USECS_PER_DAY;

		sprintf(expected, "%lld days %s", (long long) (v / USECS_PER_DAY), rest < 0 ? "-" : "");
		print_clock(rest < 0 ? -rest : rest, expected + strlen(expected));
	}
	else
	{
		us = floor_divide((__int128) v * 1000000, schema->unit);
		if (schema->kind == KS_TIME)
		{
			strcpy(expected, us < 0 ? "-" : "");
			if (us == PG_INT64_MIN)
				return;
			print_clock(us < 0 ? -us : us, expected + strlen(expected));
		}
		else
		{
			day = floor_divide(us, USECS_PER_DAY);
			print_day(day, expected, &era);
			strcat(expected, " ");
			print_clock(us - day * USECS_PER_DAY, expected + strlen(expected));
			strcat(expected, "Z");
			strcat(expected, era);
		}
	}
	FUZZ_CHECK(strcmp(got, expected) == 0);
}

static void
check_bits(const KsJsonToken *tok, int64 length, const char *got)
{
	uint8		bytes[MAX_BYTES + 3];
	int			n = base64(tok, bytes);

	if (n < 0)
		return;
	if (length < 1)
		length = n * 8;
	FUZZ_CHECK((int64) strlen(got) == length);
	for (int i = 0; i < length; i++)
		FUZZ_CHECK(got[length - 1 - i] == (i < n * 8 && (bytes[i / 8] >> (i % 8) & 1) ? '1' : '0'));
}

/* Elements that are not arrays; -1 if one is. */
static int
count_elements(const KsJsonToken *tok)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken value;

	for (int n = 0;; n++)
	{
		p = ks_json_next_element(&json, p, &value);
		if (value.p == NULL)
			return n;
		if (value.type == KS_JSON_ARRAY)
			return -1;
	}
}

static void
check(const KsSchema *schema, const KsJsonToken *tok, const char *got)
{
	switch (schema->kind)
	{
		case KS_DECIMAL:
			if (tok->type == KS_JSON_STRING)
				check_decimal(tok, schema->unit, got);
			break;
		case KS_DAYS:
		case KS_TIME:
		case KS_TIMESTAMP:
		case KS_DURATION:
			check_time(schema, tok, got);
			break;
		case KS_BITS:
			check_bits(tok, schema->unit, got);
			break;
		case KS_LIST:
			if (tok->type == KS_JSON_ARRAY && count_elements(tok) >= 0)
				FUZZ_CHECK(fuzz_elements == count_elements(tok));
			break;
		default:
			break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static const int scales[] = {16383, -16383, 16384, 256, 257, -256, -257};
	KsFormatSettings		settings = {.envelope = KS_CONNECT, .max_record_bytes = 1024 * 1024};
	KsTarget	target = {.ncols = 0};
	KsColumn	col = FUZZ_COLUMN("c", KS_TYPE_GENERIC, UUIDOID, .source = KS_FROM_VALUE_FIELD);
	KsSchema	item,
				list = {.kind = KS_LIST, .items = &item};
	const KsSchema *schema = &item;
	KsType	   *elem;
	char	   *copy;
	KsJson		json;
	KsJsonToken tok;
	bool		isnull;
	size_t		before;
	KsDecoder  *d;

	if (size < 2 || size > 65536)
		return 0;
	item = schemas[data[0] & 15];
	if (item.kind == KS_DECIMAL || item.kind == KS_BITS)
		item.unit = data[1] < lengthof(scales) ? scales[data[1]] : (int8) data[1];
	if (item.kind == KS_BYTES)
		col.type.typid = BYTEAOID;
	if (item.kind == KS_JSON_TEXT)
		col.type = (KsType) {.kind = KS_TYPE_JSON, .typid = JSONBOID, .typmod = -1};
	settings.envelope = (data[0] & 64) ? KS_DEBEZIUM : KS_CONNECT;
	if (data[0] & 32)
	{
		schema = NULL;
		elem = &plain_types[data[1] % lengthof(plain_types)];
		col.type = *elem;
		if (data[0] & 128)
			col.type = (KsType) {.kind = KS_TYPE_ARRAY, .typid = RECORDARRAYOID, .typmod = -1, .elem = elem};
	}
	else if (data[0] & 128)
	{
		schema = &list;
		col.type = (KsType) {.kind = KS_TYPE_ARRAY, .typid = TEXTARRAYOID, .typmod = -1, .elem = &generic};
	}
	d = ks_decoder_create(&settings, &target, fuzz_record_context);
	copy = fuzz_copy(data + 2, size - 2);
	json = (KsJson) {.start = copy, .end = copy + size - 2};
	before = fuzz_peak = fuzz_held;
	if (FUZZ_TRY(ks_json_document(&json, &tok)))
	{
		if (FUZZ_TRY((void) ks_schema_convert(d, &col, schema, &tok, &isnull)))
		{
			if (!isnull && schema)
				check(schema, &tok, fuzz_input_text);
		}
		else
			FUZZ_CHECK(fuzz_blames_record(fuzz_sqlstate));
	}
	FUZZ_CHECK(fuzz_peak - before <= FUZZ_MEMORY(size, 200));
	fuzz_reset();
	free(copy);
	return 0;
}
