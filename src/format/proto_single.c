/*
 * proto_single.c
 *	  Protobuf's values that are one text: of types that are no messages, and messages
 *	  that are one value: moments, durations, decimals, ...
 *
 * As text these messages are what Protobuf's JSON has for them.  Four that it has nothing
 * special for, and that Kafka Connect uses, are what people write for them: numbers, a
 * date, a time of day.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "format/envelope_text.h"
#include "format/proto_single.h"
#include "format/scalar.h"

/* 0001-01-01, and 10,000 years */
#define MIN_SECONDS		INT64CONST(-62135596800)
#define MAX_DURATION	INT64CONST(315576000000)

/* --- no messages --- */

static void
set_number(KsProtoReader *r, int64 v, KsJsonToken *tok)
{
	ks_scalar_set(tok, KS_JSON_NUMBER, r->buf, pg_lltoa(v, r->buf));
}

static void
set_enum(KsProtoReader *r, const KsProtoEnum *e, int32 number, KsJsonToken *tok)
{
	const char *name;

	if (e->null_value)
	{
		ks_scalar_set(tok, KS_JSON_NULL, "null", 4);
		return;
	}
	name = ks_proto_enum_name(e, number);
	if (name)
		ks_scalar_set(tok, KS_JSON_STRING, name, strlen(name));
	else
		set_number(r, number, tok);
}

void
ks_proto_single(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *value, KsJsonToken *tok)
{
	const char *s = (const char *) value->p;
	int			len = value->len;

	/* cppcheck-suppress ctunullpointer ; only what is known has none */
	switch (field->type)
	{
		case KS_PROTO_DOUBLE:
		case KS_PROTO_FLOAT:
			ks_scalar_set_float(tok, value->v.real, field->type == KS_PROTO_FLOAT, r->buf);
			break;
		case KS_PROTO_UINT64:
		case KS_PROTO_FIXED64:
			if (value->v.bits <= (uint64) PG_INT64_MAX)
				set_number(r, (int64) value->v.bits, tok);
			else
			{
				s = psprintf(UINT64_FORMAT, value->v.bits);
				ks_scalar_set(tok, KS_JSON_NUMBER, s, strlen(s));
			}
			break;
		case KS_PROTO_BOOL:
			if (value->v.bits)
				ks_scalar_set(tok, KS_JSON_TRUE, "true", 4);
			else
				ks_scalar_set(tok, KS_JSON_FALSE, "false", 5);
			break;
		case KS_PROTO_ENUM:
			set_enum(r, field->enumeration, (int32) value->v.bits, tok);
			break;
		case KS_PROTO_STRING:
			ks_scalar_to_server(r->d, &s, &len);
			ks_scalar_set(tok, KS_JSON_STRING, s, len);
			break;
		case KS_PROTO_BYTES:
			ks_scalar_set_hex(tok, s, len);
			break;
		default:
			set_number(r, (int64) value->v.bits, tok);
			break;
	}
}

/* --- messages --- */

KS_NORETURN static void out_of_range(const char *what);

static void
out_of_range(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("Protobuf message is no %s", what),
			 errdetail("Its parts are out of the range that the type has.")));
}

/* The integers of a message that has nothing else in its fields 1 to n; they are known to be of these types. */
static void
integers(const KsProtoReader *r, const KsProtoValue *value, int64 *result, uint32 n)
{
	KsProtoReader inner = {.p = value->p, .end = value->p + value->len, .start = r->start, .limit = r->limit};

	memset(result, 0, n * sizeof(int64));
	while (inner.p < inner.end)
	{
		uint32		tag = ks_proto_tag(&inner);

		CHECK_FOR_INTERRUPTS();
		if (likely((tag & 7) == KS_PROTO_WIRE_VARINT && tag >> 3 <= n))
			result[(tag >> 3) - 1] = (int64) ks_proto_varint(&inner);
		else
			ks_proto_skip(&inner, tag);
	}
}

void
ks_proto_timestamp(const KsProtoReader *r, const KsProtoValue *value,
				   int64 *seconds, int *nanos)
{
	int64		parts[2];

	integers(r, value, parts, 2);
	*seconds = parts[0];
	*nanos = (int) parts[1];
	if (*seconds < MIN_SECONDS || *seconds > KS_PROTO_MAX_SECONDS || *nanos < 0 || *nanos > KS_PROTO_MAX_NANOS)
		out_of_range("timestamp");
}

void
ks_proto_duration(const KsProtoReader *r, const KsProtoValue *value,
				  int64 *seconds, int *nanos)
{
	int64		parts[2];

	integers(r, value, parts, 2);
	*seconds = parts[0];
	*nanos = (int) parts[1];
	if (*seconds < -MAX_DURATION || *seconds > MAX_DURATION || *nanos < -KS_PROTO_MAX_NANOS || *nanos > KS_PROTO_MAX_NANOS ||
		(*seconds < 0 && *nanos > 0) || (*seconds > 0 && *nanos < 0))
		out_of_range("duration");
}

void
ks_proto_decimal(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value,
				 KsProtoValue *digits, int *scale)
{
	bool		variable = message->known == KS_PROTO_VARIABLE_DECIMAL;
	int64		parts[3];

	integers(r, value, parts, 3);
	*scale = (int) parts[variable ? 0 : 2];
	ks_proto_find_value(r, ks_proto_find_number(message, variable ? 2 : 1), value, digits);
	/* what only repeats the sign, so that the rest can be judged by its length */
	while (digits->len > 1 && (uint8) (digits->p[0] ^ (digits->p[1] & 0x80 ? 0xff : 0)) == 0)
		digits->p++, digits->len--;
}

/* Of a second, in groups of three digits: none, or behind a point. */
static const char *
fraction(int nanos)
{
	if (nanos == 0)
		return "";
	if (nanos % 1000000 == 0)
		return psprintf(".%03d", nanos / 1000000);
	if (nanos % 1000 == 0)
		return psprintf(".%06d", nanos / 1000);
	return psprintf(".%09d", nanos);
}

static char *
timestamp_text(int64 seconds, int nanos)
{
	int64		days = seconds / SECS_PER_DAY;
	int			rest = (int) (seconds % SECS_PER_DAY);
	int			year,
				month,
				day;

	if (rest < 0)
	{
		rest += SECS_PER_DAY;
		days--;
	}
	j2date((int) (days + UNIX_EPOCH_JDATE), &year, &month, &day);
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d%sZ", year, month, day,
					rest / SECS_PER_HOUR, rest / SECS_PER_MINUTE % MINS_PER_HOUR, rest % SECS_PER_MINUTE,
					fraction(nanos));
}

static char *
duration_text(int64 seconds, int nanos)
{

	return psprintf("%s" INT64_FORMAT "%ss", seconds < 0 || nanos < 0 ? "-" : "",
					seconds < 0 ? -seconds : seconds, fraction(nanos < 0 ? -nanos : nanos));
}

static char *
date_text(KsProtoReader *r, const KsProtoValue *value)
{
	int64		parts[3];
	int			year,
				month,
				day;

	integers(r, value, parts, 3);
	year = (int) parts[0];
	month = (int) parts[1];
	day = (int) parts[2];
	/* dates without a year or a day are none here */
	if (year < 1 || year > 9999 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1])
		out_of_range("date");
	return psprintf("%04d-%02d-%02d", year, month, day);
}

/* 24:00:00 is one, as in the server. */
static char *
time_text(KsProtoReader *r, const KsProtoValue *value)
{
	int64		parts[4];
	int			hours,
				minutes,
				seconds,
				nanos;

	integers(r, value, parts, 4);
	hours = (int) parts[0];
	minutes = (int) parts[1];
	seconds = (int) parts[2];
	nanos = (int) parts[3];
	if (hours < 0 || hours > HOURS_PER_DAY || minutes < 0 || minutes >= MINS_PER_HOUR || seconds < 0 ||
		seconds > SECS_PER_MINUTE || nanos < 0 || nanos > KS_PROTO_MAX_NANOS ||
		(hours == HOURS_PER_DAY && (minutes > 0 || seconds > 0 || nanos > 0)))
		out_of_range("time of day");
	return psprintf("%02d:%02d:%02d%s", hours, minutes, seconds, fraction(nanos));
}

/* A path's names begin with small letters in JSON, and with none behind a "_" anything is lost. */
static void
append_path(StringInfo out, const char *s, int len)
{
	for (int i = 0; i < len; i++)
	{
		if ((s[i] >= 'A' && s[i] <= 'Z') || (s[i] == '_' && (i + 1 >= len || s[i + 1] < 'a' || s[i + 1] > 'z')))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("a path of a Protobuf field mask cannot be told"),
					 errdetail("Its names are not all in small letters and digits with single underscores.")));
		if (s[i] == '_')
			appendStringInfoChar(out, s[++i] - 'a' + 'A');
		else
			appendStringInfoChar(out, s[i]);
	}
}

static char *
mask_text(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, int *len)
{
	const KsProtoField *field = ks_proto_find_number(message, 1);
	KsProtoReader inner = *r;
	KsProtoValue path;
	StringInfoData out;

	if (field == NULL || field->type != KS_PROTO_STRING || !field->repeated)
		return "";
	initStringInfo(&out);
	inner.p = value->p;
	inner.end = value->p + value->len;
	while (inner.p < inner.end)
	{
		uint32		tag = ks_proto_tag(&inner);
		const char *s;

		CHECK_FOR_INTERRUPTS();
		if (tag != (uint32) (1 << 3 | KS_PROTO_WIRE_BYTES))
		{
			ks_proto_skip(&inner, tag);
			continue;
		}
		ks_proto_value(&inner, field, &path);
		s = (const char *) path.p;
		ks_scalar_to_server(r->d, &s, &path.len);
		if (out.len > 0)
			appendStringInfoChar(&out, ',');
		append_path(&out, s, path.len);
	}
	*len = out.len;
	return out.data;
}

bool
ks_proto_is_text(KsProtoKnown known)
{
	return known == KS_PROTO_TIMESTAMP || known == KS_PROTO_DURATION || known == KS_PROTO_FIELD_MASK ||
		known == KS_PROTO_DECIMAL || known == KS_PROTO_VARIABLE_DECIMAL || known == KS_PROTO_DATE ||
		known == KS_PROTO_TIME_OF_DAY;
}

static char *
decimal_text(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value)
{
	KsProtoValue digits;
	int			scale;
	uint8	   *copy;

	ks_proto_decimal(r, message, value, &digits, &scale);
	copy = palloc(digits.len + 1);
	memcpy(copy, digits.p, digits.len);
	return ks_text_decimal_bytes(copy, digits.len, scale);
}

void
ks_proto_known(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, KsJsonToken *tok)
{
	int64		seconds;
	int			nanos;
	int			len = -1;
	KsJsonType	type = KS_JSON_STRING;
	char	   *s;

	switch (message->known)
	{
		case KS_PROTO_TIMESTAMP:
			ks_proto_timestamp(r, value, &seconds, &nanos);
			s = timestamp_text(seconds, nanos);
			break;
		case KS_PROTO_DURATION:
			ks_proto_duration(r, value, &seconds, &nanos);
			s = duration_text(seconds, nanos);
			break;
		case KS_PROTO_DECIMAL:
		case KS_PROTO_VARIABLE_DECIMAL:
			s = decimal_text(r, message, value);
			type = KS_JSON_NUMBER;
			break;
		case KS_PROTO_DATE:
			s = date_text(r, value);
			break;
		case KS_PROTO_TIME_OF_DAY:
			s = time_text(r, value);
			break;
		default:
			s = mask_text(r, message, value, &len);
			break;
	}
	ks_scalar_set(tok, type, s, len >= 0 ? len : (int) strlen(s));
}
