/*
 * apply_search.c
 *	  A batch in subtransactions, and the search for the records to blame.
 *
 * The whole batch is tried in one subtransaction: decode all, apply all, check
 * deferred constraints.  A record that cannot be decoded is known by its index:
 * the next attempt decodes what is behind it.  Decoded rows live in the batch's
 * context and survive the rollback.
 *
 * For what the tables refuse the batch is gone through in the order of the log, in
 * ranges that are tried in subtransactions of their own.  Those that succeed stay;
 * one that fails is halved until its first bad record is found.  So k bad records
 * in n cost O(k log n) attempts, and n if all are bad.
 *
 * But a range that fails is not always bad: a row may refer to one that a later
 * record writes, or take a value that it gives up.  A record whose error others of
 * the batch might cure is a suspect: it is left out, and the search goes on to the
 * end.  So is one that may fail only for want of a suspect before it.  If there are
 * suspects, what was written is of no use but to find out who is bad; it is rolled back,
 * and all records that remain are tried as a whole again.  If other records were found
 * to be bad, that may be all.  If not, the suspects are judged beside all others
 * (apply_judge.c).
 *
 * Invariants:
 *	- what stays was written as a whole, or as ranges in the order of the log
 *	  each of which was valid behind those before it;
 *	- a record that is refused failed alone, behind all that are before it and
 *	  stay; one that others might have cured also failed beside all others that
 *	  were not refused before it.
 * Where deletes act on other targets' rows, bad records are all that is to be found out, too:
 * if there is none, once more without these deletes, which as a whole come last.
 * Each round costs the batch as a whole, a search and a judgement, and refuses one
 * record at least; behind the last round (MAX_ROUNDS) all that fail in the order of
 * the log are refused, unless they can be written together with those right behind them.
 *
 * What is not a record's fault stops the batch, as an error of on_error => 'stop'
 * does, if there is one record that provokes it alone: everything before it stays,
 * and the caller is told where it happened.  Otherwise, and if it may pass by itself,
 * it is thrown, and the caller rolls back the transaction.
 *
 * If a batch stops at a record, what is before it may need what is behind it; then
 * it stops before the first one that does (done < limit).  So suspects before a
 * record that cannot be decoded are not judged before all others have been tried.
 *
 * A batch that the fast path cannot write is tried once more by SQL, which has
 * the last word on what is wrong.  Inserts need not be: what the fast path cannot
 * insert SQL cannot either, and for the same reason.  But only SQL tells an error
 * in full, as it is told if it stops the sink.
 *
 * A record whose foreign key finds no row may wait for it: then the search leaves
 * out what is behind it in its partition, and all is rolled back in the end, so
 * that the caller can apply the batch without these.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "base/error.h"
#include "write/apply_search.h"
#include "write/command.h"
#include "write/writer.h"

/* Rounds of the search behind which nothing is left to a cure. */
#define MAX_ROUNDS	10

/* Records of such a range, and how many times the batch's rows are written to find them. */
#define MAX_JOINED	256
#define MAX_TIMES	4

typedef enum How
{
	WITH_SUSPECTS,				/* those that others might cure are left out */
	STRICT,						/* all that fail are put aside */
	UNTIL_FIRST					/* ends at the first that fails */
} How;

typedef struct Search
{
	KsApply    *ap;
	How			how;
	KsSuspects	suspects;
	int			nbad;			/* put aside */
	bool		needs;			/* some may need the record that the batch stops at */
	bool		with_rest;		/* all but that one are to be tried before suspects are judged, */
	bool		rest_tried;		/* and have been */
	bool		without_deletes;	/* the round leaves out those that act on others */
	bool		deletes_tried;	/* such a round has found nobody */
	bool		stays;			/* the round has written what is to be written, */
	bool		ended;			/* up to a record that needs what is not written */
	int64		joined;			/* rows of ranges that have grown */
	int			from;			/* what is before it is done */
	ErrorData  *whole;			/* the error of all as a whole, */
	KsFault		fault;			/* and whose fault it is */
	KsCounts   *counts;			/* what was counted before it, by partition */
} Search;

/*
 * Does the filter leave out the record that cannot be decoded (ap->decoding), by what it asks
 * for?  Where records tell their types, others than the filter lets pass need not fit.
 */
static bool
is_left_out(KsApply *ap)
{
	int			i = ap->decoding;
	const KsRoute *r = ks_apply_route_at(ap, i);
	KsDecoder  *d = r->decoder;
	KsFault		fault = ap->fault;
	const char *column = d->column;
	ErrorData  *edata;

	if (fault != KS_FAULT_OF_RECORD || !d->filters || d->evaluating || !ks_schemas_tell_types(d))
		return false;
	/* an error of no column is one of the change, which a filter by its type may know nothing of */
	if (column == NULL && !ks_filter_is_by_type(r->target->filter))
		return false;
	ap->for_filter = true;
	edata = ks_apply_attempt(ap, i + 1, i + 1, i);
	ap->for_filter = d->for_filter = false;
	if (edata == NULL && ap->ops[i] == KS_ROW_FILTERED)
		return true;
	if (edata)
		FreeErrorData(edata);
	/* as it was */
	ap->ops[i] = ap->parsed_ops[i] = KS_ROW_REJECTED;
	ap->decoding = i;
	ap->fault = fault;
	d->column = column;
	return false;
}

/* The records behind the limit, which others may need. */
static void
decode_rest(KsApply *ap)
{
	int			first = ap->decoded_until;

	for (int from = first; from < ap->nrecs; from = ap->decoded_until)
	{
		ErrorData  *edata = ks_apply_attempt(ap, ap->nrecs, ap->nrecs, from);

		ap->decoded_until = edata ? ap->decoding + 1 : ap->nrecs;
		if (edata && !is_left_out(ap))
			ks_aside_put_undecodable(ap, edata);
	}
	ks_aside_put_waiting(ap, first);
}

static void
suspect(Search *s, int i, ErrorData *edata, bool excused)
{
	KsSuspect  *item = ks_suspects_add(s->ap, &s->suspects, i);

	item->excused = excused;
	item->constraint = ks_fault_constraint(edata);
	item->edata = edata;
	item->at_once = ks_fault_is_at_once(s->ap, edata);
	item->column = ks_apply_trim_error(s->ap, edata);
	item->fault = s->ap->fault;
	if (s->suspects.n == 1)
		decode_rest(s->ap);
}

/* The batch stops behind this record, which needs a row of what comes then. */
static bool
needs_rest(KsApply *ap, int i, const ErrorData *edata)
{
	return ap->limit < ap->nrecs && ks_error_is_of_reference(edata->sqlerrcode) &&
		!ks_aside_may_wait(ap, i, edata) && ks_refer_finds_behind(ap, i, ks_fault_constraint(edata));
}

/* A record that fails alone; false ends the search. */
static bool
found(Search *s, int i, ErrorData *edata)
{
	KsApply    *ap = s->ap;
	KsFault		fault = ap->fault;
	bool		cured = s->how == WITH_SUSPECTS && ks_fault_may_be_cured(ap, i, edata);

	if (s->how == UNTIL_FIRST)
		return false;
	if (cured || (s->how == WITH_SUSPECTS && ks_fault_may_follow(ap, i, edata, &s->suspects)))
		suspect(s, i, edata, !cured);
	else if (s->how == STRICT && needs_rest(ap, i, edata))
	{
		s->ended = true;
		return false;
	}
	else
	{
		ks_aside_put(ap, i, edata, ks_aside_column(ap, edata), fault);
		s->nbad++;
	}
	return true;
}

/*
 * The record at hand, which fails alone, with those behind it, which may cure it: a range
 * that grows, up to 'end'.  Where it ends if it can be written, or else 0.
 */
static int
join_next(Search *s, int end)
{
	KsApply    *ap = s->ap;
	KsFault		fault = ap->fault;

	for (int size = 2; size <= MAX_JOINED && s->from + size / 2 < end &&
		 s->joined < (int64) MAX_TIMES * ap->nrecs; size *= 2)
	{
		int			until = Min(s->from + size, end);
		ErrorData  *edata = ks_apply_attempt(ap, s->from, until, until);

		if (edata == NULL)
			return until;
		s->joined += until - s->from;
		FreeErrorData(edata);
	}
	/* (as the record has left it) */
	ap->fault = fault;
	ap->evaluating = -1;
	return 0;
}

/*
 * Goes through the records in the order of the log: nothing behind the limit is
 * applied, unless it might cure a suspect.  A range that has failed is halved until
 * its first bad record is found.  Behind that one the search begins anew, with ranges
 * that double as long as they succeed: where all are bad each is tried once, alone.
 */
static void
go_through(Search *s)
{
	KsApply    *ap = s->ap;
	int			failed = ap->limit; /* [from, failed) has failed; from: not known */
	int			size = 1;		/* of the next range, if it is not known */
	int			known = ap->evaluating; /* what is before it can be evaluated, it cannot */
	bool		more = true;

	s->from = 0;
	ap->one_by_one = true;
	while (more)
	{
		int			end = s->suspects.n > 0 ? ap->nrecs : ap->limit;
		int			until;
		ErrorData  *edata;

		while (s->from < end && ap->ops[s->from] == KS_ROW_REJECTED)
			s->from++;
		if (s->from >= end)
			break;
		until = failed > s->from ? s->from + Max((failed - s->from) / 2, 1) : s->from + size;
		if (known >= s->from)
			until = Max(known, s->from + 1);
		until = Min(until, end);
		edata = ks_apply_attempt(ap, s->from, until, until);
		if (edata)
			known = ap->evaluating;
		if (edata == NULL)
		{
			size = failed > s->from ? 1 : size * 2;
			s->from = until;
		}
		else if (until - s->from > 1)
		{
			FreeErrorData(edata);
			failed = until;
		}
		else
		{
			int			joined = s->how == STRICT && ks_fault_may_be_cured(ap, s->from, edata) ?
				join_next(s, end) : 0;

			more = joined > 0 || found(s, s->from, edata);
			if (more)
				s->from = Max(until, joined);
			size = 1;
		}
	}
	ap->one_by_one = false;
}

/*
 * The batch stops at a record behind this one, and it may need a row of those that
 * were put aside: nothing is wrong with it then, as far as is known.
 */
static bool
may_need_stopped(KsApply *ap, const KsSuspect *item)
{
	return item->index < ap->limit && ap->limit < ap->nrecs &&
		ks_error_is_of_reference(item->edata->sqlerrcode) &&
		!ks_aside_may_wait(ap, item->index, item->edata) &&
		ks_refer_may_need_rejected(ap, item->index, item->constraint);
}

static void
sentence(Search *s, const KsSuspect *item)
{
	KsApply    *ap = s->ap;

	/* behind one that waits nothing is tried */
	if (ks_aside_waits(ap, item->index))
		return;
	if (may_need_stopped(ap, item))
	{
		s->needs = true;
		return;
	}
	ks_aside_put(ap, item->index, item->edata, item->column, item->fault);
	s->nbad++;
}

/*
 * Those that are bad beside all others are put aside; if some have no excuse, these only.
 * One is that a delete was written first, which as a whole comes last (apply_range.c).
 */
static void
judge_suspects(Search *s)
{
	KsSuspect  *items = s->suspects.items;

	ks_apply_judge(s->ap, &s->suspects);
	for (int i = 0; i < s->suspects.n; i++)
		items[i].excused |= items[i].bad && (ks_refer_may_have_gone(s->ap, items[i].index) ||
											 (ks_error_is_of_reference(items[i].edata->sqlerrcode) &&
											  ks_refer_is_deleted(s->ap, items[i].index, items[i].constraint)));
	for (int k = 0; k < 4 && (k != 2 || (s->nbad == 0 && !s->needs)); k++)
		for (int i = 0; i < s->suspects.n; i++)
			if (items[i].bad && items[i].excused == (k >= 2) && items[i].at_first == (k % 2 == 0))
				sentence(s, &items[i]);
}

/* Is there an error of the whole that no record provokes alone? */
static bool
is_unexplained(const Search *s)
{
	return s->fault == KS_FAULT_OF_NONE && s->ap->stopped.edata == NULL;
}

/* Do deletes act on rows of other targets? */
static bool
has_acting_deletes(const KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
	{
		const KsRoute *r = &ap->routes[i];
		int			hi = Min(r->hi, ap->limit);

		if (r->acts_on_others && r->lo < hi && memchr(ap->ops + r->lo, KS_ROW_DELETE, hi - r->lo) != NULL)
			return true;
	}
	return false;
}

/*
 * Range by range, deletes may have taken rows with them that a later range would have moved
 * away, so that it has changed none.  (They may make room, too.)
 */
static bool
is_to_be_whole(const Search *s)
{
	return s->how == WITH_SUSPECTS && has_acting_deletes(s->ap) &&
		(s->nbad > 0 || (!s->deletes_tried && s->whole->sqlerrcode != ERRCODE_UNIQUE_VIOLATION));
}

/* One round; true if what it has written stays. */
static bool
one_round(void *arg)
{
	Search	   *s = arg;
	uint8	   *left_out = s->without_deletes ? ks_whole_leave_deletes_out(s->ap) : NULL;

	go_through(s);
	s->stays = left_out == NULL && s->suspects.n == 0 && s->ap->nwaiting == 0 && !is_unexplained(s) && !is_to_be_whole(s);
	if (s->suspects.n > 0 && s->nbad == 0)
	{
		s->with_rest = !s->rest_tried && s->ap->limit < s->ap->nrecs;
		if (!s->with_rest)
			judge_suspects(s);
	}
	if (left_out)
		ks_whole_take_deletes_back(s->ap, left_out);
	return s->stays;
}

/* What was written is rolled back: it does not count. */
static void
forget_counts(Search *s)
{
	for (int i = 0; i < s->ap->nparts; i++)
		s->ap->parts[i].counts = s->counts[i];
}

/* All that remain, as a whole. */
static bool
try_all(void *arg)
{
	Search	   *s = arg;

	s->whole = ks_whole_attempt(s->ap, s->ap->nrecs);
	s->fault = s->ap->fault;
	return false;
}

/* What is before the limit, up to where it needs what is not. */
static bool
keep_beginning(void *arg)
{
	Search	   *s = arg;

	/* who was a suspect is judged: nothing behind the limit is of use to it any more */
	s->how = UNTIL_FIRST;
	ks_suspects_clear(&s->suspects);
	go_through(s);
	Assert(s->from <= s->ap->limit);
	s->ap->done = s->from;
	return true;
}

/* What remains, as a whole; true if all is done. */
static bool
try_remaining(Search *s)
{
	KsApply    *ap = s->ap;

	ap->done = ap->limit;
	s->whole = ks_whole_attempt(ap, ap->limit);
	s->fault = ap->fault;
	if (s->whole == NULL)
		return true;
	/* without the suspects' need the batch would not have been decoded so far */
	if (ap->limit == ap->nrecs || ap->decoded_until < ap->nrecs)
		return false;
	ks_apply_undoable(ap, try_all, s);
	forget_counts(s);
	if (s->whole && !s->needs)
		return false;
	ks_apply_undoable(ap, keep_beginning, s);
	return true;
}

/* The records below the limit have failed as a whole. */
static void
search(KsApply *ap, ErrorData *edata)
{
	Search		s = {.ap = ap, .whole = edata, .fault = ap->fault};

	ap->searching = true;
	s.counts = palloc(ap->nparts * sizeof(KsCounts));
	for (int i = 0; i < ap->nparts; i++)
		s.counts[i] = ap->parts[i].counts;
	for (int round = 0; round == 0 || !try_remaining(&s); round++)
	{
		s.how = round < MAX_ROUNDS ? WITH_SUSPECTS : STRICT;
		ks_suspects_clear(&s.suspects);
		s.nbad = 0;
		s.needs = s.with_rest = s.ended = false;
		ks_apply_undoable(ap, one_round, &s);
		ap->done = s.ended ? s.from : ap->limit;
		if (s.stays || ap->nwaiting > 0)
			return;
		forget_counts(&s);
		s.rest_tried |= s.with_rest;
		if (s.with_rest)
			continue;
		s.deletes_tried |= s.without_deletes && s.nbad == 0;
		s.without_deletes = s.nbad == 0 && s.suspects.n == 0 && is_to_be_whole(&s);
		if (s.without_deletes)
			continue;
		if (s.nbad == 0 && s.fault == KS_FAULT_OF_NONE)
			ks_error_rethrow(s.whole);
		if (s.nbad == 0 && !s.needs)
			round = MAX_ROUNDS;
	}
}

/*
 * Every target by the general path from now on, but for inserts whose errors need
 * not be told in full; false if nothing changes by that.
 */
static bool
leave_fast_path(KsApply *ap)
{
	bool		changed = false;

	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		if (r->sink->insert_mode == KS_INSERT && ap->rejects.limit.max < 0 &&
			!ks_fast_may_decline(r->target))
			continue;
		changed |= r->fast && r->lo < r->hi;
		ks_writer_choose(r, false);
	}
	return changed;
}

void
ks_apply_search(KsApply *ap)
{
	ErrorData  *edata = NULL;

	while (ap->limit > 0)
	{
		edata = ks_apply_attempt(ap, 0, ap->limit, Min(ap->decoded_until, ap->limit));
		ap->decoded_until = ap->decoding < 0 ? ap->limit : ap->decoding + 1;
		if (edata == NULL || ap->decoding < 0)
			break;
		/* what is before it is decoded */
		if (!is_left_out(ap))
			ks_aside_put_undecodable(ap, edata);
		edata = NULL;
	}
	ap->done = ap->limit;
	if ((edata || ap->use_sql) && leave_fast_path(ap) && ap->evaluating < 0)
	{
		/* what went wrong is the general path's to say, and to wait for */
		edata = ks_whole_attempt(ap, ap->limit);
	}
	else
		edata = ks_whole_or_turned(ap, ap->limit, edata);
	if (edata && ap->nrecs == 1)
	{
		ks_aside_put(ap, 0, edata, ks_aside_column(ap, edata), ap->fault);
		ap->done = ap->limit;
	}
	else if (edata)
	{
		search(ap, edata);
		if (ap->nwaiting == 0)
			ks_constraints_finish(ap);
	}
}
