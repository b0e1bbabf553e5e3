/*
 * stubs.c
 *	  What the decoding modules need of a server, for fuzzing them outside one.
 *
 * Memory is malloc's, one block per palloc(), so that the address sanitizer
 * sees the end of each.  An error is a jump.  Types have no input functions:
 * the text that would go to one is read to its end, and that is all.
 */
#include "stubs.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"

#undef vsnprintf
#undef sprintf

sigjmp_buf	fuzz_error;
int			fuzz_sqlstate;
bool		fuzz_input_called;
MemoryContext CurrentMemoryContext;

/* Where values go that are only to be read. */
volatile Datum fuzz_read;

/* --- memory --- */

typedef struct Block
{
	struct Block *prev;
	struct Block *next;
	size_t		pad[2];			/* keeps what follows aligned */
} Block;

static Block blocks = {&blocks, &blocks, {0}};

static void *
take(Block *b, size_t size)
{
	b = realloc(b, sizeof(Block) + size);
	if (b == NULL)
		abort();
	b->prev = &blocks;
	b->next = blocks.next;
	b->next->prev = blocks.next = b;
	return b + 1;
}

static Block *
drop(void *p)
{
	Block	   *b = (Block *) p - 1;

	b->prev->next = b->next;
	b->next->prev = b->prev;
	return b;
}

void
fuzz_reset(void)
{
	while (blocks.next != &blocks)
		free(drop(blocks.next + 1));
}

char *
fuzz_copy(const void *data, size_t len)
{
	char	   *copy = malloc(len);	/* the harness frees it */

	if (copy == NULL && len > 0)
		abort();
	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

void *
palloc(Size size)
{
	return take(NULL, size);
}

void *
palloc0(Size size)
{
	return memset(take(NULL, size), 0, size);
}

void *
repalloc(void *p, Size size)
{
	return take(drop(p), size);
}

void *
repalloc_huge(void *p, Size size)
{
	return take(drop(p), size);
}

void
pfree(void *p)
{
	free(drop(p));
}

void *
MemoryContextAlloc(MemoryContext cxt, Size size)
{
	return palloc(size);
}

char *
pnstrdup(const char *s, Size len)
{
	char	   *copy = palloc(len + 1);

	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

/* --- errors --- */

bool
errstart(int elevel, const char *domain)
{
	fuzz_sqlstate = 0;
	return elevel >= ERROR;
}

bool
errstart_cold(int elevel, const char *domain)
{
	return errstart(elevel, domain);
}

void
errfinish(const char *file, int line, const char *func)
{
	siglongjmp(fuzz_error, 1);
}

int
errcode(int sqlstate)
{
	fuzz_sqlstate = sqlstate;
	return 0;
}

/* Formats it, so that what the arguments point to is read. */
static int
format(const char *fmt, va_list args)
{
	static char buf[1024];

	return vsnprintf(buf, sizeof(buf), fmt, args) < 0 ? 1 : 0;
}

#define MESSAGE_FUNCTION(name) \
int \
name(const char *fmt,...) \
{ \
	va_list		args; \
	int			result; \
\
	va_start(args, fmt); \
	result = format(fmt, args); \
	va_end(args); \
	return result; \
}

MESSAGE_FUNCTION(errmsg)
MESSAGE_FUNCTION(errmsg_internal)
MESSAGE_FUNCTION(errdetail)
MESSAGE_FUNCTION(errhint)

/* --- strings --- */

void
resetStringInfo(StringInfo s)
{
	s->data[0] = '\0';
	s->len = s->cursor = 0;
}

void
initStringInfo(StringInfo s)
{
	s->maxlen = 16;
	s->data = palloc(s->maxlen);
	resetStringInfo(s);
}

void
appendBinaryStringInfo(StringInfo s, const char *data, int len)
{
	if (s->len + len + 1 > s->maxlen)
	{
		s->maxlen = (s->len + len + 1) * 2;
		s->data = repalloc(s->data, s->maxlen);
	}
	memcpy(s->data + s->len, data, len);
	s->len += len;
	s->data[s->len] = '\0';
}

void
appendStringInfoChar(StringInfo s, char c)
{
	appendBinaryStringInfo(s, &c, 1);
}

void
appendStringInfoString(StringInfo s, const char *str)
{
	appendBinaryStringInfo(s, str, strlen(str));
}

void
escape_json(StringInfo buf, const char *str)
{
	appendStringInfoChar(buf, '"');
	appendStringInfoString(buf, str);
	appendStringInfoChar(buf, '"');
}

text *
cstring_to_text_with_len(const char *s, int len)
{
	text	   *t = palloc(VARHDRSZ + len);

	SET_VARSIZE(t, VARHDRSZ + len);
	memcpy(VARDATA(t), s, len);
	return t;
}

int
pg_lltoa(int64 v, char *buf)
{
	return sprintf(buf, INT64_FORMAT, v);
}

/* --- encodings: the server's is UTF-8 --- */

int
GetDatabaseEncoding(void)
{
	return PG_UTF8;
}

/* The length of one character by RFC 3629, 0 if it is none. */
static int
utf8_length(const unsigned char *s, int len)
{
	int			n = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : *s < 0xf5 ? 4 : 0;

	if (n == 0 || n > len || *s == 0)
		return 0;
	for (int i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
		(*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

bool
pg_verify_mbstr(int encoding, const char *s, int len, bool no_error)
{
	while (len > 0)
	{
		int			n = utf8_length((const unsigned char *) s, len);

		if (n == 0)
		{
			if (no_error)
				return false;
			fuzz_sqlstate = ERRCODE_CHARACTER_NOT_IN_REPERTOIRE;
			siglongjmp(fuzz_error, 1);
		}
		s += n;
		len -= n;
	}
	return true;
}

char *
pg_any_to_server(const char *s, int len, int encoding)
{
	(void) pg_verify_mbstr(encoding, s, len, false);
	return unconstify(char *, s);
}

void
pg_unicode_to_server(pg_wchar c, unsigned char *s)
{
	int			n = 0;

	if (c < 0x80)
		s[n++] = c;
	else if (c < 0x800)
	{
		s[n++] = 0xc0 | (c >> 6);
		s[n++] = 0x80 | (c & 0x3f);
	}
	else if (c < 0x10000)
	{
		s[n++] = 0xe0 | (c >> 12);
		s[n++] = 0x80 | ((c >> 6) & 0x3f);
		s[n++] = 0x80 | (c & 0x3f);
	}
	else
	{
		s[n++] = 0xf0 | (c >> 18);
		s[n++] = 0x80 | ((c >> 12) & 0x3f);
		s[n++] = 0x80 | ((c >> 6) & 0x3f);
		s[n++] = 0x80 | (c & 0x3f);
	}
	s[n] = '\0';
}

/* --- values --- */

Datum
InputFunctionCall(FmgrInfo *flinfo, char *str, Oid typioparam, int32 typmod)
{
	fuzz_input_called = true;
	return (Datum) strlen(str);
}

Numeric
int64_div_fast_to_numeric(int64 val, int log10val)
{
	FuzzNumeric *n = palloc(sizeof(FuzzNumeric));

	n->value = val;
	n->scale = log10val;
	return (Numeric) n;
}

Numeric
int64_to_numeric(int64 val)
{
	return int64_div_fast_to_numeric(val, 0);
}

bool
numeric_is_nan(Numeric num)
{
	return false;
}

bool
numeric_is_inf(Numeric num)
{
	return false;
}

Datum
datumCopy(Datum value, bool typByVal, int typLen)
{
	return value;
}

void
domain_check(Datum value, bool isnull, Oid domainType, void **extra, MemoryContext mcxt)
{
}

ArrayType *
construct_empty_array(Oid elmtype)
{
	return palloc0(sizeof(ArrayType));
}

/* Reads what it is given: as many elements as the dimensions say. */
ArrayType *
construct_md_array(Datum *elems, bool *nulls, int ndims, int *dims, int *lbs,
				   Oid elmtype, int elmlen, bool elmbyval, char elmalign)
{
	int64		n = 1;

	FUZZ_CHECK(ndims >= 1 && ndims <= MAXDIM);
	for (int i = 0; i < ndims; i++)
	{
		FUZZ_CHECK(dims[i] > 0);
		n *= dims[i];
	}
	for (int64 i = 0; i < n; i++)
		if (!nulls[i])
			fuzz_read += elems[i];
	return palloc0(sizeof(ArrayType));
}

ArrayType *
construct_array(Datum *elems, int nelems, Oid elmtype, int elmlen, bool elmbyval, char elmalign)
{
	return palloc0(sizeof(ArrayType));
}

HeapTuple
heap_form_tuple(TupleDesc desc, Datum *values, bool *isnull)
{
	HeapTuple	tup = palloc0(sizeof(HeapTupleData));

	for (int i = 0; i < desc->natts; i++)
		if (!isnull[i])
			fuzz_read += values[i];
	tup->t_data = palloc0(SizeofHeapTupleHeader);
	return tup;
}

Datum
HeapTupleHeaderGetDatum(HeapTupleHeader tup)
{
	return PointerGetDatum(tup);
}

const char *
timestamptz_to_str(TimestampTz t)
{
	return "2026-01-02 03:04:05.678+00";
}

/* --- dates, as the server counts them --- */

const int	day_tab[2][13] = {
	{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0},
	{31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0}
};

/* Days since 4713 BC; by counting, unlike the server's formula. */
int
date2j(int year, int month, int day)
{
	int			days = 1721425;	/* the day before 1 January 1 */

	days += (year - 1) * 365 + (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
	for (int i = 0; i < month - 1; i++)
		days += day_tab[isleap(year)][i];
	return days + day;
}
