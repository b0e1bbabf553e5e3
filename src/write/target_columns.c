/*
 * target_columns.c
 *	  Where a column's value comes from: the sink's "columns" setting.
 *
 * A source is the name of a field, a path into the value ($.a.b[0]), or a
 * piece of metadata (@key, @offset, ...).
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "base/compat.h"
#include "write/target_int.h"

static void
bad_path(const char *column, const char *path)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid source \"%s\" for column \"%s\"", path, column),
			 errhint("Valid sources: a field's name, a path such as $.order.items[0].\"unit price\", "
					 "@topic, @partition, @offset, @timestamp, @key, @key.field, @headers, @value, @rest; null leaves the column to its default.")));
}

/* Steps of ".a.b[0]" and ".\"odd name\"". */
static List *
parse_steps(const char *column, const char *whole, const char *p)
{
	List	   *steps = NIL;

	while (*p)
	{
		KsPathStep *step = palloc0(sizeof(KsPathStep));

		if (*p == '[')
		{
			char	   *end;

			if (!isdigit((unsigned char) p[1]))
				bad_path(column, whole);
			errno = 0;
			step->index = (int) Min(strtol(p + 1, &end, 10), PG_INT32_MAX);
			if (*end != ']')
				bad_path(column, whole);
			p = end + 1;
		}
		else if (*p == '.')
		{
			StringInfoData name;

			initStringInfo(&name);
			p++;
			if (*p == '"')
			{
				for (p++; *p != '"'; p++)
				{
					if (*p == '\\' && p[1])
						p++;
					if (*p == '\0')
						bad_path(column, whole);
					appendStringInfoChar(&name, *p);
				}
				p++;
			}
			else
				for (; *p && *p != '.' && *p != '['; p++)
					appendStringInfoChar(&name, *p);
			if (name.len == 0)
				bad_path(column, whole);
			step->name = name.data;
			step->len = name.len;
		}
		else
			bad_path(column, whole);
		steps = lappend(steps, step);
	}
	return steps;
}

static void
set_path(KsColumn *col, List *steps)
{
	ListCell   *lc;

	col->npath = 0;
	col->path = palloc0(Max(list_length(steps), 1) * sizeof(KsPathStep));
	foreach(lc, steps)
		col->path[col->npath++] = *(KsPathStep *) lfirst(lc);
}

/* Registers a top-level field of the value; columns may share one. */
int
ks_columns_add_field(KsTarget *target, const char *name, int len)
{
	for (int i = 0; i < target->nfields; i++)
		if (target->fields[i].len == len && memcmp(target->fields[i].name, name, len) == 0)
			return i;
	target->fields[target->nfields].name = name;
	target->fields[target->nfields].len = len;
	return target->nfields++;
}

/* jsonb, json, or an array of (text, bytea). */
static bool
takes_headers(KsType *type)
{
	TupleDesc	desc;

	type = ks_type_base(type);
	if (type->kind == KS_TYPE_JSON)
		return true;
	if (type->kind != KS_TYPE_ARRAY || type->elem->kind != KS_TYPE_COMPOSITE)
		return false;
	desc = type->elem->composite->tupdesc;
	return desc->natts == 2 &&
		!TupleDescAttr(desc, 0)->attisdropped && TupleDescAttr(desc, 0)->atttypid == TEXTOID &&
		!TupleDescAttr(desc, 1)->attisdropped && TupleDescAttr(desc, 1)->atttypid == BYTEAOID;
}

void
ks_columns_set_source(KsTarget *target, KsColumn *col, const char *source)
{
	static const struct
	{
		const char *name;
		KsColumnSource source;
	}			metadata[] = {
		{"@topic", KS_FROM_TOPIC}, {"@partition", KS_FROM_PARTITION},
		{"@offset", KS_FROM_OFFSET}, {"@timestamp", KS_FROM_TIMESTAMP},
		{"@key", KS_FROM_KEY}, {"@headers", KS_FROM_HEADERS},
		{"@value", KS_FROM_VALUE}, {"@rest", KS_FROM_REST},
		{"@schema_id", KS_FROM_SCHEMA_ID}, {"@schema", KS_FROM_SCHEMA}
	};
	List	   *steps = NIL;

	if (*source == '@')
	{
		for (int i = 0; i < (int) lengthof(metadata); i++)
			if (strcmp(source, metadata[i].name) == 0)
			{
				col->source = metadata[i].source;
				if (col->source == KS_FROM_REST)
					target->has_rest = true;
				if (col->source == KS_FROM_HEADERS)
					target->wants_headers = true;
				if (col->source == KS_FROM_HEADERS && !takes_headers(&col->type))
					ereport(ERROR,
							(errcode(ERRCODE_DATATYPE_MISMATCH),
							 errmsg("column \"%s\" cannot take %s", col->name, source),
							 errdetail("Its type is %s.", format_type_be(col->type.typid)),
							 errhint("Use a column of type jsonb or kafka_sink.header[].")));
				if (col->source == KS_FROM_REST && ks_type_base(&col->type)->kind != KS_TYPE_JSON)
					ereport(ERROR,
							(errcode(ERRCODE_DATATYPE_MISMATCH),
							 errmsg("column \"%s\" cannot take %s", col->name, source),
							 errdetail("Its type is %s.", format_type_be(col->type.typid)),
							 errhint("Use a column of type jsonb.")));
				return;
			}
		if (strncmp(source, "@key.", 5) != 0 && strncmp(source, "@key[", 5) != 0)
			bad_path(col->name, source);
		col->source = KS_FROM_KEY_FIELD;
		set_path(col, parse_steps(col->name, source, source + 4));
		return;
	}

	if (!ks_format_has_names(target->format))
	{
		ks_format_set_source(target, col, source);
		return;
	}
	col->source = KS_FROM_VALUE_FIELD;
	if (source[0] == '$' && (source[1] == '.' || source[1] == '['))
	{
		KsPathStep *first;

		steps = parse_steps(col->name, source, source + 1);
		first = linitial(steps);
		if (first->name == NULL)
			bad_path(col->name, source);
		col->field = ks_columns_add_field(target, first->name, first->len);
		set_path(col, list_delete_first(steps));
	}
	else if (*source == '\0')
		bad_path(col->name, source);
	else
		col->field = ks_columns_add_field(target, pstrdup(source), strlen(source));
}

KS_NORETURN static void bad_mapping(const char *column);

static void
bad_mapping(const char *column)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the source of column \"%s\" must be a string, null or an object", column),
			 errhint("An object has \"unit\" and, if it is not the field of the column's name, \"source\": {\"source\": \"$.at\", \"unit\": \"milliseconds\"}.")));
}

static void
set_mapped_unit(KsMapping *mapping, const char *column, const char *unit)
{
	if (!ks_unit_parse(unit, &mapping->unit))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid unit \"%s\" for column \"%s\"", unit, column),
				 errhint("Valid units: days, seconds, milliseconds, microseconds, nanoseconds.")));
}

/* {"source": ..., "unit": ...} */
static void
read_mapping(KsMapping *mapping, const char *column, JsonbContainer *object)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken tok;
	JsonbValue	v;
	char	   *member = NULL;

	if (!JsonContainerIsObject(object))
		bad_mapping(column);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
			member = pnstrdup(v.val.string.val, v.val.string.len);
		else if (tok == WJB_VALUE)
		{
			char	   *word = v.type == jbvString ? pnstrdup(v.val.string.val, v.val.string.len) : NULL;

			if (word && member && strcmp(member, "source") == 0)
				mapping->source = word;
			else if (word && member && strcmp(member, "unit") == 0)
				set_mapped_unit(mapping, column, word);
			else
				bad_mapping(column);
		}
	}
	if (mapping->unit == KS_UNIT_NONE)
		bad_mapping(column);
}

KsMapping
ks_columns_mapping(const KsSink *sink, const char *column)
{
	KsMapping	mapping = {0};
	JsonbValue	buf;
	JsonbValue *v = sink->columns == NULL ? NULL :
		getKeyJsonValueFromContainer(&sink->columns->root, column, strlen(column), &buf);

	if (v == NULL)
		return mapping;
	if (v->type == jbvNull)
		mapping.excluded = true;
	else if (v->type == jbvString)
		mapping.source = pnstrdup(v->val.string.val, v->val.string.len);
	else if (v->type == jbvBinary)
		read_mapping(&mapping, column, v->val.binary.data);
	else
		bad_mapping(column);
	return mapping;
}

/* Numbers come from values and keys; the rest has no units. */
void
ks_columns_set_unit(KsColumn *col, KsUnit unit)
{
	if (!col->type.has_time)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" cannot have a unit", col->name),
				 errdetail("Its type is %s.", format_type_be(col->type.typid)),
				 errhint("Units are for columns of date and time types.")));
	if (!ks_from_field(col) && col->source != KS_FROM_KEY_FIELD && col->source != KS_FROM_KEY &&
		col->source != KS_FROM_VALUE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("column \"%s\" cannot have a unit", col->name),
				 errdetail("Its source is not a field, a key or a value.")));
	col->unit = unit;
}

/* Every name in "columns" must be a column of the table. */
void
ks_columns_check_names(const KsSink *sink, Relation rel)
{
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken tok;

	if (sink->columns == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(sink->columns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"columns\" must be a JSON object"),
				 errhint("For example: {\"id\": \"$.order.id\", \"seen_at\": \"@timestamp\"}.")));
	it = JsonbIteratorInit(&sink->columns->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
		{
			char	   *name = pnstrdup(v.val.string.val, v.val.string.len);

			if (get_attnum(RelationGetRelid(rel), name) <= 0)
				ereport(ERROR,
						(errcode(ERRCODE_UNDEFINED_COLUMN),
						 errmsg("column \"%s\" of \"columns\" does not exist in \"%s\"",
								name, RelationGetRelationName(rel))));
		}
	}
}

int
ks_target_find_column(const KsTarget *target, AttrNumber attnum)
{
	for (int i = 0; i < target->ncols; i++)
		if (target->cols[i].attnum == attnum)
			return i;
	return -1;
}
