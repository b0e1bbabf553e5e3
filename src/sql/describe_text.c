/*
 * describe_text.c
 *	  A table for records of schemas, as SQL.
 *
 * What schemas say of themselves is somebody else's text: it stands in quotes, or in
 * comments without characters that end one.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"

#include "sql/describe.h"

/* A line of comment: nothing in it ends it. */
static void
append_line(StringInfo out, const char *text)
{
	appendStringInfoString(out, "-- ");
	for (; *text; text++)
		appendStringInfoChar(out, (unsigned char) *text < ' ' || *text == 0x7f ? ' ' : *text);
	appendStringInfoChar(out, '\n');
}

static void
append_origin(StringInfo out, const char *what, const KsDescribedPart *part)
{
	const KsShape *shape = part->shape;
	ListCell   *lc;

	append_line(out, psprintf("%s: %s, %s%s", what, part->from, shape->name ? shape->name : shape->cols[0].reason,
							  shape->envelope == KS_DEBEZIUM ? "; a change of Debezium's, whose rows are these" : ""));
	foreach(lc, part->notes)
		append_line(out, lfirst(lc));
}

static void
append_default(StringInfo out, const KsShapeColumn *shape)
{
	bool		quote = true;

	if (shape->default_text == NULL)
		return;
	switch (shape->typid)
	{
		case BOOLOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			/* NaN is a word that SQL does not know */
			quote = shape->typid != BOOLOID &&
				strspn(shape->default_text, "+-.0123456789eE") != strlen(shape->default_text);
			break;
		default:
			break;
	}
	appendStringInfo(out, " DEFAULT %s", quote ? quote_literal_cstr(shape->default_text) : shape->default_text);
}

static void
append_columns(StringInfo out, const KsDescribed *table, bool has_key)
{
	for (int i = 0; i < table->n; i++)
	{
		const KsDescribedColumn *col = &table->cols[i];
		const KsShapeColumn *shape = col->shape;
		bool		of_key = col->source && strncmp(col->source, "@key", 4) == 0;

		appendStringInfo(out, "    %s %s%s", quote_identifier(col->name),
						 format_type_with_typemod(shape->typid, shape->typmod),
						 col->of_key || !shape->nullable ? " NOT NULL" : "");
		if (!of_key)
			append_default(out, shape);
		appendStringInfo(out, "%s  ", i < table->n - 1 || has_key ? "," : "");
		append_line(out, psprintf("%s%s%s", of_key ? "of the key: " : "", shape->reason,
								  col->source && strcmp(col->source, "@value") == 0 && shape->typid == BYTEAOID ?
								  ", with what stands before the value to tell the schema" : ""));
	}
}

static bool
append_key(StringInfo out, const KsDescribed *table)
{
	const char *words = "";

	for (int i = 0; i < table->n; i++)
		if (table->cols[i].of_key)
		{
			appendStringInfo(out, "%s%s", words, quote_identifier(table->cols[i].name));
			words = ", ";
		}
	return *words != '\0';
}

static void
append_comments(StringInfo out, const KsDescribed *table)
{
	if (table->value.shape->comment)
		appendStringInfo(out, "COMMENT ON TABLE %s IS %s;\n", table->name, quote_literal_cstr(table->value.shape->comment));
	for (int i = 0; i < table->n; i++)
		if (table->cols[i].shape->comment)
			appendStringInfo(out, "COMMENT ON COLUMN %s.%s IS %s;\n", table->name,
							 quote_identifier(table->cols[i].name), quote_literal_cstr(table->cols[i].shape->comment));
}

/* The setting "columns", or NULL. */
static char *
mapping_of(const KsDescribed *table)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < table->n; i++)
		if (table->cols[i].source)
		{
			appendStringInfoString(&buf, buf.len > 0 ? ", " : "{");
			escape_json(&buf, table->cols[i].name);
			appendStringInfoString(&buf, ": ");
			escape_json(&buf, table->cols[i].source);
		}
	if (buf.len == 0)
		return NULL;
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/* A literal that stands in one line: schemas have comments that end with theirs. */
static char *
one_line(const char *s)
{
	StringInfoData buf;
	const char *p = s;

	while (*p && (unsigned char) *p >= ' ' && *p != 0x7f)
		p++;
	if (*p == '\0')
		return quote_literal_cstr(s);
	initStringInfo(&buf);
	appendStringInfoString(&buf, "E'");
	for (p = s; *p; p++)
	{
		if (*p == '\n')
			appendStringInfoString(&buf, "\\n");
		else if ((unsigned char) *p < ' ' || *p == 0x7f)
			appendStringInfo(&buf, "\\x%02x", (unsigned char) *p);
		else
		{
			if (*p == '\'' || *p == '\\')
				appendStringInfoChar(&buf, *p);
			appendStringInfoChar(&buf, *p);
		}
	}
	appendStringInfoChar(&buf, '\'');
	return buf.data;
}

/* What makes a sink of it, to be copied. */
static void
append_sink(StringInfo out, const KsDescribed *table, const char *server, const char *topic, bool has_key)
{
	StringInfoData call;
	char	   *columns = mapping_of(table);
	const char *sink = one_line(table->bare);

	initStringInfo(&call);
	appendStringInfo(&call, "SELECT kafka_sink.create_sink(%s, ", sink);
	if (server)
		appendStringInfo(&call, "server => %s, ", one_line(server));
	appendStringInfo(&call, "target => %s, format => '%s'", one_line(table->name), table->value.format);
	if (table->key.shape)
		appendStringInfo(&call, ", key_format => '%s'", table->key.format);
	if (table->value.shape->envelope == KS_DEBEZIUM)
		appendStringInfoString(&call, ", envelope => 'debezium'");
	if (has_key)
		appendStringInfoString(&call, ", insert_mode => 'upsert', delete_enabled => true");
	if (columns)
		appendStringInfo(&call, ", columns => %s", one_line(columns));
	if (table->value.schema)
		appendStringInfo(&call, ", value_schema => %s", one_line(table->value.schema));
	if (table->value.schema && table->value.message_type)
		appendStringInfo(&call, ", message_type => %s", one_line(table->value.message_type));
	if (table->key.schema)
		appendStringInfo(&call, ", key_schema => %s", one_line(table->key.schema));
	appendStringInfoString(&call, ");");
	append_line(out, call.data);
	if (topic)
		append_line(out, psprintf("SELECT kafka_sink.register_topic(%s, %s);", sink, one_line(topic)));
	if (table->value.schema == NULL && table->value.message_type)
		append_line(out, "To leave out records of other messages, let a column take \"@schema\", and filter by it.");
}

char *
ks_describe_write(const KsDescribed *table, const char *server, const char *topic)
{
	StringInfoData out;
	StringInfoData key;
	bool		has_key;

	initStringInfo(&out);
	initStringInfo(&key);
	has_key = append_key(&key, table);
	append_origin(&out, "Value", &table->value);
	if (table->key.shape)
		append_origin(&out, "Key", &table->key);
	if (table->no_key)
		append_line(&out, psprintf("No primary key: %s", table->no_key));
	appendStringInfo(&out, "CREATE TABLE %s (\n", table->name);
	append_columns(&out, table, has_key);
	if (has_key)
		appendStringInfo(&out, "    PRIMARY KEY (%s)\n", key.data);
	appendStringInfoString(&out, ");\n");
	append_comments(&out, table);
	append_sink(&out, table, server, topic, has_key);
	return out.data;
}
