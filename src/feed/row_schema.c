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
#include "datatype/timestamp.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "feed/json_value.h"
#include "feed/row_schema.h"

#define UNAVAILABLE		"__debezium_unavailable_value"
#define EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

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

/* Arrays of what JSON and Connect write alike. */
static Kind
kind_of(Oid type)
{
	Oid			element = get_element_type(type);

	switch (element)
	{
		case InvalidOid:
			break;
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
			return (Kind) {FORM_NESTED, "string", "io.debezium.data.Json", NULL};
	}
	if (type_is_rowtype(type))
		return (Kind) {FORM_NESTED, "string", "io.debezium.data.Json", NULL};
	return kind_of_scalar(type);
}

/* --- schemas --- */

static void
append_column(StringInfo buf, const KsRowSchemaColumn *c)
{
	Kind		kind = kind_of(c->type);

	appendStringInfo(buf, "{\"type\":\"%s\",\"optional\":%s", kind.type, c->key ? "false" : "true");
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
		KsRowSchemaColumn c = columns[i];

		if (keys && !c.key)
			continue;
		/* of what is before a change, the key alone may be known */
		c.key = keys;
		appendStringInfoString(buf, comma);
		append_column(buf, &c);
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

/* Lines are for people. */
static void
append_base64(StringInfo buf, Datum bytes)
{
	char	   *s = TextDatumGetCString(DirectFunctionCall2(binary_encode, bytes, CStringGetTextDatum("base64")));

	for (; *s; s++)
		if (*s != '\n')
			appendStringInfoChar(buf, *s);
}

/* Infinity is the most that the schema's type has. */
static void
append_date(StringInfo buf, DateADT date)
{
	appendStringInfo(buf, "%d", DATE_NOT_FINITE(date) ? date : date + EPOCH_DAYS);
}

static void
append_timestamp(StringInfo buf, Timestamp timestamp)
{
	appendStringInfo(buf, INT64_FORMAT, TIMESTAMP_NOT_FINITE(timestamp) ? timestamp : timestamp + EPOCH_DAYS * USECS_PER_DAY);
}

/* "2026-01-02 03:04:05+00", in UTC, as java.time reads it; infinity as it is. */
static void
append_zoned(StringInfo buf, const char *text)
{
	const char *space = strchr(text, ' ');
	int			len = strlen(text);

	if (space && len > 3 && strcmp(text + len - 3, "+00") == 0)
		appendStringInfo(buf, "\"%.*sT%.*sZ\"", (int) (space - text), text, (int) (text + len - 3 - space - 1), space + 1);
	else
		escape_json(buf, text);
}

static void
append_nested(StringInfo buf, Oid type, char *s, bool in_string)
{
	StringInfoData json;

	initStringInfo(&json);
	ks_json_append(&json, type, ks_json_form(type), s);
	if (in_string)
		escape_json(buf, json.data);
	else
		appendStringInfoString(buf, json.data);
}

void
ks_row_schema_append_value(StringInfo buf, Oid type, char *text)
{
	switch (kind_of(type).form)
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
			appendStringInfoChar(buf, '"');
			append_base64(buf, value_of(type, text));
			appendStringInfoChar(buf, '"');
			return;
		case FORM_DAYS:
			append_date(buf, DatumGetDateADT(value_of(type, text)));
			return;
		case FORM_MICROS:
			append_timestamp(buf, DatumGetTimestamp(value_of(type, text)));
			return;
		case FORM_TIME:
			appendStringInfo(buf, INT64_FORMAT, DatumGetTimeADT(value_of(type, text)));
			return;
		case FORM_ZONED:
			append_zoned(buf, text);
			return;
		case FORM_ARRAY:
		case FORM_NESTED:
			append_nested(buf, type, text, kind_of(type).form == FORM_NESTED);
			return;
	}
}

const char *
ks_row_schema_unavailable(Oid type)
{
	Kind		kind = kind_of(type);

	if (kind.form == FORM_BYTES)
		return "\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\"";
	if (kind.form != FORM_ARRAY)
		return "\"" UNAVAILABLE "\"";
	if (strcmp(kind.items, "string") == 0)
		return "[\"" UNAVAILABLE "\"]";
	/* its bytes */
	return "[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]";
}
