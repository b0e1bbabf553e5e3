/*
 * avro_fingerprint.c
 *	  The parsing canonical form of an Avro schema, and its fingerprint.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/json.h"

#include "format/avro_schema.h"

/* The fingerprint of nothing, which is the polynomial too. */
#define EMPTY	UINT64CONST(0xc15d213aa4d7a795)

static void append_canonical(StringInfo out, KsAvroNode *node);

static void
append_fields(StringInfo out, const KsAvroNode *node)
{
	appendStringInfoString(out, ",\"fields\":[");
	for (int i = 0; i < node->n; i++)
	{
		appendStringInfoString(out, i ? ",{\"name\":" : "{\"name\":");
		escape_json(out, node->names[i].name);
		appendStringInfoString(out, ",\"type\":");
		append_canonical(out, node->types[i]);
		appendStringInfoChar(out, '}');
	}
	appendStringInfoChar(out, ']');
}

static void
append_named(StringInfo out, KsAvroNode *node)
{
	if (node->seen)
	{
		escape_json(out, node->name);
		return;
	}
	node->seen = true;
	appendStringInfoString(out, "{\"name\":");
	escape_json(out, node->name);
	appendStringInfo(out, ",\"type\":\"%s\"", ks_avro_type_name(node));
	if (node->type == KS_AVRO_RECORD)
		append_fields(out, node);
	else if (node->type == KS_AVRO_FIXED)
		appendStringInfo(out, ",\"size\":%d", node->size);
	else
	{
		appendStringInfoString(out, ",\"symbols\":[");
		for (int i = 0; i < node->n; i++)
		{
			if (i)
				appendStringInfoChar(out, ',');
			escape_json(out, node->names[i].name);
		}
		appendStringInfoChar(out, ']');
	}
	appendStringInfoChar(out, '}');
}

static void
append_canonical(StringInfo out, KsAvroNode *node)
{
	check_stack_depth();
	switch (node->type)
	{
		case KS_AVRO_RECORD:
		case KS_AVRO_ENUM:
		case KS_AVRO_FIXED:
			append_named(out, node);
			break;
		case KS_AVRO_ARRAY:
		case KS_AVRO_MAP:
			appendStringInfo(out, "{\"type\":\"%s\",\"%s\":", ks_avro_type_name(node),
							 node->type == KS_AVRO_ARRAY ? "items" : "values");
			append_canonical(out, node->types[0]);
			appendStringInfoChar(out, '}');
			break;
		case KS_AVRO_UNION:
			appendStringInfoChar(out, '[');
			for (int i = 0; i < node->n; i++)
			{
				if (i)
					appendStringInfoChar(out, ',');
				append_canonical(out, node->types[i]);
			}
			appendStringInfoChar(out, ']');
			break;
		default:
			appendStringInfo(out, "\"%s\"", ks_avro_type_name(node));
			break;
	}
}

uint64
ks_avro_fingerprint(KsAvroNode *schema)
{
	StringInfoData form;
	uint64		fp = EMPTY;

	initStringInfo(&form);
	append_canonical(&form, schema);
	for (int i = 0; i < form.len; i++)
	{
		uint64		b = (fp ^ (unsigned char) form.data[i]) & 0xff;

		for (int bit = 0; bit < 8; bit++)
			b = (b >> 1) ^ (EMPTY & -(b & 1));
		fp = (fp >> 8) ^ b;
	}
	pfree(form.data);
	return fp;
}
