/*
 * avro_read.c
 *	  Avro's binary encoding: values that are passed over, and what is wrong with it.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "format/avro_read.h"

void
ks_avro_bad(const KsAvroReader *r, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid Avro"),
			 errdetail("%s, before byte %d.", what, (int) (r->p - r->start) + 1),
			 errhint("Is it written with the sink's schema and framing?")));
}

void
ks_avro_cut_off(const KsAvroReader *r)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("invalid Avro"),
			 errdetail("The input ends unexpectedly after %d bytes.", (int) (r->end - r->start)),
			 errhint("Is it written with the sink's schema and framing?")));
}

uint64
ks_avro_long_varint(KsAvroReader *r)
{
	const uint8 *p = r->p;
	uint64		v = 0;
	int			size = ks_varint_word(p, r->end, &v);

	if (likely(size > 0))
	{
		r->p += size;
		return v;
	}
	for (int shift = 0; shift < 70 && p < r->end; shift += 7)
	{
		uint8		b = *p++;

		v |= (uint64) (b & 0x7f) << shift;
		if (b < 0x80)
		{
			if (unlikely(shift == 63 && b > 1))
				break;
			r->p = p;
			return v;
		}
	}
	if (r->end - r->p < 10)
		ks_avro_cut_off(r);
	ks_avro_bad(r, "A number has more than 64 bits");
}

void
ks_avro_too_deep(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
			 errmsg("Avro value is nested too deeply"),
			 errdetail("The limit is %d levels.", KS_AVRO_MAX_DEPTH)));
}

void
ks_avro_too_many(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("Avro value has too many values that take no bytes"),
			 errdetail("The limit is %d and one for each byte of the record.", KS_AVRO_SPARE)));
}

int64
ks_avro_block(KsAvroReader *r, const KsAvroNode *node, int64 *size)
{
	int64		n = ks_avro_long(r);
	int64		least = node->types[0]->least + (node->type == KS_AVRO_MAP);

	*size = -1;
	if (n < 0)
	{
		*size = ks_avro_long(r);
		if (*size < 0 || *size > r->end - r->p)
			ks_avro_bad(r, "The size of a block is out of range");
		n = n == PG_INT64_MIN ? PG_INT64_MAX : -n;
	}
	if (least > 0 && n > (r->end - r->p) / least)
		ks_avro_bad(r, "A block has fewer bytes than items");
	if (least == 0 && n > r->spare)
		ks_avro_too_many();
	return n;
}

void
ks_avro_block_end(const KsAvroReader *r, const uint8 *begin, int64 size)
{
	if (size >= 0 && r->p - begin != size)
		ks_avro_bad(r, "A block has another size than it says");
}

/* Items are not looked at where their size is told. */
static void
skip_blocks(KsAvroReader *r, const KsAvroNode *node)
{
	const KsAvroNode *item = node->types[0];
	int64		size;

	for (;;)
	{
		int64		n = ks_avro_block(r, node, &size);

		if (n == 0)
			return;
		if (size >= 0)
			(void) ks_avro_take(r, size);
		else if (node->type == KS_AVRO_ARRAY && item->width >= 0)
			(void) ks_avro_take(r, n * item->width);
		else
			for (; n > 0; n--)
			{
				int			len;

				CHECK_FOR_INTERRUPTS();
				if (node->type == KS_AVRO_MAP)
					(void) ks_avro_bytes(r, &len);
				ks_avro_skip(r, item);
			}
	}
}

void
ks_avro_skip(KsAvroReader *r, const KsAvroNode *node)
{
	int			len;

	if (node->width >= 0)
	{
		(void) ks_avro_take(r, node->width);
		return;
	}
	switch (node->type)
	{
		case KS_AVRO_INT:
		case KS_AVRO_LONG:
			(void) ks_avro_long(r);
			break;
		case KS_AVRO_BYTES:
		case KS_AVRO_STRING:
			(void) ks_avro_bytes(r, &len);
			break;
		case KS_AVRO_ENUM:
			(void) ks_avro_choice(r, node);
			break;
		case KS_AVRO_UNION:
			ks_avro_skip(r, node->types[ks_avro_choice(r, node)]);
			break;
		default:
			check_stack_depth();
			ks_avro_enter(r);
			if (node->type == KS_AVRO_RECORD)
				for (int i = 0; i < node->n; i++)
					ks_avro_skip(r, node->types[i]);
			else
				skip_blocks(r, node);
			r->depth--;
			break;
	}
}
