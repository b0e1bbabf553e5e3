/*
 * define_schema.c
 *	  Settings that say by which schemas a sink, or a topic of its own, reads records.
 *
 * A schema is given if it is needed, and only then; and is one.  A sink that writes
 * nothing by itself may leave it to its topics, and one whose server has a registry to
 * its records, if these tell which.
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog/schemas.h"
#include "format/avro_schema.h"
#include "format/decode_format.h"
#include "format/jschema.h"
#include "format/shape.h"
#include "sql/define_schema.h"

/* A schema of values, or of keys. */
typedef struct Part
{
	char	   *setting;
	KsFormat	format;
	const char *schema;
	KsFraming	framing;
	bool		of_keys;
} Part;

static const char *
format_word(KsFormat format)
{
	return format == KS_FORMAT_AVRO ? "avro" : "protobuf";
}

static const char *
schema_hint(KsFormat format)
{
	return format == KS_FORMAT_AVRO ?
		"It is the schema's JSON text, such as {\"type\": \"record\", \"name\": \"flight\", \"fields\": [{\"name\": \"id\", \"type\": \"long\"}]}." :
		"It is the text of a .proto file, such as: syntax = \"proto3\"; message Flight { int64 id = 1; }";
}

/* What is to be checked by a schema has one; without that, nothing asks for it. */
static void
check_json_schema(const Part *part, const KsSink *sink, bool nobody_has)
{
	if (sink->framing == KS_FRAMING_SINGLE_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("framing single_object does not go with format json_schema"),
				 errdetail("It is an encoding of Avro.")));
	if (!sink->validate || part->schema)
		return;
	if (sink->framing == KS_FRAMING_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("validate with this framing needs the setting \"%s\"", part->setting),
				 errdetail("Records tell no schema of the registry then."),
				 errhint("Give the schema, or set framing => 'auto'.")));
	if (nobody_has)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("validate needs the setting \"%s\", or a server with a schema registry", part->setting),
				 errhint("Schemas that no registry has can be given with kafka_sink.add_schema() first.")));
}

/* Does anybody know what schema it is that a record tells? */
static bool
has_schemas(const KsSink *sink)
{
	return ks_schemas_registry(sink->server) != NULL || ks_schemas_given(sink->server);
}

/* Is a schema needed, and there? */
static void
check_given(const Part *part, const KsSink *sink)
{
	bool		writes = ks_sink_writes_by_default(sink) || sink->topic != NULL;
	bool		registry = has_schemas(sink);

	if (part->format == KS_FORMAT_JSON_SCHEMA)
	{
		check_json_schema(part, sink, writes && !registry);
		return;
	}
	if (!ks_format_has_schema(part->format))
	{
		if (part->schema)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" has nothing to work on", part->setting),
					 errhint("It needs %s avro, protobuf or json_schema.", part->of_keys ? "key_format" : "format")));
		return;
	}
	if (part->format == KS_FORMAT_PROTOBUF &&
		(sink->framing == KS_FRAMING_APICURIO8 || sink->framing == KS_FRAMING_GLUE))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("framings apicurio8 and glue do not go with format protobuf"),
				 errdetail("Their serializers tell the message in ways of their own.")));
	if (part->format == KS_FORMAT_PROTOBUF && sink->framing == KS_FRAMING_SINGLE_OBJECT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("framing single_object does not go with format protobuf"),
				 errdetail("It is an encoding of Avro.")));
	if (part->schema)
		return;
	if (registry && (sink->framing == KS_FRAMING_NONE || sink->framing == KS_FRAMING_SINGLE_OBJECT))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format %s with this framing needs the setting \"%s\"", format_word(part->format), part->setting),
				 errdetail("Records tell no schema of the registry then."),
				 errhint("Give the schema, or set framing => 'auto'.")));
	if (writes && !registry)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("format %s needs the setting \"%s\", or a server with a schema registry",
						format_word(part->format), part->setting),
				 errhint("%s", schema_hint(part->format))));
}

static void
schema_context(void *arg)
{
	errcontext("setting \"%s\"", (const char *) arg);
}

/* Is it a schema? */
static void
check_text(const Part *part, const KsSink *sink)
{
	ErrorContextCallback context = {error_context_stack, schema_context, part->setting};
	MemoryContext cxt;
	MemoryContext old;

	if (part->schema == NULL)
		return;
	cxt = AllocSetContextCreate(CurrentMemoryContext, "kafka_sink schema", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(cxt);
	error_context_stack = &context;
	if (part->format == KS_FORMAT_JSON_SCHEMA)
		(void) ks_jschema_compile(&(KsSchemaText) {.type = "JSON", .text = part->schema});
	else if (part->format == KS_FORMAT_AVRO)
		(void) ks_avro_parse(part->schema, strlen(part->schema));
	else
		ks_proto_check_schema(part->schema, sink->message_type, part->of_keys, part->framing != KS_FRAMING_NONE);
	error_context_stack = context.previous;
	MemoryContextSwitchTo(old);
	MemoryContextDelete(cxt);
}

/* A name of a message that nothing asks for. */
static void
check_message_type(const KsSink *sink)
{
	if (sink->message_type == NULL)
		return;
	if (sink->format != KS_FORMAT_PROTOBUF || sink->value_schema == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" has nothing to work on", "message_type"),
				 errhint("It needs format protobuf and value_schema; of schemas of a registry, records tell the message.")));
	if (sink->framing != KS_FRAMING_NONE && sink->framing != KS_FRAMING_AUTO)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" does not go with this framing", "message_type"),
				 errdetail("Records tell the message then."),
				 errhint("Filter by @schema, or set framing => 'none'.")));
}

/* A target is altered for schemas that records tell, and by whoever owns it. */
static void
check_evolve(const KsSink *sink)
{
	bool		writes = ks_sink_writes_by_default(sink) || sink->topic != NULL;
	const char *owner;

	if (sink->evolve == KS_EVOLVE_NONE || !writes)
		return;
	if (sink->command || ks_shaper(sink->format) == NULL || sink->value_schema ||
		sink->framing == KS_FRAMING_NONE || !has_schemas(sink))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" has nothing to work on", "evolve"),
				 errhint("It needs a target, format avro, protobuf or json_schema, and records that tell their schema: a server with a schema registry, and no value_schema.")));
	if (get_rel_relkind(sink->target) == '\0' || ks_relation_ownercheck(sink->target, sink->owner))
		return;
	owner = GetUserNameFromId(sink->owner, false);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" does not own \"%s\" and cannot alter it", owner, get_rel_name(sink->target)),
			 errdetail("The setting evolve has the sink's owner alter its target."),
			 errhint("ALTER TABLE ... OWNER TO %s, or set evolve => 'none'.", quote_identifier(owner))));
}

void
ks_define_check_schemas(const KsSink *sink)
{
	KsFormatSettings set = ks_catalog_format(sink);
	Part		value = {"value_schema", sink->format, sink->value_schema,
	ks_framing_of(&set, sink->value_schema), false};
	Part		key = {"key_schema", sink->key_format, sink->key_schema,
	ks_framing_of(&set, sink->key_schema), true};

	check_given(&value, sink);
	check_given(&key, sink);
	check_message_type(sink);
	check_text(&value, sink);
	check_text(&key, sink);
	if (sink->framing_given && !ks_format_names_schema(sink->format) && !ks_format_names_schema(sink->key_format))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" has nothing to work on", "framing"),
				 errhint("It needs format or key_format avro, protobuf or json_schema.")));
	if (sink->validate && sink->format != KS_FORMAT_JSON_SCHEMA && sink->key_format != KS_FORMAT_JSON_SCHEMA)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" has nothing to work on", "validate"),
				 errhint("It needs format or key_format json_schema.")));
	check_evolve(sink);
}
