/*
 * avro_convert.c
 *	  Avro's values to Datums of a column's type.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/date.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "format/avro_convert.h"
#include "format/envelope_text.h"

#define EPOCH_DAYS	(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)

static void
refuse(const KsAvroConvert *c)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("an Avro %s is no value of type %s", ks_avro_type_name(c->node),
					format_type_extended(c->base->typid, c->base->typmod, FORMAT_TYPE_TYPEMOD_GIVEN))));
}

/* The same value once more, from where it began. */
static Datum
from_scalar_at(KsAvroReader *r, KsAvroConvert *c, const uint8 *begin, bool *isnull)
{
	r->p = begin;
	return ks_avro_from_scalar(r, c, isnull);
}

static Datum
from_int(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	int64		v = c->node->type == KS_AVRO_INT ? ks_avro_int(r) : ks_avro_long(r);

	return ks_scalar_from_int(&r->d->cv, c->base, v, isnull);
}

/* Its text may have an exponent, which integers have not; what is no whole number is the type's to refuse. */
static Datum
from_whole(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	const uint8 *begin = r->p;
	int64		v;

	if (!ks_scalar_whole(c->node->type == KS_AVRO_FLOAT ? ks_avro_float(r) : ks_avro_double(r), &v))
		return from_scalar_at(r, c, begin, isnull);
	return ks_scalar_from_int(&r->d->cv, c->base, v, isnull);
}

static Datum
from_float(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	double		v;

	switch (c->node->type)
	{
		case KS_AVRO_FLOAT:
			v = ks_avro_float(r);
			break;
		case KS_AVRO_DOUBLE:
			v = ks_avro_double(r);
			break;
		case KS_AVRO_INT:
			v = (double) ks_avro_int(r);
			break;
		default:
			{
				int64		n = ks_avro_long(r);

				/* not by a double, which would round before */
				if (c->base->typid == FLOAT4OID)
					return Float4GetDatum((float) n);
				v = (double) n;
				break;
			}
	}
	return ks_scalar_from_float(&r->d->cv, c->base, v, isnull);
}

static const char *
take_bytes(KsAvroReader *r, const KsAvroNode *node, int *len)
{
	*len = node->size;
	return node->type == KS_AVRO_FIXED ? (const char *) ks_avro_take(r, node->size) : ks_avro_bytes(r, len);
}

static Datum
from_text(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	KsJsonToken tok = {.type = KS_JSON_STRING};

	tok.p = take_bytes(r, c->node, &tok.len);
	ks_scalar_to_server(r->d, &tok.p, &tok.len);
	/* too long a text, or only too many bytes of it, is for the type to say */
	return c->action == KS_AVRO_AS_TEXT && tok.len <= c->base->max_len ?
		PointerGetDatum(cstring_to_text_with_len(tok.p, tok.len)) : ks_avro_from_token(r, c, &tok, isnull);
}

/* Of at most 17 digits; others by their text. */
static Datum
from_decimal(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	const uint8 *begin = r->p;
	int			len;
	const char *s = take_bytes(r, c->node, &len);
	Datum		d;

	if (ks_scalar_decimal(s, len, c->node->scale, c->base->typmod, &d))
		return d;
	return from_scalar_at(r, c, begin, isnull);
}

static Datum
from_date(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	const uint8 *begin = r->p;
	int64		v = ks_avro_int(r);

	if (unlikely(v < -UNIX_EPOCH_JDATE || v >= DATE_END_JULIAN - UNIX_EPOCH_JDATE))
		return from_scalar_at(r, c, begin, isnull);
	return DateADTGetDatum((DateADT) (v - EPOCH_DAYS));
}

static Datum
from_time(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	const uint8 *begin = r->p;
	int64		v = c->node->type == KS_AVRO_INT ? ks_avro_int(r) : ks_avro_long(r);

	if (unlikely(v < 0 || v > (int64) SECS_PER_DAY * c->node->unit))
		return from_scalar_at(r, c, begin, isnull);
	return TimeADTGetDatum(v * (1000000 / c->node->unit));
}

static Datum
from_timestamp(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	const uint8 *begin = r->p;
	int64		v = ks_avro_long(r);

	/* what stands for infinity in Debezium's is a moment that the server has, too */
	if (unlikely(pg_mul_s64_overflow(v, 1000000 / c->node->unit, &v) ||
				 (c->node->infinite && v >= KS_AVRO_MAYBE_INFINITE) || !ks_scalar_timestamp(v, &v)))
		return from_scalar_at(r, c, begin, isnull);
	return TimestampTzGetDatum(v);
}

static Datum
from_uuid(KsAvroReader *r)
{
	pg_uuid_t  *uuid = palloc(sizeof(pg_uuid_t));

	memcpy(uuid, ks_avro_take(r, sizeof(pg_uuid_t)), sizeof(pg_uuid_t));
	return UUIDPGetDatum(uuid);
}

static Datum
from_array(KsAvroReader *r, KsAvroConvert *c)
{
	KsElements	elements = {0};
	int64		size;

	ks_avro_enter(r);
	for (;;)
	{
		int64		left = ks_avro_block(r, c->node, &size);
		const uint8 *begin = r->p;

		if (left == 0)
			break;
		for (; left > 0; left--)
		{
			int			i = ks_elements_add(&elements);
			Datum		v;

			CHECK_FOR_INTERRUPTS();
			if (c->node->types[0]->width == 0)
				ks_avro_spend(r);
			v = ks_avro_value(r, c->inner, &elements.nulls[i]);
			elements.values[i] = v;
		}
		ks_avro_block_end(r, begin, size);
	}
	r->depth--;
	return ks_elements_array(&elements, c->base);
}

/* The items of an array at that level, which may be arrays themselves. */
static void
collect(KsAvroReader *r, KsAvroConvert *c, int level, KsArrayBuild *b)
{
	int64		size;
	int			count = 0;

	ks_avro_enter(r);
	ks_array_enter(b, level);
	for (;;)
	{
		int64		left = ks_avro_block(r, c->node, &size);
		const uint8 *begin = r->p;

		if (left == 0)
			break;
		for (; left > 0; left--, count++)
		{
			KsAvroConvert *item = c->inner;

			CHECK_FOR_INTERRUPTS();
			if (c->node->types[0]->width == 0)
				ks_avro_spend(r);
			if (item->action == KS_AVRO_AS_BRANCH)
				item = &item->inner[ks_avro_choice(r, item->node)];
			if (item->action == KS_AVRO_AS_DIMENSIONS)
				collect(r, item, level + 1, b);
			else
			{
				int			i = ks_array_add(b, level);
				Datum		v = ks_avro_value(r, item, &b->nulls[i]);

				b->elems[i] = v;
			}
		}
		ks_avro_block_end(r, begin, size);
	}
	ks_array_leave(b, level, count);
	r->depth--;
}

static Datum
from_dimensions(KsAvroReader *r, KsAvroConvert *c)
{
	KsArrayBuild b;

	ks_array_begin(&b);
	collect(r, c, 0, &b);
	return ks_array_end(&b, c->base);
}

/* A composite value as it is filled; an attribute that nobody tells is NULL. */
typedef struct Filled
{
	Datum	   *values;
	bool	   *nulls;
	bool	   *told;
} Filled;

static void
fill_from_record(KsAvroReader *r, KsAvroComposite *k, Filled *f)
{
	for (int i = 0; i < k->node->n; i++)
	{
		int			a = k->atts[i];

		if (a < 0)
			ks_avro_skip(r, k->node->types[i]);
		else
		{
			f->values[a] = ks_avro_value(r, &k->inner[i], &f->nulls[a]);
			f->told[a] = true;
		}
	}
}

/* The attribute of a key, -1: none. */
static int
attribute_of_key(KsAvroReader *r, const KsComposite *type)
{
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	int			len;
	const char *s = ks_avro_bytes(r, &len);
	int			a;

	ks_scalar_to_server(r->d, &s, &len);
	a = ks_names_find(&type->names, s, len);
	MemoryContextSwitchTo(old);
	MemoryContextReset(r->scratch);
	return a;
}

static void
fill_from_map(KsAvroReader *r, KsAvroComposite *k, Filled *f)
{
	int64		size;

	for (;;)
	{
		int64		left = ks_avro_block(r, k->node, &size);
		const uint8 *begin = r->p;

		if (left == 0)
			break;
		for (; left > 0; left--)
		{
			int			a = attribute_of_key(r, k->type);

			CHECK_FOR_INTERRUPTS();
			if (a < 0)
			{
				ks_avro_skip(r, k->node->types[0]);
				continue;
			}
			f->values[a] = ks_avro_value(r, &k->inner[a], &f->nulls[a]);
			f->told[a] = true;
		}
		ks_avro_block_end(r, begin, size);
	}
}

static Datum
from_composite(KsAvroReader *r, KsAvroConvert *c)
{
	KsAvroComposite *k = c->composite;
	KsComposite *type = k->type;
	int			natts = type->tupdesc->natts;
	Filled		f;
	Datum		d;

	f.values = palloc0(natts * sizeof(Datum));
	f.nulls = palloc(natts * sizeof(bool));
	f.told = palloc0(natts * sizeof(bool));
	memset(f.nulls, true, natts * sizeof(bool));
	ks_avro_enter(r);
	if (k->node->type == KS_AVRO_RECORD)
		fill_from_record(r, k, &f);
	else
		fill_from_map(r, k, &f);
	r->depth--;
	for (int i = 0; i < natts; i++)
	{
		type->filled[i] |= f.told[i];
		if (!f.told[i] && type->fields[i].len >= 0)
			ks_type_check(&type->attrs[i], (Datum) 0, true);
	}
	d = HeapTupleGetDatum(heap_form_tuple(type->tupdesc, f.values, f.nulls));
	/* an array may have one for every byte */
	pfree(f.told);
	pfree(f.nulls);
	pfree(f.values);
	return d;
}

static Datum
from_value(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	int			len;
	const char *s;

	switch (c->action)
	{
		case KS_AVRO_AS_NULL:
			*isnull = true;
			return (Datum) 0;
		case KS_AVRO_AS_INT:
			return from_int(r, c, isnull);
		case KS_AVRO_AS_WHOLE:
			return from_whole(r, c, isnull);
		case KS_AVRO_AS_TEXT:
		case KS_AVRO_AS_STRING:
			return from_text(r, c, isnull);
		case KS_AVRO_AS_FLOAT:
			return from_float(r, c, isnull);
		case KS_AVRO_AS_BOOL:
			return BoolGetDatum(ks_avro_bool(r));
		case KS_AVRO_AS_BYTEA:
			if (c->node->type == KS_AVRO_STRING && r->d->settings.envelope == KS_DEBEZIUM)
				ks_value_unclear("Bytes can be a string in hex or in base64.",
								 "Set binary.handling.mode=bytes for the connector.");
			s = take_bytes(r, c->node, &len);
			return PointerGetDatum(cstring_to_text_with_len(s, len));
		case KS_AVRO_AS_NUMERIC:
			return from_decimal(r, c, isnull);
		case KS_AVRO_AS_DATE:
			return from_date(r, c, isnull);
		case KS_AVRO_AS_TIME:
			return from_time(r, c, isnull);
		case KS_AVRO_AS_TIMESTAMP:
			return from_timestamp(r, c, isnull);
		case KS_AVRO_AS_UUID:
			return from_uuid(r);
		case KS_AVRO_AS_ARRAY:
			return from_array(r, c);
		case KS_AVRO_AS_DIMENSIONS:
			return from_dimensions(r, c);
		case KS_AVRO_AS_COMPOSITE:
			return from_composite(r, c);
		case KS_AVRO_AS_JSON:
			return ks_avro_from_json(r, c, isnull);
		case KS_AVRO_AS_TOKEN:
			return ks_avro_from_scalar(r, c, isnull);
		case KS_AVRO_AS_JSON_TEXT:
			return ks_avro_from_json_text(r, c, isnull);
		case KS_AVRO_AS_VARIABLE_DECIMAL:
		case KS_AVRO_AS_POINT:
			return ks_avro_from_record(r, c, isnull);
		default:
			refuse(c);
			pg_unreachable();
	}
}

Datum
ks_avro_convert(KsAvroReader *r, KsAvroConvert *c, bool *isnull)
{
	KsType	   *type = c->type;
	Datum		d;

	*isnull = false;
	if (c->action == KS_AVRO_AS_BRANCH)
		c = &c->inner[ks_avro_choice(r, c->node)];
	d = from_value(r, c, isnull);
	if (unlikely(type->kind == KS_TYPE_DOMAIN))
		ks_type_check(type, d, *isnull);
	return d;
}
