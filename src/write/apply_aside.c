/*
 * apply_aside.c
 *	  Records that are put aside in the search: refused, waiting for a row, or where
 *	  the batch stops.
 *
 * They are not written by the attempts that follow.  What is refused may be the last
 * that may be (ks_rejects_add()), and then nothing from there on is applied.
 */
#include "postgres.h"

#include "write/apply_search.h"

static void
reject(KsApply *ap, int i, ErrorData *edata, const char *column, bool undecodable)
{
	/* where there are no others it is not tried again, and may be looked at */
	if (undecodable || ap->nrecs > 1)
		ap->ops[i] = KS_ROW_REJECTED;
	ap->limit = ks_rejects_add(&ap->rejects, i, edata, column, ap->limit);
	ap->nundecodable += undecodable;
	(void) ks_apply_trim_error(ap, edata);
}

void
ks_aside_put_waiting(KsApply *ap, int from)
{
	for (int i = from; ap->waiting && i < ap->nrecs; i++)
		if (ks_aside_waits(ap, i))
			ap->ops[i] = KS_ROW_REJECTED;
}

bool
ks_aside_waits(const KsApply *ap, int i)
{
	int			first = ap->waiting ? ap->waiting[ap->recs[i].pidx] : -1;

	return first >= 0 && first <= i;
}

void
ks_aside_wait(KsApply *ap, int i, ErrorData *edata)
{
	int			pidx = ap->recs[i].pidx;

	if (ap->waiting == NULL)
	{
		ap->waiting = palloc(ap->nparts * sizeof(int));
		memset(ap->waiting, -1, ap->nparts * sizeof(int));
	}
	if (ap->nwaiting++ == 0)
	{
		ap->wait_error.index = i;
		ap->wait_error.edata = edata;
	}
	ap->waiting[pidx] = i;
}

const char *
ks_aside_column(const KsApply *ap, const ErrorData *edata)
{
	return ap->evaluating >= 0 ? ks_apply_route_at(ap, ap->evaluating)->decoder->column :
		edata->column_name;
}

bool
ks_aside_may_wait(KsApply *ap, int i, const ErrorData *edata)
{
	return ks_error_is_of_reference(edata->sqlerrcode) &&
		ap->may_wait && ap->may_wait(ap->wait_arg, &ap->recs[i]);
}

/* The table refuses the record. */
static void
refuse(KsApply *ap, int i, ErrorData *edata, const char *column)
{
	if (ks_aside_may_wait(ap, i, edata))
	{
		/* the row that its foreign key needs may come */
		ks_aside_wait(ap, i, edata);
		ks_aside_put_waiting(ap, i);
	}
	else
		reject(ap, i, edata, column, false);
}

/* What is not its fault happens at this record, and at no other before it. */
static void
stop_at(KsApply *ap, int i, ErrorData *edata, const char *column)
{
	ap->ops[i] = KS_ROW_REJECTED;
	if (ap->stopped.edata && ap->stopped.index <= i)
		return;
	ap->stopped.index = i;
	ap->stopped.edata = edata;
	ap->stopped.column = column ? pstrdup(column) : NULL;
	ap->stopped.of_record = false;
	ap->limit = Min(ap->limit, i);
}

void
ks_aside_put(KsApply *ap, int i, ErrorData *edata, const char *column, KsFault fault)
{
	if (fault == KS_FAULT_OF_RECORD)
		refuse(ap, i, edata, column);
	else
		stop_at(ap, i, edata, column);
}

void
ks_aside_put_undecodable(KsApply *ap, ErrorData *edata)
{
	const char *column = ks_apply_route_at(ap, ap->decoding)->decoder->column;

	if (column == NULL)
		column = edata->column_name;
	if (ap->fault == KS_FAULT_OF_RECORD)
		reject(ap, ap->decoding, edata, column, true);
	else
		stop_at(ap, ap->decoding, edata, column);
}
