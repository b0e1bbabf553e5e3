/*
 * avro_attributes.c
 *	  What the objects of an Avro schema say: the tokens of its JSON.
 *
 * Logical types that are unknown, on another type than they are for, or of a decimal
 * that its bytes cannot hold, are none.  Kafka Connect has more of them, by names of its
 * own; where a schema has both, Avro's counts, but for decimals that are none in Avro.
 */
#include "postgres.h"

#include "format/avro_attributes.h"

/* of numeric: before the point and behind it */
#define MAX_PRECISION	147455
#define MAX_SCALE		16383

/* of a bit string of the server */
#define MAX_BITS		(10 * 1024 * 1024 * 8)

KsJson
ks_avro_inside(const KsJsonToken *tok)
{
	KsJson		json = {.start = tok->p, .end = tok->p ? tok->p + tok->len : NULL};

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

	if (tok->p == NULL || tok->type != KS_JSON_NUMBER || tok->len < 1 || tok->len > 9)
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
		{"logicalType", &a->logical}, {"precision", &a->precision}, {"scale", &a->scale},
		{"connect.name", &a->connect_name}, {"connect.parameters", &a->connect_parameters},
		{"connect.type", &a->connect_type},
		{"doc", &a->doc}, {"default", &a->default_value}
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

/* One of Connect's parameters, which are strings, as a number; p NULL: it has none. */
static KsJsonToken
parameter(const KsAvroAttributes *a, const char *wanted)
{
	KsJson		json = ks_avro_inside(&a->connect_parameters);
	KsJsonToken found = {.p = NULL};
	const char *at;
	KsJsonToken name,
				value;

	if (a->connect_parameters.p == NULL || a->connect_parameters.type != KS_JSON_OBJECT)
		return found;
	at = ks_json_begin(&json, a->connect_parameters.p);
	for (;;)
	{
		at = ks_json_next_member(&json, at, &name, &value);
		if (value.p == NULL)
			return found;
		if (!ks_json_name_is(&name, wanted, strlen(wanted)))
			continue;
		found = value;
		if (found.type == KS_JSON_STRING)
			found.type = KS_JSON_NUMBER;
	}
}

/* How many bits a value of Debezium's bit strings has, 0: that is not told. */
static int
bits_of(const KsAvroAttributes *a)
{
	KsJsonToken length = parameter(a, "length");
	int			n = ks_avro_int_of(&length);

	return n > 0 && n <= MAX_BITS ? n : 0;
}

/* It may be below 0. */
static bool
read_scale(const KsJsonToken *tok, int *scale)
{
	KsJsonToken digits = *tok;
	bool		minus = tok->p && tok->len > 0 && *tok->p == '-';

	if (minus)
	{
		digits.p++;
		digits.len--;
	}
	*scale = ks_avro_int_of(&digits);
	if (*scale < 0 || *scale > MAX_SCALE)
		return false;
	*scale = minus ? -*scale : *scale;
	return true;
}

/* Databases have scales beyond the precision, or below 0, and Connect writes them. */
static void
set_connect_decimal(KsAvroNode *node, const KsAvroAttributes *a)
{
	KsJsonToken scale = a->scale.p ? a->scale : parameter(a, "scale");
	KsJsonToken precision = a->precision.p ? a->precision : parameter(a, "connect.decimal.precision");

	if ((node->type != KS_AVRO_BYTES && node->type != KS_AVRO_FIXED) || !read_scale(&scale, &node->scale))
		return;
	node->logical = KS_AVRO_DECIMAL;
	node->precision = ks_avro_int_of(&precision);
	if (node->precision < 1 || node->precision > MAX_PRECISION)
		node->precision = MAX_PRECISION;
}

/* Is it of that type? */
static bool
has_field(const KsAvroNode *record, const char *name, KsAvroType type)
{
	int			i = ks_names_find(&record->index, name, strlen(name));

	return i >= 0 && record->types[i]->type == type;
}

static void
set_connect(KsAvroNode *node, const KsAvroAttributes *a)
{
	static const struct
	{
		const char *name;
		KsAvroType	type;
		KsAvroLogical logical;
		int			unit;
	}			known[] = {
		{"org.apache.kafka.connect.data.Date", KS_AVRO_INT, KS_AVRO_DATE, 0},
		{"org.apache.kafka.connect.data.Time", KS_AVRO_INT, KS_AVRO_TIME, 1000},
		{"org.apache.kafka.connect.data.Timestamp", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000},
		{"io.debezium.time.Date", KS_AVRO_INT, KS_AVRO_DATE, 0},
		{"io.debezium.time.Time", KS_AVRO_INT, KS_AVRO_TIME, 1000},
		{"io.debezium.time.MicroTime", KS_AVRO_LONG, KS_AVRO_TIME, 1000000},
		{"io.debezium.time.NanoTime", KS_AVRO_LONG, KS_AVRO_TIME, 1000000000},
		{"io.debezium.time.Timestamp", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000},
		{"io.debezium.time.MicroTimestamp", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000000},
		{"io.debezium.time.NanoTimestamp", KS_AVRO_LONG, KS_AVRO_TIMESTAMP, 1000000000},
		{"io.debezium.time.MicroDuration", KS_AVRO_LONG, KS_AVRO_MICROSECONDS, 1000000},
		{"io.debezium.data.Json", KS_AVRO_STRING, KS_AVRO_JSON, 0},
		{"io.debezium.data.Bits", KS_AVRO_BYTES, KS_AVRO_BITS, 0},
		{"io.debezium.data.VariableScaleDecimal", KS_AVRO_RECORD, KS_AVRO_VARIABLE_DECIMAL, 0},
		{"io.debezium.data.geometry.Point", KS_AVRO_RECORD, KS_AVRO_POINT, 0}
	};
	char	   *name = ks_avro_string_of(&a->connect_name);

	if (name == NULL)
		return;
	if (strcmp(name, "org.apache.kafka.connect.data.Decimal") == 0)
		set_connect_decimal(node, a);
	for (int i = 0; i < (int) lengthof(known); i++)
		if (strcmp(name, known[i].name) == 0 && node->type == known[i].type)
		{
			node->logical = known[i].logical;
			node->unit = known[i].unit;
			node->infinite = true;
		}
	if (node->logical == KS_AVRO_BITS)
		node->precision = bits_of(a);
	if (node->logical == KS_AVRO_VARIABLE_DECIMAL &&
		(!has_field(node, "scale", KS_AVRO_INT) || !has_field(node, "value", KS_AVRO_BYTES)))
		node->logical = KS_AVRO_PLAIN;
	pfree(name);
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
	{
		set_connect(node, a);
		return;
	}
	for (int i = 0; i < (int) lengthof(times); i++)
		if (strcmp(logical, times[i].name) == 0 && node->type == times[i].type)
		{
			node->logical = times[i].logical;
			node->unit = times[i].unit;
		}
	if (strcmp(logical, "decimal") == 0 && (node->type == KS_AVRO_BYTES || node->type == KS_AVRO_FIXED))
	{
		set_decimal(node, a);
		if (node->logical == KS_AVRO_PLAIN)
			set_connect(node, a);
	}
	else if (strcmp(logical, "uuid") == 0 &&
			 (node->type == KS_AVRO_STRING || (node->type == KS_AVRO_FIXED && node->size == 16)))
		node->logical = KS_AVRO_UUID;
	else if (strcmp(logical, "duration") == 0 && node->type == KS_AVRO_FIXED && node->size == 12)
		node->logical = KS_AVRO_DURATION;
	pfree(logical);
}
