/*
 * envelope.c
 *	  Values in an envelope: Connect's JsonConverter with schemas, Debezium.
 *
 * With schemas on, values and keys are {"schema": ..., "payload": ...}.  A
 * schema is scanned and parsed once and kept by its bytes, which the next record
 * repeats at the same place.  So does most of what Debezium tells of the source.
 *
 * Debezium's change: {"op": "c", "before": ..., "after": ..., ...}.  c, u and r
 * write "after", d deletes by "before" and the key, m and the tombstone behind a
 * delete are left out, t is an error.  A TOASTed value that an update left
 * unchanged is not in the change: the column keeps the value of its row.  A
 * change of the key is a delete and a create, if the connector knows the key.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "format/decode_format.h"
#include "format/envelope_change.h"
#include "format/envelope_schema.h"
#include "format/json_scan.h"

/* In place of a TOASTed value, as JSON has it: bytea, and hstore in a string. */
#define UNAVAILABLE_BASE64	"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
#define UNAVAILABLE_HSTORE	"{\\\"" KS_UNAVAILABLE "\\\":\\\"" KS_UNAVAILABLE "\\\"}"

#define KEPT_SCHEMAS	16
#define KEPT_BYTES		(512 * 1024)	/* a larger one is parsed each time */

typedef struct Kept
{
	MemoryContext cxt;
	char	   *bytes;
	int			len;
	KsSchema   *schema;
} Kept;

struct KsEnvelopeState
{
	MemoryContext cxt;
	Kept		kept[KEPT_SCHEMAS];
	int			next;			/* to be replaced */
	int			last;			/* of the last value that had one; never the next */
	const KsSchema *row;		/* of the record at hand, or NULL */
	KsSeen		source[KS_SEEN_MEMBERS];	/* of a change's source, by position */
	int		   *guesses;		/* by field: where in the row's schema it was last */
	const KsSchema *guessed;	/* that schema; NULL: start anew */
};

typedef struct KsEnvelopeState KsEnvelopeState;

struct KsEnvelopeState *
ks_envelope_create(int nfields, MemoryContext cxt)
{
	KsEnvelopeState *e = MemoryContextAllocZero(cxt, sizeof(KsEnvelopeState));

	e->cxt = cxt;
	e->guesses = MemoryContextAllocZero(cxt, (nfields + 1) * sizeof(int));
	return e;
}

static const KsSchema *
find_schema(KsEnvelopeState *e, const KsJsonToken *tok)
{
	Kept	   *k;
	MemoryContext cxt,
				old;

	if (tok->p == NULL || tok->type != KS_JSON_OBJECT)
		return NULL;
	for (int i = 0; i < KEPT_SCHEMAS; i++)
	{
		k = &e->kept[i];
		if (k->schema && k->len == tok->len && memcmp(k->bytes, tok->p, k->len) == 0)
		{
			e->last = i;
			/* the key's schema must not take the place of the row's */
			if (i == e->next)
				e->next = (e->next + 1) % KEPT_SCHEMAS;
			return k->schema;
		}
	}
	e->guessed = NULL;
	if (tok->len > KEPT_BYTES)
		return ks_schema_parse(tok);
	k = &e->kept[e->next];
	cxt = AllocSetContextCreate(e->cxt, "kafka_sink schema", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	k->schema = NULL;
	if (k->cxt)
		MemoryContextDelete(k->cxt);
	k->cxt = cxt;
	k->bytes = pnstrdup(tok->p, tok->len);
	k->len = tok->len;
	k->schema = ks_schema_parse(tok);
	MemoryContextSwitchTo(old);
	e->last = e->next;
	e->next = (e->next + 1) % KEPT_SCHEMAS;
	return k->schema;
}

/*
 * Members of an object by name, p at its brace; the last of a name counts.
 * Returns the position behind it.
 */
static const char *
members(const KsJson *json, const char *p, const char *const *names, int n, KsJsonToken *values)
{
	KsJsonToken name,
				value;

	p = ks_json_begin(json, p);
	for (int i = 0; i < n; i++)
		values[i].p = NULL;
	for (;;)
	{
		p = ks_json_next_member(json, p, &name, &value);
		if (value.p == NULL)
			return p;
		for (int i = 0; i < n; i++)
			if (ks_json_name_is(&name, names[i], strlen(names[i])))
				values[i] = value;
	}
}

static void
members_of(const KsJsonToken *object, const char *const *names, int n, KsJsonToken *values)
{
	KsJson		json = {.start = object->p, .end = object->p + object->len};

	(void) members(&json, object->p, names, n, values);
}

/* Takes schema and payload apart if they are there; the schema or NULL. */
static const KsSchema *
unwrap(KsEnvelopeState *e, KsJsonToken *tok)
{
	static const char *const names[] = {"schema", "payload"};
	KsJsonToken v[2];

	if (tok->type == KS_JSON_OBJECT)
	{
		members_of(tok, names, 2, v);
		if (v[0].p && v[1].p)
		{
			*tok = v[1];
			return find_schema(e, &v[0]);
		}
	}
	return NULL;
}

#define BEFORE_SCHEMA	"{\"schema\":"
#define BEFORE_PAYLOAD	",\"payload\":"

/*
 * As JsonConverter writes it, with the schema of the last record: gives it and
 * the position of the payload, or NULL.  Equal bytes are as valid as they were.
 */
static const KsSchema *
known_schema(const KsEnvelopeState *e, const char *s, int len, const char **payload)
{
	const Kept *k = &e->kept[e->last];
	int			before = strlen(BEFORE_SCHEMA);
	int			until = before + k->len + (int) strlen(BEFORE_PAYLOAD);

	if (k->schema == NULL || len <= until || memcmp(s, BEFORE_SCHEMA, before) != 0 ||
		memcmp(s + before, k->bytes, k->len) != 0 ||
		memcmp(s + before + k->len, BEFORE_PAYLOAD, strlen(BEFORE_PAYLOAD)) != 0)
		return NULL;
	*payload = s + until;
	return k->schema;
}

/* Behind the payload there is nothing else. */
static bool
ends(const KsJson *json, const char *p)
{
	p = ks_json_skip_space(p, json->end);
	if (p >= json->end || *p != '}')
		return false;
	ks_json_finish(json, p + 1);
	return true;
}

const struct KsSchema *
ks_envelope_key(KsDecoder *d, KsJsonToken *key)
{
	KsEnvelopeState *e = d->envelope;
	int			last = e->last;
	const KsSchema *schema = unwrap(e, key);

	/* values go on with theirs, which the next key must not take the place of */
	e->last = last;
	if (e->next == e->last)
		e->next = (e->next + 1) % KEPT_SCHEMAS;
	return schema;
}

static KsRowOp
open_row(KsDecoder *d, const KsJsonToken *row)
{
	if (row->p == NULL || row->type != KS_JSON_OBJECT)
		ks_envelope_bad("There is no row in it.");
	ks_scan_fields(d, row->p, row->len);
	return KS_ROW_WRITE;
}

static KsRowOp
open_connect(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	static const char *const names[] = {"schema", "payload"};
	KsJson		json = ks_json_of(d, s, len);
	KsJsonToken tok,
				v[2];
	const char *p;

	d->envelope->row = known_schema(d->envelope, s, len, &p);
	if (d->envelope->row == NULL || !ends(&json, ks_json_scan_value(&json, p, &v[1])))
	{
		ks_json_document(&json, &tok);
		if (tok.type != KS_JSON_OBJECT)
			ks_envelope_bad("It is not an object.");
		members_of(&tok, names, 2, v);
		if (v[0].p == NULL || v[1].p == NULL)
			ks_envelope_bad("It has no \"schema\" or no \"payload\".");
		d->envelope->row = find_schema(d->envelope, &v[0]);
	}
	if (v[1].type == KS_JSON_NULL)
	{
		for (int i = 0; i < d->target->nfields; i++)
			d->tokens[i].p = NULL;
		return KS_ROW_DELETE;
	}
	return open_row(d, &v[1]);
}

/*
 * The connector writes a change of the key as a delete and a create, if it knows
 * the key.  Else (no primary key, REPLICA IDENTITY FULL, no message.key.columns)
 * it is an update, and would leave the row of the old key behind.
 */
static void
check_same_key(const KsDecoder *d, const KsJsonToken *before)
{
	if (before->p == NULL || before->type != KS_JSON_OBJECT ||
		d->settings.insert_mode == KS_INSERT || d->settings.insert_mode == KS_IGNORE)
		return;
	for (int i = 0; i < d->target->nkeys; i++)
	{
		const KsColumn *col = &d->target->cols[d->target->keycols[i]];
		KsJsonToken was = *before;
		KsJsonToken is;
		KsPathStep	step = {0};

		if (col->source != KS_FROM_VALUE_FIELD)
			continue;
		is = d->tokens[col->field];
		step.name = d->target->fields[col->field].name;
		step.len = d->target->fields[col->field].len;
		if (is.p == NULL || !ks_follow_path(col->path, col->npath, &is) ||
			!ks_follow_path(&step, 1, &was) || !ks_follow_path(col->path, col->npath, &was))
			continue;
		if (was.type != is.type || was.len != is.len || memcmp(was.p, is.p, is.len) != 0)
			ks_envelope_other_key(col);
	}
}

/* What it has is found in one pass (envelope_change.c). */
static KsRowOp
open_debezium(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	KsJson		json = ks_json_of(d, s, len);
	KsJsonToken tok,
				v[KS_CHANGE_MEMBERS];
	const char *p;
	const char *scanned;
	KsRowOp		op;
	const KsSchema *schema = known_schema(d->envelope, s, len, &p);

	if (schema == NULL || *p != '{' || !ends(&json, ks_change_scan(d, d->envelope->source, &json, p, v, &scanned)))
	{
		schema = NULL;
		p = ks_json_skip_space(s, json.end);
		if (p >= json.end || *p != '{')
		{
			ks_json_document(&json, &tok);
			if (tok.type == KS_JSON_NULL)
				return KS_ROW_FILTERED;
			ks_envelope_bad("It is not an object.");
		}
		/* without schemas that is all */
		ks_json_finish(&json, ks_change_scan(d, d->envelope->source, &json, p, v, &scanned));
		if (v[KS_CHANGE_SCHEMA].p && v[KS_CHANGE_PAYLOAD].p)
		{
			tok = v[KS_CHANGE_PAYLOAD];
			schema = find_schema(d->envelope, &v[KS_CHANGE_SCHEMA]);
			if (tok.type == KS_JSON_NULL)
				return KS_ROW_FILTERED;
			if (tok.type != KS_JSON_OBJECT)
				ks_envelope_bad("It is not an object.");
			json = (KsJson) {.start = tok.p, .end = tok.p + tok.len};
			(void) ks_change_scan(d, d->envelope->source, &json, tok.p, v, &scanned);
		}
	}
	if (v[KS_CHANGE_OP].p == NULL || v[KS_CHANGE_OP].type != KS_JSON_STRING || v[KS_CHANGE_OP].len != 1)
		ks_envelope_bad("It has no \"op\" of one letter.");
	op = ks_change_op(*v[KS_CHANGE_OP].p);
	switch (op)
	{
		case KS_ROW_WRITE:
			d->envelope->row = ks_schema_field(schema, "after", 5, NULL);
			if (scanned == NULL || v[KS_CHANGE_AFTER].p != scanned)
				(void) open_row(d, &v[KS_CHANGE_AFTER]);
			if (*v[KS_CHANGE_OP].p == 'u')
				check_same_key(d, &v[KS_CHANGE_BEFORE]);
			break;
		case KS_ROW_DELETE:
			d->envelope->row = ks_schema_field(schema, "before", 6, NULL);
			d->unmatched = NULL;
			if (v[KS_CHANGE_BEFORE].p && v[KS_CHANGE_BEFORE].type == KS_JSON_OBJECT)
				ks_scan_fields(d, v[KS_CHANGE_BEFORE].p, v[KS_CHANGE_BEFORE].len);
			else
				for (int i = 0; i < d->target->nfields; i++)
					d->tokens[i].p = NULL;
			break;
		default:
			break;
	}
	return op;
}

#define IS(tok, text) \
	((tok)->len == sizeof(text) - 1 && memcmp((tok)->p, text, sizeof(text) - 1) == 0)

static inline bool
is_unavailable_text(const KsJsonToken *tok)
{
	return IS(tok, KS_UNAVAILABLE) || IS(tok, UNAVAILABLE_BASE64) || IS(tok, KS_UNAVAILABLE_UUID) ||
		IS(tok, UNAVAILABLE_HSTORE);
}

static bool
is_unavailable_list(const KsJsonToken *tok)
{
	KsJson		json = {.start = tok->p, .end = tok->p + tok->len};
	const char *p = ks_json_begin(&json, tok->p);
	KsJsonToken v;
	int			n = 0;

	p = ks_json_next_element(&json, p, &v);
	if (v.p == NULL)
		return false;
	if (v.type == KS_JSON_STRING)
		return *p == ']' && is_unavailable_text(&v);
	for (; v.p; p = ks_json_next_element(&json, p, &v))
		if (v.type != KS_JSON_NUMBER || n >= (int) strlen(KS_UNAVAILABLE) ||
			atoi(pnstrdup(v.p, v.len)) != KS_UNAVAILABLE[n++])
			return false;
	return n == (int) strlen(KS_UNAVAILABLE);
}

/* What stands for a TOASTed value, or a list of one; or its bytes as a list. */
static inline bool
is_unavailable(const KsJsonToken *tok)
{
	switch (tok->type)
	{
		case KS_JSON_STRING:
			return is_unavailable_text(tok);
		case KS_JSON_OBJECT:
			return IS(tok, KS_UNAVAILABLE_JSON);
		case KS_JSON_ARRAY:
			return is_unavailable_list(tok);
		default:
			return false;
	}
}

static const KsSchema *
follow_schema(const KsSchema *schema, const KsPathStep *path, int npath)
{
	for (int i = 0; i < npath && schema; i++)
		schema = path[i].name ? ks_schema_field(schema, path[i].name, path[i].len, NULL) : schema->items;
	return schema;
}

static const KsSchema *
schema_of(KsDecoder *d, const KsColumn *col)
{
	KsEnvelopeState *e = d->envelope;
	const KsSchema *schema = e->row;

	if (schema == NULL)
		return NULL;
	/* in another schema, a field of that name may stand there twice */
	if (schema != e->guessed)
	{
		memset(e->guesses, 0, d->target->nfields * sizeof(int));
		e->guessed = schema;
	}
	schema = ks_schema_field(schema, d->target->fields[col->field].name,
							 d->target->fields[col->field].len, &e->guesses[col->field]);
	return follow_schema(schema, col->path, col->npath);
}

static Datum
envelope_field(KsDecoder *d, KsColumn *col, bool *isnull)
{
	const KsJsonToken *tok = &d->tokens[col->field];
	KsJsonToken below;

	*isnull = false;
	if (tok->p == NULL)
		return ks_decode_missing(d, col, isnull);
	if (unlikely(col->npath > 0))
	{
		below = *tok;
		if (!ks_find_field(d, col, &below))
			return ks_decode_missing(d, col, isnull);
		tok = &below;
	}
	if (d->settings.envelope == KS_DEBEZIUM && unlikely(is_unavailable(tok)))
		return ks_decode_unavailable(d, isnull);
	return ks_schema_convert(d, col, schema_of(d, col), tok, isnull);
}

bool
ks_envelope_key_column(KsDecoder *d, KsColumn *col, const struct KsSchema *schema,
					   const KsJsonToken *key, Datum *value, bool *isnull)
{
	const KsField *field = &d->target->fields[col->field];
	KsPathStep	steps[] = {{field->name, field->len, 0}, {col->name, strlen(col->name), 0}};
	KsJsonToken tok;

	/* the row as it was, if the change has it */
	tok = d->tokens[col->field];
	if (tok.p && ks_find_field(d, col, &tok) && tok.type != KS_JSON_NULL)
	{
		*value = ks_schema_convert(d, col, schema_of(d, col), &tok, isnull);
		return true;
	}
	for (int i = 0; i < 2 && key->type == KS_JSON_OBJECT; i++)
	{
		tok = *key;
		if (!ks_follow_path(&steps[i], 1, &tok) ||
			(i == 0 && !ks_follow_path(col->path, col->npath, &tok)))
			continue;
		schema = ks_schema_field(schema, steps[i].name, steps[i].len, NULL);
		*value = ks_schema_convert(d, col, i == 0 ? follow_schema(schema, col->path, col->npath) : schema,
								   &tok, isnull);
		return true;
	}
	if (key->type == KS_JSON_OBJECT || key->type == KS_JSON_NULL || d->target->nkeys != 1)
		return false;
	*value = ks_schema_convert(d, col, schema, key, isnull);
	return true;
}

Datum
ks_envelope_key_path(KsDecoder *d, KsColumn *col, const KsJsonToken *value, bool *isnull)
{
	return ks_schema_convert(d, col, follow_schema(d->key_schema, col->path, col->npath), value, isnull);
}

const KsFormatOps ks_connect_ops = {.open = open_connect, .field = envelope_field};
const KsFormatOps ks_debezium_ops = {.open = open_debezium, .field = envelope_field};
