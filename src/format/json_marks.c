/*
 * json_marks.c
 *	  Where JSON text has quotes, backslashes and control characters.
 */
#include "postgres.h"

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define KS_AVX2
#endif

#include "format/json_scan.h"

#ifdef KS_JSON_MARKS

/* Of 16 bytes; *other gets the sign where one is no printable ASCII. */
static inline uint64
mark(__m128i v, __m128i *other)
{
	__m128i		control = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1f)), v);
	__m128i		quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
	__m128i		escape = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));

	*other = _mm_or_si128(*other, _mm_or_si128(v, control));
	return (uint64) (uint32) _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, escape)));
}

static inline __m128i
load(const char *s)
{
	return _mm_loadu_si128((const __m128i *) s);
}

/* Of at most 15 bytes. */
static uint64
mark_few(const char *s, int len, __m128i *other)
{
	char		few[16];

	memset(few, ' ', sizeof(few));
	memcpy(few, s, len);
	return mark(load(few), other);
}

/* Of the text's last bytes, less than 64, with the bits behind them. */
static inline uint64
mark_rest(const char *s, int rest, int len, __m128i *other)
{
	uint64		w = ~UINT64CONST(0) << rest;
	int			i = 0;

	for (; rest - i >= 16; i += 16)
		w |= mark(load(s + i), other) << i;
	if (i < rest)
		w |= (len >= 16 ? mark(load(s + rest - 16), other) >> (16 - (rest - i)) :
			  mark_few(s, rest, other)) << i;
	return w;
}

/* All but the rest; returns where that is. */
static const char *
mark_blocks(const char *s, int nblocks, uint64 *marks, __m128i *other)
{
	for (int i = 0; i < nblocks; i++, s += 64)
		marks[i] = mark(load(s), other) | mark(load(s + 16), other) << 16 |
			mark(load(s + 32), other) << 32 | mark(load(s + 48), other) << 48;
	return s;
}

#ifdef KS_AVX2
static inline __attribute__((target("avx2"))) uint64
mark_wide(__m256i v, __m256i *other)
{
	__m256i		control = _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);
	__m256i		quote = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('"'));
	__m256i		escape = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'));

	*other = _mm256_or_si256(*other, _mm256_or_si256(v, control));
	return (uint64) (uint32) _mm256_movemask_epi8(_mm256_or_si256(control, _mm256_or_si256(quote, escape)));
}

/* The same by 32 bytes, where the processor has such instructions. */
static __attribute__((target("avx2"))) const char *
mark_blocks_wide(const char *s, int nblocks, uint64 *marks, __m128i *other)
{
	__m256i		any = _mm256_setzero_si256();

	for (int i = 0; i < nblocks; i++, s += 64)
		marks[i] = mark_wide(_mm256_loadu_si256((const __m256i *) s), &any) |
			mark_wide(_mm256_loadu_si256((const __m256i *) (s + 32)), &any) << 32;
	*other = _mm_or_si128(_mm256_castsi256_si128(any), _mm256_extracti128_si256(any, 1));
	return s;
}
#endif

/* Of few blocks it is not worth the call. */
#define MANY_BLOCKS	4

bool
ks_json_mark(const char *s, int len, uint64 *marks)
{
	__m128i		other = _mm_setzero_si128();
	int			nblocks = len / 64;

#ifdef KS_AVX2
	if (nblocks >= MANY_BLOCKS && __builtin_cpu_supports("avx2"))
		s = mark_blocks_wide(s, nblocks, marks, &other);
	else
#endif
		s = mark_blocks(s, nblocks, marks, &other);
	marks[nblocks] = mark_rest(s, len % 64, len, &other);
	marks[nblocks + 1] = ~UINT64CONST(0);
	return _mm_movemask_epi8(other) == 0;
}

const char *
ks_json_next_mark(const KsJson *json, const char *p)
{
	Size		i = (p - json->start) / 64 + 1;

	/* there is one at the end */
	while (json->marks[i] == 0)
		i++;
	return json->start + i * 64 + __builtin_ctzll(json->marks[i]);
}

#endif
