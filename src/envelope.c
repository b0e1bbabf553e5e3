/*
 * envelope.c
 *	  Values in an envelope: Connect's JsonConverter with schemas, Debezium.
 *
 * With schemas on, values and keys are {"schema": ..., "payload": ...}.  A
 * schema is parsed once and kept by its bytes, which the next record repeats.
 *
 * Debezium's change: {"op": "c", "before": ..., "after": ..., ...}.  c, u and r
 * write "after", d deletes by "before" and the key, m and the tombstone behind a
 * delete are left out, t is an error.  A TOASTed value that an update left
 * unchanged is not in the change: the column keeps the value of its row.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "decode_format.h"
#include "envelope_schema.h"
#include "json_scan.h"

#define UNAVAILABLE			"__debezium_unavailable_value"
#define UNAVAILABLE_BASE64	"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="

#define KEPT_SCHEMAS	16

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
	const KsSchema *row;		/* of the record at hand, or NULL */
};

typedef struct KsEnvelopeState KsEnvelopeState;

struct KsEnvelopeState *
ks_envelope_create(MemoryContext cxt)
{
	KsEnvelopeState *e = MemoryContextAllocZero(cxt, sizeof(KsEnvelopeState));

	e->cxt = cxt;
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
			return k->schema;
	}
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
	e->next = (e->next + 1) % KEPT_SCHEMAS;
	return k->schema;
}

/* Members of an object by name; the last of a name counts. */
static void
members(const KsJsonToken *object, const char *const *names, int n, KsJsonToken *values)
{
	KsJson		json = {object->p, object->p + object->len};
	const char *p = ks_json_begin(&json, object->p);
	KsJsonToken name,
				value;

	for (int i = 0; i < n; i++)
		values[i].p = NULL;
	for (;;)
	{
		p = ks_json_next_member(&json, p, &name, &value);
		if (value.p == NULL)
			return;
		for (int i = 0; i < n; i++)
			if (ks_json_name_is(&name, names[i], strlen(names[i])))
				values[i] = value;
	}
}

/* Takes schema and payload apart if they are there; the schema or NULL. */
static const KsSchema *
unwrap(KsDecoder *d, KsJsonToken *tok)
{
	static const char *const names[] = {"schema", "payload"};
	KsJsonToken v[2];

	if (tok->type == KS_JSON_OBJECT)
	{
		members(tok, names, 2, v);
		if (v[0].p && v[1].p)
		{
			*tok = v[1];
			return find_schema(d->envelope, &v[0]);
		}
	}
	return NULL;
}

static void
document(const char *s, int len, KsJsonToken *tok)
{
	KsJson		json = {s, s + len};

	ks_json_document(&json, tok);
}

const struct KsSchema *
ks_envelope_key(KsDecoder *d, KsJsonToken *key)
{
	return unwrap(d, key);
}

KS_NORETURN static void bad_envelope(const char *detail);

static void
bad_envelope(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("record value is not in the sink's envelope"),
			 errdetail("%s", detail)));
}

static KsRowOp
open_row(KsDecoder *d, const KsJsonToken *row)
{
	if (row->p == NULL || row->type != KS_JSON_OBJECT)
		bad_envelope("There is no row in it.");
	ks_scan_fields(d, row->p, row->len);
	return KS_ROW_WRITE;
}

static KsRowOp
open_connect(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	static const char *const names[] = {"schema", "payload"};
	KsJsonToken tok,
				v[2];

	document(s, len, &tok);
	if (tok.type != KS_JSON_OBJECT)
		bad_envelope("It is not an object.");
	members(&tok, names, 2, v);
	if (v[0].p == NULL || v[1].p == NULL)
		bad_envelope("It has no \"schema\" or no \"payload\".");
	d->envelope->row = find_schema(d->envelope, &v[0]);
	if (v[1].type == KS_JSON_NULL)
	{
		for (int i = 0; i < d->target->nfields; i++)
			d->tokens[i].p = NULL;
		return KS_ROW_DELETE;
	}
	return open_row(d, &v[1]);
}

static KsRowOp
open_debezium(KsDecoder *d, const KsRecord *rec, const char *s, int len)
{
	static const char *const names[] = {"op", "before", "after"};
	KsJsonToken tok,
				v[3];
	const KsSchema *schema;

	document(s, len, &tok);
	schema = unwrap(d, &tok);
	if (tok.type == KS_JSON_NULL)
		return KS_ROW_FILTERED;
	if (tok.type != KS_JSON_OBJECT)
		bad_envelope("It is not an object.");
	members(&tok, names, 3, v);
	if (v[0].p == NULL || v[0].type != KS_JSON_STRING || v[0].len != 1)
		bad_envelope("It has no \"op\" of one letter.");
	switch (*v[0].p)
	{
		case 'c':
		case 'u':
		case 'r':
			d->envelope->row = ks_schema_field(schema, "after", 5);
			return open_row(d, &v[2]);
		case 'd':
			d->envelope->row = ks_schema_field(schema, "before", 6);
			if (v[1].p && v[1].type == KS_JSON_OBJECT)
				ks_scan_fields(d, v[1].p, v[1].len);
			else
				for (int i = 0; i < d->target->nfields; i++)
					d->tokens[i].p = NULL;
			return KS_ROW_DELETE;
		case 'm':
			return KS_ROW_FILTERED;
		case 't':
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("record says that the source table was truncated"),
					 errhint("Truncate the target and skip the record, or let Debezium leave truncations out: skipped.operations=t.")));
		default:
			bad_envelope("Its \"op\" is none of c, u, d, r, t and m.");
	}
}

/* What stands for a TOASTed value: a string, its bytes, a list of either. */
static bool
is_unavailable(const KsJsonToken *tok)
{
	KsJsonToken v = *tok;

	if (v.type == KS_JSON_ARRAY)
	{
		KsJson		json = {tok->p, tok->p + tok->len};
		const char *p = ks_json_begin(&json, tok->p);
		int			n = 0;

		p = ks_json_next_element(&json, p, &v);
		if (v.p == NULL)
			return false;
		if (v.type == KS_JSON_STRING)
			return is_unavailable(&v) && *p == ']';
		for (; v.p; p = ks_json_next_element(&json, p, &v))
			if (v.type != KS_JSON_NUMBER || n >= (int) strlen(UNAVAILABLE) ||
				atoi(pnstrdup(v.p, v.len)) != UNAVAILABLE[n++])
				return false;
		return n == (int) strlen(UNAVAILABLE);
	}
	return v.type == KS_JSON_STRING &&
		((v.len == (int) strlen(UNAVAILABLE) && memcmp(v.p, UNAVAILABLE, v.len) == 0) ||
		 (v.len == (int) strlen(UNAVAILABLE_BASE64) && memcmp(v.p, UNAVAILABLE_BASE64, v.len) == 0));
}

static const KsSchema *
schema_of(KsDecoder *d, const KsColumn *col)
{
	const KsSchema *schema = d->envelope->row;

	if (schema == NULL)
		return NULL;
	schema = ks_schema_field(schema, d->target->fields[col->field].name,
							 d->target->fields[col->field].len);
	for (int i = 0; i < col->npath && schema; i++)
		schema = col->path[i].name ? ks_schema_field(schema, col->path[i].name, col->path[i].len) :
			schema->items;
	return schema;
}

static Datum
envelope_field(KsDecoder *d, KsColumn *col, bool *isnull)
{
	KsJsonToken tok = d->tokens[col->field];

	*isnull = false;
	if (tok.p == NULL || !ks_follow_path(col->path, col->npath, &tok))
		return ks_decode_missing(d, col, isnull);
	if (d->sink->envelope == KS_DEBEZIUM && unlikely(is_unavailable(&tok)))
	{
		if (d->sink->insert_mode == KS_INSERT || d->sink->insert_mode == KS_IGNORE)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("record lacks the value of a column"),
					 errdetail("Debezium does not know TOASTed values that an update left unchanged."),
					 errhint("Use insert_mode upsert, or set REPLICA IDENTITY FULL for the source table.")));
		d->missing = true;
		d->unavailable = true;
		*isnull = true;
		return (Datum) 0;
	}
	return ks_schema_convert(d, col, schema_of(d, col), &tok, isnull);
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
	if (tok.p && ks_follow_path(col->path, col->npath, &tok) && tok.type != KS_JSON_NULL)
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
		*value = ks_schema_convert(d, col, ks_schema_field(schema, steps[i].name, steps[i].len),
								   &tok, isnull);
		return true;
	}
	if (key->type == KS_JSON_OBJECT || key->type == KS_JSON_NULL || d->target->nkeys != 1)
		return false;
	*value = ks_schema_convert(d, col, schema, key, isnull);
	return true;
}

const KsFormatOps ks_connect_ops = {open_connect, envelope_field};
const KsFormatOps ks_debezium_ops = {open_debezium, envelope_field};
