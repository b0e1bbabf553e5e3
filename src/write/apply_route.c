/*
 * apply_route.c
 *	  Topics with targets of their own: where records go, and in what order.
 *
 * A route is a target with the settings that it is written by.  The sink's own
 * target or command is the route of all topics that have none.  Routes stand in
 * the order of the foreign keys between their tables: what is referred to comes
 * first (of a cycle, whichever topic's name comes first).
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "nodes/value.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "catalog/schemas.h"
#include "write/apply_int.h"
#include "write/command.h"
#include "write/target_int.h"

/* Of a batch, before what its values point to: records may be much smaller. */
#define MAX_ROW_BYTES	(64 * 1024 * 1024)

/* So often targets that something changes meanwhile are built anew. */
#define MAX_PASSES		10

/* --- the list --- */

static void
init_route(KsRoute *r, const KsSink *sink, const char *topic)
{
	memset(r, 0, sizeof(KsRoute));
	r->sink = sink;
	r->topic = topic;
}

void
ks_apply_leave_out(KsApply *ap, const char *topic)
{
	MemoryContext old = MemoryContextSwitchTo(ap->cxt);

	Assert(ap->routes == NULL);
	ap->unrouted = lappend(ap->unrouted, makeString(pstrdup(topic)));
	MemoryContextSwitchTo(old);
}

static void
list_routes(KsApply *ap)
{
	MemoryContext old = MemoryContextSwitchTo(ap->cxt);
	List	   *topics = ap->sink->topic_targets ? ks_catalog_topics(ap->sink->name) : NIL;
	KsRoute    *routes = palloc((list_length(topics) + 1) * sizeof(KsRoute));
	int			n = 0;
	ListCell   *lc;

	if (ks_sink_writes_by_default(ap->sink))
		init_route(&routes[n++], ap->sink, NULL);
	foreach(lc, topics)
	{
		const KsTopic *topic = lfirst(lc);

		if (OidIsValid(topic->target) && !list_member(ap->unrouted, makeString(topic->topic)))
			init_route(&routes[n++], ks_catalog_topic_sink(ap->sink, topic), topic->topic);
	}
	for (int i = 0; i < n; i++)
		routes[i].listed = i;
	/* all, or none */
	ap->routes = routes;
	ap->nroutes = n;
	MemoryContextSwitchTo(old);
}

/* refers[i * n + j]: the table of route i has a foreign key to that of route j. */
static bool *
find_references(const KsApply *ap)
{
	int			n = ap->nroutes;
	bool	   *refers = palloc0(Max(n * n, 1) * sizeof(bool));

	for (int i = 0; i < n; i++)
	{
		Relation	rel;
		ListCell   *lc;

		if (!OidIsValid(ap->routes[i].target->relid))
			continue;
		rel = table_open(ap->routes[i].target->relid, NoLock);
		foreach(lc, RelationGetFKeyList(rel))
			for (int j = 0; j < n; j++)
				refers[i * n + j] |= ks_target_shares_rows(ap->routes[j].target, ((ForeignKeyCacheInfo *) lfirst(lc))->confrelid);
		table_close(rel, NoLock);
	}
	return refers;
}

/* Routes are of one group if references lead from one to the other, in whatever direction. */
static void
group_routes(KsApply *ap, const bool *refers)
{
	int			n = ap->nroutes;

	for (int i = 0; i < n; i++)
	{
		ap->routes[i].group = i;
		ap->routes[i].linked = ap->routes[i].referred = ap->routes[i].is_tree = false;
	}
	for (int i = 0; i < n; i++)
		for (int j = 0; j < n; j++)
		{
			int			old = ap->routes[j].group;

			if (!refers[i * n + j])
				continue;
			ap->routes[i].linked = ap->routes[j].linked = true;
			ap->routes[j].referred |= ap->routes[i].target->relid != ap->routes[j].target->relid;
			for (int k = 0; k < n; k++)
				if (ap->routes[k].group == old)
					ap->routes[k].group = ap->routes[i].group;
		}
	for (int i = 0; i < n; i++)
	{
		ap->routes[i].refers_to_itself = refers[i * n + i];
		for (int k = 0; k < n && refers[i * n + i]; k++)
			ap->routes[i].is_tree |= k != i && ap->routes[k].group == ap->routes[i].group;
	}
}

/* Is what comes before a delete of its key superseded by it, as far as the route itself goes? */
static bool
deletes_supersede(const KsRoute *r)
{
	const KsTarget *target = r->target;

	if (!ks_sink_last_counts(r->sink) && r->sink->insert_mode != KS_ACCUMULATE)
		return false;
	/* one by one, they are written before it is known what is behind them */
	for (int i = 0; i < target->ncols; i++)
		if (target->cols[i].when == KS_WITH_ROW)
			return false;
	return target->filter == NULL || ks_filter_when(target->filter) != KS_WITH_ROW;
}

/* Nor if rows of others may refer to it that are written, and moved away behind that. */
static void
find_superseded(KsApply *ap, const bool *refers)
{
	int			n = ap->nroutes;

	for (int i = 0; i < n; i++)
	{
		KsRoute    *r = &ap->routes[i];

		r->deletes_supersede = deletes_supersede(r);
		for (int j = 0; j < n; j++)
			if (refers[j * n + i] && j != i)
				r->deletes_supersede &= deletes_supersede(&ap->routes[j]) && !ks_sink_patches(ap->routes[j].sink);
	}
}

/* Do deletes act on rows that the batch may write?  Or do routes write rows of one table? */
static void
find_acts(KsApply *ap)
{
	bool		shared = false;
	bool		acts = false;

	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];
		ListCell   *lc;

		for (int j = 0; j < ap->nroutes && r->linked; j++)
			shared |= j != i && ks_target_shares_rows(ap->routes[j].target, r->target->relid);
		r->acts_on_itself = r->acts_on_others = false;
		foreach(lc, r->target->acts_on)
			for (int j = 0; j < ap->nroutes; j++)
				if (ks_target_shares_rows(ap->routes[j].target, lfirst_oid(lc)))
					*(j == i ? &r->acts_on_itself : &r->acts_on_others) = true;
		acts |= r->acts_on_itself || r->acts_on_others;
		r->deletes_last = r->sink->delete_enabled && (r->acts_on_others || r->referred || (r->is_tree && !r->acts_on_itself));
	}
	ap->shared = shared && !acts;
}

/* Does the route refer to one that is yet to be placed?  (Its own table has no place but one.) */
static bool
must_wait(const KsApply *ap, const bool *refers, const bool *placed, int route)
{
	for (int k = 0; k < ap->nroutes; k++)
		if (!placed[k] && refers[route * ap->nroutes + k] &&
			ap->routes[k].target->relid != ap->routes[route].target->relid)
			return true;
	return false;
}

static int
compare_listed(const void *a, const void *b)
{
	return ((const KsRoute *) a)->listed - ((const KsRoute *) b)->listed;
}

/*
 * Each next one is the first that refers to none of those behind it.  All workers of the
 * sink find the same, whatever the order was before: one that waits goes by it.
 */
static void
order_routes(KsApply *ap)
{
	int			n = ap->nroutes;
	bool	   *refers;
	bool	   *placed = palloc0(Max(n, 1) * sizeof(bool));
	KsRoute    *ordered = palloc(Max(n, 1) * sizeof(KsRoute));

	qsort(ap->routes, n, sizeof(KsRoute), compare_listed);
	refers = find_references(ap);
	group_routes(ap, refers);
	find_superseded(ap, refers);
	for (int i = 0; i < n; i++)
	{
		int			first = -1;
		int			next = -1;

		for (int j = 0; j < n; j++)
		{
			bool		waits = !placed[j] && must_wait(ap, refers, placed, j);

			if (placed[j])
				continue;
			if (first < 0)
				first = j;
			if (!waits && next < 0)
				next = j;
		}
		/* of a cycle, the first */
		if (next < 0)
			next = first;
		placed[next] = true;
		ordered[i] = ap->routes[next];
	}
	memcpy(ap->routes, ordered, n * sizeof(KsRoute));
	find_acts(ap);
	ap->in_order = true;
	pfree(refers);
	pfree(placed);
	pfree(ordered);
}

static void
topic_context(void *arg)
{
	errcontext("target of topic \"%s\"", ((const KsRoute *) arg)->topic);
}

/* What is known of the columns that records fill must agree with a new target. */
static void
compare_filled(const KsApply *ap, const KsRoute *r, KsTarget *target)
{
	if (r->target)
		ks_filled_follow(r->sink, r->target, target);
	else if (!ap->defining)
		ks_filled_load(r->sink, r->topic, target);
}

static KsDecoder *
build_decoder(const KsRoute *r, KsTarget *target)
{
	KsFormatSettings settings = ks_catalog_format(r->sink);

	settings.find_schema = ks_schemas_find;
	return ks_decoder_create(&settings, target, target->cxt);
}

/* The route has what it had, until it has all of the new. */
static void
build_route(KsApply *ap, KsRoute *r)
{
	ErrorContextCallback context = {.callback = topic_context, .arg = r};
	KsTarget   *target;
	KsDecoder  *volatile decoder = NULL;

	if (r->topic)
	{
		context.previous = error_context_stack;
		error_context_stack = &context;
	}
	target = ks_target_build(r->sink, ap->cxt);
	PG_TRY();
	{
		compare_filled(ap, r, target);
		decoder = build_decoder(r, target);
	}
	PG_CATCH();
	{
		ks_target_free(target);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (r->target)
		ks_target_free(r->target);
	r->target = target;
	r->decoder = decoder;
	ap->in_order = false;
	if (r->topic)
		error_context_stack = context.previous;
}

/*
 * What the batch depends on is in use from here on: what would change it in this
 * session meets "cannot ALTER TABLE ... because it is being used by active
 * queries", as it does in an INSERT; other sessions wait for the lock.
 */
static void
open_route(KsRoute *r)
{
	ListCell   *lc;

	r->open = true;
	r->rel = OidIsValid(r->target->relid) ? table_open(r->target->relid, NoLock) : NULL;
	if (r->target->fast)
	{
		List	   *indexes = RelationGetIndexList(r->rel);

		foreach(lc, indexes)
			r->in_use = lappend(r->in_use, index_open(lfirst_oid(lc), RowExclusiveLock));
		list_free(indexes);
	}
	foreach(lc, r->target->types.relids)
		r->in_use = lappend(r->in_use, relation_open(lfirst_oid(lc), AccessShareLock));
}

static void
forget_open(KsRoute *r)
{
	list_free(r->in_use);
	r->in_use = NIL;
	r->rel = NULL;
	r->open = false;
}

static void
close_route(KsRoute *r)
{
	ListCell   *lc;

	foreach(lc, r->in_use)
		relation_close(lfirst(lc), NoLock);
	if (r->rel)
		table_close(r->rel, NoLock);
	forget_open(r);
}

/* Takes a route into use, with its target as it is now. */
static void
prepare_route(KsApply *ap, KsRoute *r)
{
	if (r->target == NULL || !ks_target_valid(r->target))
		build_route(ap, r);
	else if (r->target->fast)	/* SQL checks them by itself */
		ks_target_check_privileges(r->sink, r->target);
	open_route(r);
}

/* Was what the transaction before has written of it committed? */
static void
load_filled(KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].stored_filled)
		{
			ks_filled_load(ap->routes[i].sink, ap->routes[i].topic, ap->routes[i].target);
			ap->routes[i].stored_filled = false;
		}
}

/*
 * Building a target runs code of its owner's (plans evaluate what is immutable), which
 * may change what another one was built for, or what this one has looked at.  Tables
 * are in use as soon as they are known, and safe; whatever else was changed makes the
 * target invalid, and it is built again.
 */
void
ks_apply_prepare(KsApply *ap)
{
	MemoryContext old = MemoryContextSwitchTo(ap->cxt);
	int			nprepared = 0;

	if (ap->routes == NULL)
		list_routes(ap);
	/* closed by the resource owner, if there was an error */
	for (int i = 0; i < ap->nroutes; i++)
		forget_open(&ap->routes[i]);
	for (int pass = 0; pass == 0 || nprepared > 0; pass++)
	{
		if (pass == MAX_PASSES)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("what sink \"%s\" writes to changes while it is looked at", ap->sink->name),
					 errdetail("Targets have been looked at %d times.", pass)));
		nprepared = 0;
		for (int i = 0; i < ap->nroutes; i++)
		{
			KsRoute    *r = &ap->routes[i];

			if (r->open && r->target->valid)
				continue;
			if (r->open)
				close_route(r);
			prepare_route(ap, r);
			nprepared++;
		}
	}
	load_filled(ap);
	/* not by what this transaction has built alone: one before it may have failed behind that */
	if (!ap->in_order)
		order_routes(ap);
	MemoryContextSwitchTo(old);
}

void
ks_apply_finish(KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		r->stored_filled |= ks_filled_store(r->sink, r->topic, r->target);
		close_route(r);
	}
}

void
ks_apply_free(KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].target)
			ks_target_free(ap->routes[i].target);
	ap->nroutes = 0;
}

int
ks_apply_max_records(const KsApply *ap)
{
	int			nvalues = 1;

	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].target)	/* else it could not be built */
			nvalues = Max(nvalues, ap->routes[i].target->nvalues + ks_fast_width(ap->routes[i].target));
	return MAX_ROW_BYTES / (nvalues * (int) (sizeof(Datum) + sizeof(bool)));
}

bool
ks_apply_wants_headers(const KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].target->wants_headers || ks_schemas_want_headers(ap->routes[i].decoder))
			return true;
	return false;
}
