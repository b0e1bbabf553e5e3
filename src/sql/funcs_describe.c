/*
 * funcs_describe.c
 *	  describe(): the table that records of a topic fit into, as SQL to run.
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
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "sql/arguments.h"
#include "sql/describe.h"
#include "sql/funcs_schema.h"

#define MAX_KEYS	INDEX_MAX_KEYS

PG_FUNCTION_INFO_V1(kafka_sink_describe);

enum
{
	ARG_SERVER, ARG_TOPIC, ARG_TABLE, ARG_VALUE_SUBJECT, ARG_KEY_SUBJECT, ARG_VALUE_SCHEMA, ARG_KEY_SCHEMA,
	ARG_FORMAT, ARG_MESSAGE_TYPE
};

static char *
argument(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

/* --- schemas --- */

/* What has the records' schema, by the words of a registry and of the setting format. */
static const struct
{
	const char *type;
	const char *word;
	KsFormat	format;
}			formats[] = {
	{"AVRO", "avro", KS_FORMAT_AVRO},
	{"PROTOBUF", "protobuf", KS_FORMAT_PROTOBUF},
	{"JSON", "json_schema", KS_FORMAT_JSON_SCHEMA}
};

static const KsShaper *
shaper_of(const KsSchemaText *text)
{
	for (int i = 0; i < (int) lengthof(formats); i++)
		if (strcmp(text->type, formats[i].type) == 0)
			return ks_shaper(formats[i].format);
	return NULL;
}

static KsShape *
make_shape(const KsSchemaText *text, const char *message_type, bool of_keys)
{
	const KsShaper *shaper = shaper_of(text);
	const void *type;
	KsShape    *shape;

	if (shaper == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("schemas of type %s cannot be described", text->type),
				 errhint("Write the table by hand: kafka_sink.schema() shows the schema.")));
	type = shaper->parse(text);
	if (shaper->choose)
		type = shaper->choose(type, message_type, of_keys);
	else if (message_type && !of_keys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message_type is for schemas of Protobuf"),
				 errdetail("The schema's type is %s.", text->type)));
	shape = shaper->shape(type, true);
	for (int i = 0; i < shape->n; i++)
		shape->cols[i].default_text = ks_shape_default(&shape->cols[i]);
	return shape;
}

/* False: the registry has no such subject. */
static bool
find_subject(KsDescribedPart *part, const char *server, const char *subject, const char *message_type, bool of_keys)
{
	KsConf	   *conf = ks_options_load(server, GetUserId());
	KsSchemaId	id;
	KsSchemaText *text = palloc0(sizeof(KsSchemaText));
	int			version;

	if (!ks_schemas_newest(server, conf, subject, &id, &version, text))
		return false;
	part->from = psprintf("schema %s of subject \"%s\", version %d", ks_schema_id_text(&id), subject, version);
	part->shape = make_shape(text, message_type, of_keys);
	part->message_type = message_type;
	for (int i = 0; i < (int) lengthof(formats); i++)
		if (strcmp(text->type, formats[i].type) == 0)
			part->format = formats[i].word;
	/* (a key has all of its fields, or names no row) */
	if (!of_keys)
		ks_describe_versions(part, shaper_of(text), text->type, server, conf, subject, version);
	return true;
}

static void
take_given(KsDescribedPart *part, const char *schema, const char *format, const char *message_type, bool of_keys)
{
	KsSchemaText *text = palloc0(sizeof(KsSchemaText));

	for (int i = 0; i < (int) lengthof(formats); i++)
		if (strcmp(format, formats[i].word) == 0)
			text->type = formats[i].type;
	if (text->type == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid format of a schema: \"%s\"", format),
				 errhint("Valid formats: avro, protobuf, json_schema.")));
	text->text = part->schema = schema;
	part->from = pstrdup("the schema that was given");
	part->format = format;
	part->shape = make_shape(text, message_type, of_keys);
	part->message_type = message_type;
}

static void
find_value(KsDescribed *table, FunctionCallInfo fcinfo, const char *server, const char *topic, const char *format)
{
	const char *schema = argument(fcinfo, ARG_VALUE_SCHEMA);
	const char *subject = argument(fcinfo, ARG_VALUE_SUBJECT);
	const char *message_type = argument(fcinfo, ARG_MESSAGE_TYPE);

	if (schema)
	{
		take_given(&table->value, schema, format, message_type, false);
		return;
	}
	if (server == NULL || (topic == NULL && subject == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is nothing to describe"),
				 errhint("Give a server and a topic, or a schema: kafka_sink.describe('kafka', 'orders'), kafka_sink.describe(value_schema => '{\"type\": \"record\", ...}').")));
	if (subject == NULL)
		subject = psprintf("%s-value", topic);
	if (!find_subject(&table->value, server, subject, message_type, false))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the registry of server \"%s\" has no subject \"%s\"", server, subject),
				 errhint("If serializers use another strategy for names, say which subject it is: value_subject => '...'.")));
}

/* A topic whose keys have no schema is as good as any. */
static void
find_key(KsDescribed *table, FunctionCallInfo fcinfo, const char *server, const char *topic, const char *format)
{
	const char *schema = argument(fcinfo, ARG_KEY_SCHEMA);
	const char *subject = argument(fcinfo, ARG_KEY_SUBJECT);
	bool		found = false;

	if (schema)
	{
		take_given(&table->key, schema, format, NULL, true);
		return;
	}
	if (server && (topic || subject))
		found = find_subject(&table->key, server, subject ? subject : psprintf("%s-key", topic), NULL, true);
	if (!found && subject)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the registry of server \"%s\" has no subject \"%s\"", server ? server : "", subject)));
}

/* --- columns --- */

static bool
is_taken(const KsDescribed *table, const char *name)
{
	for (int i = 0; i < table->n; i++)
		if (strcmp(table->cols[i].name, name) == 0)
			return true;
	return false;
}

/* A name that a column can have, and no other one has. */
static char *
free_name(const KsDescribed *table, const char *name, int len)
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

static KsDescribedColumn *
add_column(KsDescribed *table, const KsShapeColumn *shape, const char *name, int len)
{
	KsDescribedColumn *col = &table->cols[table->n];

	col->shape = shape;
	col->name = free_name(table, name, len);
	table->n++;
	return col;
}

static void
add_value_columns(KsDescribed *table)
{
	for (int i = 0; i < table->value.shape->n; i++)
	{
		const KsShapeColumn *shape = &table->value.shape->cols[i];
		KsDescribedColumn *col;

		CHECK_FOR_INTERRUPTS();
		if (shape->field.name == NULL)
		{
			add_column(table, shape, "value", strlen("value"))->source = "@value";
			continue;
		}
		col = add_column(table, shape, shape->field.name, shape->field.len);
		if (shape->taken_by.name)
			col->source = path_to("$", shape->taken_by.name, shape->taken_by.len);
		else if ((int) strlen(col->name) != shape->field.len || memcmp(col->name, shape->field.name, shape->field.len) != 0)
			col->source = path_to("$", shape->field.name, shape->field.len);
	}
}

/* The value's column that has what a field of the key has; NULL: none. */
static KsDescribedColumn *
same_column(const KsDescribed *table, const KsShapeColumn *key)
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
add_key_columns(KsDescribed *table)
{
	int			nvalues = table->n;

	for (int i = 0; i < table->key.shape->n; i++)
	{
		const KsShapeColumn *shape = &table->key.shape->cols[i];
		KsDescribedColumn *col = NULL;

		if (shape->field.name == NULL)
		{
			col = add_column(table, shape, "key", strlen("key"));
			col->source = "@key";
		}
		else
		{
			KsDescribed values = *table;

			values.n = nvalues;
			col = same_column(&values, shape);
			if (col == NULL)
				col = add_column(table, shape, shape->field.name, shape->field.len);
			/* of a value that may lack it the key has it */
			if (col->shape == shape || col->shape->nullable || col->shape->lacking)
				col->source = path_to("@key", shape->field.name, shape->field.len);
		}
		col->of_key = true;
	}
}

static void
check_key(KsDescribed *table)
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
find_columns(KsDescribed *table)
{
	int			max = table->value.shape->n + (table->key.shape ? table->key.shape->n : 0);

	if (max > MaxHeapAttributeNumber)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("the schema has more fields than a table can have columns"),
				 errdetail("It has %d, with those of the key.", max),
				 errhint("Write the table by hand, with columns for what is needed and one of type jsonb for \"@rest\".")));
	table->cols = palloc0((max + 1) * sizeof(KsDescribedColumn));
	add_value_columns(table);
	if (table->key.shape)
		add_key_columns(table);
	if (table->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the schema has no fields")));
	check_key(table);
}

/* --- the function --- */

/* As it was given, or after what the records are of. */
static void
name_table(KsDescribed *table, const char *given, const char *topic)
{
	const char *name = given ? NULL : topic ? topic : table->value.shape->name ? table->value.shape->name : "records";
	const char *slash = name ? strrchr(name, '/') : NULL;
	const char *dot;

	if (given)
	{
		List	   *names = textToQualifiedNameList(cstring_to_text(given));
		RangeVar   *rv = makeRangeVarFromNameList(names);

		table->bare = rv->relname;
		table->name = quote_qualified_identifier(rv->schemaname, rv->relname);
		return;
	}
	/* a URI has the name of a file at its end */
	if (slash && slash[1])
		name = pnstrdup(slash + 1, Max(strcspn(slash + 1, "."), 1));
	/* Debezium's topics have the schema before the table, records their namespace */
	dot = strrchr(name, '.');
	if (dot && dot[1])
		name = dot + 1;
	table->bare = pnstrdup(name, pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1));
	table->name = pstrdup(quote_identifier(table->bare));
}

/* kafka_sink.describe(server, topic, table_name, value_subject, key_subject, value_schema, key_schema,
 * format, message_type) */
Datum
kafka_sink_describe(PG_FUNCTION_ARGS)
{
	char	   *server = argument(fcinfo, ARG_SERVER);
	char	   *topic = argument(fcinfo, ARG_TOPIC);
	char	   *format = argument(fcinfo, ARG_FORMAT);
	KsDescribed table = {0};

	if (format == NULL)
		format = "avro";
	find_value(&table, fcinfo, server, topic, format);
	find_key(&table, fcinfo, server, topic, format);
	find_columns(&table);
	name_table(&table, argument(fcinfo, ARG_TABLE), topic);
	PG_RETURN_TEXT_P(cstring_to_text(ks_describe_write(&table, server, topic)));
}
