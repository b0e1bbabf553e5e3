/*
 * envelope_schema.c
 *	  Schemas of Connect's JsonConverter, parsed.
 */
#include "postgres.h"

#include "format/envelope_schema.h"

bool
ks_schema_member(const KsJsonToken *object, const char *name, KsJsonToken *value)
{
	KsJson		json = {object->p, object->p + object->len};
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

static int64
parameter(const KsJsonToken *tok, const char *name)
{
	KsJsonToken params,
				value;

	if (!ks_schema_member(tok, "parameters", &params) || !ks_schema_member(&params, name, &value))
		return 0;
	return strtol(pnstrdup(value.p, value.len), NULL, 10);
}

static void
set_logical(KsSchema *schema, const KsJsonToken *tok, const KsJsonToken *name)
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
			schema->unit = schema->kind == KS_DECIMAL ? parameter(tok, "scale") :
				schema->kind == KS_BITS ? parameter(tok, "length") : types[i].unit;
		}
}

KsSchema *
ks_schema_parse(const KsJsonToken *tok)
{
	KsSchema   *schema = palloc0(sizeof(KsSchema));
	KsJsonToken type = {.p = NULL},
				name = {.p = NULL},
				list,
				value;

	(void) ks_schema_member(tok, "type", &type);
	(void) ks_schema_member(tok, "name", &name);
	if (is(&type, "bytes"))
		schema->kind = KS_BYTES;
	else if (is(&type, "string"))
		schema->kind = KS_TEXT;
	else if (is(&type, "array") && ks_schema_member(tok, "items", &value))
	{
		schema->kind = KS_LIST;
		schema->items = ks_schema_parse(&value);
	}
	else if (is(&type, "struct"))
		schema->kind = KS_STRUCT;
	set_logical(schema, tok, &name);
	if (schema->kind == KS_STRUCT && ks_schema_member(tok, "fields", &list) && list.type == KS_JSON_ARRAY)
	{
		KsJson		json = {list.p, list.p + list.len};
		const char *p = ks_json_begin(&json, list.p);
		StringInfoData buf;
		int			max = 0;

		initStringInfo(&buf);
		for (;;)
		{
			KsJsonToken field;

			p = ks_json_next_element(&json, p, &value);
			if (value.p == NULL)
				break;
			if (!ks_schema_member(&value, "field", &field) || field.type != KS_JSON_STRING)
				continue;
			if (schema->nfields >= max)
			{
				max = max ? 2 * max : 16;
				schema->names = schema->names ? repalloc(schema->names, max * sizeof(KsField)) :
					palloc(max * sizeof(KsField));
				schema->fields = schema->fields ? repalloc(schema->fields, max * sizeof(KsSchema *)) :
					palloc(max * sizeof(KsSchema *));
			}
			resetStringInfo(&buf);
			ks_json_unescape(&field, true, &buf);
			schema->names[schema->nfields].name = pnstrdup(buf.data, buf.len);
			schema->names[schema->nfields].len = buf.len;
			schema->fields[schema->nfields++] = ks_schema_parse(&value);
		}
		pfree(buf.data);
	}
	return schema;
}

KsSchema *
ks_schema_field(const KsSchema *schema, const char *name, int len, int *guess)
{
	if (schema == NULL)
		return NULL;
	if (guess && *guess < schema->nfields && schema->names[*guess].len == len &&
		memcmp(schema->names[*guess].name, name, len) == 0)
		return schema->fields[*guess];
	for (int i = 0; i < schema->nfields; i++)
		if (schema->names[i].len == len && memcmp(schema->names[i].name, name, len) == 0)
		{
			if (guess)
				*guess = i;
			return schema->fields[i];
		}
	return NULL;
}
