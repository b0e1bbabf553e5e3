/*
 * target.h
 *	  What rows records become: the target's columns, where their values come
 *	  from, its key.
 *
 * Built by write/target_build.c.  Everything hangs on the target's own memory
 * context.
 */
#ifndef KS_TARGET_H
#define KS_TARGET_H

#include "postgres.h"

#include "executor/executor.h"
#include "executor/spi.h"
#include "optimizer/planner.h"
#include "utils/rel.h"

#include "base/sort.h"
#include "base/volatility.h"
#include "format/convert.h"
#include "format/format.h"
#include "format/names.h"

typedef enum KsColumnSource
{
	KS_FROM_VALUE_FIELD,		/* path into the value */
	KS_FROM_POSITION,			/* a field of CSV, which has no name */
	KS_FROM_KEY_FIELD,			/* @key.path */
	KS_FROM_KEY,				/* @key */
	KS_FROM_VALUE,				/* @value */
	KS_FROM_REST,				/* @rest: members that no column takes */
	KS_FROM_HEADERS,
	KS_FROM_TOPIC,
	KS_FROM_PARTITION,
	KS_FROM_OFFSET,
	KS_FROM_TIMESTAMP,
	KS_FROM_SCHEMA_ID,
	KS_FROM_SCHEMA,				/* the name of the value's type */
	KS_FROM_DEFAULT				/* of no record: see target_build.c */
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
	int			field;			/* value field: index into KsTarget.fields */
	int			position;		/* of CSV, from 0 */
	KsUnit		unit;			/* of numbers for dates and times */
	int			npath;			/* steps below the field (or the key) */
	KsPathStep *path;
	ExprState  *defexpr;		/* for a missing field; NULL: NULL, or default_expr later */
	uint64		functions_seen; /* as it was made, see convert.h */
	Expr	   *default_expr;	/* the same, planned */
	KsWhen		when;			/* its default, and its domain's check, are evaluated */
	int			keyno;			/* position in the key, or -1 */
	const char *compared;		/* of the key: SQL behind it for the index's notion of
								 * equality, mostly none */
	bool		insert_only;	/* no update may change it: an identity that is
								 * GENERATED ALWAYS, and not of the key */
	bool		unused;			/* nothing reads it: not converted */
	bool		in_filter;		/* the filter reads it */
	bool		by_name;		/* its field is what the table calls it */
	bool		by_order;		/* its field, of CSV, is that behind the one of the column before */
	bool		filled;			/* by some record, as far as is known */
	bool		stored;			/* and that is in the catalog, see write/filled.c */
	bool		in_attempt;		/* its value is found in each: a check within its type is made there */

	/* write/evaluate.c: of expressions that are not evaluated with the record */
	ExprState  *late_default;
	void	   *late_domain;
} KsColumn;

/* Does a format find the column's value, or is it of the record as a whole? */
static inline bool
ks_from_field(const KsColumn *col)
{
	return col->source == KS_FROM_VALUE_FIELD || col->source == KS_FROM_POSITION;
}

/* Statements over the batch are planned for so many sizes of it (ks_batch_size()). */
#define KS_BATCH_SIZES	4

typedef struct KsTarget
{
	MemoryContext cxt;
	Oid			relid;
	char	   *qualified_name;
	bool		valid;
	uint32		schema_hash;	/* of its schema, in the cache of these */
	bool		renamed;		/* perhaps: qualified_name may be another table's */
	List	   *relids;			/* whose changes count: it, its partitions, with types.relids */
	List	   *ancestors;		/* of which it is a partition */
	List	   *watched;		/* and these, which its foreign keys refer to, or lead to */
	List	   *acts_on;		/* tables of which rows go, or change, with a row that is deleted */
	List	   *domains;		/* of its columns: hashes in the cache of types, which have defaults, too */
	bool		calls;			/* functions of its owner's, in defaults or the filter */
	struct KsTarget *next;		/* of this process */

	KsTypes		types;
	KsType	   *plain;			/* text, to which anything converts; NULL: no column is in_attempt */
	int			ncols;
	KsColumn   *cols;			/* those that records fill, and of KS_FROM_DEFAULT */

	/*
	 * A decoded row has the values of cols, in their order, and behind them, if
	 * rows may lack some, a bytea with a byte for each column: does the record
	 * tell it?  NULL where all are told, unless every row is asked.
	 */
	int			nvalues;		/* of a row: ncols, or one more */
	TupleDesc	rowdesc;		/* of them */
	const char *given;			/* the name of that bytea; NULL: no row lacks any */
	int			nfields;
	KsField    *fields;			/* top-level members of the value that columns want */
	KsNames		names;			/* to find them by */
	int			npositions;		/* of CSV that columns take: up to the last one */
	KsFormat	format;
	KsEnvelope	envelope;
	bool		has_rest;
	bool		wants_headers;
	ExprContext *econtext;

	/* write/evaluate.c: what is evaluated in each attempt */
	MemoryContext late_cxt;
	ExprContext *late_econtext;
	bool		late_broken;	/* by an error; to be begun anew */

	int			nkeys;
	int		   *keycols;		/* index into cols */
	Oid			key_index;		/* InvalidOid: no key */
	KsSortKey	sortkey;		/* its order, over rows */
	char	   *conflict;		/* what ON CONFLICT says to mean it */

	/* rows may be left out silently: DO NOTHING, row triggers */
	bool		rows_may_vanish;
	bool		deletes;
	bool		bare;			/* the server writes to this table alone, by itself */
	planner_hook_type planner;	/* as it is with these hooks */
	ExecutorCheckPerms_hook_type checker;
	struct KsFast *fast;		/* apply_fast.c does the same, faster; NULL: not */
	Bitmapset  *written_cols;	/* offset by FirstLowInvalidHeapAttributeNumber */
	char	   *insert_sql;
	char	   *delete_sql;
	char	   *empty_sql;		/* deletes all rows */
	char	   *patch_sql;		/* KS_ROW_PATCH; NULL: there are none */
	/* prepared at first use, each for so many rows */
	SPIPlanPtr	insert_plans[KS_BATCH_SIZES];
	SPIPlanPtr	delete_plans[KS_BATCH_SIZES];
	SPIPlanPtr	patch_plans[KS_BATCH_SIZES];
	StringInfoData same_key;	/* condition over the table's name and EXCLUDED */
	struct KsAccumulate *accumulate;	/* how columns are folded, or NULL */
	struct KsCommand *command;	/* instead of a table */
	struct KsFilter *filter;	/* or NULL */
	bool		filled_stale;	/* the catalog says of columns that they are filled which do not take fields of their names now */
} KsTarget;

/*
 * What formats make of a value as they read it: text, if it waits for the attempt and they
 * need only know whether it is there.
 */
static inline KsType *
ks_type_to_read(const KsTarget *target, KsColumn *col, bool in_attempt)
{
	return col->in_attempt && !in_attempt ? target->plain : &col->type;
}

/* Is the key of a row what was decoded?  What an attempt makes of it is gone behind it. */
static inline bool
ks_target_knows_keys(const KsTarget *target)
{
	bool		known = target->nkeys > 0;

	for (int i = 0; i < target->nkeys; i++)
		known &= target->cols[target->keycols[i]].when == KS_WITH_RECORD;
	return known;
}

static inline bool
ks_target_has_key_column(const KsTarget *target, int col)
{
	for (int i = 0; i < target->nkeys; i++)
		if (target->keycols[i] == col)
			return true;
	return false;
}

#endif
