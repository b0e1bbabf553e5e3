/*
 * row_schema.c
 *	  Rows with their schemas, as Kafka Connect's JsonConverter reads them.
 *
 * Types that Connect does not have are told as Debezium's connector does, by the name of
 * their schema: JSON, UUIDs, dates and times.  Numbers of any precision are strings
 * (its decimal.handling.mode string): they lose nothing, and can be NaN.  What is nested is
 * JSON, but for arrays of the simple types.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "feed/json_value.h"
#include "feed/row_schema.h"

#define EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

/* What Debezium's connector writes for infinite timestamps and dates (which overflow there),
 * and so what is read as such. */
#define INFINITE_MICROS			INT64CONST(9223372036825200000)
#define MINUS_INFINITE_MICROS	INT64CONST(-9223372036832400000)
#define INFINITE_DAYS			(-2147472692)
#define MINUS_INFINITE_DAYS		(-2147472691)

typedef enum Form
{
	FORM_BARE,					/* as it is */
	FORM_BOOL,
	FORM_STRING,
	FORM_BYTES,
	FORM_DAYS,
	FORM_MICROS,				/* of a timestamp */
	FORM_TIME,					/* micros of the day */
	FORM_ZONED,
	FORM_ARRAY,
	FORM_NESTED					/* JSON in a string */
} Form;

typedef struct Kind
{
	Form		form;
	const char *type;			/* Connect's */
	const char *name;			/* of the schema, or NULL */
	const char *items;			/* of an array */
} Kind;

/* --- types --- */

static Kind
kind_of_scalar(Oid type)
{
	switch (type)
	{
		case BOOLOID:
			return (Kind) {FORM_BOOL, "boolean", NULL, NULL};
		case INT2OID:
			return (Kind) {FORM_BARE, "int16", NULL, NULL};
		case INT4OID:
			return (Kind) {FORM_BARE, "int32", NULL, NULL};
		case INT8OID:
			return (Kind) {FORM_BARE, "int64", NULL, NULL};
		case FLOAT4OID:
			return (Kind) {FORM_BARE, "float", NULL, NULL};
		case FLOAT8OID:
			return (Kind) {FORM_BARE, "double", NULL, NULL};
		case BYTEAOID:
			return (Kind) {FORM_BYTES, "bytes", NULL, NULL};
		case DATEOID:
			return (Kind) {FORM_DAYS, "int32", "io.debezium.time.Date", NULL};
		case TIMEOID:
			return (Kind) {FORM_TIME, "int64", "io.debezium.time.MicroTime", NULL};
		case TIMESTAMPOID:
			return (Kind) {FORM_MICROS, "int64", "io.debezium.time.MicroTimestamp", NULL};
		case TIMESTAMPTZOID:
			return (Kind) {FORM_ZONED, "string", "io.debezium.time.ZonedTimestamp", NULL};
		case UUIDOID:
			return (Kind) {FORM_STRING, "string", "io.debezium.data.Uuid", NULL};
		case JSONOID:
		case JSONBOID:
			return (Kind) {FORM_STRING, "string", "io.debezium.data.Json", NULL};
		case XMLOID:
			return (Kind) {FORM_STRING, "string", "io.debezium.data.Xml", NULL};
		default:
			return (Kind) {FORM_STRING, "string", NULL, NULL};
	}
}

#define NESTED	((Kind) {FORM_NESTED, "string", "io.debezium.data.Json", NULL})

/* Arrays of what JSON and Connect write alike, if they are of one dimension. */
static Kind
kind_of_array(Oid element, int dims)
{
	if (dims > 1)
		return NESTED;
	switch (element)
	{
		case INT2OID:
			return (Kind) {FORM_ARRAY, "array", NULL, "int16"};
		case INT4OID:
			return (Kind) {FORM_ARRAY, "array", NULL, "int32"};
		case INT8OID:
			return (Kind) {FORM_ARRAY, "array", NULL, "int64"};
		case TEXTOID:
		case VARCHAROID:
			return (Kind) {FORM_ARRAY, "array", NULL, "string"};
		default:
			return NESTED;
	}
}

static Kind
kind_of(const KsRowSchemaColumn *c)
{
	Oid			element = get_element_type(c->type);

	if (OidIsValid(element))
		return kind_of_array(element, c->dims);
	return type_is_rowtype(c->type) ? NESTED : kind_of_scalar(c->type);
}

/* --- schemas --- */

static void
append_column(StringInfo buf, const KsRowSchemaColumn *c, bool optional)
{
	Kind		kind = kind_of(c);

	appendStringInfo(buf, "{\"type\":\"%s\",\"optional\":%s", kind.type, optional ? "true" : "false");
	if (kind.name)
		appendStringInfo(buf, ",\"name\":\"%s\",\"version\":1", kind.name);
	if (kind.items)
		appendStringInfo(buf, ",\"items\":{\"type\":\"%s\",\"optional\":true}", kind.items);
	appendStringInfo(buf, ",\"field\":%s}", c->name);
}

/* A struct of all columns, or of the key's. */
static void
append_struct(StringInfo buf, const char *topic, const char *what, const KsRowSchemaColumn *columns, int ncolumns, bool keys)
{
	const char *comma = "";

	/* (a topic's name has no character that JSON would escape) */
	appendStringInfo(buf, "{\"type\":\"struct\",\"name\":\"%s.%s\",\"optional\":%s,\"fields\":[", topic, what, keys ? "false" : "true");
	for (int i = 0; i < ncolumns; i++)
	{
		const KsRowSchemaColumn *c = &columns[i];

		if (keys && !c->key)
			continue;
		appendStringInfoString(buf, comma);
		/* of what is before a change, the key alone may be known */
		append_column(buf, c, !keys || c->null_key);
		comma = ",";
	}
	appendStringInfoString(buf, "]");
}

char *
ks_row_schema_of_key(const char *topic, const KsRowSchemaColumn *columns, int ncolumns)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"schema\":");
	append_struct(&buf, topic, "Key", columns, ncolumns, true);
	appendStringInfoString(&buf, "},\"payload\":");
	return buf.data;
}

char *
ks_row_schema_of_change(const char *topic, const KsRowSchemaColumn *columns, int ncolumns)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"schema\":{\"type\":\"struct\",\"name\":\"%s.Envelope\",\"optional\":false,\"fields\":[", topic);
	append_struct(&buf, topic, "Value", columns, ncolumns, false);
	appendStringInfoString(&buf, ",\"field\":\"before\"},");
	append_struct(&buf, topic, "Value", columns, ncolumns, false);
	appendStringInfoString(&buf, ",\"field\":\"after\"},"
						   "{\"type\":\"struct\",\"name\":\"kafka_sink.Source\",\"optional\":false,\"fields\":["
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"version\"},"
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"connector\"},"
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"name\"},"
						   "{\"type\":\"int64\",\"optional\":false,\"field\":\"ts_ms\"},"
						   "{\"type\":\"string\",\"optional\":true,\"field\":\"snapshot\"},"
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"db\"},"
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"schema\"},"
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"table\"},"
						   "{\"type\":\"int64\",\"optional\":true,\"field\":\"txId\"},"
						   "{\"type\":\"int64\",\"optional\":true,\"field\":\"lsn\"}"
						   "],\"field\":\"source\"},"
						   "{\"type\":\"string\",\"optional\":false,\"field\":\"op\"},"
						   "{\"type\":\"int64\",\"optional\":true,\"field\":\"ts_ms\"}"
						   "]},\"payload\":");
	return buf.data;
}

/* --- values --- */

static Datum
value_of(Oid type, char *text)
{
	Oid			input,
				param;

	getTypeInputInfo(type, &input, &param);
	return OidInputFunctionCall(input, text, param, -1);
}

static void
append_date(StringInfo buf, DateADT date)
{
	appendStringInfo(buf, "%d", DATE_IS_NOBEGIN(date) ? MINUS_INFINITE_DAYS :
					 DATE_IS_NOEND(date) ? INFINITE_DAYS : date + EPOCH_DAYS);
}

/* The last days that the server knows are too late for the schema's type. */
static void
append_timestamp(StringInfo buf, Timestamp timestamp)
{
	int64		micros;

	if (TIMESTAMP_IS_NOBEGIN(timestamp))
		micros = MINUS_INFINITE_MICROS;
	else if (TIMESTAMP_IS_NOEND(timestamp) ||
			 pg_add_s64_overflow(timestamp, EPOCH_DAYS * USECS_PER_DAY, &micros))
		micros = INFINITE_MICROS;
	appendStringInfo(buf, INT64_FORMAT, micros);
}

/*
 * "2026-01-02 03:04:05+00", in UTC, as java.time reads it: years have a sign before 0, which
 * is 1 BC, and behind 9999.  Infinity as it is.
 */
static void
append_zoned(StringInfo buf, const char *text)
{
	const char *space = strchr(text, ' ');
	const char *day = strchr(text, '-');
	const char *zone = space ? strstr(space, "+00") : NULL;
	int			year = atoi(text);

	if (zone == NULL)
	{
		escape_json(buf, text);
		return;
	}
	if (strcmp(zone, "+00 BC") == 0)
		year = 1 - year;
	appendStringInfo(buf, "\"%s%04d%.*sT%.*sZ\"", year < 0 ? "-" : year > 9999 ? "+" : "", abs(year),
					 (int) (space - day), day, (int) (zone - space - 1), space + 1);
}

static void
append_nested(StringInfo buf, Oid type, char *s, bool in_string)
{
	StringInfoData json;

	initStringInfo(&json);
	ks_json_append(&json, type, ks_json_form(type, false), s);
	if (in_string)
		escape_json(buf, json.data);
	else
		appendStringInfoString(buf, json.data);
}

/* Of an array's text: bounds may be before it, and a brace in an element is quoted. */
static bool
has_more_dimensions(const char *text)
{
	if (*text == '[')
		text = strchr(text, '=') + 1;
	return text[0] == '{' && text[1] == '{';
}

static void
append_array(StringInfo buf, const KsRowSchemaColumn *c, char *text)
{
	if (has_more_dimensions(text))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("an array of column %s has more dimensions than one", c->name),
				 errdetail("The schema of its records is that of a column with one."),
				 errhint("Declare the column with as many dimensions, such as integer[][], or set \"envelope\" of the feed to debezium; kafka_sink.skip() leaves this transaction out.")));
	append_nested(buf, c->type, text, false);
}

void
ks_row_schema_append_value(StringInfo buf, const KsRowSchemaColumn *c, char *text)
{
	switch (kind_of(c).form)
	{
		case FORM_BARE:
			/* NaN and Infinity are no numbers of JSON */
			if (strchr("NI", text[*text == '-']) != NULL)
				escape_json(buf, text);
			else
				appendStringInfoString(buf, text);
			return;
		case FORM_BOOL:
			appendStringInfoString(buf, *text == 't' ? "true" : "false");
			return;
		case FORM_STRING:
			escape_json(buf, text);
			return;
		case FORM_BYTES:
			ks_json_append_base64(buf, text);
			return;
		case FORM_DAYS:
			append_date(buf, DatumGetDateADT(value_of(c->type, text)));
			return;
		case FORM_MICROS:
			append_timestamp(buf, DatumGetTimestamp(value_of(c->type, text)));
			return;
		case FORM_TIME:
			appendStringInfo(buf, INT64_FORMAT, DatumGetTimeADT(value_of(c->type, text)));
			return;
		case FORM_ZONED:
			append_zoned(buf, text);
			return;
		case FORM_ARRAY:
			append_array(buf, c, text);
			return;
		case FORM_NESTED:
			append_nested(buf, c->type, text, true);
			return;
	}
}

const char *
ks_row_schema_unavailable(const KsRowSchemaColumn *c)
{
	Kind		kind = kind_of(c);

	if (kind.form == FORM_BYTES)
		return KS_JSON_UNAVAILABLE_BASE64;
	if (kind.form != FORM_ARRAY)
		return KS_JSON_UNAVAILABLE;
	if (strcmp(kind.items, "string") == 0)
		return "[" KS_JSON_UNAVAILABLE "]";
	/* its bytes */
	return "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]";
}
