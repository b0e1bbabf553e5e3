/*
 * envelope_change.c
 *	  The members of Debezium's changes, in one pass.
 *
 * The row after the change is taken apart as it is passed over.  What is told of the
 * source of the change is as long as the row, and nobody asks for it; it has to be
 * valid, which members are whose bytes are those of the last record.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/datum.h"

#include "format/envelope_change.h"
#include "format/json_scan.h"

#define MIN_SEEN		8		/* compared by words */
#define MAX_CHANGES		16		/* behind these it is not kept any more */

void
ks_envelope_bad(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("record value is not in the sink's envelope"),
			 errdetail("%s", detail)));
}

void
ks_envelope_other_key(const KsColumn *col)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("record changes the key of its row"),
			 errdetail("Column \"%s\" of the key is another one before and after the update.", col->name),
			 errhint("Let Debezium write a delete and a create: name the key in message.key.columns.")));
}

KsRowOp
ks_change_op(char op)
{
	switch (op)
	{
		case 'c':
		case 'r':
		case 'u':
			return KS_ROW_WRITE;
		case 'd':
			return KS_ROW_DELETE;
		case 'm':
			return KS_ROW_FILTERED;
		case 't':
			return KS_ROW_TRUNCATE;
		default:
			ks_envelope_bad("Its \"op\" is none of c, u, d, r, t and m.");
	}
}

void
ks_change_check_key(const KsDecoder *d, const KsChangeRow *before, const KsChangeRow *after)
{
	const KsTarget *target = d->target;

	for (int i = 0; i < target->nkeys; i++)
	{
		int			k = target->keycols[i];
		const KsColumn *col = &target->cols[k];

		/* (of those that wait for the attempt the value is not there before) */
		if (!before->found[k] || !after->found[k] || (col->in_attempt && !d->in_attempt))
			continue;
		if (before->isnull[k] != after->isnull[k] ||
			(!before->isnull[k] &&
			 !datumIsEqual(before->values[k], after->values[k], col->type.typbyval, col->type.typlen)))
			ks_envelope_other_key(col);
	}
}

/* Is the member there again, with something behind that ends it? */
static inline bool
is_seen(const KsSeen *seen, const char *p, const char *end)
{
	uint64		v,
				w;

	if (seen->len == 0 || end - p <= seen->len ||
		(p[seen->len] != ',' && p[seen->len] != '}'))
		return false;
	for (int i = 0; i < seen->len; i += 8)
	{
		int			at = Min(i, seen->len - 8);

		memcpy(&v, seen->text + at, 8);
		memcpy(&w, p + at, 8);
		if (v != w)
			return false;
	}
	return true;
}

static inline void
see(KsSeen *seen, const char *p, int len)
{
	if (seen->changes > MAX_CHANGES)
		return;
	seen->changes++;
	seen->len = 0;
	if (len < MIN_SEEN || len > (int) sizeof(seen->text))
		return;
	memcpy(seen->text, p, len);
	seen->len = len;
}

/* An object of which nothing is wanted but that it is valid, p at its brace. */
static const char *
skip_object(KsSeen *members, const KsJson *json, const char *p)
{
	KsJsonToken name,
				value;

	p = ks_json_begin(json, p);
	if (p < json->end && *p == '}')
		return p + 1;
	for (int i = 0;; i++)
	{
		KsSeen	   *seen = i < KS_SEEN_MEMBERS ? &members[i] : NULL;
		const char *start = p;

		CHECK_FOR_INTERRUPTS();
		if (seen && is_seen(seen, p, json->end))
		{
			seen->changes = 0;
			p += seen->len;
		}
		else
		{
			p = ks_json_scan_value(json, ks_json_scan_name(json, p, &name), &value);
			if (seen)
				see(seen, start, p - start);
		}
		p = ks_json_after_value(json, p, '}');
		if (p < json->end && *p == '}')
			return p + 1;
	}
}

static KsChangeMember
which_member(const KsJsonToken *name)
{
	static const char *const names[] = {"op", "before", "after", "schema", "payload", "source"};

	for (int i = 0; i < (int) lengthof(names); i++)
		if (ks_json_name_is(name, names[i], strlen(names[i])))
			return i;
	return KS_CHANGE_OTHER;
}

static inline bool
begins(const char *p, const char *end, const char *text, int len)
{
	return end - p >= len && memcmp(p, text, len) == 0;
}

/* The name at p: to its value.  Most are as the connector writes them. */
static inline const char *
scan_member_name(const KsJson *json, const char *p, KsChangeMember *which)
{
	KsJsonToken name;

	if (begins(p, json->end, "\"after\":", 8))
	{
		*which = KS_CHANGE_AFTER;
		return ks_json_skip_space(p + 8, json->end);
	}
	if (begins(p, json->end, "\"before\":", 9) || begins(p, json->end, "\"source\":", 9))
	{
		*which = p[1] == 'b' ? KS_CHANGE_BEFORE : KS_CHANGE_SOURCE;
		return ks_json_skip_space(p + 9, json->end);
	}
	if (begins(p, json->end, "\"op\":", 5))
	{
		*which = KS_CHANGE_OP;
		return ks_json_skip_space(p + 5, json->end);
	}
	if (begins(p, json->end, "\"ts_ms\":", 8))
	{
		*which = KS_CHANGE_OTHER;
		return ks_json_skip_space(p + 8, json->end);
	}
	p = ks_json_scan_name(json, p, &name);
	*which = which_member(&name);
	return p;
}

const char *
ks_change_scan(KsDecoder *d, KsSeen *source, const KsJson *json, const char *p,
			   KsJsonToken *v, const char **scanned)
{
	KsJsonToken other = {0};

	*scanned = NULL;
	for (int i = 0; i < KS_CHANGE_MEMBERS; i++)
		v[i].p = NULL;
	p = ks_json_begin(json, p);
	if (p < json->end && *p == '}')
		return p + 1;
	for (;;)
	{
		KsChangeMember which;
		KsJsonToken *value;

		CHECK_FOR_INTERRUPTS();
		p = scan_member_name(json, p, &which);
		value = which < KS_CHANGE_MEMBERS ? &v[which] : &other;
		if (which == KS_CHANGE_AFTER && p < json->end && *p == '{' && !d->wants_others)
		{
			*scanned = p;
			p = ks_scan_members(d, json, p);
			*value = (KsJsonToken) {.type = KS_JSON_OBJECT, .p = *scanned, .len = p - *scanned};
		}
		else if (which == KS_CHANGE_SOURCE && p < json->end && *p == '{')
			p = skip_object(source, json, p);
		else
			p = ks_json_scan_value(json, p, value);
		p = ks_json_after_value(json, p, '}');
		if (p < json->end && *p == '}')
			return p + 1;
	}
}
