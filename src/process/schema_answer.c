/*
 * schema_answer.c
 *	  What a schema registry answers, and what can be made of it.
 *
 * Answers come from outside: what they lack, or have in another form than they should, is
 * an error that says what, and never what stands there.  What the database cannot hold is
 * none: the schema is noted as absent then.
 */
#include "postgres.h"

#include "common/string.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "kafka/registry.h"
#include "process/schema_fetch_int.h"

void
ks_answer_not_understood(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_ERROR),
			 errmsg("the schema registry's answer cannot be understood"),
			 errdetail("%s", detail),
			 errhint("Is the option schema_registry_url that of a schema registry with Confluent's interface?")));
}

/* A text that the encoding of the database has no letters for, or a NUL that JSON has. */
static void
note_unreadable(KsFetched *s)
{
	s->unreadable = true;
	s->absent = psprintf("It, or a schema that it refers to, has a character that a database in %s cannot hold: give it without such with kafka_sink.add_schema(), or use a database in UTF8.",
						 GetDatabaseEncodingName());
}

void
ks_answer_note_missing(KsFetched *s, const char *why)
{
	if (s->absent == NULL)
		s->absent = why;
}

char *
ks_answer_to_server(KsFetched *s, const char *body)
{
	MemoryContext cxt = CurrentMemoryContext;
	char	   *volatile result = NULL;

	if (pg_is_ascii(body))
		return pstrdup(body);
	ks_fetch_begin(s->f);
	PG_TRY();
	{
		result = pg_any_to_server(body, strlen(body), PG_UTF8);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_UNTRANSLATABLE_CHARACTER)
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		note_unreadable(s);
	}
	PG_END_TRY();
	ks_fetch_end(s->f);
	return result;
}

Jsonb *
ks_answer_parse(KsFetched *s, const char *body)
{
	char	   *text = ks_answer_to_server(s, body);
	MemoryContext cxt = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;

	if (text == NULL)
		return NULL;
	PG_TRY();
	{
		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		int			code = geterrcode();
		int			category = ERRCODE_TO_CATEGORY(code);

		if (category != ERRCODE_TO_CATEGORY(ERRCODE_DATA_EXCEPTION) &&
			category != ERRCODE_TO_CATEGORY(ERRCODE_PROGRAM_LIMIT_EXCEEDED))
			PG_RE_THROW();
		MemoryContextSwitchTo(cxt);
		FlushErrorState();
		if (code != ERRCODE_UNTRANSLATABLE_CHARACTER)
			ks_answer_not_understood("It is not JSON.");
		/* an escape, for which the same holds */
		note_unreadable(s);
	}
	PG_END_TRY();
	return result;
}

static Jsonb *
parse_answer(KsFetched *s, const char *body)
{
	Jsonb	   *result = ks_answer_parse(s, body);

	if (result && !JB_ROOT_IS_OBJECT(result))
		ks_answer_not_understood("It is not a JSON object.");
	return result;
}

char *
ks_answer_text(JsonbContainer *object, const char *name)
{
	JsonbValue	v;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), &v) == NULL || v.type == jbvNull)
		return NULL;
	if (v.type != jbvString)
		ks_answer_not_understood(psprintf("Its member \"%s\" is not a string.", name));
	return pnstrdup(v.val.string.val, v.val.string.len);
}

bool
ks_answer_number(const JsonbValue *v, int64 max, int64 *n)
{
	char	   *digits;
	char	   *end;

	if (v->type != jbvNumeric)
		return false;
	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
	errno = 0;
	*n = strtoll(digits, &end, 10);
	return errno == 0 && *end == '\0' && *n <= max && *n >= -max;
}

int64
ks_answer_int(JsonbContainer *object, const char *name, int64 max)
{
	JsonbValue	v;
	int64		n;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), &v) == NULL || !ks_answer_number(&v, max, &n))
		ks_answer_not_understood(psprintf("Its member \"%s\" is not a number, or not such a one.", name));
	return n;
}

static char *
get(KsFetched *s, const char *path, bool *strange)
{
	char	   *body = ks_registry_get(s->f->registry, path, strange, s->f->idle, s->f->arg);

	if (body)
		s->bytes += strlen(body);
	return body;
}

char *
ks_answer_get(KsFetched *s, const char *path)
{
	return get(s, path, NULL);
}

Jsonb *
ks_answer_ask(KsFetched *s, const char *path)
{
	return ks_answer_ask_strange(s, path, NULL);
}

Jsonb *
ks_answer_ask_strange(KsFetched *s, const char *path, bool *strange)
{
	char	   *body = get(s, path, strange);

	return body ? parse_answer(s, body) : NULL;
}

char *
ks_answer_encode(const KsFetched *s, const char *text)
{
	char	   *result;

	if (pg_is_ascii(text))
		return ks_registry_encode(s->f->registry, text);
	ks_fetch_begin(s->f);
	result = ks_registry_encode(s->f->registry, text);
	ks_fetch_end(s->f);
	return result;
}
