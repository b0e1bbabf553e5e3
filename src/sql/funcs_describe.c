/*
 * funcs_describe.c
 *	  describe(): the table that records of a topic fit into, as SQL to run.
 *
 * What schemas say of themselves is somebody else's text: it stands in quotes, or in
 * comments without characters that end one.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/heap.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "format/shape.h"
#include "sql/arguments.h"
#include "sql/funcs_schema.h"

#define MAX_KEYS	INDEX_MAX_KEYS

PG_FUNCTION_INFO_V1(kafka_sink_describe);

enum
{
	ARG_SERVER, ARG_TOPIC, ARG_TABLE, ARG_VALUE_SUBJECT, ARG_KEY_SUBJECT, ARG_VALUE_SCHEMA, ARG_KEY_SCHEMA
};

typedef struct Column
{
	const KsShapeColumn *shape;
	char	   *name;
	char	   *source;			/* NULL: the field of its name */
	bool		of_key;
} Column;

typedef struct Table
{
	char	   *name;			/* as SQL has it */
	char	   *bare;			/* without its schema */
	KsShape    *value;
	KsShape    *key;			/* NULL: none */
	const char *value_schema;	/* as given, or NULL */
	const char *key_schema;
	char	   *value_from;		/* where they were found, in words */
	char	   *key_from;
	int			n;
	Column	   *cols;
	const char *no_key;			/* why the key's columns are no primary key, or NULL */
} Table;

static char *
argument(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* --- schemas --- */

static KsShape *
shape_of_text(const KsSchemaText *text)
{
	const KsShaper *shaper = strcmp(text->type, "AVRO") == 0 ? ks_shaper(KS_FORMAT_AVRO) : NULL;

	if (shaper == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("schemas of type %s cannot be described", text->type),
				 errhint("Write the table by hand: kafka_sink.schema() shows the schema.")));
	return shaper->shape(shaper->parse(text), true);
}

/* NULL: the registry has no such subject. */
static KsShape *
shape_of_subject(const char *server, const char *subject, char **from)
{
	KsConf	   *conf = ks_options_load(server, GetUserId());
	KsSchemaId	id;
	KsSchemaText *text = palloc0(sizeof(KsSchemaText));
	int			version;

	if (!ks_schemas_newest(server, conf, subject, &id, &version, text))
		return NULL;
	*from = psprintf("schema %s of subject \"%s\", version %d", ks_schema_id_text(&id), subject, version);
	return shape_of_text(text);
}

static KsShape *
shape_of_given(const char *schema, char **from)
{
	KsSchemaText *text = palloc0(sizeof(KsSchemaText));

	text->type = "AVRO";
	text->text = schema;
	*from = pstrdup("the schema that was given");
	return shape_of_text(text);
}

static void
find_value(Table *table, const char *server, const char *topic, const char *subject, const char *schema)
{
	table->value_schema = schema;
	if (schema)
	{
		table->value = shape_of_given(schema, &table->value_from);
		return;
	}
	if (server == NULL || (topic == NULL && subject == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is nothing to describe"),
				 errhint("Give a server and a topic, or a schema: kafka_sink.describe('kafka', 'orders'), kafka_sink.describe(value_schema => '{\"type\": \"record\", ...}').")));
	if (subject == NULL)
		subject = psprintf("%s-value", topic);
	table->value = shape_of_subject(server, subject, &table->value_from);
	if (table->value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the registry of server \"%s\" has no subject \"%s\"", server, subject),
				 errhint("If serializers use another strategy for names, say which subject it is: value_subject => '...'.")));
}

/* A topic whose keys have no schema is as good as any. */
static void
find_key(Table *table, const char *server, const char *topic, const char *subject, const char *schema)
{
	table->key_schema = schema;
	if (schema)
		table->key = shape_of_given(schema, &table->key_from);
	else if (server && (topic || subject))
		table->key = shape_of_subject(server, subject ? subject : psprintf("%s-key", topic), &table->key_from);
	if (table->key == NULL && subject && schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the registry of server \"%s\" has no subject \"%s\"", server ? server : "", subject)));
}

/* --- columns --- */

static bool
is_taken(const Table *table, const char *name)
{
	for (int i = 0; i < table->n; i++)
		if (strcmp(table->cols[i].name, name) == 0)
			return true;
	return false;
}

/* A name that a column can have, and no other one has. */
static char *
free_name(const Table *table, const char *name, int len)
{
	char	   *whole = pnstrdup(name, len);
	char	   *result = pnstrdup(whole, pg_mbcliplen(whole, len, NAMEDATALEN - 1));

	for (int i = 1; is_taken(table, result) || SystemAttributeByName(result); i++)
	{
		char	   *suffix = i == 1 ? "_" : psprintf("_%d", i);

		result = psprintf("%.*s%s", pg_mbcliplen(whole, len, NAMEDATALEN - 1 - (int) strlen(suffix)), whole, suffix);
	}
	return result;
}

/* A step of a path, which begins with what is before it. */
static char *
path_to(const char *before, const char *name, int len)
{
	StringInfoData buf;
	bool		plain = len > 0;

	for (int i = 0; i < len; i++)
		plain &= isalnum((unsigned char) name[i]) || name[i] == '_';
	initStringInfo(&buf);
	appendStringInfo(&buf, "%s.", before);
	if (plain)
	{
		appendBinaryStringInfo(&buf, name, len);
		return buf.data;
	}
	appendStringInfoChar(&buf, '"');
	for (int i = 0; i < len; i++)
	{
		if (name[i] == '"' || name[i] == '\\')
			appendStringInfoChar(&buf, '\\');
		appendStringInfoChar(&buf, name[i]);
	}
	appendStringInfoChar(&buf, '"');
	return buf.data;
}

static Column *
add_column(Table *table, const KsShapeColumn *shape, const char *name, int len)
{
	Column	   *col = &table->cols[table->n];

	col->shape = shape;
	col->name = free_name(table, name, len);
	table->n++;
	return col;
}

static void
add_value_columns(Table *table)
{
	for (int i = 0; i < table->value->n; i++)
	{
		const KsShapeColumn *shape = &table->value->cols[i];
		Column	   *col;

		CHECK_FOR_INTERRUPTS();
		if (shape->field.name == NULL)
		{
			add_column(table, shape, "value", strlen("value"))->source = "@value";
			continue;
		}
		col = add_column(table, shape, shape->field.name, shape->field.len);
		if ((int) strlen(col->name) != shape->field.len || memcmp(col->name, shape->field.name, shape->field.len) != 0)
			col->source = path_to("$", shape->field.name, shape->field.len);
	}
}

/* The value's column that has what a field of the key has; NULL: none. */
static Column *
same_column(const Table *table, const KsShapeColumn *key)
{
	for (int i = 0; i < table->n; i++)
	{
		const KsShapeColumn *shape = table->cols[i].shape;

		if (shape->field.name && shape->field.len == key->field.len &&
			memcmp(shape->field.name, key->field.name, key->field.len) == 0 &&
			shape->typid == key->typid && shape->typmod == key->typmod)
			return &table->cols[i];
	}
	return NULL;
}

static void
add_key_columns(Table *table)
{
	int			nvalues = table->n;

	for (int i = 0; i < table->key->n; i++)
	{
		const KsShapeColumn *shape = &table->key->cols[i];
		Column	   *col = NULL;

		if (shape->field.name == NULL)
		{
			col = add_column(table, shape, "key", strlen("key"));
			col->source = "@key";
		}
		else
		{
			Table		values = *table;

			values.n = nvalues;
			col = same_column(&values, shape);
			if (col == NULL)
				col = add_column(table, shape, shape->field.name, shape->field.len);
			/* of a value that may lack it the key has it */
			if (col->shape == shape || col->shape->nullable)
				col->source = path_to("@key", shape->field.name, shape->field.len);
		}
		col->of_key = true;
	}
}

static void
check_key(Table *table)
{
	int			n = 0;

	for (int i = 0; i < table->n; i++)
	{
		Oid			typid = table->cols[i].shape->typid;

		if (!table->cols[i].of_key)
			continue;
		n++;
		if (!OidIsValid(lookup_type_cache(typid, TYPECACHE_LT_OPR)->lt_opr))
			table->no_key = psprintf("type %s has no order", format_type_be(typid));
	}
	if (n > MAX_KEYS)
		table->no_key = psprintf("it would have more than %d columns", MAX_KEYS);
	if (table->no_key)
		for (int i = 0; i < table->n; i++)
			table->cols[i].of_key = false;
}

static void
find_columns(Table *table)
{
	int			max = table->value->n + (table->key ? table->key->n : 0);

	if (max > MaxHeapAttributeNumber)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("the schema has more fields than a table can have columns"),
				 errdetail("It has %d, with those of the key.", max),
				 errhint("Write the table by hand, with columns for what is needed and one of type jsonb for \"@rest\".")));
	table->cols = palloc0((max + 1) * sizeof(Column));
	add_value_columns(table);
	if (table->key)
		add_key_columns(table);
	if (table->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the schema has no fields")));
	check_key(table);
}

/* --- the text --- */

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
append_origin(StringInfo out, const char *what, const KsShape *shape, const char *from)
{
	append_line(out, psprintf("%s: %s, %s%s", what, from, shape->name ? shape->name : shape->cols[0].reason,
							  shape->envelope == KS_DEBEZIUM ? "; a change of Debezium's, whose rows are these" : ""));
}

static void
append_default(StringInfo out, const KsShapeColumn *shape)
{
	if (shape->default_text == NULL)
		return;
	switch (shape->typid)
	{
		case BOOLOID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
			appendStringInfo(out, " DEFAULT %s", shape->default_text);
			break;
		default:
			appendStringInfo(out, " DEFAULT %s", quote_literal_cstr(shape->default_text));
			break;
	}
}

static void
append_columns(StringInfo out, const Table *table, bool has_key)
{
	for (int i = 0; i < table->n; i++)
	{
		const Column *col = &table->cols[i];
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
append_key(StringInfo out, const Table *table)
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
append_comments(StringInfo out, const Table *table)
{
	if (table->value->comment)
		appendStringInfo(out, "COMMENT ON TABLE %s IS %s;\n", table->name, quote_literal_cstr(table->value->comment));
	for (int i = 0; i < table->n; i++)
		if (table->cols[i].shape->comment)
			appendStringInfo(out, "COMMENT ON COLUMN %s.%s IS %s;\n", table->name,
							 quote_identifier(table->cols[i].name), quote_literal_cstr(table->cols[i].shape->comment));
}

/* The setting "columns", or NULL. */
static char *
mapping_of(const Table *table)
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

/* What makes a sink of it, to be copied. */
static void
append_sink(StringInfo out, const Table *table, const char *server, const char *topic, bool has_key)
{
	StringInfoData call;
	char	   *columns = mapping_of(table);
	const char *sink = quote_literal_cstr(table->bare);

	initStringInfo(&call);
	appendStringInfo(&call, "SELECT kafka_sink.create_sink(%s, ", sink);
	if (server)
		appendStringInfo(&call, "server => %s, ", quote_literal_cstr(server));
	appendStringInfo(&call, "target => %s, format => 'avro'", quote_literal_cstr(table->name));
	if (table->key)
		appendStringInfoString(&call, ", key_format => 'avro'");
	if (table->value->envelope == KS_DEBEZIUM)
		appendStringInfoString(&call, ", envelope => 'debezium'");
	if (has_key)
		appendStringInfoString(&call, ", insert_mode => 'upsert', delete_enabled => true");
	if (columns)
		appendStringInfo(&call, ", columns => %s", quote_literal_cstr(columns));
	if (table->value_schema)
		appendStringInfo(&call, ", value_schema => %s", quote_literal_cstr(table->value_schema));
	if (table->key_schema)
		appendStringInfo(&call, ", key_schema => %s", quote_literal_cstr(table->key_schema));
	appendStringInfoString(&call, ");");
	append_line(out, call.data);
	if (topic)
		append_line(out, psprintf("SELECT kafka_sink.register_topic(%s, %s);", sink, quote_literal_cstr(topic)));
}

static char *
write_table(const Table *table, const char *server, const char *topic)
{
	StringInfoData out;
	StringInfoData key;
	bool		has_key;

	initStringInfo(&out);
	initStringInfo(&key);
	has_key = append_key(&key, table);
	append_origin(&out, "Value", table->value, table->value_from);
	if (table->key)
		append_origin(&out, "Key", table->key, table->key_from);
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

/* As it was given, or after what the records are of. */
static void
name_table(Table *table, const char *given, const char *topic)
{
	const char *name = given ? NULL : topic ? topic : table->value->name ? table->value->name : "records";
	const char *dot = name ? strrchr(name, '.') : NULL;

	if (given)
	{
		List	   *names = textToQualifiedNameList(cstring_to_text(given));
		RangeVar   *rv = makeRangeVarFromNameList(names);

		table->bare = rv->relname;
		table->name = quote_qualified_identifier(rv->schemaname, rv->relname);
		return;
	}
	/* Debezium's topics have the schema before the table, records their namespace */
	if (dot && dot[1])
		name = dot + 1;
	table->bare = pnstrdup(name, pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1));
	table->name = pstrdup(quote_identifier(table->bare));
}

/* kafka_sink.describe(server, topic, table_name, value_subject, key_subject, value_schema, key_schema) */
Datum
kafka_sink_describe(PG_FUNCTION_ARGS)
{
	char	   *server = argument(fcinfo, ARG_SERVER);
	char	   *topic = argument(fcinfo, ARG_TOPIC);
	Table		table = {0};

	find_value(&table, server, topic, argument(fcinfo, ARG_VALUE_SUBJECT), argument(fcinfo, ARG_VALUE_SCHEMA));
	find_key(&table, server, topic, argument(fcinfo, ARG_KEY_SUBJECT), argument(fcinfo, ARG_KEY_SCHEMA));
	find_columns(&table);
	name_table(&table, argument(fcinfo, ARG_TABLE), topic);
	PG_RETURN_TEXT_P(cstring_to_text(write_table(&table, server, topic)));
}
