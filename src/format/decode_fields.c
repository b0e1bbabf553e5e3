/*
 * decode_fields.c
 *	  Members of JSON objects, for decode.c and the formats that are made of them.
 *
 * Producers write their members in the same order again and again, so the name at
 * each position is compared with the one that stood there in the last record before
 * anything is searched.
 */
#include "postgres.h"

#include "executor/executor.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/json.h"

#include "base/compat.h"
#include "format/decode_format.h"
#include "format/paths.h"

/* --- fields of the value --- */

static int
search_field(KsDecoder *d, const KsJsonToken *name)
{
	KsJsonToken plain = *name;

	if (unlikely(name->escaped) && !ks_json_plain_name(name, &d->name, &plain))
		return -1;
	return ks_names_find(&d->target->names, plain.p, plain.len);
}

/* Does the guess stand there, with all of its text? */
static pg_attribute_always_inline bool
is_guess(const KsMember *m, const char *p, const char *end)
{
	if (unlikely(m->len == 0 || !ks_json_stands_at(m->text, Min(m->len, KS_JSON_PIECE), m->mask, p, end)))
		return false;
	for (int at = KS_JSON_PIECE; unlikely(at < m->len); at += KS_JSON_PIECE)
	{
		int			i = Min(at, m->len - KS_JSON_PIECE);

		if (end - p < m->len || !ks_json_stands_at(m->text + i, KS_JSON_PIECE, PG_UINT16_MAX, p + i, end))
			return false;
	}
	return true;
}

/* What stands in no text, so that nothing else has to be asked. */
static void
guess_nothing(KsMember *m)
{
	memset(m->text, 0xff, sizeof(m->text));
	m->mask = PG_UINT16_MAX;
	m->len = 0;
}

void
ks_decode_init_members(KsDecoder *d)
{
	for (int i = 0; i < KS_MEMBERS; i++)
		guess_nothing(&d->members[i]);
}

static void
make_guess(KsMember *m, int field, const char *start, int len, const KsJsonToken *name)
{
	guess_nothing(m);
	if (len > KS_MEMBER_TEXT || name->escaped)
		return;
	memcpy(m->text, start, len);
	m->mask = ks_json_piece_mask(len);
	m->len = len;
	m->name_at = name->p - start;
	m->name_len = name->len;
	m->field = field;
}

/* What *field is behind the last member. */
#define NO_MEMBER	(-2)

/*
 * From the brace or the end of the value before, to the value of the next member, or
 * behind the object.
 */
static const char *
scan_to_value(KsDecoder *d, const KsJson *json, const char *p, int pos, KsJsonToken *name, int *field)
{
	KsMember   *m = pos < KS_MEMBERS ? &d->members[pos] : NULL;
	const char *start = p;

	CHECK_FOR_INTERRUPTS();
	if (likely(m && is_guess(m, p, json->end)))
	{
		*name = (KsJsonToken) {.type = KS_JSON_STRING, .p = p + m->name_at, .len = m->name_len};
		*field = m->field;
		return p + m->len;
	}
	p = pos == 0 ? ks_json_begin(json, p) : ks_json_after_value(json, p, '}');
	if (p < json->end && *p == '}')
	{
		*field = NO_MEMBER;
		return p + 1;
	}
	p = ks_json_scan_name(json, p, name);
	*field = search_field(d, name);
	if (m)
		make_guess(m, *field, start, p - start, name);
	return p;
}

/* The value at this position. */
static const char *
scan_field_value(KsDecoder *d, const KsJson *json, const char *p, int pos, KsJsonToken *tok)
{
	const char *start;
	bool		escaped;

	p = start = ks_json_skip_space(p, json->end);
	if (unlikely(p >= json->end))
		ks_json_error(json, p);
	if (*p != '{' && *p != '[')
		return ks_json_scan_scalar(json, p, tok);
	if (likely(pos < KS_MEMBERS))
		p = ks_json_scan_outlined(json, p, &d->outlined[pos], d->cxt, &escaped);
	else
		p = ks_json_scan_nested(json, p, &escaped);
	ks_json_set_nested(tok, start, p, escaped);
	return p;
}

#ifdef KS_JSON_MARKS
/*
 * Members of a marked text as long as they are the ones guessed, from *pos on; returns
 * the position behind the value of the last of them.  Most time that a record takes is
 * spent here, by the number of instructions.
 */
static const char *
scan_guessed(KsDecoder *d, const KsJson *json, const char *p, int *pos, bool *matched)
{
	const KsMember *m = &d->members[*pos];
	const char *last = json->end - KS_JSON_PIECE;
	bool		any = false;

	/* (there is something behind what was compared, then) */
	while (p < last && m < &d->members[KS_MEMBERS] && ks_json_is_piece(m->text, m->mask, p))
	{
		KsJsonToken t;
		const char *next;
		int			field = m->field;

		if (unlikely(m->len > KS_JSON_PIECE) && !is_guess(m, p, last))
			break;
		p += m->len;
		next = ks_json_scan_plain(json, p, last, &t);
		if (unlikely(next == NULL))
		{
			KsJsonToken other;

			next = scan_field_value(d, json, p, m - d->members, &other);
			t = other;
		}
		if (field >= 0)
		{
			d->tokens[field] = t;
			any = true;
		}
		p = next;
		m++;
	}
	*pos = m - d->members;
	*matched |= any;
	return p;
}
#endif

/* A member that no column takes. */
static void
other_member(KsDecoder *d, const KsJsonToken *name, const KsJsonToken *value)
{
	if (!d->target->has_rest)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("record has an unknown field"),
				 errdetail("No column takes the field \"%s\".", pnstrdup(name->p, pg_mbcliplen(name->p, name->len, 64))),
				 errhint("Map it or @rest to a column, or set strict => false.")));
	appendStringInfoChar(&d->rest, d->rest.len == 0 ? '{' : ',');
	ks_json_append_raw(name, d->cv.strip_nul, &d->rest);
	appendStringInfoChar(&d->rest, ':');
	ks_json_append_raw(value, d->cv.strip_nul, &d->rest);
}

/*
 * An object's members into tokens, p at its brace; of a name given twice the last
 * counts.  Returns the position behind it.
 */
const char *
ks_scan_members(KsDecoder *d, const KsJson *json, const char *p)
{
	const char *start = p;
	bool		matched = false;

	for (int i = 0; i < d->target->nfields; i++)
		d->tokens[i].p = NULL;
	resetStringInfo(&d->rest);
	for (int pos = 0;; pos++)
	{
		int			field;
		KsJsonToken name,
					value;

#ifdef KS_JSON_MARKS
		if (likely(json->marks && !d->wants_others))
			p = scan_guessed(d, json, p, &pos, &matched);
#endif
		p = scan_to_value(d, json, p, pos, &name, &field);
		if (field == NO_MEMBER)
		{
			matched |= pos == 0;	/* there is nothing to match */
			break;
		}
		p = scan_field_value(d, json, p, pos, &value);
		if (field >= 0)
		{
			d->tokens[field] = value;
			matched = true;
		}
		else if (d->wants_others)
			other_member(d, &name, &value);
	}
	d->unmatched = matched ? NULL : start;
	d->unmatched_len = p - start;
	if (d->target->has_rest)
		appendStringInfoString(&d->rest, d->rest.len == 0 ? "{}" : "}");
	return p;
}

/* The value's members into tokens. */
void
ks_scan_fields(KsDecoder *d, const char *s, int len)
{
	KsJson		json = ks_json_of(d, s, len);
	KsJsonToken value;
	const char *p = ks_json_skip_space(s, json.end);

	if (p >= json.end || *p != '{')
	{
		ks_json_document(&json, &value);	/* a syntax error comes first */
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("record value is not a JSON object"),
				 errhint("Map \"@value\" to a column of type jsonb to take any JSON.")));
	}
	ks_json_finish(&json, ks_scan_members(d, &json, p));
}

/* Follows a path below a token; false if it leads nowhere. */
bool
ks_follow_path(const KsPathStep *path, int npath, KsJsonToken *tok)
{
	for (int i = 0; i < npath; i++)
	{
		const KsPathStep *step = &path[i];
		KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
		KsJsonToken name,
					value;
		KsJsonToken found = {.p = NULL};
		const char *p;

		if (tok->type != (step->name ? KS_JSON_OBJECT : KS_JSON_ARRAY))
			return false;
		p = ks_json_begin(&json, tok->p);
		for (int n = 0;; n++)
		{
			p = step->name ? ks_json_next_member(&json, p, &name, &value) :
				ks_json_next_element(&json, p, &value);
			if (value.p == NULL)
				break;
			if (step->name ? ks_json_name_is(&name, step->name, step->len) : n == step->index)
				found = value;
		}
		if (found.p == NULL)
			return false;
		*tok = found;
	}
	return true;
}

/* --- paths of columns --- */

static KsPathNode *
add_path(KsPaths **paths, const KsColumn *col)
{
	if (*paths == NULL)
		*paths = ks_paths_create();
	return ks_paths_add(*paths, col->path, col->npath);
}

void
ks_decode_init_paths(KsDecoder *d)
{
	const KsTarget *target = d->target;

	d->paths = palloc0((target->nfields + 1) * sizeof(KsPaths *));
	d->ends = palloc0((target->ncols + 1) * sizeof(KsPathNode *));
	for (int i = 0; i < target->ncols; i++)
	{
		const KsColumn *col = &target->cols[i];

		if (col->source == KS_FROM_KEY_FIELD)
			d->ends[i] = add_path(&d->key_paths, col);
		else if (col->source == KS_FROM_VALUE_FIELD && col->npath > 0)
			d->ends[i] = add_path(&d->paths[col->field], col);
	}
	for (int i = 0; i < target->nfields; i++)
		if (d->paths[i])
			ks_paths_finish(d->paths[i]);
	if (d->key_paths)
		ks_paths_finish(d->key_paths);
}

bool
ks_find_field(KsDecoder *d, const KsColumn *col, KsJsonToken *tok)
{
	if (likely(col->npath == 0))
		return true;
	return ks_paths_find(d->paths[col->field], d->serial, d->ends[ks_column_number(d, col)], &d->name, tok);
}

bool
ks_find_in_key(KsDecoder *d, const KsColumn *col, KsJsonToken *tok)
{
	return ks_paths_find(d->key_paths, d->serial, d->ends[ks_column_number(d, col)], &d->name, tok);
}

/* --- a column whose field is not there --- */

void
ks_decode_later(KsDecoder *d, const KsColumn *col, KsLaterKind kind)
{
	d->later[d->nlater++] = (KsLater) {ks_column_number(d, col), kind};
}

Datum
ks_decode_unavailable(KsDecoder *d, bool *isnull)
{
	if (d->settings.insert_mode == KS_INSERT || d->settings.insert_mode == KS_IGNORE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("record lacks the value of a column"),
				 errdetail("Debezium does not know TOASTed values that an update left unchanged."),
				 errhint("Use insert_mode upsert, or set REPLICA IDENTITY FULL for the source table.")));
	d->missing = d->kept = true;
	d->unavailable = true;
	*isnull = true;
	return (Datum) 0;
}

Datum
ks_decode_whole(KsDecoder *d, KsColumn *col)
{
	Datum		value = PointerGetDatum(cstring_to_text_with_len(d->record->value, d->record->valuelen));

	ks_type_check(&col->type, value, false);
	return value;
}

static void
make_default(KsDecoder *d, KsColumn *col)
{
	MemoryContext old = MemoryContextSwitchTo(d->target->cxt);

	col->defexpr = ExecInitExpr(col->default_expr, NULL);
	col->functions_seen = ks_functions_changed;
	MemoryContextSwitchTo(old);
}

/* A field that the record lacks: the column's default. */
Datum
ks_decode_missing(KsDecoder *d, KsColumn *col, bool *isnull)
{
	static const KsJsonToken null = {.type = KS_JSON_NULL};

	d->missing = true;
	/* it will be no row */
	if (unlikely(d->unreadable != NULL))
	{
		*isnull = true;
		return (Datum) 0;
	}
	if (d->settings.insert_mode == KS_UPDATE ||
		(d->settings.insert_mode == KS_ACCUMULATE && !col->insert_only))
	{
		/* it leaves the column as it is */
		*isnull = true;
		return (Datum) 0;
	}
	if (col->default_expr && col->when != KS_WITH_RECORD)
	{
		ks_decode_later(d, col, KS_LATER_DEFAULT);
		*isnull = true;
		return (Datum) 0;
	}
	if (col->defexpr)
	{
		Datum		v;

		d->evaluating = true;
		if (col->functions_seen != ks_functions_changed)
			make_default(d, col);
		v = ExecEvalExpr(col->defexpr, d->target->econtext, isnull);
		d->evaluating = false;
		/* the plan's constants are the target's, results may be too */
		if (!*isnull)
			v = datumCopy(v, col->type.typbyval, col->type.typlen);
		return v;
	}
	return ks_convert_json(&d->cv, &col->type, &null, isnull);	/* domains check NULL */
}
