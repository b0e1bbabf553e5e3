/*
 * convert.c
 *	  Fuzzes the conversions: the first byte says to which type, the rest is a
 *	  JSON value.
 *
 * What a fast path takes must be what the C library reads there.
 */
#include "stubs.h"

#include <math.h>
#include <strings.h>
#include <time.h>

#include "catalog/pg_type.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "format/convert.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

static union
{
	TupleDescData desc;
	/* from 18 on, another form of each attribute stands before them */
	char		room[sizeof(TupleDescData) + 2 * (sizeof(FormData_pg_attribute) + 32)];
}			pair;

static KsType text_type = {.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .max_len = INT_MAX, .is_string = true};
static KsType int_type = {.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1};
static KsType members[2];
static KsField names[2] = {{"a", 1}, {"b", 1}};
static bool filled[2];
static KsComposite composite = {.tupdesc = &pair.desc, .attrs = members, .fields = names, .filled = filled,
.names = {.n = 2, .names = names}};

/* In place of uuid, with a unit. */
static KsType times[] = {
	{.kind = KS_TYPE_DATETIME, .typid = DATEOID, .typmod = -1, .has_time = true},
	{.kind = KS_TYPE_DATETIME, .typid = TIMEOID, .typmod = -1, .has_time = true},
	{.kind = KS_TYPE_DATETIME, .typid = INTERVALOID, .typmod = -1, .has_time = true}
};

#define NUMERIC_TYPMOD(p, s)	((((p) << 16) | (s)) + (int32) VARHDRSZ)

static KsType types[] = {
	{.kind = KS_TYPE_BOOL, .typid = BOOLOID, .typmod = -1},
	{.kind = KS_TYPE_INT2, .typid = INT2OID, .typmod = -1},
	{.kind = KS_TYPE_INT4, .typid = INT4OID, .typmod = -1},
	{.kind = KS_TYPE_INT8, .typid = INT8OID, .typmod = -1},
	{.kind = KS_TYPE_FLOAT, .typid = FLOAT8OID, .typmod = -1},
	{.kind = KS_TYPE_NUMERIC, .typid = NUMERICOID, .typmod = -1},
	{.kind = KS_TYPE_NUMERIC, .typid = NUMERICOID, .typmod = NUMERIC_TYPMOD(12, 2)},
	{.kind = KS_TYPE_NUMERIC, .typid = NUMERICOID, .typmod = NUMERIC_TYPMOD(18, 17)},
	{.kind = KS_TYPE_TEXT, .typid = TEXTOID, .typmod = -1, .max_len = INT_MAX, .is_string = true},
	{.kind = KS_TYPE_TIMESTAMPTZ, .typid = TIMESTAMPTZOID, .typmod = -1, .has_time = true},
	{.kind = KS_TYPE_JSON, .typid = JSONBOID, .typmod = -1},
	{.kind = KS_TYPE_UUID, .typid = UUIDOID, .typmod = -1},
	{.kind = KS_TYPE_ARRAY, .typid = INT4ARRAYOID, .typmod = -1, .elem = &int_type},
	{.kind = KS_TYPE_ARRAY, .typid = TEXTARRAYOID, .typmod = -1, .elem = &text_type},
	{.kind = KS_TYPE_COMPOSITE, .typid = RECORDOID, .typmod = -1, .composite = &composite},
	{.kind = KS_TYPE_DOMAIN, .typid = RECORDOID, .typmod = -1, .elem = &int_type}
};

static void
init(void)
{
	members[0] = int_type;
	members[1] = text_type;
	pair.desc.natts = 2;
	strcpy(NameStr(TupleDescAttr(&pair.desc, 0)->attname), "a");
	strcpy(NameStr(TupleDescAttr(&pair.desc, 1)->attname), "b");
}

/* The text as the C library's functions want it, in the form that a fast path takes. */
static void
check_fast(const KsType *type, const char *s, Datum d)
{
	switch (type->kind)
	{
		case KS_TYPE_INT2:
			FUZZ_CHECK(DatumGetInt16(d) == strtoll(s, NULL, 10));
			break;
		case KS_TYPE_INT4:
			FUZZ_CHECK(DatumGetInt32(d) == strtoll(s, NULL, 10));
			break;
		case KS_TYPE_INT8:
			FUZZ_CHECK(DatumGetInt64(d) == strtoll(s, NULL, 10));
			break;
		case KS_TYPE_FLOAT:
			{
				double		expected = strtod(s, NULL);
				double		got = DatumGetFloat8(d);

				FUZZ_CHECK(memcmp(&expected, &got, sizeof(double)) == 0);
				break;
			}
		case KS_TYPE_NUMERIC:
			{
				/* 10^-scale times the value: the digits of the text */
				const FuzzNumeric *n = (const FuzzNumeric *) DatumGetPointer(d);
				const char *point = strchr(s, '.');
				int			frac = point ? (int) strlen(point + 1) : 0;
				__int128	v = 0;

				FUZZ_CHECK(n->scale >= frac);
				for (const char *p = s; *p; p++)
					if (*p >= '0' && *p <= '9')
						v = v * 10 + (*p - '0');
				for (int i = frac; i < n->scale; i++)
					v *= 10;
				FUZZ_CHECK((*s == '-' ? -v : v) == n->value);
				if (type->typmod >= 0)
					FUZZ_CHECK(n->scale == ((type->typmod - VARHDRSZ) & 0x7ff));
				else
					FUZZ_CHECK(n->scale == frac);
				break;
			}
		case KS_TYPE_TIMESTAMPTZ:
			{
				struct tm	tm = {0};
				int			used = 0;
				int64		us = 0;
				int			zone_h = 0,
							zone_m = 0;
				const char *p;

				FUZZ_CHECK(sscanf(s, "%4d-%2d-%2d%*[T ]%2d:%2d:%2d%n", &tm.tm_year, &tm.tm_mon,
								  &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec, &used) == 6);
				tm.tm_year -= 1900;
				tm.tm_mon--;
				p = s + used;
				if (*p == '.')
				{
					int			scale = 100000;

					for (p++; *p >= '0' && *p <= '9'; p++, scale /= 10)
						us += (*p - '0') * scale;
				}
				if (*p != 'Z')
				{
					FUZZ_CHECK(sscanf(p + 1, "%2d:%2d", &zone_h, &zone_m) >= 1);
					zone_m += zone_h * 60;
					if (*p == '-')
						zone_m = -zone_m;
				}
				us += ((int64) timegm(&tm) - zone_m * 60 - INT64CONST(946684800)) * USECS_PER_SEC;
				FUZZ_CHECK(DatumGetTimestampTz(d) == us);
				break;
			}
		case KS_TYPE_UUID:
			{
				const unsigned char *data = DatumGetUUIDP(d)->data;
				char		text[2 * UUID_LEN + 5];
				int			len = 0;

				for (int i = 0; i < UUID_LEN; i++)
					len += sprintf(text + len, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", data[i]);
				FUZZ_CHECK(strcasecmp(text, s) == 0);
				break;
			}
		default:
			break;
	}
}

/* A whole number of units, once more; others only must not go wrong. */
static void
check_unit(KsConvert *cv, KsType *type, const KsJsonToken *tok)
{
	static const int64 nanos[] = {0, INT64CONST(86400000000000), 1000000000, 1000000, 1000, 1};
	char	   *s = pnstrdup(tok->p, tok->len);
	bool		isnull;
	Datum		d = 0;
	bool		ok = FUZZ_TRY(d = ks_convert_json(cv, type, tok, &isnull));
	__int128	us;

	if (tok->type != KS_JSON_NUMBER)
		return;
	FUZZ_CHECK(!fuzz_input_called);
	if (strpbrk(s, ".eE") || strlen(s) > 15)
		return;
	us = (__int128) strtoll(s, NULL, 10) * nanos[cv->unit];
	us = (us < 0 ? us - 500 : us + 500) / 1000;
	if (type->typid == TIMEOID)
	{
		FUZZ_CHECK(ok == (us >= 0 && us <= USECS_PER_DAY));
		FUZZ_CHECK(!ok || DatumGetInt64(d) == us);
	}
	else if (type->typid == TIMESTAMPTZOID && ok)
		FUZZ_CHECK(DatumGetInt64(d) == us - (int64) 10957 * USECS_PER_DAY);
	else if (type->typid == DATEOID && ok)
		FUZZ_CHECK(DatumGetInt32(d) + 10957 == (us >= 0 ? us / USECS_PER_DAY : -((-us + USECS_PER_DAY - 1) / USECS_PER_DAY)));
	else if (type->typid == INTERVALOID && ok)
	{
		const Interval *v = (const Interval *) DatumGetPointer(d);

		FUZZ_CHECK((__int128) v->day * USECS_PER_DAY + v->time == us);
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	static bool ready = false;
	char	   *copy;
	KsType	   *type;
	KsJson		json;
	KsJsonToken tok;
	KsConvert	cv = {0};
	bool		isnull;
	Datum		d = 0;
	int			unit;

	if (!ready)
	{
		init();
		ready = true;
	}
	if (size == 0)
		return 0;
	type = &types[data[0] % lengthof(types)];
	cv.strip_nul = (data[0] & 0x80) != 0;
	unit = data[0] >> 4 & 7;
	if (type->typid == UUIDOID && unit > 0)
		type = &times[unit % lengthof(times)];
	if (type->has_time)
		cv.unit = (KsUnit) (unit % (KS_UNIT_NANOSECONDS + 1));
	copy = fuzz_copy(data + 1, size - 1);
	json = (KsJson) {.start = copy, .end = copy + size - 1};
	initStringInfo(&cv.buf);
	fuzz_input_called = false;
	if (FUZZ_TRY(ks_json_document(&json, &tok)) && cv.unit != KS_UNIT_NONE)
		check_unit(&cv, type, &tok);
	else if (FUZZ_TRY(ks_json_document(&json, &tok)) &&
			 FUZZ_TRY(d = ks_convert_json(&cv, type, &tok, &isnull)) && !isnull && !fuzz_input_called)
	{
		if (tok.type == KS_JSON_STRING)
		{
			StringInfoData s;

			initStringInfo(&s);
			ks_json_unescape(&tok, cv.strip_nul, &s);
			check_fast(type, s.data, d);
		}
		else
			check_fast(type, pnstrdup(tok.p, tok.len), d);
	}
	fuzz_reset();
	free(copy);
	return 0;
}
