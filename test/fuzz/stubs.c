/*
 * stubs.c
 *	  What the decoding modules need of a server, for fuzzing them outside one.
 *
 * An error is a jump.  Types have no input functions: the text that would go to
 * one is kept, and a hash of it stands for the value.
 */
#include "stubs.h"

#include <signal.h>

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "regex/regex.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#include "format/json.h"
#include "format/numeric.h"
#include "format/schema_cache.h"

sigjmp_buf	fuzz_error;
int			fuzz_sqlstate;
bool		fuzz_input_called;
const char *fuzz_input_text;
int			fuzz_elements;
volatile sig_atomic_t InterruptPending;

/* Where values go that are only to be read. */
volatile Datum fuzz_read;

/* --- errors --- */

bool
errstart(int elevel, const char *domain)
{
	fuzz_sqlstate = 0;
	fuzz_message[0] = fuzz_detail[0] = '\0';
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

/* What was said last; formatted, so that what the arguments point to is read. */
char		fuzz_message[1024];
char		fuzz_detail[1024];
static char hint[1024];

#define MESSAGE_FUNCTION(name, buf) \
int \
name(const char *fmt,...) \
{ \
	va_list		args; \
	int			result; \
\
	va_start(args, fmt); \
	result = vsnprintf(buf, sizeof(buf), fmt, args) < 0 ? 1 : 0; \
	va_end(args); \
	return result; \
}

MESSAGE_FUNCTION(errmsg, fuzz_message)
MESSAGE_FUNCTION(errmsg_internal, fuzz_message)
MESSAGE_FUNCTION(errdetail, fuzz_detail)
MESSAGE_FUNCTION(errdetail_internal, fuzz_detail)
MESSAGE_FUNCTION(errhint, hint)

int
err_generic_string(int field, const char *str)
{
	strlcpy(hint, str, sizeof(hint));
	return 0;
}

/* What the compiler cannot rule out, where it counts branches. */
void
#if PG_VERSION_NUM >= 160000
ExceptionalCondition(const char *condition, const char *file, int line)
#else
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
#endif
{
	abort();
}

/* Limits of depth come first. */
void
check_stack_depth(void)
{
}

/* --- strings --- */

void
escape_json(StringInfo buf, const char *str)
{
	appendStringInfoChar(buf, '"');
	for (; *str; str++)
	{
		if (*str == '"' || *str == '\\')
			appendStringInfoChar(buf, '\\');
		if ((unsigned char) *str < ' ')
			appendStringInfo(buf, "\\u%04x", *str);
		else
			appendStringInfoChar(buf, *str);
	}
	appendStringInfoChar(buf, '"');
}

uint64
hex_encode(const char *src, size_t len, char *dst)
{
	for (size_t i = 0; i < len; i++)
	{
		*dst++ = "0123456789abcdef"[(unsigned char) src[i] >> 4];
		*dst++ = "0123456789abcdef"[src[i] & 15];
	}
	return 2 * len;
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

const char *
GetDatabaseEncodingName(void)
{
	return "UTF8";
}

/* The encoding is UTF-8: nothing is converted. */
Oid
FindDefaultConversionProc(int32 from, int32 to)
{
	return InvalidOid;
}

int
pg_do_encoding_conversion_buf(Oid proc, int from, int to, unsigned char *s, int len,
							  unsigned char *dest, int room, bool no_error)
{
	return 0;
}

/* As many bytes of whole characters as there are, up to a limit. */
int
pg_mbcliplen(const char *s, int len, int limit)
{
	int			n = 0;

	for (int l; n < len && (l = utf8_length((const unsigned char *) s + n, len - n)) > 0 && n + l <= limit;)
		n += l;
	return n;
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

bool
fuzz_is_json(const char *s)
{
	KsJson		json = {.start = s, .end = s + strlen(s)};
	KsJsonToken tok;
	sigjmp_buf	saved;
	int			sqlstate = fuzz_sqlstate;
	bool		ok;

	memcpy(&saved, &fuzz_error, sizeof(saved));
	ok = FUZZ_TRY(ks_json_document(&json, &tok)) || fuzz_sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX;
	memcpy(&fuzz_error, &saved, sizeof(saved));
	fuzz_sqlstate = sqlstate;
	return ok;
}

/* An odd number: no pointer to memory. */
Datum
InputFunctionCall(FmgrInfo *flinfo, char *str, Oid typioparam, int32 typmod)
{
	static char *kept = NULL;
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	fuzz_input_called = true;
	if (flinfo->fn_oid == FUZZ_JSON_INPUT)
		FUZZ_CHECK(fuzz_is_json(str));
	free(kept);
	fuzz_input_text = kept = fuzz_copy(str, strlen(str) + 1);
	for (; *str; str++)
		hash = (hash ^ (unsigned char) *str) * UINT64CONST(0x100000001b3);
	return (Datum) (hash | 1);
}

Numeric
ks_numeric_make(int64 value, int scale)
{
	FuzzNumeric *n = palloc(sizeof(FuzzNumeric));

	FUZZ_CHECK(scale >= 0 && scale <= KS_NUMERIC_MAX_SCALE);
	n->value = value;
	n->scale = scale;
	return (Numeric) n;
}

struct varlena *
pg_detoast_datum(struct varlena *v)
{
	return v;
}

/* Only what came from the input function may be one. */
bool
numeric_is_nan(Numeric num)
{
	return ((Datum) num & 1) != 0 && strcasecmp(fuzz_input_text, "NaN") == 0;
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

bool
datumIsEqual(Datum a, Datum b, bool typByVal, int typLen)
{
	return a == b;
}

char *
float8out_internal(float8 num)
{
	return psprintf("%.17g", num);
}

/* Of a schema's GUID, for messages. */
Datum
uuid_out(PG_FUNCTION_ARGS)
{
	abort();
}

Datum
DirectFunctionCall1Coll(PGFunction func, Oid collation, Datum arg1)
{
	abort();
}

ExprState *
ExecInitExpr(Expr *node, PlanState *parent)
{
	abort();
}

void
domain_check(Datum value, bool isnull, Oid domainType, void **extra, MemoryContext mcxt)
{
}

ArrayType *
construct_empty_array(Oid elmtype)
{
	fuzz_elements = 0;
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
	fuzz_elements = (int) n;
	return palloc0(sizeof(ArrayType));
}

ArrayType *
construct_array(Datum *elems, int nelems, Oid elmtype, int elmlen, bool elmbyval, char elmalign)
{
	return palloc0(sizeof(ArrayType));
}

HeapTuple
#if PG17_GE
heap_form_tuple(TupleDesc desc, const Datum *values, const bool *isnull)
#else
heap_form_tuple(TupleDesc desc, Datum *values, bool *isnull)
#endif
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

/* Types that are not the server's own are hstore. */
HeapTuple
SearchSysCache1(int cache, Datum oid)
{
	static union
	{
		HeapTupleHeaderData header;
		char		room[MAXALIGN(SizeofHeapTupleHeader) + sizeof(FormData_pg_type)];
	}			type;
	static HeapTupleData tup = {.t_data = &type.header};

	type.header.t_hoff = MAXALIGN(SizeofHeapTupleHeader);
	strcpy(NameStr(((Form_pg_type) GETSTRUCT(&tup))->typname), "hstore");
	return &tup;
}

void
ReleaseSysCache(HeapTuple tup)
{
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

/* The reverse; by Howard Hinnant's civil_from_days, unlike the server's. */
void
j2date(int jd, int *year, int *month, int *day)
{
	int64		z = (int64) jd - 1721120;	/* days since 1 March of year 0 */
	int64		era = (z >= 0 ? z : z - 146096) / 146097;
	int64		doe = z - era * 146097;
	int64		yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64		doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64		mp = (5 * doy + 2) / 153;

	*day = (int) (doy - (153 * mp + 2) / 5 + 1);
	*month = (int) (mp < 10 ? mp + 3 : mp - 9);
	*year = (int) (yoe + era * 400 + (*month <= 2));
}

char *
format_type_be(Oid type)
{
	return pstrdup("a type");
}

char *
format_type_extended(Oid type, int32 typmod, bits16 flags)
{
	return pstrdup("a type");
}

char *
pg_server_to_any(const char *s, int len, int encoding)
{
	return unconstify(char *, s);
}

int
pg_encoding_mbcliplen(int encoding, const char *s, int len, int limit)
{
	return pg_mbcliplen(s, len, limit);
}

unsigned char
pg_ascii_tolower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + 'a' - 'A' : c;
}

/* Nothing is near but what is the same; all of both is read. */
int
varstr_levenshtein_less_equal(const char *a, int alen, const char *b, int blen,
							  int ins_c, int del_c, int sub_c, int max_d, bool trusted)
{
	return pnstrdup(a, alen) && pnstrdup(b, blen) && alen == blen && memcmp(a, b, alen) == 0 ? 0 : max_d + 1;
}

/* --- arrays: those of types that schemas have, by a number of their own --- */

#define FUZZ_ARRAYS		1000000

Oid
get_array_type(Oid type)
{
	return type < FUZZ_ARRAYS ? type + FUZZ_ARRAYS : InvalidOid;
}

Oid
get_element_type(Oid type)
{
	return type > FUZZ_ARRAYS ? type - FUZZ_ARRAYS : InvalidOid;
}

/* --- schemas of a registry: not here --- */

List *
lappend(List *list, void *datum)
{
	abort();
}

struct KsSchemaCache *
ks_schema_cache_create(KsDecoder *d, bool of_keys, KsCompileSchema compile)
{
	abort();
}

bool
ks_schema_cache_knows(struct KsSchemaCache *cache, const KsSchemaId *id, const KsSchemaPass *pass)
{
	abort();
}

bool
ks_schema_cache_lacks(struct KsSchemaCache *cache, const KsSchemaId *id)
{
	abort();
}

void *
ks_schema_cache_get(struct KsSchemaCache *cache, const KsSchemaId *id)
{
	abort();
}

bool
ks_schema_cache_has_unsettled(const struct KsSchemaCache *cache)
{
	return false;
}

KsShape *
ks_schema_cache_unsettled(struct KsSchemaCache *cache, const KsSchemaId *id, const KsMessagePath *path)
{
	return NULL;
}

void
ks_schema_cache_settle(struct KsSchemaCache *cache)
{
}

void
ks_schema_cache_leave_out(struct KsSchemaCache *cache)
{
}

void
ks_schema_cache_all_settled(struct KsSchemaCache *cache)
{
}

KsShape *
ks_schema_cache_settled(struct KsSchemaCache *cache, const char *name, KsSchemaId *id)
{
	return NULL;
}

/* --- regular expressions: by a hash of both, they match or not --- */

static uint32
hash_of(const pg_wchar *s, size_t len)
{
	uint32		hash = 2166136261u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ s[i]) * 16777619u;
	return hash;
}

int
pg_regcomp(regex_t *re, const pg_wchar *s, size_t len, int flags, Oid collation)
{
	re->re_magic = (int) hash_of(s, len);
	return REG_OKAY;
}

int
pg_regexec(regex_t *re, const pg_wchar *s, size_t len, size_t start, rm_detail_t *details,
		   size_t nmatch, regmatch_t pmatch[], int flags)
{
	return ((uint32) re->re_magic ^ hash_of(s, len)) & 2 ? REG_OKAY : REG_NOMATCH;
}

void
pg_regfree(regex_t *re)
{
}

size_t
pg_regerror(int code, const regex_t *re, char *buf, size_t size)
{
	abort();
}

/* An error is not kept here: it is made anew. */
void *
ks_compile_try(KsCompiled *c, MemoryContext cxt, const KsSchemaId *id, KsCompile compile, void *arg)
{
	MemoryContext old = MemoryContextSwitchTo(cxt);

	c->made = compile(arg);
	MemoryContextSwitchTo(old);
	return c->made;
}

void *
ks_compile_once(KsCompiled *c, MemoryContext cxt, const KsSchemaId *id, KsCompile compile, void *arg)
{
	return ks_compile_try(c, cxt, id, compile, arg);
}

void
ks_error_rethrow(ErrorData *edata)
{
	siglongjmp(fuzz_error, 1);
}

/* --- tables for schemas --- */

void
fuzz_describe(const KsShaper *shaper, const void *type)
{
	for (int changes = 0; changes < 2; changes++)
	{
		KsShape    *shape = NULL;

		FUZZ_CHECK(FUZZ_TRY(shape = shaper->shape(type, changes)));
		for (int i = 0; i < shape->n; i++)
		{
			const KsShapeColumn *col = &shape->cols[i];

			FUZZ_CHECK(OidIsValid(col->typid) && strlen(col->reason) > 0);
			FUZZ_CHECK(col->comment == NULL || strlen(col->comment) > 0);
			FUZZ_CHECK(col->default_text == NULL || strlen(col->default_text) < 400000);
			FUZZ_CHECK(!col->field.name || shape->ops->find(shape, col->field.name, col->field.len) >= 0);
		}
	}
}
