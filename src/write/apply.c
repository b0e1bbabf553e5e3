/*
 * apply.c
 *	  A batch of records to the targets.
 *
 * What was refused (apply_search.c) goes by on_error once all else is applied.  A
 * record that is one too many (the first one, with on_error => 'stop') ends the
 * batch: nothing behind it is applied.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "write/command.h"
#include "write/dead_letters.h"
#include "write/writer.h"

KsApply *
ks_apply_create(const KsSink *sink, bool set_constraints,
				MemoryContext cxt, MemoryContext batch_cxt)
{
	KsApply    *ap = MemoryContextAllocZero(cxt, sizeof(KsApply));

	ap->cxt = cxt;
	ap->batch_cxt = batch_cxt;
	ap->sink = sink;
	ap->set_constraints = set_constraints;
	ap->rejects.cxt = cxt;
	ap->rejects.limit = sink->reject_limit;
	if (sink->on_error == KS_ON_ERROR_STOP)
		ap->rejects.limit.max = 0;
	return ap;
}

/* What becomes of those that were refused. */
static void
dispose(KsApply *ap)
{
	bool		ignore = ap->sink->on_error == KS_ON_ERROR_IGNORE && !ap->keep_rejects;

	for (int i = 0; i < ap->rejects.n; i++)
	{
		KsCounts   *c = &ap->parts[ap->recs[ap->rejects.items[i].index].pidx].counts;

		(*(ignore ? &c->ignored : &c->dead_lettered))++;
	}
	if (!ignore && !ap->keep_rejects && ap->rejects.n > 0)
		ks_dead_letters_write(ap->sink, ap->recs, ap->parts, ap->rejects.items, ap->rejects.n);
}

/* So many schemas are asked for at a time: a record may tell any. */
#define MAX_UNKNOWN		1000

/* Which schemas of records are not known? */
static void
list_unknown(KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (!ks_schemas_ask(r->decoder))
			continue;
		for (int j = r->lo; j < r->hi && list_length(ap->unknown) < MAX_UNKNOWN; j++)
			ks_schemas_list_unknown(r->decoder, &ap->recs[j], &ap->looking, &ap->unknown);
	}
}

/* Is one of the record's not known?  One that another has told is in the list already. */
static bool
lacks_schema(KsApply *ap, KsRoute *r, int i)
{
	int			n = list_length(ap->unknown);

	ks_schemas_list_unknown(r->decoder, &ap->recs[i], &ap->looking, &ap->unknown);
	return ap->unknown != NIL && (list_length(ap->unknown) > n || ks_schemas_lack(r->decoder, &ap->recs[i]));
}

/*
 * The same of the first records of partitions that have such: these wait, with what is behind
 * them, which may tell as many others as it likes.  Rows of other records may refer to theirs,
 * and would be refused for want of them: returns whether there may be such.
 */
static bool
put_unknown_aside(KsApply *ap)
{
	bool		linked = false;

	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (!ks_schemas_ask(r->decoder))
			continue;
		for (int j = r->lo; j < r->hi; j++)
		{
			CHECK_FOR_INTERRUPTS();
			if (ks_aside_waits(ap, j) || !lacks_schema(ap, r, j))
				continue;
			ks_aside_wait(ap, j, NULL);
			linked |= r->linked || ap->sink->halt_as_a_whole;
		}
	}
	return linked;
}

/* Schemas that are to be fetched first, or records that wait for them. */
static void
find_unknown(KsApply *ap)
{
	bool		linked;

	ap->unknown = NIL;
	ap->looking.nth++;
	ap->looking.batch += !ap->again;
	ap->again = false;
	if (!ap->unknown_wait && !ap->unknown_first)
	{
		list_unknown(ap);
		return;
	}
	linked = put_unknown_aside(ap);
	if (ap->unknown_wait && !linked)
		ap->unknown = NIL;
	if (!ap->unknown_wait)
	{
		ap->waiting = NULL;
		ap->nwaiting = 0;
	}
}

bool
ks_apply_schema_of(const KsApply *ap, int record, KsSchemaId *id)
{
	return ks_schemas_told(ks_apply_route_at(ap, record)->decoder, &ap->recs[record], id);
}

/* Of so many records is known what they became, in this batch and before. */
static int64
count_accounted(const KsApply *ap)
{
	int64		n = 0;

	for (int i = 0; i < ap->nparts; i++)
		n += ks_counts_became(&ap->parts[i].counts);
	return n;
}

/*
 * Each has become something, once.  Anything else would be a loss.
 * (not reached by tests: a loss)
 */
static void
check_accounts(const KsApply *ap, int64 before)
{
	int64		became = count_accounted(ap) - before;

	if (unlikely(became != ap->done))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("not each record is accounted for"),
				 errdetail("%d records are done, but what became of " INT64_FORMAT " is known.", ap->done, became)));
}

int
ks_apply(KsApply *ap, const KsRecord *recs, int n, KsPartition *parts,
		 int nparts, KsRecordError *err)
{
	MemoryContext old = MemoryContextSwitchTo(ap->batch_cxt);
	KsReject   *stopped;
	int64		before;
	instr_time	start,
				end;

	memset(err, 0, sizeof(KsRecordError));
	ap->recs = recs;
	ap->nrecs = n;
	ap->parts = parts;
	ap->nparts = nparts;
	before = count_accounted(ap);
	ap->limit = n;
	ap->waiting = NULL;
	ap->owner = CurrentResourceOwner;
	ap->nwaiting = 0;
	ap->done = n;
	ap->decoded_until = 0;
	ap->owner_code_around = -1;
	ap->searching = ap->one_by_one = ap->quiet = ap->for_filter = false;
	ap->deletes_first = ap->shared;
	ap->key_sets = NIL;
	memset(&ap->stopped, 0, sizeof(KsRecordError));
	ks_rejects_begin(&ap->rejects);
	ap->nundecodable = 0;
	ap->ops = palloc(n);
	ap->parsed_ops = palloc(n);
	ap->apart = palloc0(n);
	memset(ap->ops, KS_ROW_REJECTED, n);
	memset(ap->parsed_ops, KS_ROW_REJECTED, n);
	ap->idx = palloc_extended((Size) n * 2 * sizeof(int), MCXT_ALLOC_HUGE);
	ap->counts = palloc(nparts * sizeof(KsCounts));
	ks_apply_begin_routes(ap);
	ap->evolution.at = -1;
	find_unknown(ap);
	if (ap->unknown != NIL || ap->nwaiting > 0 || !ks_evolve_ready(ap))
	{
		ap->done = 0;
		MemoryContextSwitchTo(old);
		return 0;
	}
	ap->attempt_cxt = AllocSetContextCreate(ap->batch_cxt, "kafka_sink attempt",
											ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	MemoryContextSwitchTo(ap->batch_cxt);

	ks_apply_search(ap);
	ap->fast = true;
	for (int i = 0; i < ap->nroutes; i++)
		ks_writer_end(&ap->routes[i]);
	for (int i = 0; i < ap->nroutes; i++)
		ap->fast &= ap->routes[i].fast || ap->routes[i].lo == ap->routes[i].hi;
	if (ap->nwaiting > 0)
	{
		/* nor was any refused */
		ks_rejects_begin(&ap->rejects);
		SPI_finish();
		MemoryContextSwitchTo(old);
		return 0;
	}
	stopped = ks_rejects_end(&ap->rejects, ap->limit);
	(void) ks_rejects_end(&ap->rejects, ap->done);
	INSTR_TIME_SET_CURRENT(start);
	dispose(ap);
	check_accounts(ap, before);
	INSTR_TIME_SET_CURRENT(end);
	INSTR_TIME_SUBTRACT(end, start);
	ap->apply_us += INSTR_TIME_GET_MICROSEC(end);
	if (ap->stopped.edata && ap->stopped.index == ap->limit)
		*err = ap->stopped;
	else if (ap->limit < n)
	{
		err->index = ap->limit;
		err->edata = stopped->edata;
		err->column = stopped->column;
		err->exceeded = ap->rejects.limit.text;
		err->of_record = true;
	}
	ereport(DEBUG1,
			(errmsg_internal("sink \"%s\" applied %d of %d records %s SQL", ap->sink->name,
							 ap->done, n, ap->fast ? "without" : "by")));
	SPI_finish();
	MemoryContextSwitchTo(old);
	return ap->done;
}
