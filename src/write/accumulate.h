/*
 * accumulate.h
 *	  insert_mode accumulate: the records of a key folded into one row.
 */
#ifndef KS_ACCUMULATE_H
#define KS_ACCUMULATE_H

#include "write/apply.h"
#include "write/target_build.h"

/* Sets the target's: how each column is folded, from the sink's setting. */
extern void ks_accumulate_plan(const KsSink *sink, Relation rel, KsTarget *target);

/* Does the table check sums in a way that only SQL knows? */
extern bool ks_accumulate_by_sql(const KsTarget *target);

/* What a column becomes, as SQL over the table's name and EXCLUDED. */
extern char *ks_accumulate_sql(const struct KsAccumulate *acc, int col, const char *table,
							   const char *column);

/* Adds the row that is there (a slot's, by attribute) to a folded one. */
extern void ks_accumulate_merge(const KsTarget *target, Datum *values, bool *isnull,
								const Datum *old, const bool *old_null);

#endif
