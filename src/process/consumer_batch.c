/*
 * consumer_batch.c
 *	  Applies the batch, and says how far it moves each offset.
 *
 * An offset moves over the records that the batch was handed, and over what lies
 * between them; beyond the last of them only to an end of the log that was seen
 * in the epoch that still holds, so behind all of them.  check_handed() and
 * account() see to it.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "catalog/offsets.h"
#include "process/consumer_int.h"

/*
 * The records that the batch has of a partition are those that it was handed:
 * first, last and all between.  Anything else would be a loss.
 * (not reached by tests: a loss)
 */
static void
check_handed(const KsConsumer *c, int pidx, int64 first)
{
	const KsPartition *p = &c->parts[pidx];
	const KsPartitionState *st = &c->states[pidx];
	bool		whole = p->counts.consumed == st->handed &&
		(st->handed == 0 || (first == st->first_off && p->until == st->last_off + 1));

	Assert(whole || st->given_back);
	if (!whole && !st->given_back)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("the batch does not have the records that were read"),
				 errdetail("Topic \"%s\", partition %d, stored offset " INT64_FORMAT ": %d records from "
						   INT64_FORMAT " to " INT64_FORMAT " were read, " INT64_FORMAT " from "
						   INT64_FORMAT " to " INT64_FORMAT " are there.",
						   p->topic, p->part, p->off, st->handed, st->first_off, st->last_off,
						   p->counts.consumed, first, p->until - 1)));
}

/*
 * Offsets of one partition ascend, from the stored one on.
 * (not reached by tests: they do not)
 */
static void
check_ascends(const KsPartition *p, int64 off)
{
	if (unlikely(off < p->until))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("a record comes after its place"),
				 errdetail("Topic \"%s\", partition %d: offset " INT64_FORMAT " after " INT64_FORMAT ".",
						   p->topic, p->part, off, p->until - 1)));
}

/* Offsets and accounting of the first 'done' records. */
static void
account(KsConsumer *c, int done)
{
	bool		whole = done == c->nrecs;
	int64	   *first = palloc(Max(c->nparts, 1) * sizeof(int64));

	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		p->until = p->off;
		p->last_rec = -1;
		p->new_last_off = -1;
		p->counts.consumed = 0;
		first[i] = -1;
	}
	for (int i = 0; i < done; i++)
	{
		int			pidx = c->recs[i].pidx;
		KsPartition *p = &c->parts[pidx];

		check_ascends(p, c->recs[i].off);
		if (p->last_rec < 0)
			first[pidx] = c->recs[i].off;
		p->counts.consumed++;
		p->until = c->recs[i].off + 1;
		p->last_rec = i;
	}
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		if (p->last_rec >= 0)
		{
			p->new_last_off = c->recs[p->last_rec].off;
			p->new_last_hash = ks_record_hash(&c->recs[p->last_rec]);
		}
		if (whole)
		{
			check_handed(c, i, first[i]);
			/* control records and what compaction took, up to the end seen */
			p->until = Max(p->until, ks_consumer_log_end(c, i));
		}
		p->counts.gaps = p->until - p->off - p->counts.consumed;
	}
	pfree(first);
}

/* What became of the records, of an attempt that is made again. */
static void
forget_counts(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
		memset(&c->parts[i].counts, 0, sizeof(KsCounts));
}

/* The partitions whose offsets the batch moves. */
static KsPartition **
parts_to_move(KsConsumer *c, int *n)
{
	KsPartition **parts = palloc(Max(c->nparts, 1) * sizeof(KsPartition *));

	*n = 0;
	for (int i = 0; i < c->nparts; i++)
		if (c->parts[i].until != c->parts[i].off)
			parts[(*n)++] = &c->parts[i];
	return parts;
}

/*
 * The target is not ready for that record.  What is before it in the batch comes first; but
 * records of other partitions may come before it each time, and for ever: if it is the
 * first of its own, they wait, unless the transaction has altered a table, and has to have
 * rows, too.
 */
static void
cut_batch(KsConsumer *c, int at, bool altered)
{
	int			pidx = c->recs[at].pidx;
	bool		first = !altered;

	for (int i = 0; i < at && first; i++)
		first = c->recs[i].pidx != pidx;
	if (first)
		ks_consumer_keep_partition(c, pidx);
	else
		ks_consumer_truncate_batch(c, at);
}

/*
 * The target is not ready for the first record: it is altered, or *err says why it
 * cannot be.  False: not in this transaction, which has not begun with its lock.
 */
static bool
evolve(KsConsumer *c, KsRecordError *err)
{
	KsApply    *ap = c->apply;
	Oid			locked = c->evolve;

	ks_apply_finish(ap);
	c->evolve = ap->evolution.relid;
	if (ap->evolution.refused == NULL && locked != c->evolve)
		return false;
	err->index = 0;
	err->edata = ks_evolve_run(ap);
	c->evolve = InvalidOid;
	if (err->edata)
		return true;
	ereport(c->in_worker ? LOG : INFO,
			(errmsg("sink \"%s\" alters its target for schema %s of the registry: %s", c->sink->name,
					ks_schema_id_text(&ap->evolution.id), ap->evolution.statement)));
	ks_apply_prepare(ap);
	return true;
}

KsApplyResult
ks_consumer_apply(KsConsumer *c, KsRecordError *err)
{
	KsPartition **touched;
	int			n;
	int			nmoved = 0;
	int			done;
	bool		altered = false;

	MemoryContextReset(c->row_cxt);
	c->apply->written = NULL;
	c->behind_of = -1;
	c->others_seen = false;
	ks_rejects_begin(&c->apply->rejects);
	memset(err, 0, sizeof(KsRecordError));
	for (int i = 0; i < c->nparts; i++)
		c->states[i].waiting = false;

	/* lock what the whole batch would move */
	forget_counts(c);
	account(c, c->nrecs);
	touched = parts_to_move(c, &n);
	if (n == 0)
		return KS_APPLY_DONE;	/* and there are no records, see account() */
	if (!ks_offsets_lock(c->sink->name, touched, n))
		return KS_APPLY_MISMATCH;
	/* offsets that are as expected may be another sink's of that name */
	if (!ks_catalog_is_unchanged(c->sink))
		return KS_APPLY_CHANGED;
	forget_counts(c);

#ifdef KS_BREAK_ATOMICITY
	/* for the tests alone: workers move offsets in a transaction of their own, which the
	 * crash test must find out */
	if (c->in_worker)
	{
		account(c, c->nrecs);
		for (int i = 0; i < n; i++)
			touched[i]->counts.applied = touched[i]->counts.consumed;
		if (!ks_offsets_move(c->sink->name, touched, n))
			return KS_APPLY_MISMATCH;
		c->commit();
		c->begin();
		touched = parts_to_move(c, &n);
		forget_counts(c);
	}
#endif

	done = 0;
	if (OidIsValid(c->evolve))
		ks_evolve_lock(c->apply, c->evolve);
	if (c->nrecs > 0)
		ks_consumer_prepare(c);
	while (c->nrecs > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(c->row_cxt);

		(void) ks_apply_order(c->apply, c->recs, c->nrecs, c->parts, c->nparts);
		MemoryContextSwitchTo(old);
		c->apply->again = c->fetched;
		c->apply->unknown_wait = ks_consumer_registry_rests(c);
		c->apply->unknown_first = c->registry_failures > 0;
		done = ks_apply(c->apply, c->recs, c->nrecs, c->parts, c->nparts, err);
		if (c->apply->unknown != NIL && !(c->apply->nwaiting > 0 && c->halt))
		{
			if (c->apply->nwaiting > 0)
			{
				ks_consumer_note_lacking(c);
				c->retry_at = c->registry_at;
			}
			ks_apply_finish(c->apply);
			return KS_APPLY_SCHEMAS;
		}
		if (c->apply->evolution.at == 0)
		{
			if (!evolve(c, err))
				return KS_APPLY_EVOLVE;
			if (err->edata)
				break;
			altered = true;
			continue;
		}
		if (c->apply->evolution.at > 0)
			cut_batch(c, c->apply->evolution.at, altered);
		else if (c->apply->unknown != NIL)
		{
			/* all of it waits, and who halts does not */
			ks_consumer_truncate_batch(c, 0);
			done = 0;
		}
		else if (c->apply->nwaiting == 0)
			break;
		else
			ks_consumer_drop_waiting_records(c);
		/* what is left is decoded anew */
		MemoryContextReset(c->row_cxt);
		forget_counts(c);
	}
	ks_apply_finish(c->apply);
	account(c, done);
	for (int i = 0; i < n; i++)
		if (touched[i]->until != touched[i]->off)
			touched[nmoved++] = touched[i];
#ifdef KS_BREAK_ATOMICITY
	if (c->in_worker)
		nmoved = 0;
#endif
	if (nmoved > 0 && !ks_offsets_move(c->sink->name, touched, nmoved))
		return KS_APPLY_MISMATCH;
	return done == c->nrecs ? KS_APPLY_DONE : KS_APPLY_STOPPED;
}

void
ks_consumer_committed(KsConsumer *c)
{
	for (int i = 0; i < c->nparts; i++)
	{
		KsPartition *p = &c->parts[i];

		if (p->last_rec >= 0)
		{
			p->last_off = p->new_last_off;
			p->last_hash = p->new_last_hash;
		}
		if (!ks_consumer_stop_if_waiting(c, i) && p->until > p->off)
			ks_consumer_clear_failure(c, i);
		p->off = p->until;
	}
	ks_rejects_committed(&c->apply->rejects, c->nrecs);
	/* a little more each time, until all is taken again */
	if (c->most > 0)
		c->most += c->most / 64 + 1;
	if (c->most >= c->sink->batch_records)
		c->most = 0;
	ks_consumer_reset_batch(c);
	if (c->in_worker)
		ks_consumer_publish(c);
}

void
ks_consumer_describe(KsConsumer *c, const KsRecordError *err, KsStateError *out)
{
	const KsRecord *rec = &c->recs[err->index];
	const KsPartition *p = &c->parts[rec->pidx];
	const char *sink = quote_literal_cstr(c->sink->name);
	const char *skip;

	memset(out, 0, sizeof(KsStateError));
	out->sqlstate = err->edata->sqlerrcode;
	out->message = err->edata->message;
	out->detail = err->edata->detail;
	skip = psprintf("kafka_sink.skip(%s, %s, %d, " INT64_FORMAT ")", sink, quote_literal_cstr(p->topic),
					p->part, rec->off);
	if (c->apply->done < err->index)
		out->hint = psprintf("Mend the cause, then kafka_sink.resume(%s).  Records before it need what is behind it: to go on without it, set on_error => 'dead_letter'.",
							 sink);
	else if (err->of_record)
		out->hint = psprintf("Mend the cause, or pass over the record with %s; then kafka_sink.resume(%s).",
							 skip, sink);
	else
		out->hint = psprintf("%s%sMend the cause, then kafka_sink.resume(%s).  It is not told as a fault of the record; if it is one, pass over it with %s.",
							 err->edata->hint ? err->edata->hint : "", err->edata->hint ? "  " : "",
							 sink, skip);
	/* what must be mended is the target's or the command's */
	out->of_sink = !err->of_record;
	if (err->exceeded)
	{
		out->sqlstate = ERRCODE_CONFIGURATION_LIMIT_EXCEEDED;
		out->message = "more records cannot be applied than reject_limit allows";
		out->detail = psprintf("The limit is %s.  This record would be one too many: %s (%s)",
							   err->exceeded, err->edata->message,
							   unpack_sql_state(err->edata->sqlerrcode));
		out->hint = psprintf("Mend the cause, or raise reject_limit; then kafka_sink.resume(%s) goes on with this record and counts anew.",
							 sink);
	}
	out->topic = p->topic;
	out->part = p->part;
	out->off = rec->off;
	out->column = err->column;
}
