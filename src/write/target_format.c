/*
 * target_format.c
 *	  Where columns get their values if records are not JSON objects.
 *
 * A raw value goes to one column as a whole: the one that "columns" maps to
 * @value, or the only one that "columns" does not mention.  Fields of CSV have
 * positions: those that "columns" says ("$1", "$2", ...), or, if it says none,
 * the columns that it does not mention take them in the order of the table.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "format/framing.h"
#include "write/target_int.h"

/* Does "columns" mention a field's position, or for raw values @value? */
static bool
mentions_value(const KsSink *sink)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken tok;

	if (sink->columns == NULL)
		return false;
	/* into objects too: of their strings only a source can be one */
	it = JsonbIteratorInit(&sink->columns->root);
	while ((tok = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
		if (tok == WJB_VALUE && v.type == jbvString && v.val.string.len > 0 &&
			(sink->format == KS_FORMAT_CSV ? v.val.string.val[0] == '$' :
			 v.val.string.len == 6 && memcmp(v.val.string.val, "@value", 6) == 0))
			return true;
	return false;
}

char *
ks_format_source(KsTarget *target, const KsSink *sink, Relation rel, AttrNumber attnum,
				 bool *excluded)
{
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

	*excluded = att->attgenerated != '\0' || att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS ||
		mentions_value(sink);
	if (*excluded)
		return NULL;
	if (sink->format == KS_FORMAT_CSV)
		return psprintf("$%d", target->npositions + 1);
	for (int i = 0; i < target->ncols; i++)
		if (target->cols[i].source == KS_FROM_VALUE)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a raw value cannot fill both \"%s\" and \"%s\"", target->cols[i].name,
							NameStr(att->attname)),
					 errhint("Say in \"columns\" which column takes @value, and where others get theirs; null leaves one to its default.")));
	return "@value";
}

void
ks_format_set_source(KsTarget *target, KsColumn *col, const char *source)
{
	char	   *end;
	long		pos;

	if (target->format == KS_FORMAT_RAW)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid source \"%s\" for column \"%s\"", source, col->name),
				 errdetail("A raw value has no fields."),
				 errhint("Valid sources: @topic, @partition, @offset, @timestamp, @key, @key.field, @headers, @value; null leaves the column to its default.")));
	errno = 0;
	pos = source[0] == '$' && isdigit((unsigned char) source[1]) ? strtol(source + 1, &end, 10) : 0;
	if (pos < 1 || pos > MaxTupleAttributeNumber || errno != 0 || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid source \"%s\" for column \"%s\"", source, col->name),
				 errhint("Fields of CSV have positions: $1 to $%d.  Other sources: @topic, @partition, @offset, @timestamp, @key, @key.field, @headers, @value; null leaves the column to its default.",
						 MaxTupleAttributeNumber)));
	col->source = KS_FROM_POSITION;
	col->position = (int) pos - 1;
	target->npositions = Max(target->npositions, (int) pos);
}

static bool
tells_schema(const KsSink *sink)
{
	KsFormatSettings settings = ks_catalog_format(sink);
	KsFraming	framing = ks_framing_of(&settings, settings.value_schema);

	/* of JSON it is told where it is, whoever has the schema */
	if (sink->format == KS_FORMAT_JSON_SCHEMA)
		framing = sink->framing;
	return ks_format_names_schema(sink->format) && framing != KS_FRAMING_NONE && framing != KS_FRAMING_SINGLE_OBJECT;
}

void
ks_format_check(const KsTarget *target, const KsSink *sink)
{
	if (!ks_format_has_names(sink->format) && target->has_rest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("@rest needs format json, avro, protobuf or json_schema")));
	if (sink->evolve != KS_EVOLVE_NONE && target->has_rest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"evolve\" does not go with @rest"),
				 errdetail("It makes columns for what no column takes, and so there is nothing left.")));
	for (int i = 0; i < target->ncols; i++)
	{
		if (target->cols[i].source == KS_FROM_SCHEMA_ID && !tells_schema(sink))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("@schema_id needs format avro, protobuf or json_schema with a framing that tells it, or a registry"),
					 errdetail("In no other form has a record the id of a schema.")));
		if (target->cols[i].source == KS_FROM_SCHEMA && !ks_format_names_schema(sink->format))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("@schema needs format avro, protobuf or json_schema"),
					 errdetail("In no other format have values a type with a name.")));
	}
}
