/*
 * given_json.c
 *	  Settings as a call gives them in settings => '{...}'.
 *
 * The names are those of the arguments.  Numbers of bytes and of milliseconds may
 * be texts with a unit, as in postgresql.conf; null stands for the default.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"

#include "sql/given.h"

KS_NORETURN static void
bad_value(const KsSetting *s, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("setting \"%s\" must be %s", s->name, what)));
}

/* Text through the type's input function, as the caller's literal would go. */
static Datum
from_text(const KsSetting *s, char *text)
{
	Oid			input;
	Oid			ioparam;

	getTypeInputInfo(s->type, &input, &ioparam);
	return OidInputFunctionCall(input, text, ioparam, -1);
}

static char *
scalar_text(const JsonbValue *v)
{
	switch (v->type)
	{
		case jbvString:
			return pnstrdup(v->val.string.val, v->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(v->val.numeric)));
		default:
			return NULL;
	}
}

/* The name says what the number counts. */
static int
unit_of(const KsSetting *s)
{
	const char *end = strrchr(s->name, '_');

	return end && strcmp(end, "_bytes") == 0 ? GUC_UNIT_BYTE : end && strcmp(end, "_ms") == 0 ? GUC_UNIT_MS : 0;
}

static Datum
int_value(const KsSetting *s, const JsonbValue *v)
{
	char	   *text = scalar_text(v);
	const char *hint = NULL;
	int			value;

	if (text == NULL)
		bad_value(s, unit_of(s) ? "a number, or a text with a number and its unit" : "a number");
	if (!parse_int(text, &value, unit_of(s), &hint))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for setting \"%s\": \"%s\"", s->name, text),
				 hint ? errhint("%s", _(hint)) : 0));
	return Int32GetDatum(value);
}

static Datum
names_value(const KsSetting *s, const JsonbValue *v)
{
	JsonbContainer *array = v->val.binary.data;
	Datum	   *elems;
	uint32		n;

	if (v->type != jbvBinary || !JsonContainerIsArray(array))
		bad_value(s, "an array of names");
	n = JsonContainerSize(array);
	elems = palloc(Max(n, 1) * sizeof(Datum));
	for (uint32 i = 0; i < n; i++)
	{
		const JsonbValue *e = getIthJsonbValueFromContainer(array, i);

		if (e->type != jbvString)
			bad_value(s, "an array of names");
		elems[i] = PointerGetDatum(cstring_to_text_with_len(e->val.string.val, e->val.string.len));
	}
	return PointerGetDatum(construct_array(elems, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* A value that is not null as one of the setting's type. */
static Datum
typed_value(const KsSetting *s, JsonbValue *v)
{
	char	   *text;

	switch (s->type)
	{
		case INT4OID:
			return int_value(s, v);
		case TEXTARRAYOID:
			return names_value(s, v);
		case JSONBOID:
			if (v->type != jbvBinary || !JsonContainerIsObject(v->val.binary.data))
				bad_value(s, "an object");
			return JsonbPGetDatum(JsonbValueToJsonb(v));
		case BOOLOID:
			if (v->type == jbvBool)
				return BoolGetDatum(v->val.boolean);
			break;
		case INTERVALOID:
			if (v->type == jbvNumeric)
				bad_value(s, "a text with a number and its unit, such as \"5 s\" or \"5 ms\"");
			break;
	}
	text = scalar_text(v);
	if (text == NULL || (s->type != TEXTOID && v->type != jbvString))
		bad_value(s, s->type == BOOLOID ? "true or false" : "a text");
	return from_text(s, text);
}

static Datum
default_value(const KsSetting *s)
{
	return s->def ? from_text(s, pstrdup(s->def)) : (Datum) 0;
}

/* As texts, since there are not two of one value in these types. */
static bool
is_default(const KsGiven *g)
{
	Oid			output;
	bool		varlena;

	if (!g->given || g->setting->def == NULL)
		return !g->given && g->setting->def == NULL;
	getTypeOutputInfo(g->setting->type, &output, &varlena);
	return strcmp(OidOutputFunctionCall(output, g->value),
				  OidOutputFunctionCall(output, default_value(g->setting))) == 0;
}

static void
take(KsGiven *g, JsonbValue *v, bool create)
{
	const KsSetting *s = g->setting;

	if (create ? !is_default(g) : g->given || g->reset)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("setting \"%s\" is given twice", s->name),
				 errhint("Leave it out of the arguments, or of \"settings\".")));
	if (v->type == jbvNull)
	{
		g->value = default_value(s);
		g->given = create && s->def != NULL;
		g->reset = !create;
		return;
	}
	g->value = typed_value(s, v);
	g->given = true;
	ks_setting_check(s, g->value);
}

void
ks_given_json(KsGiven *g, int n, FunctionCallInfo fcinfo, int arg, bool create)
{
	Jsonb	   *jb;
	JsonbIterator *it;
	JsonbIteratorToken tok;
	JsonbValue	v;
	KsGiven    *one = NULL;

	if (PG_ARGISNULL(arg))
		return;
	jb = PG_GETARG_JSONB_P(arg);
	if (!JB_ROOT_IS_OBJECT(jb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settings must be an object"),
				 errhint("For example: {\"workers\": 2, \"batch_bytes\": \"16MB\"}.")));
	it = JsonbIteratorInit(&jb->root);
	while ((tok = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (tok == WJB_KEY)
			one = ks_given_find(g, n, pnstrdup(v.val.string.val, v.val.string.len), "settings");
		else if (tok == WJB_VALUE)
			take(one, &v, create);
	}
}
