/*
 * records.c
 *	  Records for a decoder, and what holds for every decoder.
 */
#include "records.h"

#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define MAX_RECORDS		64		/* of one input */

bool
fuzz_blames_record(int sqlstate)
{
	switch (ERRCODE_TO_CATEGORY(sqlstate))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return true;
		default:
			return false;
	}
}

bool
fuzz_is_text(const void *s, size_t len, bool strip)
{
	const char *p = s;
	const char *end = p + len;

	while (strip && p < end)
	{
		const char *nul = memchr(p, '\0', end - p);
		const char *until = nul ? nul : end;

		if (!pg_verify_mbstr(PG_UTF8, p, (int) (until - p), true))
			return false;
		p = nul ? nul + 1 : end;
	}
	return strip || pg_verify_mbstr(PG_UTF8, p, (int) len, true);
}

/* As a writer does it. */
static KsRowOp
decode_row(KsDecoder *d, const KsRecord *rec, const KsPartition *part, FuzzOutcome *o)
{
	KsRowOp		op = ks_decode(d, rec, part, o->values, o->isnull);

	if (d->has_value)
		ks_decode_check_row(d, o->isnull);
	return op;
}

static FuzzOutcome
decode(const FuzzRecords *f, KsDecoder *d, const KsRecord *rec)
{
	static const KsPartition part = {.topic = "t"};
	int64		size = (int64) Max(rec->keylen, 0) + Max(rec->valuelen, 0);
	size_t		before = fuzz_held;
	FuzzOutcome o;

	memset(&o, 0, sizeof(o));
	fuzz_peak = fuzz_held;
	o.ok = FUZZ_TRY(o.op = decode_row(d, rec, &part, &o));
	CurrentMemoryContext = fuzz_record_context;
	FUZZ_CHECK(fuzz_peak - before <= FUZZ_MEMORY(size, f->per_byte));
	if (!o.ok)
	{
		FUZZ_CHECK(fuzz_blames_record(fuzz_sqlstate));
		o.sqlstate = fuzz_sqlstate;
	}
	else if (o.op != KS_ROW_FILTERED && o.op != KS_ROW_TRUNCATE && rec->valuelen >= 0)
		for (int i = 0; i < f->target->nfields; i++)
			if (d->tokens[i].p)
				o.tokens[i] = d->tokens[i];
	return o;
}

/* Values of types whose Datum is a pointer are compared by what is there; an
 * odd number is the hash of what went to an input function. */
static bool
same_value(const KsType *type, Datum a, Datum b)
{
	if (a == b)
		return true;
	if ((a & 1) != 0 || (b & 1) != 0)
		return false;
	if (type->kind == KS_TYPE_TEXT || type->typid == BYTEAOID)
	{
		const void *x = DatumGetPointer(a);
		const void *y = DatumGetPointer(b);

		return VARSIZE(x) == VARSIZE(y) && memcmp(VARDATA(x), VARDATA(y), VARSIZE(x) - VARHDRSZ) == 0;
	}
	if (type->typid == INTERVALOID)
		return memcmp(DatumGetPointer(a), DatumGetPointer(b), sizeof(Interval)) == 0;
	if (type->kind == KS_TYPE_NUMERIC)
	{
		const FuzzNumeric *x = (const FuzzNumeric *) DatumGetPointer(a);
		const FuzzNumeric *y = (const FuzzNumeric *) DatumGetPointer(b);

		return x->value == y->value && x->scale == y->scale;
	}
	return type->kind == KS_TYPE_ARRAY || type->kind == KS_TYPE_COMPOSITE;
}

static bool
same(const KsTarget *target, const FuzzOutcome *a, const FuzzOutcome *b)
{
	/* where levels are counted from depends on what was known of the schema */
	if (a->sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX || b->sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX)
		return true;
	if (a->ok != b->ok || a->sqlstate != b->sqlstate || a->op != b->op)
		return false;
	if (!a->ok || a->op == KS_ROW_FILTERED || a->op == KS_ROW_TRUNCATE)
		return true;
	for (int i = 0; i < target->ncols; i++)
		if (a->isnull[i] != b->isnull[i] ||
			(!a->isnull[i] && !same_value(&target->cols[i].type, a->values[i], b->values[i])))
			return false;
	for (int i = 0; i < target->nfields; i++)
		if (a->tokens[i].p != b->tokens[i].p || a->tokens[i].len != b->tokens[i].len ||
			a->tokens[i].type != b->tokens[i].type || a->tokens[i].escaped != b->tokens[i].escaped)
			return false;
	return true;
}

static void
decode_one(const FuzzRecords *f, KsDecoder *d, const uint8 *line, size_t len)
{
	const uint8 *tab = memchr(line, f->key_end, len);
	size_t		keylen = tab ? (size_t) (tab - line) : 0;
	size_t		from = tab ? keylen + 1 : 0;
	const KsHeader headers[] = {{"h", "1", 1}, {"", NULL, -1}};
	/* (what tells a schema is looked for elsewhere, too, where there are headers) */
	KsRecord	rec = {.keylen = -1, .valuelen = -1, .off = 1, .ts_ms = 1,
	.nheaders = tab ? lengthof(headers) : 0, .headers = headers};
	char	   *key = NULL;
	char	   *value = NULL;
	MemoryContext fresh;
	KsDecoder  *unmarked;		/* and slow in other ways */
	FuzzOutcome first,
				again;

	if (tab)
		rec.key = key = fuzz_copy(line, rec.keylen = (int) keylen);
	if (len > from)
		rec.value = value = fuzz_copy(line + from, rec.valuelen = (int) (len - from));
	first = decode(f, d, &rec);
	fresh = AllocSetContextCreate(fuzz_record_context, "fresh", ALLOCSET_DEFAULT_SIZES);
	unmarked = ks_decoder_create(f->settings, f->target, fresh);
	unmarked->marks = NULL;
	unmarked->all_found = false;
	again = decode(f, unmarked, &rec);
	FUZZ_CHECK(same(f->target, &first, &again));
	if (f->check)
		f->check(f, &rec, &first);
	MemoryContextDelete(fresh);
	fuzz_reset();
	free(key);
	free(value);
}

void
fuzz_records(const FuzzRecords *f, const uint8 *data, size_t size)
{
	MemoryContext cxt = AllocSetContextCreate(TopMemoryContext, "decoder", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	KsDecoder  *d;

	ks_names_init(&f->target->names, f->target->fields, f->target->nfields);
	MemoryContextSwitchTo(old);
	d = ks_decoder_create(f->settings, f->target, cxt);
	FUZZ_CHECK(f->target->ncols <= FUZZ_COLUMNS && f->target->nfields <= FUZZ_FIELDS);
	for (int i = 0; i < MAX_RECORDS && size > 0; i++)
	{
		const uint8 *end = memchr(data, f->separator, size);
		size_t		len = end ? (size_t) (end - data) : size;

		decode_one(f, d, data, len);
		data += len + (end ? 1 : 0);
		size -= len + (end ? 1 : 0);
	}
	MemoryContextDelete(cxt);
}
