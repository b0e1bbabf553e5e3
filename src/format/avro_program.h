/*
 * avro_program.h
 *	  Values of one Avro schema to the columns of one target: compiled once, run for
 *	  each record.
 */
#ifndef KS_AVRO_PROGRAM_H
#define KS_AVRO_PROGRAM_H

#include "format/avro_convert.h"
#include "format/decode.h"

typedef enum KsAvroOp
{
	KS_AVRO_END,
	KS_AVRO_SKIP,				/* any value */
	KS_AVRO_SKIP_BYTES,			/* so many */
	KS_AVRO_SKIP_LONG,
	KS_AVRO_SKIP_STRING,
	KS_AVRO_EMIT,				/* a value to a column */
	KS_AVRO_PEEK,				/* the same, and back to where it begins */
	KS_AVRO_ITEMS,				/* a map or an array, some of it to the steps of each that follow */
	KS_AVRO_ITEM_END,
	KS_AVRO_REST,				/* a value to what no column takes */
	KS_AVRO_ENTER,				/* the branch of a union */
	KS_AVRO_BRANCH,				/* begins one of what a value as a whole can be */
	KS_AVRO_JUMP
} KsAvroOp;

/* One that paths lead to: its steps, which end with KS_AVRO_ITEM_END, and the columns that it fills. */
typedef struct KsAvroItem
{
	int			begin;
	int			ncols;
	int		   *cols;
} KsAvroItem;

/* Of one map or array, in the order of their names or indexes. */
typedef struct KsAvroItems
{
	int			n;
	KsAvroItem *items;
	KsNames		names;			/* of a map */
	int		   *indexes;		/* of an array, ascending */
} KsAvroItems;

typedef struct KsAvroStep
{
	KsAvroOp	op;
	bool		may_lack;		/* what is emitted may say that it is unavailable */
	int			col;			/* index into the target's, */
	const KsColumn *column;		/* and that */
	int			at;				/* where to go on; how many bytes; columns that a branch has values for */
	KsAvroItems *items;
	const KsAvroNode *node;
	KsAvroConvert *convert;
	const KsField *name;		/* of a field that no column takes */
	int		   *branches;		/* where they are */
	ErrorData  *refused;		/* why there is no row of this branch, or NULL */
} KsAvroStep;

typedef struct KsAvroProgram
{
	int			nsteps;
	int			maxsteps;
	KsAvroStep *steps;
	bool		unused;			/* nothing needs the value */
	int			nmatched;		/* columns whose field, or whose whole value, there is */
	bool		fills;			/* each column of the row, whatever the record is */
	Datum	   *values;			/* by column, of the record at hand */
	bool	   *isnull;
	bool	   *found;			/* the record has it */
	bool	   *unavailable;	/* what stands there says that it does not; NULL: nothing does */
	struct KsAvroProgram *again;	/* the same in attempts, where columns wait for these, or NULL */
} KsAvroProgram;

/* What the schema is of. */
typedef enum KsAvroScope
{
	KS_AVRO_VALUE,
	KS_AVRO_ROW,				/* a row inside of a value */
	KS_AVRO_KEY					/* one of which the key's columns alone are asked for */
} KsAvroScope;

/* Errors (42804, 22023) where a column cannot take what it is to take. */
extern KsAvroProgram *ks_avro_compile(const KsFormatSettings *settings, KsTarget *target,
									  const KsAvroNode *schema, KsAvroScope scope);

/* The one for what is being decoded. */
static inline KsAvroProgram *
ks_avro_program_of(KsAvroProgram *program, const KsDecoder *d)
{
	return unlikely(d->in_attempt) && program->again ? program->again : program;
}

/* Does the column take the value's bytes as they came? */
extern bool ks_avro_takes_bytes(const KsColumn *col);

KS_NORETURN extern void ks_avro_cannot_take(const KsColumn *col, const KsAvroNode *node);

/* Errors (22023) if the target needs fields, and the schema has none of them; what a branch
 * of it lacks is an error of the values that are of it. */
extern void ks_avro_check_matched(const KsDecoder *d, const KsAvroProgram *program);

/* Nothing is found yet. */
extern void ks_avro_begin_row(KsAvroProgram *program, const KsAvroReader *r);

/* Values in the current context; all of the reader's bytes. */
extern void ks_avro_run(KsAvroProgram *program, KsAvroReader *r);

/* The same, where the program fills rows: to one. */
extern void ks_avro_run_row(const KsAvroProgram *program, KsAvroReader *r, Datum *values, bool *isnull);

#endif
