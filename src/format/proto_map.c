/*
 * proto_map.c
 *	  The entries of a Protobuf map.
 *
 * They stand in any order, and one key may stand there several times: then its last
 * entry is the one.  JSON has them by their keys, so that one map has one JSON.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/merge.h"
#include "format/proto_map.h"

static int
compare_keys(const KsProtoMapEntry *x, const KsProtoMapEntry *y)
{
	int			n;

	if (x->key.v.bits != y->key.v.bits)
		return x->key.v.bits < y->key.v.bits ? -1 : 1;
	n = memcmp(x->key.p, y->key.p, Min(x->key.len, y->key.len));
	return n != 0 ? n : x->key.len - y->key.len;
}

/* By the key; of the same one as they came. */
static int
compare_entries(const void *a, const void *b)
{
	const KsProtoMapEntry *x = a;
	const KsProtoMapEntry *y = b;
	int			n = compare_keys(x, y);

	return n != 0 ? n : x->entry.p < y->entry.p ? -1 : x->entry.p > y->entry.p;
}

bool
ks_proto_is_entry(KsProtoReader *r, const KsProtoField *field, const KsProtoValue *entry)
{
	KsProtoField open = *field;
	KsProtoEnum e;
	KsProtoValue value;

	if (field->type != KS_PROTO_ENUM || !field->enumeration->closed)
		return true;
	e = *field->enumeration;
	e.closed = false;
	open.enumeration = &e;
	ks_proto_find_value(r, &open, entry, &value);
	return !ks_proto_is_unknown(field, &value);
}

static KsProtoMapEntry *
list_entries(KsProtoReader *r, const KsProtoField *field, const KsProtoField *key, const uint8 *begin,
			 const uint8 *end, int *n)
{
	KsProtoReader inner = *r;
	const KsProtoField *value = ks_proto_find_number(field->message, 2);
	KsProtoItems items;
	int			max = 16;
	KsProtoMapEntry *entries = palloc(max * sizeof(KsProtoMapEntry));

	*n = 0;
	ks_proto_items(&items, &inner, field, begin, end);
	for (;;)
	{
		if (*n >= max)
		{
			max *= 2;
			entries = repalloc_huge(entries, max * sizeof(KsProtoMapEntry));
		}
		if (!ks_proto_next_item(&items, &entries[*n].entry))
			return entries;
		if (!ks_proto_is_entry(r, value, &entries[*n].entry))
			continue;
		ks_proto_find_value(r, key, &entries[*n].entry, &entries[*n].key);
		(*n)++;
	}
}

/* Of a key given twice the last counts.  Returns how many are left. */
static int
drop_repeated(KsProtoMapEntry *entries, int n)
{
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i + 1 < n && compare_keys(&entries[i], &entries[i + 1]) == 0)
			continue;
		if (left != i)
			entries[left] = entries[i];
		left++;
	}
	return left;
}

KsProtoMapEntry *
ks_proto_map_entries(KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end, int *n)
{
	const KsProtoField *key = ks_proto_find_number(field->message, 1);
	KsProtoMapEntry *entries = list_entries(r, field, key, begin, end, n);

	ks_merge_sort(entries, *n, sizeof(KsProtoMapEntry), compare_entries);
	*n = drop_repeated(entries, *n);
	return entries;
}
