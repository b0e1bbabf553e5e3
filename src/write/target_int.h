/*
 * target_int.h
 *	  How a target is built: what the files of write/ have of it between them.
 */
#ifndef KS_TARGET_INT_H
#define KS_TARGET_INT_H

#include "write/target_build.h"

/* --- target_check.c --- */

/* Errors if no sink may write to the relation, or this one may not. */
extern void ks_target_check_relation(KsTarget *target, const KsSink *sink, Relation rel);

/* --- target_key.c, target_sql.c --- */

/* Finds the key; appends the condition of deletes by it, on t and b. */
extern void ks_target_build_key(KsTarget *target, const KsSink *sink, Relation rel,
								StringInfo deletes);

/* Columns and key are there: the statements, and update_if checked. */
extern void ks_target_build_sql(KsTarget *target, const KsSink *sink, Relation rel,
								const char *deletes);

/* --- target_plan.c --- */

/* The statements are there: what the server would do with them. */
extern void ks_target_plan(KsTarget *target);

/* Is whatever else has a say in it the same as then? */
extern bool ks_target_plan_valid(const KsTarget *target);

/* --- target_acts.c --- */

/* Fills acts_on; the tables on the way stay locked (ACCESS SHARE), and are watched. */
extern void ks_target_find_acts(KsTarget *target, const KsSink *sink, Relation rel);

/* --- target_default.c --- */

/*
 * What an INSERT puts into a column that it does not name, planned, as long as the target
 * is valid; NULL: NULL.  'check_null': that too is checked, where it is of a domain.
 */
extern Expr *ks_target_plan_default(KsTarget *target, Relation rel, const FormData_pg_attribute *att,
									bool check_null);

/* The columns are there: their defaults, and when these are evaluated; may add columns. */
extern void ks_target_build_defaults(KsTarget *target, const KsSink *sink, Relation rel);

/* When what the type of a column checks of a value is to be checked. */
extern void ks_target_check_type(KsTarget *target, KsColumn *col);

/* Is a column of the domain with that hash (0: of any)? */
extern bool ks_target_has_domain(const KsTarget *target, uint32 hash);

/* An expression, not yet planned, of which the target has something. */
extern void ks_target_note_calls(KsTarget *target, Node *expr);

/* --- filled.c --- */

/*
 * What is known of columns that records have filled: from the target that was built
 * before, or from the catalog.  Errors (42703) if one that takes the field of its name
 * has another name now.
 */
extern void ks_filled_follow(const KsSink *sink, const KsTarget *old, KsTarget *target);
extern void ks_filled_load(const KsSink *sink, const char *topic, KsTarget *target);

/*
 * Into the catalog, as far as it is not there; true: something has been written.  If the
 * transaction is not committed it has to be loaded again.
 */
extern bool ks_filled_store(const KsSink *sink, const char *topic, KsTarget *target);

/* --- target_columns.c --- */

/* Every name in "columns" must be a column of the table. */
extern void ks_columns_check_names(const KsSink *sink, Relation rel);

/* What "columns" says of a column; source NULL: nothing. */
typedef struct KsMapping
{
	char	   *source;
	KsUnit		unit;
	bool		excluded;		/* JSON null */
} KsMapping;

extern KsMapping ks_columns_mapping(const KsSink *sink, const char *column);

/* Parses a source into the column, whose type is known. */
extern void ks_columns_set_source(KsTarget *target, KsColumn *col, const char *source);

/* Sets what its numbers count; its source is known. */
extern void ks_columns_set_unit(KsColumn *col, KsUnit unit);

/* --- target_format.c --- */

/* The source of a column that "columns" does not mention, where it is not the
 * field of its name; NULL with *excluded: none. */
extern char *ks_format_source(KsTarget *target, const KsSink *sink, Relation rel,
							  AttrNumber attnum, bool *excluded);

/* Parses a source that names a field of a value that is not JSON. */
extern void ks_format_set_source(KsTarget *target, KsColumn *col, const char *source);

/* Errors if a column asks for what the format does not have. */
extern void ks_format_check(const KsTarget *target, const KsSink *sink);

/* Registers a top-level field of the value; columns may share one. */
extern int	ks_columns_add_field(KsTarget *target, const char *name, int len);

#endif
