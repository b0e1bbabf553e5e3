/*
 * json.c
 *	  Fuzzes the JSON scanner: any bytes as a document.
 *
 * A second, independent and much simpler validator must agree on what is JSON.
 * Of a document, all members and elements are walked, down to the last, and
 * every string is unescaped.  What is marked before says the same, wherever it ends;
 * so does a scan by the outline of an object or array, of whatever is much like it.
 */
#include "stubs.h"

#include "format/json.h"
#include "format/json_outline.h"
#include "format/json_scan.h"

int			LLVMFuzzerTestOneInput(const uint8 *data, size_t size);

/* --- RFC 8259, once more --- */

static const char *
skip(const char *p, const char *end)
{
	while (p < end && strchr(" \t\r\n", *p) && *p)
		p++;
	return p;
}

static const char *
digits(const char *p, const char *end)
{
	const char *start = p;

	while (p < end && *p >= '0' && *p <= '9')
		p++;
	return p > start ? p : NULL;
}

static const char *
string(const char *p, const char *end)
{
	for (p++; p < end; p++)
	{
		if (*p == '"')
			return p + 1;
		if ((unsigned char) *p < 0x20)
			return NULL;
		if (*p != '\\')
			continue;
		if (++p == end || *p == '\0')
			return NULL;
		if (*p == 'u')
		{
			for (int i = 0; i < 4; i++)
				if (++p == end || *p == '\0' || !strchr("0123456789abcdefABCDEF", *p))
					return NULL;
		}
		else if (!strchr("\"\\/bfnrt", *p))
			return NULL;
	}
	return NULL;
}

static const char *
number(const char *p, const char *end)
{
	if (*p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else if ((p = digits(p, end)) == NULL)
		return NULL;
	if (p < end && *p == '.' && (p = digits(p + 1, end)) == NULL)
		return NULL;
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = digits(p, end);
	}
	return p;
}

/* Behind the value, NULL if there is none; *deepest: levels of nesting. */
static const char *
value(const char *p, const char *end, int depth, int *deepest)
{
	static const char *const words[] = {"true", "false", "null"};

	if (p >= end)
		return NULL;
	if (*p == '{' || *p == '[')
	{
		char		close = *p == '{' ? '}' : ']';

		*deepest = Max(*deepest, depth + 1);
		if (depth > KS_JSON_MAX_DEPTH)
			return NULL;		/* refused by then, whatever follows */
		p = skip(p + 1, end);
		if (p < end && *p == close)
			return p + 1;
		for (;;)
		{
			if (close == '}')
			{
				if (p >= end || *p != '"' || (p = string(p, end)) == NULL)
					return NULL;
				p = skip(p, end);
				if (p >= end || *p != ':')
					return NULL;
				p = skip(p + 1, end);
			}
			if ((p = value(p, end, depth + 1, deepest)) == NULL)
				return NULL;
			p = skip(p, end);
			if (p >= end)
				return NULL;
			if (*p == close)
				return p + 1;
			if (*p != ',')
				return NULL;
			p = skip(p + 1, end);
		}
	}
	if (*p == '"')
		return string(p, end);
	if (*p == '-' || (*p >= '0' && *p <= '9'))
		return number(p, end);
	for (int i = 0; i < 3; i++)
	{
		size_t		len = strlen(words[i]);

		if ((size_t) (end - p) >= len && memcmp(p, words[i], len) == 0)
			return p + len;
	}
	return NULL;
}

/* --- the scanner --- */

static void
visit_string(const KsJsonToken *tok)
{
	StringInfoData buf;

	for (int strip = 0; strip < 2; strip++)
	{
		StringInfoData raw;
		KsJsonToken again;
		KsJson		json;
		bool		ok;

		initStringInfo(&buf);
		initStringInfo(&raw);
		ok = FUZZ_TRY(ks_json_unescape(tok, strip, &buf));
		/* the same strings can be taken as raw JSON, and it is the same string */
		FUZZ_CHECK(FUZZ_TRY(ks_json_append_raw(tok, strip, &raw)) == ok);
		if (!ok)
			continue;
		json = (KsJson) {.start = raw.data, .end = raw.data + raw.len};
		FUZZ_CHECK(FUZZ_TRY(ks_json_document(&json, &again)));
		FUZZ_CHECK(again.type == KS_JSON_STRING);
		FUZZ_CHECK(ks_json_name_is(&again, buf.data, buf.len));
	}
}

/* Everything below a value that is known to be valid. */
static void
visit(const KsJsonToken *tok)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	KsJsonToken name,
				item;
	const char *p;

	if (tok->type == KS_JSON_STRING)
		visit_string(tok);
	if (tok->type != KS_JSON_OBJECT && tok->type != KS_JSON_ARRAY)
		return;
	p = ks_json_begin(&json, tok->p);
	for (;;)
	{
		bool		ok = FUZZ_TRY(p = tok->type == KS_JSON_OBJECT ?
								  ks_json_next_member(&json, p, &name, &item) :
								  ks_json_next_element(&json, p, &item));

		FUZZ_CHECK(ok);
		if (item.p == NULL)
			break;
		FUZZ_CHECK(item.p >= tok->p && item.p + item.len <= json.end);
		if (tok->type == KS_JSON_OBJECT)
			visit_string(&name);
		visit(&item);
	}
	FUZZ_CHECK(FUZZ_TRY(ks_json_finish(&json, p)));
}

#ifdef KS_JSON_MARKS
static bool
is_printable(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < ' ')
			return false;
	return true;
}

/* What ends at 'size', with marks and without. */
static void
compare_marked(const char *s, size_t size)
{
	char	   *copy = fuzz_copy(s, size);
	uint64	   *marks = malloc((size / 64 + 2) * sizeof(uint64));
	KsJson		json = {.start = copy, .end = copy + size};
	KsJsonToken plain,
				marked;
	bool		ok = FUZZ_TRY(ks_json_document(&json, &plain));
	int			sqlstate = fuzz_sqlstate;

	FUZZ_CHECK(ks_json_mark(copy, size, marks) == is_printable(copy, size));
	json.marks = marks;
	FUZZ_CHECK(FUZZ_TRY(ks_json_document(&json, &marked)) == ok);
	if (ok)
		FUZZ_CHECK(plain.type == marked.type && plain.escaped == marked.escaped &&
				   plain.p == marked.p && plain.len == marked.len);
	else
		FUZZ_CHECK(fuzz_sqlstate == sqlstate);
	free(marks);
	free(copy);
}
#endif

/* What begins with a bracket, by the outline of another value, and without. */
static void
compare_outlined(const KsOutlined *of, const char *s, size_t size)
{
	char	   *copy = fuzz_copy(s, size);
	KsJson		json = {.start = copy, .end = copy + size};
	KsOutlined	at = {.outline = of->outline, .misses = 2};	/* none is taken after the third */
	const char *plain = NULL,
			   *outlined = NULL;
	bool		escaped[2];
	char		detail[sizeof(fuzz_detail)];
	bool		ok = FUZZ_TRY(plain = ks_json_scan_nested(&json, copy, &escaped[0]));
	int			sqlstate = fuzz_sqlstate;

	strcpy(detail, fuzz_detail);
	FUZZ_CHECK(FUZZ_TRY(outlined = ks_json_scan_outlined(&json, copy, &at, fuzz_record_context, &escaped[1])) == ok);
	if (ok)
		FUZZ_CHECK(plain == outlined && escaped[0] == escaped[1]);
	else
		FUZZ_CHECK(fuzz_sqlstate == sqlstate && strcmp(fuzz_detail, detail) == 0);
	free(copy);
}

#define MOST_VARIED	100

/* An object or array; what is like it: cut, with a byte more, less, or another one. */
static void
vary_outlined(const char *s, size_t size)
{
	static const char bytes[] = "\"\\{}[]:, 07-.eatn\n";
	KsJson		json = {.start = s, .end = s + size};
	KsOutlined	at = {0};
	char		varied[MOST_VARIED + 1];
	bool		escaped;

	if (size == 0 || size > MOST_VARIED || (*s != '{' && *s != '[') ||
		!FUZZ_TRY(ks_json_scan_outlined(&json, s, &at, fuzz_record_context, &escaped)))
		return;
	compare_outlined(&at, s, size);
	for (size_t i = 1; i < size; i++)
	{
		compare_outlined(&at, s, i);
		memcpy(varied, s, i);
		memcpy(varied + i, s + i + 1, size - i - 1);
		compare_outlined(&at, varied, size - 1);
		for (size_t b = 0; b < sizeof(bytes) - 1; b++)
		{
			varied[i] = bytes[b];
			memcpy(varied + i + 1, s + i + 1, size - i - 1);
			compare_outlined(&at, varied, size);
			memcpy(varied + i + 1, s + i, size - i);
			compare_outlined(&at, varied, size + 1);
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8 *data, size_t size)
{
	char	   *copy = fuzz_copy(data, size);
	KsJson		json = {.start = copy, .end = copy + size};
	KsJsonToken tok;
	int			deepest = 0;
	const char *behind;
	bool		expected;

	behind = value(skip(copy, json.end), json.end, 0, &deepest);
	expected = behind && skip(behind, json.end) == json.end;
	if (FUZZ_TRY(ks_json_document(&json, &tok)))
	{
		FUZZ_CHECK(expected && deepest <= KS_JSON_MAX_DEPTH);
		/* quadratic in the depth */
		if (size < 4096)
			visit(&tok);
	}
	else if (fuzz_sqlstate == ERRCODE_STATEMENT_TOO_COMPLEX)
		FUZZ_CHECK(deepest > KS_JSON_MAX_DEPTH);
	else
		FUZZ_CHECK(!expected && fuzz_sqlstate == ERRCODE_INVALID_TEXT_REPRESENTATION);
#ifdef KS_JSON_MARKS
	if (size <= KS_MARKED_BYTES)
		compare_marked(copy, size);
	for (size_t end = 0; end < size && size <= 512; end++)
		compare_marked(copy, end);
#endif
	vary_outlined(copy, size);
	fuzz_reset();
	free(copy);
	return 0;
}
