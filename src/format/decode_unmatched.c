/*
 * decode_unmatched.c
 *	  A record none of whose fields is one that a column takes.
 *
 * It would become a row of NULLs and defaults, which nobody wants: names of
 * another case, or an envelope that the sink does not know of.  An empty object
 * is no such record, nor is one that a column takes as a whole.
 */
#include "postgres.h"

#include <ctype.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "format/decode.h"

/* So many of its fields are named, by so many bytes of each. */
#define MAX_NAMED		10
#define MAX_NAME_BYTES	64

/* Of so many columns only the case is looked at: records can be many. */
#define MAX_COMPARED	100

typedef struct Near
{
	const char *column;			/* NULL: none */
	char	   *field;
	int			distance;
} Near;

/* So many edits apart, whatever the case of letters; more than max: max + 1. */
static int
distance(const char *a, int alen, const char *b, int blen, int max)
{
	char		la[MAX_NAME_BYTES],
				lb[MAX_NAME_BYTES];

	if (Max(alen, blen) > MAX_NAME_BYTES || abs(alen - blen) > max)
		return max + 1;
	for (int i = 0; i < alen; i++)
		la[i] = pg_ascii_tolower((unsigned char) a[i]);
	for (int i = 0; i < blen; i++)
		lb[i] = pg_ascii_tolower((unsigned char) b[i]);
	if (max == 0)
		return memcmp(la, lb, alen) == 0 ? 0 : 1;
	return varstr_levenshtein_less_equal(la, alen, lb, blen, 1, 1, 1, max, true);
}

/* Is it one of the column's, misspelled?  The nearest pair of all is kept. */
static void
compare(const KsDecoder *d, char *field, Near *near)
{
	const KsTarget *target = d->target;
	int			len = strlen(field);

	for (int i = 0; i < target->ncols; i++)
	{
		const KsField *f = &target->fields[target->cols[i].field];
		int			max,
					apart;

		if (target->cols[i].source != KS_FROM_VALUE_FIELD || target->cols[i].npath > 0)
			continue;
		CHECK_FOR_INTERRUPTS();
		/* a third of it may differ */
		max = target->ncols > MAX_COMPARED ? 0 : Min(len, f->len) / 3;
		apart = distance(field, len, f->name, f->len, max);
		if (apart <= max && (near->column == NULL || apart < near->distance))
		{
			near->column = target->cols[i].name;
			near->field = field;
			near->distance = apart;
		}
	}
}

/* What the record's fields are, and which of them may have been meant. */
static char *
list_fields(const KsDecoder *d, Near *near, bool *envelope)
{
	static const char *const marks[] = {"op", "after", "schema", "payload"};
	KsJson		json = {.start = d->unmatched, .end = d->unmatched + d->unmatched_len};
	KsJsonToken name,
				value;
	const char *p = ks_json_begin(&json, strchr(d->unmatched, '{'));
	StringInfoData list;
	bool		marked[lengthof(marks)] = {false};
	int			n = 0;

	initStringInfo(&list);
	for (;; n++)
	{
		p = ks_json_next_member(&json, p, &name, &value);
		if (value.p == NULL)
			break;
		for (int i = 0; i < (int) lengthof(marks); i++)
			marked[i] |= ks_json_name_is(&name, marks[i], strlen(marks[i]));
		if (n < MAX_NAMED)
		{
			char	   *s = pnstrdup(name.p, pg_mbcliplen(name.p, name.len, MAX_NAME_BYTES));

			appendStringInfo(&list, "%s\"%s\"", n > 0 ? ", " : "", s);
			compare(d, s, near);
		}
	}
	if (n > MAX_NAMED)
		appendStringInfo(&list, " and %d more", n - MAX_NAMED);
	*envelope = (marked[0] && marked[1]) || (marked[2] && marked[3]);
	return list.data;
}

void
ks_unmatched_error(const KsDecoder *d)
{
	Near		near = {NULL};
	bool		envelope;
	char	   *fields = list_fields(d, &near, &envelope);

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("record has no field that a column takes"),
			 errdetail("It has %s.", fields),
			 envelope && d->settings.envelope == KS_NO_ENVELOPE ?
			 errhint("It looks like a change of Debezium's or a value with its schema: set the sink's envelope.") :
			 near.column && d->target->command ?
			 errhint("Is \"%s\" meant for field \"%s\" of value_type?", near.field, near.column) :
			 near.column ?
			 errhint("Is \"%s\" meant for column \"%s\"?  Then say so in \"columns\": {\"%s\": \"%s\"}.",
					 near.field, near.column, near.column, near.field) :
			 errhint("Say where values come from, or leave such records out with a filter.")));
}
