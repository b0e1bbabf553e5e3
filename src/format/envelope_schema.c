/*
 * envelope_schema.c
 *	  Schemas of Connect's JsonConverter, parsed.
 */
#include "postgres.h"

#include "format/envelope_schema.h"

/* Each is walked over once for each level above it. */
#define MAX_LEVELS	100

bool
ks_schema_member(const KsJsonToken *object, const char *name, KsJsonToken *value)
{
	KsJson		json = {.start = object->p, .end = object->p + object->len};
	KsJsonToken n,
				v;
	bool		found = false;
	const char *p;

	if (object->type != KS_JSON_OBJECT)
		return false;
	p = ks_json_begin(&json, object->p);
	for (;;)
	{
		p = ks_json_next_member(&json, p, &n, &v);
		if (v.p == NULL)
			return found;
		if (ks_json_name_is(&n, name, strlen(name)))
		{
			*value = v;
			found = true;
		}
	}
}

static bool
is(const KsJsonToken *tok, const char *s)
{
	return tok->p && tok->len == (int) strlen(s) && memcmp(tok->p, s, tok->len) == 0;
}

/* 'otherwise' if it is not there, or no whole number. */
static int64
parameter(const KsJsonToken *params, const char *name, int64 otherwise)
{
	KsJsonToken value;
	char	   *text;
	char	   *end;
	long		n;

	if (params->p == NULL || !ks_schema_member(params, name, &value))
		return otherwise;
	text = pnstrdup(value.p, value.len);
	n = strtol(text, &end, 10);
	return end > text && *end == '\0' ? n : otherwise;
}

static void
set_logical(KsSchema *schema, const KsJsonToken *name, const KsJsonToken *params)
{
	static const struct
	{
		const char *name;
		KsLogical	kind;
		int64		unit;
	}			types[] = {
		{"org.apache.kafka.connect.data.Decimal", KS_DECIMAL, 0},
		{"org.apache.kafka.connect.data.Date", KS_DAYS, 0},
		{"org.apache.kafka.connect.data.Time", KS_TIME, 1000},
		{"org.apache.kafka.connect.data.Timestamp", KS_TIMESTAMP, 1000},
		{"io.debezium.time.Date", KS_DAYS, 0},
		{"io.debezium.time.Time", KS_TIME, 1000},
		{"io.debezium.time.MicroTime", KS_TIME, 1000000},
		{"io.debezium.time.NanoTime", KS_TIME, 1000000000},
		{"io.debezium.time.Timestamp", KS_TIMESTAMP, 1000},
		{"io.debezium.time.MicroTimestamp", KS_TIMESTAMP, 1000000},
		{"io.debezium.time.NanoTimestamp", KS_TIMESTAMP, 1000000000},
		{"io.debezium.time.MicroDuration", KS_DURATION, 1000000},
		{"io.debezium.data.VariableScaleDecimal", KS_VARIABLE_DECIMAL, 0},
		{"io.debezium.data.Json", KS_JSON_TEXT, 0},
		{"io.debezium.data.Bits", KS_BITS, 0},
		{"io.debezium.data.geometry.Point", KS_POINT, 0}
	};

	for (int i = 0; i < (int) lengthof(types); i++)
		if (is(name, types[i].name))
		{
			schema->kind = types[i].kind;
			schema->unit = schema->kind == KS_DECIMAL ? parameter(params, "scale", KS_NO_SCALE) :
				schema->kind == KS_BITS ? parameter(params, "length", 0) : types[i].unit;
		}
}

/* The members of a schema that count. */
typedef enum Member
{
	TYPE, NAME, ITEMS, FIELDS, PARAMETERS, FIELD, NMEMBERS
} Member;

/* In one pass, since schemas are nested; p NULL: not there. */
static void
find_members(const KsJsonToken *tok, KsJsonToken *members)
{
	static const char *const names[] = {"type", "name", "items", "fields", "parameters", "field"};
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	KsJsonToken name,
				value;
	const char *p;

	for (int i = 0; i < NMEMBERS; i++)
		members[i].p = NULL;
	if (tok->type != KS_JSON_OBJECT)
		return;
	p = ks_json_begin(&json, tok->p);
	for (;;)
	{
		p = ks_json_next_member(&json, p, &name, &value);
		if (value.p == NULL)
			return;
		for (int i = 0; i < NMEMBERS; i++)
			if (ks_json_name_is(&name, names[i], strlen(names[i])))
				members[i] = value;
	}
}

static KsSchema *parse(const KsJsonToken *members, int level);

/* The fields of a struct. */
static void
parse_fields(KsSchema *schema, const KsJsonToken *list, int level)
{
	KsJson		json = {.start = list->p, .end = list->p + list->len};
	const char *p = ks_json_begin(&json, list->p);
	KsJsonToken value;
	KsJsonToken members[NMEMBERS];
	StringInfoData buf;
	int			max = 16;

	initStringInfo(&buf);
	schema->fields = palloc(max * sizeof(KsField));
	schema->types = palloc(max * sizeof(KsSchema *));
	for (;;)
	{
		p = ks_json_next_element(&json, p, &value);
		if (value.p == NULL)
			break;
		find_members(&value, members);
		if (members[FIELD].p == NULL || members[FIELD].type != KS_JSON_STRING)
			continue;
		if (schema->nfields >= max)
		{
			max *= 2;
			schema->fields = repalloc(schema->fields, max * sizeof(KsField));
			schema->types = repalloc(schema->types, max * sizeof(KsSchema *));
		}
		resetStringInfo(&buf);
		ks_json_unescape(&members[FIELD], true, &buf);
		schema->fields[schema->nfields].name = pnstrdup(buf.data, buf.len);
		schema->fields[schema->nfields].len = buf.len;
		schema->types[schema->nfields++] = parse(members, level + 1);
	}
	pfree(buf.data);
	ks_names_init(&schema->names, schema->fields, schema->nfields);
}

static KsSchema *
parse(const KsJsonToken *members, int level)
{
	KsSchema   *schema = palloc0(sizeof(KsSchema));
	KsJsonToken inner[NMEMBERS];

	if (level > MAX_LEVELS)
		ereport(ERROR,
				(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
				 errmsg("schema of the record is nested too deeply"),
				 errdetail("The limit is %d levels.", MAX_LEVELS)));
	if (is(&members[TYPE], "bytes"))
		schema->kind = KS_BYTES;
	else if (is(&members[TYPE], "string"))
		schema->kind = KS_TEXT;
	else if (is(&members[TYPE], "array") && members[ITEMS].p)
	{
		schema->kind = KS_LIST;
		find_members(&members[ITEMS], inner);
		schema->items = parse(inner, level + 1);
	}
	else if (is(&members[TYPE], "struct"))
		schema->kind = KS_STRUCT;
	set_logical(schema, &members[NAME], &members[PARAMETERS]);
	if (schema->kind == KS_STRUCT && members[FIELDS].p && members[FIELDS].type == KS_JSON_ARRAY)
		parse_fields(schema, &members[FIELDS], level);
	return schema;
}

KsSchema *
ks_schema_parse(const KsJsonToken *tok)
{
	KsJsonToken members[NMEMBERS];

	find_members(tok, members);
	return parse(members, 1);
}

KsSchema *
ks_schema_field(const KsSchema *schema, const char *name, int len, int *guess)
{
	int			i;

	if (schema == NULL || schema->nfields == 0)
		return NULL;
	if (guess && *guess < schema->nfields && ks_name_is(&schema->fields[*guess], name, len))
		return schema->types[*guess];
	i = ks_names_find(&schema->names, name, len);
	if (i < 0)
		return NULL;
	if (guess)
		*guess = i;
	return schema->types[i];
}
