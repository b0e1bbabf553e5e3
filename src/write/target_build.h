/*
 * target_build.h
 *	  The target relation: its columns, where their values come from, its key.
 *
 * Built from a sink's definition and the relation as it is, and built again
 * when the relation changes (ks_target_valid()).  Everything hangs on the
 * target's own memory context.
 */
#ifndef KS_TARGET_BUILD_H
#define KS_TARGET_BUILD_H

#include "catalog/sinks.h"
#include "format/target.h"

/*
 * Builds the target of a sink in a child of 'cxt', checking definition and the
 * owner's privileges; the relation is locked RowExclusive until the end of the
 * transaction.  Errors say what to change.
 */
extern KsTarget *ks_target_build(const KsSink *sink, MemoryContext cxt);

extern void ks_target_free(KsTarget *target);

/* Locks the relation for this transaction; false if it must be built again. */
extern bool ks_target_valid(KsTarget *target);

/*
 * Behind a statement that calls the target by its name: is that another table's by now,
 * or nobody's?  Then it errors (55006, so it may pass).
 */
extern bool ks_target_is_renamed(const KsTarget *target);
extern void ks_target_check_name(const KsTarget *target);

/* Has the table rows of the target, or the target those of the table, being a partition? */
extern bool ks_target_shares_rows(const KsTarget *target, Oid relid);

/* Index into cols, -1 if no record fills it. */
extern int	ks_target_find_column(const KsTarget *target, AttrNumber attnum);

/* Errors (42501) if the sink's owner may not write as the sink does. */
extern void ks_target_check_privileges(const KsSink *sink, const KsTarget *target);
extern bool ks_target_has_privileges(const KsSink *sink, const KsTarget *target);

#endif
