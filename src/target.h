/*
 * target.h
 *	  The target relation: its columns, where their values come from, its key.
 *
 * Built from a sink's definition and the relation as it is, and built again
 * when the relation changes (ks_target_valid()).  Everything hangs on the
 * target's own memory context.
 */
#ifndef KS_TARGET_H
#define KS_TARGET_H

#include "postgres.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "catalog.h"
#include "convert.h"
#include "sort.h"

typedef enum KsColumnSource
{
	KS_FROM_VALUE_FIELD,		/* path into the value */
	KS_FROM_KEY_FIELD,			/* @key.path */
	KS_FROM_KEY,				/* @key */
	KS_FROM_VALUE,				/* @value */
	KS_FROM_REST,				/* @rest: members that no column takes */
	KS_FROM_HEADERS,
	KS_FROM_TOPIC,
	KS_FROM_PARTITION,
	KS_FROM_OFFSET,
	KS_FROM_TIMESTAMP,
	KS_IF_GIVEN					/* mode update: did the record have that column? */
} KsColumnSource;

/* One step of a path: a member's name, or an element's index. */
typedef struct KsPathStep
{
	const char *name;			/* NULL: index */
	int			len;
	int			index;
} KsPathStep;

typedef struct KsColumn
{
	const char *name;
	AttrNumber	attnum;			/* in the relation */
	KsType		type;
	KsColumnSource source;
	int			field;			/* value field: index into KsTarget.fields;
								 * KS_IF_GIVEN: into cols */
	int			npath;			/* steps below the field (or the key) */
	KsPathStep *path;
	ExprState  *defexpr;		/* for a missing field; NULL: NULL */
	int			keyno;			/* position in the key, or -1 */
	bool		unused;			/* nothing reads it: not converted */
} KsColumn;

/* A top-level member of the value that some column wants. */
typedef struct KsField
{
	const char *name;
	int			len;
} KsField;

typedef struct KsTarget
{
	MemoryContext cxt;
	Oid			relid;
	char	   *qualified_name;
	bool		valid;
	List	   *relids;			/* whose changes count: it, its partitions, composite types */
	struct KsTarget *next;		/* of this process */

	int			ncols;
	KsColumn   *cols;
	TupleDesc	rowdesc;		/* of the columns, in the order of cols */
	int			nfields;
	KsField    *fields;
	KsFormat	format;			/* csv: a field is a position from 0 */
	KsEnvelope	envelope;
	bool		has_rest;
	bool		wants_headers;
	ExprContext *econtext;

	int			nkeys;
	int		   *keycols;		/* index into cols */
	Oid			key_index;		/* InvalidOid: no key */
	KsSortKey	sortkey;		/* its order, over rows */

	/* rows may be left out silently: DO NOTHING, row triggers */
	bool		rows_may_vanish;
	bool		deletes;
	struct KsFast *fast;		/* apply_fast.c does the same, faster; NULL: not */
	Bitmapset  *written_cols;	/* offset by FirstLowInvalidHeapAttributeNumber */
	char	   *insert_sql;
	char	   *delete_sql;
	char	   *empty_sql;		/* deletes all rows */
	SPIPlanPtr	insert_plan;	/* prepared at first use */
	SPIPlanPtr	delete_plan;
	char	   *patch_sql;		/* KS_ROW_PATCH; NULL: there are none */
	SPIPlanPtr	patch_plan;
	StringInfoData same_key;	/* condition over the table's name and EXCLUDED */
	struct KsAccumulate *accumulate;	/* how columns are folded, or NULL */
	struct KsCommand *command;	/* instead of a table */
	struct KsFilter *filter;	/* or NULL */
} KsTarget;

/*
 * Builds the target of a sink in a child of 'cxt', checking definition and the
 * owner's privileges; the relation is locked RowExclusive until the end of the
 * transaction.  Errors say what to change.
 */
extern KsTarget *ks_target_build(const KsSink *sink, MemoryContext cxt);

/* Changes of the attributes of composite types make the target invalid. */
extern void ks_target_watch_type(KsTarget *target, const KsType *type);
extern void ks_target_free(KsTarget *target);

/* Locks the relation for this transaction; false if it must be built again. */
extern bool ks_target_valid(KsTarget *target);

/* Errors (42501) if the sink's owner may not write as the sink does. */
extern void ks_target_check_privileges(const KsSink *sink, const KsTarget *target);
/* Index into cols, -1 if no record fills it. */
extern int	ks_target_find_column(const KsTarget *target, AttrNumber attnum);

extern bool ks_target_has_privileges(const KsSink *sink, const KsTarget *target);

/* --- between target.c, target_key.c and target_sql.c --- */

/* Finds the key; appends the condition of deletes by it, on t and b. */
extern void ks_target_build_key(KsTarget *target, const KsSink *sink, Relation rel,
								StringInfo deletes);

/* Columns and key are there: the statements, and update_if checked. */
extern void ks_target_build_sql(KsTarget *target, const KsSink *sink, Relation rel,
								const char *deletes);

/* --- target_columns.c --- */

/* Every name in "columns" must be a column of the table. */
extern void ks_columns_check_names(const KsSink *sink, Relation rel);

/* What "columns" says of a column: NULL if nothing; *excluded for JSON null. */
extern char *ks_columns_mapped_source(const KsSink *sink, const char *column,
									  bool *excluded);

/* Parses a source into the column. */
extern void ks_columns_set_source(KsTarget *target, KsColumn *col, const char *source);

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
