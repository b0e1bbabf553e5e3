/*
 * json_scan.h
 *	  The scanner's inner loops, inlined where every nanosecond counts: by
 *	  json.c itself and by the walk over a record's members in decode.c.
 *
 * Each function takes the position where something should stand and returns
 * the position behind it.  Nothing at or behind json->end is ever read.
 */
#ifndef KS_JSON_SCAN_H
#define KS_JSON_SCAN_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"

#include "base/compat.h"
#include "format/json.h"
#include "format/json_marks.h"

/* 22P02 at a position, or at the end. */
KS_NORETURN extern void ks_json_error(const KsJson *json, const char *p);

/* The same where something else than a word stands. */
KS_NORETURN extern void ks_json_word_error(const KsJson *json, const char *p, const char *word);

/* An object or array with all that is in it; *escaped: if there is a backslash. */
extern const char *ks_json_scan_nested(const KsJson *json, const char *p, bool *escaped);

/* The rest of a string from its first backslash on. */
extern const char *ks_json_scan_escaped(const KsJson *json, const char *p);

#define KS_ONES		UINT64CONST(0x0101010101010101)
#define KS_HIGHS	UINT64CONST(0x8080808080808080)
#define KS_HAS_ZERO(x)	(((x) - KS_ONES) & ~(x) & KS_HIGHS)

static inline bool
ks_json_is_space(char c)
{
	return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static inline const char *
ks_json_skip_space(const char *p, const char *end)
{
	while (p < end && unlikely(ks_json_is_space(*p)))
		p++;
	return p;
}

/* So many bytes are compared at once. */
#define KS_JSON_PIECE	16

/* Which of them count, of a text of this length. */
static inline uint16
ks_json_piece_mask(int len)
{
	return len < KS_JSON_PIECE ? (1 << len) - 1 : PG_UINT16_MAX;
}

#ifdef __SSE2__
/* Do these bytes stand at p?  It has as many. */
static pg_attribute_always_inline bool
ks_json_is_piece(const char *text, uint16 mask, const char *p)
{
	__m128i		is = _mm_loadu_si128((const __m128i *) p);
	__m128i		was = _mm_loadu_si128((const __m128i *) text);

	return (~_mm_movemask_epi8(_mm_cmpeq_epi8(is, was)) & mask) == 0;
}
#endif

/* Does the text stand at p?  What is behind it in its piece is not compared. */
static pg_attribute_always_inline bool
ks_json_stands_at(const char *text, int len, uint16 mask, const char *p, const char *end)
{
#ifdef __SSE2__
	if (likely(end - p >= KS_JSON_PIECE))
		return ks_json_is_piece(text, mask, p);
#endif
	return end - p >= len && memcmp(p, text, len) == 0;
}

/* To the next quote, backslash or control character, or to the end. */
static inline const char *
ks_json_search_special(const char *p, const char *end)
{
#ifdef __SSE2__
	while (end - p >= 16)
	{
		__m128i		v = _mm_loadu_si128((const __m128i *) p);
		__m128i		control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
		__m128i		quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
		__m128i		escape = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
		int			mask = _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, escape)));

		if (mask != 0)
			return p + __builtin_ctz(mask);
		p += 16;
	}
#endif
	while (end - p >= 8)
	{
		uint64		w;

		memcpy(&w, p, 8);
		if (KS_HAS_ZERO(w ^ (KS_ONES * '"')) | KS_HAS_ZERO(w ^ (KS_ONES * '\\')) |
			((w - KS_ONES * 0x20) & ~w & KS_HIGHS))
			break;
		p += 8;
	}
	while (p < end && *p != '"' && *p != '\\' && (unsigned char) *p >= 0x20)
		p++;
	return p;
}

/* The same by marks, if it is farther than 64 bytes. */
extern const char *ks_json_next_mark(const KsJson *json, const char *p);

/* The same of a text that may be marked. */
static pg_attribute_always_inline const char *
ks_json_find_special(const KsJson *json, const char *p)
{
#ifdef KS_JSON_MARKS
	if (likely(json->marks != NULL))
	{
		Size		at = p - json->start;
		const uint64 *marks = json->marks + at / 64;
		uint64		w = marks[0] >> at % 64 | (marks[1] << 1) << (63 - at % 64);

		return likely(w != 0) ? p + __builtin_ctzll(w) : ks_json_next_mark(json, p);
	}
#endif
	return ks_json_search_special(p, json->end);
}

/* From behind the opening quote to behind the closing one. */
static pg_attribute_always_inline const char *
ks_json_scan_string(const KsJson *json, const char *p, KsJsonToken *tok)
{
	const char *start = p;

	p = ks_json_find_special(json, p);
	tok->escaped = unlikely(p >= json->end || *p != '"');
	p = tok->escaped ? ks_json_scan_escaped(json, p) : p + 1;
	tok->type = KS_JSON_STRING;
	tok->p = start;
	tok->len = p - 1 - start;
	return p;
}

/* How many of eight characters are digits, before the first that is none. */
static inline int
ks_json_count_digits(const char *p)
{
	uint64		w;

	memcpy(&w, p, 8);
#ifdef WORDS_BIGENDIAN
	w = pg_bswap64(w);
#endif
	/* high nibbles 3, and still 3 after adding 6 to the low; what is carried is behind one that is none */
	w = ((w & (KS_ONES * 0xf0)) | (((w + KS_ONES * 6) & (KS_ONES * 0xf0)) >> 4)) ^ KS_ONES * 0x33;
	return w == 0 ? 8 : pg_rightmost_one_pos64(w) / 8;
}

#ifdef __SSE2__
/* The same of sixteen. */
static inline int
ks_json_count_more_digits(const char *p)
{
	__m128i		v = _mm_sub_epi8(_mm_loadu_si128((const __m128i *) p), _mm_set1_epi8('0'));
	int			digits = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(9)), v));

	return __builtin_ctz(~digits);
}
#endif

/* Behind a run of digits: there must be one. */
static pg_attribute_always_inline const char *
ks_json_scan_digits(const KsJson *json, const char *p)
{
	const char *start = p;
	int			n;

#ifdef __SSE2__
	for (n = 16; n == 16 && likely(json->end - p >= 16); p += n)
		n = ks_json_count_more_digits(p);
	if (likely(n < 16))
	{
		if (unlikely(p == start))
			ks_json_error(json, p);
		return p;
	}
#endif
	for (n = 8; n == 8 && likely(json->end - p >= 8); p += n)
		n = ks_json_count_digits(p);
	if (unlikely(n == 8))
		while (p < json->end && (unsigned char) (*p - '0') <= 9)
			p++;
	if (unlikely(p == start))
		ks_json_error(json, p);
	return p;
}

static pg_attribute_always_inline const char *
ks_json_scan_number(const KsJson *json, const char *p, KsJsonToken *tok)
{
	const char *start = p;
	const char *end = json->end;

	if (*p == '-')
		p++;
	if (p < end && *p == '0')
		p++;
	else
		p = ks_json_scan_digits(json, p);
	if (p < end && *p == '.')
		p = ks_json_scan_digits(json, p + 1);
	if (p < end && unlikely((*p | 0x20) == 'e'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		p = ks_json_scan_digits(json, p);
	}
	tok->type = KS_JSON_NUMBER;
	tok->escaped = false;
	tok->p = start;
	tok->len = p - start;
	return p;
}

static pg_attribute_always_inline const char *
ks_json_scan_word(const KsJson *json, const char *p, const char *word, int len,
				  KsJsonType type, KsJsonToken *tok)
{
	if (unlikely(json->end - p < len || memcmp(p, word, len) != 0))
		ks_json_word_error(json, p, word);
	tok->type = type;
	tok->escaped = false;
	tok->p = p;
	tok->len = len;
	return p + len;
}

static pg_attribute_always_inline const char *
ks_json_scan_scalar(const KsJson *json, const char *p, KsJsonToken *tok)
{
	char		c = *p;

	if (c == '"')
		return ks_json_scan_string(json, p + 1, tok);
	if ((unsigned char) (c - '0') <= 9 || c == '-')
		return ks_json_scan_number(json, p, tok);
	switch (c)
	{
		case 't':
			return ks_json_scan_word(json, p, "true", 4, KS_JSON_TRUE, tok);
		case 'f':
			return ks_json_scan_word(json, p, "false", 5, KS_JSON_FALSE, tok);
		case 'n':
			return ks_json_scan_word(json, p, "null", 4, KS_JSON_NULL, tok);
		default:
			ks_json_error(json, p);
	}
}

#ifdef KS_JSON_MARKS
/* Behind digits, of which there is at least one: to what is none, NULL if that is too near to the end. */
static pg_attribute_always_inline const char *
ks_json_scan_plain_digits(const char *p, const char *last)
{
	const char *start = p;
	int			n;

	do
	{
		if (unlikely(p > last))
			return NULL;
		n = ks_json_count_more_digits(p);
		p += n;
	}
	while (unlikely(n == 16));

	return likely(p > start) ? p : NULL;
}

/*
 * A scalar of marked text as most are: not too near to the end (last: the last position with
 * KS_JSON_PIECE bytes), strings without escapes, numbers without an exponent.  NULL:
 * another, or none at all.  There is a character at p.
 */
static pg_attribute_always_inline const char *
ks_json_scan_plain(const KsJson *json, const char *p, const char *last, KsJsonToken *tok)
{
	const char *q;
	char		c = *p;

	tok->escaped = false;
	if (c == '"')
	{
		p++;
		q = ks_json_find_special(json, p);
		if (unlikely(q >= json->end || *q != '"'))
			return NULL;
		tok->type = KS_JSON_STRING;
		tok->p = p;
		tok->len = q - p;
		return q + 1;
	}
	if (likely((unsigned char) (c - '0') <= 9 || c == '-'))
	{
		const char *digits = p + (c == '-');

		q = ks_json_scan_plain_digits(digits, last);
		if (unlikely(q == NULL || (*digits == '0' && q > digits + 1)))
			return NULL;
		if (*q == '.')
		{
			q = ks_json_scan_plain_digits(q + 1, last);
			if (unlikely(q == NULL))
				return NULL;
		}
		if (unlikely((*q | 0x20) == 'e'))
			return NULL;
		tok->type = KS_JSON_NUMBER;
		tok->p = p;
		tok->len = q - p;
		return q;
	}
	switch (c)
	{
		case 't':
			return ks_json_scan_word(json, p, "true", 4, KS_JSON_TRUE, tok);
		case 'f':
			return ks_json_scan_word(json, p, "false", 5, KS_JSON_FALSE, tok);
		case 'n':
			return ks_json_scan_word(json, p, "null", 4, KS_JSON_NULL, tok);
		default:
			return NULL;
	}
}
#endif

/* Of an object or array, from its bracket to behind it. */
static inline void
ks_json_set_nested(KsJsonToken *tok, const char *start, const char *behind, bool escaped)
{
	tok->type = *start == '{' ? KS_JSON_OBJECT : KS_JSON_ARRAY;
	tok->escaped = escaped;
	tok->p = start;
	tok->len = behind - start;
}

static pg_attribute_always_inline const char *
ks_json_scan_value(const KsJson *json, const char *p, KsJsonToken *tok)
{
	const char *start = p;
	bool		escaped;

	if (unlikely(p >= json->end))
		ks_json_error(json, p);
	if (*p != '{' && *p != '[')
		return ks_json_scan_scalar(json, p, tok);
	p = ks_json_scan_nested(json, p, &escaped);
	ks_json_set_nested(tok, start, p, escaped);
	return p;
}

/* Behind a value: to the next member or element, or to the closing bracket. */
static inline const char *
ks_json_after_value(const KsJson *json, const char *p, char close)
{
	/* as it is mostly written; a member begins with a quote */
	if (likely(json->end - p >= 2 && memcmp(p, ",\"", 2) == 0))
		return p + 1;
	p = ks_json_skip_space(p, json->end);
	if (p < json->end && *p == ',')
	{
		p = ks_json_skip_space(p + 1, json->end);
		if (unlikely(p < json->end && *p == close))
			ks_json_error(json, p);
		return p;
	}
	if (unlikely(p >= json->end || *p != close))
		ks_json_error(json, p);
	return p;
}

/* A member's name and the colon: to the value. */
static pg_attribute_always_inline const char *
ks_json_scan_name(const KsJson *json, const char *p, KsJsonToken *name)
{
	if (unlikely(p >= json->end || *p != '"'))
		ks_json_error(json, p);
	p = ks_json_skip_space(ks_json_scan_string(json, p + 1, name), json->end);
	if (unlikely(p >= json->end || *p != ':'))
		ks_json_error(json, p);
	return ks_json_skip_space(p + 1, json->end);
}

#endif
