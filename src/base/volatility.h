/*
 * volatility.h
 *	  When an expression that a sink's owner wrote has to be evaluated.
 */
#ifndef KS_VOLATILITY_H
#define KS_VOLATILITY_H

#include "postgres.h"

#include "nodes/nodes.h"
#include "nodes/pg_list.h"

typedef enum KsWhen
{
	KS_WITH_RECORD,				/* once: what it gives holds for all attempts */
	KS_IN_ATTEMPT,				/* anew in each attempt, before its rows are written */
	KS_WITH_ROW					/* just before its own row, behind those before it */
} KsWhen;

extern KsWhen ks_volatility_of(Node *expr);

/* Of the constraints of a domain, which are added to *checks; of another type KS_WITH_RECORD. */
extern KsWhen ks_volatility_of_domain(Oid type, List **checks);

/*
 * Of those of domains that values of a type are made of: elements, attributes, bounds.
 * Adds these domains, and the composite types among them, to *types.
 */
extern KsWhen ks_volatility_within(Oid type, List **types, List **checks);

#endif
