/*
 * decode.h
 *	  Records to rows: the value's fields and the metadata as Datums.
 */
#ifndef KS_DECODE_H
#define KS_DECODE_H

#include "base/compat.h"
#include "base/message.h"
#include "format/json_outline.h"
#include "format/shape.h"
#include "format/target.h"
#include "format/unpack.h"

typedef enum KsRowOp
{
	KS_ROW_WRITE,
	KS_ROW_DELETE,
	KS_ROW_PATCH,				/* some columns keep the values of the row that is there */
	KS_ROW_TRUNCATE,			/* all rows of the target go */
	KS_ROW_FILTERED,
	KS_ROW_REJECTED				/* cannot be decoded, or is not yet; apply.c's own */
} KsRowOp;

/*
 * Members in the order of the last record: the next one's guess.  The text is all from
 * the end of the value before, or from the brace, to the value: one comparison stands
 * for scanning and checking what is between, and for looking the name up.
 */
#define KS_MEMBER_TEXT	48
typedef struct KsMember
{
	char		text[KS_MEMBER_TEXT];
	uint16		mask;			/* which bytes of the first KS_JSON_PIECE count */
	uint8		len;			/* of text; 0: no guess */
	uint8		name_at;		/* in text */
	uint8		name_len;
	int			field;			/* index into fields, or -1 */
} KsMember;

#define KS_MEMBERS		256

/* What a row still needs, see evaluate.c. */
typedef enum KsLaterKind
{
	KS_LATER_DEFAULT,
	KS_LATER_CHECK,				/* the domain's, of the value that is there */
	KS_LATER_VALUE				/* by ks_decode_values() */
} KsLaterKind;

typedef struct KsLater
{
	int			col;			/* -1: whether its fields are wanted is still asked */
	KsLaterKind kind;
} KsLater;

struct KsDecoder;

/*
 * How values that are not plain JSON objects become fields: open finds them,
 * field gives the value of a column whose source is one.
 */
typedef struct KsFormatOps
{
	KsRowOp		(*open) (struct KsDecoder *d, const KsRecord *rec, const char *s, int len);
	Datum		(*field) (struct KsDecoder *d, KsColumn *col, bool *isnull);

	/* of a delete that open has found: a key column's value, false if the value does
	 * not tell it; NULL: it never does */
	bool		(*key) (struct KsDecoder *d, KsColumn *col, Datum *value, bool *isnull);
	bool		binary;			/* values are no text; field gives them as a whole, too */

	/* of a format by schemas: the name of the value's type, for a record that is open */
	const char *(*schema) (struct KsDecoder *d);
} KsFormatOps;

/* Values, or keys, by schemas. */
typedef struct KsSchemaPart
{
	bool		used;			/* else they have another format */
	KsFraming	framing;
	struct KsSchemaCache *cache;	/* NULL: the sink gives the schema */
	KsSchemaId	last_id;		/* that was asked for */
	void	   *last;			/* what was made of it, or NULL */
	KsUnpacked	unpacked;		/* of a framing that packs */
} KsSchemaPart;

typedef struct KsDecoder
{
	const KsFormatOps *ops;		/* NULL: JSON objects */
	struct KsCsv *csv;
	struct KsCsv *key_csv;
	struct KsEnvelopeState *envelope;
	KsSchemaPart value_schemas;
	KsSchemaPart key_schemas;
	struct KsAvro *avro;
	struct KsProto *proto;
	struct KsJsonSchemas *json_schemas;	/* JSON behind what tells a schema */
	const char *payload;		/* of JSON, the value without what tells its schema */
	int			payload_len;
	int64		schema_id;		/* as the record's value tells it; -1: it does not */
	const struct KsSchema *key_schema;	/* of the key at hand, or NULL */
	ErrorData  *unreadable;		/* why no column takes anything of a value of this type; kept by its schema */
	bool		unavailable;	/* the row has the value of some column, the record not */
	KsJsonToken key;			/* as a document; p NULL: not read yet */
	bool		wants_others;	/* fields that no column takes: @rest, strict */
	bool		all_found;		/* columns are no more than what a format finds in the value */
	bool		must_match;		/* a record none of whose fields is wanted is refused */
	bool		filters;		/* rows are asked for before ks_decode_check_row(), and may go */
	bool		for_filter;		/* what the filter reads is wanted, and nothing else */
	const char *unmatched;		/* such an object, or NULL */
	int			unmatched_len;
	StringInfoData name;		/* scratch: of a field, unescaped */
	MemoryContext cxt;			/* its own */
	KsFormatSettings settings;
	KsTarget   *target;
	KsConvert	cv;
	KsJsonToken *tokens;		/* by field; p NULL: not in this record */
	struct KsPaths **paths;		/* by field: those that begin there, NULL: none does */
	struct KsPaths *key_paths;
	struct KsPathNode **ends;	/* by column: of its path */
	uint64		serial;			/* of the record */
	/* by column, what a format has found for it already; NULL: it is asked */
	const bool *found;
	const Datum *found_values;
	const bool *found_isnull;
	/* the row, where all_found lets a format fill it at once, or NULL; and whether it has */
	Datum	   *row_values;
	bool	   *row_isnull;
	bool		row_is_full;
	bool		all_filled;		/* that columns are has been noted */
	const char *marked;			/* the value's text, which is marked, or NULL */
	uint64	   *marks;			/* NULL: none ever is */
	KsMember	members[KS_MEMBERS];
	KsOutlined	outlined[KS_MEMBERS];	/* their values, where these are objects or arrays */
	StringInfoData rest;
	int			encoding;

	/* for errors: what was being decoded */
	const KsRecord *record;
	const char *column;
	bool		has_value;		/* a row was made of a value, not of a key alone */
	bool		evaluating;		/* an expression of the owner's: a default, the filter */
	bool		missing;		/* the column's field is not there */
	bool		kept;			/* nor its value in the record: the row has it */
	bool		in_attempt;		/* columns whose values are found in attempts, and no others */
	KsColumn	stand_in;		/* for such a column: is it there? */
	const KsColumn *stands_for;
	bytea	   *given;			/* by column, or NULL, see target.h */
	KsLater    *later;			/* of the row at hand */
	int			nlater;
} KsDecoder;

extern KsDecoder *ks_decoder_create(const KsFormatSettings *settings, KsTarget *target,
									MemoryContext cxt);

/*
 * Fills values and isnull (target->nvalues of them) in the current context, but for
 * those in 'later'.  Errors leave decoder->column telling where.  With decoder->for_filter
 * other columns than the filter's are null, and not converted; of a change that is a
 * delete, all are.
 */
extern KsRowOp ks_decode(KsDecoder *decoder, const KsRecord *rec,
						 const KsPartition *part, Datum *values, bool *isnull);

/*
 * The same of a record that has been decoded, and whose row is written: the values of
 * columns that wait for the attempt, and what is left of these in 'later'.
 */
extern void ks_decode_values(KsDecoder *decoder, const KsRecord *rec, const KsPartition *part,
							 Datum *values, bool *isnull);

/* Errors if none of the record's fields is wanted or can be taken, or the row lacks a
 * value of the key; one that a filter keeps is not asked. */
extern void ks_decode_refuse_row(KsDecoder *decoder, const bool *isnull);

static inline void
ks_decode_check_row(KsDecoder *d, const bool *isnull)
{
	bool		sound = d->unreadable == NULL && d->unmatched == NULL;

	for (int i = 0; i < d->target->nkeys; i++)
		sound &= !isnull[d->target->keycols[i]];
	if (unlikely(!sound))
		ks_decode_refuse_row(d, isnull);
}

/*
 * decode_schema.c: does it decode by schemas that records name?  Then each record of a
 * batch is asked before the first is decoded: which schemas are not known (to the list
 * of KsSchemaId *, in the current context)?
 */
extern bool ks_schemas_ask(const KsDecoder *decoder);
extern void ks_schemas_list_unknown(KsDecoder *decoder, const KsRecord *rec, const KsSchemaPass *pass,
									List **unknown);

/* And, after that: is it by one that is not known? */
extern bool ks_schemas_lack(KsDecoder *decoder, const KsRecord *rec);

/* Does each record tell what type its value is of? */
extern bool ks_schemas_tell_types(const KsDecoder *decoder);

/* The schema that a value names, and is read by; false: it names none, or the sink gives it. */
extern bool ks_schemas_told(const KsDecoder *decoder, const KsRecord *rec, KsSchemaId *id);

/*
 * After that: of the types of values, those that the target has not been compared with,
 * see schema_cache.h.
 */
extern bool ks_schemas_have_unsettled(const KsDecoder *decoder);
extern KsShape *ks_schemas_unsettled(KsDecoder *decoder, const KsRecord *rec, KsSchemaId *id);
extern void ks_schemas_settle(KsDecoder *decoder);
extern void ks_schemas_leave_out(KsDecoder *decoder);
extern void ks_schemas_all_settled(KsDecoder *decoder);
extern KsShape *ks_schemas_settled(KsDecoder *decoder, const char *name, KsSchemaId *id);

/* Are headers looked at for what tells them? */
extern bool ks_schemas_want_headers(const KsDecoder *decoder);

/* For formats: the members of an object into tokens; a path below a token, false
 * if it leads nowhere; the value of a column whose field is not there. */
extern void ks_scan_fields(KsDecoder *decoder, const char *s, int len);

/* The same of an object in a document, p at its brace; returns the position behind it. */
extern const char *ks_scan_members(KsDecoder *decoder, const KsJson *json, const char *p);
extern bool ks_follow_path(const KsPathStep *path, int npath, KsJsonToken *tok);

/* The same of a column's path, below its field or the key. */
extern bool ks_find_field(KsDecoder *decoder, const KsColumn *col, KsJsonToken *tok);
extern bool ks_find_in_key(KsDecoder *decoder, const KsColumn *col, KsJsonToken *tok);
extern Datum ks_decode_missing(KsDecoder *decoder, KsColumn *col, bool *isnull);

/* The value of a column that the record does not have, but the row has. */
extern Datum ks_decode_unavailable(KsDecoder *decoder, bool *isnull);

/* The record's value as it came, for a column of type bytea. */
extern Datum ks_decode_whole(KsDecoder *decoder, KsColumn *col);

/* The value of one column; that of a field, if values are plain objects. */
extern Datum ks_decode_column(KsDecoder *decoder, KsColumn *col, const KsRecord *rec,
							  const KsPartition *part, bool *isnull);

/* decode_unmatched.c: refuses d->unmatched, and says what may have been meant. */
KS_NORETURN extern void ks_unmatched_error(const KsDecoder *decoder);

#endif
