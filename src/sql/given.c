/*
 * given.c
 *	  Settings as a call gives them: by arguments, or in reset (given_json.c: in
 *	  settings).
 *
 * Nothing that a call says is ignored: what cannot be meant is an error that
 * tells what to write instead.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/varlena.h"

#include "sql/arguments.h"
#include "sql/given.h"

void
ks_given_init(KsGiven *g, int n, const KsSetting *(*setting) (int i))
{
	memset(g, 0, n * sizeof(KsGiven));
	for (int i = 0; i < n; i++)
		g[i].setting = setting(i);
}

void
ks_given_arguments(KsGiven *g, int n, FunctionCallInfo fcinfo, int first)
{
	for (int i = 0; i < n; i++)
	{
		if (PG_ARGISNULL(first + i))
			continue;
		ks_setting_check(g[i].setting, PG_GETARG_DATUM(first + i));
		g[i].given = true;
		g[i].value = PG_GETARG_DATUM(first + i);
	}
}

void
ks_given_refuse_nulls(const KsGiven *g, int n, FunctionCallInfo fcinfo, int first)
{
	for (int i = 0; i < n; i++)
		if (ks_null_is_given(fcinfo, first + i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("setting \"%s\" cannot be set to null", g[i].setting->name),
					 errhint("Write reset => '{%s}' to set it to its default, or leave it out to keep it as it is.",
							 g[i].setting->name)));
}

/* How many letters a name may be away from what is meant: not half of them. */
static int
tolerance(const char *name)
{
	return Min(3, (int) strlen(name) / 2);
}

/* The setting whose name is the nearest; NULL if none is near. */
static const char *
nearest_setting(const KsGiven *g, int n, const char *name)
{
	const char *nearest = NULL;
	int			max = strlen(name) < NAMEDATALEN ? tolerance(name) : 0;

	for (int i = 0; i < n && max > 0; i++)
	{
		const char *candidate = g[i].setting->name;
		int			distance = varstr_levenshtein_less_equal(name, strlen(name), candidate, strlen(candidate),
															 1, 1, 1, max, true);

		if (distance > max)
			continue;
		nearest = candidate;
		max = distance - 1;
	}
	return nearest;
}

KsGiven *
ks_given_find(KsGiven *g, int n, const char *name, const char *where)
{
	const char *nearest;
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < n; i++)
	{
		if (strcmp(g[i].setting->name, name) == 0)
			return &g[i];
		appendStringInfo(&list, "%s%s", i ? ", " : "", g[i].setting->name);
	}
	nearest = nearest_setting(g, n, name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unknown setting \"%s\" in %s", name, where),
			 nearest ? errhint("Perhaps you meant \"%s\".", nearest) :
			 errhint("Valid settings: %s.", list.data)));
}

void
ks_given_reset(KsGiven *g, int n, FunctionCallInfo fcinfo, int arg)
{
	Datum	   *names;
	bool	   *nulls;
	int			nnames;

	if (PG_ARGISNULL(arg))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls, &nnames);
	for (int i = 0; i < nnames; i++)
	{
		KsGiven    *one = ks_given_find(g, n, nulls[i] ? "null" : TextDatumGetCString(names[i]), "reset");

		if (one->given)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("setting \"%s\" is given a value, and reset", one->setting->name),
					 errhint("Leave out the value, or take it from reset.")));
		one->reset = true;
	}
}

int
ks_given_insert(const KsGiven *g, int ngiven, StringInfo sql, int n, Oid *types, Datum *values, char *nulls)
{
	memset(nulls, ' ', n);
	for (int i = 0; i < ngiven; i++)
	{
		appendStringInfo(sql, ", %s", g[i].setting->name);
		types[n] = g[i].setting->type;
		values[n] = g[i].value;
		nulls[n++] = g[i].given ? ' ' : 'n';
	}
	nulls[n] = '\0';
	appendStringInfoString(sql, ") VALUES (");
	for (int i = 1; i <= n; i++)
		appendStringInfo(sql, "%s$%d", i > 1 ? ", " : "", i);
	appendStringInfoChar(sql, ')');
	return n;
}

int
ks_given_assign(const KsGiven *g, int ngiven, StringInfo sql, int n, Oid *types, Datum *values)
{
	for (int i = 0; i < ngiven; i++)
	{
		const KsSetting *setting = g[i].setting;

		if (g[i].given)
		{
			types[n] = setting->type;
			values[n] = g[i].value;
			appendStringInfo(sql, ", %s = $%d", setting->name, ++n);
		}
		else if (g[i].reset)
			appendStringInfo(sql, ", %s = %s", setting->name,
							 setting->def ? quote_literal_cstr(setting->def) : "NULL");
	}
	return n;
}

bool
ks_given_any(const KsGiven *g, int n)
{
	for (int i = 0; i < n; i++)
		if (g[i].given || g[i].reset)
			return true;
	return false;
}

void
ks_given_nothing(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("nothing is to be changed of %s", what),
			 errhint("Give settings by their names, such as insert_mode => 'upsert'; reset => '{insert_mode}' sets one to its default.")));
}
