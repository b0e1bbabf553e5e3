/*
 * proto_runs.c
 *	  Where the fields of a Protobuf message are.
 *
 * They stand in any order, and any number of times.  One pass notes the runs of each, and
 * they are put in the order of the schema; runs of one field are the same as one behind
 * the other, which is also what merges a message that stands there several times.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "base/merge.h"
#include "format/proto_runs.h"

static void
add_run(KsProtoReader *r, int field, const uint8 *begin, const uint8 *end)
{
	KsProtoRun *run;

	if (r->nruns >= r->maxruns)
	{
		r->maxruns = r->maxruns ? r->maxruns * 2 : 64;
		r->runs = r->runs ? repalloc_huge(r->runs, r->maxruns * sizeof(KsProtoRun)) :
			palloc(r->maxruns * sizeof(KsProtoRun));
	}
	run = &r->runs[r->nruns++];
	run->field = field;
	run->begin = begin;
	run->end = end;
}

/* A number behind a tag that a closed enum does not have, which is as if it was not there. */
static bool
is_unknown(const KsProtoReader *r, const KsProtoField *field, const uint8 *begin)
{
	KsProtoReader inner = *r;
	KsProtoValue value;

	inner.p = begin;
	(void) ks_proto_tag(&inner);
	ks_proto_value(&inner, field, &value);
	return ks_proto_is_unknown(field, &value);
}

/* The runs of the reader's message from 'base' on; false if they are not in the schema's order. */
static bool
pass_over(KsProtoReader *r, const KsProtoMessage *message, const bool *left_out, int base)
{
	bool		in_order = true;

	while (r->p < r->end)
	{
		const uint8 *begin = r->p;
		uint32		tag = ks_proto_tag(r);
		const KsProtoField *field = ks_proto_find_number(message, tag >> 3);
		KsProtoRun *last = r->nruns > base ? &r->runs[r->nruns - 1] : NULL;
		int			i;

		CHECK_FOR_INTERRUPTS();
		ks_proto_skip(r, tag);
		if (field == NULL || ((tag & 7) != ks_proto_wire(field->type) &&
							  !(field->repeated && (tag & 7) == KS_PROTO_WIRE_BYTES && ks_proto_is_packable(field->type))))
			continue;
		i = (int) (field - message->fields);
		if (left_out && left_out[i])
			continue;
		if (unlikely(field->type == KS_PROTO_ENUM && field->enumeration->closed) && !field->repeated &&
			is_unknown(r, field, begin))
			continue;
		if (last && last->field == i && last->end == begin)
			last->end = r->p;
		else
		{
			in_order &= last == NULL || last->field <= i;
			add_run(r, i, begin, r->p);
		}
	}
	return in_order;
}

/* Of a oneof's fields the last one counts, and all that stands before it does not. */
static void
drop_others(KsProtoReader *r, const KsProtoMessage *message, int base)
{
	int		   *chosen = palloc(message->noneofs * sizeof(int));
	bool	   *closed = palloc0(message->noneofs * sizeof(bool));

	memset(chosen, -1, message->noneofs * sizeof(int));
	for (int i = r->nruns - 1; i >= base; i--)
	{
		KsProtoRun *run = &r->runs[i];
		int			oneof = message->fields[run->field].oneof;

		if (oneof < 0)
			continue;
		if (chosen[oneof] < 0)
			chosen[oneof] = run->field;
		closed[oneof] |= chosen[oneof] != run->field;
		if (closed[oneof])
			run->field = -1;
	}
	pfree(closed);
	pfree(chosen);
}

static int
compare_runs(const void *a, const void *b)
{
	const KsProtoRun *x = a;
	const KsProtoRun *y = b;

	if (x->field != y->field)
		return x->field < y->field ? -1 : 1;
	return x->begin < y->begin ? -1 : x->begin > y->begin;
}

void
ks_proto_list_runs(KsProtoReader *r, const KsProtoMessage *message, const KsProtoValue *value, const bool *left_out)
{
	KsProtoReader inner = *r;
	int			base = r->nruns;
	bool		in_order;

	inner.p = value->p;
	inner.end = value->p + value->len;
	in_order = pass_over(&inner, message, left_out, base);
	r->nruns = inner.nruns;
	r->maxruns = inner.maxruns;
	r->runs = inner.runs;
	if (message->noneofs > 0 && r->nruns - base > 1)
		drop_others(r, message, base);
	if (!in_order)
		ks_merge_sort(r->runs + base, r->nruns - base, sizeof(KsProtoRun), compare_runs);
}

void
ks_proto_join_runs(KsProtoReader *r, int *i, KsProtoRun *joined, char **buffer)
{
	int			from = *i;
	int64		size = 0;
	char	   *to;

	*joined = r->runs[from];
	*buffer = NULL;
	for (; *i < r->nruns && r->runs[*i].field == joined->field; (*i)++)
		size += r->runs[*i].end - r->runs[*i].begin;
	if (*i == from + 1)
		return;
	*buffer = to = palloc(size);
	for (int k = from; k < *i; k++)
	{
		memcpy(to, r->runs[k].begin, r->runs[k].end - r->runs[k].begin);
		to += r->runs[k].end - r->runs[k].begin;
	}
	joined->begin = (const uint8 *) *buffer;
	joined->end = (const uint8 *) to;
}
