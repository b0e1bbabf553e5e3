/*
 * scalar_text.c
 *	  Single values of binary formats: as text, and as JSON.
 *
 * In JSON, bytes are what the server writes for a bytea (\x00ff), and what JSON has
 * no number for is a string (NaN).
 */
#include "postgres.h"

#include <float.h>
#include <math.h>

#include "common/shortest_dec.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "format/decode_format.h"
#include "format/scalar.h"

void
ks_scalar_set_hex(KsJsonToken *tok, const char *s, int len)
{
	char	   *out;

	if (len > (int) (MaxAllocSize - 3) / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("bytes are too long for this type")));
	out = palloc(2 * len + 2);
	out[0] = '\\';
	out[1] = 'x';
	ks_scalar_set(tok, KS_JSON_STRING, out, 2 + (int) hex_encode(s, len, out + 2));
}

/* A whole number of which the type has all digits; integer types do not read those with an exponent. */
static bool
has_all_digits(double v, bool single, int64 *n)
{
	int64		limit = INT64CONST(1) << (single ? FLT_MANT_DIG : DBL_MANT_DIG);

	/* (0 may have a sign) */
	return ks_scalar_whole(v, n) && *n != 0 && *n > -limit && *n < limit;
}

void
ks_scalar_set_float(KsJsonToken *tok, double v, bool single, char *buf)
{
	int64		n;

	if (isnan(v))
		ks_scalar_set(tok, KS_JSON_STRING, "NaN", 3);
	else if (isinf(v))
		ks_scalar_set(tok, KS_JSON_STRING, v > 0 ? "Infinity" : "-Infinity", v > 0 ? 8 : 9);
	else if (has_all_digits(v, single, &n))
		ks_scalar_set(tok, KS_JSON_NUMBER, buf, pg_lltoa(n, buf));
	else
		ks_scalar_set(tok, KS_JSON_NUMBER, buf, single ? float_to_shortest_decimal_bufn((float) v, buf) :
					  double_to_shortest_decimal_bufn(v, buf));
}

/*
 * Characters of code 0 are left out, or refused.  What is between them is text by itself:
 * bytes on both sides of one make no character.
 */
static void
strip_nul(KsDecoder *d, const char **s, int *len)
{
	const char *p = *s;
	const char *end = p + *len;
	StringInfoData out;

	if (!d->cv.strip_nul)
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("a string has a character of code 0"),
				 errdetail("It cannot be stored in a column of this type."),
				 errhint("The sink's setting on_nul => 'strip' leaves such characters out.")));
	initStringInfo(&out);
	while (p < end)
	{
		const char *nul = memchr(p, '\0', end - p);
		const char *piece = p;
		int			n = (int) ((nul ? nul : end) - p);

		CHECK_FOR_INTERRUPTS();
		ks_to_server(d, &piece, &n);
		appendBinaryStringInfo(&out, piece, n);
		p = nul ? nul + 1 : end;
	}
	*s = out.data;
	*len = out.len;
}

void
ks_scalar_to_server(KsDecoder *d, const char **s, int *len)
{
	if (likely(ks_is_ascii(*s, *len)))
		return;
	if (memchr(*s, '\0', *len))
		strip_nul(d, s, len);
	else
		ks_to_server(d, s, len);
}

void
ks_scalar_set_json(KsDecoder *d, KsJsonToken *tok, const char *s, int len)
{
	KsJson		json;

	ks_scalar_to_server(d, &s, &len);
	json = (KsJson) {.start = s, .end = s + len};
	ks_json_document(&json, tok);
	if (tok->type == KS_JSON_NULL)
		tok->type = KS_JSON_NUMBER;	/* its text as it is */
}

void
ks_scalar_append_string(StringInfo out, const char *s, int len)
{
	const char *end = s + len;

	appendStringInfoChar(out, '"');
	for (;;)
	{
		const char *q = ks_json_search_special(s, end);

		appendBinaryStringInfo(out, s, q - s);
		if (q == end)
			break;
		if (*q == '"' || *q == '\\')
		{
			appendStringInfoChar(out, '\\');
			appendStringInfoChar(out, *q);
		}
		else
			appendStringInfo(out, "\\u%04x", (unsigned char) *q);
		s = q + 1;
	}
	appendStringInfoChar(out, '"');
}

void
ks_scalar_append(StringInfo out, const KsJsonToken *tok)
{
	if (tok->type == KS_JSON_STRING)
		ks_scalar_append_string(out, tok->p, tok->len);
	else
		appendBinaryStringInfo(out, tok->p, tok->len);
}
