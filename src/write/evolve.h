/*
 * evolve.h
 *	  Targets that are altered for schemas of records: between evolve.c and evolve_plan.c.
 */
#ifndef KS_EVOLVE_H
#define KS_EVOLVE_H

#include "write/apply.h"

/*
 * What the route's table lacks for rows of that shape, in the current context; true:
 * nothing.  The route is prepared.
 */
extern bool ks_evolve_plan(const KsRoute *r, const KsShape *shape, const KsSchemaId *id, KsEvolution *e);

#endif
