/*
 * records.h
 *	  Records for a decoder, and what holds for every decoder.
 */
#ifndef KS_FUZZ_RECORDS_H
#define KS_FUZZ_RECORDS_H

#include "stubs.h"

#include "format/decode.h"

#define FUZZ_COLUMNS	24
#define FUZZ_FIELDS		16

#define FUZZ_COLUMN(n, k, oid, ...) \
	{.name = n, .type = {.kind = k, .typid = oid, .typmod = -1, .max_len = INT_MAX}, .keyno = -1, __VA_ARGS__}
#define FUZZ_FIELD(n)	{n, sizeof(n) - 1}

/* What a record of this size may allocate at most. */
#define FUZZ_MEMORY(size, per_byte)	((size_t) (128 * 1024 + (size) * (per_byte)))

/* Is it an error that is_record_error() in apply.c blames on a record? */
extern bool fuzz_blames_record(int sqlstate);

/* Is it UTF-8, with or without characters of code 0 ('strip')? */
extern bool fuzz_is_text(const void *s, size_t len, bool strip);

/* What came of one record. */
typedef struct FuzzOutcome
{
	bool		ok;
	int			sqlstate;
	KsRowOp		op;
	Datum		values[FUZZ_COLUMNS];
	bool		isnull[FUZZ_COLUMNS];
	KsJsonToken tokens[FUZZ_FIELDS];
} FuzzOutcome;

typedef struct FuzzRecords
{
	const KsFormatSettings *settings;
	KsTarget   *target;
	char		separator;		/* between records */
	char		key_end;		/* between key and value; no key without it */
	int			per_byte;		/* what a byte may allocate */
	/* what holds for this decoder besides, or NULL */
	void		(*check) (const struct FuzzRecords *f, const KsRecord *rec, const FuzzOutcome *o);
} FuzzRecords;

/*
 * Decodes each record twice, by a decoder that has seen the ones before and by
 * one that has seen none, and takes no row as a whole.  Both must say the same; an error must be one that is
 * blamed on a record; and what is allocated is bounded by the record's size.
 */
extern void fuzz_records(const FuzzRecords *f, const uint8 *data, size_t size);

#endif
