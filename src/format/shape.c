/*
 * shape.c
 *	  What makes shapes of schemas, and what differs between two, in words.
 */
#include "postgres.h"

#include "format/shape.h"

#define MAX_WORDS	1000		/* bytes of them, about */

const KsShaper *
ks_shaper(KsFormat format)
{
	switch (format)
	{
		case KS_FORMAT_AVRO:
			return &ks_avro_shaper;
		case KS_FORMAT_PROTOBUF:
			return &ks_proto_shaper;
		case KS_FORMAT_JSON_SCHEMA:
			return &ks_jschema_shaper;
		default:
			return NULL;
	}
}

const KsShapeColumn *
ks_shape_find(const KsShape *shape, const char *name, int len)
{
	int			i = shape->ops->find(shape, name, len);

	return i < 0 ? NULL : &shape->cols[i];
}

static const KsShapeColumn *
same_name(const KsShape *shape, const KsShapeColumn *col)
{
	for (int i = 0; i < shape->n; i++)
		if (shape->cols[i].field.len == col->field.len &&
			(col->field.len == 0 || memcmp(shape->cols[i].field.name, col->field.name, col->field.len) == 0))
			return &shape->cols[i];
	return NULL;
}

static void
separate(StringInfo words, int begin)
{
	if (words->len > begin)
		appendStringInfoString(words, ", ");
}

static void
append_name(StringInfo words, const KsShapeColumn *col)
{
	if (col->field.name)
		appendStringInfo(words, "\"%.*s\"", col->field.len, col->field.name);
	else
		appendStringInfoString(words, "the value");
}

bool
ks_shape_difference(const KsShape *from, const KsShape *to, StringInfo words)
{
	int			begin = words->len;

	for (int i = 0; i < to->n; i++)
	{
		const KsShapeColumn *is = &to->cols[i];
		const KsShapeColumn *was = same_name(from, is);

		if (was && strcmp(was->reason, is->reason) == 0 && was->nullable == is->nullable)
			continue;
		if (words->len - begin > MAX_WORDS)
		{
			appendStringInfoString(words, ", ...");
			return true;
		}
		separate(words, begin);
		append_name(words, is);
		if (was == NULL)
			appendStringInfo(words, " is new: %s", is->reason);
		else if (strcmp(was->reason, is->reason) != 0)
			appendStringInfo(words, " was %s, is %s", was->reason, is->reason);
		else
			appendStringInfoString(words, is->nullable ? " can be null now" : " cannot be null any more");
	}
	for (int i = 0; i < from->n && words->len - begin <= MAX_WORDS; i++)
		if (same_name(to, &from->cols[i]) == NULL)
		{
			separate(words, begin);
			append_name(words, &from->cols[i]);
			appendStringInfoString(words, " is gone");
		}
	return words->len > begin;
}
