/*
 * avro_attributes.c
 *	  What the objects of an Avro schema say: the tokens of its JSON.
 *
 * Logical types that are unknown, on another type than they are for, or of a decimal
 * that its bytes cannot hold, are none.
 */
#include "postgres.h"

#include "format/avro_attributes.h"

/* of numeric: before the point and behind it */
#define MAX_PRECISION	147455
#define MAX_SCALE		16383

KsJson
ks_avro_inside(const KsJsonToken *tok)
{
	KsJson		json = {tok->p, tok->p ? tok->p + tok->len : NULL};

	return json;
}

char *
ks_avro_string_of(const KsJsonToken *tok)
{
	StringInfoData buf;

	if (tok->p == NULL || tok->type != KS_JSON_STRING)
		return NULL;
	initStringInfo(&buf);
	ks_json_unescape(tok, false, &buf);
	return buf.data;
}

int
ks_avro_int_of(const KsJsonToken *tok)
{
	int			v = 0;

	if (tok->p == NULL || tok->type != KS_JSON_NUMBER || tok->len > 9)
		return -1;
	for (int i = 0; i < tok->len; i++)
	{
		if (tok->p[i] < '0' || tok->p[i] > '9')
			return -1;
		v = v * 10 + (tok->p[i] - '0');
	}
	return v;
}

void
ks_avro_read_attributes(const KsJsonToken *object, KsAvroAttributes *a)
{
	struct
	{
		const char *name;
		KsJsonToken *tok;
	}			known[] = {
		{"type", &a->type}, {"name", &a->name}, {"namespace", &a->namespace},
		{"aliases", &a->aliases}, {"fields", &a->fields}, {"symbols", &a->symbols},
		{"items", &a->items}, {"values", &a->values}, {"size", &a->size},
		{"logicalType", &a->logical}, {"precision", &a->precision}, {"scale", &a->scale}
	};
	KsJson		json = ks_avro_inside(object);
	const char *at = ks_json_begin(&json, object->p);
	KsJsonToken name,
				value;

	memset(a, 0, sizeof(KsAvroAttributes));
	for (;;)
	{
		at = ks_json_next_member(&json, at, &name, &value);
		if (value.p == NULL)
			break;
		for (int i = 0; i < (int) lengthof(known); i++)
			if (ks_json_name_is(&name, known[i].name, strlen(known[i].name)))
				*known[i].tok = value;
	}
}

int
ks_avro_count_elements(const KsJsonToken *array)
{
	KsJson		json = ks_avro_inside(array);
	const char *at = ks_json_begin(&json, array->p);
	KsJsonToken value;
	int			n = 0;

	for (;; n++)
	{
		at = ks_json_next_element(&json, at, &value);
		if (value.p == NULL)
			return n;
	}
}

/* --- logical types --- */

/* What an unsigned number of so many bytes less a bit can hold, in digits. */
static int
digits_of_bytes(int size)
{
	return (int) (((int64) size * 8 - 1) * 30103 / 100000);
}

static void
set_decimal(KsAvroNode *node, const KsAvroAttributes *a)
{
	int			precision = ks_avro_int_of(&a->precision);
	int			scale = a->scale.p ? ks_avro_int_of(&a->scale) : 0;

	if (precision < 1 || precision > MAX_PRECISION || scale < 0 || scale > precision || scale > MAX_SCALE)
		return;
	if (node->type == KS_AVRO_FIXED && (node->size == 0 || precision > digits_of_bytes(node->size)))
		return;
	node->logical = KS_AVRO_DECIMAL;
	node->precision = precision;
	node->scale = scale;
}

void
ks_avro_set_logical(KsAvroNode *node, const KsAvroAttributes *a)
{
	static const struct
	{
		const char *name;
		KsAvroType	type;
		KsAvroLogical logical;
		int			unit;
	}			times[] = {
		{"date", KS_AVRO_INT, KS_AVRO_DATE, 0},
		{"time-millis", KS_AVRO_INT, KS_AVRO_TIME, 1000},
		{"time-micros", KS_AVRO_LONG, KS_AVRO_TIME, 1000000},
		{"timestamp-millis", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000},
		{"timestamp-micros", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000000},
		{"timestamp-nanos", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000000000},
		{"local-timestamp-millis", KS_AVRO_LONG, KS_AVRO_LOCAL_TIMESTAMP, 1000},
		{"local-timestamp-micros", KS_AVRO_LONG, KS_AVRO_LOCAL_TIMESTAMP, 1000000},
		{"local-timestamp-nanos", KS_AVRO_LONG, KS_AVRO_LOCAL_TIMESTAMP, 1000000000}
	};
	char	   *logical = ks_avro_string_of(&a->logical);

	if (logical == NULL)
		return;
	for (int i = 0; i < (int) lengthof(times); i++)
		if (strcmp(logical, times[i].name) == 0 && node->type == times[i].type)
		{
			node->logical = times[i].logical;
			node->unit = times[i].unit;
		}
	if (strcmp(logical, "decimal") == 0 && (node->type == KS_AVRO_BYTES || node->type == KS_AVRO_FIXED))
		set_decimal(node, a);
	else if (strcmp(logical, "uuid") == 0 &&
			 (node->type == KS_AVRO_STRING || (node->type == KS_AVRO_FIXED && node->size == 16)))
		node->logical = KS_AVRO_UUID;
	else if (strcmp(logical, "duration") == 0 && node->type == KS_AVRO_FIXED && node->size == 12)
		node->logical = KS_AVRO_DURATION;
	pfree(logical);
}
