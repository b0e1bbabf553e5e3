/*
 * apply_topics.c
 *	  Which records of a batch are whose: the routes of topics.
 *
 * The records of a batch are brought into the order of the routes before they are
 * applied; those of one partition keep theirs, and between partitions the log has none.
 */
#include "postgres.h"

#include "write/command.h"
#include "write/writer.h"

/* Is there but one route, for whatever topic? */
static bool
takes_all(const KsApply *ap)
{
	return ap->nroutes == 1 && ap->routes[0].topic == NULL;
}

/* The route of a topic, -1: it has none. */
static int
route_of_topic(const KsApply *ap, const char *topic)
{
	int			found = -1;

	for (int r = 0; r < ap->nroutes; r++)
	{
		const char *own = ap->routes[r].topic;

		if (own ? strcmp(own, topic) == 0 : found < 0)
			found = r;
	}
	return found;
}

/* Could all targets be locked, since the sink was loaded? */
static bool
targets_are_known(const KsApply *ap)
{
	for (int i = 0; i < ap->nroutes; i++)
		if (ap->routes[i].target == NULL)
			return false;
	return ap->routes != NULL;
}

bool
ks_apply_are_linked(const KsApply *ap, const char *topic, const char *other)
{
	int			r = route_of_topic(ap, topic);
	int			o = route_of_topic(ap, other);

	if (!targets_are_known(ap))
		return true;
	return r >= 0 && o >= 0 && ap->routes[r].linked && ap->routes[r].group == ap->routes[o].group;
}

bool
ks_apply_may_need(const KsApply *ap, const char *topic, const char *other)
{
	int			r = route_of_topic(ap, topic);

	return ks_apply_are_linked(ap, topic, other) &&
		(!targets_are_known(ap) || r != route_of_topic(ap, other) || ap->routes[r].refers_to_itself);
}

bool
ks_apply_comes_before(const KsApply *ap, const char *topic, const char *other)
{
	return route_of_topic(ap, topic) < route_of_topic(ap, other);
}

/* The route of each partition, in the current context. */
static int *
routes_of_partitions(const KsApply *ap, const KsPartition *parts, int nparts)
{
	int		   *result = palloc(Max(nparts, 1) * sizeof(int));

	for (int i = 0; i < nparts; i++)
		result[i] = route_of_topic(ap, parts[i].topic);
	return result;
}

static int
route_of(const KsApply *ap, const int *routes, const KsRecord *rec, const KsPartition *parts)
{
	int			r = routes[rec->pidx];

	if (r < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("topic \"%s\" of sink \"%s\" has no target", parts[rec->pidx].topic, ap->sink->name),
				 errdetail("The sink has none, nor a command."),
				 errhint("Register the topic with a target of its own, or give the sink one.")));
	return r;
}

int *
ks_apply_order(const KsApply *ap, KsRecord *recs, int n, const KsPartition *parts, int nparts)
{
	int		   *routes;
	int		   *next;
	int		   *order;
	KsRecord   *copy;

	if (takes_all(ap) || n <= 0)
		return NULL;
	routes = routes_of_partitions(ap, parts, nparts);
	next = palloc0((ap->nroutes + 1) * sizeof(int));
	for (int i = 0; i < n; i++)
		next[route_of(ap, routes, &recs[i], parts) + 1]++;
	if (ap->nroutes == 1)
		return NULL;
	for (int r = 1; r < ap->nroutes; r++)
		next[r] += next[r - 1];
	copy = palloc_extended((Size) n * sizeof(KsRecord), MCXT_ALLOC_HUGE);
	memcpy(copy, recs, (Size) n * sizeof(KsRecord));
	order = palloc_extended((Size) n * sizeof(int), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		int			at = next[routes[copy[i].pidx]]++;

		recs[at] = copy[i];
		order[at] = i;
	}
	pfree(copy);
	return order;
}

void
ks_apply_begin_routes(KsApply *ap)
{
	int		   *routes = takes_all(ap) ? NULL : routes_of_partitions(ap, ap->parts, ap->nparts);
	int			at = 0;

	for (int i = 0; i < ap->nroutes; i++)
	{
		KsRoute    *r = &ap->routes[i];

		r->lo = at;
		if (routes == NULL)
			at = ap->nrecs;
		else
			while (at < ap->nrecs && route_of(ap, routes, &ap->recs[at], ap->parts) == i)
				at++;
		r->hi = at;
		r->writer = NULL;
		r->one_by_one = NULL;
		ks_writer_choose(r, true);
		r->when = r->target->filter ? ks_filter_when(r->target->filter) : KS_WITH_RECORD;
		r->pending = NULL;
		r->npending = r->maxpending = 0;
		if (r->lo == r->hi)
			continue;
		ks_sort_make_rows(&r->rows, r->lo, r->hi, r->target->nvalues);
		r->enr = palloc0(sizeof(EphemeralNamedRelationData));
		r->enr->md.name = "batch";
		r->enr->md.reliddesc = InvalidOid;
		r->enr->md.tupdesc = r->target->rowdesc;
		r->enr->md.enrtype = ENR_NAMED_TUPLESTORE;
		r->enr->md.enrtuples = r->hi - r->lo;
	}
	if (at < ap->nrecs)
		elog(ERROR, "records are not in the order of their targets");
	ap->enr = NULL;
}

KsRoute *
ks_apply_route_at(const KsApply *ap, int record)
{
	KsRoute    *r = ap->routes;

	while (record >= r->hi)
		r++;
	return r;
}
