/*
 * json_outline.c
 *	  Objects and arrays by what the one before had around its scalars.
 *
 * An outline is a list of pieces of text, most of them with a scalar behind it.  If
 * each piece stands where it should, with a scalar where one should be, the value is
 * made of the same tokens as the one that the outline was taken from; errors are
 * those of a scan, as what is before them is the same.
 */
#include "postgres.h"

#include "format/json_outline.h"
#include "format/json_scan.h"

typedef struct Piece
{
	char		text[KS_JSON_PIECE];
	uint16		mask;			/* which bytes of it count */
	uint8		len;
	bool		scalar;			/* behind it; else more text, or the end */
} Piece;

struct KsOutline
{
	int			n;
	Piece		pieces[FLEXIBLE_ARRAY_MEMBER];
};

/* Of more than that none is taken. */
#define MAX_PIECES	32

static inline bool
begins_scalar(char c)
{
	return c == '"' || (unsigned char) (c - '0') <= 9 || c == '-' || c == 't' || c == 'f' || c == 'n';
}

/* The position behind the value; false: it has another outline, or is no JSON. */
static bool
match(const struct KsOutline *o, const KsJson *json, const char *p, const char **behind, bool *escaped)
{
	bool		any = false;
	KsJsonToken t;

	for (int i = 0; i < o->n; i++)
	{
		const Piece *piece = &o->pieces[i];

		if (unlikely(!ks_json_stands_at(piece->text, piece->len, piece->mask, p, json->end)))
			return false;
		p += piece->len;
		if (!piece->scalar)
			continue;
		if (unlikely(p >= json->end || !begins_scalar(*p)))
			return false;
		p = ks_json_scan_scalar(json, p, &t);
		any |= t.escaped;
	}
	*escaped = any;
	*behind = p;
	return true;
}

/* Returns how many pieces there are then, or -1: they are too many. */
static int
add_text(Piece *pieces, int n, const char *text, int len, bool scalar)
{
	while (len > 0)
	{
		Piece	   *piece = &pieces[n];

		if (n++ >= MAX_PIECES)
			return -1;
		memset(piece, 0, sizeof(Piece));
		piece->len = Min(len, KS_JSON_PIECE);
		piece->mask = ks_json_piece_mask(piece->len);
		memcpy(piece->text, text, piece->len);
		text += piece->len;
		len -= piece->len;
		piece->scalar = scalar && len == 0;
	}
	return n;
}

/* Of a value that is valid; NULL: it is too long, or a name has an escape. */
static struct KsOutline *
take_outline(const KsJson *json, const char *p, const char *end)
{
	Piece		pieces[MAX_PIECES];
	const char *text = p;		/* begins the next piece */
	int			n = 0;
	struct KsOutline *o;
	KsJsonToken t;

	while (p < end)
	{
		const char *start = p;
		const char *next;

		if (!begins_scalar(*p))
		{
			p++;
			continue;
		}
		p = ks_json_scan_scalar(json, p, &t);
		next = ks_json_skip_space(p, end);
		if (*next == ':')
		{
			if (t.escaped)
				return NULL;
			continue;
		}
		n = add_text(pieces, n, text, start - text, true);
		if (n < 0)
			return NULL;
		text = p;
	}
	n = add_text(pieces, n, text, end - text, false);
	if (n < 0)
		return NULL;
	o = palloc(offsetof(struct KsOutline, pieces) + n * sizeof(Piece));
	o->n = n;
	memcpy(o->pieces, pieces, n * sizeof(Piece));
	return o;
}

/* After one miss, two, four and so on: what never comes again costs little. */
static void
missed(KsOutlined *at, const KsJson *json, const char *p, const char *end, MemoryContext cxt)
{
	MemoryContext old;

	at->misses++;
	if ((at->misses & (at->misses - 1)) != 0)
		return;
	if (at->outline)
		pfree(at->outline);
	at->outline = NULL;
	old = MemoryContextSwitchTo(cxt);
	at->outline = take_outline(json, p, end);
	MemoryContextSwitchTo(old);
}

const char *
ks_json_scan_outlined(const KsJson *json, const char *p, KsOutlined *at, MemoryContext cxt,
					  bool *escaped)
{
	const char *end;

	if (likely(at->outline && match(at->outline, json, p, &end, escaped)))
		return end;
	end = ks_json_scan_nested(json, p, escaped);
	missed(at, json, p, end, cxt);
	return end;
}
