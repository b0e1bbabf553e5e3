/*
 * decode.h
 *	  Records to rows: the value's fields and the metadata as Datums.
 */
#ifndef KS_DECODE_H
#define KS_DECODE_H

#include "message.h"
#include "target.h"

typedef enum KsRowOp
{
	KS_ROW_WRITE,
	KS_ROW_DELETE,
	KS_ROW_FILTERED
} KsRowOp;

/* Member names in the order of the last record: the next one's guess. */
#define KS_MEMBER_NAME	40
typedef struct KsMember
{
	int			len;			/* -1: unused */
	int			field;			/* index into fields, or -1 */
	char		name[KS_MEMBER_NAME];
} KsMember;

#define KS_MEMBERS		128

typedef struct KsDecoder
{
	const KsSink *sink;
	KsTarget   *target;
	KsConvert	cv;
	KsJsonToken *tokens;		/* by field; p NULL: not in this record */
	KsMember	members[KS_MEMBERS];
	StringInfoData rest;
	int			encoding;

	/* for errors: what was being decoded */
	const KsRecord *record;
	const char *column;
} KsDecoder;

extern KsDecoder *ks_decoder_create(const KsSink *sink, KsTarget *target,
									MemoryContext cxt);

/*
 * Fills values and isnull (target->ncols of them) in the current context.
 * Errors leave decoder->column telling where.
 */
extern KsRowOp ks_decode(KsDecoder *decoder, const KsRecord *rec,
						 const KsPartition *part, Datum *values, bool *isnull);

#endif
