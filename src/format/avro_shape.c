/*
 * avro_shape.c
 *	  What a table for records of an Avro schema looks like.
 *
 * A column's type holds all values that the schema's has, and the decoder puts them
 * there without a loss (doc/reference.md, "Avro's types"); where it cannot (nanoseconds,
 * decimals beyond what numeric takes), the reason says so.  What has no type of its own
 * becomes jsonb: maps, records, unions of several types, arrays of these.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "format/avro_convert.h"
#include "format/avro_default.h"
#include "format/shape.h"

#define MAX_SYMBOLS		200		/* bytes of an enum's symbols that are shown, about */
#define MAX_TYPMOD		1000	/* digits that numeric(p, s) can say */

typedef struct Choice
{
	Oid			typid;
	int32		typmod;
	bool		nullable;
	bool		nothing;
	StringInfoData reason;
} Choice;

static void choose(const KsAvroNode *node, Choice *c);

/* A string that says something; NULL: it is none. */
static char *
text_of(const KsJsonToken *tok)
{
	return tok->p && tok->type == KS_JSON_STRING && tok->len > 0 ? ks_avro_word(tok) : NULL;
}

/* --- logical types --- */

static const char *
unit_name(const KsAvroNode *node)
{
	return node->unit == 1000 ? "millis" : node->unit == 1000000 ? "micros" : "nanos";
}

/* Kafka Connect's name of a type, where the schema has no other; NULL: it has none. */
static char *
connect_name(const KsAvroNode *node)
{
	return node->name == NULL && (node->infinite || node->logical == KS_AVRO_PLAIN) ?
		text_of(&node->connect_name) : NULL;
}

/* An integer that is smaller than Avro has any, as Kafka Connect says; NULL: it is none. */
static char *
small_name(const KsAvroNode *node)
{
	char	   *name = node->type == KS_AVRO_INT && node->logical == KS_AVRO_PLAIN ? text_of(&node->connect_type) : NULL;

	return name && (strcmp(name, "int8") == 0 || strcmp(name, "int16") == 0) ? name : NULL;
}

/* As the schema calls it; NULL: it has none. */
static char *
logical_name(const KsAvroNode *node)
{
	char	   *connect = connect_name(node);

	if (connect || small_name(node))
		return connect ? connect : small_name(node);
	switch (node->logical)
	{
		case KS_AVRO_DECIMAL:
			return psprintf("decimal(%d,%d)", node->precision, node->scale);
		case KS_AVRO_DATE:
			return "date";
		case KS_AVRO_TIME:
			return psprintf("time-%s", unit_name(node));
		case KS_AVRO_TIMESTAMP:
			return psprintf("timestamp-%s", unit_name(node));
		case KS_AVRO_LOCAL_TIMESTAMP:
			return psprintf("local-timestamp-%s", unit_name(node));
		case KS_AVRO_UUID:
			return "uuid";
		case KS_AVRO_DURATION:
			return "duration";
		default:
			return NULL;
	}
}

/* Strings that Debezium has a type for, by Kafka Connect's name of it. */
static Oid
type_of_string(const KsAvroNode *node)
{
	static const struct
	{
		const char *name;
		Oid			typid;
	}			known[] = {
		{"io.debezium.time.ZonedTimestamp", TIMESTAMPTZOID},
		{"io.debezium.time.ZonedTime", TIMETZOID},
		{"io.debezium.time.Interval", INTERVALOID},
		{"io.debezium.data.Uuid", UUIDOID},
#ifdef USE_LIBXML
		{"io.debezium.data.Xml", XMLOID},
#endif
	};
	char	   *name = connect_name(node);

	for (int i = 0; name && i < (int) lengthof(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return known[i].typid;
	return InvalidOid;
}

/* Debezium's timestamps without a zone are called as its others are. */
static Oid
type_of_timestamp(const KsAvroNode *node)
{
	char	   *name = connect_name(node);

	return name && strncmp(name, "io.debezium.time.", strlen("io.debezium.time.")) == 0 ? TIMESTAMPOID : TIMESTAMPTZOID;
}

static void
choose_decimal(const KsAvroNode *node, Choice *c)
{
	c->typid = NUMERICOID;
	if (node->precision <= MAX_TYPMOD && node->scale >= 0 && node->scale <= node->precision)
		c->typmod = ((node->precision << 16) | node->scale) + VARHDRSZ;
}

/* False: the type is what it is without the logical type. */
static bool
choose_logical(const KsAvroNode *node, Choice *c)
{
	switch (node->logical)
	{
		case KS_AVRO_DECIMAL:
			choose_decimal(node, c);
			break;
		case KS_AVRO_DATE:
			c->typid = DATEOID;
			break;
		case KS_AVRO_TIME:
			c->typid = TIMEOID;
			break;
		case KS_AVRO_TIMESTAMP:
			c->typid = type_of_timestamp(node);
			break;
		case KS_AVRO_LOCAL_TIMESTAMP:
			c->typid = TIMESTAMPOID;
			break;
		case KS_AVRO_UUID:
			c->typid = UUIDOID;
			break;
		case KS_AVRO_DURATION:
		case KS_AVRO_MICROSECONDS:
			c->typid = INTERVALOID;
			break;
		case KS_AVRO_JSON:
			c->typid = JSONBOID;
			break;
		case KS_AVRO_BITS:
			/* how many there are is not always told */
			c->typid = node->precision > 0 ? BITOID : TEXTOID;
			c->typmod = node->precision > 0 ? node->precision : -1;
			break;
		case KS_AVRO_VARIABLE_DECIMAL:
			c->typid = NUMERICOID;
			break;
		case KS_AVRO_POINT:
			c->typid = POINTOID;
			break;
		default:
			return false;
	}
	if ((node->logical == KS_AVRO_TIME || node->logical == KS_AVRO_TIMESTAMP ||
		 node->logical == KS_AVRO_LOCAL_TIMESTAMP) && node->unit > 1000000)
		appendStringInfoString(&c->reason, ", cut to microseconds: bigint has all of it");
	return true;
}

/* --- types of types --- */

static void
choose_enum(const KsAvroNode *node, Choice *c)
{
	int			begin = c->reason.len;

	c->typid = TEXTOID;
	appendStringInfo(&c->reason, " %s: ", node->name);
	for (int i = 0; i < node->n; i++)
	{
		if (c->reason.len - begin > MAX_SYMBOLS)
		{
			appendStringInfoString(&c->reason, ", ...");
			return;
		}
		appendStringInfo(&c->reason, "%s%.*s", i > 0 ? ", " : "", node->names[i].len, node->names[i].name);
	}
}

/* An array of values that have a type of their own. */
static void
choose_array(const KsAvroNode *node, Choice *c)
{
	Choice		item;
	Oid			array;

	choose(node->types[0], &item);
	appendStringInfo(&c->reason, " of %s", item.reason.data);
	/* dimensions of PostgreSQL's arrays are all of one length */
	array = item.typid == JSONBOID || get_element_type(item.typid) != InvalidOid ? InvalidOid :
		get_array_type(item.typid);
	c->typid = OidIsValid(array) ? array : JSONBOID;
	c->typmod = OidIsValid(array) ? item.typmod : -1;
}

static bool
fits_float8(Oid typid)
{
	return typid == FLOAT4OID || typid == FLOAT8OID || typid == INT2OID || typid == INT4OID;
}

/* Which of two types has all values of both?  InvalidOid: none that is not jsonb. */
static Oid
wider_of(Oid a, Oid b)
{
	static const Oid integers[] = {INT2OID, INT4OID, INT8OID};

	if (a == b)
		return a;
	for (int i = 0; i < (int) lengthof(integers); i++)
		for (int k = 0; k < i; k++)
			if ((a == integers[i] && b == integers[k]) || (b == integers[i] && a == integers[k]))
				return integers[i];
	if (fits_float8(a) && fits_float8(b))
		return FLOAT8OID;
	return InvalidOid;
}

static void
choose_union(const KsAvroNode *node, Choice *c)
{
	const char *words = "";
	int			n = 0;

	for (int i = 0; i < node->n; i++)
		n += node->types[i]->type != KS_AVRO_NULL;
	if (n > 1)
		appendStringInfoString(&c->reason, "union of ");
	c->typid = InvalidOid;
	for (int i = 0; i < node->n; i++)
	{
		Choice		branch;

		if (node->types[i]->type == KS_AVRO_NULL)
		{
			c->nullable = true;
			continue;
		}
		choose(node->types[i], &branch);
		appendStringInfo(&c->reason, "%s%s", words, branch.reason.data);
		if (*words == '\0')
		{
			c->typid = branch.typid;
			c->typmod = branch.typmod;
		}
		else
		{
			if (c->typid != branch.typid || c->typmod != branch.typmod)
				c->typmod = -1;
			c->typid = wider_of(c->typid, branch.typid);
			if (!OidIsValid(c->typid))
				c->typid = JSONBOID;
		}
		words = ", ";
	}
	if (n == 0)
	{
		c->typid = TEXTOID;
		c->nothing = true;
		appendStringInfoString(&c->reason, "nothing but null");
	}
}

static void
choose_plain(const KsAvroNode *node, Choice *c)
{
	switch (node->type)
	{
		case KS_AVRO_BOOLEAN:
			c->typid = BOOLOID;
			break;
		case KS_AVRO_INT:
			c->typid = small_name(node) ? INT2OID : INT4OID;
			break;
		case KS_AVRO_LONG:
			c->typid = INT8OID;
			break;
		case KS_AVRO_FLOAT:
			c->typid = FLOAT4OID;
			break;
		case KS_AVRO_DOUBLE:
			c->typid = FLOAT8OID;
			break;
		case KS_AVRO_STRING:
			c->typid = type_of_string(node);
			if (!OidIsValid(c->typid))
				c->typid = TEXTOID;
			break;
		case KS_AVRO_BYTES:
		case KS_AVRO_FIXED:
			c->typid = BYTEAOID;
			break;
		default:
			c->typid = JSONBOID;
			break;
	}
}

static void
choose(const KsAvroNode *node, Choice *c)
{
	char	   *logical;

	check_stack_depth();
	memset(c, 0, sizeof(Choice));
	c->typmod = -1;
	initStringInfo(&c->reason);
	if (node->type == KS_AVRO_UNION)
	{
		choose_union(node, c);
		return;
	}
	if (node->type == KS_AVRO_NULL)
	{
		c->typid = TEXTOID;
		c->nullable = c->nothing = true;
		appendStringInfoString(&c->reason, "null, and nothing else");
		return;
	}
	appendStringInfoString(&c->reason, ks_avro_type_name(node));
	if (node->type == KS_AVRO_FIXED)
		appendStringInfo(&c->reason, "(%d)", node->size);
	if (node->type == KS_AVRO_RECORD)
		appendStringInfo(&c->reason, " %s", node->name);
	logical = logical_name(node);
	if (logical)
		appendStringInfo(&c->reason, ", %s", logical);
	if (choose_logical(node, c))
		return;
	if (node->type == KS_AVRO_ENUM)
		choose_enum(node, c);
	else if (node->type == KS_AVRO_ARRAY)
		choose_array(node, c);
	else
		choose_plain(node, c);
	if (node->type == KS_AVRO_MAP)
	{
		Choice		value;

		choose(node->types[0], &value);
		appendStringInfo(&c->reason, " of %s", value.reason.data);
	}
}

/* --- the table --- */

/* The only record of a type; NULL: it has none, or several. */
static const KsAvroNode *
record_of(const KsAvroNode *node, bool *nullable)
{
	const KsAvroNode *found = NULL;

	if (node->type != KS_AVRO_UNION)
		return node->type == KS_AVRO_RECORD ? node : NULL;
	for (int i = 0; i < node->n; i++)
	{
		if (node->types[i]->type == KS_AVRO_NULL)
			*nullable = true;
		else if (found || node->types[i]->type != KS_AVRO_RECORD)
			return NULL;
		else
			found = node->types[i];
	}
	return found;
}

/* Of Debezium's changes: the row as it is; NULL: it is no such record. */
static const KsAvroNode *
row_of_change(const KsAvroNode *record)
{
	int			op = ks_names_find(&record->index, "op", 2);
	int			before = ks_names_find(&record->index, "before", 6);
	int			after = ks_names_find(&record->index, "after", 5);
	bool		nullable = false;

	return op >= 0 && before >= 0 && after >= 0 ? record_of(record->types[after], &nullable) : NULL;
}

static void
set_column(KsShapeColumn *col, const KsAvroNode *node, const KsJsonToken *doc, const KsJsonToken *def)
{
	Choice		c;

	choose(node, &c);
	col->typid = c.typid;
	col->typmod = c.typmod;
	col->nullable = c.nullable;
	col->nothing = c.nothing;
	col->reason = c.reason.data;
	col->comment = doc ? text_of(doc) : NULL;
	col->default_text = def && def->p ? ks_avro_default(node, def, c.typid) : NULL;
	col->node = node;
}

/* Not for what its type has: a value may be null as a whole. */
static void
allow_null(KsShapeColumn *col)
{
	col->nullable = col->lacking = true;
	col->reason = psprintf("%s; the value can be null", col->reason);
}

static int
find(const KsShape *shape, const char *name, int len)
{
	return shape->row ? ks_avro_find_field(shape->row, name, len) : -1;
}

static bool
fits(const KsShapeColumn *col, KsType *type, KsUnit unit, bool connect)
{
	return ks_avro_convert_plan(col->node, type, unit, connect) != NULL;
}

static const KsShapeOps ops = {.find = find, .fits = fits};

static const void *
parse(const KsSchemaText *text)
{
	return ks_avro_parse_text(text);
}

static KsShape *
make_shape(const void *type, bool changes)
{
	const KsAvroNode *schema = type;
	KsShape    *shape = palloc0(sizeof(KsShape));
	bool		nullable = false;
	int			alias = 0;
	const KsAvroNode *row = record_of(schema, &nullable);
	const KsAvroNode *inner = row && changes ? row_of_change(row) : NULL;

	shape->ops = &ops;
	if (row)
	{
		shape->name = pstrdup(row->name);
		shape->comment = text_of(&row->doc);
	}
	if (inner)
	{
		shape->envelope = KS_DEBEZIUM;
		row = inner;
		if (row->doc.p)
			shape->comment = text_of(&row->doc);
	}
	shape->row = row;
	shape->n = row ? row->n : 1;
	shape->cols = palloc0(Max(shape->n, 1) * sizeof(KsShapeColumn));
	if (row == NULL)
		set_column(&shape->cols[0], schema, NULL, NULL);
	for (int i = 0; row && i < row->n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		shape->cols[i].field = row->names[i];
		set_column(&shape->cols[i], row->types[i], &row->docs[i], &row->defaults[i]);
		/* they are in the order of the fields */
		shape->cols[i].aliases = row->naliases > 0 ? row->aliases + alias : NULL;
		for (; alias < row->naliases && row->alias_of[alias] == i; alias++)
			shape->cols[i].naliases++;
		/* a change that is null is no row; any other value leaves the columns to their defaults */
		if (nullable && inner == NULL && !shape->cols[i].nullable)
			allow_null(&shape->cols[i]);
	}
	return shape;
}

const KsShaper ks_avro_shaper = {.parse = parse, .has_null = true, .shape = make_shape};
