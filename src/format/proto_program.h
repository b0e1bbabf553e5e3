/*
 * proto_program.h
 *	  Values of one Protobuf message to the columns of one target: compiled once, run for
 *	  each record.
 */
#ifndef KS_PROTO_PROGRAM_H
#define KS_PROTO_PROGRAM_H

#include "format/decode.h"
#include "format/paths.h"
#include "format/proto_convert.h"

typedef enum KsProtoSlotKind
{
	KS_PROTO_VALUE_SLOT,		/* a single value, as soon as it is met; the last one counts */
	KS_PROTO_RUNS_SLOT,			/* a message, a list or a map: all of it, at the end, if it was not directly */
	KS_PROTO_ITEMS_SLOT,		/* of a list or a map: those that paths lead to */
	KS_PROTO_JSON_SLOT,			/* what paths lead to in a message that is JSON */
	KS_PROTO_WHOLE_SLOT			/* the value */
} KsProtoSlotKind;

/* What a column takes; of items and of JSON, what several do. */
typedef struct KsProtoSlot
{
	KsProtoSlotKind kind;
	int			col;			/* index into the target's; -1: several */
	struct KsProtoPlan *plan;	/* of the message that has the field */
	struct KsProtoStep *step;	/* of the field */
	const KsProtoField *field;	/* that has its values: of a map, the entry's */
	KsProtoConvert *convert;
	struct KsProtoWantedItems *items;
	struct KsProtoJson *json;
} KsProtoSlot;

/* Paths into a message that is JSON, by column. */
typedef struct KsProtoJson
{
	KsPaths    *paths;
	int			n;
	int		   *cols;
	KsType	  **types;			/* what they are converted to */
	KsPathNode **ends;
} KsProtoJson;

/* An item of a list or a map. */
typedef struct KsProtoItem
{
	int			index;
	int			nwhole;			/* columns that take it */
	KsProtoSlot *whole;
	struct KsProtoPlan *inner;	/* and those that take what is below it, one of these or NULL */
	KsProtoJson *json;

	/* of the record at hand */
	bool		found;
	KsProtoValue value;
} KsProtoItem;

/* Of one list or map, by their names or ascending. */
typedef struct KsProtoWantedItems
{
	int			n;
	KsProtoItem *items;
	KsNames		names;
} KsProtoWantedItems;

/* A field that one column takes, and whose value is the Datum, or nearly so: what it is. */
typedef enum KsProtoOnly
{
	KS_PROTO_NOT_ONLY,
	KS_PROTO_ONLY_INT8,			/* of int64 */
	KS_PROTO_ONLY_INT4,			/* of int32 */
	KS_PROTO_ONLY_TEXT,			/* if it is ASCII, and short enough */
	KS_PROTO_ONLY_TIMESTAMP,	/* messages, if they are there once, and as mostly written */
	KS_PROTO_ONLY_NUMERIC
} KsProtoOnly;

/* What is done with a field. */
typedef struct KsProtoStep
{
	const KsProtoField *field;
	KsProtoOnly only;
	KsProtoWire wire;
	KsProtoType type;			/* of the field */
	bool		plain;			/* it is not a oneof's, nor of an enum */
	bool		gathers;		/* some slot asks for its runs */
	int			nslots;			/* that take its value at once, or may */
	KsProtoSlot **slots;
	struct KsProtoPlan *inner;	/* of columns whose paths lead into it */

	/* of the record at hand: its runs as one, NULL: none yet; of a message that is there once, it */
	bool		several;
	KsProtoValue value;
	const uint8 *begin;
	const uint8 *end;
	bool		joined;			/* they are in the buffer, for something lies between them */
	StringInfoData buffer;
} KsProtoStep;

/* A message, where a path of fields leads to it. */
typedef struct KsProtoPlan
{
	const KsProtoMessage *message;
	int			nsteps;
	KsProtoStep *steps;			/* ascending by number */
	uint32		ndense;
	KsProtoStep **dense;		/* by number, of small ones */
	bool		seen;			/* it is in the record at hand */
	int			noneofs;
	int32	   *chosen;			/* by oneof: the number of the field that is set, or 0 */
} KsProtoPlan;

typedef struct KsProtoProgram
{
	MemoryContext cxt;
	KsProtoPlan *plan;			/* of the value */
	int			nplans;
	KsProtoPlan **plans;		/* all of them */
	int			nslots;
	KsProtoSlot *slots;
	bool		by_column;		/* each is of one column, and done when that has a value */
	int			ngathering;
	KsProtoStep **gathering;	/* steps that do */
	bool	   *left_out;		/* fields that are not of @rest; NULL: nobody asks for that */
	bool		unused;			/* nothing needs the value */
	int			nmatched;		/* columns whose field, or whose whole value, there is */
	Datum	   *values;			/* by column, of the record at hand */
	bool	   *isnull;
	bool	   *found;			/* the record has it */
	bool	   *absent;			/* found, but not in the record: it is read so; NULL: nobody asks for that */
	bool	   *unavailable;	/* what stands there says that it does not; NULL: nothing does */
	struct KsProtoProgram *again;	/* the same in attempts, where columns wait for these, or NULL */
} KsProtoProgram;

/* What the message is. */
typedef enum KsProtoScope
{
	KS_PROTO_RECORD,			/* a value */
	KS_PROTO_ROW,				/* a row inside of a value: what is not there is null */
	KS_PROTO_KEY				/* one of which the key's columns alone are asked for */
} KsProtoScope;

/* In the current context.  Errors (42804, 22023) where a column cannot take what it is to take. */
extern KsProtoProgram *ks_proto_compile(const KsDecoder *d, const KsProtoMessage *message, KsProtoScope scope);

KS_NORETURN extern void ks_proto_cannot_take(const KsDecoder *d, const KsColumn *col, const char *what, bool number);

/* The one for what is being decoded. */
static inline KsProtoProgram *
ks_proto_program_of(KsProtoProgram *program, const KsDecoder *d)
{
	return unlikely(d->in_attempt) && program->again ? program->again : program;
}

/* Errors (22023) if the target needs fields, and the message has none of them. */
extern void ks_proto_check_matched(const KsDecoder *d, const KsProtoProgram *program);

/* Does the column take the value's bytes as they came? */
extern bool ks_proto_takes_bytes(const KsColumn *col);

/* --- proto_run.c --- */

/* Is the column asked for? */
static inline bool
ks_proto_is_asked(const KsDecoder *d, int col)
{
	return likely(!d->for_filter) || d->target->cols[col].in_filter;
}

/* A slot's value. */
extern void ks_proto_set_value(KsProtoProgram *program, KsProtoReader *r, const KsProtoSlot *slot,
							   const KsProtoValue *value);

/* All of the reader's bytes: single values to their columns, of the others where they are. */
extern void ks_proto_run_message(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan);

/* The same of the message of a value; the reader stays where it is. */
extern void ks_proto_run_inside(KsProtoProgram *program, KsProtoReader *r, KsProtoPlan *plan,
								const KsProtoValue *value);

/* Nothing is found yet. */
extern void ks_proto_begin_row(KsProtoProgram *program, const KsTarget *target);

/* --- proto_row.c: all of the reader's bytes; values in the current context --- */

extern void ks_proto_run(KsProtoProgram *program, KsProtoReader *r);

/* The same, to a row; false: some columns have none, of the others those found are there. */
extern bool ks_proto_run_row(KsProtoProgram *program, KsProtoReader *r, Datum *values, bool *isnull);

/* proto_change.c: does what stands there say that Debezium does not have the value?  Of a single one, or of runs. */
extern bool ks_proto_is_unavailable(const KsProtoReader *r, const KsProtoField *field, const KsProtoValue *value);
extern bool ks_proto_are_unavailable(const KsProtoReader *r, const KsProtoField *field, const uint8 *begin, const uint8 *end);

#endif
